;; The trial unit's kernel: a generator walks over memory and adds itself to what it meets, and a float gathers roots.
;; Eight steps; the output is the memory that was walked over, then the float. `trial.rs` tells the same in Rust.
(module
  (import "starling" "output_write" (func $output_write (param i32 i32)))
  (memory (export "memory") 5)
  (global $x (mut i64) (i64.const 88172645463325252))
  (global $sum (mut f64) (f64.const 0))
  (global $step (mut i32) (i32.const 0))
  (func (export "starling_abi_1"))
  (func (export "starling_start"))
  (func (export "starling_step") (result i32)
    (local $i i32) (local $at i32)
    (loop $again
      (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 13))))
      (global.set $x (i64.xor (global.get $x) (i64.shr_u (global.get $x) (i64.const 7))))
      (global.set $x (i64.xor (global.get $x) (i64.shl (global.get $x) (i64.const 17))))
      (local.set $at (i32.and (i32.wrap_i64 (global.get $x)) (i32.const 0x3fff8)))
      (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (global.get $x)))
      (global.set $sum
        (f64.add
          (f64.mul (global.get $sum) (f64.const 0.5))
          (f64.sqrt (f64.convert_i64_u (i64.shr_u (global.get $x) (i64.const 11))))))
      (br_if $again
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 4096))))
    (global.set $step (i32.add (global.get $step) (i32.const 1)))
    (if (result i32) (i32.lt_u (global.get $step) (i32.const 8))
      (then (i32.const 1))
      (else
        (f64.store (i32.const 0x40000) (global.get $sum))
        (call $output_write (i32.const 0) (i32.const 0x40008))
        (i32.const 0)))))

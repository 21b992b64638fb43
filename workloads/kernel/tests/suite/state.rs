//! The exported state is the whole state: a kernel cut between two steps goes on elsewhere as if nothing
//! had happened.

use kernel::{
    Contract, DataRange, FUEL_EXPORT, GlobalExport, Layout, MEMORY_EXPORT, NanMode, ValueType,
    prepare,
};
use wasmtime::{Engine, Instance, Module, Store, Val};

const KERNEL: &str = r#"(module
    (memory (export "memory") 2 8)
    (data (i32.const 100) "scratch") (data (i32.const 65600) "\07\00\00\00") (data "passive")
    (data (i32.const 5) "")
    (global $fixed i32 (i32.const 3))
    (global $n (mut i32) (i32.const 6))
    (global $sum (mut i64) (i64.const 0))
    (global $x (mut f64) (f64.const 0.5))
    (global $f (mut f32) (f32.const 0.5))
    (global $v (mut v128) (v128.const i64x2 1 2))
    (func (export "starling_abi_1"))
    (func (export "starling_start") (i64.store (i32.const 100) (i64.const 0)))
    (func (export "starling_step") (result i32)
        (local $i i32)
        (loop $l
            (i32.store (i32.const 65600)
                (i32.add (i32.mul (i32.load (i32.const 65600)) (i32.const 1103515245)) (i32.const 12345)))
            (global.set $sum (i64.add (global.get $sum) (i64.load32_u (i32.const 65600))))
            (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 100))))
        (global.set $x (f64.mul (global.get $x) (f64.const 3.7)))
        (global.set $f (f32.sqrt (f32.neg (global.get $f))))
        (global.set $v (i64x2.add (global.get $v) (i64x2.splat (global.get $sum))))
        (drop (memory.grow (i32.const 1)))
        (i64.store (i32.mul (global.get $n) (i32.const 20000)) (global.get $sum))
        (global.set $n (i32.sub (global.get $n) (global.get $fixed)))
        (global.set $n (i32.add (global.get $n) (i32.const 2)))
        (i32.ne (global.get $n) (i32.const 0))))"#;

struct Run {
    store: Store<()>,
    instance: Instance,
}

impl Run {
    fn new(wasm: &[u8]) -> Self {
        let mut config = wasmtime::Config::new();
        config.wasm_wide_arithmetic(true);
        let engine = Engine::new(&config).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        Self { store, instance }
    }

    fn global(&mut self, name: &str) -> wasmtime::Global {
        self.instance.get_global(&mut self.store, name).unwrap()
    }

    fn start(&mut self) {
        self.global(FUEL_EXPORT).set(&mut self.store, Val::I64(1 << 30)).unwrap();
        let start =
            self.instance.get_typed_func::<(), ()>(&mut self.store, "starling_start").unwrap();
        start.call(&mut self.store, ()).unwrap();
    }

    fn step(&mut self) -> i32 {
        let step =
            self.instance.get_typed_func::<(), i32>(&mut self.store, "starling_step").unwrap();
        step.call(&mut self.store, ()).unwrap()
    }

    fn save(&mut self, layout: &Layout) -> (Vec<u8>, Vec<Val>) {
        let memory = self.instance.get_memory(&mut self.store, MEMORY_EXPORT).unwrap();
        let names = layout.globals.iter().map(|global| global.name.as_str()).chain([FUEL_EXPORT]);
        let globals = names.map(|name| self.global(name).get(&mut self.store)).collect();
        (memory.data(&self.store).to_vec(), globals)
    }

    /// Restores as `Layout` says: what instantiation wrote is zeroed, then only pages that are not zero
    /// are copied.
    fn restore(&mut self, layout: &Layout, (bytes, globals): &(Vec<u8>, Vec<Val>)) {
        let memory = self.instance.get_memory(&mut self.store, MEMORY_EXPORT).unwrap();
        let more = (bytes.len() >> 16) as u64 - memory.size(&self.store);
        memory.grow(&mut self.store, more).unwrap();
        let data = memory.data_mut(&mut self.store);
        for DataRange { offset, len } in &layout.data {
            let offset = usize::try_from(*offset).unwrap();
            data[offset..offset + usize::try_from(*len).unwrap()].fill(0);
        }
        for (page, saved) in data.chunks_mut(1 << 16).zip(bytes.chunks(1 << 16)) {
            if saved.iter().any(|byte| *byte != 0) {
                page.copy_from_slice(saved);
            }
        }
        let names = layout.globals.iter().map(|global| global.name.as_str()).chain([FUEL_EXPORT]);
        for (name, value) in names.zip(globals) {
            self.global(name).set(&mut self.store, *value).unwrap();
        }
    }
}

#[test]
fn a_kernel_cut_between_steps_goes_on_elsewhere() {
    let prepared =
        prepare(&wat::parse_str(KERNEL).unwrap(), NanMode::Canonical, Contract::NEWEST).unwrap();
    let mut whole = Run::new(&prepared.wasm);
    whole.start();
    let mut n_steps = 1;
    while whole.step() == 1 {
        n_steps += 1;
    }
    assert_eq!(n_steps, 6);
    let expected = describe(&whole.save(&prepared.layout));

    for cut in 0..n_steps {
        let mut first = Run::new(&prepared.wasm);
        first.start();
        (0..cut).for_each(|_| assert_eq!(first.step(), 1));
        let saved = first.save(&prepared.layout);
        let mut second = Run::new(&prepared.wasm);
        second.restore(&prepared.layout, &saved);
        (cut + 1..n_steps).for_each(|_| assert_eq!(second.step(), 1));
        assert_eq!(second.step(), 0);
        assert_eq!(describe(&second.save(&prepared.layout)), expected, "cut after {cut} steps");
    }
}

fn describe((memory, globals): &(Vec<u8>, Vec<Val>)) -> String {
    format!("{} {} {globals:?}", memory.len(), blake3::hash(memory))
}

#[test]
fn the_layout_says_where_the_state_is() {
    let layout = prepare(&wat::parse_str(KERNEL).unwrap(), NanMode::Unchecked, Contract::NEWEST)
        .unwrap()
        .layout;
    let global = |index, ty| GlobalExport { name: format!("starling:global:{index}"), ty };
    assert_eq!(
        layout.globals,
        [
            global(1, ValueType::I32),
            global(2, ValueType::I64),
            global(3, ValueType::F64),
            global(4, ValueType::F32),
            global(5, ValueType::V128),
        ]
    );
    assert_eq!(
        layout.data,
        [DataRange { offset: 100, len: 7 }, DataRange { offset: 65600, len: 4 }]
    );
    assert_eq!((layout.memory_min_pages, layout.memory_max_pages), (2, Some(8)));
    assert_eq!(layout.contract, Contract::NEWEST.number());
}

//! The host's calls, under WASM. The only unsafe code of the guest: a call that the host fills in can't be checked by
//! the compiler.
#![expect(
    unsafe_code,
    reason = "imports of the host; each call passes a slice's own pointer and length"
)]

use crate::unit::{Host, Level, Unit};
use std::rc::Rc;

mod starling {
    #[link(wasm_import_module = "starling")]
    unsafe extern "C" {
        pub(super) safe fn params_len() -> i32;
        pub(super) fn params_read(offset: i32, ptr: *mut u8, len: i32) -> i32;
        pub(super) safe fn input_count() -> i32;
        pub(super) safe fn input_len(input: i32) -> i64;
        pub(super) fn input_read(input: i32, offset: i64, ptr: *mut u8, len: i32) -> i32;
        pub(super) fn output_write(ptr: *const u8, len: i32);
        pub(super) safe fn progress(done: i64, total: i64);
        pub(super) fn log(level: i32, ptr: *const u8, len: i32);
    }
}

struct Imports;

/// The unit that the host runs.
pub(super) fn unit() -> Unit {
    Unit::new(Rc::new(Imports))
}

pub(super) fn log_error(text: &str) {
    Imports.log(Level::Error, text);
}

/// A length of this 32-bit memory as the contract's i32, bit for bit.
#[expect(clippy::cast_possible_truncation, reason = "a length is 32 bits wide under wasm32")]
fn length(bytes: &[u8]) -> i32 {
    (bytes.len() as u32).cast_signed()
}

impl Host for Imports {
    fn params(&self) -> Vec<u8> {
        let mut params = vec![0; usize::try_from(starling::params_len()).unwrap_or(0)];
        // SAFETY: the host writes at most `len` bytes from `ptr` on, and the vector holds as many.
        unsafe { starling::params_read(0, params.as_mut_ptr(), length(&params)) };
        params
    }

    fn input_count(&self) -> u32 {
        starling::input_count().cast_unsigned()
    }

    fn input_len(&self, input: u32) -> Option<u64> {
        u64::try_from(starling::input_len(input.cast_signed())).ok()
    }

    fn input_read(&self, input: u32, offset: u64, into: &mut [u8]) -> usize {
        let (len, offset) = (length(into), offset.cast_signed());
        // SAFETY: the host writes at most `len` bytes from `ptr` on, and the slice holds as many.
        let count =
            unsafe { starling::input_read(input.cast_signed(), offset, into.as_mut_ptr(), len) };
        usize::try_from(count).unwrap_or(0)
    }

    fn output_write(&self, bytes: &[u8]) {
        // SAFETY: the host only reads the slice.
        unsafe { starling::output_write(bytes.as_ptr(), length(bytes)) }
    }

    fn progress(&self, done: u64, total: u64) {
        starling::progress(done.cast_signed(), total.cast_signed());
    }

    fn log(&self, level: Level, text: &str) {
        // SAFETY: the host only reads the text.
        unsafe { starling::log(level as i32, text.as_ptr(), length(text.as_bytes())) }
    }
}

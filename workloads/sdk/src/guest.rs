//! The run of a kernel, call by call, as the host drives it. Used by `export!` and by native runs.

#[cfg(target_arch = "wasm32")]
mod imports;

use crate::error::Error;
use crate::unit::Unit;
use crate::{Kernel, Progress};

/// A kernel between two calls.
#[derive(Debug)]
pub struct Running<K> {
    kernel: K,
    unit: Unit,
}

impl<K: Kernel> Running<K> {
    pub(crate) fn start(mut unit: Unit) -> Result<Self, Error> {
        let params = unit.params()?;
        let kernel = K::start(params, &mut unit)?;
        Ok(Self { kernel, unit })
    }

    /// One step; nothing is left of the kernel once it is done.
    pub(crate) fn step(mut self) -> Result<Option<Self>, Error> {
        match self.kernel.step(&mut self.unit)? {
            Progress::More => Ok(Some(self)),
            Progress::Done => self.kernel.finish(&mut self.unit).map(|()| None),
        }
    }
}

/// Natively, `export!` checks no more than this.
pub const fn is_kernel<K: Kernel>() {}

/// What `export!` calls in the sandbox.
#[cfg(target_arch = "wasm32")]
pub mod exported {
    use std::cell::RefCell;

    use super::{Kernel, Running, imports};
    use crate::error::Error;

    /// `starling_start`.
    pub fn start<K: Kernel>(slot: &RefCell<Option<Running<K>>>) {
        std::panic::set_hook(Box::new(|panic| imports::log_error(&panic.to_string())));
        *slot.borrow_mut() = Some(or_fail(Running::start(imports::unit())));
    }

    /// `starling_step`.
    pub fn step<K: Kernel>(slot: &RefCell<Option<Running<K>>>) -> i32 {
        let Some(running) = slot.borrow_mut().take() else {
            return or_fail(Err(Error::new("a step was asked for outside a run")));
        };
        let left = or_fail(running.step());
        let more = left.is_some();
        *slot.borrow_mut() = left;
        i32::from(more)
    }

    /// A deterministic failure is a line of the log and a trap.
    fn or_fail<T>(result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            imports::log_error(&error.to_string());
            core::arch::wasm32::unreachable()
        })
    }
}

/// Makes a type that implements [`Kernel`] the kernel of this crate: the contract's exports, when built for wasm32.
#[macro_export]
macro_rules! export {
    ($kernel:ty) => {
        const _: () = $crate::guest::is_kernel::<$kernel>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            thread_local! {
                static RUNNING: ::std::cell::RefCell<::std::option::Option<$crate::guest::Running<$kernel>>> =
                    const { ::std::cell::RefCell::new(None) };
            }

            #[unsafe(no_mangle)]
            extern "C" fn starling_abi_1() {}

            #[unsafe(no_mangle)]
            extern "C" fn starling_start() {
                RUNNING.with($crate::guest::exported::start)
            }

            #[unsafe(no_mangle)]
            extern "C" fn starling_step() -> i32 {
                RUNNING.with($crate::guest::exported::step)
            }
        };
    };
}

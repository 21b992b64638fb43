//! Writing a kernel for Starling in Rust: implement [`Kernel`] and name the type in [`export!`].
//!
//! ```
//! use starling_sdk::{Error, Kernel, Progress, Range, Unit};
//!
//! #[derive(serde::Deserialize)]
//! struct Params {
//!     n: Range,
//! }
//!
//! struct Sum {
//!     next: u64,
//!     end: u64,
//!     sum: u64,
//! }
//!
//! impl Kernel for Sum {
//!     type Params = Params;
//!
//!     fn start(params: Params, _unit: &mut Unit) -> Result<Self, Error> {
//!         Ok(Self { next: params.n.first, end: params.n.end, sum: 0 })
//!     }
//!
//!     fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error> {
//!         let stop = self.end.min(self.next + 1_000);
//!         self.sum += (self.next..stop).sum::<u64>();
//!         self.next = stop;
//!         unit.progress(self.next, self.end);
//!         Ok(if self.next < self.end { Progress::More } else { Progress::Done })
//!     }
//!
//!     fn finish(self, unit: &mut Unit) -> Result<(), Error> {
//!         unit.write(self.sum.to_string().as_bytes());
//!         Ok(())
//!     }
//! }
//!
//! starling_sdk::export!(Sum);
//!
//! let run = starling_sdk::native::run::<Sum>(r#"{"n":{"end":2001,"first":1}}"#, &[])?;
//! assert_eq!(run.output, b"2001000");
//! # Ok::<(), Error>(())
//! ```
//!
//! Between two calls of `step` everything the kernel knows is in `self`, so the host can stop a unit there, keep its
//! memory, and go on later or on another machine, without a line of code in the kernel.

mod axes;
mod error;
#[doc(hidden)]
pub mod guest;
pub mod native;
mod unit;

pub use axes::{Merge, Range, Steps};
pub use error::Error;
pub use unit::{Input, Level, Unit};

use serde::de::DeserializeOwned;

/// A computation over one unit of a job, cut into steps of 10 ms to a few seconds.
pub trait Kernel: Sized {
    /// The unit's parameters, as they stand in its JSON object: the job's own, and one member for each axis of the cut
    /// ([`Range`], [`Steps`], or the bare value).
    type Params: DeserializeOwned;

    /// Prepares the unit: checks the parameters, reads what is wanted of the inputs.
    ///
    /// # Errors
    /// Whatever is wrong with the parameters or inputs. The unit then fails, with this text for the researcher.
    fn start(params: Self::Params, unit: &mut Unit) -> Result<Self, Error>;

    /// Does the next piece of the work, and says whether any is left.
    ///
    /// # Errors
    /// As for [`Kernel::start`].
    fn step(&mut self, unit: &mut Unit) -> Result<Progress, Error>;

    /// Writes what is left to write, once, after the step that returned [`Progress::Done`].
    ///
    /// # Errors
    /// As for [`Kernel::start`].
    fn finish(self, unit: &mut Unit) -> Result<(), Error>;
}

/// Whether a unit needs more steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Call `step` again.
    More,
    /// The work is done; `finish` comes next.
    Done,
}

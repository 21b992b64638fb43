//! Time as the core sees it: an argument, never a question.

/// A moment, told in two ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps, from any origin. Deadlines are counted on it.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970 on the wall clock, which may jump. Only written into records.
    pub wall_ms: u64,
}

/// Gives the time.
pub trait Clock: Send + Sync + 'static {
    /// This moment.
    fn now(&self) -> Now;
}

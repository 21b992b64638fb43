//! What a kernel sees of the world: its parameters, inputs and output, and nothing else.

use crate::error::Error;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Why the unit fails.
    Error = 1,
    /// The result may not be what the researcher wants.
    Warning = 2,
    /// What was found or done.
    Information = 3,
    /// For the author of the kernel.
    Debugging = 4,
}

/// The calls of the contract: the host's imports under WASM, memory in a native run.
pub(crate) trait Host {
    fn params(&self) -> Vec<u8>;
    fn input_count(&self) -> u32;
    fn input_len(&self, input: u32) -> Option<u64>;
    fn input_read(&self, input: u32, offset: u64, into: &mut [u8]) -> usize;
    fn output_write(&self, bytes: &[u8]);
    fn progress(&self, done: u64, total: u64);
    fn log(&self, level: Level, text: &str);
}

/// The unit in hand. Also an [`io::Write`] to its output.
pub struct Unit {
    host: Rc<dyn Host>,
}

impl Unit {
    pub(crate) fn new(host: Rc<dyn Host>) -> Self {
        Self { host }
    }

    pub(crate) fn params<P: DeserializeOwned>(&self) -> Result<P, Error> {
        serde_json::from_slice(&self.host.params()).map_err(|error| {
            Error::new(format!("the unit's parameters do not fit this kernel: {error}"))
        })
    }

    /// How many inputs the unit has.
    pub fn input_count(&self) -> u32 {
        self.host.input_count()
    }

    /// The input of this index, counted from 0. It reads where you ask, so a large input is never copied whole.
    ///
    /// # Errors
    /// There is no such input.
    pub fn input(&self, index: u32) -> Result<Input, Error> {
        let Some(len) = self.host.input_len(index) else {
            return Err(Error::new(format!(
                "the unit has no input {index}: it has {}",
                self.input_count()
            )));
        };
        Ok(Input { host: Rc::clone(&self.host), index, len, position: 0 })
    }

    /// Appends to the output.
    pub fn write(&mut self, bytes: &[u8]) {
        self.host.output_write(bytes);
    }

    /// Tells how far the unit is, in any measure of work. It does not touch the result.
    pub fn progress(&mut self, done: u64, total: u64) {
        self.host.progress(done, total);
    }

    /// A line for the researcher. It does not touch the result.
    pub fn log(&mut self, level: Level, text: &str) {
        self.host.log(level, text);
    }
}

impl Write for Unit {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.host.output_write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").field("inputs", &self.input_count()).finish()
    }
}

/// A view of one input, to read at any position. Wrap it in a `BufReader` to read small pieces.
pub struct Input {
    host: Rc<dyn Host>,
    index: u32,
    len: u64,
    position: u64,
}

impl Input {
    /// The input's size in bytes, at least 0.
    pub fn byte_count(&self) -> u64 {
        self.len
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.host.input_read(self.index, self.position, into);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.len.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("index", &self.index).field("len", &self.len).finish()
    }
}

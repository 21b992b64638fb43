//! Running a kernel without a sandbox, with the same calls in the same order, to test and debug it as plain Rust.

use crate::Kernel;
use crate::error::Error;
use crate::guest::Running;
use crate::unit::{Host, Level, Unit};
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a run left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The unit's output.
    pub output: Vec<u8>,
    /// How many steps it took.
    pub steps: u64,
    /// What it told last of its progress: done, of how much.
    pub progress: (u64, u64),
    /// What it logged.
    pub log: Vec<(Level, String)>,
}

/// Runs one unit to its end.
///
/// # Errors
/// The unit's own failure.
pub fn run<K: Kernel>(params: &str, inputs: &[&[u8]]) -> Result<Run, Error> {
    let memory = Rc::new(Memory {
        params: params.as_bytes().to_vec(),
        inputs: inputs.iter().map(|input| input.to_vec()).collect(),
        run: RefCell::default(),
    });
    let mut left = Some(Running::<K>::start(Unit::new(Rc::clone(&memory) as Rc<dyn Host>))?);
    while let Some(running) = left {
        left = running.step()?;
        memory.run.borrow_mut().steps += 1;
    }
    Ok(memory.run.take())
}

/// The whole of a native program for a kernel, called as `PROGRAM PARAMS [INPUT...]`: runs one unit over these files,
/// writes its output to standard output, and to standard error the CPU seconds it took, files apart.
///
/// # Errors
/// The unit's own failure, or a file that cannot be read or written.
pub fn program<K: Kernel>() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let params = arguments.next().unwrap_or_else(|| "{}".into());
    let inputs = arguments.map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let started = Instant::now();
    let cpu = || {
        let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        said.split(' ').next()?.parse::<u64>().ok() // nanoseconds
    };
    let before = cpu();
    let run = run::<K>(&params.to_string_lossy(), &inputs).map_err(|error| error.to_string())?;
    // Where the system does not say, what the clock says.
    let spent = before.zip(cpu()).map(|(before, after)| Duration::from_nanos(after - before));
    let seconds = spent.unwrap_or_else(|| started.elapsed()).as_secs_f64();
    std::io::stdout().write_all(&run.output)?;
    writeln!(std::io::stderr(), "{seconds}")?;
    Ok(())
}

struct Memory {
    params: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    run: RefCell<Run>,
}

impl Memory {
    fn input(&self, index: u32) -> Option<&Vec<u8>> {
        self.inputs.get(usize::try_from(index).ok()?)
    }
}

impl Host for Memory {
    fn params(&self) -> Vec<u8> {
        self.params.clone()
    }

    fn input_count(&self) -> u32 {
        u32::try_from(self.inputs.len()).unwrap_or(u32::MAX)
    }

    fn input_len(&self, input: u32) -> Option<u64> {
        Some(self.input(input)?.len() as u64)
    }

    fn input_read(&self, input: u32, offset: u64, into: &mut [u8]) -> usize {
        let from = usize::try_from(offset).ok();
        let rest = self.input(input).and_then(|input| input.get(from?..)).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        count
    }

    fn output_write(&self, bytes: &[u8]) {
        self.run.borrow_mut().output.extend_from_slice(bytes);
    }

    fn progress(&self, done: u64, total: u64) {
        self.run.borrow_mut().progress = (done, total);
    }

    fn log(&self, level: Level, text: &str) {
        self.run.borrow_mut().log.push((level, text.to_owned()));
    }
}

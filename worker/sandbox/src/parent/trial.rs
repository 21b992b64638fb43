//! A small unit of the sandbox's own, run on the whole way of every unit, so that a machine that can run nothing is found
//! before a unit of anybody is spent on it.

use crate::parent::compile::{Compilation, CompileLimits, Stop};
use crate::parent::pool::{Config, run_walled};
use crate::protocol::Priority;
use crate::unit::{Event, Kernel, Limits, Outcome, SnapshotPlan, Trouble, Unit};
use crate::walls::{WallPlan, Walls};
use kernel::{Contract, NanMode};
use program::file::is_no_room;
use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The kernel; `trial.wat` is its text.
const MODULE: &[u8] = include_bytes!("trial.wasm");
/// BLAKE3 of its output, whose computation in Rust is in the tests.
const OUTPUT: &str = "ebeef3426a0d759798d5abb902cf7f19f6c6b20276e42fac37f0ad948201ee43";
/// CPU time that the unit may take: thousands of times what it takes.
const TIME: Duration = Duration::from_secs(60);
/// Time on the wall that compiling its few instructions may take on a machine that is busy with other things.
const COMPILE_WALL: Duration = Duration::from_secs(300);

/// Compiles the trial unit's kernel in a child and runs it in another, with a snapshot after each step, as a pool of this
/// configuration would run any unit; the walls that stood around it. `folder` is made for it and removed again.
///
/// # Errors
/// Why this machine cannot run units.
pub fn trial(config: &Config, folder: &Path) -> Result<Option<Walls>, Trouble> {
    // What an earlier one has left may be a compilation, and compiling is a part of the trial.
    clear(folder)
        .map_err(|error| machine("what an earlier trial left cannot be removed", &error))?;
    let tried = run(config, folder);
    let cleared = clear(folder).map_err(|error| machine("its folder cannot be removed", &error));
    tried.and_then(|walls| cleared.map(|()| walls))
}

/// Compiles the trial unit's kernel in a child of `program`, as a kernel is that is submitted; the walls that stood around it.
/// `stopped` is asked now and then whether to give up.
///
/// # Errors
/// Why this machine cannot compile kernels.
pub fn compile_trial(program: &Path, stopped: impl Fn() -> bool) -> Result<Walls, Stop> {
    let compilation = Compilation {
        program,
        kernel: &kernel(PathBuf::new()),
        cache: None,
        priority: Priority::Normal,
        limits: CompileLimits::at_submission(0),
        inlining: None,
        walls: WallPlan::default(),
    };
    // Its few bytes fit into a pipe, and nothing is written anywhere.
    let module = io::pipe().and_then(|(module, mut to)| to.write_all(MODULE).map(|()| module));
    let module = module
        .map_err(|error| Stop::Trouble(machine("its kernel cannot be handed over", &error)))?;
    compilation.run_of(module.as_fd(), stopped).map(|(_, walls)| walls)
}

fn kernel(path: PathBuf) -> Kernel {
    Kernel {
        path,
        digest: blake3::hash(MODULE).into(),
        nan: NanMode::Canonical,
        contract: Contract::NEWEST,
    }
}

fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn machine(doing: &str, error: &io::Error) -> Trouble {
    let text = format!("{doing}: {error}");
    if is_no_room(error) { Trouble::NoRoom(text) } else { Trouble::Machine(text) }
}

fn run(config: &Config, folder: &Path) -> Result<Option<Walls>, Trouble> {
    let cache = folder.join("compiled");
    let path = folder.join("kernel");
    program::file::make_folder(folder)
        .and_then(|()| fs::write(&path, MODULE))
        .map_err(|error| machine("its kernel cannot be written", &error))?;
    let compile = CompileLimits { wall: COMPILE_WALL.min(config.compile.wall), ..config.compile };
    let config = Config { cache, compile, slots: 1, ..config.clone() };
    let mut warning = None;
    let finished = run_walled(config, unit(path, folder), |event| {
        if let Event::Warning(text) = event {
            warning = Some(text);
        }
    });
    let (finished, walls) = finished.map_err(|error| Trouble::Machine(error.to_string()))?;
    match (finished.outcome, warning) {
        (Outcome::Infrastructure { reason }, _) => Err(reason),
        (Outcome::Done { .. }, Some(warning)) => Err(Trouble::Machine(warning)),
        (Outcome::Done { output, .. }, None)
            if blake3::hash(&output).to_hex().as_str() == OUTPUT =>
        {
            Ok(walls)
        }
        (Outcome::Done { output, .. }, None) => Err(Trouble::Machine(format!(
            "it gave a wrong result ({} instead of {OUTPUT}): check this machine's memory, cooling and clock",
            blake3::hash(&output).to_hex()
        ))),
        (outcome, _) => Err(Trouble::Machine(format!("it ended as it never should: {outcome:?}"))),
    }
}

fn unit(path: PathBuf, folder: &Path) -> Unit {
    Unit {
        kernel: kernel(path),
        params: b"{}".to_vec(),
        inputs: Vec::new(),
        seed: [0; 32],
        exit_codes: vec![0],
        limits: Limits { memory: 1 << 20, fuel: 1 << 30, output: 1 << 20, log: 0 },
        time: TIME,
        snapshot: Some(SnapshotPlan { path: folder.join("snapshot"), interval: Duration::ZERO }),
        trace: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{MODULE, OUTPUT};

    #[test]
    fn the_module_is_its_text() {
        assert_eq!(wat::parse_str(include_str!("trial.wat")).unwrap(), MODULE);
    }

    #[test]
    fn the_digest_is_that_of_what_the_kernel_is_defined_to_put_out() {
        let mut memory = vec![0_u64; 0x40000 / 8];
        let (mut x, mut sum) = (88_172_645_463_325_252_u64, 0_f64);
        for _ in 0..8 * 4096 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = usize::try_from(x & 0x3fff8).unwrap() / 8;
            memory[at] = memory[at].wrapping_add(x);
            #[expect(clippy::cast_precision_loss, reason = "53 bits, which a float holds")]
            let root = ((x >> 11) as f64).sqrt();
            sum = sum * 0.5 + root;
        }
        let mut output: Vec<u8> = memory.iter().flat_map(|word| word.to_le_bytes()).collect();
        output.extend(sum.to_le_bytes());
        assert_eq!(blake3::hash(&output).to_hex().as_str(), OUTPUT);
    }
}

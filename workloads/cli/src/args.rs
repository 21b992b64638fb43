//! The command line.

use crate::amount;
use crate::error::{EXIT_CODES, Error};
use crate::output::Format;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use proto::id::UnitId;
use proto::join::Join;
use proto::{JobId, UnitIndex};
use std::path::PathBuf;
use std::time::Duration;

mod pulsar;
mod seti;
mod verify;

pub use self::pulsar::{Plot, Pulsar};
pub use self::seti::{Seti, SetiCompare, SetiGenerate, SetiPlots};
pub use self::verify::{Verify, VerifyFile, VerifyOne};

/// Computes a researcher's jobs on volunteers' machines, and checks what comes back.
#[derive(Debug, Parser)]
#[command(name = "starling", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// How answers are written: for people, or one JSON object in each line.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Format,
    /// The file that says which coordinator and holds the token; made by `starling login`.
    #[arg(long, global = true, env = "STARLING_PROFILE", value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything at work here: a coordinator, two workers, a search for Mersenne primes or in the sky.
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Make, build and check kernels.
    #[command(subcommand)]
    Kernel(Kernel),
    /// Run some units of a job on this machine: progress, output, fuel and time, and a forecast of the whole.
    Try(Try),
    /// Remember which coordinator to speak with, and as whom.
    Login(Login),
    /// Submit a job.
    Submit(Submit),
    /// List the jobs.
    Jobs,
    /// Watch a job until it ends.
    Watch(OneJob),
    /// Say why a job or a unit is not done.
    Why(Why),
    /// Show what the kernels of a job or of a unit have logged; nobody has verified it.
    Logs(Logs),
    /// Get a job's results, each checked against its receipt; goes on where it was stopped.
    Fetch(Fetch),
    /// Stop a job; what was settled can be fetched for a day.
    Cancel(Cancel),
    /// Get the receipt of a unit with the proof that its verdict is in the project's log, as one file.
    Receipt(Receipt),
    /// Get the proofs that reports of a job were wrong, each with all that is needed to run the segment in question again.
    Evidence(Evidence),
    /// Check fetched results against their receipts, or a file of `receipt`, `evidence` or `audit`, without the
    /// coordinator.
    Verify(Verify),
    /// Check the project's log: that nothing was rewritten since the last time, and all that it says of a job.
    Audit(Audit),
    /// Look at recordings of pulsars.
    #[command(subcommand)]
    Pulsar(Pulsar),
    /// Make, compare and look at work units and results of SETI@home.
    #[command(subcommand)]
    Seti(Seti),
    /// Write completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// `starling demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct Demo {
    /// A search of seconds instead of about a minute.
    #[arg(long)]
    pub quick: bool,
    /// Search a recording of the sky in which a signal of every kind is hidden, and see that each is found.
    #[arg(long)]
    pub seti: bool,
    /// Keep the coordinator's and the workers' folders here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `starling kernel`.
#[derive(Debug, Subcommand)]
pub enum Kernel {
    /// Write the project of a new kernel in Rust.
    New {
        /// What it is called; a folder of this name is made.
        name: String,
    },
    /// Compile a kernel: a folder with a Cargo.toml, or a C file.
    Build {
        /// The folder or the C file.
        #[arg(default_value = ".")]
        path: PathBuf,
    },
    /// Check a kernel: imports, limits, and that it gives the same bytes and fuel however it is run.
    Check(Check),
}

/// `starling kernel check`.
#[derive(Debug, Args)]
pub struct Check {
    /// A .wasm file, or the name of a shipped kernel.
    pub kernel: String,
    /// The unit's parameters, a JSON object.
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// An input; may be given again.
    #[arg(long, value_name = "FILE")]
    pub input: Vec<PathBuf>,
    /// Only look at the module, do not run it.
    #[arg(long, conflicts_with_all = ["params", "input"])]
    pub no_run: bool,
}

/// Where a job is described.
#[derive(Debug, Args)]
pub struct JobSource {
    /// The job file; with --kernel, input files instead, one unit for each (of the kernel seti: one work unit, cut
    /// into many).
    #[arg(required = true, value_name = "JOB.TOML")]
    pub files: Vec<PathBuf>,
    /// Run this kernel (a shipped one's name or a .wasm file) over the files, without a job file.
    #[arg(long, value_name = "NAME")]
    pub kernel: Option<String>,
    /// Change a field of the job file: `copies=3`, `params.mode=fast`, `cut.0.end=1000`. May be given again.
    #[arg(long, value_name = "FIELD=VALUE")]
    pub set: Vec<String>,
}

/// `starling try`.
#[derive(Debug, Args)]
pub struct Try {
    /// The job.
    #[command(flatten)]
    pub job: JobSource,
    /// Run this unit.
    #[arg(long, value_name = "N", conflicts_with = "units", value_parser = parse_unit)]
    pub unit: Option<UnitIndex>,
    /// Run this many units, spread evenly over the job.
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub units: u64,
    /// Stop after this time, as in 30s, with what is known by then; Ctrl-C does the same.
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_time)]
    pub time: Option<Duration>,
    /// Forecast for this many cores [default: those of this machine].
    #[arg(long, value_name = "N")]
    pub cores: Option<u32>,
    /// Write the outputs into this folder.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// `starling login`.
#[derive(Debug, Args)]
pub struct Login {
    /// The join string, starling://..., as `starling-coordinator run` prints it.
    pub join: Join,
    /// The token that the operator made for you (starling-coordinator token issue); - for standard input. Given here, it
    /// is seen in this machine's list of processes: without it, it is taken from the variable STARLING_TOKEN, else asked
    /// for, else read from standard input.
    #[arg(long, allow_hyphen_values = true)]
    pub token: Option<String>,
}

/// `starling submit`.
#[derive(Debug, Args)]
pub struct Submit {
    /// The job.
    #[command(flatten)]
    pub job: JobSource,
    /// Watch it until it ends.
    #[arg(long)]
    pub watch: bool,
    /// Watch it until it ends, fetch its results into a folder of the job's name, and write the merged output here
    /// [default with --kernel seti: result.sah].
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// Commands that take a job.
#[derive(Debug, Args)]
pub struct OneJob {
    /// The job, as in j7.
    #[arg(value_parser = parse_job)]
    pub job: JobId,
}

/// `starling cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// The job, as in j7.
    #[arg(value_parser = parse_job)]
    pub job: JobId,
    /// Remove the outputs of its units from the coordinator, at once, also of a job that has ended: they count in the quota
    /// of your account no more, and cannot be fetched again.
    #[arg(long)]
    pub outputs: bool,
}

/// `starling why`.
#[derive(Debug, Args)]
pub struct Why {
    /// Of which.
    #[command(flatten)]
    pub of: JobOrUnit,
}

/// `starling logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Of which.
    #[command(flatten)]
    pub of: JobOrUnit,
    /// Stay until the job has ended, and show lines as they come, of running units too.
    #[arg(long)]
    pub follow: bool,
}

/// A job or one of its units, in one word or in two.
#[derive(Debug, Args)]
pub struct JobOrUnit {
    /// A job or a unit, as in j7 or j7/u12.
    #[arg(value_name = "JOB|JOB/UNIT", value_parser = parse_what)]
    what: What,
    /// The unit, where the first word names the job only, as in 12 or u12.
    #[arg(value_name = "UNIT", value_parser = parse_unit)]
    unit: Option<UnitIndex>,
}

impl JobOrUnit {
    /// Which it is.
    ///
    /// # Errors
    /// When it names two units.
    pub fn get(&self) -> Result<What, Error> {
        match (self.what, self.unit) {
            (what, None) => Ok(what),
            (What::Job(job), Some(unit)) => Ok(What::Unit(UnitId { job, unit })),
            (What::Unit(id), Some(unit)) => Err(Error::Usage(format!(
                "{id} names a unit already, and {unit} is another word for one"
            ))),
        }
    }
}

/// A job or one of its units.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// The job.
    Job(JobId),
    /// The unit.
    Unit(UnitId),
}

fn parse_job(text: &str) -> Result<JobId, &'static str> {
    text.parse().map_err(|_| "not a job: write it as in j7")
}

fn parse_unit(text: &str) -> Result<UnitIndex, &'static str> {
    text.parse().map_err(|_| "not a unit: write its number, as in 12 or u12")
}

fn parse_time(text: &str) -> Result<Duration, &'static str> {
    let time = amount::parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or("not a time: write it as in 30s or 5min")
}

fn parse_unit_id(text: &str) -> Result<UnitId, &'static str> {
    text.parse().map_err(|_| "not a unit of a job: write it as in j7/u12")
}

fn parse_what(text: &str) -> Result<What, &'static str> {
    let wrong = "not a job and not a unit: write j7 or j7/u12";
    if text.contains('/') {
        text.parse().map(What::Unit).map_err(|_| wrong)
    } else {
        text.parse().map(What::Job).map_err(|_| wrong)
    }
}

/// `starling fetch`.
#[derive(Debug, Args)]
pub struct Fetch {
    /// The job, as in j7.
    #[arg(value_parser = parse_job)]
    pub job: JobId,
    /// The folder for the results [default: the job's name, as in j7].
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Stay until the job has ended, and take results as they come.
    #[arg(long)]
    pub follow: bool,
    /// Do not get receipts: faster, but then nothing vouches for the results.
    #[arg(long)]
    pub no_receipts: bool,
}

/// `starling receipt`.
#[derive(Debug, Args)]
pub struct Receipt {
    /// The unit, as in j7/u12.
    #[arg(value_parser = parse_unit_id)]
    pub unit: UnitId,
    /// The file to write [default: j7-u12.receipt].
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// `starling evidence`.
#[derive(Debug, Args)]
pub struct Evidence {
    /// The job, as in j7.
    #[arg(value_parser = parse_job)]
    pub job: JobId,
    /// The folder for the files [default: j7-evidence].
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// `starling audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// The job, as in j7; without one, the log is read on from where it was audited last.
    #[arg(value_parser = parse_job)]
    pub job: Option<JobId>,
    /// Also run this many units of the job again here, chosen at random, and compare output and fuel.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "job", value_parser = clap::value_parser!(u64).range(0..=100_000))]
    pub rerun: u64,
    /// Where the proof is written should the log contradict what was seen of it before.
    #[arg(long, value_name = "FILE", default_value = "contradiction.heads")]
    pub proof: PathBuf,
}

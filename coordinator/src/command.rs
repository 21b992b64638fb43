//! `starling-coordinator`: the operator's command.

use crate::core::admission::Admission;
use clap::{Parser, Subcommand, ValueEnum};
use program::error::chain;
use program::output::Format;
use program::shell::word;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

mod client;
mod offline;
mod output;
mod run;

use output::Output;

/// The project's folder unless another one is named.
const DATA: &str = "starling-project";

/// Runs a project: keeps its jobs, lends their units to volunteers' workers, checks what comes back.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the running coordinator cannot be reached; 4 it refused;
/// 5 `check` found something wrong.
#[derive(Debug, Parser)]
#[command(name = "starling-coordinator", version)]
pub struct Arguments {
    /// The project's folder
    #[arg(
        long,
        global = true,
        env = "STARLING_COORDINATOR_DATA",
        default_value = DATA,
        value_name = "DIR"
    )]
    pub data: PathBuf,
    /// How to print results
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the operator may ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the coordinator until SIGTERM or SIGINT; makes the project first when there is none
    Run(Run),
    /// Makes the project's folder, keys and certificates, and prints the join string; does nothing twice
    Init(Address),
    /// Issues, lists and revokes tokens of researchers and operators
    #[command(subcommand)]
    Token(Token),
    /// Tells how the running coordinator stands
    Status {
        /// List the workers too
        #[arg(long)]
        workers: bool,
    },
    /// Appoints a worker of your own as referee: what it finds of a segment in dispute decides
    Referee {
        /// Its key, as `starling-worker status` shows it; it has connected once before
        #[arg(value_parser = worker_key)]
        worker: proto::WorkerKey,
        /// Dismiss it instead
        #[arg(long)]
        dismiss: bool,
    },
    /// Makes a backup of the running project, in the folder `backups` of its data
    Backup {
        /// Its name; the date and time when absent
        name: Option<String>,
    },
    /// Makes the project's folder (--data, not there yet) from a backup
    Restore {
        /// The backup's folder
        backup: PathBuf,
    },
    /// Checks every record and blob of a project that is not running
    Check,
}

/// Where the coordinator is.
#[derive(Clone, Debug, clap::Args)]
pub struct Address {
    /// Address and port to listen at
    #[arg(long, env = "STARLING_LISTEN", default_value_t = SocketAddr::from(([0; 4], crate::server::PORT)), value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Where volunteers find it, for the join string; the machine's name and the port when absent
    #[arg(long, env = "STARLING_ADVERTISE", value_name = "HOST:PORT", value_parser = program::address::host_and_port)]
    pub advertise: Option<String>,
}

/// How to run.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Where it is
    #[command(flatten)]
    pub address: Address,
    /// What is kept for one researcher's account, in all: blobs that it puts, specifications, outputs and logs of its jobs
    #[arg(long, default_value = "1 TiB", value_name = "SIZE")]
    pub account_bytes: bytesize::ByteSize,
    /// Free disk space to leave alone; below it nothing new is taken in
    #[arg(long, default_value = "256 MiB", value_name = "SIZE")]
    pub reserve: bytesize::ByteSize,
    /// Share of a trusted worker's units that are checked all the same, for jobs with a confidence
    #[arg(long, default_value_t = crate::core::trust::estimate::CHECK_FLOOR, value_name = "SHARE", value_parser = share)]
    pub check_floor: f64,
    /// Machines on private addresses are of people you know: each account counts for itself. Otherwise they count as one network,
    /// for whoever comes through a gateway, a proxy or a container's bridge has such an address too
    #[arg(long)]
    pub lan: bool,
    /// What new volunteers must show: `open` nothing; `invited` an invitation (`token issue NAME --role volunteer`); `work=BITS` that
    /// their machine has computed for a while, once: 24 is some seconds, each bit more doubles it
    #[arg(long, default_value = "open", value_name = "RULE", value_parser = admission)]
    pub admission: Admission,
    /// Go without the embedded referee, which computes some units again on one core at most, so that nobody with many keys
    /// can agree with himself. Use it when you appoint workers of your own (`referee KEY`), or know everybody
    #[arg(long)]
    pub no_referee: bool,
    /// Connections open at once
    #[arg(long, default_value_t = 20_000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// How often to log a line of numbers
    #[arg(long, default_value = "1m", value_name = "DURATION", value_parser = duration)]
    pub summary: Duration,
    /// Tell the numbers of `status` as OpenMetrics at http://IP:PORT/metrics, to whoever can reach it: use 127.0.0.1 or a
    /// network that you trust [default: nowhere]
    #[arg(long, value_name = "IP:PORT")]
    pub metrics: Option<SocketAddr>,
    /// The records are lost, or old: build them up from what workers have kept, until nothing new has come for so long
    #[arg(long, value_name = "DURATION", value_parser = duration, num_args = 0..=1, default_missing_value = "10m")]
    pub rebuild: Option<Duration>,
    /// The records are not as they were left, and cannot be had from anywhere: go on with what is left, and write down in
    /// accepted.txt what was missing. For one start: without anything missing it does nothing
    #[arg(long, conflicts_with = "rebuild")]
    pub accept_loss: bool,
    /// How long calls may take to end when it stops
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub stop_within: Duration,
}

fn admission(text: &str) -> Result<Admission, String> {
    let work = text.strip_prefix("work=").and_then(|bits| bits.parse().ok());
    match (text, work) {
        ("open", _) => Ok(Admission::Open),
        ("invited", _) => Ok(Admission::Invited),
        (_, Some(bits)) if (1..=proto::hello::WORK_BITS_MAX).contains(&bits) => {
            Ok(Admission::Work(bits))
        }
        _ => Err(format!(
            "open, invited, or work=BITS with 1 to {} bits",
            proto::hello::WORK_BITS_MAX
        )),
    }
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Issues a token; its text is shown once and kept nowhere
    Issue {
        /// Name of the account that it is for; of an invitation, of those who are invited
        account: String,
        /// What it allows
        #[arg(long, value_enum, default_value_t)]
        role: Role,
        /// Of an invitation: how many volunteers it lets in
        #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        accounts: u32,
    },
    /// Lists tokens, without their texts
    List,
    /// Revokes a token at once
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
    },
}

/// What a token allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// To submit jobs, and see and cancel one's own
    #[default]
    Researcher,
    /// Everything
    Operator,
    /// To join as a new volunteer: an invitation, printed as a join string
    Volunteer,
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("at least 1ms is needed".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write it as in 90s, 10m or 1h 30m")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a share from 0 to 1, as in 0.01".into()),
    }
}

fn worker_key(text: &str) -> Result<proto::WorkerKey, String> {
    text.parse().map_err(|_| {
        "a worker's key has 64 hexadecimal digits: `starling-worker status` shows it".into()
    })
}

/// How a command fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something of this machine.
    Failed(String),
    /// The running coordinator does not answer.
    Unreachable(String),
    /// It says no.
    Refused(String),
    /// `check` found something wrong, and has printed it.
    Wrong,
}

impl Failure {
    fn failed(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::Failed(chain(error))
    }

    /// What is told of it, where it has not printed all by itself.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Failed(text) | Self::Unreachable(text) | Self::Refused(text) => Some(text),
            Self::Wrong => None,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
            Self::Wrong => 5,
        }
    }
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(said) => return program::output::arguments(&said),
    };
    let output = Output::new(arguments.output);
    match execute(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// The command to type for something on the project's folder.
fn typed(data: &Path, what: &str) -> String {
    match data == Path::new(DATA) {
        true => format!("starling-coordinator {what}"),
        false => format!("starling-coordinator --data {} {what}", word(data)),
    }
}

fn execute(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    let Arguments { data, command, .. } = arguments;
    match command {
        Command::Run(run) => run::run(data, run, output),
        Command::Init(address) => offline::init(&data, &address, output),
        Command::Restore { backup } => offline::restore(&backup, &data, output),
        Command::Check => offline::check(&data, output),
        Command::Token(token) => client::token(&data, token, output),
        Command::Status { workers } => client::status(&data, workers, output),
        Command::Referee { worker, dismiss } => client::referee(&data, worker, dismiss, output),
        Command::Backup { name } => client::backup(&data, name, output),
    }
}

#[cfg(test)]
mod tests;

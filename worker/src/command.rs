//! The volunteer's commands: `starling-worker join|run|seed|status|peers|pause|resume|leave|why|key`.

mod join;
mod output;
mod owner;
mod run;
mod seed;

use crate::{control, folder, metrics, network};
use clap::{Args, Parser, Subcommand, ValueEnum};
use iroh_metrics::RwLockRegistry;
use program::output::Format;
use program::shell::word;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

/// Lend this machine to a Starling grid.
#[derive(Debug, Parser)]
#[command(
    name = "starling-worker",
    version,
    about,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 the coordinator or the running worker cannot be reached;\n4 refused by the coordinator. Logs go to standard error; STARLING_LOG=debug tells more."
)]
struct Cli {
    /// The worker's folder: keys, what it holds, kernels and inputs
    #[arg(long, global = true, env = "STARLING_WORKER_DATA", value_name = "DIR", default_value_os_t = folder::default_path())]
    data: PathBuf,
    /// How to print
    #[arg(long, global = true, value_enum, default_value = "text")]
    output: Format,
    #[command(subcommand)]
    verb: Verb,
}

/// What the command line may be, for who wants to check one.
#[must_use]
pub fn arguments() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Join a project by the string that its coordinator prints
    Join(Join),
    /// Compute for the project that was joined, until stopped
    Run(Run),
    /// Be of use to peers without computing: relay for those behind routers, first contact for newcomers
    Seed(Seed),
    /// What the running worker does
    Status,
    /// The peers that the running worker is linked to
    Peers,
    /// Why the running worker does not compute more
    Why,
    /// Snapshot what runs and compute nothing, for a while or until `resume`
    Pause {
        /// How long: 30min, 1h, 2days
        #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
        time: Option<Duration>,
    },
    /// Go on after `pause`
    Resume,
    /// Stop the running worker; what it holds stays and goes on at the next `run`
    Stop,
    /// Give back what is held and leave the project; the keys stay
    Leave {
        /// Remove the keys too: the account's credit can then only be reached from another of its machines
        #[arg(long)]
        forget: bool,
    },
    /// The account's key, so that several machines of one owner share an account
    #[command(subcommand)]
    Key(Key),
}

/// Join a project.
#[derive(Debug, Args)]
struct Join {
    /// starling://HOST:PORT/PROJECT#FINGERPRINT, as `starling-coordinator run` prints it
    join: proto::join::Join,
    /// Name of this machine, shown to the project's operator
    #[arg(long)]
    name: Option<String>,
    /// Name of the account, shown with its credit
    #[arg(long, default_value = "")]
    account_name: String,
}

/// Compute.
#[derive(Debug, Args)]
struct Run {
    /// Units at the same time, one for each core [default: all cores that this process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    cores: Option<u32>,
    /// Memory that units may use together, and compiling a kernel: 4GiB [default: three quarters of the machine's, or of what
    /// its container or ulimit leaves]
    #[arg(long, value_name = "SIZE")]
    memory: Option<bytesize::ByteSize>,
    /// Disk for kernels and inputs
    #[arg(long, value_name = "SIZE", default_value = "10GiB")]
    cache: bytesize::ByteSize,
    /// Disk for traces of finished units and states on them, which are shown when the project checks a report: the oldest
    /// go first. Without a state that is asked for, the unit is computed again up to it
    #[arg(long, value_name = "SIZE", default_value = "2GiB")]
    trace_disk: bytesize::ByteSize,
    /// What is left free on the disk for its owner: with less, nothing new is begun and no output is written [default: 1GiB,
    /// or a twentieth of a smaller disk]
    #[arg(long, value_name = "SIZE")]
    reserve: Option<bytesize::ByteSize>,
    /// Computing to hold ahead, so that a coordinator that is away does not stop it
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = humantime::parse_duration)]
    buffer: Duration,
    /// Peers that are given each report of this worker, in case it is gone when the coordinator is back
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    held_copies: u16,
    /// Disk for reports held for other workers, until the coordinator has them and for 30 days
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    held: bytesize::ByteSize,
    /// How long a report of another worker is held before the coordinator is told of it
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = humantime::parse_duration)]
    held_patience: Duration,
    /// How often the project's log is asked for, unless peers tell of it
    #[arg(long, value_name = "DURATION", default_value = "5min", value_parser = humantime::parse_duration)]
    log_every: Duration,
    /// Time between snapshots of a unit
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    snapshot_interval: Duration,
    /// Whom the units let go first
    #[arg(long, value_enum, default_value_t = Courtesy::Background)]
    priority: Courtesy,
    /// Compute nothing where the system lacks the walls that count around strangers' code: Landlock, seccomp, no_new_privs;
    /// `status` says which stand
    #[arg(long)]
    require_walls: bool,
    /// Take no part in the peer network: all content comes from the coordinator
    #[arg(long)]
    no_peers: bool,
    #[command(flatten)]
    metrics: Metrics,
    #[command(flatten)]
    peers: Peers,
}

/// Numbers for collectors.
#[derive(Debug, Args)]
struct Metrics {
    /// Tell the numbers of `status` as OpenMetrics at http://IP:PORT/metrics, to whoever can reach it: use 127.0.0.1 or a
    /// network that you trust [default: nowhere]
    #[arg(id = "metrics", long = "metrics", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
}

impl Metrics {
    async fn start(
        &self,
        registry: RwLockRegistry,
        asks: mpsc::Sender<control::Ask>,
    ) -> Result<Option<metrics::Metrics>, Failure> {
        let Some(listen) = self.listen else { return Ok(None) };
        let started = metrics::Metrics::start(listen, registry, asks).await;
        started.map(Some).map_err(|error| {
            Failure::Failed(format!("--metrics: cannot listen at {listen}: {error}"))
        })
    }
}

/// The peer network.
#[derive(Debug, Args)]
#[command(next_help_heading = "Peers")]
struct Peers {
    /// Where to listen for peers [default: all addresses, any port]
    #[arg(long, value_name = "IP:PORT")]
    peer_listen: Option<SocketAddr>,
    /// Neighbours at most
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=1000))]
    peers_max: u16,
    /// Most that is sent to peers in a second: 1MB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    upload: Option<bytesize::ByteSize>,
    /// Most that is asked of peers in a second [default: no limit]
    #[arg(long, value_name = "SIZE")]
    download: Option<bytesize::ByteSize>,
    /// Most that peers may cost in a calendar month, both ways together: 100GB [default: no limit]
    #[arg(long, value_name = "SIZE")]
    month: Option<bytesize::ByteSize>,
    /// Do not tell the coordinator where this machine is reached, nor ask it for peers
    #[arg(long)]
    no_tracker: bool,
    /// Do not look for members on the local network
    #[arg(long)]
    no_lan: bool,
    /// Do not ask peers for peers
    #[arg(long)]
    no_exchange: bool,
    /// Do not search for peers by their keys among members
    #[arg(long)]
    no_lookup: bool,
    /// Do not use relays
    #[arg(long)]
    no_relays: bool,
    /// Do not ask the router for an open port
    #[arg(long)]
    no_port_mapping: bool,
}

impl Peers {
    fn config(&self, data: &Path) -> network::Config {
        let defaults = network::Config::default();
        let size = |size: Option<bytesize::ByteSize>| size.map(|size| size.as_u64());
        let links_max = usize::from(self.peers_max);
        network::Config {
            listen: self.peer_listen,
            links_max,
            links_wanted: defaults.links_wanted.min(links_max.div_ceil(2)),
            up_per_second: size(self.upload),
            down_per_second: size(self.download),
            month_bytes_max: size(self.month),
            tracker: !self.no_tracker,
            lan: !self.no_lan,
            exchange: !self.no_exchange,
            lookup: !self.no_lookup,
            relays: !self.no_relays,
            port_mapping: !self.no_port_mapping,
            folder: Some(data.to_path_buf()),
            ..defaults
        }
    }
}

/// A seed.
#[derive(Debug, Args)]
struct Seed {
    /// Host name or address under which others reach this machine [default: its own public address, if it has one]
    #[arg(long, value_name = "HOST", value_parser = program::address::host)]
    public: Option<String>,
    /// Port of the relay (TCP) and of the peer (UDP); the next one (UDP) tells peers their public address
    #[arg(long, value_name = "PORT", default_value_t = 7701)]
    port: u16,
    /// Address to listen at
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    listen: IpAddr,
    /// Most that one member's traffic through the relay may be in a second
    #[arg(long, value_name = "SIZE", default_value = "4MB")]
    relay: bytesize::ByteSize,
    #[command(flatten)]
    metrics: Metrics,
    #[command(flatten)]
    peers: Peers,
}

/// [`sandbox::Priority`] as it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Courtesy {
    /// Every other program of this machine
    Background,
    /// Nobody: for a machine that does nothing else
    Normal,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Print the account's key: whoever has it owns the account
    Export,
    /// Take over the account whose key comes through standard input, before `join`
    Import,
}

/// Why a command failed, and so its exit code.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Something here.
    #[error("{0}")]
    Failed(String),
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(String),
    /// The coordinator does not want this worker.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }
}

impl From<folder::Error> for Failure {
    fn from(error: folder::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does what the program's arguments say.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { data, output, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return program::output::arguments(&said),
    };
    let done = match verb {
        Verb::Join(arguments) => join::join(&data, &arguments, output),
        Verb::Run(arguments) => run::run(&data, &arguments),
        Verb::Seed(arguments) => seed::run(&data, &arguments),
        Verb::Status => owner::status(&data, output),
        Verb::Peers => owner::peers(&data, output),
        Verb::Why => owner::why(&data, output),
        Verb::Pause { time } => {
            let seconds = time.map(|time| time.as_secs());
            owner::tell(&data, control::Request::Pause { seconds }, "paused", output)
        }
        Verb::Resume => owner::tell(&data, control::Request::Resume, "going on", output),
        Verb::Stop => owner::tell(&data, control::Request::Stop, "stopping", output),
        Verb::Leave { forget } => owner::leave(&data, forget, output),
        Verb::Key(Key::Export) => owner::export(&data),
        Verb::Key(Key::Import) => owner::import(&data, output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.error(&failure.to_string(), failure.code());
            ExitCode::from(failure.code())
        }
    }
}

/// The command to type for something on the worker's folder.
fn typed(data: &Path, what: &str) -> String {
    match data == folder::default_path() {
        true => format!("starling-worker {what}"),
        false => format!("starling-worker --data {} {what}", word(data)),
    }
}

/// A runtime for the commands that reach out.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_make_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_durations_are_read_as_people_write_them() {
        let line = "starling-worker run --memory 4GiB --cache 500MB --trace-disk 1GB --buffer 10min --cores 3 --snapshot-interval 1s";
        let Verb::Run(run) = Cli::parse_from(line.split(' ')).verb else { panic!("run") };
        assert_eq!(run.memory.unwrap().as_u64(), 4 << 30);
        assert_eq!((run.cache.as_u64(), run.trace_disk.as_u64()), (500_000_000, 1_000_000_000));
        assert_eq!(run.buffer, Duration::from_secs(600));
        assert!(Cli::try_parse_from(["starling-worker", "run", "--cores", "0"]).is_err());
        assert!(Cli::try_parse_from(["starling-worker", "join", "http://x"]).is_err());
    }

    #[test]
    fn an_address_that_others_cannot_use_is_refused() {
        let check = |host: &str, expected: &str| {
            let refused = Cli::try_parse_from(["starling-worker", "seed", "--public", host]);
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains(expected), "{host}: {refused}");
        };
        check("0.0.0.0", "leads others nowhere");
        check("::", "leads others nowhere");
        check("https://seed.example.org", "without https://");
        check("seed.example.org:7701", "the port is given apart");
        check("my seed", "neither a host name nor an address");
        let seed = Cli::try_parse_from(["starling-worker", "seed", "--public", "2001:db8::1"]);
        let Verb::Seed(seed) = seed.unwrap().verb else { panic!("seed") };
        assert_eq!(seed.public.as_deref(), Some("[2001:db8::1]"));
    }

    #[test]
    fn what_is_to_be_typed_is_quoted() {
        assert_eq!(typed(&folder::default_path(), "run"), "starling-worker run");
        let typed = typed(Path::new("/srv/ada's disk"), "run");
        assert_eq!(typed, "starling-worker --data \"/srv/ada's disk\" run");
    }
}

//! What the owner says to the worker, running or not.

use super::{Failure, Format, output, runtime};
use crate::control::{self, Answer, Report, Request};
use crate::coordinator::{Introduction, say_goodbye};
use crate::folder::{self, Folder};
use crate::network::traffic::Traffic;
use crate::network::{PeerView, PeersReport};
use serde_json::json;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};
use worker_core::agent::Pause;
use worker_core::exchange;

/// How long `leave` waits for the running worker to give everything back.
const LEAVE_MAX: Duration = Duration::from_secs(90);

/// Blobs on their way that `status` describes one by one.
const SLOWEST_SHOWN: usize = 5;

fn ask(data: &Path, request: Request) -> Result<Option<Answer>, Failure> {
    let answer = control::ask(&folder::socket(data), request);
    match answer.map_err(|error| {
        Failure::Unreachable(format!("the running worker does not answer: {error}"))
    })? {
        Some(Answer::Error(reason)) => Err(Failure::Failed(reason)),
        answer => Ok(answer),
    }
}

fn not_running(data: &Path) -> Failure {
    Failure::Unreachable(format!(
        "no worker runs on {}: `{}` starts it",
        data.display(),
        super::typed(data, "run")
    ))
}

fn report(data: &Path) -> Result<Box<Report>, Failure> {
    match ask(data, Request::Status)? {
        Some(Answer::Report(report)) => Ok(report),
        Some(_) => {
            Err(Failure::Failed("the running worker is of another release: start it again".into()))
        }
        None => Err(not_running(data)),
    }
}

pub(super) fn status(data: &Path, format: Format) -> Result<(), Failure> {
    let report = report(data)?;
    output::print(format, &describe(&report), &report)
}

pub(super) fn peers(data: &Path, format: Format) -> Result<(), Failure> {
    let peers = match ask(data, Request::Peers)? {
        Some(Answer::Peers(Some(peers))) => peers,
        Some(Answer::Peers(None)) => {
            return Err(Failure::Failed(
                "this worker takes no part in the peer network: it was started with --no-peers"
                    .into(),
            ));
        }
        Some(_) => {
            return Err(Failure::Failed(
                "the running worker is of another release: start it again".into(),
            ));
        }
        None => return Err(not_running(data)),
    };
    output::print(format, &describe_peers(&peers), &json!({ "peers": peers }))
}

fn describe_peers(peers: &[PeerView]) -> String {
    use std::fmt::Write;
    if peers.is_empty() {
        return "no peers yet".into();
    }
    let mut text = format!(
        "{:<12} {:<12} {:<28} {:<9} {:>7} {:>10} {:>10} {:>5}  SINCE",
        "PEER", "ACCOUNT", "ADDRESS", "WAY", "RTT", "UP", "DOWN", "SCORE"
    );
    for peer in peers {
        let way = match peer {
            PeerView { relayed: true, .. } => "relayed",
            PeerView { near: true, .. } => "local",
            PeerView { inbound: true, .. } => "direct in",
            _ => "direct",
        };
        let since = humantime::format_duration(Duration::from_secs(peer.seconds)).to_string();
        let seed = if peer.seed { " (seed)" } else { "" };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n{:<12} {:<12} {:<28} {:<9} {:>4} ms {:>10} {:>10} {:>5}  {since}{seed}",
            &peer.worker.to_string()[..12],
            &peer.account.to_string()[..12],
            peer.address,
            way,
            peer.rtt_ms,
            bytesize::ByteSize(peer.up_bytes).to_string(),
            bytesize::ByteSize(peer.down_bytes).to_string(),
            peer.score,
        );
    }
    text
}

pub(super) fn why(data: &Path, format: Format) -> Result<(), Failure> {
    let report = report(data)?;
    let mut text = match report.status.why.as_slice() {
        [] => "all slots compute".to_owned(),
        why => why.join("\n"),
    };
    if let Some(advice) = &report.status.advice {
        text = format!("{text}\nadvice from the project: {advice}");
    }
    if let Some(walls) = &report.walls {
        text = format!("{text}\nwalls around the units: {walls}");
    }
    let json = json!({
        "why": report.status.why,
        "advice": report.status.advice,
        "walls": report.walls,
    });
    output::print(format, &text, &json)
}

pub(super) fn tell(
    data: &Path,
    request: Request,
    done: &str,
    format: Format,
) -> Result<(), Failure> {
    ask(data, request)?.ok_or_else(|| not_running(data))?;
    output::print(format, done, &json!({ "done": done }))
}

fn describe(report: &Report) -> String {
    use std::fmt::Write;
    let status = &report.status;
    let mut text = format!(
        "{} at {}: {}",
        report.name,
        report.coordinator,
        match (status.paused, status.connected) {
            (Some(Pause::UntilResumed), _) => "paused".to_owned(),
            (Some(Pause::Seconds(left)), _) => {
                format!("paused for {} more", humantime::format_duration(Duration::from_secs(left)))
            }
            (None, true) => "connected".to_owned(),
            (None, false) => "not connected".to_owned(),
        }
    );
    let up = humantime::format_duration(Duration::from_secs(report.uptime_seconds));
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "\n  credit     {} fuel\n  finished   {} units in {up}, {} reports acknowledged\n  held       {} waiting, {} of them for their inputs; {} reports to be acknowledged\n  lent       {} cores, {} of memory; cache {}, traces {}",
        status.credit,
        status.units_finished,
        status.reports_accepted,
        status.waiting,
        status.fetching,
        status.unreported,
        status.slots,
        bytesize::ByteSize(status.memory_bytes),
        bytesize::ByteSize(report.cache_bytes),
        bytesize::ByteSize(report.trace_bytes),
    );
    if let Some(walls) = &report.walls {
        let _ = write!(text, "\n  walls      {walls}");
    }
    if 0 < status.errands {
        let _ = write!(
            text,
            "\n  checks     {} parts of units to be shown or run again",
            status.errands
        );
    }
    if let Some(peers) = &report.peers {
        text.push_str(&describe_cost(peers));
    }
    if let Some(blobs) = &report.blobs {
        text.push_str(&describe_blobs(blobs));
    }
    let held = report.held;
    let _ = write!(
        text,
        "\n  for peers  {} reports of others ({}), {} of them not known to be with the coordinator; of its own {} wait, in {} copies; {} entries of the log",
        held.others,
        bytesize::ByteSize(held.others_bytes),
        held.others_waiting,
        held.own_waiting,
        held.copies,
        held.log,
    );
    for unit in status.running.iter().take(status.slots as usize) {
        let _ =
            write!(text, "\n  running    {} of {} for {:.0} s", unit.unit, unit.job, unit.seconds);
        if 0 < unit.total {
            let _ = write!(text, ", {} of {}", unit.done, unit.total);
        }
    }
    for reason in &status.why {
        let _ = write!(text, "\n  why        {reason}");
    }
    if let Some(advice) = &status.advice {
        let _ = write!(text, "\n  advice     {advice}");
    }
    text
}

fn describe_blobs(blobs: &exchange::Numbers) -> String {
    use std::fmt::Write;
    let size = |bytes| bytesize::ByteSize(bytes);
    let totals = &blobs.totals;
    let mut text = format!(
        "\n  blobs      {} given on, {} on their way, {} peers to exchange with; {} from peers, {} from the coordinator, {} to peers",
        blobs.whole,
        blobs.arriving,
        blobs.peers,
        size(totals.from_peers_bytes),
        size(totals.from_coordinator_bytes),
        size(totals.to_peers_bytes),
    );
    for blob in blobs.slowest.iter().take(SLOWEST_SHOWN) {
        let name = &blob.blob.to_string()[..12];
        let bytes =
            blob.bytes.map_or_else(|| "of unknown size".into(), |bytes| size(bytes).to_string());
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n  on its way {name} ({bytes}): {} of {} pieces; waits {}",
            blob.pieces_here, blob.pieces, blob.waits
        );
    }
    text
}

fn describe_cost(peers: &PeersReport) -> String {
    let size = |bytes| bytesize::ByteSize(bytes);
    let Traffic { up_bytes, down_bytes } = peers.usage.today;
    let limit = match peers.month_bytes_max {
        Some(max) if max <= peers.usage.month.total() => format!(" of {}: SPENT", size(max)),
        Some(max) => format!(" of {}", size(max)),
        None => String::new(),
    };
    let relay = peers.relay.as_ref().map(|url| format!(", reached through {url}"));
    format!(
        "\n  peers      {} ({} direct, {} relayed), {} known{}; today {} up, {} down; this month {}{limit}",
        peers.direct + peers.relayed,
        peers.direct,
        peers.relayed,
        peers.known,
        relay.unwrap_or_default(),
        size(up_bytes),
        size(down_bytes),
        size(peers.usage.month.total()),
    )
}

/// Gives everything back and leaves, whether the worker runs or not.
pub(super) fn leave(data: &Path, forget: bool, format: Format) -> Result<(), Failure> {
    let told = if ask(data, Request::Leave)?.is_some() {
        wait_for_end(data)?;
        true
    } else {
        false
    };
    let folder = Folder::take(data)?;
    let mut text = "left the project".to_owned();
    if !told && let Some(project) = folder::read_project(folder.path())? {
        let hello = Introduction {
            project,
            identity: folder.identity()?,
            slots: 1,
            memory_bytes: 0,
            log_head: None,
            work: folder.work(),
        };
        if let Err(trouble) = runtime()?.block_on(Box::pin(say_goodbye(&hello))) {
            text = format!(
                "{text}; the coordinator was not told ({trouble}): it lends the units again when their leases end"
            );
        }
    }
    folder.leave(forget)?;
    output::print(format, &text, &json!({ "done": text }))
}

fn wait_for_end(data: &Path) -> Result<(), Failure> {
    let started = Instant::now();
    while started.elapsed() < LEAVE_MAX {
        if let Ok(_folder) = Folder::take(data) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::Failed(format!(
        "the worker has not ended within {} s: `{}` tells more",
        LEAVE_MAX.as_secs(),
        super::typed(data, "why")
    )))
}

pub(super) fn export(data: &Path) -> Result<(), Failure> {
    let identity = Folder::take(data)?.identity()?;
    output::secret(&identity.export_account())
}

pub(super) fn import(data: &Path, format: Format) -> Result<(), Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(4096).read_to_string(&mut text);
    read.map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    let folder = Folder::take(data)?;
    folder.import_account(&text)?;
    let account = proto::AccountKey::from(&folder.identity()?.account);
    output::print(
        format,
        &format!("this machine works for account {account}"),
        &json!({ "account": account }),
    )
}

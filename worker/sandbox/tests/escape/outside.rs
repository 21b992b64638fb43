//! Starts those who try to get out, and says how each ended.

use super::attempts::{ALL, Attempt};
use super::inside::{Behind, REFUSED, VERB};
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

/// Signal of a process that the filter of system calls has ended.
const SIGSYS: i32 = 31;

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Out,
    Refused(String),
    /// It came to no answer that counts.
    Unclear(String),
}

/// Tries all ways out behind all sets of walls. Whoever asks for the list of tests is told of one.
pub(crate) fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("every_way_out_is_refused: test");
        return ExitCode::SUCCESS;
    }
    let home = tempfile::tempdir().unwrap();
    let landlock = landlock(home.path());
    let mut wrong = Vec::new();
    for (behind, name) in Behind::EACH {
        let (mut out, mut refused) = (0, 0);
        for attempt in ALL {
            let end = one(home.path(), name, attempt);
            let shown = match &end {
                End::Out => "GOT OUT".to_owned(),
                End::Refused(how) => how.clone(),
                End::Unclear(how) => format!("unclear: {how}"),
            };
            println!("{name:<9} {:<42} {shown}", attempt.name);
            out += u32::from(end == End::Out);
            refused += u32::from(matches!(end, End::Refused(_)));
            if !fits(behind, attempt, &end, landlock) {
                wrong.push(format!("{} behind {name}: {shown}", attempt.name));
            }
        }
        println!("behind {name}: {} ways out tried, {out} got out, {refused} refused\n", ALL.len());
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("wrong:\n{}", wrong.join("\n"));
    ExitCode::FAILURE
}

/// Whether an attempt ended as it must.
fn fits(behind: Behind, attempt: &Attempt, end: &End, landlock: u32) -> bool {
    match behind {
        Behind::All | Behind::CallsAlone => matches!(end, End::Refused(_)),
        Behind::LandlockAlone => {
            let refuses = attempt.landlock.is_some_and(|version| version <= landlock);
            !refuses || matches!(end, End::Refused(_))
        }
        Behind::Nothing => !attempt.free || *end == End::Out,
    }
}

/// Tries one way out in a world made for it.
fn one(home: &Path, behind: &str, attempt: &Attempt) -> End {
    let world = tempfile::tempdir_in(home).unwrap();
    let at = |name: &str| world.path().join(name);
    for name in ["key", "gone"] {
        std::fs::write(at(name), "secret").unwrap();
    }
    // Whatever this system calls it.
    let program = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    std::fs::copy(program.unwrap(), at("true")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let name = format!("starling escape {}", std::process::id());
    let name = SocketAddr::from_abstract_name(name).unwrap();
    let _abstract = UnixListener::bind_addr(&name).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = 42_u64;
    let output = Command::new(std::env::current_exe().unwrap())
        .args([VERB, behind, attempt.name])
        .arg(world.path())
        .arg(std::process::id().to_string())
        .arg((&raw const number as usize).to_string())
        .arg(port.local_addr().unwrap().port().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    end(&output)
}

fn end(output: &Output) -> End {
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => End::Out,
        (Some(code), _) if code == i32::from(REFUSED) => End::Refused(last.to_owned()),
        (_, Some(SIGSYS)) => End::Refused("ended by the system".to_owned()),
        _ => {
            std::io::stdout().write_all(&output.stderr).unwrap();
            End::Unclear(output.status.to_string())
        }
    }
}

/// The version of Landlock that this kernel has; 0 for none.
fn landlock(home: &Path) -> u32 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([VERB, "all", ALL[0].name])
        .arg(home)
        .args(["1", "0", "1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("walls: {}", said.lines().next().unwrap_or_default());
    let version = said.split("Landlock ").nth(1).unwrap_or_default();
    let digits = version.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().unwrap_or(0)
}

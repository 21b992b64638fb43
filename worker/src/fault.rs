//! Lies on purpose, so that tests with real programs can show that each kind is caught. It is compiled only with the
//! feature `fault-hook`, and lies only when the variable `STARLING_FAULT` says how: `output`, `fuel`, `segment` or
//! `shown`, and after a colon, if it is not to be always, how often: `output:0.5`.

use proto::Digest;
use proto::bounds::OUTPUT_BYTES_MAX;
use proto::state::{self, PAGE_BYTES, Shown};
use proto::trace::{Point, Trace};
use sandbox::{MEMORY_BYTES_MAX, Outcome};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::OnceLock;

/// The variable that says how to lie.
const VARIABLE: &str = "STARLING_FAULT";

/// What is lied about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Another output than came out.
    Output,
    /// More fuel than was burnt.
    Fuel,
    /// From one segment on another trace, and another output.
    Segment,
    /// Another state than was asked for.
    Shown,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Fault {
    kind: Kind,
    /// How often, from 0 to 1.
    rate: f64,
}

impl Fault {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rate) = text.split_once(':').unwrap_or((text, "1"));
        let kind = match kind {
            "output" => Kind::Output,
            "fuel" => Kind::Fuel,
            "segment" => Kind::Segment,
            "shown" => Kind::Shown,
            _ => return None,
        };
        let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))?;
        Some(Self { kind, rate })
    }

    fn strikes(self, kinds: &[Kind]) -> bool {
        kinds.contains(&self.kind) && rand::random::<f64>() < self.rate
    }
}

/// What the variable said at the first call. One that says nonsense ends the program: a test that believes to test a liar
/// must not pass with an honest worker.
fn fault() -> Option<Fault> {
    static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
    *FAULT.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let fault = Fault::parse(&text);
        if fault.is_none() {
            tracing::error!(
                "{VARIABLE} is {text:?}: give output, fuel, segment or shown, and a rate"
            );
            std::process::exit(2);
        }
        fault
    })
}

/// What is told of how a unit came out, in place of what is so.
#[must_use]
pub fn outcome(outcome: Outcome) -> Outcome {
    match fault() {
        Some(fault) if fault.strikes(&[Kind::Output, Kind::Fuel, Kind::Segment]) => {
            lie(fault.kind, outcome, rand::random())
        }
        Some(_) | None => outcome,
    }
}

/// Changes the file of a state that is about to be shown, if that is the fault; true if it did.
///
/// # Errors
/// When the file cannot be read or written.
pub fn shown(path: &Path) -> io::Result<bool> {
    let strikes = fault().is_some_and(|fault| fault.strikes(&[Kind::Shown]));
    if strikes { forge(path) } else { Ok(false) }
}

fn lie(kind: Kind, outcome: Outcome, random: u64) -> Outcome {
    match outcome {
        Outcome::Done { output, fuel, trace } => match kind {
            Kind::Output => Outcome::Done { output: other(output, 1), fuel, trace },
            Kind::Fuel => Outcome::Done { output, fuel: fuel + fuel / 100 + 1, trace },
            Kind::Segment => {
                let trace = trace.map(|trace| wrong(&trace, random));
                Outcome::Done { output: other(output, 2), fuel, trace }
            }
            Kind::Shown => Outcome::Done { output, fuel, trace },
        },
        outcome => outcome,
    }
}

/// Another output of the same length, or one byte in place of none. Each kind flips bits of its own: two liars who said
/// the same of one unit would vouch for each other, as a league does.
fn other(mut output: Vec<u8>, flip: u8) -> Vec<u8> {
    match output.last_mut() {
        Some(byte) => *byte ^= flip,
        None => output.push(flip),
    }
    output
}

/// A trace that is right up to some segment and wrong from there on, as if a bit had flipped in it.
fn wrong(trace: &Trace, random: u64) -> Trace {
    let from = random % (trace.points().len() as u64 + 1);
    let mut wrong = Trace::new(trace.spacing());
    for (index, point) in (0_u64..).zip(trace.points()) {
        let state = Digest::of(&[&point.state.0[..], b"wrong"].concat());
        wrong.push(if index < from { *point } else { Point { state, ..*point } });
    }
    wrong
}

/// Makes the state in a file another one of the same form.
fn forge(path: &Path) -> io::Result<bool> {
    let mut shown = Shown::open(File::open(path)?, MEMORY_BYTES_MAX, OUTPUT_BYTES_MAX)
        .map_err(io::Error::other)?;
    let mut head = shown.head().clone();
    let pages = usize::try_from(head.memory_pages).map_err(io::Error::other)?;
    let mut memory = vec![0; pages * PAGE_BYTES];
    while let Some((index, page)) = shown.page().map_err(io::Error::other)? {
        memory[index * PAGE_BYTES..(index + 1) * PAGE_BYTES].copy_from_slice(page);
    }
    let mut output = Vec::new();
    shown.finish(|part| output.extend_from_slice(part)).map_err(io::Error::other)?;
    match memory.last_mut() {
        Some(byte) => *byte ^= 1,
        None => head.globals.push(1),
    }
    let mut to = BufWriter::new(File::create(path)?);
    state::write(&mut to, &head, &memory, &output)?;
    to.flush()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> (Trace, Outcome) {
        let mut trace = Trace::new(10);
        for fuel in [12, 25, 37] {
            trace.push(Point { fuel, state: Digest::of(&[1]) });
        }
        (trace.clone(), Outcome::Done { output: vec![7; 3], fuel: 40, trace: Some(trace) })
    }

    #[test]
    fn each_lie_is_about_what_it_says_and_nothing_else() {
        let (right, honest) = done();
        let told = |kind, random| match lie(kind, honest.clone(), random) {
            Outcome::Done { output, fuel, trace: Some(trace) } => (output, fuel, trace),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(Kind::Output, 0), (vec![7, 7, 6], 40, right.clone()));
        assert_eq!(told(Kind::Fuel, 0), (vec![7; 3], 41, right.clone()));
        assert_eq!(told(Kind::Shown, 0), (vec![7; 3], 40, right.clone()));
        for from in 0..4 {
            let (output, fuel, wrong) = told(Kind::Segment, from);
            assert_eq!((output, fuel), (vec![7, 7, 5], 40));
            assert_eq!(right.parting(&wrong).0 as u64, from);
            assert_eq!(wrong.points().len(), 3);
        }
        let failed = Outcome::Interrupted { saved: true };
        assert_eq!(lie(Kind::Output, failed.clone(), 0), failed);
    }

    #[test]
    fn a_forged_state_has_the_form_of_one_and_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let head = state::Head { fuel: 9, globals: vec![1], memory_pages: 2, output_len: 3 };
        let memory = vec![3; 2 * PAGE_BYTES];
        state::write(File::create(&path).unwrap(), &head, &memory, b"abc").unwrap();
        let verify = || state::verify(File::open(&path).unwrap(), 1 << 20, 1 << 20).unwrap();
        let right = verify();
        assert!(forge(&path).unwrap());
        assert_eq!(verify().fuel, right.fuel);
        assert_ne!(verify().state, right.state);
    }

    #[test]
    fn the_variable_says_what_and_how_often() {
        let fault = |kind, rate| Some(Fault { kind, rate });
        assert_eq!(Fault::parse("output:0.25"), fault(Kind::Output, 0.25));
        assert_eq!(Fault::parse("shown"), fault(Kind::Shown, 1.0));
        for text in ["", "truth", "fuel:2", "fuel:x", "segment:-1"] {
            assert_eq!(Fault::parse(text), None, "{text}");
        }
    }
}

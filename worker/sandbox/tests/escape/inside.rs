//! The process that tries to get out.

use super::attempts::{ALL, Attempt};
use sandbox::{WallPlan, raise_walls};
use std::path::PathBuf;
use std::process::ExitCode;

/// First argument by which this program is told to try.
pub(crate) const VERB: &str = "try";
/// Exit code of an attempt that was refused.
pub(super) const REFUSED: u8 = 10;
/// Exit code of one that could not be tried.
pub(super) const NOT_TRIED: u8 = 11;

/// What is around the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    All,
    /// As on a system without Landlock and namespaces.
    CallsAlone,
    /// As on a system without seccomp.
    LandlockAlone,
    Nothing,
}

impl Behind {
    pub(super) const EACH: [(Self, &str); 4] = [
        (Self::All, "all"),
        (Self::CallsAlone, "calls"),
        (Self::LandlockAlone, "landlock"),
        (Self::Nothing, "nothing"),
    ];

    fn plan(self) -> Option<WallPlan> {
        let all = WallPlan::default();
        match self {
            Self::All => Some(all),
            Self::CallsAlone => Some(WallPlan { landlock: false, namespaces: false, ..all }),
            Self::LandlockAlone => Some(WallPlan { calls: false, namespaces: false, ..all }),
            Self::Nothing => None,
        }
    }
}

/// What there is to be reached.
#[derive(Debug)]
pub(super) struct World {
    /// A folder with the file `key`, the socket `socket`, and the program `true`.
    pub(super) home: PathBuf,
    pub(super) parent: i32,
    /// Of a number that the parent remembers.
    pub(super) address: usize,
    pub(super) port: u16,
}

/// Raises walls, tries one thing, and ends with how it went.
pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [behind, name, home, parent, address, port] = arguments.as_slice() else {
        return ExitCode::from(NOT_TRIED);
    };
    let world = World {
        home: home.into(),
        parent: parent.parse().unwrap(),
        address: address.parse().unwrap(),
        port: port.parse().unwrap(),
    };
    let (behind, _) = Behind::EACH.into_iter().find(|(_, name)| name == behind).unwrap();
    let Attempt { attempt, .. } = ALL.iter().find(|attempt| attempt.name == name).unwrap();
    if let Some(plan) = behind.plan() {
        let Ok((walls, ())) = raise_walls(&plan, || Ok(())) else {
            return ExitCode::from(NOT_TRIED);
        };
        println!("{walls}");
    }
    match attempt(&world) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(REFUSED)
        }
    }
}

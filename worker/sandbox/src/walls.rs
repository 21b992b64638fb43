//! Which walls stand around the processes that hold strangers' code: what they deny themselves before they touch anything of a
//! stranger, so that a fault of the engine gives away one unit and no more. docs/security.md says what each is good for.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Which walls are raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallPlan {
    /// Landlock. Left out where it is measured what it costs, or tried what holds without.
    pub landlock: bool,
    /// The filter of system calls. Left out as Landlock is.
    pub calls: bool,
    /// Namespaces of its own, where Landlock denies no ports. Left out as Landlock is.
    pub namespaces: bool,
    /// Whether nothing of a stranger is touched where the system lacks one of the walls that count.
    pub required: bool,
}

impl Default for WallPlan {
    /// All that the system has.
    fn default() -> Self {
        Self { landlock: true, calls: true, namespaces: true, required: false }
    }
}

/// The walls that stand around a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// It has no privilege, and nothing gives it one.
    pub no_privileges: bool,
    /// No other process of the same user may look into it.
    pub untraceable: bool,
    /// Version of Landlock by which it may open no file, reach no port and signal no other process; absent where the system
    /// has none.
    pub landlock: Option<u32>,
    /// The system ends it at any call that computing does not need: no file is opened, no socket and no process made.
    pub calls: bool,
    /// Its network, and what processes share without files, is its own and empty; not where Landlock denies ports.
    pub namespaces: bool,
}

impl Walls {
    /// Which of the walls that count the system lacks, for people; none where they stand.
    #[must_use]
    pub fn lacking(&self) -> Option<String> {
        let walls = [
            (self.no_privileges, "no_new_privs"),
            (self.landlock.is_some(), "Landlock"),
            (self.calls, "seccomp"),
        ];
        let lacking: Vec<_> =
            walls.iter().filter(|(stands, _)| !stands).map(|(_, name)| *name).collect();
        (!lacking.is_empty()).then(|| lacking.join(" and "))
    }

    /// As [`Self::lacking`], where the plan requires them.
    pub(crate) fn refusal(&self, plan: &WallPlan) -> Option<String> {
        let lacking = self.lacking().filter(|_| plan.required)?;
        Some(format!(
            "this system lacks walls that --require-walls asks for ({lacking}): use Linux 5.13 or later with Landlock among its \
             security modules and without a container that forbids it, or run without --require-walls"
        ))
    }
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let landlock = self.landlock.map(|version| format!("Landlock {version}"));
        let stands = |stands: bool, name: &str| stands.then(|| name.to_owned());
        let standing: Vec<_> = [
            stands(self.calls, "seccomp"),
            landlock,
            stands(self.no_privileges, "no privileges"),
            stands(self.untraceable, "not traceable"),
            stands(self.namespaces, "own namespaces"),
        ]
        .into_iter()
        .flatten()
        .collect();
        match standing.as_slice() {
            [] => f.write_str("limits only")?,
            standing => f.write_str(&standing.join(", "))?,
        }
        match self.lacking() {
            Some(lacking) => write!(f, "; this system lacks {lacking}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_and_what_is_lacking_is_said() {
        let all = Walls {
            no_privileges: true,
            untraceable: true,
            landlock: Some(7),
            calls: true,
            namespaces: false,
        };
        assert_eq!(all.to_string(), "seccomp, Landlock 7, no privileges, not traceable");
        assert_eq!(all.refusal(&WallPlan { required: true, ..WallPlan::default() }), None);
        let old = Walls { landlock: None, namespaces: true, ..all };
        assert_eq!(
            old.to_string(),
            "seccomp, no privileges, not traceable, own namespaces; this system lacks Landlock"
        );
        assert_eq!(old.refusal(&WallPlan::default()), None);
        let refusal = old.refusal(&WallPlan { required: true, ..WallPlan::default() }).unwrap();
        assert!(refusal.contains("(Landlock)") && refusal.contains("5.13"), "{refusal}");
        let none = Walls::default().to_string();
        assert_eq!(none, "limits only; this system lacks no_new_privs and Landlock and seccomp");
    }
}

//! Numbers that name jobs, leases and units within one project.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.strip_prefix($prefix).unwrap_or(text).parse().map(Self)
            }
        }
    };
}

id!(
    /// A job of a project, counted from 1 in order of submission; written `j7`.
    JobId, "j");
id!(
    /// A lease of a project, counted from 1; written `l7`.
    LeaseId, "l");
id!(
    /// A unit within its job, counted from 0: first the units of the cut, then the merge units level by level; written `u7`.
    UnitIndex, "u");

/// A unit of a project; written `j7/u12`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct UnitId {
    /// The job that the unit is a piece of.
    pub job: JobId,
    /// Which piece.
    pub unit: UnitIndex,
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.unit)
    }
}

/// Not the name of a unit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a unit: write JOB/UNIT, as in j7/u12")]
pub struct NotAUnit;

impl FromStr for UnitId {
    type Err = NotAUnit;
    fn from_str(text: &str) -> Result<Self, NotAUnit> {
        let (job, unit) = text.split_once('/').ok_or(NotAUnit)?;
        Ok(Self {
            job: job.parse().map_err(|_| NotAUnit)?,
            unit: unit.parse().map_err(|_| NotAUnit)?,
        })
    }
}

//! The command line of `starling verify`.

use super::parse_unit;
use clap::{Args, Subcommand};
use proto::{ProjectKey, UnitIndex};
use std::path::PathBuf;

/// `starling verify`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Verify {
    /// A file instead of a folder.
    #[command(subcommand)]
    pub file: Option<VerifyFile>,
    /// The folder that `starling fetch` made.
    #[arg(required = true)]
    pub folder: Option<PathBuf>,
    /// Check this unit only.
    #[arg(long, value_name = "N", value_parser = parse_unit)]
    pub unit: Option<UnitIndex>,
    /// Also run the unit (or --sample units) again here, and compare output and fuel.
    #[arg(long)]
    pub rerun: bool,
    /// How many units to run again, spread evenly.
    #[arg(
        long,
        value_name = "K",
        default_value_t = 1,
        requires = "rerun",
        conflicts_with = "unit"
    )]
    pub sample: u64,
}

/// Files that can be verified.
#[derive(Debug, Subcommand)]
pub enum VerifyFile {
    /// Check a file that `starling receipt` wrote: every signature, and that the verdict is in the log.
    Receipt(VerifyOne),
    /// Check a file that `starling evidence` wrote: who signed what, and that those who ran the segment found otherwise.
    Evidence {
        /// The file, and whose it must be.
        #[command(flatten)]
        one: VerifyOne,
        /// Also run the segment here, with the folder `blobs` beside the file.
        #[arg(long)]
        rerun: bool,
    },
    /// Check a file that `starling audit` wrote: that the project signed two logs of which one is not the other's
    /// beginning.
    Heads(VerifyOne),
}

/// A file to be verified, and against which project.
#[derive(Debug, Args)]
pub struct VerifyOne {
    /// The file.
    pub file: PathBuf,
    /// The project's key, 64 hexadecimal digits [default: that of the profile].
    #[arg(long, value_name = "KEY")]
    pub project: Option<ProjectKey>,
}

//! The command line of `starling pulsar`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `starling pulsar`.
#[derive(Debug, Subcommand)]
pub enum Pulsar {
    /// Draw the periodogram and the folded profile of a recording.
    Plot(Plot),
}

/// `starling pulsar plot`.
#[derive(Debug, Args)]
pub struct Plot {
    /// The recording: SIGPROC, .tim or .fil.
    pub file: PathBuf,
    /// The period in seconds [default: the best candidate of --result].
    #[arg(long, value_name = "SECONDS")]
    pub period: Option<f64>,
    /// The dispersion measure, pc/cm3 [default: the candidate's, or 0].
    #[arg(long)]
    pub dm: Option<f64>,
    /// An output of the kernel `pulsar`, whose best candidate is drawn.
    #[arg(long, value_name = "FILE", required_unless_present = "period")]
    pub result: Option<PathBuf>,
    /// Bins of the profile.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=4096))]
    pub bins: u32,
    /// The pictures' names begin with this [default: the recording's name].
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
}

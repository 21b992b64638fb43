//! The command line of `starling seti`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `starling seti`.
#[derive(Debug, Subcommand)]
pub enum Seti {
    /// Say how similar two results are, and list what differs and by how much.
    ///
    /// Strongly similar: each signal of either has its like in the other. Weakly similar: at least half of them do.
    /// The exit code is 0 only for results that are strongly similar, else 5.
    Compare(SetiCompare),
    /// Make a work unit: noise, and a signal of every kind hidden in it.
    Generate(SetiGenerate),
    /// Draw a result: the spectrogram around each signal, profiles with their fits, all signals over frequency and
    /// drift.
    Plots(SetiPlots),
}

/// `starling seti compare`.
#[derive(Debug, Args)]
pub struct SetiCompare {
    /// A result file.
    pub first: PathBuf,
    /// Another.
    pub second: PathBuf,
}

/// `starling seti generate`.
#[derive(Debug, Args)]
pub struct SetiGenerate {
    /// The file to write; one that exists is not overwritten.
    #[arg(default_value = "generated.sah")]
    pub file: PathBuf,
    /// Of the noise: the same seed gives the same file everywhere.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Samples, a power of two from 16384 to 1048576, which is what the project sent.
    #[arg(long, value_name = "N", default_value_t = 131_072)]
    pub samples: usize,
    /// Hz/s: up to which drift the longest spectra, and then the others, are searched.
    #[arg(long, value_name = "A,B", num_args = 1, value_delimiter = ',')]
    pub chirp_limits: Vec<f64>,
    /// Signals at which a search of it ends; the project's units said 30.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max_signals: usize,
    /// Hide nothing.
    #[arg(long, conflicts_with = "plant")]
    pub noise: bool,
    /// Hide this, as `{"tone":{"amplitude":0.1,"frequency":300,"drift":-0.1,"begin":40,"end":54}}`, and nothing else;
    /// may be given again. There are tone, source, pulses and echo (docs/seti.md).
    #[arg(long, value_name = "JSON")]
    pub plant: Vec<String>,
}

/// `starling seti plots`.
#[derive(Debug, Args)]
pub struct SetiPlots {
    /// The work unit.
    pub unit: PathBuf,
    /// The result of its search.
    pub result: PathBuf,
    /// The folder for the pictures and the page that shows them.
    #[arg(long, value_name = "DIR", default_value = "pictures")]
    pub to: PathBuf,
}

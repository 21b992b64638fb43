//! Bits flip and files are cut short, whatever wrote them: each such damage is healed, refused with the file's name, or
//! does no harm, which is to say that all results, receipts and credit are as they were. Folders are made by the real
//! programs, once, and copied for each trial.
//!
//! `STARLING_FLIPS` sets how many bits are flipped (and a fifth as many files cut, and a fifth emptied or removed) in each
//! test, `STARLING_TEST_SEED` repeats a run.

mod coordinator;
mod worker;

use anyhow::{Context, Result};
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    /// One bit of the byte at this place.
    Flip(u64, u8),
    /// All from here on is gone.
    Cut(u64),
    /// The whole file is gone.
    Removed,
}

impl Damage {
    fn of(random: &mut SmallRng, path: &Path, kind: usize) -> Result<Self> {
        let content = fs::read(path)?;
        let len = content.len() as u64;
        Ok(match kind {
            0 if 0 < len => {
                // Much of sled's file is zeros that nobody reads: three of four flips hit what was written.
                let written: Vec<usize> =
                    (0..content.len()).filter(|at| content[*at] != 0).collect();
                let at = match random.random_range(0..4) {
                    0 => random.random_range(0..content.len()),
                    _ if written.is_empty() => 0,
                    _ => written[random.random_range(0..written.len())],
                };
                Self::Flip(at as u64, random.random_range(0..8))
            }
            1 if 0 < len => Self::Cut(random.random_range(0..len)),
            2.. if 0 < len && random.random() => Self::Cut(0),
            // Nothing else can be done to a file without content.
            _ => Self::Removed,
        })
    }

    fn strike(self, path: &Path) -> Result<()> {
        match self {
            Self::Flip(at, bit) => {
                let mut content = fs::read(path)?;
                content[usize::try_from(at)?] ^= 1 << bit;
                fs::write(path, content)?;
            }
            Self::Cut(len) => fs::File::options().write(true).open(path)?.set_len(len)?,
            Self::Removed => fs::remove_file(path)?,
        }
        Ok(())
    }
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything went on as it was.
    Harmless,
    /// The file was named.
    Refused,
}

/// Kinds of damage for so many trials: 0 a flip, 1 a cut, 2 an emptied or removed file.
fn kinds(flips_usually: usize) -> Vec<usize> {
    let flips = std::env::var("STARLING_FLIPS").ok().and_then(|flips| flips.parse().ok());
    let flips: usize = flips.unwrap_or(flips_usually);
    let (cuts, removals) = (flips.div_ceil(5), flips.div_ceil(5));
    [vec![0; flips], vec![1; cuts], vec![2; removals]].concat()
}

/// A seed that is printed, so that a failure can be repeated.
fn randomness() -> SmallRng {
    let seed = std::env::var("STARLING_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("seed {seed}: set STARLING_TEST_SEED to use it again");
    SmallRng::seed_from_u64(seed)
}

/// All files below `path`, from there, in order.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![path.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    found.push(entry.path().strip_prefix(path)?.to_path_buf())
                }
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Copies a folder; hard links within it become copies.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let target = to.join(&file);
        fs::create_dir_all(target.parent().context("a file is in a folder")?)?;
        fs::copy(from.join(&file), target)?;
    }
    Ok(())
}

/// One file of `all`: each kind of file is as likely as any other, however many there are of it.
fn choose(random: &mut SmallRng, all: &[PathBuf], kind: impl Fn(&Path) -> String) -> PathBuf {
    let mut kinds: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for path in all {
        kinds.entry(kind(path)).or_default().push(path);
    }
    let kinds: Vec<_> = kinds.into_values().collect();
    let of_kind = &kinds[random.random_range(0..kinds.len())];
    of_kind[random.random_range(0..of_kind.len())].clone()
}

/// Tells what became of all trials.
fn summed(trials: &[(String, Verdict)]) {
    let mut sums: BTreeMap<(&str, Verdict), u32> = BTreeMap::new();
    for (kind, verdict) in trials {
        *sums.entry((kind, *verdict)).or_default() += 1;
    }
    for ((kind, verdict), count) in sums {
        println!("{count:4} {verdict:?} {kind}");
    }
}

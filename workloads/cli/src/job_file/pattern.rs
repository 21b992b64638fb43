//! Patterns of files: which files they name, and what must not be passed over without a word.
//!
//! `*` is any part of a name, `?` one character, `[ab]` one of these, `**` any folders; a pattern that begins with `!`
//! takes away what it names. Names that begin with a dot are taken by patterns that do. The folder that a pattern is
//! relative to is no part of it.

use glob::{MatchOptions, Pattern};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Names in one message: enough to see what they have in common.
const NAMES_TOLD: usize = 3;
/// Deepest folder that `**` goes into: no archive is so deep, and a mount that holds itself ends.
const DEPTH_MAX: usize = 64;
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// What patterns name.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Each file with its name as seen from the folder, each pattern's in alphabetical order.
    pub(super) files: Vec<(String, PathBuf)>,
    /// What was left out, for people.
    pub(super) notes: Vec<String>,
}

/// The files that the patterns name, as seen from `folder`.
///
/// # Errors
/// A pattern that is none or names no file, and what it names that cannot be sent.
pub(super) fn expand(folder: &Path, patterns: &[String]) -> Result<Found, String> {
    let (without, with): (Vec<&String>, Vec<&String>) =
        patterns.iter().partition(|pattern| pattern.starts_with('!'));
    if with.is_empty() && !without.is_empty() {
        return Err("each pattern takes files away (!), and none names any".to_owned());
    }
    let without = without.iter().map(|pattern| parsed(&pattern[1..])).collect::<Result<_, _>>()?;
    let mut walk = Walk { folder: folder.to_owned(), without, ..Walk::default() };
    for pattern in with {
        let before = walk.taken;
        walk.hidden.clear();
        walk.folders.clear();
        let parts = parts(pattern)?;
        let (start, name) = if pattern.starts_with('/') {
            (PathBuf::from("/"), "/".to_owned())
        } else {
            (folder.to_owned(), String::new())
        };
        walk.go(&start, &name, &parts, 0)?;
        if !walk.refused.is_empty() {
            return Err(walk.refused.join("; "));
        }
        if walk.taken == before {
            return Err(walk.nothing(folder, pattern));
        }
        walk.note_left_out(pattern);
    }
    if 0 < walk.again {
        walk.notes.push(format!(
            "{} named by more than one pattern: each is taken once",
            if walk.again == 1 {
                "a file is".to_owned()
            } else {
                format!("{} files are", walk.again)
            }
        ));
    }
    Ok(Found { files: walk.files, notes: walk.notes })
}

/// One part of a pattern, between two slashes.
#[derive(Debug)]
enum Part {
    Literal(String),
    /// With whether it takes names that begin with a dot.
    Names(Pattern, bool),
    Folders,
}

fn parsed(pattern: &str) -> Result<Pattern, String> {
    Pattern::new(pattern).map_err(|error| {
        format!(
            "\"{pattern}\" is no pattern: {error}; a name that has [, * or ? in it is written \"{}\"",
            Pattern::escape(pattern)
        )
    })
}

fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    parsed(pattern)?;
    let mut parts = Vec::new();
    for text in pattern.split('/').filter(|text| !text.is_empty() && *text != ".") {
        parts.push(match text {
            "**" => Part::Folders,
            text if text.contains(['*', '?', '[']) => {
                Part::Names(parsed(text)?, text.starts_with('.'))
            }
            text => Part::Literal(text.to_owned()),
        });
    }
    if matches!(parts.last(), Some(Part::Folders)) {
        parts.push(Part::Names(parsed("*")?, false));
    }
    Ok(parts)
}

#[derive(Debug, Default)]
struct Walk {
    folder: PathBuf,
    without: Vec<Pattern>,
    files: Vec<(String, PathBuf)>,
    seen: BTreeSet<PathBuf>,
    /// Files named by the patterns, those named before too.
    taken: u64,
    again: u64,
    refused: Vec<String>,
    /// Of the pattern at hand: what it would name but for a dot, and folders that it names.
    hidden: BTreeSet<String>,
    folders: BTreeSet<String>,
    notes: Vec<String>,
}

impl Walk {
    /// Takes what `parts` name below `at`, which is called `name`.
    fn go(&mut self, at: &Path, name: &str, parts: &[Part], depth: usize) -> Result<(), String> {
        let Some((part, rest)) = parts.split_first() else {
            self.judge(at, name);
            return Ok(());
        };
        match part {
            Part::Literal(text) => {
                let (path, name) = (at.join(text), joined(name, text));
                let there = fs::symlink_metadata(&path).is_ok();
                let inner = rest.is_empty() || path.is_dir();
                if there && inner && !self.is_without(&name) {
                    self.go(&path, &name, rest, depth)?;
                }
            }
            Part::Names(pattern, dotted) => {
                for (text, path) in entries(at, name)? {
                    let shown = text.to_string_lossy();
                    if !pattern.matches_with(&shown, MATCHING) {
                        continue;
                    }
                    let name = joined(name, &shown);
                    if self.is_without(&name) || !rest.is_empty() && !path.is_dir() {
                        continue;
                    }
                    if shown.starts_with('.') && !dotted {
                        self.hidden.insert(name);
                        continue;
                    }
                    self.go(&path, &name, rest, depth)?;
                }
            }
            Part::Folders => self.folders_below(at, name, parts, depth)?,
        }
        Ok(())
    }

    /// `**`: what follows it, here and in each folder below.
    fn folders_below(
        &mut self,
        at: &Path,
        name: &str,
        parts: &[Part],
        depth: usize,
    ) -> Result<(), String> {
        self.go(at, name, &parts[1..], depth)?;
        if DEPTH_MAX <= depth {
            self.notes.push(format!("{name}: ** goes no deeper than {DEPTH_MAX} folders"));
            return Ok(());
        }
        for (text, path) in entries(at, name)? {
            let shown = text.to_string_lossy();
            let name = joined(name, &shown);
            if !path.is_dir() || self.is_without(&name) {
                continue;
            }
            if shown.starts_with('.') {
                self.hidden.insert(format!("{name}/"));
            } else if path.is_symlink() {
                self.notes.push(format!("{name} is a link to a folder: ** does not go into it"));
            } else {
                self.go(&path, &name, parts, depth + 1)?;
            }
        }
        Ok(())
    }

    /// Takes one thing that was named, or says why it cannot be sent.
    fn judge(&mut self, path: &Path, name: &str) {
        let refused = match fs::metadata(path) {
            Err(error) if path.is_symlink() && error.kind() == io::ErrorKind::NotFound => {
                "it is a link to what is not there".to_owned()
            }
            Err(error) => format!("it cannot be looked at: {error}"),
            Ok(meta) if meta.is_dir() => {
                self.folders.insert(name.to_owned());
                return;
            }
            Ok(meta) => match kind(&meta) {
                Some(kind) => format!("it is {kind}"),
                None if path.strip_prefix(&self.folder).unwrap_or(path).to_str().is_none() => {
                    "its name is not UTF-8".to_owned()
                }
                None => {
                    self.taken += 1;
                    if self.seen.insert(path.to_owned()) {
                        self.files.push((name.to_owned(), path.to_owned()));
                    } else {
                        self.again += 1;
                    }
                    return;
                }
            },
        };
        if self.refused.len() < NAMES_TOLD {
            let out = Pattern::escape(name).replace(char::REPLACEMENT_CHARACTER, "?");
            self.refused.push(format!(
                "\"{name}\" cannot be sent: {refused}; leave it out with a pattern \"!{out}\""
            ));
        }
    }

    /// Whether a pattern takes away this name, or a folder that it is in.
    fn is_without(&self, name: &str) -> bool {
        self.without.iter().any(|pattern| pattern.matches_with(name, MATCHING))
    }

    fn note_left_out(&mut self, pattern: &str) {
        if !self.hidden.is_empty() {
            self.notes.push(format!(
                "\"{pattern}\" leaves out names that begin with a dot: {}",
                told(&self.hidden)
            ));
        }
        if !self.folders.is_empty() {
            self.notes.push(format!(
                "\"{pattern}\" leaves out folders, which are no files: {}",
                told(&self.folders)
            ));
        }
    }

    /// Why a pattern names no file.
    fn nothing(&self, folder: &Path, pattern: &str) -> String {
        let seen_from = if folder.as_os_str().is_empty() {
            "this folder".to_owned()
        } else {
            folder.display().to_string()
        };
        let hint = if pattern.contains(['*', '?', '[']) && folder.join(pattern).is_file() {
            format!(
                ": a file is called just that, and is named by \"{}\"",
                Pattern::escape(pattern)
            )
        } else if !self.hidden.is_empty() {
            format!(
                ": names that begin with a dot are taken by a pattern that does: {}",
                told(&self.hidden)
            )
        } else if !self.folders.is_empty() {
            format!(
                ": there are folders of that name ({}): name files in them",
                told(&self.folders)
            )
        } else {
            String::new()
        };
        format!("no file is named \"{pattern}\" (as seen from {seen_from}){hint}")
    }
}

/// What a thing is that is neither a file nor a folder.
pub(super) fn kind(meta: &Metadata) -> Option<&'static str> {
    let is = |test: fn(&FileType) -> bool| test(&meta.file_type());
    if meta.is_file() {
        None
    } else if meta.is_dir() {
        Some("a folder")
    } else if is(FileType::is_fifo) {
        Some("a named pipe")
    } else if is(FileType::is_socket) {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// The entries of a folder by their names.
fn entries(folder: &Path, name: &str) -> Result<Vec<(OsString, PathBuf)>, String> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let unreadable = |error: io::Error| {
        let shown = if name.is_empty() { here.display().to_string() } else { name.to_owned() };
        format!(
            "the folder {shown} cannot be read: {error}; leave it out with a pattern \"!{}\"",
            Pattern::escape(name)
        )
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(here).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let path = folder.join(&name);
        entries.push((name, path));
    }
    entries.sort_unstable();
    Ok(entries)
}

fn joined(name: &str, part: &str) -> String {
    match name {
        "" => part.to_owned(),
        name if name.ends_with('/') => format!("{name}{part}"),
        name => format!("{name}/{part}"),
    }
}

/// The first few names, and how many more there are.
fn told(names: &BTreeSet<String>) -> String {
    let mut text = names.iter().take(NAMES_TOLD).cloned().collect::<Vec<_>>().join(", ");
    if NAMES_TOLD < names.len() {
        text.push_str(&format!(" and {} more", names.len() - NAMES_TOLD));
    }
    text
}

#[cfg(test)]
mod tests;

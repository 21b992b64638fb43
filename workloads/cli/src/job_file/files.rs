//! The files that a job names: read once, known by their digests.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use proto::bounds::LINE_BYTES_MAX;
use proto::job::Input;
use proto::{Digest, cut};

use super::suggest;

/// Largest module that is looked at, bytes: beyond what any kernel may be.
const KERNEL_BYTES_MAX: u64 = 64 << 20;

/// Content that a job needs at the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Of the content.
    pub digest: Digest,
    /// Bytes of the content.
    pub len: u64,
    /// Where it is.
    pub content: Content,
}

/// Where content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In a file.
    File(PathBuf),
    /// Here.
    Bytes(Cow<'static, [u8]>),
}

/// Reads what is asked for, relative to a folder, and keeps account of it.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    blobs: Vec<Blob>,
}

type Answer<T> = Result<T, String>;

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), blobs: Vec::new() }
    }

    pub(super) fn into_blobs(self) -> Vec<Blob> {
        self.blobs
    }

    fn keep(&mut self, digest: Digest, len: u64, content: Content) {
        if !self.blobs.iter().any(|blob| blob.digest == digest) {
            self.blobs.push(Blob { digest, len, content });
        }
    }

    /// A shipped kernel by name, or a module by path; looked into, so that a wrong one is refused here.
    pub(super) fn kernel(&mut self, name: &str) -> Answer<Digest> {
        let (wasm, content) = match shipped::find(name) {
            Some(shipped) => {
                (Cow::Borrowed(shipped.wasm), Content::Bytes(Cow::Borrowed(shipped.wasm)))
            }
            None => {
                let path = self.folder.join(name);
                let wasm =
                    read_kernel(&path).map_err(|error| unknown_kernel(name, &path, &error))?;
                (Cow::Owned(wasm), Content::File(path))
            }
        };
        kernel::inspect(&wasm).map_err(|refusal| {
            format!("\"{name}\" is no admissible kernel: {}", chain(&refusal))
        })?;
        let digest = Digest::of(&wasm);
        self.keep(digest, wasm.len() as u64, content);
        Ok(digest)
    }

    /// A file as an input.
    pub(super) fn input(&mut self, name: &str) -> Answer<Input> {
        let path = self.folder.join(name);
        let (digest, len) = digest(&path)?;
        let name = path
            .file_name()
            .map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned());
        self.keep(digest, len, Content::File(path));
        Ok(Input { name, digest, len })
    }

    /// The files that the patterns name, each pattern's in alphabetical order.
    pub(super) fn glob(&mut self, patterns: &[String]) -> Answer<Vec<Input>> {
        let mut names: Vec<String> = Vec::new();
        for pattern in patterns {
            let whole = self.folder.join(pattern);
            let whole = whole.to_str().ok_or("the folder's name is not Unicode")?;
            let found = glob::glob(whole)
                .map_err(|error| format!("\"{pattern}\" is no pattern: {error}"))?;
            let before = names.len();
            for path in found {
                let path = path.map_err(|error| error.to_string())?;
                if path.is_file() {
                    names.push(
                        path.strip_prefix(&self.folder)
                            .unwrap_or(&path)
                            .to_string_lossy()
                            .into_owned(),
                    );
                }
            }
            if names.len() == before {
                return Err(format!(
                    "no file is named \"{pattern}\" (as seen from {})",
                    shown(&self.folder)
                ));
            }
        }
        names.into_iter().map(|name| self.input(&name)).collect()
    }

    /// A file of parameters, one JSON object in each line: its digest, bytes and number of lines.
    pub(super) fn lines(&mut self, name: &str) -> Answer<(Digest, u64, u64)> {
        let path = self.folder.join(name);
        let (digest, len) = digest(&path)?;
        let mut reader = BufReader::new(open(&path)?);
        let mut count = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX as u64 + 2).read_until(b'\n', &mut line);
            if read.map_err(|error| unreadable(&path, &error))? == 0 {
                break;
            }
            count += 1;
            let text = std::str::from_utf8(&line)
                .map_err(|_| format!("{name}:{count}: not text in UTF-8"))?;
            let text = text.strip_suffix('\n').unwrap_or(text);
            cut::parse_line(text).map_err(|invalid| format!("{name}:{count}: {invalid}"))?;
        }
        self.keep(digest, len, Content::File(path));
        Ok((digest, len, count))
    }
}

fn read_kernel(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut wasm = Vec::new();
    File::open(path)?.take(KERNEL_BYTES_MAX).read_to_end(&mut wasm)?;
    Ok(wasm)
}

fn unknown_kernel(name: &str, path: &Path, error: &std::io::Error) -> String {
    let names: Vec<&str> = shipped::ALL.iter().map(|shipped| shipped.name).collect();
    let hint = suggest(name, &names);
    format!(
        "{} cannot be read ({error}), and no shipped kernel is called \"{name}\"{hint}",
        path.display()
    )
}

fn open(path: &Path) -> Answer<File> {
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be read: {error}", path.display())
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() {
        "this folder".to_owned()
    } else {
        folder.display().to_string()
    }
}

/// Digest and length of a file.
fn digest(path: &Path) -> Answer<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(open(path)?).map_err(|error| unreadable(path, &error))?;
    Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

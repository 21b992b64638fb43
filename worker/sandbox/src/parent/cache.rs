//! Compiled kernels on disk: made on this machine, for this engine, and trusted for no other reason than that.
//!
//! Only the program itself knows the folder and its secret. A child gets an open file whose digest was just checked, and the
//! program itself never loads what is in one.
//!
//! One file for each kernel: a keyed digest of the rest, whether functions are inlined, the length of the layout, the
//! layout as JSON, the engine's compilation. The key is a secret of this directory, so a file that another machine made, or that is damaged, is not
//! loaded.

use crate::engine::Engines;
use crate::parent::compile::{self, Compilation};
use crate::parent::pool::Config;
use crate::protocol::{COMPILED_BYTES_MAX, Compiled, Key, TAG_BYTES};
use crate::unit::{Kernel, Trouble};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// Bytes of compiled kernels that are kept from one start of the program to the next.
const CACHE_BYTES_MAX: u64 = 2 << 30;
/// Time after which a kernel that could not be compiled for want of something is tried again.
const RETRY: Duration = Duration::from_secs(600);
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;
const SECRET_FILE: &str = "secret";
/// How often a slot that waits for its turn to compile looks again.
const TURN: Duration = Duration::from_millis(20);

/// The directory, with what vouches for its files.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    secret: [u8; 32],
}

impl Directory {
    /// Opens the directory and makes its secret if it has none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        program::file::make_private(path).map_err(io::Error::other)?;
        let file = path.join(SECRET_FILE);
        if let Some(secret) = read_secret(&file)? {
            return Ok(Self { path: path.to_owned(), secret });
        }
        let part = path.join(format!("{SECRET_FILE}.{}.part", std::process::id()));
        let mut new = program::file::create_anew(&part)?;
        new.write_all(&rand::random::<[u8; 32]>())?;
        new.sync_all()?;
        // Whoever is first wins, and everybody reads what he wrote.
        match fs::hard_link(&part, &file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => fs::remove_file(&part)?,
        }
        let secret = read_secret(&file)?
            .ok_or_else(|| io::Error::other("the secret of the cache is damaged"))?;
        Ok(Self { path: path.to_owned(), secret })
    }

    pub(crate) fn key(&self, engines: &Engines, kernel: &Kernel) -> Key {
        let mut hasher = KeyHasher(blake3::Hasher::new_keyed(&self.secret));
        for (_, engine) in engines.all() {
            engine.precompile_compatibility_hash().hash(&mut hasher);
        }
        (kernel.contract.number(), kernel.digest, kernel.nan == kernel::NanMode::Canonical)
            .hash(&mut hasher);
        Key(hasher.0.finalize().into())
    }

    fn file(&self, key: Key) -> PathBuf {
        self.path.join(format!("{}.kernel", blake3::Hash::from_bytes(key.0).to_hex()))
    }

    /// Stores a compilation, whole or not at all.
    pub(crate) fn store(&self, key: Key, compiled: &Compiled, code: &[u8]) -> io::Result<()> {
        let layout = &compiled.layout;
        let length = u32::try_from(layout.len()).map_err(io::Error::other)?.to_le_bytes();
        let inlined = [u8::from(compiled.cost.inlined)];
        let mut hasher = self.hasher(key);
        for bytes in [inlined.as_slice(), &length, layout, code] {
            hasher.update(bytes);
        }
        let tag = hasher.finalize();
        let part = self.path.join(format!("{}.part", std::process::id()));
        let written = program::file::create_anew(&part).and_then(|mut file| {
            for bytes in [tag.as_slice(), &inlined, &length, layout, code] {
                file.write_all(bytes)?;
            }
            file.sync_data()?;
            fs::rename(&part, self.file(key))
        });
        if written.is_err() {
            // Give the room back; the failure that is reported is the first.
            let _ = fs::remove_file(&part);
        }
        written
    }

    /// A compilation that is here, whole, and made here, open to be read; not found if it has to be made anew.
    fn verified(&self, key: Key) -> io::Result<File> {
        let mut file = File::open(self.file(key))?;
        let mut tag = [0; TAG_BYTES];
        file.read_exact(&mut tag)?;
        let mut hasher = self.hasher(key);
        hasher
            .update_reader(BufReader::with_capacity(READ_BYTES, &file).take(COMPILED_BYTES_MAX))?;
        file.rewind()?;
        if hasher.finalize() == tag { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn hasher(&self, key: Key) -> blake3::Hasher {
        let mut hasher = blake3::Hasher::new_keyed(&self.secret);
        hasher.update(&key.0);
        hasher
    }
}

/// The secret, which nobody else may have written: the folder is private, and a link is not followed.
fn read_secret(file: &Path) -> io::Result<Option<[u8; 32]>> {
    let own = |found: &fs::Metadata| found.is_file() && found.mode() & 0o077 == 0;
    let read = || match file.symlink_metadata() {
        Ok(found) if own(&found) => fs::read(file),
        Ok(_) => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    match read() {
        Ok(bytes) => match bytes.try_into() {
            Ok(secret) => Ok(Some(secret)),
            // Damaged, or open to others: what it protected cannot be told from foreign files any more.
            Err(_) => fs::remove_file(file).map(|()| None),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the engine's own fingerprint to BLAKE3.
struct KeyHasher(blake3::Hasher);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}

/// The directory as the parent sees it, with what is known of each kernel.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: Directory,
    engines: Engines,
    known: Mutex<HashMap<Key, Arc<Mutex<Known>>>>,
    /// Held by the one compilation that runs: each may take all the memory that is lent.
    compiling: Mutex<()>,
}

/// What is known of a kernel.
#[derive(Clone, Debug)]
enum Known {
    Nothing,
    Compiled,
    /// It cannot be compiled on any machine.
    Never(Trouble),
    /// It could not be compiled here.
    NotNow {
        reason: Trouble,
        at: Instant,
    },
}

impl Cache {
    pub(crate) fn open(path: &Path, engines: Engines) -> io::Result<Self> {
        let directory = Directory::open(path)?;
        tidy(path)?;
        Ok(Self { directory, engines, known: Mutex::default(), compiling: Mutex::new(()) })
    }

    /// Makes sure that a kernel is compiled, in a child process if need be; slots that want the same kernel wait for the
    /// one that compiles it. `stopped` is asked now and then whether to give up.
    pub(crate) fn ensure(
        &self,
        kernel: &Kernel,
        config: &Config,
        stopped: impl Fn() -> bool,
    ) -> Result<Key, compile::Stop> {
        let key = self.directory.key(&self.engines, kernel);
        let known = Arc::clone(
            self.known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_insert_with(|| Arc::new(Mutex::new(Known::Nothing))),
        );
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = matches!(&*known, Known::NotNow { at, .. } if RETRY < at.elapsed());
        if expired || matches!(&*known, Known::Nothing) {
            *known = if self.directory.verified(key).is_ok() {
                Known::Compiled
            } else {
                self.compile(kernel, config, stopped)?
            };
        }
        match &*known {
            Known::Compiled | Known::Nothing => Ok(key),
            Known::Never(reason) | Known::NotNow { reason, .. } => {
                Err(compile::Stop::Trouble(reason.clone()))
            }
        }
    }

    /// Compiles a kernel when no other is being compiled.
    fn compile(
        &self,
        kernel: &Kernel,
        config: &Config,
        stopped: impl Fn() -> bool,
    ) -> Result<Known, compile::Stop> {
        let _turn = loop {
            match self.compiling.try_lock() {
                Ok(turn) => break turn,
                Err(TryLockError::Poisoned(turn)) => break turn.into_inner(),
                Err(TryLockError::WouldBlock) if stopped() => return Err(compile::Stop::Stopped),
                Err(TryLockError::WouldBlock) => std::thread::sleep(TURN),
            }
        };
        let compilation = Compilation {
            program: &config.program,
            kernel,
            cache: Some(&config.cache),
            priority: config.priority,
            limits: config.compile,
            inlining: config.inlining,
            walls: config.walls,
        };
        match compilation.run(stopped) {
            Ok(_) => Ok(Known::Compiled),
            Err(compile::Stop::Trouble(reason @ (Trouble::Refused(_) | Trouble::Compile(_)))) => {
                Ok(Known::Never(reason))
            }
            // Not for lack of time and memory, which it will lack again: the next unit may find it otherwise.
            Err(compile::Stop::Trouble(reason @ Trouble::CompileLimit(_))) => {
                Ok(Known::NotNow { reason, at: Instant::now() })
            }
            Err(stop) => Err(stop),
        }
    }

    /// An open file with a compilation, for a child. Nothing that has ever held strangers' code can write into it.
    pub(crate) fn compiled(&self, key: Key) -> io::Result<File> {
        self.directory.verified(key)
    }

    /// Forgets a compilation that a child found damaged.
    pub(crate) fn forget(&self, kernel: &Kernel) {
        let key = self.directory.key(&self.engines, kernel);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        // If it cannot be removed it is written over.
        let _ = fs::remove_file(self.directory.file(key));
    }
}

/// Removes what an interrupted compilation left and the oldest compilations beyond the limit.
fn tidy(path: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let file = entry.path();
        match file.extension().and_then(|suffix| suffix.to_str()) {
            // Another process may be compiling: only what is old is left over.
            Some("part")
                if entry.metadata()?.modified()?.elapsed().is_ok_and(|age| RETRY < age) =>
            {
                fs::remove_file(file)?;
            }
            Some("kernel") => {
                files.push((entry.metadata()?.modified()?, entry.metadata()?.len(), file))
            }
            _ => {}
        }
    }
    files.sort();
    let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    for (_, bytes, file) in files {
        if total <= CACHE_BYTES_MAX {
            break;
        }
        fs::remove_file(file)?;
        total -= bytes;
    }
    Ok(())
}

//! Values by key in one append-only file: what is held survives a restart, and damage costs no more than it hit.
//!
//! `key length (u16 LE) ‖ value length (u32 LE) ‖ first 8 bytes of BLAKE3 over all else ‖ key ‖ value` after a header of 8
//! bytes; a length of [`GONE`] deletes the key. The index is in memory, the values are not. Every value is verified when
//! the file is opened and whenever it is read. When most of the file is of no use any more it is written anew.

use program::file;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Tells the file and its version.
const HEADER: &[u8; 8] = b"starlhd1";
const FRAME_BYTES: usize = 14;
/// The length of a value that deletes its key.
const GONE: u32 = u32::MAX;
/// Longest key, bytes: a letter, a worker's key, a number.
const KEY_BYTES_MAX: usize = 64;
/// Longest value, bytes: a sealed batch at its largest, and what is noted of it.
const VALUE_BYTES_MAX: usize = proto::seal::SEALED_BYTES_MAX + 1024;
const _: () = assert!(proto::bounds::LOG_ENTRY_BYTES_MAX <= VALUE_BYTES_MAX);
/// The file is written anew when it has grown to this, bytes...
const COMPACT_BYTES_MIN: u64 = 8 << 20;
/// ...and to so many times what is of use.
const COMPACT_GROWTH: u64 = 3;

/// Where a value is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    at: u64,
    len: u32,
}

/// The file, open.
#[derive(Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    file: File,
    len: u64,
    /// Bytes of the frames that are of use.
    live: u64,
    index: BTreeMap<Vec<u8>, Spot>,
}

impl Shelf {
    /// Opens the file at `path`, made when it is not there. What a crash cut off, or damage, at its end is dropped.
    ///
    /// # Errors
    /// When it cannot be read or written, or is of another version.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file = file::open_private(path)?;
        if file.metadata()?.len() < HEADER.len() as u64 {
            file.set_len(0)?;
            file.write_all(HEADER)?;
            file.sync_all()?;
            file::sync_folder_of(path)?;
        }
        let mut shelf = Self {
            path: path.to_path_buf(),
            file,
            len: HEADER.len() as u64,
            live: 0,
            index: BTreeMap::new(),
        };
        shelf.read_all()?;
        Ok(shelf)
    }

    fn read_all(&mut self) -> io::Result<()> {
        let all = self.file.metadata()?.len();
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut header = [0; 8];
        reader.read_exact(&mut header)?;
        if header != *HEADER {
            let path = self.path.display();
            let text = format!("{path} is not of this version: move it away to start without it");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        while let Some(frame) = read_frame(&mut reader)? {
            let at = self.len;
            self.len += frame_bytes(frame.key.len(), frame.value.as_ref().map_or(0, Vec::len));
            if frame.whole {
                self.note(frame.key, frame.value.map(|value| (at, value.len())));
            } else {
                tracing::warn!(at, path = %self.path.display(), "a value on disk is damaged and is dropped");
            }
        }
        if self.len < all {
            let bytes_lost = all - self.len;
            tracing::warn!(bytes_lost, path = %self.path.display(), "the end of a file was torn by a crash and is dropped");
            self.file.set_len(self.len)?;
        }
        Ok(())
    }

    fn note(&mut self, key: Vec<u8>, value: Option<(u64, usize)>) {
        let key_len = key.len();
        let before = match value {
            Some((at, len)) => {
                self.live += frame_bytes(key_len, len);
                self.index.insert(key, Spot { at, len: u32::try_from(len).unwrap_or(GONE - 1) })
            }
            None => self.index.remove(&key),
        };
        if let Some(before) = before {
            self.live -= frame_bytes(key_len, before.len as usize);
        }
    }

    /// Keeps a value; on disk after [`Self::sync`].
    ///
    /// # Errors
    /// When it cannot be written; then the key is as it was.
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let at = self.len;
        self.append(key, Some(value))?;
        self.note(key.to_vec(), Some((at, value.len())));
        self.compact_if_wasteful()
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// When it cannot be written; then the key is as it was.
    pub(super) fn remove(&mut self, key: &[u8]) -> io::Result<()> {
        if self.index.contains_key(key) {
            self.append(key, None)?;
            self.note(key.to_vec(), None);
        }
        self.compact_if_wasteful()
    }

    fn append(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        let frame = encode(key, value)?;
        self.file.seek(SeekFrom::Start(self.len))?;
        match self.file.write_all(&frame) {
            Ok(()) => self.len += frame.len() as u64,
            Err(error) => {
                // Should this fail too, the next append writes over it and opening drops it.
                let _ = self.file.set_len(self.len);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes all that was put durable.
    ///
    /// # Errors
    /// When the disk does not.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The value of a key, verified; none when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn get(&mut self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(spot) = self.index.get(key).copied() else { return Ok(None) };
        self.file.seek(SeekFrom::Start(spot.at))?;
        match read_frame(&mut self.file)? {
            Some(frame) if frame.whole && frame.key == key => Ok(frame.value),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a value on disk is damaged")),
        }
    }

    /// Bytes of the value of a key; none when there is none.
    pub(super) fn value_len(&self, key: &[u8]) -> Option<u32> {
        self.index.get(key).map(|spot| spot.len)
    }

    /// Keys that start with `prefix`, in order.
    pub(super) fn keys(&self, prefix: &[u8]) -> impl Iterator<Item = &[u8]> {
        let all = self.index.range(prefix.to_vec()..).map(|(key, _)| key.as_slice());
        let prefix = prefix.to_vec();
        all.take_while(move |key| key.starts_with(&prefix))
    }

    fn compact_if_wasteful(&mut self) -> io::Result<()> {
        let live = self.live + HEADER.len() as u64;
        if self.len <= COMPACT_BYTES_MIN.max(live * COMPACT_GROWTH) {
            return Ok(());
        }
        let aside = self.path.with_extension("new");
        let file = file::create_anew(&aside)?;
        let mut writer = BufWriter::with_capacity(1 << 20, file);
        writer.write_all(HEADER)?;
        let (mut index, mut len) = (BTreeMap::new(), HEADER.len() as u64);
        let keys: Vec<Vec<u8>> = self.index.keys().cloned().collect();
        for key in keys {
            // A damaged value is not carried over.
            let Ok(Some(value)) = self.get(&key) else { continue };
            let frame = encode(&key, Some(&value))?;
            writer.write_all(&frame)?;
            let value_len = u32::try_from(value.len()).map_err(io::Error::other)?;
            index.insert(key, Spot { at: len, len: value_len });
            len += frame.len() as u64;
        }
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        file::sync_folder_of(&self.path)?;
        (self.file, self.index, self.len) = (file, index, len);
        self.live = len - HEADER.len() as u64;
        Ok(())
    }
}

fn frame_bytes(key: usize, value: usize) -> u64 {
    (FRAME_BYTES + key + value) as u64
}

fn check(key: &[u8], value: Option<&[u8]>) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
    if let Some(value) = value {
        hasher.update(value);
    }
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

fn encode(key: &[u8], value: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::other("a key or value is too long to be kept");
    if KEY_BYTES_MAX < key.len() || value.is_some_and(|value| VALUE_BYTES_MAX < value.len()) {
        return Err(too_long());
    }
    let key_len = u16::try_from(key.len()).map_err(|_| too_long())?;
    let value_len = match value {
        Some(value) => u32::try_from(value.len()).map_err(|_| too_long())?,
        None => GONE,
    };
    let mut frame = Vec::with_capacity(FRAME_BYTES + key.len() + value.map_or(0, <[u8]>::len));
    frame.extend_from_slice(&key_len.to_le_bytes());
    frame.extend_from_slice(&value_len.to_le_bytes());
    frame.extend_from_slice(&check(key, value));
    frame.extend_from_slice(key);
    frame.extend_from_slice(value.unwrap_or_default());
    Ok(frame)
}

/// A frame as it was read.
struct Frame {
    key: Vec<u8>,
    /// None: the key is gone.
    value: Option<Vec<u8>>,
    /// Whether it is what was written.
    whole: bool,
}

/// The next frame; none at the end of the file, or of what has the form of one.
fn read_frame(reader: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; FRAME_BYTES];
    if !read_whole(reader, &mut head)? {
        return Ok(None);
    }
    let key_len = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let value_len = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
    let bytes = if value_len == GONE { 0 } else { value_len as usize };
    if KEY_BYTES_MAX < key_len || VALUE_BYTES_MAX < bytes {
        return Ok(None);
    }
    let (mut key, mut value) = (vec![0; key_len], vec![0; bytes]);
    if !read_whole(reader, &mut key)? || !read_whole(reader, &mut value)? {
        return Ok(None);
    }
    let value = (value_len != GONE).then_some(value);
    let whole = check(&key, value.as_deref()) == head[6..];
    Ok(Some(Frame { key, value, whole }))
}

/// Fills `bytes`; false at the end of the file.
fn read_whole(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_and_a_torn_end_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shelf");
        let mut shelf = Shelf::open(&path).unwrap();
        shelf.put(b"one", b"1").unwrap();
        shelf.put(b"two", &[2; 100_000]).unwrap();
        shelf.put(b"one", b"uno").unwrap();
        shelf.put(b"three", b"").unwrap();
        shelf.remove(b"two").unwrap();
        shelf.sync().unwrap();
        let whole = fs::metadata(&path).unwrap().len();
        File::options().append(true).open(&path).unwrap().write_all(&[7; 30]).unwrap();
        drop(shelf);
        let mut shelf = Shelf::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), whole);
        assert_eq!(shelf.get(b"one").unwrap().unwrap(), b"uno");
        assert_eq!(shelf.get(b"three").unwrap().unwrap(), b"");
        assert_eq!(shelf.get(b"two").unwrap(), None);
        assert_eq!(shelf.keys(b"t").collect::<Vec<_>>(), [b"three"]);
        assert!(shelf.put(&[0; 65], b"").is_err());
    }

    #[test]
    fn a_touched_value_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shelf");
        let mut shelf = Shelf::open(&path).unwrap();
        shelf.put(b"key", b"value").unwrap();
        let mut content = fs::read(&path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&path, content).unwrap();
        assert!(shelf.get(b"key").is_err());
        assert_eq!(Shelf::open(&path).unwrap().value_len(b"key"), None);
    }

    #[test]
    fn what_is_of_no_use_gives_its_room_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shelf");
        let mut shelf = Shelf::open(&path).unwrap();
        for round in 0..40_u8 {
            shelf.put(b"changing", &vec![round; 1 << 20]).unwrap();
            shelf.put(&[b's', round], &[round]).unwrap();
        }
        assert!(fs::metadata(&path).unwrap().len() <= COMPACT_BYTES_MIN + (2 << 20));
        drop(shelf);
        let mut shelf = Shelf::open(&path).unwrap();
        assert_eq!(shelf.get(b"changing").unwrap().unwrap(), vec![39; 1 << 20]);
        assert_eq!(shelf.keys(b"s").count(), 40);
    }
}

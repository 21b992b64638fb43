//! Files that show something of the project's log to anybody: JSON, bytes in base64, digests in hexadecimal.

use crate::error::Error;
use crate::profile::write_private;
use data_encoding::BASE64;
use proto::log::{Frontier, Heads, Logged};
use proto::{Digest, ProjectKey, merkle, pb};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// Version of these files.
const VERSION: u32 = 1;
/// Largest file that is read, bytes: an entry of the log in base64, and a receipt.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Something that was signed, and the signature, both in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    payload: String,
    signature: String,
}

impl Signed {
    fn new(payload: &[u8], signature: &[u8]) -> Self {
        Self { payload: BASE64.encode(payload), signature: BASE64.encode(signature) }
    }

    fn decode(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        Some((decode(&self.payload)?, decode(&self.signature)?))
    }

    fn head(&self) -> Option<pb::SignedHead> {
        let (payload, signature) = self.decode()?;
        Some(pb::SignedHead { payload: payload.into(), signature: signature.into() })
    }
}

impl From<&pb::SignedHead> for Signed {
    fn from(head: &pb::SignedHead) -> Self {
        Self::new(&head.payload, &head.signature)
    }
}

/// What `starling receipt` writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptFile {
    version: u32,
    /// The project, for the reader: who checks the file says which one it must be.
    project: ProjectKey,
    receipt: Signed,
    index: u64,
    entry: String,
    path: Vec<Digest>,
    head: Signed,
}

impl ReceiptFile {
    /// The file of a receipt.
    #[must_use]
    pub fn new(project: ProjectKey, logged: &Logged) -> Self {
        Self {
            version: VERSION,
            project,
            receipt: Signed::new(&logged.receipt.payload, &logged.receipt.signature),
            index: logged.index,
            entry: BASE64.encode(&logged.entry),
            path: logged.path.0.clone(),
            head: (&logged.head).into(),
        }
    }

    /// The project that the file says it is of.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        self.project
    }

    /// What it holds; `None` when it is damaged.
    #[must_use]
    pub fn decode(&self) -> Option<Logged> {
        let (payload, signature) = self.receipt.decode()?;
        let (payload, signature) = (payload.into(), signature.into());
        let receipt = pb::SignedReceipt { payload, signature, ..Default::default() };
        Some(Logged {
            receipt,
            entry: BASE64.decode(self.entry.as_bytes()).ok()?,
            index: self.index,
            path: merkle::Path(self.path.clone()),
            head: self.head.head()?,
        })
    }
}

/// What `starling evidence` writes for each proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceFile {
    version: u32,
    project: ProjectKey,
    spec: String,
    evidence: String,
}

impl EvidenceFile {
    /// The file of a proof about a job with this specification.
    #[must_use]
    pub fn new(project: ProjectKey, spec: &[u8], evidence: &[u8]) -> Self {
        Self {
            version: VERSION,
            project,
            spec: BASE64.encode(spec),
            evidence: BASE64.encode(evidence),
        }
    }

    /// The project that the file says it is of.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        self.project
    }

    /// The specification and the evidence; `None` when it is damaged.
    #[must_use]
    pub fn decode(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        Some((decode(&self.spec)?, decode(&self.evidence)?))
    }
}

/// What `starling audit` writes when two heads do not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsFile {
    version: u32,
    project: ProjectKey,
    smaller: Signed,
    larger: Signed,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<Prefix>,
}

/// What the larger log begins with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Prefix {
    root: Digest,
    path: Vec<Digest>,
}

impl HeadsFile {
    /// The file of two heads.
    #[must_use]
    pub fn new(project: ProjectKey, heads: &Heads) -> Self {
        Self {
            version: VERSION,
            project,
            smaller: (&heads.smaller).into(),
            larger: (&heads.larger).into(),
            prefix: heads
                .prefix
                .as_ref()
                .map(|(root, path)| Prefix { root: *root, path: path.0.clone() }),
        }
    }

    /// The project that the file says it is of.
    #[must_use]
    pub fn project(&self) -> ProjectKey {
        self.project
    }

    /// What it holds; `None` when it is damaged.
    #[must_use]
    pub fn decode(self) -> Option<Heads> {
        Some(Heads {
            smaller: self.smaller.head()?,
            larger: self.larger.head()?,
            prefix: self.prefix.map(|prefix| (prefix.root, merkle::Path(prefix.path))),
        })
    }
}

/// The head that was audited last, kept beside the profile: what the log is held against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    version: u32,
    head: Signed,
    frontier: Frontier,
}

impl KeptFile {
    /// The file of a head and the right edge of its tree.
    #[must_use]
    pub fn new(head: &pb::SignedHead, frontier: Frontier) -> Self {
        Self { version: VERSION, head: head.into(), frontier }
    }

    /// What it holds; `None` when it is damaged.
    #[must_use]
    pub fn decode(self) -> Option<(pb::SignedHead, Frontier)> {
        Some((self.head.head()?, self.frontier)).filter(|(_, frontier)| frontier.is_whole())
    }
}

/// Writes such a file, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub fn save(path: &Path, file: &impl Serialize) -> Result<(), Error> {
    let mut bytes =
        serde_json::to_vec_pretty(file).map_err(|error| Error::Failed(error.to_string()))?;
    bytes.push(b'\n');
    write_private(path, &bytes)
}

/// Reads such a file.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let read = Error::file("read", path);
    let len = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) => return Err(read(error)),
    };
    let none = |why: String| Error::Unverified(format!("{}: {why}", path.display()));
    if FILE_BYTES_MAX < len {
        return Err(none(format!("{len} bytes are more than such a file has")));
    }
    let bytes = fs::read(path).map_err(Error::file("read", path))?;
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| none(error.to_string()))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        _ => return Err(none(format!("it is no file of version {VERSION} of its kind"))),
    }
    serde_json::from_value(value).map_err(|error| none(error.to_string()))
}

//! One line of `results.jsonl`.

use crate::error::Error;
use data_encoding::BASE64;
use program::error::chain;
use proto::cut::Values;
use proto::key::Verified;
use proto::receipt::Receipt;
use proto::{Digest, ProjectKey, UnitIndex, pb};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Component, Path, PathBuf};

/// The result of one unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Which unit.
    pub unit: u64,
    /// What the unit is about: by the specification, which receipts name by its digest.
    #[serde(flatten)]
    pub about: Values,
    /// Fuel burnt.
    pub fuel: u64,
    /// Of the output, and where it is; absent when the unit failed.
    #[serde(flatten)]
    pub output: Option<Output>,
    /// How the unit failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Why what earlier lines say of the unit holds no more; another line will follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn: Option<String>,
    /// The project's word for it; absent when it was not asked for, or when the unit was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<SignedReceipt>,
}

/// What a unit put out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Of the content.
    pub digest: Digest,
    /// Of the content.
    pub bytes: u64,
    /// The content.
    #[serde(flatten)]
    pub place: Place,
}

/// Where an output is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// Here, as text.
    Text(String),
    /// Here, in base64: it is no text.
    Base64(String),
    /// In this file of the folder.
    File(String),
}

/// A receipt and its signature, both in base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedReceipt {
    /// Canonical bytes.
    pub payload: String,
    /// By the project: over the receipt, or over a root of many.
    pub signature: String,
    /// That the receipt is under the root; absent when it was signed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inclusion: Option<Inclusion>,
}

/// The place of a receipt among those that were signed together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Counted from 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// Digests from its leaf to the root, lowest first, in base64.
    pub path: String,
}

impl From<&pb::SignedReceipt> for SignedReceipt {
    fn from(receipt: &pb::SignedReceipt) -> Self {
        Self {
            payload: BASE64.encode(&receipt.payload),
            signature: BASE64.encode(&receipt.signature),
            inclusion: (0 < receipt.count).then(|| Inclusion {
                index: receipt.index,
                count: receipt.count,
                path: BASE64.encode(&receipt.path),
            }),
        }
    }
}

impl SignedReceipt {
    fn decode(&self) -> Option<pb::SignedReceipt> {
        let payload = BASE64.decode(self.payload.as_bytes()).ok()?.into();
        let signature = BASE64.decode(self.signature.as_bytes()).ok()?.into();
        let mut signed = pb::SignedReceipt { payload, signature, ..Default::default() };
        if let Some(Inclusion { index, count, path }) = &self.inclusion {
            (signed.index, signed.count) = (*index, *count);
            signed.path = BASE64.decode(path.as_bytes()).ok()?.into();
        }
        Some(signed)
    }
}

impl Output {
    /// An output that fits in a line.
    #[must_use]
    pub fn inline(content: &[u8]) -> Self {
        let place = match std::str::from_utf8(content) {
            Ok(text) => Place::Text(text.to_owned()),
            Err(_) => Place::Base64(BASE64.encode(content)),
        };
        Self { digest: Digest::of(content), bytes: content.len() as u64, place }
    }

    /// The content, when it is in the line; empty otherwise.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn content(&self) -> Result<Vec<u8>, Error> {
        match &self.place {
            Place::Text(text) => Ok(text.clone().into_bytes()),
            Place::Base64(text) => BASE64
                .decode(text.as_bytes())
                .map_err(|_| Error::Unverified("an output is no base64".into())),
            Place::File(_) => Ok(Vec::new()),
        }
    }

    /// Digest of the content as it lies in `folder`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn found(&self, folder: &Path) -> Result<Digest, Error> {
        match &self.place {
            Place::Text(text) => Ok(Digest::of(text.as_bytes())),
            Place::Base64(_) => self.content().map(|content| Digest::of(&content)),
            Place::File(name) => {
                let path = inside(folder, name)?;
                let mut hasher = blake3::Hasher::new();
                let file = File::open(&path).map_err(Error::file("read", &path))?;
                hasher.update_reader(file).map_err(Error::file("read", &path))?;
                Ok(Digest(*hasher.finalize().as_bytes()))
            }
        }
    }
}

/// A file below `folder`: a folder that came from elsewhere may name others.
pub(crate) fn inside(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if plain {
        Ok(folder.join(name))
    } else {
        Err(Error::Unverified(format!("{name} is not in the folder")))
    }
}

impl Line {
    /// Checks the receipt and that it speaks of this very result; `None` when the line has no receipt. Signatures that were
    /// `verified` with another line are not verified again.
    ///
    /// # Errors
    /// [`Error::Unverified`], saying what does not fit.
    pub fn verify(
        &self,
        project: &ProjectKey,
        spec: Digest,
        verified: &mut Verified,
    ) -> Result<Option<Receipt>, Error> {
        let Some(receipt) = &self.receipt else { return Ok(None) };
        let signed = receipt.decode().ok_or_else(|| {
            Error::Unverified(format!("{}: the receipt is no base64", UnitIndex(self.unit)))
        })?;
        self.holds(&signed, project, spec, verified).map(Some)
    }

    /// Checks a receipt, and that it speaks of this very result.
    ///
    /// # Errors
    /// As for [`Self::verify`].
    pub fn holds(
        &self,
        signed: &pb::SignedReceipt,
        project: &ProjectKey,
        spec: Digest,
        verified: &mut Verified,
    ) -> Result<Receipt, Error> {
        let unit = UnitIndex(self.unit);
        let wrong = |why: String| Error::Unverified(format!("{unit}: {why}"));
        let receipt = Receipt::verify_once(signed, project, verified)
            .map_err(|invalid| wrong(chain(&invalid)))?;
        let result = match (&self.output, &receipt.result) {
            (Some(output), Ok(digest)) => output.digest == *digest,
            (None, Err(_)) => self.failure.is_some(),
            _ => false,
        };
        let facts = [
            (receipt.spec == spec, "the receipt is of another job"),
            (receipt.unit == unit, "the receipt is of another unit"),
            (result, "the receipt is of another result"),
            (receipt.fuel == self.fuel, "the receipt is of another amount of fuel"),
        ];
        match facts.iter().find(|(holds, _)| !holds) {
            Some((_, why)) => Err(wrong((*why).into())),
            None => Ok(receipt),
        }
    }
}

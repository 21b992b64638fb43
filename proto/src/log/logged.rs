//! A receipt with the proof that its verdict is in the log: all that is needed to check it, offline and for ever.

use super::entry::{self, End, Entry, Event, Place};
use super::head::{self, Head};
use crate::merkle::{self, Path};
use crate::receipt::{self, Receipt};
use crate::{ProjectKey, pb};

/// A receipt and its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// The receipt.
    pub receipt: pb::SignedReceipt,
    /// The entry with the verdict, canonical bytes.
    pub entry: Vec<u8>,
    /// The entry's position in the log.
    pub index: u64,
    /// From the entry to the root of `head`.
    pub path: Path,
    /// The log that it is in.
    pub head: pb::SignedHead,
}

/// Why a receipt is not shown to be in the log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotLogged {
    /// The receipt itself.
    #[error("the receipt does not hold")]
    Receipt(#[from] receipt::Invalid),
    /// The head.
    #[error("the log's head does not hold")]
    Head(#[from] head::Invalid),
    /// The entry.
    #[error(transparent)]
    Entry(#[from] entry::Malformed),
    /// The entry is not under the head.
    #[error("entry {0} is not in the log of that head")]
    Absent(u64),
    /// The entry says something else than the receipt.
    #[error("the entry in the log and the receipt differ in {0}")]
    Differs(&'static str),
}

impl Logged {
    /// Checks everything: the project's signatures and the workers', that the entry states this very verdict on these very
    /// reports, and that the entry is in the log.
    ///
    /// # Errors
    /// [`NotLogged`], saying what does not hold.
    pub fn verify(&self, project: &ProjectKey) -> Result<(Receipt, Entry, Head), NotLogged> {
        let receipt = Receipt::verify(&self.receipt, project)?;
        let head = Head::verify(&self.head, project)?;
        let entry = Entry::decode(&self.entry)?;
        let root = merkle::climb(Entry::leaf(&self.entry), self.index, head.size, &self.path);
        if root != Some(head.root) {
            return Err(NotLogged::Absent(self.index));
        }
        agrees(&entry, &receipt)?;
        Ok((receipt, entry, head))
    }
}

fn agrees(entry: &Entry, receipt: &Receipt) -> Result<(), NotLogged> {
    let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(NotLogged::Differs(what)) };
    ensure(entry.project == receipt.project, "the project")?;
    ensure(entry.spec == receipt.spec, "the job")?;
    ensure(entry.at_ms == receipt.settled_at_ms, "the time of the verdict")?;
    let Event::Verdicts { sources, spans, .. } = &entry.event else {
        return Err(NotLogged::Differs("the unit"));
    };
    // The last word of the entry on the unit is the one that holds.
    let unit = receipt.unit.0;
    let last = spans.iter().rev().find_map(|span| {
        let offset = unit.checked_sub(span.first).filter(|offset| *offset < span.count.into())?;
        Some((span, u32::try_from(offset).ok()?))
    });
    let Some((span, offset)) = last else { return Err(NotLogged::Differs("the unit")) };
    let places = match (&span.end, &receipt.result) {
        (End::Done(places), Ok(_)) | (End::Failed(places), Err(_)) => places,
        _ => return Err(NotLogged::Differs("how the unit ended")),
    };
    ensure(places.len() == receipt.copies.len(), "the number of reports")?;
    let statement = receipt.statement();
    for (Place { source, position }, copy) in places.iter().zip(&receipt.copies) {
        let source = sources.get(*source as usize).ok_or(NotLogged::Differs("the reports"))?;
        let position = position.checked_add(offset).map(u64::from);
        let proof = &copy.proof;
        let same = (source.worker, source.account, source.sequence)
            == (proof.worker, copy.account, proof.sequence)
            && position == Some(proof.index)
            && proof.root(&statement) == Some(source.root);
        ensure(same, "the reports")?;
    }
    Ok(())
}

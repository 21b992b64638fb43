//! Batches of reports: verified here, in the stream's own task, before the engine sees them.

use super::End;
use crate::core::event::Session;
use crate::grpc::access::Volunteer;
use crate::grpc::{Shared, convert};
use proto::Digest;
use proto::pb::{self, refusal::Code};
use proto::report::{Ack, Batch, Malformed, Outcome, Output};
use std::sync::Arc;

/// Verifies a batch and has it stored.
pub(super) async fn taken(
    shared: &Shared,
    session: Session,
    volunteer: Volunteer,
    signed: &pb::SignedReports,
) -> Result<pb::Acks, End> {
    let (batch, root) = verify(shared, volunteer, signed)?;
    let signature =
        signed.signature.as_ref().try_into().map_err(|_| malformed("a signature has 64 bytes"))?;
    let outputs: Vec<Option<u64>> =
        batch.reports.iter().map(|report| blob_len(&report.outcome)).collect();
    let acks = shared
        .engine
        .reported(session, (batch, root), Arc::from(signed.payload.as_ref()), signature)
        .await?;
    for (len, ack) in outputs.iter().zip(&acks.acks) {
        if let (Some(len), Ack::Accepted | Ack::Duplicate | Ack::Late) = (len, ack) {
            shared.named.reported(volunteer.account, *len);
        }
    }
    let status: Vec<u8> = acks.acks.iter().map(|ack| *ack as u8).collect();
    Ok(pb::Acks {
        sequence: acks.sequence,
        status: status.into(),
        credit: convert::saturated(acks.credit),
    })
}

fn blob_len(outcome: &Outcome) -> Option<u64> {
    match outcome {
        Outcome::Done(Output::Blob { len, .. }) => Some(*len),
        Outcome::Done(Output::Inline(_)) | Outcome::Failed(_) => None,
    }
}

fn malformed(text: impl Into<String>) -> End {
    End::refusal(Code::Malformed, text, 0)
}

/// The batch, and the Merkle root that its worker signed.
fn verify(
    shared: &Shared,
    volunteer: Volunteer,
    signed: &pb::SignedReports,
) -> Result<(Batch, Digest), End> {
    let (batch, root) = Batch::open_with_root(signed).map_err(|error| match error {
        Malformed::Signature(_) => {
            End::refusal(Code::Signature, format!("{error}: the batch is not taken"), 0)
        }
        error => malformed(error.to_string()),
    })?;
    if batch.worker != volunteer.worker || batch.project != shared.project {
        let text = "a stream brings only reports of its own worker, for this project";
        return Err(End::refusal(Code::Signature, text, 0));
    }
    Ok((batch, root))
}

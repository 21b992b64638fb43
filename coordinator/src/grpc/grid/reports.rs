//! Batches of reports: verified here, in the stream's own task, before the engine sees them.

use super::End;
use crate::core::event::Session;
use crate::grpc::access::Volunteer;
use crate::grpc::blobs::lacking;
use crate::grpc::{Services, convert};
use proto::Digest;
use proto::pb::{self, refusal::Code};
use proto::report::{Ack, Batch, Malformed, Outcome, Output};
use std::sync::Arc;

/// Verifies a batch and has it stored.
pub(super) async fn taken(
    shared: &Services,
    session: Session,
    volunteer: Volunteer,
    signed: &pb::SignedReports,
) -> Result<pb::Acks, End> {
    let (batch, root) = verify(shared, volunteer, signed)?;
    let signature =
        signed.signature.as_ref().try_into().map_err(|_| malformed("a signature has 64 bytes"))?;
    for report in &batch.reports {
        if let Outcome::Done(Output::Blob { digest, .. }) = &report.outcome {
            shared.blobs.keep(digest);
        }
    }
    let outputs: Vec<Option<Digest>> =
        batch.reports.iter().map(|report| blob(&report.outcome)).collect();
    let network = volunteer.network;
    let lacking = lacking(shared, &batch, |digest| shared.blob_access.is_ahead(network, digest))?;
    let payload = Arc::from(signed.payload.as_ref());
    let acks = shared.engine.reported(session, (batch, root), payload, signature, lacking).await?;
    let mut abandoned = Vec::new();
    for (digest, ack) in outputs.iter().zip(&acks.acks) {
        let Some(digest) = digest else { continue };
        match ack {
            // It will be reported again.
            Ack::Busy | Ack::OutputMissing => {}
            Ack::Accepted => {
                let _ = shared.blob_access.reported(network, digest);
            }
            _ if shared.blob_access.reported(network, digest) => abandoned.push(*digest),
            _ => {}
        }
    }
    if !abandoned.is_empty() {
        shared.engine.abandon(abandoned).await?;
    }
    let status: Vec<u8> = acks.acks.iter().map(|ack| *ack as u8).collect();
    Ok(pb::Acks {
        sequence: acks.sequence,
        status: status.into(),
        credit: convert::saturated(acks.credit),
    })
}

fn blob(outcome: &Outcome) -> Option<Digest> {
    match outcome {
        Outcome::Done(Output::Blob { digest, .. }) => Some(*digest),
        Outcome::Done(Output::Inline(_)) | Outcome::Failed(_) => None,
    }
}

fn malformed(text: impl Into<String>) -> End {
    End::refusal(Code::Malformed, text, 0)
}

/// The batch, and the Merkle root that its worker signed.
fn verify(
    shared: &Services,
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

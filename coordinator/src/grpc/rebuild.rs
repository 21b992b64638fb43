//! Workers give back what a coordinator that has lost its records knew.

use crate::blobs::{Put, Putter};
use crate::grpc::Services;
use crate::grpc::access::{Caller, OPERATOR, Volunteer};
use crate::grpc::refusal::{Refusal, blocking};
use crate::rebuild::{Gather, LOG_PIECE_BYTES_MAX, Refused, names};
use proto::bounds::{LOG_ENTRY_BYTES_MAX, SPEC_BYTES_MAX};
use proto::log::Head;
use proto::seal::{Opened, Sealed};
use proto::ticket::Ticket;
use proto::{Digest, pb};
use std::sync::Arc;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

/// Batches, and specifications, named in one offer.
const NAMED_MAX: usize = 4096;
/// Leases named in one offer: as many as a heartbeat names.
const LEASES_MAX: usize = 16_384;
/// Logs and blobs taken in at once: each may be large.
pub(crate) const LARGE_AT_ONCE: usize = 8;

/// `starling.v1.Rebuild`.
pub(super) struct Rebuild(pub(super) Arc<Services>, pub(super) Arc<Gather>);

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self(match refused {
            Refused::Room => Status::resource_exhausted(refused.to_string()),
            Refused::Log | Refused::Spec => Status::invalid_argument(refused.to_string()),
        })
    }
}

impl Rebuild {
    async fn worker<T>(&self, request: &Request<T>) -> Result<Volunteer, Status> {
        match self.0.access.caller(request).await? {
            Caller::Volunteer(volunteer) => Ok(volunteer),
            Caller::Person(_) => Err(Status::permission_denied("only workers give back")),
        }
    }

    fn head(&self, head: Option<&pb::SignedHead>) -> Result<Option<Head>, Status> {
        let verified = head.map(|head| Head::verify(head, &self.0.project)).transpose();
        verified.map_err(|invalid| Status::invalid_argument(invalid.to_string()))
    }

    async fn next<T>(&self, messages: &mut Streaming<T>) -> Result<Option<T>, Status> {
        match timeout(self.0.patience.stall, messages.message()).await {
            Ok(message) => message,
            Err(_) => Err(Status::deadline_exceeded("nothing came for too long")),
        }
    }
}

fn busy() -> Status {
    Status::resource_exhausted("others are giving much at this moment: try again in a moment")
}

fn digest(bytes: &[u8]) -> Result<Digest, Status> {
    Digest::try_from(bytes).map_err(|malformed| Status::invalid_argument(malformed.to_string()))
}

#[tonic::async_trait]
impl pb::rebuild_server::Rebuild for Rebuild {
    async fn offer(
        &self,
        request: Request<pb::OfferRequest>,
    ) -> Result<Response<pb::OfferReply>, Status> {
        let volunteer = self.worker(&request).await?;
        let pb::OfferRequest { head, batches, specs, leases } = request.into_inner();
        if NAMED_MAX < batches.len() || NAMED_MAX < specs.len() || LEASES_MAX < leases.len() {
            return Err(Status::invalid_argument(format!("at most {NAMED_MAX} in one offer")));
        }
        let size = self.head(head.as_ref())?.map_or(0, |head| head.size);
        let batches = names(&batches)
            .ok_or_else(|| Status::invalid_argument("a worker's key has 32 bytes"))?;
        let specs = specs.iter().map(|bytes| digest(bytes)).collect::<Result<Vec<_>, _>>()?;
        let tickets = leases.iter().filter_map(|ticket| Ticket::try_from(ticket).ok()).collect();
        self.1.leases(volunteer.worker, volunteer.account, tickets);
        let (gather, blobs) = (Arc::clone(&self.1), Arc::clone(&self.0.blobs));
        let wanted = blocking(move || {
            Ok::<_, Refused>(gather.wanted(volunteer.worker, size, &batches, &specs, &blobs))
        })
        .await?;
        Ok(Response::new(pb::OfferReply {
            log_wanted: wanted.log_from.is_some(),
            log_from: wanted.log_from.unwrap_or(0),
            batches: wanted.batches,
            specs: wanted.specs,
            blobs: wanted.blobs.iter().map(|digest| digest.0.to_vec().into()).collect(),
            again_in_ms: u32::try_from(wanted.again_ms).unwrap_or(u32::MAX),
        }))
    }

    async fn give_log(
        &self,
        request: Request<Streaming<pb::LogPiece>>,
    ) -> Result<Response<pb::GiveReply>, Status> {
        self.worker(&request).await?;
        let _turn = self.0.giving.try_acquire().map_err(|_| busy())?;
        let mut messages = request.into_inner();
        let first = self.next(&mut messages).await?.unwrap_or_default();
        let none = || Status::invalid_argument("the first message must have a head");
        let head = self.head(first.head.as_ref())?.ok_or_else(none)?;
        let (from, mut entries, mut bytes) = (first.from, Vec::new(), 0);
        while let Some(piece) = self.next(&mut messages).await? {
            for entry in piece.entries {
                bytes += entry.len();
                if LOG_ENTRY_BYTES_MAX < entry.len() || LOG_PIECE_BYTES_MAX < bytes {
                    return Err(Status::invalid_argument("that is more than a log has"));
                }
                entries.push(entry.to_vec());
            }
        }
        let gather = Arc::clone(&self.1);
        blocking(move || gather.log(&head, from, entries)).await?;
        Ok(Response::new(pb::GiveReply {}))
    }

    async fn give_batch(
        &self,
        request: Request<pb::DeliverRequest>,
    ) -> Result<Response<pb::GiveReply>, Status> {
        self.worker(&request).await?;
        let sealed = request.into_inner().sealed;
        let (shared, gather) = (Arc::clone(&self.0), Arc::clone(&self.1));
        blocking(move || {
            let opened = Sealed::verify(&sealed, &shared.project)?.open(&shared.key)?;
            keep_outputs(&shared, &opened)?;
            gather.batch(opened).map_err(Refusal::from)
        })
        .await?;
        Ok(Response::new(pb::GiveReply {}))
    }

    async fn give_spec(
        &self,
        request: Request<pb::SpecRequest>,
    ) -> Result<Response<pb::GiveReply>, Status> {
        self.worker(&request).await?;
        let spec = request.into_inner().spec;
        if SPEC_BYTES_MAX < spec.len() {
            return Err(Status::invalid_argument("that is larger than a specification may be"));
        }
        self.1.spec(spec.to_vec()).map_err(Refusal::from)?;
        Ok(Response::new(pb::GiveReply {}))
    }

    async fn give_blob(
        &self,
        request: Request<Streaming<pb::PutRequest>>,
    ) -> Result<Response<pb::GiveReply>, Status> {
        self.worker(&request).await?;
        let _turn = self.0.giving.try_acquire().map_err(|_| busy())?;
        let mut messages = request.into_inner();
        let head = self.next(&mut messages).await?.unwrap_or_default();
        let digest = digest(&head.digest)?;
        if !self.1.names(&digest) {
            return Err(Status::permission_denied("no job names this blob"));
        }
        if self.0.blobs.len(&digest).is_none() {
            let blobs = Arc::clone(&self.0.blobs);
            let putter = Putter::Account { account: OPERATOR.into(), kept: 0 };
            let mut put = blocking(move || blobs.put(putter, digest, head.len)).await?;
            while let Some(message) = self.next(&mut messages).await? {
                put = blocking(move || put_more(put, &message.data)).await?;
            }
            blocking(move || put.finish()).await?;
            self.1.blob();
        }
        Ok(Response::new(pb::GiveReply {}))
    }
}

fn put_more(mut put: Put, data: &[u8]) -> Result<Put, crate::blobs::Error> {
    put.write(data).map(|()| put)
}

/// Outputs that came along.
fn keep_outputs(shared: &Services, opened: &Opened) -> Result<(), Refusal> {
    for output in &opened.outputs {
        if shared.blobs.len(&Digest::of(output)).is_none() {
            let bytes_max = output.len() as u64;
            shared.blobs.put_all(Putter::Worker { bytes_max }, output)?;
        }
    }
    Ok(())
}

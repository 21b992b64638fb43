//! The tracker: who is reached where, told to members. In memory only, bounded: after a restart the next announcements
//! fill it again.

use crate::grpc::Services;
use crate::grpc::access::{Caller, Volunteer};
use crate::grpc::refusal::Refusal;
use proto::member::{Certificate, Member};
use proto::{WorkerKey, pb};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Response, Status};
use tracker::{Seen, Tracker};

mod tracker;

/// Addresses in one announcement.
const ADDRESSES_MAX: usize = 16;
/// Longest address or URL, bytes.
const ADDRESS_BYTES_MAX: usize = 280;
/// Peers in one answer at most, whatever was asked for.
const PEERS_MAX: usize = 32;
/// Seeds in one answer.
const SEEDS_MAX: usize = 8;
/// How often to announce, milliseconds: ten thousand workers are 80 calls a second. The first few come sooner, while a
/// newcomer still learns where it is reached.
const AGAIN_MS: u32 = 120_000;
/// With fewer peers than this known, workers ask again soon, milliseconds: a swarm that begins finds itself.
const FEW: usize = 16;
const AGAIN_IF_FEW_MS: u32 = 3_000;

/// What the tracker knows.
#[derive(Debug, Default)]
pub(crate) struct Swarm(Mutex<Tracker>);

/// `starling.v1.Peers`.
pub(super) struct Peers(pub(super) Arc<Services>);

#[tonic::async_trait]
impl pb::peers_server::Peers for Peers {
    async fn announce(
        &self,
        request: Request<pb::AnnounceRequest>,
    ) -> Result<Response<pb::AnnounceReply>, Status> {
        let caller = self.0.access.caller(&request).await?;
        let Caller::Volunteer(volunteer) = caller else {
            return Err(Refusal(Status::permission_denied(
                "peers are told to workers only: use the token of a worker's stream",
            ))
            .into());
        };
        let said = request.into_inner();
        let contact = said.contact.map(|contact| self.check(volunteer, contact)).transpose()?;
        let now = self.0.clock.now().monotonic_ms;
        let n = usize::try_from(said.peers_max).unwrap_or(PEERS_MAX).min(PEERS_MAX);
        let mut tracker = self.0.swarm.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = contact {
            tracker.saw(now, seen, rand::random());
        }
        let again_in_ms = match tracker.len() < FEW {
            true => AGAIN_IF_FEW_MS,
            false => AGAIN_MS,
        };
        let sample = |seeds: bool, n: usize, tracker: &Tracker| {
            let chosen = tracker.sample(now, &volunteer.worker, seeds, n, &mut rand::random);
            chosen.into_iter().map(|seen| seen.contact.clone()).collect::<Vec<_>>()
        };
        let (peers, seeds) = (sample(false, n, &tracker), sample(true, SEEDS_MAX, &tracker));
        Ok(Response::new(pb::AnnounceReply { peers, seeds, again_in_ms }))
    }
}

impl Peers {
    /// A worker announces itself and nobody else, with a certificate of ours, within the bounds.
    fn check(&self, volunteer: Volunteer, contact: pb::Contact) -> Result<Seen, Status> {
        let wrong = Status::invalid_argument;
        let now_ms = self.0.clock.now().wall_ms;
        let certificate = Certificate::open(&contact.certificate, &self.0.project, now_ms)
            .map_err(|invalid| wrong(format!("{invalid}: connect again")))?;
        let Member { worker, account, network, .. } = *certificate.member();
        if (worker, account) != (volunteer.worker, volunteer.account) {
            return Err(wrong("the certificate is another worker's: connect again".into()));
        }
        let address_is_good =
            |text: &String| text.len() <= ADDRESS_BYTES_MAX && text.parse::<SocketAddr>().is_ok();
        if ADDRESSES_MAX < contact.addresses.len() || !contact.addresses.iter().all(address_is_good)
        {
            return Err(wrong(format!(
                "at most {ADDRESSES_MAX} addresses, each an IP address and a port"
            )));
        }
        let url_is_good = |url: &str| {
            url.len() <= ADDRESS_BYTES_MAX
                && url.starts_with("https://")
                && url.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let urls = contact.serves.iter().map(|relay| relay.url.as_str());
        let relay = Some(contact.relay.as_str()).filter(|url| !url.is_empty());
        if !urls.chain(relay).all(url_is_good) {
            return Err(wrong(format!(
                "a relay's URL begins with https:// and has at most {ADDRESS_BYTES_MAX} bytes"
            )));
        }
        let is_seed = contact.serves.is_some();
        Ok(Seen { worker, account, network, is_seed, contact })
    }
}

/// Where the key of a worker is not in the answer that it gets itself.
fn is_other(seen: &Seen, asker: &WorkerKey) -> bool {
    seen.worker != *asker
}

//! The coordinator as tracker: it is told where this worker is reached, and tells of others.

use super::{Session, with_token};
use crate::clock;
use crate::network::Net;
use crate::network::peer_record::Contact;
use proto::pb;
use proto::pb::peers_client::PeersClient;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Peers asked for: a few more than the neighbours that are looked for.
const PEERS_ASKED: u32 = 32;
/// Contacts looked at in an answer, whatever the coordinator sends.
const PEERS_MAX: usize = 128;
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Bounds on the time between announcements, whatever the coordinator asks for; and after one that failed.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(600);
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// How often this side looks whether it is reached elsewhere by now: a relay that was found, a machine that has moved.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Announces this worker while there is a session; runs until it is dropped.
pub(crate) async fn run(net: Net, mut session: watch::Receiver<Option<Session>>) {
    loop {
        let current = session.borrow_and_update().clone();
        let Some(current) = current else {
            if session.changed().await.is_err() {
                return;
            }
            continue;
        };
        let told = net.contact();
        let wait = match announce(&net, &current, told.as_ref()).await {
            Ok(wait) => wait.clamp(AGAIN_MIN, AGAIN_MAX),
            Err(reason) => {
                tracing::debug!("not announced: {reason}");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            changed = session.changed() => if changed.is_err() { return },
            () = sleep(wait) => {}
            () = moved(&net, told) => {}
        }
    }
}

/// Waits until this side is reached elsewhere than it told.
async fn moved(net: &Net, told: Option<Contact>) {
    loop {
        sleep(LOOK_EVERY).await;
        if net.contact() != told {
            return;
        }
    }
}

async fn announce(
    net: &Net,
    session: &Session,
    contact: Option<&Contact>,
) -> Result<Duration, String> {
    let request =
        pb::AnnounceRequest { contact: contact.map(Contact::to_pb), peers_max: PEERS_ASKED };
    let request =
        with_token(request, session).map_err(|status| super::printable(status.message()))?;
    let mut client = PeersClient::new(session.channel.clone())
        .max_decoding_message_size(proto::bounds::MESSAGE_BYTES_MAX);
    let answered = timeout(ANSWER_MAX, client.announce(request)).await;
    let reply = answered
        .map_err(|_| format!("no answer within {} s", ANSWER_MAX.as_secs()))?
        .map_err(|status| super::printable(status.message()))?
        .into_inner();
    let now_ms = clock::wall_ms();
    let contacts = reply.seeds.iter().chain(&reply.peers).take(PEERS_MAX);
    let contacts = contacts.filter_map(|contact| {
        Contact::from_pb(contact, &net.project(), now_ms)
            .inspect_err(|error| tracing::debug!("the coordinator told of no peer: {error}"))
            .ok()
    });
    net.heard(contacts.collect());
    Ok(Duration::from_millis(reply.again_in_ms.into()))
}

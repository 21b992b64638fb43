//! Members on the local network, found by multicast (mDNS): they are near to each other, so that machines of one house or
//! laboratory fetch an input once from outside.

use super::peer_record::worker_key;
use super::shared::Network;
use iroh_mdns_address_lookup::{DiscoveryEvent, MdnsAddressLookup};
use proto::bucket::Bucket;
use std::sync::Arc;
use tokio_stream::StreamExt;

/// Greetings per second in the long run, and at once: whoever shouts a thousand names on the local network is answered
/// so often.
const GREETINGS_PER_SECOND: u64 = 1;
const GREETINGS_BURST: u64 = 16;

/// Tells the local network of this endpoint, and greets whom it tells of. Runs until it is dropped.
pub(super) async fn run(shared: Arc<Network>) {
    let Some(endpoint) = shared.endpoint() else { return };
    let lookup = MdnsAddressLookup::builder().service_name(service(&shared)).build(endpoint.id());
    let lookup = match lookup {
        Ok(lookup) => lookup,
        Err(error) => {
            tracing::info!("members on the local network are not looked for: {error:#}");
            return;
        }
    };
    let Ok(services) = endpoint.address_lookup() else { return };
    services.add(lookup.clone());
    let mut events = lookup.subscribe().await;
    let mut bucket = Bucket::new(GREETINGS_PER_SECOND, GREETINGS_BURST);
    while let Some(event) = events.next().await {
        let address = match event {
            DiscoveryEvent::Discovered { endpoint_info, .. } => endpoint_info.to_endpoint_addr(),
            DiscoveryEvent::Expired { endpoint_id } => {
                shared.note_near(worker_key(&endpoint_id), false);
                continue;
            }
            _ => continue,
        };
        let worker = worker_key(&address.id);
        shared.note_near(worker, true);
        if worker == shared.me || shared.is_linked(&worker) || !bucket.passes(shared.now(), 1) {
            continue;
        }
        let greeting = Arc::clone(&shared);
        shared.spawn(async move {
            if let Err(error) = Box::pin(greeting.greet(address)).await {
                tracing::debug!(peer = ?worker, %error, "a peer on the local network was not greeted");
            }
        });
    }
}

/// Name of the service: at most 15 letters (RFC 6763), so the project's key is cut.
fn service(shared: &Network) -> String {
    let project = data_encoding::HEXLOWER.encode(&shared.project.0[..4]);
    format!("starl-{project}")
}

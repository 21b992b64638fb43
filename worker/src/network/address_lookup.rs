//! Tells iroh where a peer is reached, from what is known here: no public directory is asked.

use super::peer_record::worker_key;
use super::shared::Network;
use iroh::EndpointId;
use iroh::address_lookup::{AddressLookup, EndpointInfo, Error, Item};
use std::pin::Pin;
use std::sync::Weak;
use tokio_stream::Stream;

/// The name of this way to look up.
const NAME: &str = "starling";

/// See the module.
#[derive(Debug)]
pub(super) struct Lookup(pub(super) Weak<Network>);

impl AddressLookup for Lookup {
    fn resolve(
        &self,
        id: EndpointId,
    ) -> Option<Pin<Box<dyn Stream<Item = Result<Item, Error>> + Send>>> {
        let address = self.0.upgrade()?.address_of(&worker_key(&id))?;
        let known =
            (!address.is_empty()).then(|| Ok(Item::new(EndpointInfo::from(address), NAME, None)));
        Some(Box::pin(tokio_stream::iter(known)))
    }
}

//! Who finds whom, and how, with no coordinator anywhere.

use super::lab::{are_linked, config, endpoint, introduce, key, peer, peer_in, until};
use iroh::endpoint::Connection;
use iroh::protocol::{AcceptError, ProtocolHandler};
use proto::{ProjectKey, WorkerKey};
use worker::network::{Config, Opening, PeerEvent};

#[tokio::test(flavor = "multi_thread")]
async fn two_that_know_a_third_find_each_other() {
    let (one, two, third) =
        (peer(1, config()).await, peer(2, config()).await, peer(3, config()).await);
    let mut events = one.net().events();
    introduce(one.net(), third.net());
    introduce(two.net(), third.net());
    until("a link between one and two", || are_linked(one.net(), two.net())).await;
    let mut joined = Vec::new();
    while let Ok(PeerEvent::Joined(worker)) = events.try_recv() {
        joined.push(worker);
    }
    assert!(joined.contains(&two.net().me()) && joined.contains(&third.net().me()));
    // Their owners see it.
    until("traffic", || {
        one.net().peers().iter().all(|peer| 0 < peer.up_bytes && 0 < peer.down_bytes)
    })
    .await;
    let report = one.net().report();
    assert_eq!((report.direct, report.relayed, report.known), (2, 0, 2));
    assert!(0 < report.usage.month.up_bytes);
    // Who leaves is missed.
    let gone = third.net().me();
    third.shutdown().await;
    until("the third's leaving", || !one.net().neighbours().contains(&gone)).await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_found_by_its_key_along_a_chain() {
    // Nobody tells of peers unasked, and everybody knows only the next one.
    let quiet = || Config { exchange: false, ..config() };
    let mut chain = Vec::new();
    for number in 10..15 {
        chain.push(peer(number, quiet()).await);
    }
    for pair in chain.windows(2) {
        introduce(pair[0].net(), pair[1].net());
    }
    until("the chain", || chain.windows(2).all(|pair| are_linked(pair[0].net(), pair[1].net())))
        .await;
    let (first, last) = (&chain[0], &chain[4]);
    // The link is made on the way; what is connected here after it is a second one, and of no use.
    drop(Box::pin(first.net().connect(&last.net().me(), b"starling/link/1")).await.unwrap());
    until("the last one's link", || are_linked(first.net(), last.net())).await;
    for peer in chain {
        peer.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_peer_finds_its_swarm_again() {
    let (folder, third_folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = peer_in(20, folder.path().into()).await;
    let third = peer_in(21, third_folder.path().into()).await;
    introduce(one.net(), third.net());
    until("a link", || are_linked(one.net(), third.net())).await;
    one.shutdown().await;
    // Nobody certifies it anew and nobody tells it of anybody: both are on its disk.
    let project = ProjectKey::from(&super::lab::project());
    let config = Config { folder: Some(folder.path().into()), ..config() };
    let one = Box::pin(Opening::bind(config, &key(20), project)).await.unwrap().start();
    until("the link again", || are_linked(one.net(), third.net())).await;
    assert!(0 < one.net().meter().usage().ever.total());
    one.shutdown().await;
    third.shutdown().await;
}

/// A protocol that says one word to whoever connects.
#[derive(Debug)]
struct Word;

impl ProtocolHandler for Word {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let mut stream = connection.open_uni().await?;
        stream.write_all(b"word").await.map_err(AcceptError::from_err)?;
        stream.finish()?;
        connection.closed().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_are_for_members_that_were_greeted() {
    const ALPN: &[u8] = b"starling/test/1";
    let one = peer(30, config()).await;
    let opening = Box::pin(Opening::bind(config(), &key(31), one.net().project())).await.unwrap();
    let two = opening.accept(ALPN, Word).start();
    two.net().certify(super::lab::certificate(31, 31));
    introduce(one.net(), two.net());
    let connection = Box::pin(one.net().connect(&two.net().me(), ALPN)).await.unwrap();
    let mut stream = connection.accept_uni().await.unwrap();
    assert_eq!(stream.read_to_end(100).await.unwrap(), b"word");
    // Whoever connects by itself, as other libraries do, is greeted on the way too.
    let id = iroh::EndpointId::from_bytes(&two.net().me().0).unwrap();
    let endpoint_of_one = one.net().endpoint().unwrap();
    let connection = Box::pin(endpoint_of_one.connect(id, ALPN)).await.unwrap();
    assert!(connection.accept_uni().await.is_ok());
    // A stranger does not get a word.
    let stranger = endpoint(32).await;
    let address = two.net().contact().unwrap().endpoint_addr().unwrap();
    if let Ok(connection) = Box::pin(stranger.connect(address, ALPN)).await {
        assert!(connection.accept_uni().await.is_err());
        let reason = connection.close_reason().unwrap().to_string();
        assert!(reason.contains("certificate"), "{reason}");
    }
    assert_eq!(two.net().certificate(&WorkerKey::from(&key(32))), None);
    stranger.close().await;
    one.shutdown().await;
    two.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_spent_ends_the_exchange() {
    let one = peer(40, Config { month_bytes_max: Some(4_000), ..config() }).await;
    let two = peer(41, config()).await;
    introduce(one.net(), two.net());
    until("the month to be spent", || one.net().meter().is_spent()).await;
    until("the end of the link", || one.net().neighbours().is_empty()).await;
    let error = Box::pin(one.net().connect(&two.net().me(), b"starling/link/1")).await.unwrap_err();
    assert!(error.to_string().contains("month"), "{error}");
    one.shutdown().await;
    two.shutdown().await;
}

//! What a stranger or a hostile member gets.

use super::lab::{are_linked, certificate, config, endpoint, introduce, key, peer, peer_of, until};
use ed25519_dalek::SigningKey;
use iroh::Endpoint;
use iroh::endpoint::{Connection, ConnectionError};
use proto::member::{Certificate, Member};
use proto::{ProjectKey, WorkerKey};
use std::time::{Duration, Instant};
use worker::network::peer_record::Contact;
use worker::network::{Config, Net, Running, code};

const LINK: &[u8] = b"starling/link/1";

async fn connect(from: &Endpoint, to: &Running) -> Connection {
    let address = to.net().contact().unwrap().endpoint_addr().unwrap();
    Box::pin(from.connect(address, LINK)).await.unwrap()
}

/// A greeting with this certificate, as it travels.
fn hello(certificate: Certificate) -> Vec<u8> {
    let contact = Contact { certificate, addresses: vec![], relay: None, serves: None };
    framed(&postcard::to_allocvec(&contact.written()).unwrap())
}

fn framed(content: &[u8]) -> Vec<u8> {
    [&u32::try_from(content.len()).unwrap().to_le_bytes(), content].concat()
}

/// Sends `bytes` and waits for the end of the connection: its code, and after how long.
async fn say(connection: &Connection, bytes: &[u8]) -> (Option<u32>, Duration) {
    let started = Instant::now();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    // The other side may have had enough before all of it is sent.
    let _ = send.write_all(bytes).await;
    let reason = connection.closed().await;
    let code = match reason {
        ConnectionError::ApplicationClosed(close) => {
            u32::try_from(close.error_code.into_inner()).ok()
        }
        _ => None,
    };
    (code, started.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_turned_away() {
    let victim = peer(100, config()).await;
    let us = Member { worker: WorkerKey::from(&key(101)), ..*certificate(101, 1).member() };
    let other = SigningKey::from_bytes(&[78; 32]);
    let of_another_project = Member { project: ProjectKey::from(&other), ..us }.certify(&other);
    let forged = us.certify(&other);
    let expired = Member { expires_at_ms: 1, ..us }.certify(&super::lab::project());
    let somebody_elses = certificate(999, 1);
    for certificate in [of_another_project, forged, expired, somebody_elses] {
        let stranger = endpoint(101).await;
        let connection = connect(&stranger, &victim).await;
        let (code, _) = say(&connection, &hello(certificate)).await;
        assert_eq!(code, Some(code::STRANGER));
        stranger.close().await;
    }
    assert!(victim.net().neighbours().is_empty());
    // With its own it is let in: nothing above was turned away for another reason.
    let member = endpoint(101).await;
    let connection = connect(&member, &victim).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello(certificate(101, 1))).await.unwrap();
    let mut answer = [0; 4];
    receive.read_exact(&mut answer).await.unwrap();
    until("the link", || !victim.net().neighbours().is_empty()).await;
    member.close().await;
    victim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_oversize_and_one_byte_a_second_are_ended() {
    let victim = peer(110, config()).await;
    let check = async |number: u64, bytes: &[u8]| {
        let rude = endpoint(number).await;
        let connection = connect(&rude, &victim).await;
        let (code, _) = say(&connection, bytes).await;
        assert_eq!(code, Some(code::RUDE), "{number}");
        rude.close().await;
    };
    check(111, &framed(&[0xff; 300])).await;
    check(112, &u32::MAX.to_le_bytes()).await;
    check(113, &framed(&vec![0; 3 << 10])).await;
    // One byte now and then keeps a connection alive, but not for longer than a handshake may take.
    let slow = endpoint(114).await;
    let connection = connect(&slow, &victim).await;
    let started = Instant::now();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    for byte in hello(certificate(114, 1)) {
        if send.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::select! {
            _ = connection.closed() => break,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert!(victim.net().neighbours().is_empty());
    slow.close().await;
    victim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_asks_without_end_is_shut_out() {
    let victim = peer(120, config()).await;
    let greedy = endpoint(121).await;
    let connection = connect(&greedy, &victim).await;
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&hello(certificate(121, 1))).await.unwrap();
    let mut len = [0; 4];
    receive.read_exact(&mut len).await.unwrap();
    let mut answered = 0;
    while let Ok((mut send, mut receive)) = connection.open_bi().await {
        let _ = send.write_all(&framed(&[0])).await;
        let _ = send.finish();
        match receive.read_to_end(1 << 20).await {
            Ok(_) => answered += 1,
            Err(_) => break,
        }
        assert!(answered < 200, "nobody stops it");
    }
    assert!(30 <= answered, "{answered}");
    until("the end of the link", || victim.net().neighbours().is_empty()).await;
    greedy.close().await;
    victim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_thousand_identities_is_bounded_and_a_friend_still_comes_in() {
    const IDENTITIES: u64 = 1_000;
    const AT_ONCE: u64 = 50;
    let limits =
        Config { connections_per_address_max: 40, links_max: 20, links_wanted: 4, ..config() };
    let victim = peer(130, limits).await;
    let friend = peer(131, config()).await;
    introduce(victim.net(), friend.net());
    until("the friend", || victim.net().neighbours().contains(&friend.net().me())).await;
    let mut most = 0;
    for batch in 0..IDENTITIES / AT_ONCE {
        let mut attempts = tokio::task::JoinSet::new();
        let address = victim.net().contact().unwrap().endpoint_addr().unwrap();
        for number in 0..AT_ONCE {
            let address = address.clone();
            attempts.spawn(async move {
                let number = 10_000 + batch * AT_ONCE + number;
                let sybil = endpoint(number).await;
                let attempt = async {
                    let connection = Box::pin(sybil.connect(address, LINK)).await.ok()?;
                    let (mut send, mut receive) = connection.open_bi().await.ok()?;
                    // All of one owner, all of them members.
                    send.write_all(&hello(certificate(number, 7))).await.ok()?;
                    let mut len = [0; 4];
                    receive.read_exact(&mut len).await.ok()?;
                    Some(connection)
                };
                let connection = tokio::time::timeout(Duration::from_millis(500), attempt).await;
                (sybil, connection.ok().flatten())
            });
        }
        let held: Vec<_> = attempts.join_all().await;
        most = most.max(victim.net().report().connections);
        assert!(victim.net().neighbours().len() <= 20);
        assert!(victim.net().neighbours().contains(&friend.net().me()), "batch {batch}");
        drop(held);
    }
    assert!(most <= 60, "{most} connections were open at once");
    assert!(victim.net().report().known <= 200, "{}", victim.net().report().known);
    friend.shutdown().await;
    victim.shutdown().await;
}

/// The attackers are members with real peers, all of one owner: they know only each other, and tell only of each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_among_attackers_finds_the_one_honest_peer_and_keeps_it() {
    const ATTACKERS: u64 = 24;
    const LINKS_MAX: usize = 8;
    let honest = peer(200, config()).await;
    let mut ring = Vec::new();
    for number in 0..ATTACKERS {
        ring.push(peer_of(300 + number, 7, config()).await);
    }
    let folder = tempfile::tempdir().unwrap();
    let limits = || {
        let folder = Some(folder.path().into());
        Config { links_max: LINKS_MAX, links_wanted: LINKS_MAX / 2, folder, ..config() }
    };
    let surround = |newcomer: &Net| {
        for attacker in &ring {
            introduce(newcomer, attacker.net());
            introduce(attacker.net(), newcomer);
        }
    };
    let newcomer = peer(201, limits()).await;
    surround(newcomer.net());
    until("attackers", || 2 <= newcomer.net().neighbours().len()).await;
    // The coordinator's sample names one honest peer, once.
    introduce(newcomer.net(), honest.net());
    until("the honest one", || are_linked(newcomer.net(), honest.net())).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        surround(newcomer.net());
        assert!(newcomer.net().neighbours().contains(&honest.net().me()), "pushed out");
        assert!(newcomer.net().neighbours().len() <= LINKS_MAX);
    }
    // After a restart the attackers are there first, and nobody names the honest one.
    newcomer.shutdown().await;
    let newcomer = peer(201, limits()).await;
    surround(newcomer.net());
    let started = Instant::now();
    until("the honest one again", || are_linked(newcomer.net(), honest.net())).await;
    println!(
        "after {:?} {} neighbours of {LINKS_MAX}, {} known of {}",
        started.elapsed(),
        newcomer.net().neighbours().len(),
        newcomer.net().report().known,
        ATTACKERS + 1
    );
    let mut ends = tokio::task::JoinSet::new();
    for peer in ring.into_iter().chain([newcomer, honest]) {
        ends.spawn(peer.shutdown());
    }
    ends.join_all().await;
}

use super::super::peer_record::tests::contact;
use super::*;

const MINUTE: u64 = 60_000;

fn table() -> Table {
    Table::new(contact(0, 0, 0).worker())
}

fn dice() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 16
    }
}

#[test]
fn a_flood_of_one_account_or_one_network_holds_its_share_and_no_more() {
    let (mut table, mut dice) = (table(), dice());
    for honest in 1..=100 {
        assert!(table.met(0, contact(honest, honest, u64::from(honest)), dice()));
    }
    for sybil in 1_000..1_200 {
        table.heard(1, contact(sybil, 7_777, u64::from(sybil)), dice());
        table.heard(1, contact(10_000 + sybil, sybil, 9), dice());
        table.met(1, contact(20_000 + sybil, 7_777, u64::from(sybil)), dice());
        table.met(1, contact(30_000 + sybil, sybil, 9), dice());
    }
    for honest in 1..=100 {
        assert!(table.get(&contact(honest, honest, 0).worker()).is_some_and(|peer| peer.met));
    }
    let strangers = table.peers().filter(|peer| {
        100 < peer.contact.certificate.member().network
            || peer.contact.certificate.member().network == 9
    });
    assert!(strangers.count() <= 2 * (MET_MAX + HEARD_MAX) / SHARE + 1);
    // Of what is tried next, the flood's two groups are few, though they are many among those known.
    let honest = table.to_try(MINUTE, 16, |_| false, &mut dice);
    let honest =
        honest.iter().filter(|peer| peer.met && peer.contact.certificate.member().network <= 100);
    assert!(6 <= honest.count());
}

#[test]
fn newcomers_do_not_push_out_peers_that_answer() {
    let (mut table, mut dice) = (table(), dice());
    let many = 1..=u32::try_from(MET_MAX).unwrap();
    for peer in many {
        assert!(table.met(0, contact(peer, peer, 0), dice()));
    }
    for newcomer in 5_000..5_200 {
        assert!(!table.met(1, contact(newcomer, newcomer, 0), dice()));
    }
    assert_eq!(table.peers().filter(|peer| peer.met).count(), MET_MAX);
    // One that has gone makes room.
    let gone = contact(3, 3, 0).worker();
    (0..u64::from(MET_FAILURES_MAX)).for_each(|n| table.failed(n, &gone));
    assert!(table.met(2, contact(5_000, 5_000, 0), dice()));
    assert!(table.get(&gone).is_none());
    for newcomer in 10_000..11_000 {
        assert!(table.heard(1, contact(newcomer, newcomer, 0), dice()));
    }
    assert_eq!(table.peers().count(), MET_MAX + HEARD_MAX);
}

#[test]
fn a_peer_that_fails_is_tried_less_and_less_and_one_only_heard_of_is_forgotten() {
    let (mut table, mut dice) = (table(), dice());
    let (met, heard) = (contact(1, 1, 0), contact(2, 2, 0));
    table.met(0, met.clone(), 0);
    table.heard(0, heard.clone(), 0);
    assert_eq!(table.to_try(0, 9, |_| false, &mut dice).len(), 2);
    assert_eq!(table.to_try(0, 9, |worker| *worker == met.worker(), &mut dice).len(), 1);
    let mut now = 0;
    for failure in 0..20 {
        table.failed(now, &met.worker());
        table.failed(now, &heard.worker());
        assert_eq!(table.to_try(now, 9, |_| false, &mut dice), Vec::<&Peer>::new(), "{failure}");
        let retry = table.get(&met.worker()).unwrap().retry_at_ms;
        assert!(now < retry && retry <= now + RETRY_MAX_MS);
        now = retry;
    }
    assert!(table.get(&heard.worker()).is_none());
    // Word of it, from somebody who has seen it alive, is a reason to try again soon.
    table.failed(now, &met.worker());
    table.heard(now, met.clone(), 0);
    assert_eq!(table.get(&met.worker()).unwrap().retry_at_ms, now + RETRY_HEARD_MS);
    // News of where it has gone is one to try at once.
    let moved = Contact { addresses: vec!["192.0.2.9:1".parse().unwrap()], ..met.clone() };
    table.failed(now, &met.worker());
    table.heard(now, moved.clone(), 0);
    assert_eq!(table.to_try(now, 9, |_| false, &mut dice)[0].contact, moved);
    // While it answers, others do not tell us where it is.
    table.met(now, moved.clone(), 0);
    table.heard(now, met.clone(), 0);
    assert_eq!(table.get(&met.worker()).unwrap().contact, moved);
}

#[test]
fn a_peer_that_cheats_is_shut_out_for_a_while_and_one_that_is_slow_is_not() {
    let mut table = table();
    let peer = contact(1, 1, 0);
    table.met(0, peer.clone(), 0);
    assert!(!table.blame(0, &peer.worker(), Blame::Slow));
    (0..100).for_each(|_| table.thank(&peer.worker()));
    assert_eq!(table.get(&peer.worker()).unwrap().score, SCORE_MAX);
    assert!(table.blame(0, &peer.worker(), Blame::Forged));
    assert!(table.is_banned(BAN_MS - 1, &peer.worker()));
    assert!(!table.heard(1, peer.clone(), 0));
    assert!(!table.is_banned(BAN_MS, &peer.worker()));
    assert!(table.heard(BAN_MS, peer, 0));
    for stranger in 10..5_000 {
        table.blame(1, &contact(stranger, 1, 0).worker(), Blame::Forged);
    }
    assert_eq!(table.banned.len(), BANS_MAX);
}

#[test]
fn only_peers_that_were_talked_to_lately_are_told_of() {
    let (mut table, mut dice) = (table(), dice());
    table.heard(0, contact(1, 1, 0), 0);
    table.met(0, contact(2, 2, 0), 0);
    table.met(0, contact(3, 3, 0), 0);
    table.failed(0, &contact(3, 3, 0).worker());
    let told: Vec<_> =
        table.to_tell(MINUTE, 9, &mut dice).iter().map(|peer| peer.contact.worker()).collect();
    assert_eq!(told, [contact(2, 2, 0).worker()]);
    assert!(table.to_tell(2 * 3_600_000, 9, &mut dice).is_empty());
}

#[test]
fn the_nearest_keys_are_found() {
    let (mut table, mut dice) = (table(), dice());
    for peer in 1..200 {
        table.met(0, contact(peer, peer, 0), dice());
    }
    let target = contact(1_000, 1, 0).worker();
    let nearest = table.nearest(&target, 8);
    let distances: Vec<_> =
        nearest.iter().map(|peer| distance(&target, &peer.contact.worker())).collect();
    assert!(distances.is_sorted());
    let all = table.peers().map(|peer| distance(&target, &peer.contact.worker()));
    assert_eq!(all.filter(|distance| *distance < distances[7]).count(), 7);
}

#[test]
fn what_was_kept_comes_back_within_the_bounds() {
    let (mut first, mut dice) = (table(), dice());
    for peer in 1..300 {
        first.met(5, contact(peer, peer, 0), dice());
        first.heard(5, contact(1_000 + peer, peer, 0), dice());
    }
    let mut second = table();
    second.restore(first.peers().cloned());
    assert!(second.peers().eq(first.peers()));
    second.expire(u64::MAX);
    assert_eq!(second.peers().count(), 0);
}

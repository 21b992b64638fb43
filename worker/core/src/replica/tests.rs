use super::*;
use ed25519_dalek::SigningKey;
use proto::{Digest, JobId};
use rand::SeedableRng;
use rand::rngs::SmallRng;

fn project() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let entry = |number| {
        let event = Event::Submitted { account: format!("ada {number}"), submission: [1; 16] };
        let key = ProjectKey::from(&project());
        Entry::new(key, number, JobId(number), Digest([2; 32]), event).encode()
    };
    range.map(entry).collect()
}

fn head(entries: &[Vec<u8>]) -> pb::SignedHead {
    let mut frontier = Frontier::default();
    for entry in entries {
        frontier.append(Entry::leaf(entry), |_, _, _| {});
    }
    Head::new(ProjectKey::from(&project()), frontier.size(), frontier.root(), 5).sign(&project())
}

#[test]
fn a_log_grows_by_what_the_project_signed_and_by_nothing_else() {
    let mut ledger = Ledger::new(ProjectKey::from(&project()));
    ledger.extend(&head(&entries(0..5)), &entries(0..5)).unwrap();
    assert_eq!(ledger.size(), 5);
    let next = head(&entries(0..9));
    assert!(matches!(ledger.news(&next), Ok(Heard::News(head)) if head.size == 9));
    let mut forged = entries(5..9);
    forged[1] = entries(20..21).remove(0);
    for wrong in [entries(5..8), entries(4..9), entries(5..10), forged, vec![vec![1, 2, 3]]] {
        assert_eq!(ledger.extend(&next, &wrong), Err(Wrong::Entries));
        assert_eq!(ledger.size(), 5, "nothing has changed");
    }
    ledger.extend(&next, &entries(5..9)).unwrap();
    let older = ledger.news(&head(&entries(0..7)));
    assert_eq!(older, Ok(Heard::Known(7)), "older heads are no news");
    let mut forged = head(&entries(0..12));
    forged.signature = vec![0; 64].into();
    assert!(matches!(ledger.news(&forged), Err(Wrong::Head(_))));
    assert_eq!(ledger.news(&head(&entries(1..10))), Err(Wrong::Fork(9)));
}

#[test]
fn heads_go_to_a_few_then_to_one_more_and_too_many_are_not_looked_at() {
    let peer = |number| WorkerKey([number; 32]);
    let (mut gossip, mut random) = (Gossip::default(), SmallRng::seed_from_u64(1));
    for number in 1..=20 {
        gossip.came(peer(number));
    }
    gossip.told(&peer(2), 10);
    assert_eq!(gossip.next_deadline(), None, "nothing was told yet");
    let mut tell = |gossip: &mut Gossip, now, size| gossip.to_tell(now, size, &mut random);
    assert_eq!(tell(&mut gossip, Now::ZERO, 10).len(), 19, "all but the one that knows are new");
    assert_eq!((gossip.next_deadline(), tell(&mut gossip, Now::ZERO, 10)), (None, vec![]));
    gossip.went(&peer(3));
    let mut heard = tell(&mut gossip, Now::ZERO, 11);
    assert_eq!(heard.len(), FANOUT);
    assert_eq!(tell(&mut gossip, Now::ZERO, 11), []);
    gossip.came(peer(3));
    assert_eq!(tell(&mut gossip, Now::ZERO, 11), [peer(3)], "it has nothing yet");
    while let Some(due) = gossip.next_deadline() {
        assert_eq!(tell(&mut gossip, due - HEAD_EVERY, 11), []);
        let more = tell(&mut gossip, due, 11);
        assert_eq!(more.len(), 1);
        heard.extend(more);
    }
    heard.sort_unstable();
    let all: Vec<WorkerKey> = (1..=20).filter(|number| *number != 3).map(peer).collect();
    assert_eq!(heard, all, "in the end all are told, each once");
    assert!(!gossip.may_tell(Now::ZERO, &peer(99)), "nobody we know");
    let heard = (0..1_000).filter(|_| gossip.may_tell(Now::ZERO, &peer(1))).count();
    assert_eq!(heard as u64, HEADS_BURST);
    assert!(gossip.may_tell(HEAD_EVERY, &peer(1)));
}

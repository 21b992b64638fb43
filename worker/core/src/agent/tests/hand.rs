//! Batches that peers hold copies of.

use super::*;

#[test]
fn while_the_coordinator_is_away_reports_go_to_peers_once() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 4));
    world.end(unit(1, 0), done(1));
    let sent = world.batch();
    world.detach();
    world.end(unit(1, 1), done(1));
    world.pass(Duration::from_secs(9));
    assert!(world.handed.is_empty(), "a short absence is soon over");
    world.pass(Duration::from_secs(2));
    let first = world.handed.pop().unwrap();
    assert_eq!(units(&first), [0, 1]);
    assert!(sent.sequence < first.sequence);
    world.end(unit(1, 2), done(1));
    world.end(unit(1, 3), done(1));
    world.pass(Duration::from_secs(10));
    let second = world.handed.pop().unwrap();
    assert_eq!(units(&second), [2, 3]);
    world.pass(Duration::from_secs(3_600));
    assert!(world.handed.is_empty(), "nothing is handed over twice");
    // The coordinator is back: all of it is reported, and each batch is settled with its last unit.
    world.attach();
    let batch = world.batch();
    assert_eq!(units(&batch), [0, 1, 2, 3]);
    world.ack(&batch, Ack::Accepted);
    let mut settled = std::mem::take(&mut world.settled);
    settled.sort_unstable();
    assert_eq!(settled, [sent.sequence, first.sequence, second.sequence, batch.sequence]);
}

#[test]
fn a_large_output_waits_for_the_coordinator() {
    let mut world = World::attached();
    world.lend(lease(5, 1, 0, 2));
    world.detach();
    let len = HANDED_OUTPUT_BYTES_MAX + 1;
    let output = Output::Blob { digest: Digest([3; 32]), len };
    world
        .end(unit(1, 0), End::Result { outcome: Outcome::Done(output), fuel: 1, trace_root: None });
    world.end(unit(1, 1), done_large(4));
    world.pass(Duration::from_secs(60));
    let handed: Vec<u64> = world.handed.iter().flat_map(units).collect();
    assert_eq!(handed, [1], "the smaller one goes along with its batch");
}

#[test]
fn a_thousand_workers_that_lost_the_coordinator_at_once_come_back_spread_out() {
    let mut per_second: BTreeMap<u64, usize> = BTreeMap::new();
    for number in 0..1_000_u64 {
        let mut agent = Agent::new(config());
        let _ = agent.apply(Now::ZERO, Event::Wake);
        let mut now = Now::ZERO;
        // Attempts fail at once, for ten minutes.
        for attempt in 0.. {
            let bytes = [number.to_le_bytes(), u64::to_le_bytes(attempt)].concat();
            let random = blake3::hash(&bytes).as_bytes()[..8].try_into().unwrap();
            let random = u64::from_le_bytes(random);
            let _ = agent
                .apply(now, Event::Detached { reason: "away".into(), retry_after: None, random });
            now = agent.next_deadline().unwrap();
            let effects = agent.apply(now, Event::Wake);
            assert!(effects.actions.iter().any(|action| matches!(action, Action::Connect)));
            if Duration::from_secs(600) < now {
                break;
            }
            if Duration::from_secs(240) < now {
                *per_second.entry(now.as_secs()).or_default() += 1;
            }
        }
    }
    // Twenty-two a second on average.
    let most = per_second.values().max().unwrap();
    assert!(*most <= 60, "{most} of a thousand workers within one second");
}

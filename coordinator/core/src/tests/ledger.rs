//! The project's log.

use super::env::*;
use crate::event::{Event, Reply};
use crate::record::{LogRecord, Table, decode, encode};
use crate::saved::check::check_log;
use crate::saved::log::Log;
use crate::store::Store;
use proto::log::{self, Entry, Frontier, Source, consistent};
use proto::{AccountKey, JobId, UnitIndex, WorkerKey, merkle};

/// All entries, and the root under each number of them; everything that can be proved of them is.
fn read(env: &Env) -> Vec<Entry> {
    assert_eq!(check_log(env.store.as_ref(), PROJECT), Vec::<String>::new());
    let log = Log::of(env.store.as_ref());
    let bytes = log.entries(0, u64::MAX, usize::MAX).unwrap();
    assert_eq!(log.size().unwrap(), bytes.len() as u64);
    let (mut frontier, mut roots) = (Frontier::default(), Vec::new());
    for entry in &bytes {
        roots.push((frontier.size(), frontier.root()));
        frontier.append(Entry::leaf(entry), |_, _, _| {});
    }
    roots.push((frontier.size(), frontier.root()));
    for (to, new) in &roots {
        for (from, old) in &roots[..=usize::try_from(*to).unwrap()] {
            let path = log.consistency(*from, *to).unwrap().unwrap();
            assert!(consistent(*from, old, *to, new, &path));
        }
        for (index, entry) in (0..*to).zip(&bytes) {
            let path = log.inclusion(index, *to).unwrap().unwrap();
            assert_eq!(merkle::climb(Entry::leaf(entry), index, *to, &path), Some(*new));
        }
        assert!(log.inclusion(*to, *to).unwrap().is_err());
    }
    let beyond = roots.len() as u64;
    assert!(log.inclusion(0, beyond).unwrap().is_err());
    assert!(log.consistency(0, beyond).unwrap().is_err());
    bytes.iter().map(|bytes| Entry::decode(bytes).unwrap()).collect()
}

fn event(entry: &Entry) -> String {
    match &entry.event {
        log::Event::Submitted { account, .. } => format!("{} submitted by {account}", entry.job),
        log::Event::Verdicts { position, spans, .. } => {
            let units: u32 = spans.iter().map(|span| span.count).sum();
            format!("{} verdicts {position}: {units}", entry.job)
        }
        log::Event::Done => format!("{} done", entry.job),
        log::Event::Cancelled => format!("{} cancelled", entry.job),
    }
}

#[test]
fn the_log_tells_the_whole_history() {
    let mut env = Env::new();
    let job = env.submit(spec(6, 2));
    let (ada, bob) = (env.worker(1), env.worker(2));
    env.lease(ada, 6);
    env.lease(bob, 6);
    env.report_all(ada, job);
    // What ada said is read again with its batch, and its root with it.
    env.crash();
    env.connect(ada);
    env.connect(bob);
    env.report_honestly(bob, job, 0);
    let other = env.submit_as("eve", spec(9, 1), 7);
    env.report_all(bob, job);
    assert!(env.is_done(job));
    env.apply(Event::Cancel(other));
    let entries = read(&env);
    let events: Vec<String> = entries.iter().map(event).collect();
    assert_eq!(
        events,
        [
            "j1 submitted by ada",
            "j1 verdicts 0: 1",
            "j2 submitted by eve",
            "j1 verdicts 1: 5",
            "j1 done",
            "j2 cancelled",
        ]
    );
    let log::Event::Verdicts { sources, .. } = &entries[1].event else { panic!("no verdicts") };
    let named = |source: &Source| (source.worker, source.account, source.sequence);
    let mut named: Vec<_> = sources.iter().map(named).collect();
    named.sort_unstable();
    assert_eq!(
        named,
        [
            (WorkerKey([0; 32]), AccountKey([1; 32]), 1),
            (WorkerKey([1; 32]), AccountKey([2; 32]), 1)
        ]
    );
    let log = Log::of(env.store.as_ref());
    assert_eq!(log.locate(job, UnitIndex(0)).unwrap(), Some(1));
    assert_eq!(log.locate(job, UnitIndex(5)).unwrap(), Some(3));
    assert_eq!(log.locate(other, UnitIndex(0)).unwrap(), None);
    // What the entry rests on can be shown: the very reports, under the very root.
    for used in log.used(&entries[3]).unwrap() {
        let shown = log.shown(&used).unwrap();
        let known = shown.statements.iter();
        let known = known.map(|(at, said)| (u64::from(*at), said.leaf())).collect();
        let root = merkle::climb_from_all(&known, shown.count, &shown.path).unwrap();
        let log::Event::Verdicts { sources, .. } = &entries[3].event else { panic!("none") };
        assert!(sources.iter().any(|source| source.root == root));
    }
}

#[test]
fn a_head_is_never_of_earlier_than_one_before() {
    let mut env = Env::new();
    env.submit(spec(6, 2));
    let head = |env: &mut Env| match env.apply(Event::Head) {
        Reply::Head(head) => head,
        other => panic!("no head: {other:?}"),
    };
    let before = head(&mut env);
    assert_eq!((before.size, before.at_ms), (1, env.now.wall_ms));
    env.now.wall_ms -= 1_000;
    env.crash();
    env.submit(spec(6, 2));
    let after = head(&mut env);
    assert_eq!((after.size, after.at_ms), (2, before.at_ms));
}

#[test]
fn many_verdicts_are_many_entries_of_bounded_size() {
    let mut env = Env::new();
    let units = 20_000;
    let job = env.submit(spec(units, 1));
    let worker = env.worker(1);
    while !env.is_done(job) {
        env.want(worker, 4096);
        env.report_all(worker, job);
    }
    let verdicts = |entry: &&Entry| matches!(entry.event, log::Event::Verdicts { .. });
    let entries = read(&env);
    assert!(4 <= entries.iter().filter(verdicts).count());
    assert!(entries.iter().all(|entry| entry.encode().len() < 1_000));
}

#[test]
fn what_does_not_fit_is_found() {
    let mut env = Env::new();
    let job = env.submit(spec(3, 1));
    let worker = env.worker(1);
    env.lease(worker, 3);
    for unit in 0..3 {
        env.report_honestly(worker, job, unit);
    }
    let wrong = |key: Vec<u8>, touch: &dyn Fn(&mut Vec<u8>)| {
        let right = env.store.get(&key).unwrap().unwrap();
        let mut touched = right.clone();
        touch(&mut touched);
        env.store.commit(vec![(key.clone(), Some(touched))]).unwrap();
        let wrong = check_log(env.store.as_ref(), PROJECT);
        env.store.commit(vec![(key, Some(right))]).unwrap();
        assert!(!wrong.is_empty());
        wrong.join("\n")
    };
    let found = wrong(Table::Entry.key(2), &|bytes| {
        let mut entry = Entry::decode(bytes).unwrap();
        entry.at_ms += 1;
        *bytes = entry.encode();
    });
    assert!(found.contains("entry 2 of the log is not what record 1 of j1 says"), "{found}");
    assert!(found.contains("node 1 of level 1"), "{found}");
    assert!(found.contains("its counters say"), "{found}");
    let found = wrong(Table::Node.key2(1, 0), &|bytes| bytes[0] ^= 1);
    assert!(found.contains("node 0 of level 1"), "{found}");
    let found = wrong(Table::Log.key2(JobId(1).0, 0), &|bytes| {
        let mut record: LogRecord = decode(bytes).unwrap();
        record.spans[0].fuel += 1;
        *bytes = encode(&record);
    });
    assert!(found.contains("entry 1 of the log is not what record 0"), "{found}");
    assert_eq!(check_log(env.store.as_ref(), PROJECT), Vec::<String>::new());
}

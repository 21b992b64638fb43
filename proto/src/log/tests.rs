use super::*;
use crate::key::sign;
use crate::merkle::{self, Path};
use crate::receipt::{Copy, Receipt};
use crate::report::{Batch, JobRef, Outcome, Output, Proof, Report, Statement};
use crate::{AccountKey, Digest, JobId, LeaseId, ProjectKey, UnitIndex, WorkerKey};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use std::collections::HashMap;
use std::convert::Infallible;

fn leaves(count: u64) -> Vec<Digest> {
    (0..count).map(|index| merkle::leaf(&index.to_le_bytes())).collect()
}

/// The definition of RFC 6962, section 2.1, word for word.
fn defined(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while 2 * k < leaves.len() {
                k *= 2;
            }
            merkle::node(&defined(&leaves[..k]), &defined(&leaves[k..]))
        }
    }
}

/// A log that keeps its nodes, as the coordinator's store does.
#[derive(Default)]
struct Stored {
    frontier: Frontier,
    nodes: HashMap<(u8, u64), Digest>,
}

impl Stored {
    fn of(leaves: &[Digest]) -> Self {
        let mut stored = Self::default();
        for leaf in leaves {
            stored.nodes.insert((0, stored.frontier.size()), *leaf);
            let Self { frontier, nodes } = &mut stored;
            frontier.append(*leaf, |level, index, digest| {
                assert!(nodes.insert((level, index), digest).is_none());
            });
            assert!(frontier.is_whole());
        }
        stored
    }

    fn read(&self) -> impl FnMut(u8, u64) -> Result<Digest, Infallible> {
        |level, index| Ok(self.nodes[&(level, index)])
    }
}

#[test]
fn a_growing_tree_is_the_one_of_the_definition() {
    let all = leaves(200);
    for size in 0..=200 {
        let leaves = &all[..size];
        let stored = Stored::of(leaves);
        let expected = defined(leaves);
        assert_eq!(merkle::root(leaves), expected);
        assert_eq!(stored.frontier.root(), expected);
        let Ok(root) = root_at(size as u64, stored.read());
        assert_eq!(root, expected);
    }
}

#[test]
fn every_leaf_is_shown_to_be_in_every_tree() {
    let all = leaves(200);
    let stored = Stored::of(&all);
    for size in 1..=200_u64 {
        let root = merkle::root(&all[..size as usize]);
        for index in 0..size {
            let Ok(path) = inclusion(index, size, stored.read());
            let path = path.unwrap();
            assert_eq!(Some(&path), merkle::path(&all[..size as usize], index as usize).as_ref());
            assert_eq!(merkle::climb(all[index as usize], index, size, &path), Some(root));
        }
        let Ok(beyond) = inclusion(size, size, stored.read());
        assert_eq!(beyond, None);
    }
}

#[test]
fn every_tree_is_shown_to_begin_every_larger_one() {
    let all = leaves(200);
    let stored = Stored::of(&all);
    let roots: Vec<Digest> = (0..=200).map(|size| merkle::root(&all[..size])).collect();
    for to in 0..=200_u64 {
        for from in 0..=to {
            let Ok(path) = consistency(from, to, stored.read());
            let path = path.unwrap();
            let (old, new) = (&roots[from as usize], &roots[to as usize]);
            assert!(consistent(from, old, to, new, &path), "{from} to {to}");
            if 0 < from && from < to {
                let other = merkle::leaf(b"other");
                assert!(!consistent(from, &other, to, new, &path));
                assert!(!consistent(from, old, to, &other, &path));
                for touched in 0..path.0.len() {
                    let mut forged = path.clone();
                    forged.0[touched] = other;
                    assert!(!consistent(from, old, to, new, &forged));
                }
                let (mut longer, mut shorter) = (path.clone(), path);
                longer.0.push(other);
                shorter.0.pop();
                assert!(!consistent(from, old, to, new, &longer));
                assert!(!consistent(from, old, to, new, &shorter));
            }
        }
        let Ok(backwards) = consistency(to + 1, to, stored.read());
        assert_eq!(backwards, None);
    }
}

proptest! {
    #[test]
    fn a_tree_with_one_other_leaf_has_no_proof(size in 2_u64..3000, at in any::<u64>(), from in any::<u64>()) {
        let (at, from) = (at % size, 1 + from % (size - 1));
        let right = leaves(size);
        let mut wrong = right.clone();
        wrong[at as usize] = merkle::leaf(b"other");
        let (right, wrong) = (Stored::of(&right), Stored::of(&wrong));
        let Ok(old) = root_at(from, right.read());
        let Ok(path) = consistency(from, size, wrong.read());
        // Only a change behind the old tree is no change of it.
        let fits = consistent(from, &old, size, &wrong.frontier.root(), &path.unwrap());
        prop_assert_eq!(fits, from <= at);
    }

    #[test]
    fn no_bytes_are_an_entry_that_points_nowhere(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(entry) = Entry::decode(&bytes) {
            prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
        }
    }
}

const SPEC: Digest = Digest([3; 32]);

fn project() -> (SigningKey, ProjectKey) {
    let key = SigningKey::from_bytes(&[2; 32]);
    (key.clone(), ProjectKey::from(&key))
}

/// A batch of three reports by one worker, its proofs, and the entry that rests on it.
fn settled() -> (Vec<Proof>, Vec<Statement>, Entry) {
    let (worker, (_, project)) = (SigningKey::from_bytes(&[1; 32]), project());
    let report = |unit: u64| Report {
        job: 0,
        lease: LeaseId(1),
        unit: UnitIndex(unit),
        outcome: Outcome::Done(Output::Inline(unit.to_le_bytes().to_vec())),
        fuel: 70 + unit,
        trace_root: None,
    };
    let jobs = vec![JobRef { id: JobId(1), spec: SPEC }];
    let reports: Vec<Report> = (5..8).map(report).collect();
    let key = WorkerKey::from(&worker);
    let batch = Batch::new(project, key, 300, jobs, reports);
    let signature = sign(&worker, &batch.signed_bytes());
    let proofs = (0..3).map(|index| Proof::of(&batch, index, &signature).unwrap()).collect();
    let statements = batch.reports.iter().map(|report| Statement::new(SPEC, report)).collect();
    let source =
        Source { worker: key, account: AccountKey([4; 32]), sequence: 300, root: batch.root() };
    let place = Place { source: 0, position: 0 };
    let spans = vec![
        Span { first: 5, count: 3, end: End::Done(vec![place]), figure: 60, fuel: 75 + 76 + 77 },
        Span { first: 9, count: 1, end: End::GivenUp("no".into()), figure: 0, fuel: 0 },
    ];
    let event = Event::Verdicts { position: 2, sources: vec![source], spans };
    (proofs, statements, Entry::new(project, 1_000, JobId(1), SPEC, event))
}

fn logged() -> Logged {
    let ((key, project), (proofs, statements, entry)) = (project(), settled());
    let copies = vec![Copy { account: AccountKey([4; 32]), proof: proofs[1].clone() }];
    let statement = statements[1].clone();
    let receipt = Receipt::new(project, Digest([5; 32]), statement, vec![], copies, 1_000);
    let entry = entry.encode();
    let mut all = leaves(10);
    all[6] = Entry::leaf(&entry);
    let head = Head::new(project, 10, merkle::root(&all), 2_000);
    Logged {
        receipt: receipt.sign(&key),
        entry,
        index: 6,
        path: merkle::path(&all, 6).unwrap(),
        head: head.sign(&key),
    }
}

#[test]
fn canonical_bytes_are_pinned() {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let (_, project) = project();
    let submitted = Event::Submitted { account: "ada".into(), submission: [7; 16] };
    let event = |event| Entry::new(project, 1_000, JobId(1), SPEC, event).encode();
    let found = [
        hex(&settled().2.encode()),
        hex(&event(submitted)),
        hex(&event(Event::Done)),
        hex(&event(Event::Cancelled)),
        Entry::leaf(&settled().2.encode()).to_string(),
        hex(&logged().head.payload),
        hex(&logged().head.signature),
    ];
    assert_eq!(found.join("\n"), include_str!("golden.txt").trim());
}

#[test]
fn a_receipt_is_shown_to_be_in_the_log() {
    let ((_, project), logged) = (project(), logged());
    let (receipt, entry, head) = logged.verify(&project).unwrap();
    assert_eq!((receipt.unit, entry.job, head.size), (UnitIndex(6), JobId(1), 10));
    assert!(matches!(logged.verify(&ProjectKey([8; 32])), Err(NotLogged::Receipt(_))));
    let touched = |touch: &dyn Fn(&mut Logged)| {
        let mut logged = logged.clone();
        touch(&mut logged);
        logged.verify(&project).unwrap_err()
    };
    for at in 0..logged.entry.len() {
        let error = touched(&|logged| logged.entry[at] ^= 1);
        assert!(matches!(error, NotLogged::Absent(6) | NotLogged::Entry(_)), "{error:?}");
    }
    assert_eq!(touched(&|logged| logged.index = 7), NotLogged::Absent(7));
    assert_eq!(touched(&|logged| logged.path = Path::default()), NotLogged::Absent(6));
    let other = SigningKey::from_bytes(&[6; 32]);
    let head = Head::verify(&logged.head, &project).unwrap();
    let error = touched(&|logged| logged.head = head.sign(&other));
    assert!(matches!(error, NotLogged::Head(_)));
}

#[test]
fn a_receipt_of_something_else_than_the_entry_is_not_in_the_log() {
    let ((key, project), (_, _, entry)) = (project(), settled());
    let differs = |touch: &dyn Fn(&mut Entry)| {
        let (mut entry, mut logged) = (entry.clone(), logged());
        touch(&mut entry);
        logged.entry = entry.encode();
        let mut all = leaves(10);
        all[6] = Entry::leaf(&logged.entry);
        logged.path = merkle::path(&all, 6).unwrap();
        logged.head = Head::new(project, 10, merkle::root(&all), 2_000).sign(&key);
        match logged.verify(&project) {
            Err(NotLogged::Differs(what)) => what,
            other => panic!("{other:?}"),
        }
    };
    fn spans(entry: &mut Entry) -> (&mut Vec<Source>, &mut Vec<Span>) {
        match &mut entry.event {
            Event::Verdicts { sources, spans, .. } => (sources, spans),
            _ => unreachable!(),
        }
    }
    assert_eq!(differs(&|entry| entry.spec = Digest([9; 32])), "the job");
    assert_eq!(differs(&|entry| entry.at_ms += 1), "the time of the verdict");
    assert_eq!(differs(&|entry| spans(entry).1[0].count = 1), "the unit");
    assert_eq!(differs(&|entry| entry.event = Event::Done), "the unit");
    assert_eq!(differs(&|entry| spans(entry).0[0].root = SPEC), "the reports");
    assert_eq!(differs(&|entry| spans(entry).0[0].account = AccountKey([1; 32])), "the reports");
    let second = Place { source: 0, position: 9 };
    let end = |end: End| move |entry: &mut Entry| spans(entry).1[0].end = end.clone();
    let first = Place { source: 0, position: 0 };
    assert_eq!(differs(&end(End::Done(vec![first, second]))), "the number of reports");
    assert_eq!(differs(&end(End::Done(vec![second]))), "the reports");
    assert_eq!(differs(&end(End::Failed(vec![first]))), "how the unit ended");
    // Withdrawn in the same entry: the receipt was good, and the unit has no verdict any more.
    let withdrawn =
        Span { first: 6, count: 1, end: End::Withdrawn("x".into()), figure: 0, fuel: 0 };
    assert_eq!(differs(&|entry| spans(entry).1.push(withdrawn.clone())), "how the unit ended");
}

#[test]
fn an_entry_that_points_nowhere_is_none() {
    let malformed = |touch: &dyn Fn(&mut Span)| {
        let (_, _, mut entry) = settled();
        let Event::Verdicts { spans, .. } = &mut entry.event else { unreachable!() };
        touch(&mut spans[0]);
        assert_eq!(Entry::decode(&entry.encode()), Err(Malformed));
    };
    malformed(&|span| span.count = 0);
    malformed(&|span| span.first = u64::MAX);
    malformed(&|span| span.end = End::Done(vec![]));
    malformed(&|span| span.end = End::Done(vec![Place { source: 1, position: 0 }]));
    malformed(&|span| span.end = End::Done(vec![Place { source: 0, position: u32::MAX }]));
    let bytes = settled().2.encode();
    assert_eq!(Entry::decode(&[&bytes[..], &[0]].concat()), Err(Malformed));
    assert_eq!(Entry::decode(&bytes[1..]), Err(Malformed));
    assert_eq!(Entry::decode(&vec![0; crate::bounds::LOG_ENTRY_BYTES_MAX + 1]), Err(Malformed));
}

#[test]
fn two_heads_that_do_not_fit_show_it() {
    let (key, project) = project();
    let right = leaves(20);
    let mut wrong = right.clone();
    wrong[3] = merkle::leaf(b"other");
    let head = |leaves: &[Digest], at_ms| {
        Head::new(project, leaves.len() as u64, merkle::root(leaves), at_ms).sign(&key)
    };
    let shown = |smaller: &pb::SignedHead, larger: &pb::SignedHead, prefix| {
        let heads = Heads { smaller: smaller.clone(), larger: larger.clone(), prefix };
        heads.contradiction(&project).unwrap()
    };
    use crate::pb;
    let (old, new) = (head(&right[..12], 10), head(&right, 20));
    let prefix = |leaves: &[Digest]| {
        let Ok(path) = consistency(12, 20, Stored::of(leaves).read());
        Some((merkle::root(&leaves[..12]), path.unwrap()))
    };
    assert_eq!(shown(&old, &new, None), None);
    assert_eq!(shown(&old, &new, prefix(&right)), None);
    assert_eq!(shown(&old, &new, prefix(&wrong)), None);
    let rewritten = head(&wrong, 20);
    assert_eq!(shown(&old, &rewritten, None), None);
    assert_eq!(
        shown(&old, &rewritten, prefix(&wrong)),
        Some(Contradiction::Rewritten { smaller: 12, larger: 20 })
    );
    assert_eq!(shown(&new, &rewritten, None), Some(Contradiction::SameSize(20)));
    assert_eq!(shown(&new, &new, None), None);
    let cut = head(&right[..12], 30);
    assert_eq!(shown(&cut, &new, None), Some(Contradiction::Shorter { larger: 20, smaller: 12 }));
    assert_eq!(shown(&new, &cut, None), None);
    let heads = Heads { smaller: old, larger: new, prefix: None };
    assert!(heads.contradiction(&ProjectKey([1; 32])).is_err());
}

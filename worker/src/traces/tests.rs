use super::*;
use proto::trace::Point;
use proto::{JobId, UnitIndex};

fn unit(unit: u64) -> UnitId {
    UnitId { job: JobId(7), unit: UnitIndex(unit) }
}

fn trace(points: u64) -> Trace {
    let mut trace = Trace::new(10);
    for i in 1..=points {
        trace.push(Point { fuel: 10 * i, state: Digest::of(&i.to_le_bytes()) });
    }
    trace
}

fn open(root: &Path, limit: u64) -> Traces {
    Traces::open(root, limit, 2, &BTreeSet::new()).unwrap()
}

/// Runs a unit that keeps so many bytes of states.
fn run(traces: &Traces, id: UnitId, states: u64) {
    traces.begin(id).unwrap();
    fs::write(traces.states(id), vec![1; usize::try_from(states).unwrap()]).unwrap();
    let (root, kept) = traces.end(id, Some(&trace(3)));
    kept.unwrap();
    assert_eq!(root, trace(3).root());
}

#[test]
fn a_trace_is_read_back_after_a_restart_until_it_is_forgotten() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    run(&traces, unit(1), 1000);
    // With its digest.
    assert_eq!(traces.bytes(), 1000 + trace(3).encode().len() as u64 + 32);
    let traces = open(home.path(), 1 << 20);
    // With its digest.
    assert_eq!(traces.bytes(), 1000 + trace(3).encode().len() as u64 + 32);
    assert_eq!(traces.read(unit(1), 10), Ok(trace(3)));
    assert!(traces.read(unit(1), 7).is_err(), "it is not the trace of a job with another spacing");
    assert!(traces.read(unit(2), 10).is_err());
    traces.forget(unit(1)).unwrap();
    assert!(traces.read(unit(1), 10).is_err());
    assert_eq!((traces.bytes(), fs::read_dir(home.path()).unwrap().count()), (0, 0));
}

#[test]
fn the_oldest_states_go_first_and_their_traces_stay() {
    let home = tempfile::tempdir().unwrap();
    let limit = 1 << 20;
    let traces = open(home.path(), limit);
    assert_eq!(traces.begin(unit(0)), Some(limit / 8), "a quarter of the room for two slots");
    for i in 0..9 {
        run(&traces, unit(i), limit / 8);
        assert!(traces.bytes() <= limit);
    }
    let there: Vec<u64> = (0..9).filter(|i| traces.states(unit(*i)).exists()).collect();
    assert_eq!(there, [5, 6, 7, 8]);
    assert!((0..9).all(|i| traces.read(unit(i), 10).is_ok()));
    let traces = open(home.path(), limit / 4);
    let there: Vec<u64> = (0..9).filter(|i| traces.states(unit(*i)).exists()).collect();
    assert_eq!(there, [8], "a smaller limit holds from the start");
    assert!(traces.bytes() <= limit / 4);
}

#[test]
fn many_traces_push_out_the_oldest_with_its_states() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    run(&traces, unit(0), 1000);
    let long = trace(1000);
    for i in 1..20 {
        assert!(traces.begin(unit(i)).is_some());
        traces.end(unit(i), Some(&long)).1.unwrap();
    }
    assert!(!traces.states(unit(0)).exists(), "without a trace it is of no use");
    assert!(traces.read(unit(0), 10).is_err() && traces.read(unit(19), 10).is_ok());
    assert!(traces.bytes() <= 1 << 20);
}

#[test]
fn what_has_no_points_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    for trace in [None, Some(trace(0))] {
        assert!(traces.begin(unit(1)).is_some());
        fs::write(traces.states(unit(1)), b"x").unwrap();
        let (root, kept) = traces.end(unit(1), trace.as_ref());
        kept.unwrap();
        assert_eq!((root, fs::read_dir(home.path()).unwrap().count()), (None, 0));
    }
    assert_eq!(open(home.path(), 0).begin(unit(1)), None, "no room, no states");
}

#[test]
fn at_the_start_only_states_of_held_units_and_of_traces_are_kept() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    run(&traces, unit(1), 10);
    for i in [2, 3] {
        assert!(traces.begin(unit(i)).is_some());
        fs::write(traces.states(unit(i)), b"half").unwrap();
    }
    fs::write(home.path().join("debris"), b"x").unwrap();
    let traces = Traces::open(home.path(), 1 << 20, 2, &BTreeSet::from([unit(2)])).unwrap();
    let there: Vec<u64> = (0..9).filter(|i| traces.states(unit(*i)).exists()).collect();
    assert_eq!(there, [1, 2]);
    assert!(!home.path().join("debris").exists());
    assert_eq!(traces.bytes(), 10 + 4 + trace(3).encode().len() as u64 + 32);
}

#[test]
fn a_damaged_trace_is_told() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    run(&traces, unit(1), 10);
    fs::write(home.path().join("j7-u1.trace"), b"rubbish").unwrap();
    assert!(traces.read(unit(1), 10).unwrap_err().contains("damaged"));
}

#[test]
fn no_byte_of_a_trace_can_be_changed_unseen() {
    let home = tempfile::tempdir().unwrap();
    let traces = open(home.path(), 1 << 20);
    run(&traces, unit(1), 10);
    let path = home.path().join("j7-u1.trace");
    let whole = fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[byte] ^= 4;
        fs::write(&path, damaged).unwrap();
        assert!(traces.read(unit(1), 10).is_err(), "byte {byte}");
        fs::write(&path, &whole[..byte]).unwrap();
        let cut = traces.read(unit(1), 10);
        assert!(cut.is_err() || cut == Ok(trace(3)), "cut at {byte}");
    }
}

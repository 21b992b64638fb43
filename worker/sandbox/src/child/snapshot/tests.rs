use super::*;
use crate::child::files::bare;
use crate::unit::SnapshotPlan;
use std::fs::{self, OpenOptions};
use std::path::Path;

const MEMORY_MAX: u64 = 1 << 30;
const OUTPUT_MAX: u64 = 1 << 20;

fn meta(fuel: i64, memory: &[u8]) -> Meta {
    let memory_pages = (memory.len() / PAGE_BYTES) as u64;
    Meta {
        fuel,
        cpu: Duration::from_millis(5),
        log_left: 7,
        globals: vec![1, u128::MAX],
        memory_pages,
        trace: None,
    }
}

/// As a process has them that was just started.
fn snapshots(dir: &Path, identity: u8) -> Snapshots {
    let unit = Unit { snapshot: Some(plan(dir)), ..bare() };
    Snapshots::new(plan(dir).interval, Contract::NEWEST, &[identity; 32], Files::of(unit))
}

fn plan(dir: &Path) -> SnapshotPlan {
    SnapshotPlan { path: dir.join("unit.snapshot"), interval: Duration::from_secs(60) }
}

/// State, memory, output, and what writes the next.
type Reopened = (Meta, Vec<u8>, Vec<u8>, Snapshots);

/// What a new process finds, put into a memory that data segments have written to.
fn reopen(dir: &Path, identity: u8) -> io::Result<Option<Reopened>> {
    let mut snapshots = snapshots(dir, identity);
    let Some(taken) = snapshots.load(MEMORY_MAX, OUTPUT_MAX)? else { return Ok(None) };
    let mut memory = vec![0xee; usize::try_from(taken.meta.memory_pages).unwrap() * PAGE_BYTES];
    let output = snapshots.restore(&taken, &mut memory)?;
    Ok(Some((taken.meta, memory, output, snapshots)))
}

/// A walk through states: pages written, zeroed, grown; output longer each time; new processes in between.
fn states() -> Vec<(Meta, Vec<u8>, Vec<u8>)> {
    let mut memory = vec![0; 4 * PAGE_BYTES];
    let mut output = Vec::new();
    let mut states = Vec::new();
    for round in 0..24_u8 {
        if round % 5 == 4 {
            memory.resize(memory.len() + PAGE_BYTES, 0);
        }
        let page = usize::from(round) * 7 % (memory.len() / PAGE_BYTES);
        let bytes = &mut memory[page * PAGE_BYTES..(page + 1) * PAGE_BYTES];
        if round % 3 == 2 {
            bytes.fill(0);
        } else {
            blake3::Hasher::new().update(&[round]).finalize_xof().fill(bytes);
        }
        output.extend_from_slice(format!("round {round}\n").as_bytes());
        states.push((meta(i64::from(round), &memory), memory.clone(), output.clone()));
    }
    states
}

#[test]
fn every_state_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut snapshots = snapshots(dir.path(), 1);
    assert!(reopen(dir.path(), 1).unwrap().is_none());
    for (round, (meta, memory, output)) in states().into_iter().enumerate() {
        snapshots.save(&meta, &memory, &output).unwrap();
        let (found, found_memory, found_output, reopened) = reopen(dir.path(), 1).unwrap().unwrap();
        assert_eq!(found, meta);
        assert!(found_memory == memory && found_output == output, "round {round}");
        if round % 2 == 0 {
            snapshots = reopened;
        }
    }
}

#[test]
fn a_file_cut_anywhere_gives_an_earlier_state_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut snapshots = snapshots(dir.path(), 1);
    let states: Vec<_> = states().into_iter().take(4).collect();
    let mut ends = Vec::new();
    for (meta, memory, output) in &states {
        snapshots.save(meta, memory, output).unwrap();
        ends.push(fs::metadata(plan(dir.path()).path).unwrap().len());
    }
    let whole = fs::read(plan(dir.path()).path).unwrap();
    for cut in (0..whole.len()).step_by(997).chain([whole.len() - 1, whole.len()]) {
        fs::write(plan(dir.path()).path, &whole[..cut]).unwrap();
        let n_whole = ends.iter().filter(|end| **end <= cut as u64).count();
        match reopen(dir.path(), 1) {
            Ok(Some((meta, memory, output, mut after))) => {
                let (want, want_memory, want_output) = &states[n_whole - 1];
                assert!(meta == *want && memory == *want_memory && output == *want_output);
                // And the torn end is written over.
                let (meta, memory, output) = &states[3];
                after.save(meta, memory, output).unwrap();
                assert_eq!(reopen(dir.path(), 1).unwrap().unwrap().0, *meta);
            }
            Ok(None) => panic!("the file is there"),
            Err(_) => assert_eq!(n_whole, 0),
        }
    }
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (meta, memory, output) = states().remove(0);
    snapshots(dir.path(), 1).save(&meta, &memory, &output).unwrap();
    assert!(reopen(dir.path(), 2).is_err(), "another unit's");
    let whole = fs::read(plan(dir.path()).path).unwrap();
    for place in (0..whole.len()).step_by(1009) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        fs::write(plan(dir.path()).path, &bytes).unwrap();
        assert!(reopen(dir.path(), 1).is_err(), "byte {place}");
    }
    fs::write(plan(dir.path()).path, vec![0xff; 1 << 20]).unwrap();
    assert!(reopen(dir.path(), 1).is_err());
    let mut small = snapshots(dir.path(), 1);
    fs::write(plan(dir.path()).path, &whole).unwrap();
    assert!(
        small.load(PAGE_BYTES as u64, OUTPUT_MAX).is_err(),
        "more memory than the unit may have"
    );
    assert!(small.load(MEMORY_MAX, 3).is_err(), "more output than the unit may write");
}

#[test]
fn a_full_disk_leaves_the_state_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut snapshots = snapshots(dir.path(), 1);
    let mut states = states().into_iter();
    let (meta, memory, output) = states.next().unwrap();
    snapshots.save(&meta, &memory, &output).unwrap();
    let (later, later_memory, later_output) = states.nth(2).unwrap();
    // Every write to this device fails for want of room.
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let kept = snapshots.file.as_mut().unwrap();
    let real = std::mem::replace(&mut kept.file, full);
    let error = snapshots.save(&later, &later_memory, &later_output).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    drop(real);
    assert!(reopen(dir.path(), 1).unwrap().unwrap().0 == meta);
    snapshots.save(&later, &later_memory, &later_output).unwrap();
    assert!(reopen(dir.path(), 1).unwrap().unwrap().1 == later_memory);
}

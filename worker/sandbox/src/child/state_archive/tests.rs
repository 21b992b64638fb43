use super::*;
use crate::child::files::bare;
use crate::child::snapshot::{Meta, restore};
use crate::unit::{Begin, TracePlan, Until};
use proto::state::{PAGE_BYTES, page_digest};
use std::path::Path;

const FUEL: u64 = 1_000_000;

/// A unit whose states are kept there.
fn unit(path: &Path) -> Unit {
    let archive = ArchivePlan { path: path.to_owned(), bytes_max: 10 << 20 };
    let (begin, until) = (Begin::Archived(path.to_owned()), Until::End);
    let trace = Some(TracePlan { spacing: 1, begin, until, archive: Some(archive) });
    Unit { trace, ..bare() }
}

/// What keeps its states.
fn archive(unit: &Unit, bytes_max: u64) -> StateArchive {
    let archive = unit.trace.as_ref().unwrap().archive.as_ref().unwrap();
    let plan = ArchivePlan { bytes_max, ..archive.clone() };
    StateArchive::new(&plan, unit, &Files::of(unit.clone()), Instant::now())
}

fn last(unit: &Unit, burnt: u64) -> io::Result<Option<(Chain, Taken)>> {
    latest(&Files::of(unit.clone()), unit, burnt)
}

/// The state after so many steps: a page more is written in each, and a line of output.
fn state(n_steps: u8) -> (Meta, Vec<u8>, Vec<u8>) {
    let mut memory = vec![0; 8 * PAGE_BYTES];
    for step in 1..=n_steps {
        let start = usize::from(step) % 8 * PAGE_BYTES;
        blake3::Hasher::new().update(&[step]).finalize_xof().fill(&mut memory[start..][..9000]);
    }
    let output = (1..=n_steps).flat_map(|step| vec![step; 10]).collect();
    let meta = Meta {
        fuel: i64::try_from(FUEL).unwrap() - 1000 * i64::from(n_steps),
        cpu: Duration::ZERO,
        log_left: 0,
        globals: vec![u128::from(n_steps)],
        memory_pages: 8,
        trace: None,
    };
    (meta, memory, output)
}

/// Offers the state after so many steps as late as is needed for it to be kept, if there is room.
fn offer(archive: &mut StateArchive, n_steps: u8) {
    let (meta, memory, output) = state(n_steps);
    let pages = memory.chunks(PAGE_BYTES).map(page_digest).collect();
    let state =
        State { burnt: 1000 * u64::from(n_steps), meta: &meta, memory: &memory, output: &output };
    // Not before what was kept last, however slow that was.
    let late = Instant::now();
    archive.pace =
        Pace { since: late.checked_sub(Duration::from_secs(60)).unwrap(), ..archive.pace };
    archive.pace.took = Duration::ZERO;
    archive.offer(state, pages, late).unwrap();
}

/// The last state at or below this fuel.
fn found(path: &Path, burnt: u64) -> Option<(Meta, Vec<u8>, Vec<u8>)> {
    let (chain, taken) = last(&unit(path), burnt).unwrap()?;
    let mut memory = vec![0xee; 8 * PAGE_BYTES];
    let output = restore(&chain, &taken, &mut memory).unwrap();
    Some((taken.meta, memory, output))
}

#[test]
fn the_latest_state_that_is_not_too_late_is_found_whoever_kept_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let own = unit(&path);
    assert!(last(&own, u64::MAX).unwrap().is_none());
    let mut first = archive(&own, 10 << 20);
    for n_steps in [3, 4, 9] {
        offer(&mut first, n_steps);
    }
    // Killed while it wrote, and begun again further back.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], &whole[100..9000]].concat()).unwrap();
    let mut second = archive(&own, 10 << 20);
    for n_steps in [8, 9, 12, 20] {
        offer(&mut second, n_steps);
    }
    for (burnt, n_steps) in
        [(3000, 3), (3999, 3), (8999, 4), (9000, 9), (12_000, 12), (19_999, 12), (u64::MAX, 20)]
    {
        assert!(found(&path, burnt) == Some(state(n_steps)), "{burnt}");
    }
    assert!(found(&path, 2999).is_none());
    let other = Unit { seed: [1; 32], ..own };
    assert!(last(&other, u64::MAX).is_err());
    // Another unit's file is written over.
    offer(&mut archive(&other, 10 << 20), 5);
    assert!(last(&other, u64::MAX).unwrap().is_some());
}

#[test]
fn the_file_stays_below_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    let bytes_max = 64_000;
    let mut archive = archive(&unit(&path), bytes_max);
    for n_steps in 1..40 {
        offer(&mut archive, n_steps);
        assert!(std::fs::metadata(&path).unwrap().len() <= bytes_max);
    }
    assert!(archive.full);
    let (meta, memory, output) = found(&path, u64::MAX).unwrap();
    let n_steps = u8::try_from(meta.globals[0]).unwrap();
    assert!(3 < n_steps && n_steps < 30 && state(n_steps) == (meta, memory, output));
}

#[test]
fn keeping_takes_a_hundredth_of_the_time() {
    let start = Instant::now();
    let after = |ms| start + Duration::from_millis(ms);
    let pace = Pace { since: start, took: Duration::ZERO };
    // A megabyte is guessed at two milliseconds.
    assert!(!pace.allows(1_000_000, after(199)) && pace.allows(1_000_000, after(200)));
    let pace = Pace { since: after(500), took: Duration::from_millis(7) };
    assert!(!pace.allows(1, after(1199)) && pace.allows(1, after(1200)));
    assert!(!pace.allows(1 << 40, after(1 << 20)));
    // Time does not go back, but an instant may be older than another.
    assert!(!pace.allows(1, start));
}

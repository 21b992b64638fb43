use super::*;
use proto::id::UnitId;
use proto::report::{Outcome, Output};
use proto::{JobId, LeaseId, UnitIndex};
use std::io::BufRead;
use std::process::{Command, Stdio};

fn finished(unit: u64) -> Record {
    Record::Finished {
        unit: UnitId { job: JobId(1), unit: UnitIndex(unit) },
        lease: LeaseId(3),
        outcome: Outcome::Done(Output::Inline(vec![7; 20])),
        fuel: unit * 10,
        trace_root: None,
    }
}

fn reopened(path: &Path) -> Vec<Record> {
    Outbox::open(path).unwrap().1.records
}

#[test]
fn what_was_appended_is_found() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    let records = vec![Record::Sequence(9), finished(1), finished(2), Record::Gone(vec![])];
    let (mut outbox, found) = Outbox::open(&path).unwrap();
    assert_eq!((found.records, found.bytes_lost), (vec![], 0));
    outbox.append(&records[..1]).unwrap();
    outbox.append(&[]).unwrap();
    outbox.append(&records[1..]).unwrap();
    drop(outbox);
    assert_eq!(reopened(&path), records);
    Outbox::open(&path).unwrap().0.compact(&records[1..]).unwrap();
    assert_eq!(reopened(&path), records[1..]);
}

#[test]
fn the_bytes_are_pinned() {
    let pinned =
        data_encoding::HEXLOWER.encode(&encode(&[Record::Sequence(300), finished(5)]).unwrap());
    assert_eq!(
        pinned,
        "21000000c13f516267de5d6e0200ac020301050300001407070707070707070707070707070707070707073200"
    );
}

#[test]
fn a_torn_or_damaged_end_is_dropped_and_written_over() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    let (mut outbox, _) = Outbox::open(&path).unwrap();
    outbox.append(&[finished(1)]).unwrap();
    let whole = outbox.len;
    outbox.append(&[finished(2)]).unwrap();
    drop(outbox);
    let content = fs::read(&path).unwrap();
    for cut in usize::try_from(whole).unwrap()..content.len() {
        fs::write(&path, &content[..cut]).unwrap();
        assert_eq!(reopened(&path), vec![finished(1)], "cut at {cut}");
    }
    for flipped in usize::try_from(whole).unwrap()..content.len() {
        let mut damaged = content.clone();
        damaged[flipped] ^= 4;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(reopened(&path), vec![finished(1)], "damaged at {flipped}");
    }
    let (mut outbox, _) = Outbox::open(&path).unwrap();
    outbox.append(&[finished(3)]).unwrap();
    assert_eq!(reopened(&path), vec![finished(1), finished(3)]);
}

#[test]
fn another_file_is_not_taken_for_a_journal() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    fs::write(&path, "something else").unwrap();
    assert!(Outbox::open(&path).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"something else");
}

#[test]
fn a_full_disk_keeps_what_was_kept_and_is_written_to_again_when_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(disk) = crate::testing::small_disk(home.path(), 256) else { return };
    let path = disk.path.join("journal");
    let (mut outbox, _) = Outbox::open(&path).unwrap();
    outbox.append(&[finished(0)]).unwrap();
    let filler = disk.fill();
    let group: Vec<_> = (1..2_000).map(finished).collect();
    let error = outbox.append(&group).unwrap_err();
    assert!(file::is_no_room(&error), "{error}");
    assert!(outbox.compact(&group).is_err());
    fs::remove_file(filler).unwrap();
    outbox.append(&group).unwrap();
    drop(outbox);
    let expected: Vec<_> = (0..2_000).map(finished).collect();
    assert_eq!(reopened(&path), expected);
}

const WRITER: &str = "STARLING_TEST_OUTBOX_WRITER";

/// Not a test of its own: the process that the next test kills.
#[test]
fn a_writer_for_the_next_test() {
    let Some(path) = std::env::var_os(WRITER) else { return };
    let (mut outbox, found) = Outbox::open(Path::new(&path)).unwrap();
    let mut next = found.records.len() as u64;
    loop {
        let group: Vec<_> = (next..next + 1 + next % 7).map(finished).collect();
        outbox.append(&group).unwrap();
        next += group.len() as u64;
        if next.is_multiple_of(50) {
            outbox.compact(&(0..next).map(finished).collect::<Vec<_>>()).unwrap();
        }
        println!("kept {next}");
    }
}

#[test]
fn a_writer_that_is_killed_loses_nothing_that_it_kept() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    for round in 0..5 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["a_writer_for_the_next_test", "--nocapture", "--test-threads=1"])
            .env(WRITER, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            io::BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut kept: u64 = 0;
        let enough = 40 + round * 13;
        for line in lines.by_ref().filter(|line| line.starts_with("kept ")).take(enough) {
            kept = line["kept ".len()..].parse().unwrap();
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        for line in lines.filter(|line| line.starts_with("kept ")) {
            kept = line["kept ".len()..].parse().unwrap_or(kept);
        }
        let found = reopened(&path);
        assert!(0 < kept && kept <= found.len() as u64, "{kept} kept, {} found", found.len());
        let expected: Vec<_> = (0..found.len() as u64).map(finished).collect();
        assert_eq!(found, expected);
    }
}

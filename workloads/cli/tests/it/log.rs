//! The project's log: receipts that hold alone, audits, and a coordinator that rewrites what it said.

use crate::world::{Answer, Grid, World};
use coordinator::core::record::{self, LogRecord, Meta, Table};
use coordinator::project::{Folder, names};
use coordinator::store::Store;
use coordinator::store::sled::SledStore;
use coordinator::tally;
use proto::log::{Entry, Event, Frontier};
use proto::report::Batch;
use std::fs;
use std::path::Path;

const JOB: &str = "name = \"test\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 2\nend = 202\nper_unit = 8\n[merge]\nfan_in = 5\n";
/// 25 units of the cut, and merges of 5: 5 and 1.
const UNITS: u64 = 31;

/// A project whose first job is done, and who may ask.
fn done(world: &World) -> Grid {
    let mut grid = started(world);
    grid.add_worker(world, "ada");
    grid.add_worker(world, "grace");
    world.write("job.toml", JOB);
    world.ok(&["submit", "job.toml", "--watch"]);
    grid
}

fn started(world: &World) -> Grid {
    let grid = Grid::start(world);
    grid.login(world);
    grid
}

/// Runs as somebody who has nothing but the program, and maybe the project's key.
fn stranger(world: &World, args: &[&str]) -> Answer {
    let mut command = world.command(args);
    command.env("STARLING_PROFILE", world.path("nowhere/profile.json")).output().unwrap().into()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn a_receipt_holds_alone_and_a_touched_one_does_not() {
    let world = World::new();
    let grid = done(&world);
    let project = grid.join().project.to_string();
    for unit in ["j1/u3", "j1/u30"] {
        let told = &world.json(&["receipt", unit, "--to", "r"])[0];
        assert_eq!(told["copies"], 2, "{told}");
    }
    world.fails(4, &["receipt", "j1/u31"]);
    grid.stop();
    let told = stranger(&world, &["verify", "receipt", "r", "--project", &project]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.contains("j1/u30 holds") && told.stdout.contains(&project));
    assert_eq!(stranger(&world, &["verify", "receipt", "r"]).code, Some(2));
    let other = "11".repeat(32);
    assert_eq!(stranger(&world, &["verify", "receipt", "r", "--project", &other]).code, Some(5));
    let right: serde_json::Value =
        serde_json::from_slice(&fs::read(world.path("r")).unwrap()).unwrap();
    let touched = |touch: &dyn Fn(&mut serde_json::Value)| {
        let mut value = right.clone();
        touch(&mut value);
        fs::write(world.path("t"), value.to_string()).unwrap();
        let told = stranger(&world, &["verify", "receipt", "t", "--project", &project]);
        assert_eq!(told.code, Some(5), "{}{}", told.stdout, told.stderr);
        told.stderr
    };
    let swapped = |text: &serde_json::Value| {
        let mut text = text.as_str().unwrap().to_owned().into_bytes();
        let middle = text.len() / 2;
        text[middle] = if text[middle] == b'A' { b'B' } else { b'A' };
        String::from_utf8(text).unwrap().into()
    };
    touched(&|file| file["receipt"]["payload"] = swapped(&file["receipt"]["payload"]));
    touched(&|file| file["head"]["payload"] = swapped(&file["head"]["payload"]));
    touched(&|file| file["entry"] = swapped(&file["entry"]));
    let told = touched(&|file| file["index"] = 0.into());
    assert!(told.contains("entry 0 is not in the log"), "{told}");
    touched(&|file| file["path"][0] = other.clone().into());
    touched(&|file| file["version"] = 2.into());
}

#[test]
fn a_log_that_was_rewritten_or_cut_is_found_out_and_the_proof_is_for_everybody() {
    let world = World::new();
    let grid = done(&world);
    let project = grid.join().project.to_string();
    let first = &world.json(&["audit", "j1", "--rerun", "2"])[0];
    assert_eq!(first["continues"], serde_json::Value::Null, "{first}");
    let job = &first["job"];
    assert_eq!((job["settled"].as_u64(), job["results"].as_u64()), (Some(UNITS), Some(UNITS)));
    assert_eq!((job["reports"].as_u64(), job["accounts"].as_u64()), (Some(2 * UNITS), Some(2)));
    assert_eq!(first["rerun"].as_array().unwrap().len(), 2, "{first}");
    grid.stop();
    checked(&world);
    copy(&world.path("coordinator"), &world.path("early"));

    // An honest log grows, and is read on from where it was seen.
    let grid = started(&world);
    world.ok(&["submit", "job.toml", "--set", "name=second"]);
    world.ok(&["cancel", "j2"]);
    let second = &world.json(&["audit"])[0];
    assert_eq!(second["continues"], first["size"], "{second}");
    assert_eq!(second["entries"], 2, "{second}");
    assert_eq!(world.json(&["audit", "j1"])[0]["root"], second["root"]);
    grid.stop();
    checked(&world);
    copy(&world.path("coordinator"), &world.path("honest"));
    let kept = fs::read(world.path(&format!("heads/{project}.json"))).unwrap();

    // Rewritten, with every record and the whole tree made to fit: nothing is wrong with it, but it is another one.
    rewrite(&world.path("coordinator/store"));
    checked(&world);
    let grid = started(&world);
    let told = world.fails(5, &["audit", "--proof", "same.heads"]);
    assert!(told.contains("two logs of"), "{told}");
    world.ok(&["submit", "job.toml", "--set", "name=third"]);
    for audit in [
        &["audit", "--proof", "rewritten.heads"][..],
        &["audit", "j1", "--proof", "rewritten.heads"],
    ] {
        let _ = fs::remove_file(world.path("rewritten.heads"));
        let told = world.fails(5, audit);
        assert!(told.contains("entries were rewritten"), "{told}");
        assert!(world.path("rewritten.heads").exists());
    }
    assert_eq!(fs::read(world.path(&format!("heads/{project}.json"))).unwrap(), kept);
    grid.stop();

    // Cut short, as by a backup of earlier.
    fs::remove_dir_all(world.path("coordinator")).unwrap();
    copy(&world.path("early"), &world.path("coordinator"));
    let grid = started(&world);
    let told = world.fails(5, &["audit", "--proof", "cut.heads"]);
    assert!(told.contains("entries were taken away"), "{told}");
    grid.stop();

    for file in ["same.heads", "rewritten.heads", "cut.heads"] {
        let told = stranger(&world, &["verify", "heads", file, "--project", &project]);
        assert_eq!(told.code, Some(0), "{file}: {}", told.stderr);
        assert!(told.stdout.contains("proved of project"), "{}", told.stdout);
    }
    // Nobody can accuse an honest project: heads that fit prove nothing, and others must be signed.
    let mut value: serde_json::Value =
        serde_json::from_slice(&fs::read(world.path("rewritten.heads")).unwrap()).unwrap();
    value.as_object_mut().unwrap().remove("prefix");
    fs::write(world.path("nothing.heads"), value.to_string()).unwrap();
    let told = stranger(&world, &["verify", "heads", "nothing.heads", "--project", &project]);
    assert_eq!(told.code, Some(5), "{}", told.stdout);

    // The honest one is still believed.
    fs::remove_dir_all(world.path("coordinator")).unwrap();
    copy(&world.path("honest"), &world.path("coordinator"));
    let grid = started(&world);
    world.ok(&["audit"]);
    grid.stop();

    // Reports are what their workers signed, whatever the store says.
    forge(&world.path("coordinator/store"));
    let grid = started(&world);
    let told = world.fails(5, &["audit", "j1"]);
    assert!(told.contains("the reports shown are not those of batch"), "{told}");
    grid.stop();
}

/// Changes what a worker reported.
fn forge(path: &Path) {
    let store = SledStore::open(path).unwrap();
    let (key, value) = store.page(&Table::Batch.prefix(), None, 1).unwrap().remove(0);
    let (signature, payload) = record::decode_batch(&value).unwrap();
    let mut batch = Batch::decode(payload).unwrap();
    batch.reports[0].fuel += 1;
    let forged = record::encode_batch(&batch.encode(), signature);
    store.commit(vec![(key, Some(forged))]).unwrap();
    recount(path, &store);
}

/// Makes what all records come to fit what they are now.
fn recount(path: &Path, store: &SledStore) {
    let folder = Folder::take_existing(path.parent().unwrap()).unwrap();
    let last = tally::last(&folder, &folder.identity().unwrap()).unwrap();
    tally::count_anew(store, &last, &folder.at(names::TALLY), 0).unwrap();
}

/// Nothing is wrong with the records of the project, which does not run.
fn checked(world: &World) {
    let folder = Folder::take_existing(&world.path("coordinator")).unwrap();
    let findings = coordinator::check::check(&folder).unwrap();
    assert_eq!(findings.wrong, Vec::<String>::new());
    assert!(0 < findings.entries);
}

/// Moves a verdict to another time, and makes everything else fit, as an operator who cheats would.
fn rewrite(path: &Path) {
    let store = SledStore::open(path).unwrap();
    let meta_key = Table::Meta.prefix();
    let mut meta: Meta = record::decode(&store.get(&meta_key).unwrap().unwrap()).unwrap();
    let (mut changes, mut log, mut touched) = (Vec::new(), Frontier::default(), false);
    for index in 0..meta.log.size() {
        let mut entry =
            Entry::decode(&store.get(&Table::Entry.key(index)).unwrap().unwrap()).unwrap();
        if let (Event::Verdicts { position, .. }, false) = (&entry.event, touched) {
            touched = true;
            let key = Table::Log.key2(entry.job.0, *position);
            let mut record: LogRecord = record::decode(&store.get(&key).unwrap().unwrap()).unwrap();
            record.settled_at_ms += 1;
            entry.at_ms += 1;
            changes.push((key, Some(record::encode(&record))));
        }
        let bytes = entry.encode();
        log.append(Entry::leaf(&bytes), |level, at, digest| {
            changes.push((Table::Node.key2(level.into(), at), Some(digest.0.to_vec())));
        });
        changes.push((Table::Entry.key(index), Some(bytes)));
    }
    assert!(touched);
    meta.log = log;
    changes.push((meta_key, Some(record::encode(&meta))));
    store.commit(changes).unwrap();
    recount(path, &store);
}

//! What needs a coordinator and workers.

use crate::world::{Grid, World};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

const JOB: &str = "name = \"test\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 2\nend = 2402\nper_unit = 8\n[merge]\nfan_in = 20\n";

/// The units of a job: 300 of the cut, and merges of 20: 15 and 1.
const UNITS: u64 = 316;

#[test]
fn a_job_goes_from_login_to_verified_results() {
    let world = World::new();
    let mut grid = Grid::start(&world);
    grid.login(&world);
    assert!(world.ok(&["jobs"]).contains("no jobs yet"));
    world.write("job.toml", JOB);

    let submitted = &world.json(&["submit", "job.toml"])[0];
    assert_eq!(
        (submitted["job"].as_str(), submitted["units"].as_u64()),
        (Some("j1"), Some(UNITS)),
        "{submitted}"
    );
    let why = world.ok(&["why", "j1"]);
    assert!(why.starts_with("j1: "), "{why}");
    assert!(world.ok(&["why", "j1/u5"]).starts_with("j1/u5: "));
    world.fails(4, &["why", "j9"]);
    world.fails(4, &["why", "j1/u999999"]);

    grid.add_worker(&world, "ada");
    grid.add_worker(&world, "grace");
    killed_in_the_middle(&world);
    let watched = world.json(&["watch", "j1"]);
    let last = watched.last().unwrap();
    assert_eq!(
        (last["state"].as_str(), last["settled"].as_u64()),
        (Some("done"), Some(UNITS)),
        "{last}"
    );
    fetched_and_verified(&world);
    tampered(&world);
    cancelled(&world);
    let jobs = world.json(&["jobs"]);
    let states: Vec<_> = jobs.iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "cancelled"]);
    grid.stop();
}

/// Starts to fetch, and kills it when some results have come.
fn killed_in_the_middle(world: &World) {
    let mut fetch =
        world.command(&["fetch", "j1", "--follow"]).stdout(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let results = world.path("j1/results.jsonl");
    while fs::metadata(&results).map_or(0, |file| file.len()) < 10_000 {
        assert!(begun.elapsed() < Duration::from_secs(300), "no results came");
        std::thread::sleep(Duration::from_millis(20));
    }
    fetch.kill().unwrap();
    fetch.wait().unwrap();
    // As a kill in the middle of a write leaves it.
    let mut text = fs::read(&results).unwrap();
    text.extend_from_slice(b"{\"unit\":17,\"fue");
    fs::write(&results, text).unwrap();
}

fn fetched_and_verified(world: &World) {
    let told = &world.json(&["fetch", "j1", "--follow"])[0];
    assert_eq!(
        (told["results"].as_u64(), told["whole"].as_bool()),
        (Some(UNITS), Some(true)),
        "{told}"
    );
    assert!(told["new"].as_u64().unwrap() < UNITS, "nothing was kept from before the kill: {told}");
    let merged =
        fs::read_to_string(world.path("j1").join(told["merged"].as_str().unwrap())).unwrap();
    let primes: Vec<_> = merged
        .lines()
        .filter(|line| line.contains("prime"))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(
        primes,
        [
            "2", "3", "5", "7", "13", "17", "19", "31", "61", "89", "107", "127", "521", "607",
            "1279", "2203", "2281"
        ]
    );
    let text = fs::read_to_string(world.path("j1/results.jsonl")).unwrap();
    let units: BTreeSet<u64> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["unit"].as_u64().unwrap()
        })
        .collect();
    assert_eq!((units.len() as u64, text.lines().count() as u64), (UNITS, UNITS));
    let about = about(&text);
    assert_eq!(about[&7], json!({"axes": {"p": {"first": 58, "end": 66}}}));
    assert_eq!(about[&301], json!({"merges": {"level": 1, "first": 20, "end": 40}}));
    assert_eq!(about[&315], json!({"merges": {"level": 2, "first": 300, "end": 315}}));
    let again = &world.json(&["fetch", "j1"])[0];
    assert_eq!(again["new"], 0);

    let told = &world.json(&["verify", "j1"])[0];
    assert_eq!(
        (told["receipts"].as_u64(), told["copies"].as_u64(), told["accounts"].as_u64()),
        (Some(UNITS), Some(2 * UNITS), Some(2)),
        "{told}"
    );
    let told = &world.json(&["verify", "j1", "--rerun", "--sample", "2"])[0];
    assert_eq!(told["rerun"].as_array().unwrap().len(), 2, "{told}");
    let told = &world.json(&["verify", "j1", "--rerun", "--unit", "315"])[0];
    assert_eq!(told["rerun"], serde_json::json!([315]), "a merge unit");
}

/// What each line says that its unit is about.
fn about(text: &str) -> BTreeMap<u64, serde_json::Value> {
    let about = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        let unit = line["unit"].as_u64().unwrap();
        let members = line.as_object_mut().unwrap();
        members.retain(|name, _| ["axes", "line", "files", "merges"].contains(&name.as_str()));
        (unit, line)
    };
    text.lines().map(about).collect()
}

#[test]
fn each_line_tells_the_unit_s_line_values_and_files() {
    let world = World::new();
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.write(
        "some.jsonl",
        "{\"p\":{\"first\":2,\"end\":4},\"of\":\"x\"}\n{\"p\":{\"first\":5,\"end\":9}}\n",
    );
    world.write("a.dat", "0123456789");
    world.write("b.dat", "b");
    world.write("c.dat", "c");
    let cuts = [
        "lines = \"some.jsonl\"",
        "steps = \"dm\"\nstart = 0.5\nstep = 0.25\ncount = 3\nper_unit = 2",
        "values = \"method\"\nof = [\"fast\", 7]",
        "files = [\"b.dat\", \"c.dat\"]",
        "bytes = \"a.dat\"\nper_unit = 6",
    ];
    let cuts = cuts.map(|cut| format!("[[cut]]\n{cut}\n")).concat();
    world.write("job.toml", &format!("name = \"all\"\nkernel = \"mersenne\"\ncopies = 1\n{cuts}"));
    world.ok(&["submit", "job.toml", "--watch"]);
    let fetched = &world.json(&["fetch", "j1"])[0];
    assert_eq!(fetched["whole"], true, "{fetched}");
    let about = about(&fs::read_to_string(world.path("j1/results.jsonl")).unwrap());
    assert_eq!(about.len(), 32);
    let first = json!({
        "line": 1,
        "axes": {
            "p": {"first": 2, "end": 4}, "of": "x", "method": "fast",
            "dm": {"start": 0.5, "step": 0.25, "count": 2},
        },
        "files": [{"name": "b.dat"}, {"name": "a.dat", "bytes": {"first": 0, "end": 6}}],
    });
    assert_eq!(about[&0], first);
    let last = json!({
        "line": 2,
        "axes": {
            "p": {"first": 5, "end": 9}, "method": 7,
            "dm": {"start": 1.0, "step": 0.25, "count": 1},
        },
        "files": [{"name": "c.dat"}, {"name": "a.dat", "bytes": {"first": 6, "end": 10}}],
    });
    assert_eq!(about[&31], last);
    world.ok(&["verify", "j1", "--rerun"]);
    grid.stop();
}

/// A result that somebody changed is not believed.
fn tampered(world: &World) {
    let path = world.path("j1/results.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("composite", "compusite", 1)).unwrap();
    let told = world.fails(5, &["verify", "j1"]);
    assert!(told.contains("is not what was fetched"), "{told}");
    let fuel = text.find("\"fuel\":").unwrap() + 7;
    let mut changed = text.clone().into_bytes();
    changed[fuel] = if changed[fuel] == b'9' { b'8' } else { b'9' };
    fs::write(&path, changed).unwrap();
    let told = world.fails(5, &["verify", "j1"]);
    assert!(told.contains("the receipt is of another amount of fuel"), "{told}");
    fs::write(&path, text).unwrap();
    world.ok(&["verify", "j1"]);
}

fn cancelled(world: &World) {
    let long = ["submit", "job.toml", "--set", "cut.0.end=1_000_000", "--set", "name=long"];
    let submitted = &world.json(&long)[0];
    assert_eq!(submitted["job"], "j2");
    let told = &world.json(&["cancel", "j2"])[0];
    assert_eq!(told["state"], "cancelled", "{told}");
    let told = world.fails(6, &["watch", "j2"]);
    assert!(told.contains("j2 was cancelled"), "{told}");
}

#[test]
fn a_kernel_runs_over_files_without_a_job_file() {
    let world = World::new();
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.write("first.txt", "steps 27 111\n");
    world.write("second.txt", "peak 27 9232\n");
    let told = world.run(&[
        "submit",
        "--kernel",
        "collatz",
        "first.txt",
        "second.txt",
        "--set",
        "copies=1",
        "--set",
        "params.merge={level = 1}",
        "--watch",
    ]);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("collatz over 2 files"), "{}", told.stdout);
    let fetched = &world.json(&["fetch", "j1", "--to", "out"])[0];
    assert_eq!(fetched["results"], 2);
    let text = fs::read_to_string(world.path("out/results.jsonl")).unwrap();
    assert!(text.contains("steps 27 111") && text.contains("peak 27 9232"), "{text}");
    let about = about(&text);
    assert_eq!(about[&0], json!({"files": [{"name": "first.txt"}]}));
    assert_eq!(about[&1], json!({"files": [{"name": "second.txt"}]}));
    grid.stop();
}

#[test]
fn another_token_or_project_is_refused() {
    let world = World::new();
    let grid = Grid::start(&world);
    let join = grid.join();
    let told = world.fails(4, &["login", &join.to_string(), "--token", "wrong"]);
    assert!(told.contains("log in with a token that is good"), "{told}");
    let foreign = proto::join::Join { ca: proto::Digest([1; 32]), ..join };
    let told = world.fails(3, &["login", &foreign.to_string(), "--token", "wrong"]);
    assert!(told.contains("another project answers there"), "{told}");
    grid.stop();
}

#[test]
fn the_demo_finds_the_known_primes_and_leaves_nothing() {
    let world = World::new();
    let temporary = world.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let output = world
        .command(&["--output", "json", "demo", "--quick"])
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let answer = crate::world::Answer::from(output);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    let last: serde_json::Value =
        serde_json::from_str(answer.stdout.lines().last().unwrap()).unwrap();
    let primes = serde_json::json!([2, 3, 5, 7, 13, 17, 19, 31, 61, 89, 107, 127, 521, 607, 1279]);
    assert_eq!(
        (&last["demo"]["primes"], &last["demo"]["accounts"]),
        (&primes, &2.into()),
        "{last}"
    );
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}

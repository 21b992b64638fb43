//! What kernels log, from the call in the kernel to the researcher's terminal; and what a job that does not move says.

use crate::world::{Grid, World};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Logs its parameters. With `{"x":"bad"}` it then says why and stops, with
/// `{"x":"slow"}` after a while; with `{"x":"long"}` it never ends; else it is done.
const TALKER: &str = r#"(module
    (import "starling" "log" (func $log (param i32 i32 i32)))
    (import "starling" "params_len" (func $params_len (result i32)))
    (import "starling" "params_read" (func $params_read (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "panicked at src/lib.rs:7: no such \e2\80\aepulsar")
    (func (export "starling_abi_1"))
    (func (export "starling_start")
        (call $log (i32.const 3) (i32.const 100)
            (call $params_read (i32.const 0) (i32.const 100) (call $params_len))))
    (func (export "starling_step") (result i32) (local $n i64)
        (if (i32.eq (i32.load8_u (i32.const 106)) (i32.const 115)) (then
            (loop $spin
                (local.set $n (i64.add (local.get $n) (i64.const 1)))
                (br_if $spin (i64.lt_u (local.get $n) (i64.const 3000000000))))
            (i32.store8 (i32.const 106) (i32.const 98))))
        (if (i32.eq (i32.load8_u (i32.const 106)) (i32.const 98)) (then
            (call $log (i32.const 1) (i32.const 0) (i32.const 43))
            (unreachable)))
        (i32.eq (i32.load8_u (i32.const 106)) (i32.const 108))))"#;

fn world(values: &str, copies: u32) -> World {
    let world = World::new();
    fs::write(world.path("talker.wasm"), wat::parse_str(TALKER).unwrap()).unwrap();
    let job = format!(
        "name = \"talk\"\nkernel = \"talker.wasm\"\ncopies = {copies}\n[[cut]]\nvalues = \"x\"\nof = [{values}]\n"
    );
    world.write("job.toml", &job);
    world
}

fn texts(lines: &[Value]) -> Vec<(u64, &str, &str)> {
    lines
        .iter()
        .map(|line| {
            (
                line["unit"].as_u64().unwrap(),
                line["level"].as_str().unwrap(),
                line["text"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_a_kernel_logs_comes_to_logs_fetch_and_why() {
    let world = world("\"good\", \"bad\"", 1);
    let tried = world.run(&["try", "job.toml", "--units", "2"]);
    assert!(tried.stdout.contains("log: {\"x\":\"good\"}"), "{}", tried.stdout);
    assert!(tried.stdout.contains("log: panicked at src/lib.rs:7: no such  pulsar"));

    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.fails(6, &["submit", "job.toml", "--watch"]);

    let lines = world.json(&["logs", "j1"]);
    let mut found = texts(&lines);
    found.sort_unstable();
    let trap = "wasm trap: wasm `unreachable` instruction executed";
    assert_eq!(
        found,
        [
            (0, "info", "{\"x\":\"good\"}"),
            (1, "error", "panicked at src/lib.rs:7: no such  pulsar"),
            (1, "error", trap),
            (1, "info", "{\"x\":\"bad\"}"),
        ]
    );
    assert!(lines.iter().all(|line| line["worker"].as_str().unwrap().len() == 64));
    let told = world.run(&["logs", "j1", "u1"]);
    assert!(told.stderr.contains("nobody has verified"), "{}", told.stderr);
    let (of, phase) = ("u1, as worker ", "(the unit failed)");
    assert!(told.stdout.contains(of) && told.stdout.contains(phase), "{}", told.stdout);
    assert!(!told.stdout.contains("good"), "{}", told.stdout);
    let why = world.ok(&["why", "j1/u1"]);
    assert!(why.contains("as one worker tells them") && why.contains("no such  pulsar"), "{why}");
    assert!(!world.ok(&["why", "j1", "0"]).contains("tells them"));

    let fetched = world.run(&["fetch", "j1"]);
    assert!(fetched.stderr.contains("logs.jsonl"), "{}", fetched.stderr);
    let kept = fs::read_to_string(world.path("j1/logs.jsonl")).unwrap();
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept, lines);
    world.ok(&["verify", "j1"]);
    grid.stop();
}

#[test]
fn lines_of_a_running_unit_come_while_it_runs() {
    let world = world("\"long\"", 1);
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.ok(&["submit", "job.toml"]);
    let follow = ["--output", "json", "logs", "j1/u0", "--follow"];
    let mut follow = world.command(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&first["text"], &first["phase"]), (&"{\"x\":\"long\"}".into(), &"running".into()));
    // The unit never ends by itself; with its job the following ends.
    world.ok(&["cancel", "j1"]);
    assert_eq!(lines.count(), 0);
    assert!(follow.wait().unwrap().success());
    grid.stop();
}

#[test]
fn what_was_logged_while_nobody_answered_comes_after_restarts() {
    let world = world("\"slow\"", 1);
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.ok(&["submit", "job.toml"]);
    let follow = ["--output", "json", "logs", "j1", "--follow"];
    let mut follow = world.command(&follow).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("slow"));
    grid.part();
    let begun = Instant::now();
    while grid.unreported() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(300), "the unit does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    grid.stop_workers();
    assert!(world.path("ada/logs").exists());
    grid.come_back(&world);
    grid.add_worker(&world, "ada");
    // The same command goes on, and tells nothing twice.
    let rest: Vec<Value> =
        lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    let errors = rest.iter().filter(|line| line["level"] == "error").count();
    assert_eq!((rest.len(), errors), (2, 2), "{rest:?}");
    assert!(follow.wait().unwrap().success());
    assert!(!world.path("ada/logs").exists());
    assert_eq!(world.json(&["logs", "j1/u0"]).len(), 3);
    grid.stop();
}

#[test]
fn a_job_that_does_not_move_says_why_where_it_is_watched() {
    let world = world("\"good\"", 2);
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.ok(&["submit", "job.toml"]);
    let watch = ["--output", "json", "watch", "j1"];
    let mut watch = world.command(&watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut statuses = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let why = "each unit needs reports of 2 accounts, workers of 1 are connected";
    let waits = |status: &Value| status["waiting"][0] == why;
    assert!(statuses.any(|status| waits(&status)), "the watch ended");
    assert!(world.json(&["jobs"]).iter().any(waits));
    assert!(world.ok(&["jobs"]).contains(why));
    assert!(world.ok(&["why", "j1"]).contains(why));

    grid.add_worker(&world, "grace");
    let last = statuses.last().unwrap();
    assert_eq!((&last["state"], &last["waiting"]), (&"done".into(), &Value::Array(Vec::new())));
    assert!(watch.wait().unwrap().success());
    grid.stop();
}

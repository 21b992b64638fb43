//! What `starling try` tells while it runs, and when it is stopped.

use crate::world::World;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command};

/// Units of minutes.
const LONG: &str = "name = \"long\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 20_000\nend = 60_000\nper_unit = 10_000\n";

/// Starts a trial of units of minutes and reads its lines up to the first that tells of a step; the line, and the rest.
fn until_a_step(world: &World) -> (Child, Value, BufReader<ChildStdout>) {
    world.write("job.toml", LONG);
    let mut running = world.spawn(&["--output", "json", "try", "job.toml", "--cores", "2"]);
    let mut reader = BufReader::new(running.stdout.take().unwrap());
    let step = loop {
        let mut line = String::new();
        assert!(0 < reader.read_line(&mut line).unwrap(), "it ended");
        let told: Value = serde_json::from_str(&line).unwrap();
        let progress = &told["progress"];
        if progress["done"] != 0 {
            break progress.clone();
        }
        assert_eq!((&progress["unit"], &progress["forecast"]), (&0.into(), &Value::Null));
    };
    (running, step, reader)
}

fn interrupt(running: &Child) {
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn it_forecasts_from_the_first_step_and_ctrl_c_ends_it_with_what_is_known() {
    let world = World::new();
    let (running, first, mut reader) = until_a_step(&world);
    for field in ["done", "total", "fuel", "cpu_s", "fuel_per_second", "elapsed_s"] {
        assert!(first[field].as_f64().is_some_and(|value| 0.0 < value), "{field}: {first}");
    }
    assert!(0 < first["forecast"]["cpu_s"].as_u64().unwrap(), "{first}");
    interrupt(&running);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    let rest: Vec<Value> = rest.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [.., stopped, forecast] = rest.as_slice() else { panic!("{rest:?}") };
    let stopped = &stopped["stopped"];
    assert_eq!((&stopped["unit"], &stopped["units_done"]), (&0.into(), &0.into()), "{stopped}");
    let (done, total) = (stopped["done"].as_u64().unwrap(), stopped["total"].as_u64().unwrap());
    assert!(0 < done && done < total && 0 < stopped["fuel"].as_u64().unwrap(), "{stopped}");
    // Four units of which this is a part, each computed twice.
    let cpu_s = stopped["cpu_s"].as_f64().unwrap() * total as f64 / done as f64 * 8.0;
    let told = forecast["forecast"]["cpu_s"].as_f64().unwrap();
    assert!((told / cpu_s - 1.0).abs() < 0.1, "{told} is not {cpu_s}");
    let ended = running.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"));
}

#[test]
fn a_trial_ends_with_its_reader() {
    let world = World::new();
    let (mut running, _, reader) = until_a_step(&world);
    drop(reader);
    assert_eq!(running.wait().unwrap().code(), Some(0));
}

#[test]
fn time_ends_it_and_people_are_shown_lines_where_no_bar_can_be_drawn() {
    let world = World::new();
    world.write("job.toml", LONG);
    let told = world.run(&["try", "job.toml", "--for", "3s"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stderr.starts_with("u0: "), "{}", told.stderr);
    assert!(told.stdout.starts_with("stopped after 0 units"), "{}", told.stdout);
    // A machine that is busy may not have come to a step in that time.
    let forecast = told.stdout.contains("; u0 was at ") && told.stdout.contains("% (");
    let expected = if forecast { "\nforecast: 4 units of " } else { "\nno forecast yet" };
    assert!(told.stdout.contains(expected), "{}", told.stdout);
    world.fails(2, &["try", "job.toml", "--for", "soon"]);
}

#[test]
fn a_home_that_cannot_be_written_is_no_hindrance() {
    let world = World::new();
    world.write("job.toml", "name = \"short\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 2\nend = 60\nper_unit = 10\n");
    for home in ["/dev/null", "/proc"] {
        let mut tried = world.command(&["try", "job.toml", "--units", "1"]);
        tried.env("HOME", home).env_remove("XDG_CACHE_HOME").env_remove("STARLING_PROFILE");
        let told = crate::world::Answer::from(tried.output().unwrap());
        assert_eq!(told.code, Some(0), "{home}: {}", told.stderr);
        assert!(told.stdout.contains("forecast: 6 units"), "{home}: {}", told.stdout);
    }
    let mut tried = world.command(&["try", "job.toml"]);
    let told = crate::world::Answer::from(tried.env("TMPDIR", "/dev/null").output().unwrap());
    assert!(told.code == Some(1) && told.stderr.contains("TMPDIR"), "{}", told.stderr);
}

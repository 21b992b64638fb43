//! What needs no coordinator.

use crate::world::World;
use std::io::Write as _;

const JOB: &str = "name = \"test\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 2\nend = 600\nper_unit = 100\n";

#[test]
fn a_wrong_job_file_is_told_with_its_place() {
    let world = World::new();
    world.write("job.toml", &JOB.replace("end = 600", "end = 2"));
    let told = world.fails(2, &["try", "job.toml"]);
    assert!(told.starts_with("error: job.toml:3:1: cut[0]: it has nothing in it"), "{told}");
    let told = world.fails(2, &["--output", "json", "try", "job.toml", "--set", "copies=99"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["error"]["exit_code"], 2);
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("--set:1:1: copies: 99 is not allowed"),
        "{told}"
    );
}

#[test]
fn who_is_not_logged_in_is_told_how_to() {
    let world = World::new();
    let told = world.fails(4, &["jobs"]);
    assert!(told.contains("starling login JOIN"), "{told}");
    world.fails(2, &["why", "x7"]);
    world.fails(2, &["login", "starling://nowhere", "--token", "t"]);
}

#[test]
fn a_coordinator_that_is_not_there_is_told_with_its_address() {
    let world = World::new();
    // A port that was free a moment ago and that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let join = format!("starling://127.0.0.1:{port}/{}#{}", "07".repeat(32), "09".repeat(32));
    let told = world.fails(3, &["login", &join, "--token", "t"]);
    assert!(
        told.contains(&format!("could not reach the coordinator at 127.0.0.1:{port}")),
        "{told}"
    );
    assert!(!world.path("profile.json").exists());
}

#[test]
fn trying_a_job_tells_output_fuel_and_a_forecast() {
    let world = World::new();
    world.write("job.toml", JOB);
    let told = world.json(&["try", "job.toml", "--units", "2", "--cores", "4", "--to", "out"]);
    let [first, second, forecast] = told.as_slice() else { panic!("{told:?}") };
    assert!(first["output"]["text"].as_str().unwrap().starts_with("2 prime"), "{first}");
    assert!(second["output"]["text"].as_str().unwrap().starts_with("307 composite"), "{second}");
    assert!(0 < first["fuel"].as_u64().unwrap() && first["log"].is_array());
    assert_eq!(
        (forecast["forecast"]["units"].as_u64(), forecast["forecast"]["copies"].as_u64()),
        (Some(6), Some(2))
    );
    assert!(world.path("out/outputs/u3").is_file());
    let one = world.json(&["try", "job.toml", "--unit", "5"]);
    assert!(one[0]["output"]["text"].as_str().unwrap().contains("521 prime"), "{one:?}");
    assert!(world.ok(&["try", "job.toml", "--unit", "0"]).contains("forecast: 6 units of "));
    world.fails(2, &["try", "job.toml", "--unit", "6"]);
}

#[test]
fn a_unit_that_fails_is_told_with_its_log() {
    let world = World::new();
    world.write("job.toml", "name = \"no range\"\nkernel = \"mersenne\"");
    let answer = world.run(&["try", "job.toml"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stdout.contains("the kernel stopped itself") && answer.stdout.contains("log: "),
        "{}",
        answer.stdout
    );
}

#[test]
fn a_kernel_is_checked_by_running_it_twice_and_cut() {
    let world = World::new();
    let params = r#"{"p":{"first":2,"end":2300}}"#;
    let told = &world.json(&["kernel", "check", "mersenne", "--params", params])[0];
    assert_eq!(
        (told["runs_agree"].as_bool(), told["cut"].as_str()),
        (Some(true), Some("agrees")),
        "{told}"
    );
    assert_eq!(told["kernel"]["kind"], "Step");
    let told =
        &world.json(&["kernel", "check", "collatz", "--params", r#"{"n":{"first":1,"end":1000}}"#])
            [0];
    assert_eq!(told["cut"], "no steps", "{told}");
    world.write("bad.wasm", "no module");
    let told = world.fails(1, &["kernel", "check", "bad.wasm"]);
    assert!(told.contains("bad.wasm is no admissible kernel"), "{told}");
    world.fails(2, &["kernel", "check", "mersenne", "--params", "[1]"]);
}

#[test]
fn a_new_kernel_is_written_built_checked_and_tried() {
    let world = World::new();
    world.ok(&["kernel", "new", "squares"]);
    world.fails(2, &["kernel", "new", "squares"]);
    world.fails(2, &["kernel", "new", "../squares"]);
    let mut build = world.command(&["--output", "json", "kernel", "build", "squares"]);
    // The toolchain is the user's, whose home this is not.
    for name in ["HOME", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR"] {
        build.env_remove(name);
    }
    build.env("HOME", std::env::var_os("HOME").unwrap_or_default());
    let answer: crate::world::Answer = build.output().unwrap().into();
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    let told: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    let wasm = told["wasm"].as_str().unwrap();
    let told = world.ok(&["kernel", "check", wasm, "--params", r#"{"n":{"first":0,"end":100}}"#]);
    assert!(told.contains("the same bytes and fuel"), "{told}");
    let told = world.json(&["try", "squares/job.toml", "--units", "1"]);
    let [.., unit, forecast] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(unit["output"]["text"], "0 200000000 36185245\n", "{unit}");
    // About a second of a core of today; what a busy machine adds is no CPU time.
    let cpu_s = unit["cpu_s"].as_f64().unwrap();
    assert!((0.2..5.0).contains(&cpu_s), "{unit}");
    assert_eq!(forecast["forecast"]["units"], 50, "{forecast}");
}

#[test]
fn completions_are_written_for_each_shell() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(world.ok(&["completions", shell]).contains("starling"), "{shell}");
    }
    assert!(world.ok(&["--help"]).contains("Exit codes:"));
}

#[test]
fn a_pulsar_is_drawn() {
    let data = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/GBT_J1807-0847.tim");
    if !data.exists() {
        let _ = writeln!(std::io::stderr(), "NOT TESTED: {} is not here", data.display());
        return;
    }
    let world = World::new();
    let told = &world.json(&["pulsar", "plot", data.to_str().unwrap(), "--period", "0.163618"])[0];
    for picture in ["periodogram", "profile"] {
        let svg = std::fs::read_to_string(world.path(told[picture].as_str().unwrap())).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && 5_000 < svg.len(),
            "{picture}"
        );
    }
    world.fails(2, &["pulsar", "plot", data.to_str().unwrap(), "--period", "-1"]);
}

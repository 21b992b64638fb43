//! What a researcher gives reaches the kernel as it was given, or is refused, or told.

use crate::world::{Grid, World};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// A command that puts out its arguments and what stands in its first input, and ends with exit code 10.
const SHOW: &str = r#"(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 4)))
    (drop (call $args (i32.const 1024) (i32.const 4096)))
    (i32.store (i32.const 16) (i32.const 4096))
    (i32.store (i32.const 20) (i32.load (i32.const 4)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (i32.store (i32.const 16) (i32.const 32768))
    (i32.store (i32.const 20) (i32.const 4096))
    (i32.store (i32.const 24) (i32.const 0))
    (drop (call $read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
    (i32.store (i32.const 20) (i32.load (i32.const 24)))
    (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (call $exit (i32.const 10))))"#;

/// A world with that kernel in it, and a job file of so much more.
fn world(job: &str) -> World {
    let world = World::new();
    fs::write(world.path("show.wasm"), wat::parse_str(SHOW).unwrap()).unwrap();
    write_job(&world, &format!("exit_codes = [0, 10]\n{job}"));
    world
}

fn write_job(world: &World, job: &str) {
    world.write("job.toml", &format!("name = \"n\"\nkernel = \"show.wasm\"\ncopies = 1\n{job}"));
}

/// What a unit put out when it was tried here.
fn tried(world: &World, unit: u64) -> String {
    let told = world.json(&["try", "job.toml", "--unit", &unit.to_string()]);
    told[0]["output"]["text"].as_str().unwrap_or_else(|| panic!("{told:?}")).to_owned()
}

/// The output of each unit of the folder `j1`.
fn fetched(world: &World) -> BTreeMap<u64, String> {
    let text = fs::read_to_string(world.path("j1/results.jsonl")).unwrap();
    let line = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["text"].as_str().unwrap_or_else(|| panic!("{line}"));
        (line["unit"].as_u64().unwrap(), text.to_owned())
    };
    text.lines().map(line).collect()
}

#[test]
fn lines_reach_the_grids_kernels_as_they_were_written() {
    let world = world("[[cut]]\nlines = \"cases.jsonl\"\n[params]\nshared = 0.10");
    world.write(
        "cases.jsonl",
        "\u{feff}{\"n\": 18446744073709551615}\r\n{\"n\": 18446744073709551616, \"x\": [1.50, \"\\u00e9\"]}\r\n\r\n",
    );
    let expected = [
        "kernel\0n=18446744073709551615\0shared=0.10\0".to_owned(),
        "kernel\0n=18446744073709551616\0shared=0.10\0x=[1.50, \"\\u00e9\"]\0".to_owned(),
    ];
    assert_eq!([tried(&world, 0), tried(&world, 1)], expected);
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.ok(&["submit", "job.toml", "--watch"]);
    world.ok(&["fetch", "j1"]);
    assert_eq!(fetched(&world).into_values().collect::<Vec<_>>(), expected);
    world.ok(&["verify", "j1", "--rerun", "--sample", "2"]);
    grid.stop();
}

#[test]
fn each_unit_of_a_long_list_of_files_gets_its_file() {
    const FILES: u64 = 4_200;
    let world = world("[[cut]]\nfiles = \"data/*.txt\"");
    fs::create_dir(world.path("data")).unwrap();
    let content = |number: u64| format!("this is file {number}");
    for number in 0..FILES {
        world.write(&format!("data/{number:05}.txt"), &content(number));
    }
    let expected = |number| format!("kernel\0{}", content(number));
    assert_eq!(tried(&world, 4_150), expected(4_150));
    let mut grid = Grid::start(&world);
    grid.login(&world);
    grid.add_worker(&world, "ada");
    world.ok(&["submit", "job.toml", "--watch"]);
    world.ok(&["fetch", "j1"]);
    let outputs = fetched(&world);
    assert_eq!(outputs.len() as u64, FILES);
    assert!(outputs.into_iter().all(|(unit, output)| output == expected(unit)));
    world.ok(&["verify", "j1", "--rerun", "--sample", "3"]);
    grid.stop();
}

#[test]
fn what_a_pattern_names_is_refused_or_told() {
    let world = world("[[cut]]\nfiles = \"data/*\"");
    fs::create_dir_all(world.path("data/sub")).unwrap();
    world.write("data/a.tim", "a");
    world.write("data/._a.tim", "resource fork");
    let answer = world.run(&["try", "job.toml", "--unit", "0"]);
    assert_eq!(answer.code, Some(0), "{}", answer.stderr);
    assert!(answer.stderr.contains("leaves out names that begin with a dot: data/._a.tim"));
    assert!(answer.stderr.contains("leaves out folders, which are no files: data/sub"));
    let answer = world.run(&["--output", "json", "try", "job.toml"]);
    let first: serde_json::Value =
        serde_json::from_str(answer.stderr.lines().next().unwrap()).unwrap();
    assert!(first["warning"]["message"].as_str().unwrap().contains("._a.tim"), "{first}");
    symlink("nowhere", world.path("data/b.tim")).unwrap();
    assert!(Command::new("mkfifo").arg(world.path("data/c.tim")).status().unwrap().success());
    let told = world.fails(2, &["try", "job.toml"]);
    assert!(told.contains("\"data/b.tim\" cannot be sent: it is a link to what is not there"));
    assert!(told.contains("\"data/c.tim\" cannot be sent: it is a named pipe"), "{told}");
    let set = "cut.0.files=[\"data/*\", \"!data/[bc].tim\"]";
    world.ok(&["try", "job.toml", "--set", set]);
    let told = world.fails(2, &["try", "job.toml", "--set", "inputs=[{ path = \"data/c.tim\" }]"]);
    assert!(told.contains("it is a named pipe, and a file is needed"), "{told}");
}

#[test]
fn an_exit_code_that_is_no_answer_is_told_with_what_to_do() {
    let world = world("[params]\nn = 1");
    assert_eq!(tried(&world, 0), "kernel\0n=1\0");
    write_job(&world, "[params]\nn = 1");
    let answer = world.run(&["try", "job.toml"]);
    assert_eq!(answer.code, Some(1));
    assert!(
        answer.stdout.contains(
            "exit code 10, which is no answer of this job: if it is one, add it to exit_codes"
        ),
        "{}",
        answer.stdout
    );
}

/// A SIGPROC filterbank of 16 channels and 2,000 samples of 1 ms.
fn recording(more: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut word = |word: &str, value: &[u8]| {
        file.extend(u32::try_from(word.len()).unwrap().to_le_bytes());
        file.extend(word.as_bytes());
        file.extend(value);
    };
    word("HEADER_START", &[]);
    word("nchans", &16_i32.to_le_bytes());
    word("nbits", &8_i32.to_le_bytes());
    word("fch1", &1500_f64.to_le_bytes());
    word("foff", &(-4_f64).to_le_bytes());
    word("tsamp", &1e-3_f64.to_le_bytes());
    word("nsamples", &1_500_i32.to_le_bytes());
    file.extend(more);
    file.extend(10_u32.to_le_bytes());
    file.extend(b"HEADER_END");
    file.extend((0..16 * 2_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8));
    file
}

#[test]
fn a_recording_is_looked_at_before_anything_is_computed() {
    let world = World::new();
    fs::write(world.path("long name.fil"), recording(b"\x0c\0\0\0start_sample9\0\0\0")).unwrap();
    let job = |count: u64| {
        format!(
            "name = \"n\"\nkernel = \"pulsar\"\n[[cut]]\nfiles = \"*.fil\"\n[[cut]]\nsteps = \"dm\"\nstart = 0\nstep = 10\ncount = {count}\nper_unit = 2\n"
        )
    };
    world.write("job.toml", &job(4));
    let answer = world.run(&["try", "job.toml", "--unit", "0"]);
    assert_eq!(answer.code, Some(0), "{}{}", answer.stdout, answer.stderr);
    for warning in [
        "warning: long name.fil: the header says 1500 samples, the file has 2000",
        "warning: long name.fil: the keyword \"start_sample\" is not known here: 4 bytes",
    ] {
        assert!(answer.stderr.contains(warning), "{}", answer.stderr);
        // The kernel says so too.
        assert!(answer.stdout.contains(&warning["warning: long name.fil: ".len()..]));
    }
    world.write("job.toml", &job(1_000));
    let told = world.fails(2, &["submit", "job.toml"]);
    assert!(
        told.contains(
            "u499 (long name.fil) would fail everywhere: a dispersion measure of 9980 pc/cm3 delays"
        ),
        "{told}"
    );
    let mut reversed = recording(b"");
    reversed[..4].reverse();
    fs::write(world.path("long name.fil"), reversed).unwrap();
    assert!(world.fails(2, &["try", "job.toml"]).contains("the header is big-endian"));
    world.write("unit.sah", "<workunit>");
    let told = world.fails(2, &["submit", "--kernel", "seti", "unit.sah"]);
    assert!(told.contains("unit.sah is no work unit that can be searched"), "{told}");
}

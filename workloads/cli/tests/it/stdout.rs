//! Nothing is lost when standard output takes no more, and nobody is bothered who has seen enough.

use crate::world::{Grid, World};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

const JOB: &str = "name = \"test\"\nkernel = \"mersenne\"\n[[cut]]\nrange = \"p\"\nfirst = 2\nend = 40\nper_unit = 20\n";

/// A standard output on which there is no room.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A standard output that nobody reads.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

fn is_told_of_all(world: &World, args: &[&str], told: &str) {
    let (code, said) = world.run_to(args, full());
    assert_eq!(code, Some(1), "{args:?}: {said}");
    assert!(said.contains("could not write to standard output: No space left"), "{args:?}: {said}");
    assert!(said.contains(told), "{args:?}: {said}");
}

fn ends_quietly(world: &World, args: &[&str]) {
    assert_eq!(world.run_to(args, closed()), (Some(0), String::new()), "{args:?}");
}

#[test]
fn alone_each_verb_tells_what_it_could_not_write() {
    let world = World::new();
    world.write("job.toml", JOB);
    let params = r#"{"p":{"first":2,"end":30}}"#;
    is_told_of_all(&world, &["--help"], "");
    is_told_of_all(&world, &["--version"], "");
    is_told_of_all(&world, &["completions", "bash"], "");
    is_told_of_all(&world, &["kernel", "new", "one"], "wrote the kernel's project to one");
    is_told_of_all(&world, &["kernel", "check", "mersenne", "--params", params], "step kernel");
    is_told_of_all(&world, &["try", "job.toml"], "u0: done");
    let told = ["--output", "json", "try", "job.toml", "--unit", "1"];
    is_told_of_all(&world, &told, "31 prime");
    is_told_of_all(&world, &["seti", "generate", "a.sah", "--samples", "16384"], "a.sah: 16384");
    assert!(world.path("a.sah").exists() && world.path("one/job.toml").exists());

    ends_quietly(&world, &["--help"]);
    ends_quietly(&world, &["completions", "zsh"]);
    ends_quietly(&world, &["kernel", "new", "two"]);
    ends_quietly(&world, &["--output", "json", "try", "job.toml"]);
    // What went wrong is told all the same.
    let (code, said) = world.run_to(&["kernel", "check", "no.wasm"], closed());
    assert!(code == Some(1) && said.contains("no.wasm"), "{said}");
}

#[test]
fn with_a_grid_each_verb_tells_what_it_could_not_write() {
    let world = World::new();
    let mut grid = Grid::start(&world);
    let token = grid.token();
    let join = grid.join().to_string();
    world.write("token", &token);
    let mut login = world.command(&["login", &join]);
    login.stdin(File::open(world.path("token")).unwrap()).stdout(full());
    let told = login.output().unwrap();
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("logged in at"));
    is_told_of_all(&world, &["jobs"], "no jobs yet");

    world.write("job.toml", JOB);
    is_told_of_all(&world, &["submit", "job.toml"], "submitted j1");
    is_told_of_all(&world, &["why", "j1"], "j1: ");
    ends_quietly(&world, &["jobs"]);
    grid.add_worker(&world, "ada");
    grid.add_worker(&world, "grace");
    world.ok(&["watch", "j1"]);
    is_told_of_all(&world, &["watch", "j1"], "j1");
    is_told_of_all(&world, &["fetch", "j1"], "2 results");
    is_told_of_all(&world, &["verify", "j1"], "");
    is_told_of_all(&world, &["receipt", "j1/u0"], "starling verify receipt j1-u0.receipt");
    is_told_of_all(&world, &["audit", "j1"], "the log (");
    is_told_of_all(&world, &["evidence", "j1"], "no report");
    ends_quietly(&world, &["fetch", "j1"]);
    ends_quietly(&world, &["watch", "j1"]);
    grid.stop();
}

#[test]
fn a_watch_ends_with_its_reader() {
    let world = World::new();
    let grid = Grid::start(&world);
    grid.login(&world);
    world.write("job.toml", JOB);
    // Nobody works on it, so that after the first line none comes.
    world.ok(&["submit", "job.toml"]);
    for args in [&["--output", "json", "watch", "j1"][..], &["watch", "j1"]] {
        let mut watch = world.spawn(args);
        let mut reader = BufReader::new(watch.stdout.take().unwrap());
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.contains("j1"), "{line}");
        drop(reader);
        let ended = watch.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), said.as_ref()), (Some(0), ""));
    }
    grid.stop();
}

#[test]
fn a_token_is_taken_from_where_it_is_not_seen() {
    let world = World::new();
    let grid = Grid::start(&world);
    let (token, join) = (grid.token(), grid.join().to_string());
    for args in [&["login", &join][..], &["login", &join, "--token", "-"]] {
        let mut login = world.command(args);
        login.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut login = login.spawn().unwrap();
        writeln!(login.stdin.take().unwrap(), "{token}").unwrap();
        let ended = login.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(0), Vec::new()), "{args:?}");
        std::fs::remove_file(world.path("profile.json")).unwrap();
    }
    let from_variable = world.command(&["login", &join]).env("STARLING_TOKEN", &token).output();
    assert_eq!(from_variable.unwrap().status.code(), Some(0));
    let told = world.run(&["login", &join, "--token", &token]);
    assert!(told.code == Some(0) && told.stderr.contains("list of processes"), "{}", told.stderr);
    let empty = world.command(&["login", &join]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(empty.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("that is no token"));
    grid.stop();
}

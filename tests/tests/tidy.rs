//! Rules of the code that a program can check.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// All files of ours that git knows, or would.
fn files(suffix: &str) -> Vec<PathBuf> {
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && name.ends_with(suffix) {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_source_file_says_first_what_it_is() {
    for path in files(".rs") {
        let text = fs::read_to_string(&path).unwrap();
        let test_module =
            path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        assert!(
            text.starts_with("//!") || text.starts_with("#!") || test_module,
            "{} does not begin with //!",
            path.display()
        );
    }
}

#[test]
fn imports_stand_in_one_block() {
    for path in files(".rs") {
        let text = fs::read_to_string(&path).unwrap();
        let parted = text.lines().zip(text.lines().skip(1)).zip(text.lines().skip(2)).find(
            |((before, blank), after)| {
                before.starts_with("use ")
                    && before.ends_with(';')
                    && blank.is_empty()
                    && after.starts_with("use ")
            },
        );
        assert!(parted.is_none(), "{}: a blank line after {:?}", path.display(), parted);
    }
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let marks = [
        ["to", "do!("].concat(),
        ["unimpl", "emented!("].concat(),
        ["#[ig", "nore"].concat(),
        ["FIX", "ME"].concat(),
    ];
    for path in files(".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for mark in &marks {
            assert!(!text.contains(mark), "{} contains {mark}", path.display());
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in files(".md") {
        let text = fs::read_to_string(&path).unwrap();
        for link in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
        {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.contains(' ') {
                continue;
            }
            assert!(
                path.parent().unwrap().join(target).exists(),
                "{}: {link} leads nowhere",
                path.display()
            );
        }
    }
}

#[test]
fn the_top_level_is_the_agreed_one() {
    let allowed =
        ["coordinator", "worker", "proto", "workloads", "deploy", "tests", "docs", "target"];
    for entry in fs::read_dir(root()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        let folder = entry.file_type().unwrap().is_dir();
        assert!(
            !folder || name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} is no folder of the top level"
        );
    }
}

#[test]
fn the_continuous_check_runs_the_readmes_test_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let check = fs::read_to_string(root().join(".ci/run")).unwrap();
    let command = readme
        .lines()
        .find(|line| line.starts_with("cargo test"))
        .expect("README gives the test command");
    assert!(check.lines().any(|line| line == command), ".ci/run does not run `{command}`");
}

/// Names that meant several things or nothing to a newcomer, and what is said in their place: docs/glossary.md.
const RETIRED: [(&str, &str); 34] = [
    ("struct Said", "Vote"),
    ("struct Gates", "Escrow"),
    ("struct Dice", "Prng"),
    ("struct Book", "Standings"),
    ("struct Caught", "Detection"),
    ("enum Caught", "Detection"),
    ("struct Alone", "SoleReports"),
    ("struct Word", "SoleReport"),
    ("enum Word", "ChildMessage"),
    ("struct Figure", "Risk"),
    ("struct Named", "BlobAccess"),
    ("struct Given", "Egress"),
    ("struct Office", "TicketIssuer"),
    ("struct Patience", "Timeouts"),
    ("struct Shared", "Services, Network or PoolState"),
    ("struct Carrier", "Exchange"),
    ("struct Holding", "Custody"),
    ("struct Rude", "ProtocolViolation"),
    ("enum Course", "RunScope"),
    ("enum Runner", "RunOwner"),
    ("struct Keep", "StateArchive"),
    ("mod execute", "the crate sandbox"),
    ("mod p2p", "network"),
    ("mod carrier", "exchange"),
    ("mod holding", "custody"),
    ("mod keeper", "task, or child_handle"),
    ("mod books", "store"),
    ("mod shelf", "kv_log"),
    ("mod care", "maintenance"),
    ("mod door", "connection_limits"),
    ("mod greet", "handshake"),
    ("mod named", "blob_access"),
    ("mod given", "egress"),
    ("mod dice", "prng"),
];

#[test]
fn retired_names_do_not_come_back() {
    for path in files(".rs") {
        // A test may call its own things what it likes.
        if path.components().any(|part| part.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (name, instead) in RETIRED {
            let again = text.match_indices(name).any(|(at, _)| {
                let next = text[at + name.len()..].chars().next();
                !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
                    && !text[..at].ends_with(|c: char| c.is_alphanumeric())
            });
            assert!(!again, "{}: {name} is {instead} now", path.display());
        }
    }
}

#[test]
fn the_glossary_names_files_that_are_there() {
    let text = fs::read_to_string(root().join("docs/glossary.md")).unwrap();
    let crates = [
        "proto/program",
        "proto/client",
        "worker/core",
        "worker/sandbox",
        "coordinator/core",
        "proto",
        "worker",
        "coordinator",
        "tests",
        "workloads/kernel",
        "workloads/sdk",
        "workloads/cli",
    ];
    let paths = text.split('`').filter(|word| word.ends_with(".rs") && word.contains('/'));
    for path in paths {
        let inside = |name: &&str| {
            let rest = path.strip_prefix(*name)?.strip_prefix('/')?;
            Some(root().join(name).join("src").join(rest))
        };
        let there = crates.iter().filter_map(inside).any(|file| file.exists());
        assert!(there || root().join(path).exists(), "docs/glossary.md: there is no {path}");
    }
}

/// Lines of a file, and of a function, outside tests: what can be read in one go.
const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 80;

/// Functions of a file with how many lines each has, as rustfmt lays them out: to the bracket below their first letter.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let words: Vec<&str> = code.split(' ').take_while(|word| !word.starts_with("//")).collect();
        let Some(place) = words.iter().position(|word| *word == "fn") else { continue };
        let before = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
        if words[..place].iter().any(|word| !before.contains(word) && !word.starts_with("pub(")) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[at..].iter().position(|line| *line == end).map_or(1, |lines| lines + 1);
        let one_line = code.ends_with('}') || code.ends_with(';');
        let name: String =
            words[place + 1].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        found.push((name, if one_line { 1 } else { length }));
    }
    found
}

#[test]
fn files_and_functions_can_be_read_in_one_go() {
    let tests = ["tests", "tests.rs", "benches", "bench", "examples"];
    for path in files(".rs") {
        let inside = path.strip_prefix(root()).unwrap();
        if inside.iter().any(|part| tests.iter().any(|test| part == *test)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", inside.display());
        for (name, lines) in functions(&text) {
            assert!(lines <= FUNCTION_LINES_MAX, "{}: {name} has {lines} lines", inside.display());
        }
    }
}

#[test]
fn functions_are_measured() {
    let text = "fn a() {}\n\nimpl B {\n    pub(crate) async fn c(\n        &self,\n    ) {\n        1;\n    }\n}\n";
    assert_eq!(functions(text), [("a".to_owned(), 1), ("c".to_owned(), 5)]);
}

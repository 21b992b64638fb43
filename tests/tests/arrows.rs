//! Which room of a crate may use which: what the code does is held against the table in ARCHITECTURE.md, and is without circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each room of a crate uses of the others: a room is a module of the crate's root.
type Arrows = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// The rooms that code names: the words behind `crate::`, one or several in braces.
fn named(code: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut rooms = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(rooms.insert(word(rest))),
            Some(list) => {
                let (mut depth, mut start) = (0, 0);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        ',' | '}' if depth == 0 => {
                            rooms.insert(word(&list[start..at]));
                            start = at + 1;
                            if c == '}' {
                                break;
                            }
                        }
                        '}' => depth -= 1,
                        _ => {}
                    }
                }
            }
        }
    }
    rooms
}

/// What is there, tests left out.
fn arrows(sources_of: &Path) -> Arrows {
    let mut files = Vec::new();
    sources(sources_of, &mut files);
    let room = |path: &Path| {
        let first = path.strip_prefix(sources_of).unwrap().iter().next().unwrap();
        first.to_string_lossy().trim_end_matches(".rs").to_owned()
    };
    let rooms: BTreeSet<String> = files.iter().map(|path| room(path)).collect();
    let mut arrows = Arrows::new();
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: Vec<_> =
            text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let own = room(path);
        for other in named(&code.join("\n")) {
            // What begins in the root itself, or is a macro's, belongs to no room.
            if other != own && rooms.contains(&other) && own != "lib" && own != "main" {
                arrows.entry(own.clone()).or_default().insert(other);
            }
        }
    }
    arrows
}

/// The tables of ARCHITECTURE.md: the folder, then a room and what it uses in each line.
fn allowed() -> BTreeMap<String, Arrows> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, text) = text.split_once("```arrows\n").expect("a table of arrows");
    let (text, _) = text.split_once("```").unwrap();
    let mut tables: BTreeMap<String, Arrows> = BTreeMap::new();
    let mut folder = "";
    for line in text.lines() {
        match line.split_once(" -> ") {
            None => folder = line,
            Some((room, others)) => {
                let others = others.split(' ').map(str::to_owned).collect();
                tables.entry(folder.to_owned()).or_default().insert(room.trim().to_owned(), others);
            }
        }
    }
    tables
}

/// A room from which arrows lead back to it, if there is one.
fn circle(arrows: &Arrows) -> Option<String> {
    let reaches = |from: &String| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(room) = open.pop() {
            for next in arrows.get(room).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen.contains(from)
    };
    arrows.keys().find(|room| reaches(room)).cloned()
}

#[test]
fn rooms_use_what_the_table_allows_and_never_in_a_circle() {
    let tables = allowed();
    assert!(2 <= tables.len(), "the table has lost its crates");
    for (folder, allowed) in tables {
        let found = arrows(&root().join(&folder));
        assert_eq!(circle(&found), None, "{folder}: a circle");
        assert_eq!(found, allowed, "{folder}: ARCHITECTURE.md says otherwise");
    }
}

#[test]
fn rooms_are_read_off_any_use() {
    let code = "use crate::a::B;\nuse crate::{b, c::{D, e}, f};\nlet x = crate::g::h();";
    let rooms: Vec<_> = named(code).into_iter().collect();
    assert_eq!(rooms, ["a", "b", "c", "f", "g"]);
    let arrows = |pairs: &[(&str, &str)]| -> Arrows {
        pairs.iter().map(|(from, to)| ((*from).into(), BTreeSet::from([(*to).into()]))).collect()
    };
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c")])), None);
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("c", "b")])), Some("b".into()));
}

//! Each command line in the documents is one that the program takes.

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};
use std::fs;
use std::path::{Path, PathBuf};

/// A join string, where the documents only begin one.
fn join() -> String {
    format!("starling://grid.example.org:7700/{0}#{0}", "0".repeat(64))
}

fn programs() -> Vec<Command> {
    vec![
        cli::args::Cli::command(),
        coordinator::command::Arguments::command(),
        worker::command::arguments(),
    ]
}

/// All documents.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        found.push(entry.unwrap().path());
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    found
}

/// Command lines in blocks of code, and in the text between backquotes; those in text may leave arguments away.
fn lines(text: &str) -> Vec<(String, bool)> {
    let mut lines = Vec::new();
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 1 {
            let block = part.lines().map(|line| line.trim_start_matches("$ "));
            // What is explained stands behind a gap, or behind a hash.
            let command = |line: &str| {
                let line = line.split("   ").next().unwrap_or_default();
                line.split(" #").next().unwrap_or_default().trim().to_owned()
            };
            lines.extend(block.map(|line| (command(line), true)));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            lines.extend(spans.map(|span| (span.replace('\n', " "), false)));
        }
    }
    // A pipe's other end is another program, and files are the shell's; in a table the pipe is escaped.
    for (line, _) in &mut lines {
        for end in [" | ", " \\| ", " < ", " > "] {
            let first = line.split(end).next().unwrap_or_default();
            *line = first.to_owned();
        }
    }
    lines
}

/// A command line with what a reader fills in filled in.
fn filled(line: &str) -> Vec<String> {
    let word = |word: &str| {
        let word = word.trim_matches('\'').trim_end_matches("...").trim_end_matches('…');
        match word {
            "JOIN" => join(),
            "JOB" => "j7".to_owned(),
            "UNIT" => "u12".to_owned(),
            "KEY" => "0".repeat(64),
            word if word.starts_with("starling://") => join(),
            word => word.to_owned(),
        }
    };
    line.split_whitespace().map(word).collect()
}

#[test]
fn each_command_line_in_the_documents_is_taken() {
    let (programs, mut taken) = (programs(), 0);
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for (line, whole) in lines(&text) {
            let words = filled(&line);
            let program = words
                .first()
                .and_then(|first| programs.iter().find(|program| program.get_name() == first));
            let Some(program) = program.filter(|_| 1 < words.len()) else { continue };
            let error = match program.clone().try_get_matches_from(&words) {
                Ok(_) => None,
                Err(error) => match error.kind() {
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => None,
                    ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        if !whole =>
                    {
                        None
                    }
                    _ => Some(error),
                },
            };
            if let Some(error) = error {
                panic!("{}: `{line}` is not taken: {error}", path.display());
            }
            taken += 1;
        }
    }
    assert!(40 < taken, "only {taken} command lines were found");
}

#[test]
fn a_unit_is_named_in_one_word_or_in_two() {
    let taken = |words: &[&str]| {
        cli::args::Cli::command().try_get_matches_from([&["starling"], words].concat()).is_ok()
    };
    for words in [
        &["why", "j7"][..],
        &["why", "j7/u12"],
        &["why", "j7", "u12"],
        &["why", "j7", "12"],
        &["logs", "j7", "u12", "--follow"],
    ] {
        assert!(taken(words), "{words:?}");
    }
    assert!(!taken(&["why", "u12"]) && !taken(&["logs"]));
}

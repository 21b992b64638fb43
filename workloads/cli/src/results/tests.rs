use super::*;
use std::io::Write;

const PROJECT: ProjectKey = ProjectKey([7; 32]);

fn line(unit: u64) -> Line {
    let output = (unit != 2).then(|| Output::inline(format!("output {unit}").as_bytes()));
    let failure = (unit == 2).then(|| "the kernel stopped itself".to_owned());
    Line { unit, fuel: 10 * unit, output, failure, ..Line::default() }
}

fn at(cursor: u64) -> Position {
    Position { cursor, offset: cursor % 7 }
}

fn open(path: &Path) -> Folder {
    Folder::open(path, JobId(3), PROJECT, b"{}").unwrap()
}

fn units(path: &Path) -> Result<Vec<u64>, Error> {
    let mut units = Vec::new();
    for_each(path, &load(path)?, |line| {
        units.push(line.unit);
        Ok(())
    })?;
    Ok(units)
}

#[test]
fn what_was_written_half_is_dropped_and_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut results = open(path);
    results.append(&[line(1), line(2)], at(20)).unwrap();
    drop(results);
    OpenOptions::new()
        .append(true)
        .open(path.join("results.jsonl"))
        .unwrap()
        .write_all(b"{\"unit\":9,\"fu")
        .unwrap();
    let mut results = open(path);
    assert_eq!((results.state.position(), results.state.results), (at(20), 2));
    results.append(&[line(3)], at(30)).unwrap();
    assert_eq!(units(path).unwrap(), [1, 2, 3]);
}

#[test]
fn a_folder_belongs_to_one_job_and_one_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let results = open(folder.path());
    let other = Folder::open(folder.path(), JobId(3), PROJECT, b"{}").unwrap_err();
    assert!(other.to_string().starts_with("another fetch is writing"), "{other}");
    drop(results);
    let other = Folder::open(folder.path(), JobId(4), PROJECT, b"{}").unwrap_err();
    assert!(other.to_string().contains("holds results of another job (j3)"), "{other}");
}

#[test]
fn lines_read_as_they_were_written_and_missing_ones_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut results = open(path);
    let binary = Line { output: Some(Output::inline(&[255, 0])), ..line(5) };
    let lines = [line(1), line(2), binary];
    results.append(&lines, at(1)).unwrap();
    let mut read = Vec::new();
    for_each(path, &load(path).unwrap(), |line| {
        read.push(line);
        Ok(())
    })
    .unwrap();
    assert_eq!(read, lines);
    let text = fs::read_to_string(path.join("results.jsonl")).unwrap();
    assert!(text.starts_with(r#"{"unit":1,"fuel":10,"digest":""#), "{text}");
    assert!(text.contains(r#""bytes":8,"text":"output 1"}"#), "{text}");
    assert!(text.contains(r#""base64":"/wA="}"#), "{text}");
    fs::write(path.join("results.jsonl"), text.lines().next().unwrap()).unwrap();
    assert_eq!(units(path).unwrap_err().exit_code(), 5);
}

#[test]
fn a_name_outside_the_folder_is_refused() {
    let check = |name: &str, allowed: bool| {
        assert_eq!(inside(Path::new("d"), name).is_ok(), allowed, "{name}")
    };
    check("outputs/u1", true);
    check("../u1", false);
    check("/etc/passwd", false);
    check("outputs/../../u1", false);
}

#[test]
fn a_folder_of_an_earlier_release_is_read_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    drop(open(path));
    let text = "{\"unit\":4,\"fuel\":9,\"failure\":\"given up\"}\n";
    fs::write(path.join("results.jsonl"), text).unwrap();
    let state = format!(
        r#"{{"version":1,"job":3,"project":"{PROJECT}","spec":"{}","cursor":17,"results":1,"bytes":{}}}"#,
        Digest::of(b"{}"),
        text.len()
    );
    fs::write(path.join("state.json"), &state).unwrap();
    assert_eq!(units(path).unwrap(), [4]);
    let mut results = open(path);
    assert_eq!(results.state.position(), Position { cursor: 17, offset: 0 });
    results.append(&[line(5)], Position { cursor: 17, offset: 3 }).unwrap();
    assert_eq!(units(path).unwrap(), [4, 5]);
    assert_eq!(load(path).unwrap().position(), Position { cursor: 17, offset: 3 });
    assert!(fs::read_to_string(path.join("state.json")).unwrap().contains("\"version\":2"));
    fs::write(path.join("state.json"), state.replace("\"version\":1", "\"version\":3")).unwrap();
    assert!(load(path).unwrap_err().to_string().contains("another version of Starling"));
}

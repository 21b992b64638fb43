use super::*;
use proto::cut::Axis;
use serde_json::json;
use std::fs;

/// A folder with some files to name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    write("data/a.tim", &[1; 100]);
    write("data/b.tim", &[2; 100]);
    write("cells.dat", &[3; 1000]);
    write("list.jsonl", b"{\"x\": 1}\n{\"x\": 2}\n");
    write("broken.jsonl", b"{\"x\": 1}\nx\n");
    write("twice.jsonl", b"{\"x\": 1, \"x\": 2}\n");
    write(
        "big.jsonl",
        b"\xef\xbb\xbf{\"n\": 18446744073709551615}\r\n{\"n\": 18446744073709551616}\r\n\r\n",
    );
    write("text.wasm", b"this is no module");
    folder
}

fn read(content: &str, set: &[&str]) -> Result<Job, Mistake> {
    let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
    parse("job.toml", content, &set, folder().path())
}

/// The smallest job file, and `rest` behind it.
fn job(rest: &str) -> String {
    format!("name = \"n\"\nkernel = \"mersenne\"\n{rest}")
}

#[test]
fn every_part_of_a_job_file_arrives_in_the_specification() {
    let text = r#"
name = "all"
kernel = "pulsar"
copies = 3
lease = "10 min"
attempts = 4
priority = -2
nan = "unchecked"
seed = "any text"
[params]
text = "x"
number = 1.5
list = [1, true, { a = 2 }]
[[inputs]]
path = "data/a.tim"
name = "first"
[[cut]]
range = "p"
first = 2
end = "1e3"
per_unit = 100
[[cut]]
steps = "dm"
start = 10
step = 0.5
count = 20
per_unit = 4
[[cut]]
values = "mode"
of = ["fast", "slow", 3]
[[cut]]
records = "cells.dat"
header = "100 B"
record = 9
per_unit = 40
overlap = 2
[limits]
memory = "512 MiB"
fuel = "5 G"
output = "1 MB"
log = 0
time = "1h 30m"
[merge]
fan_in = 8
kernel = "mersenne"
"#;
    let Job { spec, blobs, notes } = read(text, &[]).unwrap();
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!((spec.copies, spec.lease_s, spec.attempts_max, spec.priority), (3, 600, 4, -2));
    assert_eq!((spec.nan, spec.seed), (Nan::Unchecked, Digest::of(b"any text")));
    assert_eq!(
        json!(spec.params),
        json!({ "text": "x", "number": 1.5, "list": [1, true, { "a": 2 }] })
    );
    let names: Vec<_> = spec.inputs.iter().map(|input| (input.name.as_str(), input.len)).collect();
    assert_eq!(names, [("first", 100), ("cells.dat", 1000)]);
    assert_eq!(spec.cut_units(), 10 * 5 * 3 * 3);
    let limits = Limits {
        memory_bytes: 512 << 20,
        fuel: 5_000_000_000,
        output_bytes: 1_000_000,
        log_bytes: 0,
        time_s: 5400,
    };
    assert_eq!(spec.limits, limits);
    assert_eq!(spec.kernel, Digest::of(shipped::PULSAR));
    assert_eq!(spec.merge, Some(Merge { kernel: Some(Digest::of(shipped::MERSENNE)), fan_in: 8 }));
    assert_eq!(blobs.len(), 4);
    assert_eq!(JobSpec::parse(&spec.encode()).unwrap(), spec);
}

#[test]
fn a_short_job_file_gets_the_usual_values() {
    let Job { spec, blobs, .. } = read(&job(""), &[]).unwrap();
    assert_eq!(
        (spec.copies, spec.lease_s, spec.priority, spec.cut_units()),
        (COPIES, LEASE_S, 0, 1)
    );
    assert_eq!((spec.limits, spec.seed, blobs.len()), (standard_limits(), Digest::of(b"n"), 1));
}

#[test]
fn files_bytes_and_lines_are_cut() {
    let files = read(&job("[[cut]]\nfiles = \"data/*.tim\""), &[]).unwrap();
    assert_eq!(files.spec.cut, [Axis::Files { first: 0, count: 2 }]);
    assert_eq!(files.spec.inputs[1].name, "b.tim");
    let bytes =
        read(&job("[[cut]]\nbytes = \"cells.dat\"\nper_unit = \"300 B\"\noverlap = 10"), &[])
            .unwrap();
    assert_eq!(bytes.spec.cut_units(), 4);
    let lines = read(&job("[[cut]]\nlines = \"list.jsonl\""), &[]).unwrap();
    assert!(matches!(lines.spec.cut[..], [Axis::Lines { len: 18, count: 2, .. }]));
    assert_eq!(lines.blobs.len(), 2);
    let named_twice = read(
        &job("[[inputs]]\npath = \"cells.dat\"\n[[cut]]\nbytes = \"cells.dat\"\nper_unit = 10"),
        &[],
    );
    assert_eq!(named_twice.unwrap().spec.inputs.len(), 1);
}

#[test]
fn numbers_stay_as_they_are_written() {
    let spec = |text: &str, set: &[&str]| read(text, set).unwrap().spec;
    let plain = spec(&job("[params]\nx = 1_000\ny = 0.10\nz = 0xff\nw = +1e3"), &[]);
    assert_eq!(plain.numbers, Numbers::Binary);
    assert_eq!(json!(plain.params), json!({ "x": 1000, "y": 0.1, "z": 255, "w": 1000.0 }));
    let large = spec(
        &job("[params]\nx = 18446744073709551616\n[[cut]]\nvalues = \"y\"\nof = [0.10, -0, 3]"),
        &["params.z=-99999999999999999999"],
    );
    assert_eq!(large.numbers, Numbers::Written);
    assert_eq!(
        large.unit(proto::UnitIndex(0), &proto::job::Extra::default()).unwrap().params,
        r#"{"x":18446744073709551616,"y":0.10,"z":-99999999999999999999}"#
    );
    assert_eq!(spec(&job("[params]\nx = 0.1000000000000000055"), &[]).numbers, Numbers::Written);
    let lines = spec(&job("[[cut]]\nlines = \"big.jsonl\""), &[]);
    assert!(matches!(lines.cut[..], [Axis::Lines { len: 63, count: 2, .. }]), "{:?}", lines.cut);
    assert_eq!(lines.numbers, Numbers::Written);
    assert_eq!(JobSpec::parse(&lines.encode()).unwrap(), lines);
    check(&job("[params]\nx = 1e400"), "4:5: params.x: 1e400 is not allowed: give a finite number");
}

#[test]
fn more_files_than_a_specification_names_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let pattern = |count: usize| {
        for number in 0..count {
            fs::write(folder.path().join(format!("{number:05}.dat")), number.to_le_bytes())
                .unwrap();
        }
        let text = job("[[cut]]\nfiles = \"*.dat\"");
        parse("job.toml", &text, &[], folder.path()).unwrap()
    };
    let named = pattern(4096);
    assert_eq!(named.spec.cut, [Axis::Files { first: 0, count: 4096 }]);
    let Job { spec, blobs, .. } = pattern(4097);
    let [Axis::Listed { digest, len, count: 4097 }] = spec.cut[..] else {
        panic!("{:?}", spec.cut)
    };
    assert_eq!((spec.inputs.len(), spec.units(), blobs.len()), (0, 4097, 4097 + 2));
    let list = blobs.iter().find(|blob| blob.digest == digest).unwrap();
    let Content::Bytes(text) = &list.content else { panic!("the list is in no file") };
    assert_eq!(len, text.len() as u64);
    let line = std::str::from_utf8(text).unwrap().lines().nth(4000).unwrap();
    let file = proto::cut::listed(line).unwrap();
    let content = 4000_usize.to_le_bytes();
    assert_eq!((file.name.as_str(), file.digest), ("04000.dat", Digest::of(&content)));
    assert!(spec.encode().len() < 2000);
}

#[test]
fn what_is_unusual_is_noted() {
    let notes = |text: &str| read(text, &[]).unwrap().notes;
    let partial = notes(&job("[[cut]]\nrecords = \"cells.dat\"\nrecord = 9\nper_unit = 40"));
    assert_eq!(partial.len(), 1);
    assert!(partial[0].contains("the last unit gets a record of 1 bytes"), "{partial:?}");
    let folder = tempfile::tempdir().unwrap();
    for name in ["a/x.tim", "b/x.tim", "b/y.tim"] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let text = job("[[cut]]\nfiles = \"*/*.tim\"");
    let spec = parse("job.toml", &text, &[], folder.path()).unwrap().spec;
    let names: Vec<&str> = spec.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["a/x.tim", "b/x.tim", "y.tim"]);
}

#[test]
fn a_job_file_may_begin_with_a_byte_order_mark() {
    let text = format!("\u{feff}{}", job("copies = 3"));
    assert_eq!(read(&text, &[]).unwrap().spec.copies, 3);
    assert_eq!(read(&text.replace('\n', "\r\n"), &[]).unwrap().spec.copies, 3);
}

#[test]
fn exit_codes_are_taken_over() {
    assert_eq!(read(&job(""), &[]).unwrap().spec.exit_codes, [0]);
    assert_eq!(read(&job("exit_codes = [0, 10, 20]"), &[]).unwrap().spec.exit_codes, [0, 10, 20]);
}

#[test]
fn settings_change_fields() {
    let text = job("[[cut]]\nrange = \"p\"\nfirst = 0\nend = 10\n[params]\nmode = \"slow\"");
    let set = [
        "copies=1",
        "params.mode=fast",
        "params.deep.er=[1, 2]",
        "cut.0.end=20",
        "limits.fuel=5 G",
        "lease=1 h",
    ];
    let spec = read(&text, &set).unwrap().spec;
    assert_eq!(json!(spec.params), json!({ "mode": "fast", "deep": { "er": [1, 2] } }));
    assert_eq!(
        (spec.copies, spec.cut_units(), spec.limits.fuel, spec.lease_s),
        (1, 20, 5_000_000_000, 3600)
    );
}

/// What a wrong job file is told: `line:column: field: message`, only the beginning.
fn check(content: &str, expected: &str) {
    let mistake = read(content, &[]).expect_err(content);
    let Mistake { line, column, field, message, .. } = &mistake;
    let told = format!("{line}:{column}: {field}: {message}");
    assert!(told.starts_with(expected), "{content}\n gives {told}\n  not {expected}");
    assert!(mistake.to_string().starts_with(&format!("job.toml:{line}:{column}: ")), "{mistake}");
}

#[test]
fn each_wrong_field_is_named_with_its_line_and_what_is_allowed() {
    check("", "1:1: name: it is missing: give a name");
    check("name = \"n\"", "1:1: kernel: it is missing: give the name of a shipped kernel");
    check("name = \"n\nkernel = \"x\"", "1:10: : this is not TOML: invalid basic string");
    check(&job("copies = 2\ncopies = 3"), "4:1: : this is not TOML: duplicate key");
    check(&job("kernal = \"x\""), "3:1: kernal: there is no such field: did you mean \"kernel\"?");
    check(&job("colour = 1"), "3:1: colour: there is no such field");
    check("name = 5\nkernel = \"mersenne\"", "1:8: name: 5 is not allowed: give a name");
    check(
        "name = \"a\\nb\"\nkernel = \"mersenne\"",
        "1:8: name: control characters are not allowed",
    );
    check(
        "name = \"\"\nkernel = \"mersenne\"",
        "1:8: name (bytes): 0 is not allowed: give 1 to 128",
    );
    check("name = \"n\"\nkernel = \"mersene\"", "2:10: kernel: ");
    check(
        "name = \"n\"\nkernel = \"text.wasm\"",
        "2:10: kernel: \"text.wasm\" is no admissible kernel",
    );
    check(&job("copies = 0"), "3:10: copies: 0 is not allowed: give 1 to 16");
    check(&job("copies = \"two\""), "3:10: copies: \"two\" is not allowed: give a whole number");
    check(&job("copies = -1"), "3:10: copies: -1 is not allowed: give a whole number");
    check(
        &job("lease = 600"),
        "3:9: lease: 600 is not allowed: give a duration with its unit, as in",
    );
    check(
        &job("lease = \"10 parsecs\""),
        "3:9: lease: \"10 parsecs\" is not allowed: give a duration",
    );
    check(&job("lease = \"0 s\""), "3:9: lease (seconds): 0 is not allowed: give 1 to 7776000");
    check(&job("attempts = 5000"), "3:12: attempts: 5000 is not allowed: give 1 to 1000");
    check(&job("priority = 1.5"), "3:12: priority: 1.5 is not allowed: give a whole number");
    check(
        &job("nan = \"fast\""),
        "3:7: nan: \"fast\" is not allowed: give \"canonical\" or \"unchecked\"",
    );
    check(&job("params = 3"), "3:10: params: 3 is not allowed: give a table, [params]");
    check(&job("[params]\nx = nan"), "4:5: params.x: nan is not allowed: give a finite number");
    check(
        &job("[limits]\nmemory = \"much\""),
        "4:10: limits.memory: \"much\" is not allowed: give a size, as in \"256 MiB\"",
    );
    check(
        &job("[limits]\nmemory = \"1 TiB\""),
        "4:10: limits.memory (bytes): 1099511627776 is not allowed: give 65536 to 4294967296",
    );
    check(&job("[limits]\nfuel = 0"), "4:8: limits.fuel: 0 is not allowed: give 1 to");
    check(
        &job("[limits]\nfule = 1"),
        "4:1: limits.fule: there is no such field: did you mean \"fuel\"?",
    );
    check(&job("[limits]\ntime = 5"), "4:8: limits.time: 5 is not allowed: give a duration");
    check(&job("[merge]\nfan_in = 1"), "4:10: merge.fan_in: 1 is not allowed: give 2 to 1024");
    check(&job("merge = true"), "3:9: merge: true is not allowed: give a table, [merge]");
    check(&job("[params]\nmerge = 1\n[merge]\n"), "4:9: params.merge: this name is taken");
}

#[test]
fn each_wrong_cut_is_named_with_its_line_and_what_is_allowed() {
    check(&job("cut = 3"), "3:7: cut: 3 is not allowed: give tables, each under [[cut]]");
    check(&job("[[cut]]"), "3:1: cut[0]: it does not say along what to cut");
    check(
        &job("[[cut]]\nrnage = \"p\""),
        "3:1: cut[0]: it does not say along what to cut: did you mean \"range\"?",
    );
    check(
        &job("[[cut]]\nrange = \"p\"\nfiles = \"*\""),
        "3:1: cut[0]: it says more than one way to cut",
    );
    check(
        &job("[[cut]]\nrange = \"p\"\nend = 5"),
        "3:1: cut[0].first: it is missing: give the first integer",
    );
    check(
        &job("[[cut]]\nrange = \"p\"\nfirst = 0\nend = 5\nstep = 2"),
        "7:1: cut[0].step: there is no such field",
    );
    check(&job("[[cut]]\nrange = \"p\"\nfirst = 5\nend = 5"), "3:1: cut[0]: it has nothing in it");
    check(
        &job("[[cut]]\nrange = \"p\"\nfirst = 0\nend = 5\nper_unit = 0"),
        "7:12: cut[0].per_unit: 0 is not allowed",
    );
    check(
        &job("[[cut]]\nrange = \"p\"\nfirst = 0.5\nend = 5"),
        "5:9: cut[0].first: 0.5 is not allowed: give a whole number",
    );
    check(&job("[[cut]]\nrange = \"p\"\nfirst = 0\nend = \"1e18\""), "3:1: cut (units): ");
    check(&job("[[cut]]\nrange = \"\"\nfirst = 0\nend = 5"), "3:1: cut[0]: \"\" is empty or taken");
    check(
        &job("[params]\np = 1\n[[cut]]\nrange = \"p\"\nfirst = 0\nend = 5"),
        "5:1: cut[0]: \"p\" is empty or taken",
    );
    check(
        &job("[[cut]]\nsteps = \"dm\"\nstart = 0\nstep = inf\ncount = 3"),
        "6:8: cut[0].step: inf is not allowed: give a number",
    );
    check(
        &job("[[cut]]\nvalues = \"m\"\nof = 3"),
        "5:6: cut[0].of: 3 is not allowed: give an array",
    );
    check(&job("[[cut]]\nvalues = \"m\"\nof = []"), "3:1: cut[0]: it has nothing in it");
    check(
        &job("[[cut]]\nfiles = \"data/*.fil\""),
        "4:9: cut[0].files: no file is named \"data/*.fil\"",
    );
    check(&job("[[cut]]\nfiles = 3"), "4:9: cut[0].files: 3 is not allowed: give a path with *");
    check(
        &job("[[cut]]\nrecords = \"gone.dat\"\nrecord = 9\nper_unit = 1"),
        "4:11: cut[0].records: ",
    );
    check(
        &job("[[cut]]\nrecords = \"cells.dat\"\nrecord = 0\nper_unit = 1"),
        "5:10: cut[0].record (bytes): 0 is not allowed",
    );
    check(
        &job("[[cut]]\nrecords = \"cells.dat\"\nper_unit = 1"),
        "3:1: cut[0].record: it is missing: give the size",
    );
    check(
        &job("[[cut]]\nbytes = \"cells.dat\"\nper_unit = 9\nheader = \"2 kB\""),
        "6:10: cut[0].header: 2000 bytes is more than the whole file",
    );
    check(
        &job("[[cut]]\nlines = \"broken.jsonl\""),
        "4:9: cut[0].lines: broken.jsonl:2: it is no JSON object",
    );
    check(
        &job("[[cut]]\nlines = \"twice.jsonl\""),
        "4:9: cut[0].lines: twice.jsonl:1: \"x\" is there twice",
    );
    check(
        &job("[[cut]]\nlines = \"list.jsonl\"\n[params]\nx = 1"),
        "4:9: cut[0].lines: list.jsonl:1: \"x\" is set by params of the job too",
    );
    check(
        &job("[[cut]]\nrange = \"x\"\nfirst = 0\nend = 2\n[[cut]]\nlines = \"list.jsonl\""),
        "8:9: cut[1].lines: list.jsonl:1: \"x\" is set by an axis of the job too",
    );
    check(&job("exit_codes = 3"), "3:14: exit_codes: 3 is not allowed: give an array of whole");
    check(&job("exit_codes = []"), "3:14: exit_codes (codes): 0 is not allowed: give 1 to 64");
    check(&job("[[inputs]]\npath = \"gone\""), "4:8: inputs[0].path: ");
    check(
        &job("[[inputs]]\nname = \"x\""),
        "3:1: inputs[0].path: it is missing: give the path of a file",
    );
    check(
        &job("[[inputs]]\npath = \"cells.dat\"\nsize = 3"),
        "5:1: inputs[0].size: there is no such field",
    );
}

#[test]
fn wrong_settings_are_told_as_settings() {
    let check = |set: &str, expected: &str| {
        let told = read(&job(""), &[set]).expect_err(set).to_string();
        assert!(told.starts_with(expected), "{told}");
    };
    check("copies", "--set:1:1: give NAME=VALUE");
    check("copies=0", "--set:1:1: copies: 0 is not allowed: give 1 to 16");
    check("copys=2", "--set:1:1: copys: there is no such field: did you mean \"copies\"?");
    check("cut.3.end=2", "--set:1:1: cut.3.end: ");
    check("name.x=2", "--set:1:1: name.x: there is no such place in the job file");
    check("params.x=[1, 2", "--set:1:1: params.x: [1, 2 is no value in TOML");
    check("params.x=.5", "--set:1:1: params.x: .5 is no value in TOML");
    check("params.x=007", "--set:1:1: params.x: 007 is no value in TOML");
}

#[test]
fn a_mistake_shows_its_line() {
    let told = read(&job("copies = 0"), &[]).unwrap_err().to_string();
    assert_eq!(
        told,
        "job.toml:3:10: copies: 0 is not allowed: give 1 to 16\n    3 | copies = 0\n      |          ^"
    );
}

use super::*;
use crate::bounds::AXES_MAX;
use crate::cut::{self, Values};
use serde_json::json;

fn spec(cut: Vec<Axis>) -> JobSpec {
    JobSpec {
        version: VERSION,
        name: "test".into(),
        kernel: Digest([1; 32]),
        contract: CONTRACT,
        nan: Nan::Canonical,
        numbers: Numbers::Binary,
        params: [("mode".to_owned(), json!("fast").into())].into(),
        inputs: (0..3)
            .map(|i| Input { name: format!("f{i}"), digest: Digest([i; 32]), len: 1000 })
            .collect(),
        cut,
        merge: None,
        limits: Limits {
            memory_bytes: 1 << 20,
            fuel: 1 << 30,
            output_bytes: 100,
            log_bytes: 100,
            time_s: 60,
        },
        copies: 2,
        confidence: None,
        lease_s: 60,
        attempts_max: 5,
        priority: 0,
        exit_codes: success(),
        seed: Digest([9; 32]),
        trace_fuel: trace::SPACING,
    }
}

fn range(first: u64, end: u64, per_unit: u64) -> Axis {
    Axis::Range { name: "p".into(), first, end, per_unit }
}

fn unit(spec: &JobSpec, index: u64) -> Unit {
    spec.unit(UnitIndex(index), &Extra::default()).unwrap()
}

#[test]
fn the_canonical_form_of_a_specification_is_pinned() {
    let spec = JobSpec { contract: 1, ..spec(vec![range(2, 100, 10)]) };
    let text = String::from_utf8(spec.encode()).unwrap();
    assert_eq!(JobSpec::parse(text.as_bytes()).unwrap(), spec);
    assert_eq!(text, include_str!("golden_spec.json").trim());
    let first = unit(&spec, 0);
    assert_eq!(
        Digest(first.seed).to_string(),
        "632f4bab7aa59a4f25121719aec4d11cebb84a7e8e7faabe90ee86670c5860dc"
    );
}

#[test]
fn axes_multiply_and_the_last_varies_fastest() {
    let steps = Axis::Steps { name: "dm".into(), start: 10.0, step: 0.5, count: 5, per_unit: 2 };
    let spec = spec(vec![range(0, 25, 10), steps]);
    assert_eq!(spec.units(), 9);
    let check = |index, params| assert_eq!(unit(&spec, index).params, params);
    check(
        0,
        r#"{"dm":{"count":2,"start":10.0,"step":0.5},"mode":"fast","p":{"end":10,"first":0}}"#,
    );
    check(
        2,
        r#"{"dm":{"count":1,"start":12.0,"step":0.5},"mode":"fast","p":{"end":10,"first":0}}"#,
    );
    check(
        8,
        r#"{"dm":{"count":1,"start":12.0,"step":0.5},"mode":"fast","p":{"end":25,"first":20}}"#,
    );
    assert!(spec.unit(UnitIndex(9), &Extra::default()).is_err());
}

#[test]
fn records_come_with_their_header_and_overlap() {
    let records =
        Axis::Records { input: 1, header_bytes: 100, record_bytes: 9, per_unit: 40, overlap: 2 };
    let spec = spec(vec![records]);
    assert_eq!(spec.units(), 3); // 900 bytes, 100 records
    let segments = |index| match &unit(&spec, index).inputs[1] {
        UnitInput::Segments(segments) => {
            segments.iter().map(|s| (s.offset, s.len)).collect::<Vec<_>>()
        }
        UnitInput::Inline(_) => unreachable!(),
    };
    assert_eq!(segments(0), [(0, 100), (100, 42 * 9)]);
    assert_eq!(segments(2), [(0, 100), (100 + 80 * 9, 20 * 9)]);
}

#[test]
fn a_unit_sees_one_file_of_an_axis_of_files() {
    let spec = spec(vec![Axis::Files { first: 1, count: 2 }]);
    assert_eq!(spec.units(), 2);
    let digests = |index| {
        let of = |input: &UnitInput| match input {
            UnitInput::Segments(segments) => segments[0].digest.0[0],
            UnitInput::Inline(_) => unreachable!(),
        };
        unit(&spec, index).inputs.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(digests(0), [0, 1]);
    assert_eq!(digests(1), [0, 2]);
}

#[test]
fn a_line_brings_its_own_parameters() {
    let spec =
        spec(vec![Axis::Lines { digest: Digest([8; 32]), len: 10, count: 4 }, range(0, 2, 1)]);
    assert_eq!(cut::line(&spec, UnitIndex(5)), Some(2));
    let extra = Extra { line: Some(r#"{"x": 1}"#.into()), inputs: vec![] };
    assert_eq!(
        spec.unit(UnitIndex(5), &extra).unwrap().params,
        r#"{"mode":"fast","p":{"end":2,"first":1},"x":1}"#
    );
    assert!(spec.unit(UnitIndex(5), &Extra::default()).is_err());
}

#[test]
fn numbers_reach_units_as_they_were_written_where_the_job_says_so() {
    let text = include_str!("golden_spec.json");
    let with = |more: &str| {
        let params = format!(r#"{more}"params":{{"big":18446744073709551616,"half":0.50}}"#);
        JobSpec::parse(text.replace(r#""params":{"mode":"fast"}"#, &params).as_bytes()).unwrap()
    };
    let binary = with("");
    assert_eq!(
        unit(&binary, 0).params,
        r#"{"big":1.8446744073709552e+19,"half":0.5,"p":{"end":12,"first":2}}"#
    );
    let written = with(r#""numbers":"written","#);
    assert_eq!(
        unit(&written, 0).params,
        r#"{"big":18446744073709551616,"half":0.50,"p":{"end":12,"first":2}}"#
    );
    assert_eq!(JobSpec::parse(&written.encode()).unwrap(), written);
    let twice = text.replace(
        r#""params":{"mode":"fast"}"#,
        r#""numbers":"written","params":{"a":{"b":1,"b":2}}"#,
    );
    let error = JobSpec::parse(twice.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "a: \"b\" is there twice: keep one of them");
}

#[test]
fn a_unit_sees_its_file_of_a_list() {
    let axis = Axis::Listed { digest: Digest([8; 32]), len: 1000, count: 10 };
    let spec = spec(vec![axis, range(0, 2, 1)]);
    assert_eq!((spec.units(), cut::line(&spec, UnitIndex(5))), (20, Some(2)));
    let file = Input { name: "c.dat".into(), digest: Digest([7; 32]), len: 12 };
    let line = serde_json::to_string(&file).unwrap();
    assert_eq!(cut::listed(&line).unwrap(), file);
    let extra = Extra { line: Some(line), inputs: vec![] };
    let inputs = spec.unit(UnitIndex(5), &extra).unwrap().inputs;
    let whole = UnitInput::Segments(vec![Segment { digest: file.digest, offset: 0, len: 12 }]);
    assert_eq!((inputs.len(), inputs.last()), (4, Some(&whole)));
    assert!(spec.unit(UnitIndex(5), &Extra::default()).is_err());
    let wrong = Extra { line: Some("{}".into()), inputs: vec![] };
    assert!(spec.unit(UnitIndex(5), &wrong).is_err());
    let text = String::from_utf8(spec.encode()).unwrap();
    assert!(text.contains(r#""cut":[{"listed":{"digest":"0808"#), "{text}");
}

#[test]
fn exit_codes_are_in_the_specification_only_where_they_are_said() {
    let mut spec = spec(vec![range(0, 2, 1)]);
    assert_eq!(unit(&spec, 0).exit_codes, [0]);
    spec.exit_codes = vec![0, 10, 20];
    let text = String::from_utf8(spec.encode()).unwrap();
    assert!(text.contains(r#""exit_codes":[0,10,20]"#));
    assert_eq!(unit(&JobSpec::parse(text.as_bytes()).unwrap(), 1).exit_codes, [0, 10, 20]);
}

#[test]
fn merges_form_a_tree_that_takes_every_output_once() {
    for units in 1..60 {
        let mut spec = spec(vec![range(0, units, 1)]);
        spec.merge = Some(Merge { kernel: None, fan_in: 3 });
        let total = spec.units();
        let mut merged = vec![0; usize::try_from(total).unwrap()];
        for index in 0..total {
            match spec.stage(UnitIndex(index)).unwrap() {
                Stage::Cut => assert!(index < units),
                Stage::Merge { first, count, .. } => {
                    for input in first.0..first.0 + u64::from(count) {
                        assert_eq!(spec.merged_by(UnitIndex(input)), Some(UnitIndex(index)));
                        merged[usize::try_from(input).unwrap()] += 1;
                    }
                }
            }
        }
        assert_eq!(spec.merged_by(UnitIndex(total - 1)), None);
        assert_eq!(spec.stage(UnitIndex(total)), None);
        let root = merged.pop();
        assert_eq!(root, Some(0));
        assert!(merged.iter().all(|times| *times == 1), "{units}: {merged:?}");
    }
}

#[test]
fn a_wrong_field_is_named() {
    let check = |change: fn(&mut JobSpec), expected: &str| {
        let mut spec = spec(vec![range(0, 10, 1)]);
        change(&mut spec);
        let error = JobSpec::parse(&spec.encode()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    };
    check(|s| s.copies = 0, "copies: 0 is not allowed: give 1 to 16");
    check(
        |s| (s.confidence, s.copies) = (Some(0.5), 1),
        "confidence: 0.5 is not allowed: give a chance from 1e-12 to 0.1, such as 1e-6",
    );
    check(|s| s.confidence = Some(1e-6), "copies: give copies or confidence, not both");
    check(|s| s.cut = vec![range(5, 5, 1)], "cut[0]: it has nothing in it");
    check(|s| s.cut = vec![range(0, 5, 0)], "cut[0].per_unit: 0 is not allowed");
    check(|s| s.cut = vec![range(0, u64::MAX, 1)], "cut (units)");
    check(|s| s.cut.push(range(0, 5, 1)), "cut[1].name: \"p\" is empty or taken");
    check(|s| s.cut = vec![Axis::Files { first: 2, count: 2 }], "cut[0]: there are 3 inputs");
    check(|s| s.merge = Some(Merge { kernel: None, fan_in: 1 }), "merge.fan_in");
    check(|s| s.name = "a\nb".into(), "name: control");
    check(|s| s.exit_codes = vec![], "exit_codes (count): 0 is not allowed: give 1 to 64");
    let list = |count| Axis::Listed { digest: Digest([8; 32]), len: 1, count };
    let too_many = spec(vec![list(crate::bounds::LISTED_MAX + 1)]);
    assert!(too_many.check().unwrap_err().to_string().starts_with("cut[0]: 1048577 files"));
    let both = spec(vec![list(3), Axis::Lines { digest: Digest([9; 32]), len: 1, count: 1 }]);
    assert!(both.check().unwrap_err().to_string().starts_with("cut: at most one axis of lines"));
    assert!(JobSpec::parse(br#"{"version":1,"colour":2}"#).is_err());
}

#[test]
fn names_are_short_and_plain() {
    let mut spec = spec(vec![range(0, 10, 1)]);
    assert!(spec.check_new().is_ok());
    for (name, allowed) in [
        ("a".repeat(256), "256 bytes are too many: give at most 255"),
        ("a\u{1b}[31m".to_owned(), "control characters are not allowed"),
    ] {
        let mut spec = spec.clone();
        spec.inputs[1].name = name;
        let error = spec.check_new().unwrap_err().to_string();
        assert_eq!(error, format!("inputs[1].name: {allowed}"));
        // Jobs of older releases are read all the same.
        assert!(spec.check().is_ok());
    }
    let Axis::Range { name, .. } = &mut spec.cut[0] else { panic!("a range") };
    *name = "p".repeat(129);
    let error = spec.check_new().unwrap_err().to_string();
    assert_eq!(error, "cut[0].name: 129 bytes are too many: give at most 128");
}

#[test]
fn axes_are_few_and_their_names_are_looked_up_at_once() {
    let many = |count: usize| {
        let axis = |n| Axis::Range { name: format!("p{n}"), first: 0, end: 1, per_unit: 1 };
        spec((0..count).map(axis).collect())
    };
    assert!(many(AXES_MAX).check_new().is_ok());
    let error = many(AXES_MAX + 1).check_new().unwrap_err().to_string();
    assert_eq!(error, "cut (axes): 65 is not allowed: give 0 to 64");
    // Jobs of older releases are read all the same, and in no time: names are compared by a table.
    let mut spec = many(200_000);
    assert!(spec.check().is_ok());
    spec.cut.push(spec.cut[7].clone());
    assert!(spec.check().unwrap_err().to_string().contains("\"p7\" is empty or taken"));
}

fn named(name: &str, len: u64) -> Input {
    Input { name: name.into(), digest: Digest::of(name.as_bytes()), len }
}

fn about(spec: &JobSpec, unit: u64) -> serde_json::Value {
    serde_json::to_value(Values::of(spec, UnitIndex(unit))).unwrap()
}

#[test]
fn every_kind_of_axis_tells_its_value() {
    let name = |name: &str| name.to_owned();
    let mut spec = spec(vec![]);
    spec.inputs =
        vec![named("a.fil", 3_300), named("b.fil", 10), named("c.fil", 10), named("raw", 1_000)];
    spec.cut = vec![
        Axis::Range { name: name("p"), first: 2, end: 21, per_unit: 10 },
        Axis::Steps { name: name("dm"), start: 1.5, step: 0.5, count: 3, per_unit: 2 },
        Axis::Values {
            name: name("method"),
            values: vec![json!("fast").into(), json!([1, 2]).into()],
        },
        Axis::Records { input: 0, header_bytes: 300, record_bytes: 1_000, per_unit: 2, overlap: 1 },
        Axis::Files { first: 1, count: 2 },
        Axis::Records { input: 3, header_bytes: 10, record_bytes: 1, per_unit: 600, overlap: 0 },
        Axis::Lines { digest: Digest([7; 32]), len: 40, count: 4 },
    ];
    let units = spec.cut_units();
    assert_eq!(units, 2 * 2 * 2 * 2 * 2 * 2 * 4);
    assert_eq!(
        about(&spec, 0),
        json!({
            "axes": {
                "p": {"first": 2, "end": 12},
                "dm": {"start": 1.5, "step": 0.5, "count": 2},
                "method": "fast",
            },
            "line": 1,
            "files": [
                {"name": "a.fil", "records": {"first": 0, "end": 2}},
                {"name": "b.fil"},
                {"name": "raw", "bytes": {"first": 10, "end": 610}},
            ],
        })
    );
    assert_eq!(
        about(&spec, units - 1),
        json!({
            "axes": {
                "p": {"first": 12, "end": 21},
                "dm": {"start": 2.5, "step": 0.5, "count": 1},
                "method": [1, 2],
            },
            "line": 4,
            "files": [
                {"name": "a.fil", "records": {"first": 2, "end": 3}},
                {"name": "c.fil"},
                {"name": "raw", "bytes": {"first": 610, "end": 1_000}},
            ],
        })
    );
}

#[test]
fn a_merge_tells_what_it_merged_and_no_unit_nothing() {
    let mut spec = spec(vec![range(0, 7, 1)]);
    spec.merge = Some(Merge { kernel: None, fan_in: 3 });
    let merges = |unit| about(&spec, unit)["merges"].clone();
    assert_eq!(merges(7), json!({"level": 1, "first": 0, "end": 3}));
    assert_eq!(merges(9), json!({"level": 1, "first": 6, "end": 7}));
    assert_eq!(merges(10), json!({"level": 2, "first": 7, "end": 10}));
    assert_eq!(about(&spec, 11), json!({}));
}

#[test]
fn a_specification_names_its_contract_but_for_the_first() {
    let new = spec(vec![range(2, 100, 10)]);
    let old = JobSpec { contract: 1, ..new.clone() };
    let text = String::from_utf8(new.encode()).unwrap();
    assert_eq!(text.replace(r#""contract":2,"#, "").as_bytes(), old.encode());
    for spec in [&old, &new] {
        assert_eq!(&JobSpec::parse(&spec.encode()).unwrap(), spec);
        assert_eq!(unit(spec, 0).contract, spec.contract);
        assert_eq!(spec.outline().contract, spec.contract);
    }
    for unknown in [0, CONTRACT + 1] {
        let error = JobSpec { contract: unknown, ..old.clone() }.check().unwrap_err();
        assert_eq!(error.to_string(), format!("contract: {unknown} is not allowed: give 1 to 2"));
    }
    // What runs already goes on; what comes now has the newest.
    assert!(new.check_new().is_ok());
    let error = old.check_new().unwrap_err().to_string();
    assert!(error.starts_with("contract: 1 is not taken any more"), "{error}");
}

use super::*;
use crate::trust::estimate::Risk;
use proto::unit_log::Line;

fn check(record: &impl Serialize, expected: &str) {
    assert_eq!(data_encoding::HEXLOWER.encode(&encode(record)), expected);
}

#[test]
fn records_are_pinned() {
    let place = Place { worker: 3, sequence: 300, position: 7 };
    let spans = vec![
        Span { first: 1000, count: 256, end: End::Done(vec![place]), risk: Risk(60), fuel: 3 },
        Span { first: 5, count: 1, end: End::GivenUp("no".into()), risk: Risk(0), fuel: 0 },
    ];
    check(
        &LogRecord { entry: 5, settled_at_ms: 1_700_000_000_000, spans },
        "030580d095ffbc3102e8078002000103ac02073c03050102026e6f0000",
    );
    check(
        &IndexRecord { count: 256, log: 9, failed: vec![(3, 1)], given_up: vec![], alone: vec![] },
        "038002090103010000",
    );
    check(&OpenRecord { positions: vec![(0, 128)] }, "0301008001");
    check(
        &AttemptRecord { first: 1, count: 2, account: Some(7), reason: "x".into() },
        "03010201070178",
    );
    let lease = LeaseRecord {
        worker: 1,
        job: JobId(2),
        first: 3,
        count: 4,
        given_back: vec![(0, 1)],
        overdue: true,
    };
    check(&LogsRecord { next: 1, bytes: 300, left_out: 2 }, "0301ac0202");
    let line = Line { at: 300, len: 3, level: 1, text: "hi".into() };
    let said = UnitLogRecord {
        unit: 5,
        worker: WorkerKey([8; 32]),
        end: LogEnd::Returned,
        lines: vec![line],
    };
    check(&said, &format!("0305{}0201ac020301026869", "08".repeat(32)));
    let mut log = Frontier::default();
    log.append(Digest([7; 32]), |_, _, _| {});
    check(&lease, "030102030401000101");
    check(
        &Meta {
            project: ProjectKey([0; 32]),
            next_job: 1,
            next_lease: 2,
            settled: 3,
            credit: 4,
            log,
            head_at_ms: 9,
        },
        &format!("03{}010203040101{}09", "00".repeat(32), "07".repeat(32)),
    );
}

#[test]
fn keys_are_ordered_as_their_numbers() {
    let keys: Vec<_> = [0, 1, 255, 256, u64::MAX].map(|number| Table::Log.key2(7, number)).into();
    assert!(keys.is_sorted());
    assert_eq!(last_number(&keys[3]), Some(256));
    assert_eq!(first_number(&keys[3]), Some(7));
}

#[test]
fn damaged_records_and_other_versions_are_not_read() {
    let bytes = encode(&OpenRecord { positions: vec![(0, 128)] });
    assert!(decode::<OpenRecord>(&bytes).is_some());
    assert!(decode::<OpenRecord>(&bytes[..bytes.len() - 1]).is_none());
    assert!(decode::<OpenRecord>(&[&bytes[..], &[0]].concat()).is_none());
    assert!(decode::<OpenRecord>(&[&[1], &bytes[1..]].concat()).is_none());
    assert!(decode_batch(&encode_batch(b"payload", &[7; 64])).is_some());
    assert!(decode_batch(&[VERSION; 64]).is_none());
}

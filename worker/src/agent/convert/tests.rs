use super::*;
use proto::trace::{Claim, Point, SegmentStatement, Trace};
use proto::{ProjectKey, WorkerKey};

const POINT: Point = Point { fuel: 7, state: Digest([2; 32]) };

fn said(kind: Kind) -> Result<Option<Event>, String> {
    event(pb::CoordinatorMessage { kind: Some(kind) })
}

fn lease() -> pb::SegmentLease {
    pb::SegmentLease {
        segment_id: 1,
        job_id: 2,
        unit: 3,
        extra: Some(pb::UnitExtra { line: "x".into(), inputs: vec![] }),
        spacing: 4,
        from: Some((&POINT).into()),
        state: Some(pb::BlobRef { digest: vec![5; 32].into(), len: 6 }),
        expires_in_ms: 9_000,
    }
}

#[test]
fn what_the_coordinator_asks_for_is_read() {
    let unit = UnitId { job: JobId(2), unit: UnitIndex(3) };
    let asked = pb::Show { show_id: 1, job_id: 2, unit: 3, extra: None, fuel: Some(0) };
    let Ok(Some(Event::Errand(request))) = said(Kind::Show(asked)) else { panic!("a show") };
    let wish = Wish::Show { fuel: Some(0) };
    assert_eq!(request, Request { number: 1, unit, extra: Extra::default(), wish });

    let Ok(Some(Event::Errand(request))) = said(Kind::Segment(lease())) else {
        panic!("a segment")
    };
    let from = Some(Start { point: POINT, blob: Digest([5; 32]), len: 6 });
    let wish = Wish::Segment { spacing: 4, from, expires_in: Duration::from_secs(9) };
    let extra = Extra { line: Some("x".into()), inputs: vec![] };
    assert_eq!(request, Request { number: 1, unit, extra, wish });

    let advice = pb::Advice { text: "cool\u{1b}[31m it\n".into() };
    let Ok(Some(Event::Advice(text))) = said(Kind::Advice(advice)) else { panic!("advice") };
    assert_eq!(text, "cool[31m it");
}

#[test]
fn a_segment_that_makes_no_sense_is_refused() {
    let short = pb::BlobRef { digest: vec![5; 31].into(), len: 6 };
    let bad_point = pb::TracePoint { fuel: 7, state: vec![2; 33].into() };
    for bad in [
        pb::SegmentLease { state: None, ..lease() },
        pb::SegmentLease { from: None, ..lease() },
        pb::SegmentLease { state: Some(short), ..lease() },
        pb::SegmentLease { from: Some(bad_point), ..lease() },
    ] {
        assert!(said(Kind::Segment(bad.clone())).is_err(), "{bad:?}");
    }
    let whole = pb::SegmentLease { from: None, state: None, ..lease() };
    assert!(said(Kind::Segment(whole)).is_ok());
}

#[test]
fn answers_can_be_read_and_verified() {
    let key = SigningKey::from_bytes(&[3; 32]);
    let trace = Trace::new(16);
    let state = Some(StateFile { digest: Digest([1; 32]), len: 9 });
    let shown = Ok(Shown { trace: trace.clone(), state });
    let Some(worker_message::Kind::Shown(said)) =
        message(Message::Shown { show: 4, shown }, &key).kind
    else {
        panic!("a show")
    };
    assert_eq!((said.show_id, Trace::decode(&said.trace, 16)), (4, Ok(trace)));
    assert_eq!((said.state.map(|state| state.len), said.gone.as_str()), (Some(9), ""));

    let statement = SegmentStatement::new(
        ProjectKey([4; 32]),
        Digest([5; 32]),
        UnitIndex(6),
        16,
        None,
        Claim::Point(POINT),
    );
    let found = Ok(statement.clone());
    let sent = message(Message::Segment { segment: 5, found }, &key);
    let Some(worker_message::Kind::Segment(report)) = sent.kind else { panic!("a segment") };
    let read = SegmentStatement::decode(&report.statement).unwrap();
    assert_eq!((read, report.segment_id, report.failure.as_str()), (statement.clone(), 5, ""));
    statement.verify(&WorkerKey::from(&key), &report.signature).unwrap();

    for (message, gone) in [
        (Message::Shown { show: 4, shown: Err("evicted".into()) }, true),
        (Message::Segment { segment: 5, found: Err("no room".into()) }, false),
    ] {
        match self::message(message, &key).kind {
            Some(worker_message::Kind::Shown(shown)) if gone => assert_eq!(shown.gone, "evicted"),
            Some(worker_message::Kind::Segment(report)) if !gone => {
                assert_eq!((report.failure.as_str(), report.statement.len()), ("no room", 0));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn specifications_and_kernels_have_the_same_newest_contract() {
    assert_eq!(kernel::Contract::NEWEST.number(), proto::job::CONTRACT);
}

use super::*;

fn batch() -> Batch {
    let key = SigningKey::from_bytes(&[7; 32]);
    let jobs = vec![JobRef { id: JobId(3), spec: Digest::of(b"spec") }];
    let report = |unit, outcome| Report {
        job: 0,
        lease: LeaseId(9),
        unit: UnitIndex(unit),
        outcome,
        fuel: 1_000_000 + unit,
        trace_root: None,
    };
    let reports = vec![
        report(0, Outcome::Done(Output::Inline(b"M31".to_vec()))),
        report(1, Outcome::Done(Output::Blob { digest: Digest::of(b"large"), len: 5 })),
        report(2, Outcome::Failed(Failure::Exit(-4))),
    ];
    Batch::new(ProjectKey([1; 32]), WorkerKey::from(&key), 42, jobs, reports)
}

#[test]
fn canonical_bytes_are_pinned() {
    assert_eq!(
        data_encoding::HEXLOWER.encode(&batch().encode()),
        include_str!("golden_batch.hex").trim()
    );
    assert_eq!(
        data_encoding::HEXLOWER.encode(&batch().signed_bytes()),
        include_str!("golden_signed.hex").trim()
    );
}

#[test]
fn a_signed_batch_opens_and_a_touched_one_does_not() {
    let signed = batch().sign(&SigningKey::from_bytes(&[7; 32]));
    assert_eq!(Batch::open(&signed), Ok(batch()));
    for position in 0..signed.payload.len() {
        let mut payload = signed.payload.to_vec();
        payload[position] ^= 1;
        let touched =
            pb::SignedReports { payload: payload.into(), signature: signed.signature.clone() };
        // The lease and the job's number are the coordinator's own affair and not part of the statement.
        if let Ok(other) = Batch::open(&touched) {
            assert_eq!(other.leaves(), batch().leaves());
        }
    }
}

#[test]
fn one_report_is_proved_without_its_neighbours() {
    let batch = batch();
    let signature = key::sign(&SigningKey::from_bytes(&[7; 32]), &batch.signed_bytes());
    for index in 0..batch.reports.len() {
        let proof = Proof::of(&batch, index, &signature).unwrap();
        let mut statement = Statement::new(batch.jobs[0].spec, &batch.reports[index]);
        assert_eq!(proof.verify(&batch.project, &statement), Ok(()));
        statement.fuel += 1;
        assert!(proof.verify(&batch.project, &statement).is_err());
    }
}

#[test]
fn garbage_is_refused() {
    assert_eq!(Batch::decode(&[]), Err(Malformed::Bytes));
    assert_eq!(Batch::decode(&[9, 1, 2]), Err(Malformed::Version(9)));
    let mut trailing = batch().encode();
    trailing.push(0);
    assert_eq!(Batch::decode(&trailing), Err(Malformed::Bytes));
    let mut none = batch();
    none.reports.clear();
    assert_eq!(Batch::decode(&none.encode()), Err(Malformed::Count(0)));
    let mut elsewhere = batch();
    elsewhere.reports[1].job = 1;
    assert_eq!(Batch::decode(&elsewhere.encode()), Err(Malformed::Job(1)));
    let mut large = batch();
    large.reports[0].outcome = Outcome::Done(Output::Inline(vec![0; INLINE_OUTPUT_BYTES_MAX + 1]));
    assert_eq!(Batch::decode(&large.encode()), Err(Malformed::Output));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes: Vec<u8>) {
        let _ = Batch::decode(&bytes);
        let mut versioned = vec![VERSION];
        versioned.extend(bytes);
        let _ = Batch::decode(&versioned);
    }
}

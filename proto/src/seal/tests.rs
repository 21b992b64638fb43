use super::*;
use crate::report::{JobRef, Outcome, Output, Report};
use crate::{JobId, LeaseId, UnitIndex};
use proptest::prelude::*;

fn key(byte: u8) -> SigningKey {
    SigningKey::from_bytes(&[byte; 32])
}

fn project() -> SigningKey {
    key(1)
}

fn batch(worker: &SigningKey, sequence: u64, output: &[u8]) -> Batch {
    let jobs = vec![JobRef { id: JobId(3), spec: Digest([4; 32]) }];
    let report = Report {
        job: 0,
        lease: LeaseId(5),
        unit: UnitIndex(6),
        outcome: Outcome::Done(Output::Inline(output.to_vec())),
        fuel: 77,
        trace_root: None,
    };
    Batch::new(ProjectKey::from(&project()), WorkerKey::from(worker), sequence, jobs, vec![report])
}

fn sealer(worker: u8) -> Sealer {
    Sealer::new(ProjectKey::from(&project()), key(worker), &key(worker + 100)).unwrap()
}

fn sealed(worker: u8, sequence: u64, output: &[u8]) -> Vec<u8> {
    let signed = batch(&key(worker), sequence, output).sign(&key(worker));
    let ticket =
        Ticket { lease: LeaseId(5), job: JobId(3), first: UnitIndex(6), count: 1, stamp: [7; 32] };
    sealer(worker).seal(&signed, vec![ticket], vec![b"large".to_vec()], &[8; 32]).unwrap()
}

fn verified(bytes: &[u8]) -> Result<Sealed, Invalid> {
    Sealed::verify(bytes, &ProjectKey::from(&project()))
}

#[test]
fn canonical_bytes_are_pinned() {
    assert_eq!(
        data_encoding::HEXLOWER.encode(&sealed(2, 9, b"out")),
        include_str!("golden.hex").trim()
    );
}

#[test]
fn the_project_opens_what_was_sealed_to_it() {
    let opened = verified(&sealed(2, 9, b"out")).unwrap().open(&project()).unwrap();
    assert_eq!(opened.batch, batch(&key(2), 9, b"out"));
    assert_eq!(opened.account, AccountKey::from(&key(102)));
    assert_eq!((opened.tickets.len(), opened.outputs), (1, vec![b"large".to_vec()]));
}

#[test]
fn nobody_else_opens_it() {
    let sealed = verified(&sealed(2, 9, b"out")).unwrap();
    for other in [2, 3, 102] {
        // Of another project, for which the reporter's own key and a third one would do as well.
        assert_eq!(sealed.open(&key(other)), Err(Invalid::Closed));
    }
}

#[test]
fn equal_outcomes_of_two_workers_have_nothing_in_common() {
    let (one, two) = (verified(&sealed(2, 9, b"out")), verified(&sealed(3, 9, b"out")));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.commitment, two.commitment);
    let same = one.ciphertext.iter().zip(&two.ciphertext).filter(|(one, two)| one == two).count();
    assert!(same < one.ciphertext.len() / 16, "{same} bytes of {}", one.ciphertext.len());
}

#[test]
fn the_length_tells_little() {
    let lengths: std::collections::BTreeSet<usize> =
        (0..=256).map(|len| sealed(2, 9, &vec![1; len]).len()).collect();
    assert_eq!(lengths.len(), 1, "{lengths:?}");
    for len in [1, 511, 1024, 1025, 5_000, 70_000, 1 << 20] {
        let padded = padded(len);
        assert!(len <= padded && padded <= CONTENT_BYTES_MIN.max(len + len / 8), "{len}: {padded}");
    }
}

#[test]
fn a_batch_that_is_too_large_is_not_sealed() {
    let signed = batch(&key(2), 1, b"out").sign(&key(2));
    let large = vec![vec![0; SEALED_BYTES_MAX]];
    assert!(matches!(sealer(2).seal(&signed, vec![], large, &[8; 32]), Err(Invalid::TooLarge(_))));
    assert!(matches!(verified(&vec![0; SEALED_BYTES_MAX + 1]), Err(Invalid::TooLarge(_))));
}

/// What a copier can do with everything that it sees travel: take parts of it, put its own name on it, sign it.
#[derive(Clone, Debug)]
enum Trick {
    /// Its own name outside.
    Rename,
    /// Its own name outside, and a commitment of its own making.
    Recommit([u8; 32]),
    /// The other's box in an envelope of its own batch.
    Transplant,
    /// Some bits of the box turned over.
    Flip(usize, u8),
    /// The end of the box cut off.
    Cut(usize),
    /// Another sequence.
    Renumber(u64),
    /// The very bytes, some turned over.
    Touch(usize, u8),
}

fn trick() -> impl Strategy<Value = Trick> {
    prop_oneof![
        Just(Trick::Rename),
        any::<[u8; 32]>().prop_map(Trick::Recommit),
        Just(Trick::Transplant),
        (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Trick::Flip(at, bits)),
        (1_usize..1_200).prop_map(Trick::Cut),
        any::<u64>().prop_map(Trick::Renumber),
        (any::<usize>(), 1_u8..).prop_map(|(at, bits)| Trick::Touch(at, bits)),
    ]
}

proptest! {
    #[test]
    fn a_copier_that_sees_all_that_travels_gets_no_report_of_its_own(
        output in proptest::collection::vec(any::<u8>(), 0..256),
        trick in trick(),
    ) {
        let bytes = sealed(2, 9, &output);
        let seen = verified(&bytes).unwrap();
        let copier = key(3);
        let own = WorkerKey::from(&copier);
        let forged = match trick {
            Trick::Rename => Sealed { worker: own, ..seen }.sign(&copier),
            Trick::Recommit(salt) => {
                let commitment = commitment(&salt, &own, &batch(&copier, 9, b"?").signed_bytes());
                Sealed { worker: own, commitment, ..seen }.sign(&copier)
            }
            Trick::Transplant => {
                let mine = verified(&sealed(3, 9, b"guess")).unwrap();
                Sealed { ciphertext: seen.ciphertext, ..mine }.sign(&copier)
            }
            Trick::Flip(at, bits) => {
                let mut ciphertext = seen.ciphertext.clone();
                let at = at % ciphertext.len();
                ciphertext[at] ^= bits;
                Sealed { worker: own, ciphertext, ..seen }.sign(&copier)
            }
            Trick::Cut(bytes) => {
                let left = seen.ciphertext.len().saturating_sub(bytes);
                let ciphertext = seen.ciphertext[..left].to_vec();
                Sealed { worker: own, ciphertext, ..seen }.sign(&copier)
            }
            Trick::Renumber(sequence) => Sealed { worker: own, sequence, ..seen }.sign(&copier),
            Trick::Touch(at, bits) => {
                let mut touched = bytes;
                let at = at % touched.len();
                touched[at] ^= bits;
                touched
            }
        };
        let opened = verified(&forged).and_then(|sealed| sealed.open(&project()));
        prop_assert!(opened.is_err(), "{opened:?}");
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(verified(&bytes).is_err());
        let garbage = Sealed {
            version: VERSION,
            project: ProjectKey::from(&project()),
            worker: WorkerKey::from(&key(3)),
            sequence: 1,
            commitment: Digest([0; 32]),
            ciphertext: bytes,
        };
        let opened = verified(&garbage.sign(&key(3))).unwrap().open(&project());
        prop_assert!(opened.is_err());
    }
}

//! What must hold for any bytes and any module: run by the tests over seeds, and by the fuzzer.

use crate::engines::{Call, Kind, Left, run};
use crate::smith::{self, Diet};
use kernel::{Contract, NanMode, Prepared, Refusal, inspect, prepare};

/// A budget that no module made here spends.
const AMPLE: i64 = 1 << 40;

/// What became of a generated module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fate {
    /// The bytes did not make a module.
    None,
    /// Not admissible: a segment beyond memory or table, or an operator that wasm-smith cannot do without.
    Refused,
    /// The stack overflowed somewhere.
    Overflowed,
    /// Compared on all engines but wasmi, which disagrees about the unprepared module already.
    WithoutWasmi,
    /// Compared on all engines but Winch, which cannot compile it.
    WithoutWinch,
    /// Compared on all engines.
    Compared,
}

/// Any bytes: no panic, the same verdict from both functions, and a valid module out.
pub(crate) fn any_bytes(bytes: &[u8]) {
    let verdict = inspect(bytes);
    let contracts = [Contract::One, Contract::Two];
    for (nan, contract) in [NanMode::Canonical, NanMode::Unchecked]
        .iter()
        .flat_map(|nan| contracts.map(|by| (*nan, by)))
    {
        match prepare(bytes, nan, contract) {
            Ok(prepared) => {
                assert!(verdict.is_ok());
                validate(&prepared);
                assert_eq!(
                    prepare(bytes, nan, contract).unwrap(),
                    prepared,
                    "not the same bytes twice"
                );
            }
            Err(Refusal::Limit { what: "bytes of the prepared module", .. }) => {}
            Err(refusal) => {
                assert_eq!(verdict.as_ref().err(), Some(&refusal));
                assert!(refusal.to_string().len() < 4_000, "{refusal}");
            }
        }
    }
}

fn validate(prepared: &Prepared) {
    let mut validator = wasmparser::Validator::new_with_features(kernel::admissible_features());
    validator.validate_all(&prepared.wasm).unwrap();
    let again = prepare(&prepared.wasm, NanMode::Canonical, Contract::NEWEST);
    assert!(again.is_err(), "a prepared module has reserved exports");
}

/// A generated module behaves the same, prepared or not, on every engine.
pub(crate) fn generated(diet: Diet, contract: Contract, bytes: &[u8]) -> Fate {
    let Some(wasm) = smith::module(diet, bytes) else { return Fate::None };
    any_bytes(&wasm);
    let unchecked = match prepare(&wasm, NanMode::Unchecked, contract) {
        Ok(prepared) => prepared,
        Err(refusal @ (Refusal::Segment { .. } | Refusal::Forbidden { .. })) => {
            println!("refused: {refusal}");
            return Fate::Refused;
        }
        Err(refusal) => panic!("{refusal}"),
    };
    let canonical = prepare(&wasm, NanMode::Canonical, contract).unwrap();
    assert_eq!(unchecked.layout, canonical.layout);
    let run = |kind, prepared: &Prepared| {
        run(kind, &prepared.wasm, Some(&prepared.layout), AMPLE, smith::CALLS)
    };

    // Preparing changes nothing that a kernel can see. Where the engine settles the bits of NaNs, that can
    // be compared bit by bit.
    let plain =
        crate::engines::run(Kind::CanonicalCranelift, &wasm, None, 0, smith::CALLS).unwrap();
    let metered = run(Kind::CanonicalCranelift, &unchecked).unwrap();
    if plain.overflowed() || metered.overflowed() {
        return Fate::Overflowed;
    }
    assert_eq!(
        (&plain.calls, plain.memory, plain.pages),
        (&metered.calls, metered.memory, metered.pages),
        "the metering changed the module"
    );

    // With the pass, whatever the engine does to NaNs makes no difference.
    let reference = run(Kind::CanonicalCranelift, &canonical).unwrap();
    assert_eq!(reference.fuel, metered.fuel, "the NaN pass changed the fuel");
    let mut fate = Fate::Compared;
    let interpret = |wasm, layout| crate::interpreter::run(wasm, layout, AMPLE, smith::CALLS);
    let interpreted = interpret(&canonical.wasm, Some(&canonical.layout));
    if interpreted.overflowed() || reference.overflowed() {
        return Fate::Overflowed;
    }
    if interpreted != reference {
        assert_ne!(interpret(&wasm, None).calls, plain.calls, "{interpreted:?}, not {reference:?}");
        fate = Fate::WithoutWasmi;
    }
    for kind in [Kind::Cranelift, Kind::Pulley, Kind::Winch] {
        match run(kind, &canonical) {
            None => fate = fate.min(Fate::WithoutWinch),
            Some(left) if left.overflowed() => return Fate::Overflowed,
            Some(left) => assert_eq!(left, reference, "{kind:?}"),
        }
    }
    fate
}

/// A prepared module stops at every budget below what it needs, on every engine alike; at most
/// `budgets_max` budgets are tried. False if it does not end well: then nobody can tell what it needs,
/// and only the engines are compared.
pub(crate) fn exact_stop(prepared: &Prepared, calls: &[&str], budgets_max: i64) -> bool {
    let run = |kind, budget| run(kind, &prepared.wasm, Some(&prepared.layout), budget, calls);
    let ample = run(Kind::Cranelift, AMPLE).unwrap();
    if ample.overflowed() {
        return false;
    }
    let total = AMPLE - ample.fuel.unwrap();
    let ends = ample.calls.iter().all(|call| matches!(call, Call::Returned(_)));
    if ends {
        let enough = run(Kind::Cranelift, total).unwrap();
        let expected = (&ample.calls, ample.memory, Some(0));
        assert_eq!((&enough.calls, enough.memory, enough.fuel), expected);
    }
    let stride = usize::try_from(total / budgets_max).unwrap() + 1;
    let mut charged_before = 0;
    for budget in (0..total).step_by(stride).chain([total - 1]) {
        let stopped = run(Kind::Cranelift, budget).unwrap();
        if ends {
            check_stop(&stopped, budget, total, &mut charged_before);
        }
        for kind in [Kind::Pulley, Kind::Winch] {
            if let Some(left) = run(kind, budget) {
                assert_eq!(left, stopped, "{kind:?} at budget {budget}");
            }
        }
    }
    ends
}

fn check_stop(stopped: &Left, budget: i64, total: i64, charged_before: &mut i64) {
    assert_eq!(stopped.calls.last(), Some(&Call::Spent), "budget {budget} of {total}");
    let charged = budget - stopped.fuel.unwrap();
    assert!(budget < charged && charged <= total, "budget {budget}: charged {charged} of {total}");
    assert!(*charged_before <= charged, "a larger budget must not charge less");
    *charged_before = charged;
}

//! Random modules behave the same, prepared or not, on every engine.
#![no_main]

#[path = "../../tests/suite/checks.rs"]
#[allow(dead_code, reason = "each target runs one check")]
mod checks;
#[path = "../../tests/suite/engines.rs"]
mod engines;
#[path = "../../tests/suite/interpreter.rs"]
mod interpreter;
#[path = "../../tests/suite/smith.rs"]
#[allow(dead_code, reason = "each target has one diet")]
mod smith;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for contract in [kernel::Contract::One, kernel::Contract::Two] {
        checks::generated(smith::Diet::Mixed, contract, bytes);
    }
});

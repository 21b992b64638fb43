//! What several tests need.

mod malformed;

use std::io::Write as _;
use std::path::Path;

/// The reference work unit, which is not ours to publish: it lies beside the repository. None, said loudly, where it
/// does not.
pub(crate) fn reference_unit() -> Option<Vec<u8>> {
    reference("reference_work_unit.sah")
}

/// The result that every client had to reproduce.
pub(crate) fn reference_result() -> Option<String> {
    Some(String::from_utf8(reference("reference_result_unit.sah")?).unwrap())
}

fn reference(name: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/seti").join(name);
    std::fs::read(&path)
        .inspect_err(|error| {
            // Past the harness, which shows only what failing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "\n*** NOT TESTED on {name}: {}: {error} ***\n",
                path.display()
            );
        })
        .ok()
}

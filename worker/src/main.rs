//! The volunteer's program.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // Units and compilations run in children of the same program.
    if std::env::args().nth(1).as_deref() == Some(sandbox::CHILD_VERB) {
        return sandbox::child_main();
    }
    worker::command::main()
}

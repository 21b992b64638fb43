//! `starling-coordinator`: see [`coordinator::command`].
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // Kernels are compiled in children of the same program.
    if std::env::args_os().nth(1).is_some_and(|verb| verb == sandbox::CHILD_VERB) {
        return sandbox::child_main();
    }
    coordinator::command::main()
}

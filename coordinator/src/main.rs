//! `starling-coordinator`: see [`coordinator::command`].
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    coordinator::command::main()
}

//! The smallest program that can hold a sandbox: the tests' children.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sandbox::child_main()
}

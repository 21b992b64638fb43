//! What native code can do that has taken over a child's place: this program, started again, raises the walls as a child
//! does and then tries to get out, each time in a fresh process. Every attempt has to be refused. The same attempts without
//! walls show that they are attempts.
//!
//! `cargo test -p sandbox --test escape` says of each how it ended, behind all walls and behind some.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(escape::inside::VERB) => escape::inside::main(),
        _ => escape::outside::main(),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}

// Told to be tests as a whole, so that their helpers count as such too.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod escape {
    mod attempts;
    pub(super) mod inside;
    pub(super) mod outside;
}

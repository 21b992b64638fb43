//! The peer network between endpoints of one process, over loopback: who is let in, who finds whom, what a hostile peer
//! gets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a test's result"
)]

mod peers {
    mod finding;
    mod hostile;
    mod lab;
}

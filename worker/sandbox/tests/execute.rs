//! Units in real child processes: what they come to, what hostile ones cannot do, and what a kill cannot change.

// Told to be tests as a whole, so that their helpers count as such too.
#[cfg(test)]
mod execute {
    mod hostile;
    mod interrupted;
    mod kernels;
    mod lab;
    mod speed;
    mod traces;
    mod units;
    mod walls;
    mod wasi;
}

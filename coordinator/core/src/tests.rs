//! Tests of the core, transition by transition, and of whole runs with everything that can go wrong.

mod chaos;
mod env;
mod kept;
mod leases;
mod ledger;
mod logs;
mod merges;
mod pool;
mod replay;
mod reports;
mod strangers;
mod trials;

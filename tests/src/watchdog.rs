//! Ends a run of tests in which one hangs, and says which: a run that its surroundings end tells nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How long a test may hold a program: several times as long as the longest takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How often the watchdog looks.
const TICK: Duration = Duration::from_secs(5);

type Held = BTreeMap<u64, (String, Instant)>;

static HELD: Mutex<Held> = Mutex::new(BTreeMap::new());

fn held<T>(change: impl FnOnce(&mut Held) -> T) -> T {
    change(&mut HELD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A program that a test holds, from its start until this is dropped.
#[derive(Debug)]
pub(crate) struct Watched(Option<u64>);

impl Watched {
    /// By the test whose thread this is; by nobody in a bench, which may take as long as it likes.
    pub(crate) fn by_this_test() -> Self {
        static WATCHDOG: Once = Once::new();
        let current = std::thread::current();
        let Some(name) = current.name().filter(|name| *name != "main") else { return Self(None) };
        WATCHDOG.call_once(|| drop(std::thread::spawn(watch)));
        Self(Some(held(|held| {
            let number = held.last_key_value().map_or(0, |(last, _)| last + 1);
            held.insert(number, (name.to_owned(), Instant::now()));
            number
        })))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            held(|held| held.remove(&number));
        }
    }
}

#[expect(clippy::print_stderr, reason = "for the reader of a failed run")]
fn watch() {
    loop {
        std::thread::sleep(TICK);
        let long = held(|held| held.values().find(|(_, since)| LIMIT < since.elapsed()).cloned());
        if let Some((name, since)) = long {
            eprintln!(
                "{name} has held a program for {} s: this run is ended",
                since.elapsed().as_secs()
            );
            std::process::exit(1);
        }
    }
}

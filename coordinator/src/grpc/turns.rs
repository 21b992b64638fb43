//! Turns at what takes memory or a core: one of each account, so that nobody's many hold up others' one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whose turn it is, of each account that has one or waits for one.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    accounts: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Turns {
    /// Waits for the account's own turn, which ends when it is dropped; `None` when more than `waiting_max` of it wait already.
    pub(crate) async fn own(
        &self,
        account: &str,
        waiting_max: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let own = {
            let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
            accounts.retain(|_, own| 1 < Arc::strong_count(own));
            let one = || Arc::new(Semaphore::new(1));
            Arc::clone(accounts.entry(account.to_owned()).or_insert_with(one))
        };
        // The table's, this one, and one of each that waits.
        if waiting_max + 2 < Arc::strong_count(&own) {
            return None;
        }
        // It is never closed.
        own.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn each_account_has_one_turn_and_few_wait_behind_it() {
        let turns = Arc::new(Turns::default());
        let first = turns.own("ada", 1).await.unwrap();
        let mut behind = tokio::task::JoinSet::new();
        let same = Arc::clone(&turns);
        behind.spawn(async move { same.own("ada", 1).await.is_some() });
        while Arc::strong_count(&turns.accounts.lock().unwrap()["ada"]) < 3 {
            tokio::task::yield_now().await;
        }
        assert!(turns.own("ada", 1).await.is_none(), "one waits already");
        assert!(turns.own("bob", 1).await.is_some(), "others do not wait behind it");
        drop(first);
        assert!(
            timeout(Duration::from_secs(60), behind.join_next()).await.unwrap().unwrap().unwrap()
        );
    }
}

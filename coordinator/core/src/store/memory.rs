//! Records in memory, for tests and simulation.

use crate::store::{Changes, Error, Key, Records, Store};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// A store that ends with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: RwLock<BTreeMap<Key, Vec<u8>>>,
}

impl MemoryStore {
    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Vec<u8>>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.read().get(key).cloned())
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, max: usize) -> Result<Records, Error> {
        let from = match after {
            Some(after) if prefix <= after => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let records = self.read();
        let following = records.range::<[u8], _>((from, Bound::Unbounded));
        let page = following.take_while(|(key, _)| key.starts_with(prefix)).take(max);
        Ok(page.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, prefix: &[u8], at: &[u8]) -> Result<Option<(Key, Vec<u8>)>, Error> {
        let records = self.read();
        let found = records.range::<[u8], _>((Bound::Unbounded, Bound::Included(at))).next_back();
        Ok(found
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone())))
    }

    fn commit(&self, changes: Changes) -> Result<(), Error> {
        let mut records = self.records.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in changes {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        Ok(())
    }

    fn bytes(&self) -> Result<u64, Error> {
        Ok(self.read().iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn free_bytes(&self) -> Option<u64> {
        None
    }
}

//! Whether the node has the memory for one more machine.
//!
//! The rule is pure and its own: what the kernel says is available, less what
//! running machines were promised and have not touched yet, less a reserve for
//! the appliance itself. A guest that touches all of its memory an hour later
//! must find it there; ballooning and overcommitment are decisions for people,
//! not accidents.
//!
//! What is kept, and what a machine takes beside its own memory, is said once for
//! this rule and for the sizing tool (`ashlar_api::sizing`).
//!
//! The [`Ledger`] holds the promises. A start reserves before it begins, so two
//! machines that start at once can not both count the same memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ashlar_api::node::memory_reserve as reserve;
pub use ashlar_api::vm::overhead;
use ashlar_api::{Bytes, VmId};
use tokio::sync::watch;

use super::life::Obstacle;
use crate::sys::proc::Memory;

/// Memory that a machine may take, and what it has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// What it may take, QEMU's own included.
    pub most: Bytes,
    /// What it has taken.
    pub held: Bytes,
}

impl Promise {
    fn open(&self) -> u64 {
        self.most.0.saturating_sub(self.held.0)
    }
}

/// Memory that can be promised: `available` of the kernel less what is promised already.
pub fn free(total: Bytes, available: Bytes, promises: &[Promise]) -> Bytes {
    let promised = promises.iter().map(Promise::open).sum();
    let taken = reserve(total).0.saturating_add(promised);
    Bytes(available.0.saturating_sub(taken))
}

/// The rule: `need` must be free.
pub fn admit(
    need: Bytes,
    total: Bytes,
    available: Bytes,
    promises: &[Promise],
) -> Result<(), Obstacle> {
    let free = free(total, available, promises);
    if need <= free {
        return Ok(());
    }
    let most = Bytes(total.0.saturating_sub(reserve(total).0));
    let remedy = if need > most {
        "Give it less memory: the node does not have as much"
    } else {
        "Stop another machine or give this one less memory; it starts by itself once there is enough"
    };
    Err(Obstacle {
        passing: false,
        message: format!("It needs {need} of memory; {free} are free"),
        remedy: remedy.to_owned(),
    })
}

/// Who was promised how much.
#[derive(Clone, Debug)]
pub struct Ledger {
    promises: Arc<Mutex<HashMap<VmId, Promise>>>,
    freed: Arc<watch::Sender<u64>>,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            promises: Arc::default(),
            freed: Arc::new(watch::channel(0).0),
        }
    }
}

impl Ledger {
    /// Promises `need` to a machine, or says what is missing.
    pub fn reserve(&self, id: VmId, need: Bytes) -> Result<(), Obstacle> {
        let memory = Memory::read();
        let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        let others: Vec<Promise> = promises
            .iter()
            .filter(|(other, _)| **other != id)
            .map(|(_, promise)| *promise)
            .collect();
        let (total, available) = (Bytes(memory.total), Bytes(memory.available));
        admit(need, total, available, &others)?;
        promises.insert(
            id,
            Promise {
                most: need,
                held: Bytes(0),
            },
        );
        Ok(())
    }

    /// Notes a machine that runs already: it was admitted before.
    pub fn note(&self, id: VmId, promise: Promise) {
        self.promises
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, promise);
    }

    /// Notes how much a machine has taken.
    pub fn holds(&self, id: VmId, held: Bytes) {
        let mut promises = self.promises.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(promise) = promises.get_mut(&id) {
            promise.held = held;
        }
    }

    /// Takes a promise back; those who wait for memory are told.
    pub fn release(&self, id: VmId) {
        let gone = self
            .promises
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        if gone.is_some() {
            self.freed.send_modify(|count| *count += 1);
        }
    }

    /// Changes whenever memory was given back.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_what_is_needed_and_what_is_free() {
        let promises = [Promise {
            most: Bytes::gib(2),
            held: Bytes::mib(512),
        }];
        let refused = admit(Bytes::gib(4), Bytes::gib(8), Bytes::gib(5), &promises).unwrap_err();
        assert_eq!(
            refused.message,
            "It needs 4 GiB of memory; 3.38 GiB are free"
        );
        assert!(refused.remedy.starts_with("Stop another machine"));
        let never = admit(Bytes::gib(8), Bytes::gib(8), Bytes::gib(8), &[]).unwrap_err();
        assert!(never.remedy.starts_with("Give it less memory"));
        assert_eq!(
            admit(Bytes::gib(3), Bytes::gib(8), Bytes::gib(5), &promises),
            Ok(())
        );
    }

    #[test]
    fn a_promise_counts_at_once_and_until_it_is_taken_back() {
        let ledger = Ledger::default();
        let [one, two] = [1, 2].map(|n| VmId(uuid::Uuid::from_u128(n)));
        let available = Memory::read().available;
        let need = Bytes(available / 3 * 2);
        let mut freed = ledger.freed();
        ledger.reserve(one, need).unwrap();
        assert!(ledger.reserve(two, need).is_err());
        assert!(!freed.has_changed().unwrap());
        ledger.release(one);
        assert!(freed.has_changed().unwrap());
        freed.borrow_and_update();
        ledger.reserve(two, need).unwrap();
        ledger.release(one);
        assert!(!freed.has_changed().unwrap());
    }

    proptest! {
        /// Whoever is admitted can be paid out, together with all before.
        #[test]
        fn what_is_promised_is_there(needs in prop::collection::vec(1u64..1 << 34, 0..20), total in 1u64 << 29..1 << 36) {
            let total = Bytes(total);
            let mut promises = Vec::new();
            for need in needs {
                if admit(Bytes(need), total, total, &promises).is_ok() {
                    promises.push(Promise { most: Bytes(need), held: Bytes(0) });
                }
            }
            let sum: u64 = promises.iter().map(|promise| promise.most.0).sum();
            prop_assert!(sum + reserve(total).0 <= total.0 || promises.is_empty());
        }
    }
}

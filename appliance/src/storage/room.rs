//! How much room there is for images: the least of what the library's file
//! system and the pool below it have.
//!
//! A pool that is full stops every machine in it. So images never take the last
//! of it: a share stays for what guests write.

use std::path::PathBuf;

use ashlar_api::PoolId;
use tokio::sync::watch;

use super::Status;
use crate::sys::fs;

/// One in so many bytes of a pool is kept from images.
const KEPT: u64 = 50;

/// Looks at the room for images.
#[derive(Clone, Debug)]
pub struct Room {
    status: watch::Receiver<Status>,
    library: PathBuf,
    pool: Option<PoolId>,
}

impl Room {
    /// For the library here, which is in this pool.
    pub fn new(status: watch::Receiver<Status>, library: PathBuf, pool: Option<PoolId>) -> Room {
        Room {
            status,
            library,
            pool,
        }
    }

    /// Whether so many more bytes can be taken. The pool's numbers are those of the last pass.
    pub fn is_enough(&self, bytes: u64) -> bool {
        let Ok(space) = fs::space(&self.library) else {
            return false;
        };
        let status = self.status.borrow();
        let pool = self.pool.and_then(|pool| status.pools.get(&pool));
        let in_pool = pool.is_none_or(|pool| {
            let free = pool.size.0.saturating_sub(pool.used.0);
            free.saturating_sub(pool.size.0 / KEPT) >= bytes
        });
        in_pool && space.available >= bytes
    }
}

//! One process at a time: a lock on a file beside the databases, which the
//! kernel gives back when its holder ends, however it ends.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::StateError;

/// How long a predecessor may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(50);

/// Held while the databases are open.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its Drop")] Flock<File>);

impl Lock {
    /// Takes the lock of a folder, waiting for a predecessor that is ending.
    pub async fn take(directory: &Path) -> Result<Lock, StateError> {
        let path = directory.join("lock");
        let failed = |source| StateError::Directory {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        let since = Instant::now();
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Lock(lock)),
                Err((back, nix::errno::Errno::EWOULDBLOCK)) if since.elapsed() < PATIENCE => {
                    file = back;
                    tokio::time::sleep(STEP).await;
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                    return Err(StateError::Locked {
                        path: directory.to_owned(),
                    });
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
        }
    }
}

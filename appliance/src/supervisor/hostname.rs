//! The machine is called what its node is called.
//!
//! The file on the state partition is written first: it is what init goes by at the next start, before anybody can read
//! the state.

use std::path::Path;
use std::time::Duration;

use ashlar_api::NodeId;

use crate::reconcile::chain;
use crate::state::Store;
use crate::state::schema::NodeRecord;
use crate::sys::fs::{self, FsError};
use crate::sys::{hostname, sysfs};

/// After a failure it is tried again so much later: the drive may be full.
const AGAIN: Duration = Duration::from_secs(60);

/// Follows the name of the node for as long as the state lives.
pub async fn follow(store: Store, node: NodeId) {
    let mut revision = store.watch();
    let mut given = None;
    loop {
        revision.mark_unchanged();
        let record = store.get::<NodeRecord>(node).ok().flatten();
        let wanted = record.map(|node| node.spec.name.to_string());
        let to_give = wanted.filter(|name| given.as_ref() != Some(name));
        let mut failed = false;
        if let Some(name) = to_give {
            failed = true;
            let copy = name.clone();
            let give = move || give(&copy, Path::new(hostname::KEPT), Path::new(hostname::SHOWN));
            match tokio::task::spawn_blocking(give).await {
                Ok(Ok(())) => (given, failed) = (Some(name), false),
                Ok(Err(error)) => tracing::warn!("call this machine {name}: {}", chain(&error)),
                Err(error) => tracing::warn!("call this machine {name}: {error}"),
            }
        }
        // Both arms are cancel-safe: a watch keeps its newest value, a sleep that is dropped is of no use any more.
        tokio::select! {
            changed = revision.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(AGAIN), if failed => {}
        }
    }
}

fn give(name: &str, kept: &Path, shown: &Path) -> Result<(), FsError> {
    if sysfs::text(kept).as_deref() != Some(name) {
        fs::write_atomic(kept, format!("{name}\n").as_bytes(), 0o444)?;
    }
    hostname::set(name, shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_shown_and_the_kernels() {
        // In a namespace of this thread only: the machine that runs the test keeps its name.
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUTS).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let (kept, shown) = (
                directory.path().join("kept"),
                directory.path().join("shown"),
            );
            for name in ["ashlar-0f0e0d", "rack1-a"] {
                give(name, &kept, &shown).unwrap();
                assert_eq!(sysfs::text(&kept).as_deref(), Some(name));
                assert_eq!(
                    std::fs::read_to_string(&shown).unwrap(),
                    format!("{name}\n")
                );
                assert_eq!(nix::unistd::gethostname().unwrap(), name);
            }
            let lost = directory.path().join("missing/kept");
            assert!(matches!(
                give("x", &lost, &shown),
                Err(FsError::Write { .. })
            ));
            assert_eq!(nix::unistd::gethostname().unwrap(), "rack1-a");
        })
        .join()
        .unwrap();
    }
}

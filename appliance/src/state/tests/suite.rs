//! openraft's own suite on our log and state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::state::lock::Lock;
use crate::state::news::News;
use crate::state::raft::Types;
use crate::state::raft::log::Log;
use crate::state::raft::machine::Machine;
use crate::state::raft::member::Member;
use crate::state::raft::snapshot::Snapshots;

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = Arc::new(Lock::take(folder.path()).await.expect("the lock"));
        let log = Log::open(&folder.path().join("raft.db"), Member::from(0), lock).expect("a log");
        let snapshots = Snapshots::open(&folder.path().join("snapshots")).expect("snapshots");
        let machine = Machine::open(&folder.path().join("state.db"), snapshots, News::default())
            .expect("a state machine");
        Ok((folder, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_suite_passes() {
    Suite::test_all(Builder).await.expect("the whole suite");
}

//! The store as its users see it.

use ashlar_api::NodeId;
use tempfile::TempDir;

use super::sample::*;
use crate::state::command::Command;
use crate::state::schema::*;
use crate::state::{ProposeError, Store};

async fn opened() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), id::<NodeId>(1))
        .await
        .expect("opens");
    (folder, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_proposed_is_there_after_opening_again() {
    let (folder, store) = opened().await;
    assert_eq!(store.revision(), 0);
    for command in furnished() {
        store.propose("admin", command).await.expect("accepted");
    }
    let revision = store.revision();
    let vms: Vec<VolumeRecord> = store.list().expect("reads");
    assert_eq!(vms.len(), 1);
    store.close().await;
    drop(store);

    let store = Store::open(folder.path(), id::<NodeId>(1))
        .await
        .expect("opens again");
    assert_eq!(store.revision(), revision);
    assert!(store.site().expect("reads").is_some());
    let found: Option<VolumeRecord> = store.find("DATA").expect("reads");
    assert_eq!(found.map(|volume| volume.phase), Some(Phase::Ready));
    let again = store
        .propose(
            "admin",
            Command::RegisterNode {
                node: Box::new(node(1, "x")),
            },
        )
        .await;
    assert_eq!(again.expect("known already"), revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_changes_nothing() {
    let (_folder, store) = opened().await;
    let commands = furnished();
    store
        .check("admin", commands[0].clone())
        .await
        .expect("would be accepted");
    assert_eq!(store.revision(), 0);
    assert!(store.site().expect("reads").is_none());
    for command in &commands {
        store
            .propose("admin", command.clone())
            .await
            .expect("accepted");
    }
    let revision = store.revision();
    let again = store.check("admin", commands[1].clone()).await;
    assert!(matches!(again, Err(ProposeError::Refused(_))), "{again:?}");
    assert_eq!(store.revision(), revision);
}

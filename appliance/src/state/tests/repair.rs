//! Files that are missing, old, new, damaged or someone else's.

use std::path::Path;

use ashlar_api::{Bytes, NodeId, VolumeId};
use rusqlite::Connection;
use tempfile::TempDir;

use super::Small;
use super::sample::*;
use crate::state::command::Command;
use crate::state::error::chain;
use crate::state::files::Files;
use crate::state::news::News;
use crate::state::raft::{Consensus, Replica};
use crate::state::schema::*;
use crate::state::{ProposeError, StateError, Store};

const NODE: u64 = 1;

async fn open(folder: &Path) -> Result<Store, StateError> {
    Store::open(folder, id::<NodeId>(NODE)).await
}

/// A folder with a state in it that nobody has open.
async fn kept() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await.expect("opens");
    for command in furnished() {
        store.propose("admin", command).await.expect("accepted");
    }
    store.close().await;
    drop(store);
    at_rest(folder.path()).await;
    folder
}

/// Waits until nobody has the files open; all of their content is in them then.
async fn at_rest(folder: &Path) {
    drop(Files::lock(folder, id(NODE)).await.expect("locked"));
    for file in ["raft.db", "state.db"] {
        let db = Connection::open(folder.join(file)).expect("opens");
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let busy: i64 = db
            .query_row(checkpoint, [], |row| row.get(0))
            .expect("a checkpoint");
        assert_eq!(busy, 0);
    }
}

fn remove(folder: &Path, file: &str) {
    for part in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.join(format!("{file}{part}")));
    }
}

/// Everything is there, and changes are accepted.
async fn assert_works(store: &Store) {
    let volume: Option<VolumeRecord> = store.find("data").expect("reads");
    assert_eq!(volume.map(|volume| volume.id), Some(id::<VolumeId>(7)));
    let rename = Command::ReplaceSite {
        spec: site_spec("again"),
        revision: None,
    };
    let revision = store.propose("admin", rename).await.expect("accepted");
    assert_eq!(
        store.site().expect("reads").map(|site| site.revision),
        Some(revision)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_format_is_refused_with_both_versions() {
    for file in ["raft.db", "state.db"] {
        let folder = kept().await;
        let db = Connection::open(folder.path().join(file)).expect("opens");
        db.execute_batch("UPDATE about SET version = '9.8.7'; PRAGMA user_version = 99;")
            .expect("written");
        drop(db);
        let error = open(folder.path()).await.err().expect("refused");
        let text = error.to_string();
        for part in [
            file,
            "9.8.7",
            "format 99",
            env!("CARGO_PKG_VERSION"),
            "up to 1",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.remedy().starts_with("Start version 9.8.7"), "{error}");
        assert_eq!(error.aside(), None);
        assert!(folder.path().join(file).exists());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_state_is_made_again_on_request() {
    let damage: [fn(&Path); 3] = [
        |file| {
            std::fs::write(file, "this is no database at all, is it? ".repeat(300))
                .expect("written")
        },
        |file| {
            let mut bytes = std::fs::read(file).expect("read");
            let end = bytes.len();
            bytes[4096..end].fill(0x5a);
            std::fs::write(file, bytes).expect("written");
        },
        |file| {
            let bytes = std::fs::read(file).expect("read");
            std::fs::write(file, &bytes[..bytes.len() / 2]).expect("written");
        },
    ];
    for damage in damage {
        let folder = kept().await;
        let file = folder.path().join("state.db");
        damage(&file);
        let error = open(folder.path()).await.err().expect("refused");
        let StateError::Damaged { file: named, .. } = &error else {
            panic!("{}", chain(&error));
        };
        assert_eq!(*named, file);
        assert_eq!(error.aside(), Some(file.as_path()));
        assert!(error.remedy().contains("Set state.db aside"), "{error}");
        assert!(
            open(folder.path()).await.is_err(),
            "it does not mend itself"
        );
        let aside = Store::set_aside(folder.path(), id(NODE), &file)
            .await
            .expect("set aside");
        assert!(aside.exists());
        assert_works(&open(folder.path()).await.expect("opens")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_log_is_founded_anew_on_request() {
    let folder = kept().await;
    let file = folder.path().join("raft.db");
    std::fs::write(&file, "nonsense ".repeat(2000)).expect("written");
    let error = open(folder.path()).await.err().expect("refused");
    assert!(matches!(&error, StateError::Damaged { .. }), "{error}");
    Store::set_aside(folder.path(), id(NODE), &file)
        .await
        .expect("set aside");
    let store = open(folder.path()).await.expect("opens");
    assert_works(&store).await;
    store.close().await;
    drop(store);
    // And that log is as good as any.
    assert_works(&open(folder.path()).await.expect("opens")).await;

    let folder = kept().await;
    remove(folder.path(), "raft.db");
    let error = open(folder.path()).await.err().expect("refused");
    assert!(error.to_string().contains("empty"), "{error}");
    assert_eq!(error.aside(), Some(folder.path().join("raft.db").as_path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_damaged_what_the_error_asks_for_leads_on() {
    for snapshot in [true, false] {
        let folder = kept().await;
        if snapshot {
            let files = Files::lock(folder.path(), id(NODE)).await.expect("locked");
            let snapshots = files.snapshots().expect("a folder");
            snapshots.build(&files.state()).expect("a snapshot");
        }
        for file in ["raft.db", "state.db"] {
            std::fs::write(folder.path().join(file), "nonsense ".repeat(2000)).expect("written");
        }
        let mut asked = Vec::new();
        let store = loop {
            match open(folder.path()).await {
                Ok(store) => break store,
                Err(error) => {
                    let file = error.aside().expect("a way on").to_owned();
                    Store::set_aside(folder.path(), id(NODE), &file)
                        .await
                        .expect("set aside");
                    asked.push(file);
                    assert!(asked.len() < 3, "{asked:?}");
                }
            }
        };
        assert_eq!(asked.len(), 2);
        match snapshot {
            true => assert_works(&store).await,
            false => assert!(store.site().expect("reads").is_none()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_state_is_made_again_by_itself() {
    let folder = kept().await;
    remove(folder.path(), "state.db");
    assert_works(&open(folder.path()).await.expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_nodes_state_is_refused_until_it_is_taken_over() {
    let folder = kept().await;
    let stranger = id::<NodeId>(77);
    let error = Store::open(folder.path(), stranger)
        .await
        .err()
        .expect("refused");
    assert!(matches!(error, StateError::Foreign { .. }), "{error}");
    let file = folder.path().join("raft.db");
    Store::set_aside(folder.path(), stranger, &file)
        .await
        .expect("set aside");
    assert_works(&Store::open(folder.path(), stranger).await.expect("opens")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_process_has_it_open() {
    let folder = kept().await;
    let store = open(folder.path()).await.expect("opens");
    let error = open(folder.path()).await.err().expect("refused");
    assert!(matches!(error, StateError::Locked { .. }), "{error}");
    assert_works(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_holds_everything_and_the_log_before_it_goes() {
    let folder = kept().await;
    let files = Files::lock(folder.path(), id(NODE)).await.expect("locked");
    let (log, machine) = files.open(News::default()).expect("opens");
    let replica = Replica::start(files.member(), log, machine)
        .await
        .expect("starts");
    let raft = replica.raft();
    raft.trigger().snapshot().await.expect("asked");
    let applied = raft
        .wait(None)
        .metrics(|m| m.last_applied.is_some(), "applied")
        .await;
    let last = applied.expect("metrics").last_applied.expect("applied");
    let wait = raft.wait(Some(std::time::Duration::from_secs(20)));
    wait.metrics(|m| m.snapshot.as_ref() >= Some(&last), "snapshot")
        .await
        .expect("a snapshot");
    raft.trigger().purge_log(last.index).await.expect("asked");
    let wait = raft.wait(Some(std::time::Duration::from_secs(20)));
    wait.metrics(|m| m.purged.as_ref() >= Some(&last), "purge")
        .await
        .expect("purged");
    replica.stop().await;
    drop(replica);
    drop(files);
    let snapshots = std::fs::read_dir(folder.path().join("snapshots")).expect("a folder");
    assert_eq!(snapshots.count(), 1);

    // The state comes from the snapshot alone now, then with what followed.
    remove(folder.path(), "state.db");
    let store = open(folder.path()).await.expect("opens");
    assert_works(&store).await;
    store.close().await;
    drop(store);
    remove(folder.path(), "state.db");
    let store = open(folder.path()).await.expect("opens");
    let site = store.site().expect("reads").expect("a site");
    assert_eq!(site.spec.name.as_str(), "again");
    store.close().await;
    drop(store);

    // With neither, it says so.
    remove(folder.path(), "state.db");
    std::fs::remove_dir_all(folder.path().join("snapshots")).expect("removed");
    let error = open(folder.path()).await.err().expect("refused");
    assert!(error.to_string().contains("lacks changes"), "{error}");
    // It is state.db that lacks something, and raft.db that stands in the way of going on.
    let log = folder.path().join("raft.db");
    assert_eq!(error.aside(), Some(log.as_path()));
    assert!(error.remedy().contains("set raft.db aside"), "{error}");
    Store::set_aside(folder.path(), id(NODE), &log)
        .await
        .expect("set aside");
    assert!(open(folder.path()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_goes_on_when_the_drive_does() {
    let folder = kept().await;
    let store = open(folder.path()).await.expect("opens");
    // A write that fails, as on a drive that hangs: somebody else is writing for too long.
    let other = Connection::open(folder.path().join("raft.db")).expect("opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    let rename = |name: &str| Command::ReplaceSite {
        spec: site_spec(name),
        revision: None,
    };
    let error = store
        .propose("admin", rename("stuck"))
        .await
        .expect_err("fails");
    let ProposeError::Unavailable { message, .. } = &error else {
        panic!("{error}");
    };
    assert!(message.contains("append entries"), "{message}");
    assert!(store.site().expect("reading goes on").is_some());
    other.execute_batch("ROLLBACK").expect("unlocked");
    for _ in 0..100 {
        if store.propose("admin", rename("free")).await.is_ok() {
            assert_works(&store).await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("it never came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_drive_still_lets_things_be_deleted() {
    let Some(small) = Small::new(48) else { return };
    let folder = small.path();
    let store = open(folder).await.expect("opens");
    for command in furnished() {
        store.propose("admin", command).await.expect("accepted");
    }
    std::fs::write(folder.join("filler"), vec![1; 30 << 20]).expect("written");
    let create = || Command::CreateVolume {
        volume: Box::new(volume(70, "more", 3, Bytes::gib(1), None)),
        job: job(170, ashlar_api::job::Verb::Create),
    };
    let error = store.propose("admin", create()).await.expect_err("refused");
    let ProposeError::Unavailable { message, remedy } = &error else {
        panic!("{error}");
    };
    assert!(
        message.contains("left for settings") && remedy.contains("Delete"),
        "{error}"
    );
    let delete = Command::DeleteVolume {
        id: id(7),
        revision: None,
        job: job(171, ashlar_api::job::Verb::Delete),
    };
    store.propose("admin", delete).await.expect("accepted");
    std::fs::remove_file(folder.join("filler")).expect("removed");
    store.propose("admin", create()).await.expect("accepted");
    store.close().await;
}

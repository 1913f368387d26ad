//! Uploads, with a real state and real files.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use ashlar_api::image::{ImageSource, ImageSpec};
use ashlar_api::job::Verb;
use ashlar_api::pool::{PoolSpec, PoolStatus};
use ashlar_api::{Bytes, ImageId, JobId, NodeId, PoolId, Timestamp};
use futures_util::stream;
use tokio::sync::watch;

use crate::reconcile::Waker;
use crate::state::Store;
use crate::state::command::{Command, NewJob, Outcome};
use crate::state::schema::{ImageRecord, Phase, PoolRecord};
use crate::storage::{Status, UploadError, Uploads, apply, library};

const SIZE: u64 = 1000;

fn uuid(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}
fn image() -> ImageId {
    uuid(3).into()
}
fn job(number: u128, verb: Verb) -> NewJob {
    let id = JobId::from(uuid(number));
    NewJob { id, verb }
}

/// A state with a pool and an image that waits for its bytes.
async fn store(folder: &Path) -> Store {
    let store = Store::open(folder, NodeId::from(uuid(1))).await.unwrap();
    let pool = PoolId::from(uuid(2));
    let commands = [
        Command::CreatePool {
            pool: Box::new(PoolRecord {
                id: pool,
                revision: 0,
                created_at: Timestamp::UNIX_EPOCH,
                phase: Phase::Preparing,
                spec: PoolSpec {
                    name: "tank".parse().unwrap(),
                    drives: vec!["disk-b".to_owned()],
                },
                erase: Vec::new(),
                library: false,
            }),
            job: job(10, Verb::Create),
        },
        Command::SettlePool {
            id: pool,
            outcome: Outcome::Done,
        },
        Command::CreateImage {
            image: Box::new(ImageRecord {
                id: image(),
                revision: 0,
                created_at: Timestamp::UNIX_EPOCH,
                phase: Phase::Preparing,
                spec: ImageSpec {
                    name: "debian".parse().unwrap(),
                    description: String::new(),
                    source: ImageSource::Upload { size: Bytes(SIZE) },
                    sha256: None,
                },
                content: None,
            }),
            job: job(11, Verb::Upload),
        },
    ];
    for command in commands {
        store.propose("test", command).await.unwrap();
    }
    store
}

type Piece = Result<bytes::Bytes, io::Error>;

fn pieces(lengths: &[usize], ends_badly: bool) -> stream::Iter<std::vec::IntoIter<Piece>> {
    let mut pieces: Vec<Piece> = lengths
        .iter()
        .map(|length| Ok(bytes::Bytes::from(vec![7; *length])))
        .collect();
    if ends_badly {
        pieces.push(Err(io::ErrorKind::ConnectionReset.into()));
    }
    stream::iter(pieces)
}

#[tokio::test]
async fn appends_where_the_held_bytes_end() {
    let folder = tempfile::tempdir().unwrap();
    let library = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let mut status = Status {
        library: Some(library.path().to_owned()),
        ..Status::default()
    };
    let (sender, seen) = watch::channel(status.clone());
    let waker = Waker::default();
    let uploads = Uploads::new(store.clone(), seen, waker.clone());
    assert_eq!(uploads.held(image()).unwrap(), 0);

    let first = uploads.write(image(), 0, SIZE, pieces(&[300, 100], false));
    assert_eq!(first.await.unwrap(), 400);
    tokio::time::timeout(std::time::Duration::from_secs(1), waker.woken())
        .await
        .unwrap();

    let again = uploads.write(image(), 0, SIZE, pieces(&[1], false)).await;
    assert!(matches!(again, Err(UploadError::WrongOffset { held: 400 })));
    let other = uploads.write(image(), 400, SIZE + 1, pieces(&[1], false));
    assert!(matches!(other.await, Err(UploadError::TooLong)));

    // What came before the client broke off is kept.
    let broken = uploads
        .write(image(), 400, SIZE, pieces(&[100], true))
        .await;
    assert!(matches!(broken, Err(UploadError::Source(_))));
    assert_eq!(uploads.held(image()).unwrap(), 500);

    let long = uploads.write(image(), 500, SIZE, pieces(&[400, 101], false));
    assert!(matches!(long.await, Err(UploadError::TooLong)));
    assert_eq!(uploads.held(image()).unwrap(), 900);

    // A slow writer keeps others out until it ends.
    let silent = stream::pending::<Piece>();
    let slow = tokio::spawn({
        let uploads = uploads.clone();
        async move { uploads.write(image(), 900, SIZE, silent).await }
    });
    let mut busy = false;
    for _ in 0..100 {
        // Refused before anything is waited for, so that it takes nobody's turn.
        let attempt = uploads.write(image(), 0, SIZE, pieces(&[], false)).await;
        busy = matches!(attempt, Err(UploadError::Busy));
        if busy {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(busy);
    slow.abort();
    let _ = slow.await;

    let pool = PoolStatus {
        size: Bytes(10_000),
        used: Bytes(9_801),
        ..PoolStatus::default()
    };
    status.pools = BTreeMap::from([(PoolId::from(uuid(2)), pool)]);
    sender.send_replace(status.clone());
    let full = uploads.write(image(), 900, SIZE, pieces(&[100], false));
    assert!(matches!(full.await, Err(UploadError::NoSpace)));
    status.pools.clear();
    sender.send_replace(status.clone());
    let last = uploads.write(image(), 900, SIZE, pieces(&[100], false));
    assert_eq!(last.await.unwrap(), SIZE);
    let file = library.path().join(format!("{}.part", image()));
    assert_eq!(std::fs::read(file).unwrap(), vec![7; 1000]);

    status.library = None;
    sender.send_replace(status);
    assert!(matches!(uploads.held(image()), Err(UploadError::NoLibrary)));
    let stranger = ImageId::from(uuid(9));
    let none = uploads.write(stranger, 0, SIZE, pieces(&[], false)).await;
    assert!(matches!(none, Err(UploadError::NoSuchImage)));
    let settle = Command::SettleImage {
        id: image(),
        outcome: Outcome::Cancelled,
        content: None,
    };
    store.propose("test", settle).await.unwrap();
    let over = uploads.write(image(), 1000, SIZE, pieces(&[], false)).await;
    assert!(matches!(over, Err(UploadError::NotReceiving)));
}

#[tokio::test]
async fn a_file_stays_that_is_younger_than_the_pass() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).await;
    let leftover = ImageId::from(uuid(99));
    for id in [image(), leftover] {
        let (_, partial) = library::paths(folder.path(), id);
        std::fs::write(&partial, b"sent").unwrap();
        apply::remove_files(&store, folder.path(), id).unwrap();
        assert_eq!(partial.exists(), id == image());
    }
}

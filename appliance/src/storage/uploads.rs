//! Images that clients send: their bytes, appended as they come.
//!
//! Invariant: what is held is a whole beginning of the image. Bytes are taken
//! only where the held ones end, by one writer at a time, and only what was
//! brought to the disk counts: after a failure the file is cut back to it. A
//! client that lost its connection asks how much is held and goes on there.
//!
//! The domain does the rest: it sees that the file has its full size, checks it
//! and tells the state. It may remove the file at any time (the image is
//! deleted, the upload cancelled), so the wish is looked at again and again.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ashlar_api::ImageId;
use ashlar_api::image::ImageSource;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt, SeekFrom};
use tokio::sync::watch;

use super::room::Room;
use super::{Status, library};
use crate::reconcile::Waker;
use crate::state::schema::{ImageRecord, Phase, PoolRecord, library_pool};
use crate::state::{StateError, Store};

/// How long the next bytes of a client may take.
const STALL: Duration = Duration::from_secs(60);
/// After so many bytes they are brought to the disk, and the wish is looked at again.
const PORTION: u64 = 64 << 20;
/// How often the domain is told that bytes came: it tells the progress.
const PACE: Duration = Duration::from_secs(3);

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// There is no such image.
    #[error("there is no such image")]
    NoSuchImage,
    /// It does not wait for bytes of a client.
    #[error("the image does not wait for bytes: it is complete, has failed, or comes from a URL")]
    NotReceiving,
    /// The bytes do not go on where those that are held end.
    #[error("{held} bytes are held; send the rest from there")]
    WrongOffset {
        /// How many bytes are held.
        held: u64,
    },
    /// The bytes do not fit the size that was promised when the image was made.
    #[error("the bytes do not fit the size that the image was made with")]
    TooLong,
    /// There is no library now.
    #[error("the image library is not there now")]
    NoLibrary,
    /// There is not enough room.
    #[error("the pool that keeps the images has not enough room")]
    NoSpace,
    /// Somebody else is sending it.
    #[error("somebody else is sending this image just now")]
    Busy,
    /// The client broke off, or was silent for too long.
    #[error("the client did not send all its bytes")]
    Source(#[source] Box<dyn StdError + Send + Sync>),
    /// The bytes could not be written, or the state not be read.
    #[error("the bytes could not be kept")]
    Io(#[source] io::Error),
}

/// Takes the bytes of images. Cheap to clone.
#[derive(Clone)]
pub struct Uploads(Arc<Inner>);

struct Inner {
    store: Store,
    status: watch::Receiver<Status>,
    waker: Waker,
    busy: Mutex<HashSet<ImageId>>,
}

impl Uploads {
    /// Writes to the library that the domain's status names, and wakes the domain.
    pub fn new(store: Store, status: watch::Receiver<Status>, waker: Waker) -> Uploads {
        Uploads(Arc::new(Inner {
            store,
            status,
            waker,
            busy: Mutex::default(),
        }))
    }

    /// How many bytes of an image are held.
    pub fn held(&self, image: ImageId) -> Result<u64, UploadError> {
        self.record(image)?.ok_or(UploadError::NoSuchImage)?;
        let (whole, partial) = library::paths(&self.library()?, image);
        Ok(length(&partial)
            .or_else(|| length(&whole))
            .unwrap_or_default())
    }

    /// Appends bytes of an image, which begin at `from`, of `total` in all.
    /// Returns how many are held then.
    pub async fn write<S, E>(
        &self,
        image: ImageId,
        from: u64,
        total: u64,
        body: S,
    ) -> Result<u64, UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: StdError + Send + Sync + 'static,
    {
        let size = self.wanted(image)?;
        if total != size || from > size {
            return Err(UploadError::TooLong);
        }
        let _turn = self.turn(image)?;
        let directory = self.library()?;
        let (_, path) = library::paths(&directory, image);
        let held = length(&path).unwrap_or_default();
        if from != held {
            return Err(UploadError::WrongOffset { held });
        }
        let pools: Vec<PoolRecord> = self.0.store.list().map_err(unreadable)?;
        let room = Room::new(self.0.status.clone(), directory, library_pool(&pools));
        if !room.is_enough(size - held) {
            return Err(UploadError::NoSpace);
        }
        let file = library::open_partial(&path).map_err(failed)?;
        let mut target = Target {
            file: File::from_std(file),
            held,
            saved: held,
            size,
        };
        let received = self.receive(image, &mut target, body, &room).await;
        let saved = target.save().await;
        if let Err(error) = saved {
            target.cut_back().await;
            self.0.waker.wake();
            return Err(received.err().unwrap_or(error));
        }
        self.0.waker.wake();
        received.map(|()| target.held)
    }

    async fn receive<S, E>(
        &self,
        image: ImageId,
        target: &mut Target,
        mut body: S,
        room: &Room,
    ) -> Result<(), UploadError>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
        E: StdError + Send + Sync + 'static,
    {
        target
            .file
            .seek(SeekFrom::Start(target.held))
            .await
            .map_err(failed)?;
        let mut told = Instant::now();
        loop {
            let next = tokio::time::timeout(STALL, body.next()).await;
            let bytes = match next {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(bytes))) => bytes,
                Ok(Some(Err(error))) => return Err(UploadError::Source(Box::new(error))),
                Err(_) => {
                    let silent = io::Error::new(io::ErrorKind::TimedOut, "it fell silent");
                    return Err(UploadError::Source(Box::new(silent)));
                }
            };
            target.take(&bytes).await?;
            if target.held - target.saved >= PORTION {
                target.save().await?;
                self.wanted(image)?;
                if !room.is_enough(0) {
                    return Err(UploadError::NoSpace);
                }
            }
            if told.elapsed() >= PACE {
                told = Instant::now();
                self.0.waker.wake();
            }
        }
    }

    fn record(&self, image: ImageId) -> Result<Option<ImageRecord>, UploadError> {
        self.0.store.get(image).map_err(unreadable)
    }

    /// The size of an image that waits for bytes.
    fn wanted(&self, image: ImageId) -> Result<u64, UploadError> {
        let record = self.record(image)?.ok_or(UploadError::NoSuchImage)?;
        match (record.phase, record.spec.source) {
            (Phase::Preparing, ImageSource::Upload { size }) => Ok(size.0),
            _ => Err(UploadError::NotReceiving),
        }
    }

    fn library(&self) -> Result<PathBuf, UploadError> {
        let status = self.0.status.borrow();
        status.library.clone().ok_or(UploadError::NoLibrary)
    }

    fn turn(&self, image: ImageId) -> Result<Turn, UploadError> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(image) {
            return Err(UploadError::Busy);
        }
        Ok(Turn {
            uploads: self.clone(),
            image,
        })
    }
}

/// The right to write an image, until it is dropped.
struct Turn {
    uploads: Uploads,
    image: ImageId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let busy = &self.uploads.0.busy;
        let mut busy = busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.image);
    }
}

/// The file that bytes go to.
struct Target {
    file: File,
    /// Bytes taken.
    held: u64,
    /// Bytes that are on the disk.
    saved: u64,
    size: u64,
}

impl Target {
    async fn take(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let end = self.held + bytes.len() as u64;
        if end > self.size {
            return Err(UploadError::TooLong);
        }
        self.file.write_all(bytes).await.map_err(failed)?;
        self.held = end;
        Ok(())
    }

    async fn save(&mut self) -> Result<(), UploadError> {
        self.file.flush().await.map_err(failed)?;
        self.file.sync_data().await.map_err(failed)?;
        self.saved = self.held;
        Ok(())
    }

    /// Forgets what may not be on the disk.
    async fn cut_back(&mut self) {
        if let Err(error) = self.file.set_len(self.saved).await {
            tracing::warn!("cannot cut an upload back to {} bytes: {error}", self.saved);
        }
    }
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn unreadable(error: StateError) -> UploadError {
    UploadError::Io(io::Error::other(error))
}

/// A full disk has its own answer.
fn failed(error: io::Error) -> UploadError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => UploadError::NoSpace,
        _ => UploadError::Io(error),
    }
}

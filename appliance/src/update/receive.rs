//! Receiving a bundle: bytes come from somebody who may be slow, stop, or lie; they are verified and written by a thread.
//!
//! ```text
//!   body ──bytes, bounded──► thread: bundle::read ──► draft ──► read back ──► ready
//! ```
//!
//! Invariant: whoever goes away, nothing stays behind. The body ends early: the bundle is truncated. The thread ends early:
//! the body is read no further. The request is dropped: both.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ashlar_api::Bytes as Size;
use ashlar_api::update::{Receiving, Standing, Version};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt};
use tokio::sync::OwnedMutexGuard;
use tokio::sync::mpsc;

use super::bundle::{self, Host, Keys};
use super::slot::{self, Mark, Slot};
use super::{Inner, UpdateError, Updates};
use crate::reconcile::chain;

/// How long the next bytes may take.
pub const STALL: Duration = Duration::from_secs(60);
/// How many pieces wait to be written.
const AHEAD: usize = 16;

/// What is being received, from where.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The address, or who sends it.
    pub source: String,
    /// An older release is wanted.
    pub downgrade: bool,
}

impl Updates {
    /// Receives a bundle from a client, to its end. Returns the version of what came.
    pub async fn receive<S>(
        &self,
        wish: Wish,
        size: Option<u64>,
        body: S,
    ) -> Result<Version, UpdateError>
    where
        S: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        let held = self.hold()?;
        let intake = Intake::open(self, held, wish, size)?;
        intake.take(body).await
    }
}

/// A bundle on its way in.
pub struct Intake {
    updates: Updates,
    sender: mpsc::Sender<Bytes>,
    thread: tokio::task::JoinHandle<Result<Version, UpdateError>>,
    held: u64,
}

impl Intake {
    /// Begins to receive; refused while a release is on trial.
    pub fn open(
        updates: &Updates,
        held: OwnedMutexGuard<()>,
        wish: Wish,
        size: Option<u64>,
    ) -> Result<Intake, UpdateError> {
        if updates.0.status.borrow().on_trial {
            return Err(UpdateError::OnTrial);
        }
        updates.0.status.send_modify(|status| {
            status.refused = String::new();
            status.receiving = Some(Receiving {
                version: None,
                source: wish.source.clone(),
                received: Size(0),
                size: size.map(Size),
            });
        });
        let (sender, receiver) = mpsc::channel(AHEAD);
        let inner = Arc::clone(&updates.0);
        let thread = tokio::task::spawn_blocking(move || {
            let _held = held;
            let result = inner.receive(&wish, Pieces::new(receiver));
            inner.look();
            inner.status.send_modify(|status| {
                status.receiving = None;
                if let Err(error) = &result {
                    tracing::warn!("a bundle from {}: {}", wish.source, chain(error));
                    status.refused = format!("{}. {}", chain(error), error.remedy());
                }
            });
            result
        });
        Ok(Intake {
            updates: updates.clone(),
            sender,
            thread,
            held: 0,
        })
    }

    /// How many bytes were taken.
    pub fn held(&self) -> u64 {
        self.held
    }

    /// How many will come in all, once that is known.
    pub fn expect(&self, size: u64) {
        self.tell(|receiving| receiving.size = Some(Size(size)));
    }

    /// Takes the next bytes. False when no more are wanted: [`Intake::end`] says why.
    pub async fn push(&mut self, bytes: Bytes) -> bool {
        let count = bytes.len() as u64;
        if self.sender.send(bytes).await.is_err() {
            return false;
        }
        self.held += count;
        let held = self.held;
        self.tell(|receiving| receiving.received = Size(held));
        true
    }

    /// No more comes: what became of it.
    pub async fn end(self) -> Result<Version, UpdateError> {
        drop(self.sender);
        self.thread.await.unwrap_or(Err(UpdateError::Broken))
    }

    /// Takes all of a body.
    async fn take<S>(mut self, mut body: S) -> Result<Version, UpdateError>
    where
        S: Stream<Item = io::Result<Bytes>> + Unpin,
    {
        loop {
            let broken = match tokio::time::timeout(STALL, body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    if self.push(bytes).await {
                        continue;
                    }
                    return self.end().await;
                }
                Ok(None) => return self.end().await,
                Ok(Some(Err(error))) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            // The thread finds it truncated; what broke off says more.
            return match self.end().await {
                Ok(version) => Ok(version),
                Err(_) => Err(UpdateError::Source(broken)),
            };
        }
    }

    /// Whole percents are told, not every piece.
    fn tell(&self, change: impl FnOnce(&mut Receiving)) {
        self.updates.0.status.send_if_modified(|status| {
            let Some(receiving) = &mut status.receiving else {
                return false;
            };
            let share = |receiving: &Receiving| {
                let size = receiving.size.map_or(u64::MAX, |size| size.0.max(1));
                (
                    receiving.received.0.saturating_mul(100) / size,
                    receiving.size,
                )
            };
            let before = share(receiving);
            change(receiving);
            share(receiving) != before
        });
    }
}

impl Inner {
    /// Verifies, writes and names what comes.
    fn receive(&self, wish: &Wish, pieces: Pieces) -> Result<Version, UpdateError> {
        let keys = Keys::read(&self.place.keys)?;
        let esp = self.esp()?;
        let slots = esp.slots()?;
        let host = Host {
            running: self.running.clone(),
            // One that was put aside may come again.
            present: slots
                .iter()
                .filter(|slot| slot.standing() != Standing::Aside)
                .map(|slot| slot.version.clone())
                .collect(),
            downgrade: wish.downgrade,
        };
        let read = bundle::read(pieces, &keys, |manifest| {
            bundle::admit(manifest, &host)?;
            self.status.send_modify(|status| {
                if let Some(receiving) = &mut status.receiving {
                    receiving.version = Some(manifest.version.clone());
                }
            });
            esp.forget_draft()?;
            let free = esp.free()?;
            let others: Vec<Slot> = slots.clone();
            let gone = slot::make_room(&others, &self.running, free, manifest.size);
            let needed = manifest.size;
            for name in gone.ok_or(UpdateError::NoRoom { needed, free })? {
                tracing::info!("{name} makes room for version {}", manifest.version);
                esp.remove(&name)?;
            }
            Ok::<_, UpdateError>(esp.draft()?)
        });
        let (manifest, draft) = match read {
            Ok(whole) => whole,
            Err(error) => {
                esp.forget_draft()?;
                return Err(error);
            }
        };
        let slot = Slot {
            version: manifest.version.clone(),
            mark: Mark::Ready,
            size: manifest.size,
        };
        // An earlier one of this version, which was put aside, goes only now.
        if let Err(error) = esp.settle(draft, &manifest.sha256, &slot) {
            esp.forget_draft()?;
            return Err(error.into());
        }
        for old in esp.slots()? {
            if old.version == slot.version && old.mark != Mark::Ready {
                esp.remove(&old.name())?;
            }
        }
        if let Err(error) = self.notebook.describe(&manifest) {
            tracing::warn!(
                "keep the notes of version {}: {}",
                manifest.version,
                chain(&error)
            );
        }
        Ok(manifest.version)
    }
}

/// Bytes that come piece by piece, for a thread to read.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Bytes>) -> Pieces {
        Pieces {
            receiver,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(to.len());
        self.piece.copy_to_slice(&mut to[..count]);
        Ok(count)
    }
}

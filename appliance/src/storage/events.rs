//! What makes the domain look: drives that come and go. Events are hints; they
//! come in bursts, and one look a burst is enough.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::reconcile::Waker;
use crate::sys::uevent::{Notice, Uevents};

/// How long a burst may last: partitions come after their disk.
const BURST: Duration = Duration::from_millis(300);
/// The rest after the source failed, before it is opened anew.
const REST: Duration = Duration::from_secs(5);

/// Listens until it is dropped.
pub struct Events {
    task: JoinHandle<()>,
    changed: Arc<AtomicBool>,
}

impl Events {
    /// Begins to listen.
    pub fn listen(waker: Waker) -> Events {
        // Until it listens anything may have changed.
        let changed = Arc::new(AtomicBool::new(true));
        let task = tokio::spawn(hear(waker, changed.clone()));
        Events { task, changed }
    }

    /// Whether a drive may have changed since this was asked last.
    pub fn take(&self) -> bool {
        self.changed.swap(false, Ordering::AcqRel)
    }

    /// Says that we changed a drive ourselves.
    pub fn note(&self) {
        self.changed.store(true, Ordering::Release);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn hear(waker: Waker, changed: Arc<AtomicBool>) {
    loop {
        let error = match Uevents::open() {
            Ok(mut events) => wake_at_news(&mut events, &waker, &changed).await,
            Err(error) => error,
        };
        tracing::warn!("listening to the kernel's events failed: {error}");
        tokio::time::sleep(REST).await;
        changed.store(true, Ordering::Release);
        waker.wake();
    }
}

/// Returns why it can not go on.
async fn wake_at_news(events: &mut Uevents, waker: &Waker, changed: &AtomicBool) -> io::Error {
    loop {
        let mut is_news = false;
        match events.next().await {
            Ok(notice) => is_news |= concerns(&notice),
            Err(error) => return error,
        }
        if !is_news {
            continue;
        }
        let rest = tokio::time::sleep(BURST);
        tokio::pin!(rest);
        loop {
            // Both arms are cancel-safe: an event is taken only when it is returned.
            tokio::select! {
                () = &mut rest => break,
                next = events.next() => if let Err(error) = next {
                    return error;
                },
            }
        }
        changed.store(true, Ordering::Release);
        waker.wake();
    }
}

/// Whether it is about a drive; our own volumes come and go by our own doing.
fn concerns(notice: &Notice) -> bool {
    match notice {
        Notice::Lost => true,
        Notice::Event(event) => {
            event.subsystem == "block" && !event.devpath.starts_with("/devices/virtual/")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::uevent::Uevent;

    #[test]
    fn hears_of_drives_only() {
        let event = |subsystem: &str, devpath: &str| {
            Notice::Event(Uevent {
                action: "add".to_owned(),
                devpath: devpath.to_owned(),
                subsystem: subsystem.to_owned(),
                properties: Default::default(),
            })
        };
        assert!(concerns(&Notice::Lost));
        assert!(concerns(&event(
            "block",
            "/devices/pci0000:00/0000:00:05.0/virtio2/block/vdb"
        )));
        assert!(!concerns(&event("block", "/devices/virtual/block/dm-3")));
        assert!(!concerns(&event(
            "net",
            "/devices/pci0000:00/0000:00:04.0/net/eth0"
        )));
    }
}

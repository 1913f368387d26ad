//! Waiting for hardware to appear: drivers load, devices come, and we look again after each.
//!
//! Invariant: a wait ends when the thing is there, or when its time is over; it is woken by events and not by a
//! clock, so a fast machine does not wait for a slow one's timeout.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::log;
use super::modules::Loader;
use crate::sys::uevent::{Notice, UeventSocket};

/// The devices of the machine while it boots.
#[derive(Debug)]
pub struct Hardware {
    loader: Loader,
    events: Option<UeventSocket>,
}

impl Hardware {
    /// Begins to listen, then to load drivers: nothing that appears in between is missed.
    pub fn discover() -> Hardware {
        let events = UeventSocket::open()
            .inspect_err(|error| log::warn(format_args!("cannot hear of devices: {error}")))
            .ok();
        Hardware {
            loader: Loader::start(),
            events,
        }
    }

    /// Whether drivers are still being loaded.
    pub fn is_loading(&self) -> bool {
        self.loader.is_busy()
    }

    /// Waits until `look` finds what it wants, at most this long.
    pub fn wait<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&Hardware) -> Option<T>,
    ) -> Option<T> {
        let started = Instant::now();
        loop {
            self.take_in();
            if let Some(found) = look(self) {
                return Some(found);
            }
            let left = limit.checked_sub(started.elapsed())?;
            // A partition table is read after its disk was told; a moment's nap covers what no event tells.
            self.sleep(left.min(Duration::from_millis(250)));
        }
    }

    fn take_in(&mut self) {
        if let Some(events) = &mut self.events {
            loop {
                match events.try_next() {
                    Ok(Some(Notice::Event(event))) => self.loader.hear(&event),
                    Ok(Some(Notice::Lost)) => self.loader.look_again(),
                    Ok(None) | Err(_) => break,
                }
            }
        }
        self.loader.pump();
    }

    fn sleep(&self, limit: Duration) {
        let mut fds: Vec<PollFd<'_>> = Vec::new();
        fds.extend(
            self.events
                .iter()
                .map(|events| PollFd::new(events.as_fd(), PollFlags::POLLIN)),
        );
        fds.extend(
            self.loader
                .watched()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN)),
        );
        let limit =
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        // Interrupted or failed, the caller looks again.
        let _ = poll(&mut fds, limit);
    }

    /// Goes on listening in the main loop.
    pub fn into_events(self) -> Option<UeventSocket> {
        self.events
    }
}

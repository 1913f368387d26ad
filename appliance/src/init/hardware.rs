//! Waiting for hardware to appear: drivers load, devices come, and we look again after each.
//!
//! The device manager runs before the first driver loads, so that a NIC has its name before anything uses it; what was
//! there before is announced once it listens. While drivers load, the supervisor may start already: it hears of
//! devices by the kernel's events, as of those that somebody plugs in. [`Hardware::settled`] says once when all that was
//! in the machine has its driver, and then lets the device manager load those of what comes later.
//!
//! Invariant: a wait ends when the thing is there, or when its time is over; it is woken by events and not by a
//! clock, so a fast machine does not wait for a slow one's timeout.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::log;
use super::modules::Loader;
use crate::sys::udev;
use crate::sys::uevent::{Notice, UeventSocket};

/// Drivers that take longer are not waited for.
const DRIVERS: Duration = Duration::from_secs(20);
/// A partition table is read after its disk was told, and nothing tells when the device manager listens.
const NAP: Duration = Duration::from_millis(250);

/// The devices of the machine.
#[derive(Debug)]
pub struct Hardware {
    began: Instant,
    /// None once all is loaded. On a slow machine that is after it has settled: the power button and the watchdog are
    /// among the last.
    loader: Option<Loader>,
    settled: bool,
    announced: bool,
    events: Option<UeventSocket>,
}

impl Hardware {
    /// Begins to listen, then to load drivers: nothing that appears in between is missed.
    pub fn discover() -> Hardware {
        let events = UeventSocket::open()
            .inspect_err(|error| log::warn(format_args!("cannot hear of devices: {error}")))
            .ok();
        if let Err(error) = udev::start() {
            log::error(log::chain(&error));
        }
        Hardware {
            began: Instant::now(),
            loader: Some(Loader::start()),
            settled: false,
            announced: false,
            events,
        }
    }

    /// Whether drivers are still being loaded.
    pub fn is_loading(&self) -> bool {
        self.loader.as_ref().is_some_and(Loader::is_busy)
    }

    /// Waits until `look` finds what it wants, at most this long.
    pub fn wait<T>(
        &mut self,
        limit: Duration,
        mut look: impl FnMut(&Hardware) -> Option<T>,
    ) -> Option<T> {
        let started = Instant::now();
        loop {
            self.hear(|_| {});
            if let Some(found) = look(self) {
                return Some(found);
            }
            // Only now: what is found may be all that is wanted of the drivers for a while.
            self.go_on();
            let left = limit.checked_sub(started.elapsed())?;
            self.sleep(left.min(NAP));
        }
    }

    /// Holds back the drivers that nobody waits for, until [`Hardware::release`], for some seconds at most.
    pub fn hold(&mut self) {
        if let Some(loader) = &mut self.loader {
            loader.hold(Instant::now());
        }
    }

    /// Goes on with the drivers that were held back.
    pub fn release(&mut self) {
        if let Some(loader) = &mut self.loader {
            loader.release();
        }
    }

    /// Takes in what the kernel told, shows it to `hear`, and goes on.
    pub fn take_in(&mut self, hear: impl FnMut(&Notice)) {
        self.hear(hear);
        self.go_on();
    }

    fn hear(&mut self, mut hear: impl FnMut(&Notice)) {
        while let Some(Ok(Some(notice))) = self.events.as_mut().map(UeventSocket::try_next) {
            if let Some(loader) = &mut self.loader {
                match &notice {
                    Notice::Event(event) => loader.hear(event),
                    Notice::Lost => loader.look_again(),
                }
            }
            hear(&notice);
        }
    }

    fn go_on(&mut self) {
        if let Some(loader) = &mut self.loader {
            loader.pump(Instant::now());
        }
        if !self.announced && udev::listens() {
            self.announced = true;
            udev::announce();
        }
    }

    /// True once: when every device that was there has its driver, or that takes too long.
    pub fn settled(&mut self) -> bool {
        if self.loader.is_none() {
            return false;
        }
        let through = self.announced && !self.is_loading();
        let late = self.began.elapsed() > DRIVERS;
        if through {
            self.loader = None;
        } else if late && !self.settled {
            log::warn("drivers are still being loaded; their devices count as hot-plugged");
        }
        let settled = (through || late) && !self.settled;
        if settled {
            log::info(format_args!(
                "drivers: {} ms",
                self.began.elapsed().as_millis()
            ));
            self.settled = true;
        }
        settled
    }

    /// Until when to look again though nothing is heard.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        // Later, the end of what is being loaded wakes us, and a driver that hangs for ever does not.
        let waits = self.loader.is_some() && !self.settled;
        waits.then(|| now + NAP)
    }

    /// Readable when there is something to take in.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let events = self.events.iter().map(AsFd::as_fd);
        events.chain(self.loader.iter().flat_map(Loader::watched))
    }

    fn sleep(&self, limit: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .watched()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let limit =
            PollTimeout::try_from(limit + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        // Interrupted or failed, the caller looks again.
        let _ = poll(&mut fds, limit);
    }
}

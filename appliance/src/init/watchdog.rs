//! The hardware watchdog: it restarts the machine when nobody has fed it for a while.
//!
//! Invariant: only a main loop that goes round feeds it. It is never switched off again: when process 1 hangs, or
//! the end of the machine hangs, it shall bite.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

use super::log;

const DEVICE: &str = "/dev/watchdog0";
/// Long enough for a host under load, short enough that guests' users do not give up.
const WANTED: libc::c_int = 30;

const KEEP_ALIVE: libc::Ioctl = 0x8004_5705;
const SET_TIMEOUT: libc::Ioctl = 0xc004_5706;
const GET_TIMEOUT: libc::Ioctl = 0x8004_5707;

/// Open for good, and known to whoever ends the machine.
static RUNNING: OnceLock<(File, Duration)> = OnceLock::new();

/// A watchdog that is running.
#[derive(Debug)]
pub struct Watchdog {
    device: &'static File,
    interval: Duration,
    next: Instant,
}

impl Watchdog {
    /// Starts it, if the machine has one.
    pub fn open() -> Option<Watchdog> {
        let device = OpenOptions::new().write(true).open(DEVICE).ok()?;
        let mut seconds = WANTED;
        // SAFETY: both requests read and write one int, which lives until the call returns.
        let set = unsafe { libc::ioctl(device.as_raw_fd(), SET_TIMEOUT, &mut seconds) };
        if Errno::result(set).is_err() {
            // Its time is fixed: ask what it is.
            // SAFETY: as above.
            let got = unsafe { libc::ioctl(device.as_raw_fd(), GET_TIMEOUT, &mut seconds) };
            if Errno::result(got).is_err() {
                seconds = WANTED;
            }
        }
        let timeout = Duration::from_secs(u64::try_from(seconds).unwrap_or(0).max(3));
        log::info(format_args!(
            "watchdog: restarts the machine after {} s without a sign",
            timeout.as_secs()
        ));
        // There is one device of that name, and the kernel opens it once.
        let _ = RUNNING.set((device, timeout / 3));
        Watchdog::opened()
    }

    /// The one that was started, fed now.
    pub fn opened() -> Option<Watchdog> {
        let (device, interval) = RUNNING.get()?;
        let mut watchdog = Watchdog {
            device,
            interval: *interval,
            next: Instant::now(),
        };
        watchdog.feed(Instant::now());
        Some(watchdog)
    }

    /// Feeds it when a third of its time is over.
    pub fn feed(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        // SAFETY: the request takes no argument that it would read.
        let fed = unsafe { libc::ioctl(self.device.as_raw_fd(), KEEP_ALIVE, 0) };
        if let Err(errno) = Errno::result(fed) {
            log::warn(format_args!("cannot feed the watchdog: {errno}"));
        }
        self.next = now + self.interval;
    }

    /// When to feed it next.
    pub fn due(&self) -> Instant {
        self.next
    }
}

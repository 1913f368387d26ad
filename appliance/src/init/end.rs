//! The end of the machine: the one way out of process 1, for every reason.
//!
//! ```text
//!   supervisor (stops guests, volumes, network) ─► guests it left ─► all processes ─► mounts
//!     ─► loops, device-mapper ─► sync ─► reboot
//! ```
//!
//! Invariant: every phase is bounded, and the next one comes whatever happened to the last: a machine that shall end
//! ends. What can hang in the kernel (a disk that does not answer) runs beside us and is left behind.
//! The watchdog is fed until the last phase, within a bound on the whole: if even the end hangs, it bites. How far the
//! end has come is known to the whole process: if a phase fails, somebody else goes on with the next ([`super::failure`]).

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::guests::{Guests, MACHINES};
use super::run::Parting;
use super::{Ending, clock, crash, failure, log, reap, rescue};
use crate::sys::command::Tool;
use crate::sys::fs::{self, Unmount};
use crate::sys::sysfs;

/// Tells the supervisor that this is the end and not an update.
const ENDING: &str = "/run/ashlar/ending";
/// Guests get their time from the supervisor within this.
const SUPERVISOR_LIMIT: Duration = Duration::from_secs(120);
/// Guests that the supervisor did not end.
const GUESTS_LIMIT: Duration = Duration::from_secs(60);
const TERMINATE_LIMIT: Duration = Duration::from_secs(10);
const KILL_LIMIT: Duration = Duration::from_secs(5);
const CLOCK_LIMIT: Duration = Duration::from_secs(5);
const UNMOUNT_LIMIT: Duration = Duration::from_secs(20);
const DEVICES_LIMIT: Duration = Duration::from_secs(20);
const SYNC_LIMIT: Duration = Duration::from_secs(30);
/// More than all phases together may take. After it the watchdog is not fed any more.
const WHOLE_LIMIT: Duration = Duration::from_secs(330);
/// After a failure the screen is kept for so long, to be read.
const READ_LIMIT: Duration = Duration::from_secs(10);

type Phase = fn(&mut End);

const PHASES: [(&str, Phase); 7] = [
    ("Stopping virtual machines and services", stop_supervisor),
    ("Stopping virtual machines that are left", stop_guests),
    ("Ending all programs", end_processes),
    ("Saving the time", |end| {
        end.beside(CLOCK_LIMIT, || {
            clock::save();
            if let Some(what) = failure::cause() {
                crash::note(&what);
            }
        });
    }),
    ("Unmounting file systems", |end| {
        end.beside(UNMOUNT_LIMIT, unmount_all)
    }),
    ("Releasing disks", |end| {
        end.beside(DEVICES_LIMIT, release_devices)
    }),
    ("Writing what is left", |end| {
        end.beside(SYNC_LIMIT, nix::unistd::sync)
    }),
];

struct End {
    parting: Parting,
    began: Instant,
}

/// How many phases have begun; one more than there are once all are over.
static BEGUN: AtomicUsize = AtomicUsize::new(0);
/// When the first began, and how it shall end.
static FIRST: OnceLock<(Instant, Ending)> = OnceLock::new();

/// Ends the machine.
pub fn end(parting: Parting) -> ! {
    go_on(parting)
}

/// The same, behind what another began that could not go on.
pub fn go_on(parting: Parting) -> ! {
    // The first to ask decides.
    let (began, ending) = *FIRST.get_or_init(|| (Instant::now(), parting.ending));
    let mut end = End { parting, began };
    for (at, name, phase) in phases_after(BEGUN.load(Ordering::Acquire)) {
        failure::stand_still_after_one();
        BEGUN.store(at + 1, Ordering::Release);
        log::info(format_args!("end: {name}"));
        // Until the supervisor is gone the screen is its.
        if at == 1 {
            rescue::clear();
        }
        if at > 0 {
            rescue::tell(name);
        }
        phase(&mut end);
    }
    if BEGUN.swap(PHASES.len() + 1, Ordering::AcqRel) <= PHASES.len() {
        farewell(&mut end, ending);
    }
    leave(ending)
}

/// The phases that nobody has begun, with their places.
fn phases_after(begun: usize) -> impl Iterator<Item = (usize, &'static str, Phase)> {
    let phases = PHASES.into_iter().enumerate().skip(begun);
    phases.map(|(at, (name, phase))| (at, name, phase))
}

fn farewell(end: &mut End, ending: Ending) {
    if let Some(what) = failure::cause() {
        rescue::tell(&format!(
            "The machine ended because process 1 failed: {what}"
        ));
        end.wait(READ_LIMIT, |_| false);
    }
    rescue::tell(match ending {
        Ending::PowerOff => "Power off",
        Ending::Reboot => "Restart",
    });
}

/// The last call. If the kernel refuses one way, another is tried, for ever.
fn leave(ending: Ending) -> ! {
    let mode = match ending {
        Ending::PowerOff => RebootMode::RB_POWER_OFF,
        Ending::Reboot => RebootMode::RB_AUTOBOOT,
    };
    loop {
        let Err(errno) = reboot(mode);
        log::error(format_args!(
            "the kernel refuses to {}: {errno}",
            ending.word()
        ));
        std::thread::sleep(Duration::from_secs(10));
        let key = match ending {
            Ending::PowerOff => "o",
            Ending::Reboot => "b",
        };
        // The second way; if that fails too, the first is tried again.
        let _ = std::fs::write("/proc/sysrq-trigger", key);
    }
}

impl End {
    /// Waits until `done`, reaping and feeding; false when the time was over first.
    fn wait(&mut self, limit: Duration, mut done: impl FnMut(&mut End) -> bool) -> bool {
        let started = Instant::now();
        loop {
            for (pid, exit) in reap::all() {
                self.parting.supervised.reaped(pid, exit, Instant::now());
            }
            failure::stand_still_after_one();
            self.feed();
            if done(self) {
                return true;
            }
            let Some(left) = limit.checked_sub(started.elapsed()) else {
                return false;
            };
            let mut fds: Vec<PollFd<'_>> = Vec::new();
            fds.extend(
                self.parting
                    .signals
                    .iter()
                    .map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)),
            );
            // Processes that are not ours to reap end without a sign: look ten times a second.
            let nap = left.min(Duration::from_millis(100));
            let _ = poll(
                &mut fds,
                PollTimeout::try_from(nap).unwrap_or(PollTimeout::MAX),
            );
            while let Some(Ok(Some(_))) = self
                .parting
                .signals
                .as_ref()
                .map(|signals| signals.read_signal())
            {}
        }
    }

    /// Runs something that may hang in the kernel, and goes on without it when it does.
    fn beside(&mut self, limit: Duration, work: impl FnOnce() + Send + 'static) {
        let started = Instant::now();
        let (done, wait) = channel();
        let spawned = std::thread::Builder::new().spawn(move || {
            work();
            // Nobody listens any more when it took too long.
            let _ = done.send(());
        });
        if let Err(error) = spawned {
            log::error(format_args!("cannot start a thread: {error}"));
            return;
        }
        loop {
            failure::stand_still_after_one();
            self.feed();
            match wait.recv_timeout(Duration::from_secs(1)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if started.elapsed() < limit => {}
                Err(RecvTimeoutError::Timeout) => {
                    log::error(format_args!(
                        "not done after {} s, going on without",
                        limit.as_secs()
                    ));
                    return;
                }
            }
        }
    }

    fn feed(&mut self) {
        if self.began.elapsed() < WHOLE_LIMIT
            && let Some(watchdog) = &mut self.parting.watchdog
        {
            watchdog.feed(Instant::now());
        }
    }
}

fn stop_supervisor(end: &mut End) {
    if let Err(error) = fs::write_atomic(
        Path::new(ENDING),
        end.parting.ending.word().as_bytes(),
        0o644,
    ) {
        log::error(log::chain(&error));
    }
    end.parting.supervised.signal(Signal::SIGTERM);
    if !end.wait(SUPERVISOR_LIMIT, |end| !end.parting.supervised.is_running()) {
        log::error("the supervisor did not end in time");
        end.parting.supervised.signal(Signal::SIGKILL);
    }
}

/// None is left when the supervisor has done what it shall.
fn stop_guests(end: &mut End) {
    let mut guests = Guests::ask(Path::new(MACHINES));
    if guests.have_ended() {
        return;
    }
    log::warn(format_args!(
        "no supervisor has ended {} virtual machines; they are asked by their power buttons",
        guests.count()
    ));
    if !end.wait(GUESTS_LIMIT, |_| guests.have_ended()) {
        log::warn(format_args!(
            "these virtual machines did not end in time: {}",
            guests.names()
        ));
    }
}

fn end_processes(end: &mut End) {
    for (signal, limit) in [
        (Signal::SIGTERM, TERMINATE_LIMIT),
        (Signal::SIGKILL, KILL_LIMIT),
    ] {
        // From process 1 this reaches every process but itself; none left is fine.
        let _ = kill(Pid::from_raw(-1), signal);
        if end.wait(limit, |_| programs().is_empty()) {
            return;
        }
        log::warn(format_args!(
            "after {signal} these still run: {}",
            programs().join(", ")
        ));
    }
}

/// Names of processes with a program: neither threads of the kernel nor dead ones.
fn programs() -> Vec<String> {
    let us = std::process::id().to_string();
    let numbered = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != us;
    let pids = sysfs::names("/proc").into_iter().filter(numbered);
    pids.filter_map(|pid| {
        sysfs::link_name(format!("/proc/{pid}/exe")).map(|name| format!("{name} ({pid})"))
    })
    .collect()
}

/// File systems that hold no data of ours: gone with the machine.
const WITHOUT_DATA: [&str; 14] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "tmpfs",
    "ramfs",
    "cgroup2",
    "securityfs",
    "efivarfs",
    "pstore",
    "rootfs",
    "overlay",
    "squashfs",
    "erofs",
];

fn unmount_all() {
    swap_off();
    for mount in fs::mounts().unwrap_or_default().into_iter().rev() {
        if mount.target == Path::new("/") || WITHOUT_DATA.contains(&mount.kind.as_str()) {
            continue;
        }
        let plain = fs::unmount(&mount.target, Unmount::Plain);
        if let Err(error) = plain {
            log::warn(log::chain(&error));
            // Still used by something that cannot be killed: at least what is on the disk is whole.
            let rest = fs::remount_read_only(&mount.target)
                .and_then(|()| fs::unmount(&mount.target, Unmount::Lazy));
            if let Err(error) = rest {
                log::error(log::chain(&error));
            }
        }
    }
}

fn swap_off() {
    let swaps = sysfs::text("/proc/swaps").unwrap_or_default();
    for path in swaps
        .lines()
        .skip(1)
        .filter_map(|line| line.split_ascii_whitespace().next())
    {
        let Ok(path) = std::ffi::CString::new(path) else {
            continue;
        };
        // SAFETY: reads a string that ends with a zero and lives until the call returns.
        if let Err(errno) = Errno::result(unsafe { libc::swapoff(path.as_ptr()) }) {
            log::warn(format_args!(
                "cannot switch off swap on {}: {errno}",
                path.to_string_lossy()
            ));
        }
    }
}

const LOOP_CLEAR: libc::Ioctl = 0x4c01;

fn release_devices() {
    for name in sysfs::names("/sys/block") {
        let device = Path::new("/sys/block").join(&name);
        if name.starts_with("loop") && device.join("loop/backing_file").exists() {
            let Ok(file) = std::fs::File::open(Path::new("/dev").join(&name)) else {
                continue;
            };
            // The one under the root stays in use until the end; the kernel then refuses, and that is fine.
            // SAFETY: the request takes no argument.
            let _ = unsafe { libc::ioctl(file.as_raw_fd(), LOOP_CLEAR, 0) };
        }
    }
    let mapped = |name: &String| name.starts_with("dm-");
    if sysfs::names("/sys/block").iter().any(mapped) {
        // The supervisor has done this when all went well. udevd is gone: nobody would answer a wait for it.
        let tools = [
            Tool::new("vgchange").args(["-an", "--noudevsync", "-q"]),
            Tool::new("dmsetup").args(["remove_all", "--noudevsync"]),
        ];
        for tool in tools {
            if let Err(error) = tool.timeout(DEVICES_LIMIT / 2).run_blocking() {
                log::warn(log::chain(&error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_fit_into_the_whole() {
        let phases = [
            SUPERVISOR_LIMIT,
            GUESTS_LIMIT,
            TERMINATE_LIMIT,
            KILL_LIMIT,
            CLOCK_LIMIT,
            UNMOUNT_LIMIT,
            DEVICES_LIMIT,
            SYNC_LIMIT,
            READ_LIMIT,
        ];
        assert!(phases.iter().sum::<Duration>() < WHOLE_LIMIT);
    }

    #[test]
    fn who_goes_on_leaves_out_what_has_begun() {
        let names = |begun| -> Vec<&str> { phases_after(begun).map(|(_, name, _)| name).collect() };
        assert_eq!(names(0).len(), PHASES.len());
        assert_eq!(names(1)[0], PHASES[1].0);
        assert_eq!(phases_after(3).next().map(|(at, ..)| at), Some(3));
        assert!(names(PHASES.len()).is_empty());
        assert!(names(PHASES.len() + 1).is_empty());
    }

    #[test]
    fn sees_programs_but_not_itself() {
        let child = std::process::Command::new("sleep").arg("5").spawn();
        let mut child = child.unwrap();
        let ours = format!("({})", child.id());
        assert!(programs().iter().any(|program| program.ends_with(&ours)));
        child.kill().unwrap();
        child.wait().unwrap();
        let us = format!("({})", std::process::id());
        assert!(
            !programs()
                .iter()
                .any(|program| program.ends_with(&us) || program.ends_with(&ours))
        );
    }
}

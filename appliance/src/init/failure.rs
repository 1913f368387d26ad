//! When process 1 itself fails: a panic, or a fault of its own (a bad address, an abort).
//!
//! ```text
//!   panic ──────► hook ────┐                            ┌─► the phases of the end, in order, then a restart
//!   SIGSEGV … ──► handler ─┴─► wakes ─► the one in reserve ─┘
//!                 and never comes back: nothing of what failed runs any more
//! ```
//!
//! Invariant: the machine ends in order (guests first, then volumes, network, file systems), and it ends: within the
//! bounds of [`end`], whatever else fails. A panic in one of the phases goes on with the next one. A second fault, or
//! an end that takes longer than all its bounds, restarts the machine at once.
//!
//! It is done by a thread that waits for nothing else, because the one that failed can do little: the kernel has
//! interrupted it somewhere, perhaps in the allocator. Why not unwind to the loop instead: the program is built so that a
//! panic ends it, which is right for the supervisor (init starts it again), and a fault can not be unwound at all.
//!
//! A thread beside the loop (it writes the time down, or does a phase of the end that may hang) is not process 1: if it
//! panics, its work is not done, and everything else goes on.

use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::run::Parting;
use super::supervise::Supervised;
use super::watchdog::Watchdog;
use super::{Ending, end, log, rescue};

/// What the kernel tells a program that it can not go on, and what a program tells itself.
const FAULTS: [Signal; 6] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGABRT,
    Signal::SIGSYS,
];
/// Longer than an end may take, in seconds. After it the machine is restarted as it stands.
const LAST_RESORT: libc::c_uint = 360;

/// Set once, by the first that fails.
static FAILED: AtomicBool = AtomicBool::new(false);
/// The fault, if it was one.
static FAULT: AtomicI32 = AtomicI32::new(0);
/// What the panic said, if it was one.
static PANIC: OnceLock<String> = OnceLock::new();
/// Wakes the thread in reserve; no number while there is none.
static BELL: AtomicI32 = AtomicI32::new(-1);

/// What a thread is to process 1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Charge {
    /// Something beside it.
    None,
    /// The loop, and the end that follows it.
    Loop,
    /// The end after a failure.
    Failure,
}

thread_local! {
    static CHARGE: Cell<Charge> = const { Cell::new(Charge::None) };
}

/// Makes the calling thread process 1, and prepares for its failure.
pub fn prepare() {
    CHARGE.set(Charge::Loop);
    std::panic::set_hook(Box::new(|panic| panicked(&panic.to_string())));
    if let Err(error) = keep_one_in_reserve() {
        log::error(format_args!(
            "nobody ends the machine in order if process 1 fails: {error}"
        ));
        return;
    }
    let action = SigAction::new(
        SigHandler::Handler(faulted),
        SaFlags::SA_ONSTACK,
        SigSet::empty(),
    );
    for fault in FAULTS {
        // SAFETY: the handler makes only calls that are safe in one.
        if let Err(errno) = unsafe { sigaction(fault, &action) } {
            log::error(format_args!("{fault} is not caught: {errno}"));
        }
    }
}

/// Why process 1 failed, if it did.
pub fn cause() -> Option<String> {
    if let Some(panic) = PANIC.get() {
        return Some(panic.clone());
    }
    let number = FAULT.load(Ordering::Acquire);
    match Signal::try_from(number) {
        Ok(signal) => Some(format!("a fault of its own, {signal}")),
        Err(_) => (number != 0).then(|| format!("a fault of its own, signal {number}")),
    }
}

/// Stops the loop, or its end, for good when another thread has failed: then that is ended elsewhere.
pub fn stand_still_after_one() {
    if FAILED.load(Ordering::Acquire) && CHARGE.get() == Charge::Loop {
        stand_still();
    }
}

fn keep_one_in_reserve() -> std::io::Result<()> {
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
    let number = bell.as_raw_fd();
    std::thread::Builder::new()
        .name("reserve".to_owned())
        .spawn(move || {
            // The loop hears signals by a descriptor, which needs every thread to leave them alone.
            let mut mask = SigSet::all();
            FAULTS.into_iter().for_each(|fault| mask.remove(fault));
            if let Err(errno) = mask.thread_block() {
                log::error(format_args!("cannot leave signals alone: {errno}"));
            }
            while bell.read().is_err() {}
            end_in_order()
        })?;
    BELL.store(number, Ordering::Release);
    Ok(())
}

/// The hook. Runs in the thread that panicked.
fn panicked(what: &str) {
    if std::process::id() != 1 {
        // A child between fork and exec, or a test: there is no machine to end.
        std::process::abort();
    }
    if CHARGE.get() == Charge::None {
        log::error(format_args!("a thread of process 1 failed: {what}"));
        stand_still();
    }
    log::error(format_args!("process 1 failed: {what}"));
    let first = !FAILED.swap(true, Ordering::AcqRel);
    if !first && CHARGE.get() == Charge::Loop {
        stand_still();
    }
    // The first one counts.
    let _ = PANIC.set(what.replace('\n', " "));
    if first && ring() {
        stand_still();
    }
    // Not from here: one more panic would then be one inside of a panic, which is the end of the program.
    let fresh = std::thread::Builder::new().spawn(|| end_in_order());
    match fresh {
        Ok(_) => stand_still(),
        Err(_) => end_in_order(),
    }
}

/// The handler of faults. Only calls that are safe in one (signal-safety(7)), and no memory but atomics.
extern "C" fn faulted(number: libc::c_int) {
    // SAFETY: none of these calls touches memory of ours.
    unsafe {
        if libc::getpid() != 1 {
            libc::_exit(128 + number);
        }
        if !FAILED.swap(true, Ordering::AcqRel) {
            FAULT.store(number, Ordering::Release);
            if ring() {
                let mut left = LAST_RESORT;
                while left > 0 {
                    left = libc::sleep(left);
                }
            }
        }
        libc::reboot(libc::RB_AUTOBOOT);
        // The kernel panics, and restarts the machine by itself.
        libc::_exit(128 + number);
    }
}

/// Wakes the thread in reserve. Safe in a handler.
fn ring() -> bool {
    let bell = BELL.swap(-1, Ordering::AcqRel);
    let one = 1u64.to_ne_bytes();
    // SAFETY: writes eight bytes that live until the call returns, to a descriptor that is never closed.
    bell >= 0 && unsafe { libc::write(bell, one.as_ptr().cast(), one.len()) } == 8
}

fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}

/// Begins the end, or goes on with it.
fn end_in_order() -> ! {
    CHARGE.set(Charge::Failure);
    let what = cause().unwrap_or_default();
    log::error(format_args!("the machine ends in order, because of {what}"));
    rescue::tell(&format!(
        "Ashlar: process 1 failed ({what}). The machine ends in order and restarts."
    ));
    end::go_on(Parting {
        ending: Ending::Reboot,
        supervised: Supervised::running_now(),
        watchdog: Watchdog::opened(),
        signals: None,
    })
}

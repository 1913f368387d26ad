//! Process 1: mounts, starts the supervisor, reaps, feeds the watchdog, ends the machine.
//!
//! ```text
//!   boot (a list of phases) ─► run (one poll loop) ─► end (a list of phases) ─► reboot(2)
//!                                 ▲ signals, requests, power button, watchdog, supervisor
//! ```
//!
//! Invariant: process 1 never ends and never waits without a bound; when it dies, the kernel does. So it is
//! synchronous and small, it holds no policy, and every way out of it (request, button, signal, panic, a fault of its
//! own: see [`failure`]) goes through [`end`]. A phase that fails is said and left behind: a machine that is up with something missing can be asked
//! what is missing.
//!
//! Guests are not its children's children by accident: when the supervisor dies they become its own children, go on,
//! and are adopted by the next supervisor.

mod boot;
mod clock;
mod control;
mod crash;
mod end;
mod failure;
mod fault;
mod flash;
mod guests;
mod hardware;
mod identity;
mod kernel;
mod log;
mod modules;
mod mounts;
mod partition;
mod power;
mod pulse;
mod reap;
mod rescue;
mod run;
mod shell;
mod supervise;
mod trial;
mod watchdog;

/// What the machine is to do in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Switch off.
    PowerOff,
    /// Start again.
    Reboot,
}

impl Ending {
    /// The word for it in requests and in `/run/ashlar/ending`.
    pub fn word(self) -> &'static str {
        match self {
            Ending::PowerOff => "poweroff",
            Ending::Reboot => "reboot",
        }
    }
}

/// Runs as process 1. Does not return.
pub fn run() -> ! {
    log::open();
    failure::prepare();
    let hardware = boot::boot();
    let ending = run::until_ending(hardware);
    end::end(ending)
}

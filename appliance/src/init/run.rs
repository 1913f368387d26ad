//! The main loop of process 1: wait for anything, do the little there is to do, wait again.
//!
//! Invariant: nothing in here blocks. Every descriptor is opened so that it does not wait, and what takes time
//! (starting a program) takes milliseconds; what writes to a drive runs beside us. The loop has no clock of its own: it
//! wakes for what is due.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::reboot::set_cad_enabled;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::control::Control;
use super::hardware::Hardware;
use super::power::Buttons;
use super::rescue::Rescue;
use super::supervise::{self, Supervised};
use super::trial::Trial;
use super::watchdog::Watchdog;
use super::{Ending, clock, failure, fault, kernel, log, modules, reap, shell};
use crate::sys::fs;
use crate::sys::init_socket::{DONE, Request, SETTLED, SOCKET};
use crate::sys::uevent::Notice;

/// How often logs are cut.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// Makes process 1 fail, to try what follows; heard only on a machine with a debug shell.
const FAIL: Signal = Signal::SIGUSR2;
/// How often the time is remembered: a clock that was lost is at most this much behind.
const CLOCK_SAVED: Duration = Duration::from_secs(3600);

/// What is still needed while the machine ends.
#[derive(Debug)]
pub struct Parting {
    /// How to end.
    pub ending: Ending,
    /// The supervisor, to be asked first.
    pub supervised: Supervised,
    /// To be fed until the last moment.
    pub watchdog: Option<Watchdog>,
    /// Wakes us when a process ends.
    pub signals: Option<SignalFd>,
}

struct Main {
    supervised: Supervised,
    watchdog: Option<Watchdog>,
    signals: Option<SignalFd>,
    control: Option<Control>,
    buttons: Buttons,
    hardware: Option<Hardware>,
    rescue: Option<Rescue>,
    trial: Option<Trial>,
    ending: Option<Ending>,
    housekeeping: Instant,
    clock_saved: Instant,
    /// Writes the time down: the loop must feed the watchdog also while a drive hangs.
    saving: Option<JoinHandle<()>>,
}

/// Runs the machine until somebody wants it to end.
pub fn until_ending(hardware: Option<Hardware>) -> Parting {
    let now = Instant::now();
    let mut main = Main {
        supervised: Supervised::new(),
        watchdog: Watchdog::open(),
        signals: listen_to_signals(),
        control: Control::open(Path::new(SOCKET))
            .inspect_err(|error| log::error(format_args!("cannot take requests: {error}")))
            .ok(),
        buttons: Buttons::default(),
        hardware,
        rescue: None,
        trial: Trial::begin(now),
        ending: None,
        housekeeping: now + HOUSEKEEPING,
        clock_saved: now,
        saving: None,
    };
    main.buttons.look();
    loop {
        failure::stand_still_after_one();
        let now = Instant::now();
        main.pump(now);
        if let Some(ending) = main.ending {
            let Main {
                supervised,
                watchdog,
                signals,
                ..
            } = main;
            return Parting {
                ending,
                supervised,
                watchdog,
                signals,
            };
        }
        main.sleep(now);
        main.take_in();
    }
}

fn listen_to_signals() -> Option<SignalFd> {
    let mut mask: SigSet = [
        Signal::SIGCHLD,
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGPWR,
    ]
    .into_iter()
    .collect();
    if shell::is_asked() {
        mask.add(FAIL);
    }
    let listening = mask
        .thread_block()
        .and_then(|()| SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC));
    // Ctrl-Alt-Del then asks us instead of restarting the machine at once.
    if let Err(errno) = set_cad_enabled(false) {
        log::warn(format_args!("Ctrl-Alt-Del restarts at once: {errno}"));
    }
    listening
        .inspect_err(|errno| log::error(format_args!("cannot hear signals: {errno}")))
        .ok()
}

impl Main {
    /// What is due.
    fn pump(&mut self, now: Instant) {
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(now);
        }
        if self.ending.is_none() {
            if self.supervised.due().is_some_and(|due| due <= now) {
                self.rescue = None;
            }
            self.supervised.pump(now);
            self.tell_if_hopeless();
        }
        if self.trial.is_some_and(|trial| trial.due() <= now) {
            self.trial = None;
            self.want(Ending::Reboot, "the end of the trial");
        }
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            supervise::trim_log();
            if self.supervised.hang_is_over(now) {
                fault::withdraw(supervise::HUNG);
            }
            if now.saturating_duration_since(self.clock_saved) >= CLOCK_SAVED {
                self.clock_saved = now;
                self.save_clock();
            }
        }
    }

    /// Shows the page of last resort while nothing runs that could show another.
    fn tell_if_hopeless(&mut self) {
        let waits = self.supervised.due().is_some();
        if waits && self.rescue.is_none() && self.supervised.is_hopeless() {
            let why = self.supervised.last_end().unwrap_or("unknown").to_owned();
            let times = self.supervised.restarts() + 1;
            self.rescue = Some(Rescue::show(times, &why, Path::new(supervise::LOG)));
        }
    }

    /// Has the time written down, unless the last time still is.
    fn save_clock(&mut self) {
        if self.saving.as_ref().is_some_and(|last| !last.is_finished()) {
            return;
        }
        self.saving = std::thread::Builder::new()
            .spawn(clock::save)
            .inspect_err(|error| log::error(format_args!("cannot start a thread: {error}")))
            .ok();
    }

    fn sleep(&self, now: Instant) {
        let due = [
            Some(self.housekeeping),
            self.supervised.due(),
            self.supervised.look_due(),
            self.trial.map(Trial::due),
            self.watchdog.as_ref().map(Watchdog::due),
            self.hardware
                .as_ref()
                .and_then(|hardware| hardware.due(now)),
        ];
        let next = due.into_iter().flatten().min().unwrap_or(self.housekeeping);
        // One millisecond more: waking a moment early would mean going round without anything to do.
        let wait = next.saturating_duration_since(now) + Duration::from_millis(1);
        let mut watched: Vec<BorrowedFd<'_>> = Vec::new();
        watched.extend(self.signals.iter().map(AsFd::as_fd));
        watched.extend(self.hardware.iter().flat_map(Hardware::watched));
        watched.extend(self.control.iter().flat_map(Control::watched));
        watched.extend(self.buttons.watched());
        watched.extend(self.rescue.iter().flat_map(Rescue::watched));
        let mut fds: Vec<_> = watched
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // Interrupted or failed, we look at everything anyway.
        let _ = poll(
            &mut fds,
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX),
        );
    }

    /// What has come.
    fn take_in(&mut self) {
        self.hear_signals();
        for (pid, exit) in reap::all() {
            self.supervised.reaped(pid, exit, Instant::now());
        }
        self.supervised.news().iter().for_each(fault::report);
        self.hear_events();
        if self.buttons.pressed() {
            self.want(Ending::PowerOff, "the power button");
        }
        if let Some(ending) = self.rescue.as_mut().and_then(Rescue::pressed) {
            self.want(ending, "the keyboard");
        }
        if let Some(mut control) = self.control.take() {
            control.serve(|request, pid| match request {
                Request::PowerOff => {
                    self.want(Ending::PowerOff, "a request");
                    DONE.to_owned()
                }
                Request::Reboot => {
                    self.want(Ending::Reboot, "a request");
                    DONE.to_owned()
                }
                Request::RestartSupervisor => {
                    self.supervised.replace();
                    DONE.to_owned()
                }
                Request::Alive => {
                    self.supervised.beat(pid);
                    DONE.to_owned()
                }
                Request::Served => {
                    if let Some(hardware) = &mut self.hardware {
                        hardware.release();
                    }
                    DONE.to_owned()
                }
                Request::Kept => {
                    self.trial = None;
                    DONE.to_owned()
                }
                Request::Status => self.status(),
            });
            self.control = Some(control);
        }
    }

    fn hear_signals(&mut self) {
        while let Some(Ok(Some(signal))) = self.signals.as_ref().map(SignalFd::read_signal) {
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGINT)) => self.want(Ending::Reboot, "Ctrl-Alt-Del"),
                Ok(Ok(Signal::SIGPWR)) => self.want(Ending::PowerOff, "the power signal"),
                Ok(Ok(FAIL)) => panic!("somebody at the debug shell wants it"),
                Ok(Ok(Signal::SIGTERM)) => self.want(Ending::PowerOff, "the terminate signal"),
                _ => {}
            }
        }
    }

    fn hear_events(&mut self) {
        let Some(hardware) = &mut self.hardware else {
            return;
        };
        let (mut input, mut watchdog) = (false, false);
        hardware.take_in(|notice| match notice {
            Notice::Event(event) if event.action == "add" => {
                input |= event.subsystem == "input";
                watchdog |= event.subsystem == "watchdog";
            }
            Notice::Event(_) => {}
            Notice::Lost => (input, watchdog) = (true, true),
        });
        if hardware.settled() {
            // Only now is what has no driver known to be absent.
            kernel::shortcomings().iter().for_each(fault::report);
            modules::load_soon();
            kernel::end_haste();
            if let Err(error) = fs::write_atomic(Path::new(SETTLED), b"", 0o644) {
                log::error(log::chain(&error));
            }
        }
        if input {
            self.buttons.look();
        }
        if watchdog && self.watchdog.is_none() {
            self.watchdog = Watchdog::open();
        }
    }

    fn want(&mut self, ending: Ending, who: &str) {
        log::info(format_args!("{who} asks for {}", ending.word()));
        // The first to ask decides.
        self.ending.get_or_insert(ending);
    }

    fn status(&self) -> String {
        serde_json::json!({
            "restarts": self.supervised.restarts(),
            "last_end": self.supervised.last_end(),
            "watchdog": self.watchdog.is_some(),
            "ending": self.ending.map(Ending::word),
        })
        .to_string()
    }
}

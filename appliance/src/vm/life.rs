//! The life of a machine, as a pure state machine.
//!
//! ```text
//!            Start                    Resume
//!    Down ──────────► Up(Loaded) ───────────────► Up(Running) ◄──Pause/Resume──► Up(Held)
//!    │  ▲                                           │       │
//!    │  │            the process ended              │       └─► Up(Crashed), Up(NoRoom)
//!    │  └────────── Quit, else Kill ◄───────────────┴─► Up(Off): the guest switched itself off
//!    └─► Erase, when it is to be deleted
//! ```
//!
//! There is no queue of requests. [`Life::next`] looks at what is wanted and at
//! what is, and names the one thing to do now, or when to look again;
//! [`Life::seen`] takes in what happened. A wish that came while something else
//! was going on, twice, or while no supervisor ran is therefore neither lost nor
//! fulfilled twice: restarts and resets are counters, everything else a level.
//!
//! Invariants, held by the property tests:
//! - a process is started only where there is none;
//! - a guest that may still be writing is cut only when someone asked for that
//!   (stop, delete) or when the node ends and the guest had its time;
//! - the same thing is not tried twice in one moment;
//! - when nobody changes anything any more, what is wanted comes to be.

mod seen;
mod story;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use ashlar_api::vm::RunPolicy;

use crate::state::schema::Want;

/// A guest that does not end this long after it was asked is told about.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How long QEMU may take to end after `quit` before it is killed.
const QUIT_LIMIT: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone before it is killed again.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// A run that was at least this long was no failed start.
const LASTING: Duration = Duration::from_secs(60);
/// The longest wait before the next start of a machine that keeps ending.
const SLOWEST: Duration = Duration::from_secs(60);
/// The wait after an action that could not be done.
const AGAIN: Duration = Duration::from_secs(2);
/// How often a held write is tried again.
const ROOM_AGAIN: Duration = Duration::from_secs(30);
/// A guest that was asked to end and does so within this time ended because of that.
const STILL_MEANT: Duration = Duration::from_secs(300);
/// So many ends in a row, each soon after the start, are called a loop.
const LOOP: u32 = 3;

/// What is wanted of a machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What it is to do, its policy considered.
    pub want: Want,
    /// When it is to run.
    pub policy: RunPolicy,
    /// How often a restart was asked for.
    pub restarts: u64,
    /// How often a reset was asked for.
    pub resets: u64,
    /// Revision of the record these come from.
    pub revision: u64,
    /// What stands in the way of a start.
    pub obstacle: Option<Obstacle>,
    /// It is to be gone with all that belongs to it.
    pub deleting: bool,
    /// The node ends: guests are asked now and cut then.
    pub node_ends: Option<Instant>,
}

/// Why a machine can not be started now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// True when it goes away by itself (a disk is being made).
    pub passing: bool,
    /// What it is, for a person.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// What the guest of a running process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// It has not begun, at all or since a reset while it was held.
    Loaded,
    /// It runs.
    Running,
    /// It is held.
    Held,
    /// It switched itself off.
    Off,
    /// Its kernel told that it crashed, or the processor can not go on.
    Crashed,
    /// It is held because a disk could not grow.
    NoRoom,
}

/// One thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Start a process; its guest waits.
    Start,
    /// Let the guest go on.
    Resume,
    /// Hold the guest.
    Pause,
    /// Press the power button.
    Ask,
    /// Press the reset button.
    Reset,
    /// Tell QEMU to end.
    Quit,
    /// Kill the process.
    Kill,
    /// Remove what belongs to the machine on this node.
    Erase,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An action was done, with the counters it fulfils.
    Done(Action),
    /// An action could not be done.
    Failed(Action, String),
    /// Something stands in the way of a start.
    Blocked(Obstacle),
    /// What stood in the way may be gone.
    Unblocked,
    /// The guest does something else now.
    Guest(Guest),
    /// A process of an earlier supervisor was found.
    Adopted {
        /// What its guest does.
        guest: Guest,
        /// Restarts that were fulfilled when it was started.
        restarts: u64,
        /// Resets that were fulfilled.
        resets: u64,
    },
    /// A process of an earlier supervisor ended while nobody looked.
    Vanished {
        /// Restarts that were fulfilled when it was started.
        restarts: u64,
        /// Resets that were fulfilled.
        resets: u64,
    },
    /// The process ended, and what can be told about an unexpected end.
    Exited(String),
    /// The connection to QEMU is there or not.
    Monitor(bool),
    /// That the guest ended by itself was written down, in this revision.
    EndSettled(u64),
}

/// What to do now, or when to look again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Next {
    /// The one thing to do now.
    pub action: Option<Action>,
    /// When to look again even if nothing happens.
    pub wake: Option<Instant>,
}

/// A machine's life on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    state: State,
    /// Wishes that are fulfilled.
    restarts: u64,
    resets: u64,
    /// Runs that ended soon after their start, or failed to start, in a row.
    failures: u32,
    /// Not before this moment is anything tried again.
    hold_off: Option<Instant>,
    erased: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Down {
        end: Option<End>,
        blocked: Option<Obstacle>,
    },
    Up(Up),
}

#[derive(Clone, Debug, PartialEq)]
struct Up {
    guest: Guest,
    began: Instant,
    /// False until its guest ran for the first time.
    ran: bool,
    /// The power button: pressed first, pressed last, how often.
    asked: Option<(Instant, Instant, u32)>,
    /// When the end of this run was wanted last; an end soon after it is that end.
    end_wanted: Option<Instant>,
    quit: Option<Instant>,
    killed: Option<Instant>,
    monitor: bool,
    trouble: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Someone asked for it.
    Wanted,
    /// The guest switched itself off.
    ByGuest,
    /// Nobody wanted it.
    Failure(String),
    /// The guest ended by itself; that is written down in this revision.
    Settled(u64, String),
}

/// What a running process is to be brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Run,
    Hold,
    End,
    Cut,
}

impl Next {
    fn act(action: Action) -> Next {
        Next {
            action: Some(action),
            wake: None,
        }
    }
    fn at(wake: Instant) -> Next {
        Next {
            action: None,
            wake: Some(wake),
        }
    }
}

impl Up {
    fn new(guest: Guest, now: Instant) -> Up {
        Up {
            guest,
            began: now,
            ran: false,
            asked: None,
            end_wanted: None,
            quit: None,
            killed: None,
            monitor: true,
            trouble: String::new(),
        }
    }
}

/// The wait before a machine that ended so often in a row is started again.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(SLOWEST)
}

impl Default for Life {
    fn default() -> Self {
        Life {
            state: State::Down {
                end: None,
                blocked: None,
            },
            restarts: 0,
            resets: 0,
            failures: 0,
            hold_off: None,
            erased: false,
        }
    }
}

impl Life {
    /// Whether it has a process.
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Whether something on the node stands in the way of a start.
    pub fn is_blocked(&self) -> bool {
        let down = matches!(&self.state, State::Down { blocked, .. } if blocked.is_some());
        down && !self.erased
    }

    /// Whether nothing of a deleted machine is left on this node.
    pub fn is_gone(&self) -> bool {
        self.erased
    }

    /// Whether its guest ended by itself and its policy says that it shall stay so: to be written down.
    pub fn has_ended(&self, wish: &Wish) -> bool {
        let by_itself = matches!(
            self.state,
            State::Down {
                end: Some(End::ByGuest | End::Failure(_)),
                ..
            }
        );
        by_itself
            && wish.policy == RunPolicy::Manual
            && matches!(wish.want, Want::On | Want::Paused)
            && wish.restarts == self.restarts
            && wish.node_ends.is_none()
    }

    fn goal(&self, up: &Up, wish: &Wish, now: Instant) -> Goal {
        if wish.deleting || wish.want == Want::Cut {
            return Goal::Cut;
        }
        match wish.node_ends {
            Some(until) if now >= until => return Goal::Cut,
            Some(_) => return Goal::End,
            None => {}
        }
        match wish.want {
            Want::Off | Want::Cut => Goal::End,
            _ if up.ran && wish.restarts > self.restarts => Goal::End,
            Want::On => Goal::Run,
            Want::Paused => Goal::Hold,
        }
    }

    /// What to do now.
    pub fn next(&self, wish: &Wish, now: Instant) -> Next {
        match &self.state {
            State::Down { end, blocked } => self.next_down(end.as_ref(), blocked, wish, now),
            State::Up(up) => self.next_up(up, wish, now),
        }
    }

    fn next_down(
        &self,
        end: Option<&End>,
        blocked: &Option<Obstacle>,
        wish: &Wish,
        now: Instant,
    ) -> Next {
        if self.erased {
            return Next::default();
        }
        if wish.deleting {
            return match self.hold_off {
                Some(until) if until > now => Next::at(until),
                _ => Next::act(Action::Erase),
            };
        }
        let stays = match end {
            Some(End::Settled(revision, _)) => wish.revision < *revision,
            _ => false,
        };
        if wish.node_ends.is_some()
            || matches!(wish.want, Want::Off | Want::Cut)
            || wish.obstacle.is_some()
            || stays
            || self.has_ended(wish)
        {
            return Next::default();
        }
        match self.hold_off {
            Some(until) if until > now => Next::at(until),
            // Whoever found the way blocked says when it is worth another look.
            _ if blocked.is_some() => Next::default(),
            _ => Next::act(Action::Start),
        }
    }

    fn next_up(&self, up: &Up, wish: &Wish, now: Instant) -> Next {
        if let Some(at) = up.killed {
            let again = at + KILL_LIMIT;
            return if now >= again {
                Next::act(Action::Kill)
            } else {
                Next::at(again)
            };
        }
        let goal = self.goal(up, wish, now);
        if let Some(at) = up.quit {
            let until = at + QUIT_LIMIT;
            return if now >= until {
                Next::act(Action::Kill)
            } else {
                Next::at(until)
            };
        }
        if !up.monitor {
            // Without a word to QEMU the process is all there is to act on.
            return match (goal, wish.node_ends) {
                (Goal::Cut, _) => Next::act(Action::Kill),
                (_, Some(until)) => Next::at(until),
                _ => Next::default(),
            };
        }
        let hold_off = self.hold_off.filter(|until| *until > now);
        let mut next = match hold_off {
            Some(until) => Next::at(until),
            None => self.next_with_monitor(up, goal, wish, now),
        };
        if let (None, Some(until)) = (next.action, wish.node_ends) {
            next.wake = Some(next.wake.map_or(until, |wake| wake.min(until)));
        }
        if goal == Goal::Cut && next.action.is_none() {
            return Next::act(Action::Kill);
        }
        next
    }

    fn next_with_monitor(&self, up: &Up, goal: Goal, wish: &Wish, now: Instant) -> Next {
        use Guest::{Crashed, Held, Loaded, NoRoom, Off, Running};
        let reset = wish.resets > self.resets;
        match (goal, up.guest) {
            (Goal::Cut, _) | (_, Off) => Next::act(Action::Quit),
            // It has not begun, at all or since its reset, or can not hear the button any more.
            (Goal::End, Loaded | Crashed) => Next::act(Action::Quit),
            (Goal::End, Held | NoRoom) => Next::act(Action::Resume),
            (Goal::End, Running) => match up.asked {
                None => Next::act(Action::Ask),
                Some((first, last, times)) => {
                    // A guest that was still starting did not hear it; one that
                    // is busy ending is not to be pestered.
                    let pause = match times {
                        1 | 2 => Duration::from_secs(10),
                        3..=5 => Duration::from_secs(30),
                        _ => Duration::from_secs(60),
                    };
                    if now >= last + pause {
                        return Next::act(Action::Ask);
                    }
                    let told = first + PATIENCE;
                    let wake = if told > now {
                        told.min(last + pause)
                    } else {
                        last + pause
                    };
                    Next::at(wake)
                }
            },
            (Goal::Run | Goal::Hold, _) if reset && up.ran => Next::act(Action::Reset),
            (Goal::Run, Loaded | Held | NoRoom) => Next::act(Action::Resume),
            (Goal::Run | Goal::Hold, Crashed) if wish.policy == RunPolicy::Always => {
                Next::act(Action::Reset)
            }
            (Goal::Hold, Running) => Next::act(Action::Pause),
            (Goal::Run, Running | Crashed) => Next::default(),
            (Goal::Hold, Loaded | Held | Crashed | NoRoom) => Next::default(),
        }
    }
}

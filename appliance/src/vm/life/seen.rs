//! How a machine's life takes in what happened.

use std::time::Instant;

use super::{
    AGAIN, Action, End, Event, Goal, Guest, LASTING, Life, ROOM_AGAIN, STILL_MEANT, State, Up,
    Wish, backoff,
};
use crate::state::schema::Want;

impl Life {
    /// Takes in what happened.
    pub fn seen(&mut self, event: Event, wish: &Wish, now: Instant) {
        match event {
            Event::Done(action) => self.done(action, wish, now),
            Event::Failed(Action::Start, message) => {
                self.state = State::Down {
                    end: Some(End::Failure(message)),
                    blocked: None,
                };
                self.count_failure(now);
            }
            Event::Failed(_, message) => {
                self.hold_off = Some(now + AGAIN);
                if let State::Up(up) = &mut self.state {
                    up.trouble = message;
                }
            }
            Event::Blocked(obstacle) => {
                if let State::Down { blocked, .. } = &mut self.state {
                    *blocked = Some(obstacle);
                }
            }
            Event::Unblocked => {
                if let State::Down { blocked, .. } = &mut self.state {
                    *blocked = None;
                }
            }
            Event::Guest(guest) => self.guest(guest, now),
            Event::Adopted {
                guest,
                restarts,
                resets,
            } => {
                (self.restarts, self.resets) = (restarts, resets);
                self.state = State::Up(Up {
                    ran: guest != Guest::Loaded,
                    ..Up::new(guest, now)
                });
            }
            Event::Vanished { restarts, resets } => {
                (self.restarts, self.resets) = (restarts, resets);
                self.state = State::Down {
                    end: Some(End::Failure(
                        "It ended while nobody looked after it".to_owned(),
                    )),
                    blocked: None,
                };
            }
            Event::Exited(why) => self.exited(why, now),
            Event::Monitor(there) => {
                if let State::Up(up) = &mut self.state {
                    up.monitor = there;
                }
            }
            Event::EndSettled(revision) => {
                if let State::Down { end, .. } = &mut self.state {
                    let why = match end.take() {
                        Some(End::Failure(why) | End::Settled(_, why)) => why,
                        _ => String::new(),
                    };
                    *end = Some(End::Settled(revision, why));
                }
            }
        }
        self.note_wish(wish, now);
    }

    /// Keeps what a wish says that later wishes may not say any more.
    pub fn note_wish(&mut self, wish: &Wish, now: Instant) {
        let off = matches!(wish.want, Want::Off | Want::Cut) || wish.deleting;
        match &self.state {
            State::Up(up) => {
                let goal = self.goal(up, wish, now);
                if let State::Up(up) = &mut self.state {
                    match goal {
                        Goal::End | Goal::Cut => up.end_wanted = Some(now),
                        // The button is pressed anew when it is wanted anew.
                        Goal::Run | Goal::Hold => up.asked = None,
                    }
                }
            }
            State::Down { .. } if off => {
                (self.restarts, self.resets) = (wish.restarts, wish.resets);
                self.failures = 0;
                self.hold_off = self.hold_off.filter(|_| wish.deleting);
                if let State::Down { end: Some(end), .. } = &mut self.state
                    && matches!(end, End::ByGuest)
                {
                    *end = End::Wanted;
                }
            }
            State::Down { .. } => {}
        }
    }

    fn done(&mut self, action: Action, wish: &Wish, now: Instant) {
        if action == Action::Start {
            (self.restarts, self.resets) = (wish.restarts, wish.resets);
            self.hold_off = None;
            self.state = State::Up(Up::new(Guest::Loaded, now));
            return;
        }
        if action == Action::Erase {
            self.erased = true;
            return;
        }
        let State::Up(up) = &mut self.state else {
            return;
        };
        up.trouble.clear();
        match action {
            Action::Resume => {
                (up.guest, up.ran) = (Guest::Running, true);
                self.hold_off = None;
            }
            Action::Pause => up.guest = Guest::Held,
            Action::Ask => {
                let (first, _, times) = up.asked.unwrap_or((now, now, 0));
                up.asked = Some((first, now, times.saturating_add(1)));
            }
            Action::Reset => {
                let crashed = up.guest == Guest::Crashed;
                if up.guest != Guest::Running {
                    up.guest = Guest::Loaded;
                }
                up.asked = None;
                // A reset is what a restart that is still waiting wants.
                (self.restarts, self.resets) = (wish.restarts, wish.resets);
                if crashed {
                    self.count_failure(now);
                }
            }
            Action::Quit => up.quit = Some(now),
            Action::Kill => up.killed = Some(now),
            Action::Start | Action::Erase => {}
        }
    }

    fn guest(&mut self, guest: Guest, now: Instant) {
        let State::Up(up) = &mut self.state else {
            return;
        };
        if up.guest == guest {
            return;
        }
        up.guest = guest;
        up.ran |= guest == Guest::Running;
        match guest {
            Guest::NoRoom => self.hold_off = Some(now + ROOM_AGAIN),
            Guest::Off => self.hold_off = None,
            Guest::Crashed if now < up.began + LASTING => {
                self.hold_off = Some(now + backoff(self.failures + 1));
            }
            Guest::Crashed => {
                self.failures = 0;
                self.hold_off = Some(now + backoff(1));
            }
            _ => {}
        }
    }

    fn exited(&mut self, why: String, now: Instant) {
        let State::Up(up) = &self.state else {
            return;
        };
        let wanted = up.end_wanted.is_some_and(|at| now < at + STILL_MEANT);
        let end = if wanted {
            End::Wanted
        } else if up.guest == Guest::Off {
            End::ByGuest
        } else {
            End::Failure(why)
        };
        let lasted = now >= up.began + LASTING;
        self.state = State::Down {
            end: Some(end),
            blocked: None,
        };
        if wanted {
            self.failures = 0;
            self.hold_off = None;
        } else {
            if lasted {
                self.failures = 0;
            }
            self.count_failure(now);
        }
    }

    fn count_failure(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.hold_off = Some(now + backoff(self.failures));
    }
}

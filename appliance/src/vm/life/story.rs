//! What a person is told about a machine's life: one phase, one sentence, and
//! what to do about it.

use std::time::Instant;

use ashlar_api::vm::{RunPolicy, VmPhase};

use super::{End, Goal, Guest, LOOP, Life, Obstacle, PATIENCE, State, Up, Wish};
use crate::state::schema::Want;

/// What a person is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// Where its life stands.
    pub phase: VmPhase,
    /// What is going on or wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Story {
    fn plain(phase: VmPhase) -> Story {
        Story {
            phase,
            ..Story::default()
        }
    }

    fn new(phase: VmPhase, message: impl Into<String>, remedy: impl Into<String>) -> Story {
        Story {
            phase,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    fn of(phase: VmPhase, obstacle: &Obstacle) -> Story {
        Story::new(phase, obstacle.message.clone(), obstacle.remedy.clone())
    }
}

impl Life {
    /// What a person is told.
    pub fn story(&self, wish: &Wish, now: Instant) -> Story {
        match &self.state {
            State::Down { end, blocked } => self.of_down(end.as_ref(), blocked.as_ref(), wish),
            State::Up(up) => self.of_up(up, wish, now),
        }
    }

    fn of_down(&self, end: Option<&End>, blocked: Option<&Obstacle>, wish: &Wish) -> Story {
        if wish.deleting {
            return Story::plain(VmPhase::Deleting);
        }
        let why = match end {
            Some(End::Failure(why) | End::Settled(_, why)) => why.as_str(),
            _ => "",
        };
        let wanted = matches!(wish.want, Want::On | Want::Paused);
        if let Some(obstacle) = &wish.obstacle {
            return match (obstacle.passing, wanted) {
                (true, _) => Story::of(VmPhase::Preparing, obstacle),
                (false, true) => Story::of(VmPhase::Failed, obstacle),
                (false, false) => Story::of(VmPhase::Stopped, obstacle),
            };
        }
        let settled = matches!(end, Some(End::Settled(revision, _)) if wish.revision < *revision);
        if !wanted || settled || wish.node_ends.is_some() || self.has_ended(wish) {
            return Story::new(VmPhase::Stopped, why, "");
        }
        match (blocked, end) {
            (Some(obstacle), _) if obstacle.passing => Story::of(VmPhase::Starting, obstacle),
            (Some(obstacle), _) => Story::of(VmPhase::Failed, obstacle),
            (None, Some(End::Failure(why))) if self.failures >= LOOP => Story::new(
                VmPhase::Failed,
                format!(
                    "{why}. It is tried again every minute ({} times so far)",
                    self.failures
                ),
                "Look at its console and its settings; stop it to end the attempts",
            ),
            (None, Some(End::Failure(why))) => Story::new(
                VmPhase::Failed,
                format!("{why}. It is tried again in a moment"),
                "",
            ),
            (None, Some(End::ByGuest)) if self.failures >= LOOP => Story::new(
                VmPhase::Failed,
                format!(
                    "Its guest ended soon after the start, {} times in a row; it is tried again every minute",
                    self.failures
                ),
                "Look at its console; stop it to end the attempts, or choose the run policy `manual`",
            ),
            (None, Some(End::ByGuest)) => Story::new(
                VmPhase::Starting,
                "Its guest ended; it is started again, as its run policy says",
                "",
            ),
            (None, _) => Story::plain(VmPhase::Starting),
        }
    }

    fn of_up(&self, up: &Up, wish: &Wish, now: Instant) -> Story {
        let goal = self.goal(up, wish, now);
        if wish.deleting {
            return Story::new(VmPhase::Deleting, "Its power is being cut", "");
        }
        if up.quit.is_some() || up.killed.is_some() || goal == Goal::Cut {
            return Story::plain(VmPhase::Stopping);
        }
        if !up.monitor {
            let phase = match (goal, up.guest) {
                (Goal::End, _) => VmPhase::Stopping,
                (_, Guest::Held | Guest::NoRoom) => VmPhase::Paused,
                _ => VmPhase::Running,
            };
            return Story::new(
                phase,
                "Its process does not answer",
                "It is asked again and again; if this lasts, stop the machine: what its guest has not written is lost",
            );
        }
        if goal == Goal::End {
            return self.of_ending(up, wish, now);
        }
        let mut story = match (up.guest, goal) {
            (Guest::Running, _) => Story::plain(VmPhase::Running),
            (Guest::Held, Goal::Run) | (Guest::Loaded, Goal::Run) => {
                Story::plain(VmPhase::Starting)
            }
            (Guest::Held | Guest::Loaded, _) => Story::plain(VmPhase::Paused),
            (Guest::Off, _) => Story::plain(VmPhase::Stopping),
            (Guest::Crashed, _) if wish.policy == RunPolicy::Always => Story::new(
                VmPhase::Failed,
                "Its guest crashed; it is reset in a moment",
                "Look at its screen for the reason",
            ),
            (Guest::Crashed, _) => Story::new(
                VmPhase::Failed,
                "Its guest crashed and is held, so that its screen can be read",
                "Look at its screen, then reset or stop it",
            ),
            (Guest::NoRoom, _) => Story::new(
                VmPhase::Paused,
                "It is held because a disk could not grow: its pool is full",
                "Make room in the pool, or make the pool larger; the machine then goes on by itself",
            ),
        };
        if story.message.is_empty() {
            story.message.clone_from(&up.trouble);
        }
        story
    }

    fn of_ending(&self, up: &Up, wish: &Wish, now: Instant) -> Story {
        let waits_long = up.asked.is_some_and(|(first, ..)| now >= first + PATIENCE);
        let restart = matches!(wish.want, Want::On | Want::Paused) && wish.node_ends.is_none();
        match (waits_long, restart) {
            (true, false) => Story::new(
                VmPhase::Stopping,
                "Its guest does not react to the power button",
                "End it from its console, or stop it: that cuts its power, and what it has not written is lost",
            ),
            (true, true) => Story::new(
                VmPhase::Stopping,
                "Its guest does not react to the power button, so it could not be restarted yet",
                "Restart it from its console, or reset it: what it has not written is lost",
            ),
            (false, false) => Story::new(VmPhase::Stopping, "Its guest was asked to end", ""),
            (false, true) => Story::new(
                VmPhase::Stopping,
                "Its guest was asked to end and is then started again",
                "",
            ),
        }
    }
}

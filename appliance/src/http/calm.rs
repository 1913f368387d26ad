//! Threads that serve, and wake seldom while nobody asks for anything.
//!
//! Each server renews the text of its `Date` header twice a second, whether or not it is needed (`DateService` of
//! actix-http): with four threads these were nine in ten of all wakes of a node at rest. With slack
//! (`PR_SET_TIMERSLACK`, prctl(2)) the kernel gathers them into about one a second. A request never waits for it, only
//! what goes by a clock does: time-outs, which may be late, and the opening of consoles, which asks for prompt timers as
//! long as it goes on.

use std::cell::Cell;

/// How late a thread at rest may wake, in nanoseconds.
const SLACK: u64 = 1_000_000_000;
/// The kernel's own default.
const PROMPT: u64 = 50_000;

thread_local! {
    /// How many need prompt timers in this thread.
    static NEEDED: Cell<u32> = const { Cell::new(0) };
}

/// Lets this thread wake late from now on.
pub fn calm() {
    NEEDED.with(|needed| set(needed.get()));
}

/// Prompt timers in this thread for as long as this exists.
#[derive(Debug)]
pub struct Prompt {
    /// It counts in its own thread.
    _stays: std::marker::PhantomData<*const ()>,
}

impl Prompt {
    /// From now on.
    pub fn timers() -> Prompt {
        change(|needed| needed.saturating_add(1));
        Prompt {
            _stays: std::marker::PhantomData,
        }
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        change(|needed| needed.saturating_sub(1));
    }
}

fn change(change: impl Fn(u32) -> u32) {
    NEEDED.with(|needed| {
        needed.set(change(needed.get()));
        set(needed.get());
    });
}

fn set(needed: u32) {
    let slack = if needed == 0 { SLACK } else { PROMPT };
    if let Err(errno) = nix::sys::prctl::set_timerslack(slack) {
        tracing::debug!("set how late a thread may wake: {errno}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slack() -> i32 {
        nix::sys::prctl::get_timerslack().unwrap()
    }

    #[test]
    fn timers_are_prompt_while_somebody_needs_them() {
        let thread = std::thread::spawn(|| {
            calm();
            assert_eq!(slack(), 1_000_000_000);
            let first = Prompt::timers();
            let second = Prompt::timers();
            drop(first);
            assert_eq!(slack(), 50_000);
            drop(second);
            assert_eq!(slack(), 1_000_000_000);
        });
        thread.join().unwrap();
    }
}

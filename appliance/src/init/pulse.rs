//! Whether the supervisor still lives: it gives a sign ([`crate::sys::init_socket::Request::Alive`]) every some seconds,
//! and process 1 looks from time to time whether one came.
//!
//! ```text
//!   sign ──► missed = 0          look (each a sixth of the patience) ──► missed + 1 ──► seven: it hangs
//! ```
//!
//! Invariant: silence is counted in looks of ours and not in time. While the whole machine stood still (its host was
//! suspended, its hypervisor held it) nobody gave signs and nobody looked either; after it there is one look that missed
//! one, whatever the clock says. A machine so slow that process 1 comes late looks later, too.
//!
//! The program that is watched is the one that watches, in another role: there is no supervisor that knows of no signs.

use std::time::{Duration, Instant};

use super::log;
use crate::sys::proc::kernel_words;

/// Silence after which it hangs: minutes, because a supervisor that is killed for nothing is worse than one that is
/// killed late. Machines go on either way.
const PATIENCE: Duration = Duration::from_secs(180);
/// Less would take a machine that is busy for one that hangs.
const LEAST: u64 = 30;
/// The word of the kernel's command line with another patience, in seconds: for tests, and for machines slower than
/// any we know.
const WORD: &str = "ashlar.supervisor-patience=";
/// Looks in the patience.
const LOOKS: u32 = 6;
/// The first sign may take so many: emulated processors, a drive that has to spin up.
const FIRST_LOOKS: u32 = 20;

/// What is heard of one process.
#[derive(Debug)]
pub struct Pulse {
    interval: Duration,
    next: Instant,
    missed: u32,
    heard: bool,
}

impl Pulse {
    /// For a process that starts now.
    pub fn new(patience: Duration, now: Instant) -> Pulse {
        let interval = patience / LOOKS;
        Pulse {
            interval,
            next: now + interval,
            missed: 0,
            heard: false,
        }
    }

    /// Another process starts now.
    pub fn start(&mut self, now: Instant) {
        self.next = now + self.interval;
        self.missed = 0;
        self.heard = false;
    }

    /// It gave a sign.
    pub fn beat(&mut self) {
        self.missed = 0;
        self.heard = true;
    }

    /// When to look next.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// Looks, when it is time; the silence so far, once that is too long.
    pub fn look(&mut self, now: Instant) -> Option<Duration> {
        if now < self.next {
            return None;
        }
        self.next = now + self.interval;
        self.missed = self.missed.saturating_add(1);
        let most = if self.heard { LOOKS } else { FIRST_LOOKS };
        // The first look may come right behind a sign: only those after it are whole intervals of silence.
        let silent = self.missed - 1;
        (silent >= most).then(|| self.interval * silent)
    }
}

/// The patience that holds on this machine.
pub fn patience() -> Duration {
    let patience = asked(&kernel_words()).unwrap_or(PATIENCE);
    if patience != PATIENCE {
        log::warn(format_args!(
            "a supervisor that is silent for {} s is restarted: the kernel's command line says so",
            patience.as_secs()
        ));
    }
    patience
}

fn asked(words: &[String]) -> Option<Duration> {
    let seconds = words.iter().find_map(|word| word.strip_prefix(WORD))?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(Duration::from_secs(seconds.max(LEAST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Looks each second from `from` to `to`; when it was found to hang.
    fn watch(pulse: &mut Pulse, start: Instant, from: u64, to: u64) -> Option<(u64, Duration)> {
        (from..=to).find_map(|second| {
            let silent = pulse.look(start + Duration::from_secs(second));
            silent.map(|silent| (second, silent))
        })
    }

    #[test]
    fn silence_for_the_whole_patience_is_a_hang_and_less_is_none() {
        let start = Instant::now();
        for sign in 0..60 {
            let mut pulse = Pulse::new(MINUTE, start);
            assert_eq!(watch(&mut pulse, start, 0, sign), None);
            pulse.beat();
            assert_eq!(watch(&mut pulse, start, sign, sign + 60), None, "{sign}");
            let (second, silent) = watch(&mut pulse, start, sign + 61, sign + 75).unwrap();
            assert!(second - sign <= 70, "{sign}: {second}");
            assert_eq!(silent, MINUTE);
        }
    }

    #[test]
    fn signs_at_their_pace_keep_it_alive() {
        let start = Instant::now();
        let mut pulse = Pulse::new(MINUTE, start);
        for second in 0..100_000 {
            if second % 20 == 0 {
                pulse.beat();
            }
            assert_eq!(pulse.look(start + Duration::from_secs(second)), None);
        }
    }

    #[test]
    fn a_start_may_take_longer_and_each_process_has_its_own() {
        let start = Instant::now();
        let mut pulse = Pulse::new(MINUTE, start);
        let (second, silent) = watch(&mut pulse, start, 0, 1000).unwrap();
        assert_eq!((second, silent), (210, Duration::from_secs(200)));
        pulse.beat();
        pulse.start(start + Duration::from_secs(300));
        assert_eq!(watch(&mut pulse, start, 300, 509), None);
        assert!(watch(&mut pulse, start, 510, 510).is_some());
    }

    #[test]
    fn a_machine_that_stood_still_has_looked_once() {
        let start = Instant::now();
        let mut pulse = Pulse::new(MINUTE, start);
        pulse.beat();
        let hours = 7 * 3600;
        for pause in 1..6 {
            assert_eq!(
                pulse.look(start + Duration::from_secs(pause * hours)),
                None,
                "{pause}"
            );
        }
        pulse.beat();
        assert_eq!(watch(&mut pulse, start, 6 * hours, 6 * hours + 59), None);
    }

    #[test]
    fn the_command_line_may_name_another_patience() {
        let words = |word: &str| vec!["quiet".to_owned(), word.to_owned()];
        assert_eq!(asked(&words("ashlar.supervisor-patience=60")), Some(MINUTE));
        let least = Some(Duration::from_secs(LEAST));
        assert_eq!(asked(&words("ashlar.supervisor-patience=0")), least);
        assert_eq!(asked(&words("ashlar.supervisor-patience=soon")), None);
        assert_eq!(asked(&words("ashlar.supervisor-patience=-1")), None);
        assert_eq!(asked(&words("x")), None);
    }
}

//! Watching a machine boot from outside: what its serial line says, and when its console first answers.
//!
//! The appliance says three lines on the serial line (`Console:`, `Certificate:`, `Claim code:`). The serial log carries
//! no times, so the moments are those at which the watcher saw a line; it looks ten times a second.
//!
//! The API is asked anew while older questions still wait: what is sent to a machine that has no address yet is lost,
//! and only sent again after seconds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::api::Appliance;
use crate::qemu::Machine;

const LOOK: Duration = Duration::from_millis(100);
/// How often the API is asked.
const ASK: Duration = Duration::from_millis(300);

/// What the machine said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Seconds from the kernel's start to stage 0, by the machine's own clock.
    pub stage0: Option<Duration>,
    /// The address it has on its network.
    pub console: Option<String>,
    /// The certificate's SHA-256 fingerprint.
    pub certificate: Option<String>,
    /// The one-time code that claims it.
    pub claim_code: Option<String>,
}

impl Facts {
    /// Takes from one line of the serial log what it says.
    fn read(&mut self, line: &str) {
        let line = plain(line);
        let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim());
        if let Some(rest) = after("stage 0: started ") {
            let seconds = rest.split(' ').next().and_then(|word| word.parse().ok());
            self.stage0 = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        } else if let Some(rest) = after("Console: ").filter(|rest| rest.starts_with("https://")) {
            self.console = Some(first_word(rest));
        } else if let Some(rest) = after("Certificate: ") {
            self.certificate = Some(rest.trim_start_matches("SHA-256").trim().to_owned());
        } else if let Some(rest) = after("Claim code: ") {
            self.claim_code = Some(first_word(rest));
        }
    }
}

/// When things were seen, counted from power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// The firmware's first character on the serial line.
    pub firmware: Option<Duration>,
    /// The kernel's start: the moment of stage 0's line less the seconds it names.
    pub kernel: Option<Duration>,
    /// The first answer of `GET /api/v1/health`.
    pub api: Option<Duration>,
}

impl Moments {
    /// From the kernel's start to the first answer.
    pub fn since_kernel(&self) -> Option<Duration> {
        Some(self.api?.saturating_sub(self.kernel?))
    }
}

/// A boot that is being watched.
pub struct Watch {
    started: Instant,
    log: PathBuf,
    read: u64,
    rest: Vec<u8>,
    api: Arc<Appliance>,
    answered: Arc<OnceLock<Duration>>,
    /// What was said so far.
    pub facts: Facts,
    /// When what was seen.
    pub moments: Moments,
}

impl Watch {
    /// Starts to watch; to be called right after the machine was powered on.
    pub fn new(machine: &Machine) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            log: machine.record().serial_log.clone(),
            read: 0,
            rest: Vec::new(),
            api: Arc::new(Appliance::new(machine.record().https_port)?),
            answered: Arc::default(),
            facts: Facts::default(),
            moments: Moments::default(),
        })
    }

    /// Watches until the console answers and the machine has said where. `look` sees every line of the serial line;
    /// when `give_up` says so the watch ends early with `false`.
    pub fn until_ready(
        &mut self,
        machine: &Machine,
        limit: Duration,
        mut look: impl FnMut(&str),
        give_up: impl Fn() -> bool,
    ) -> Result<bool> {
        let mut asked = Instant::now();
        loop {
            for line in self.new_lines()? {
                look(&line);
            }
            let kernel = self.moments.kernel.is_some();
            self.moments.api = self.answered.get().copied();
            if self.moments.api.is_none() && kernel && asked.elapsed() >= ASK {
                asked = Instant::now();
                self.ask();
            }
            let seen = self.facts.claim_code.is_some() || self.facts.console.is_some();
            if self.moments.api.is_some() && seen {
                return Ok(true);
            }
            if give_up() {
                return Ok(false);
            }
            if !machine.running() {
                bail!(
                    "the machine went off while it booted; its last words: {}",
                    self.last_words()
                );
            }
            if self.started.elapsed() > limit {
                bail!(
                    "the console does not answer within {} s; the serial line's last words: {}",
                    limit.as_secs(),
                    self.last_words()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks the API, and notes when it first answers.
    fn ask(&self) {
        let (api, answered) = (self.api.clone(), self.answered.clone());
        let started = self.started;
        std::thread::spawn(move || {
            if api.health().is_ok() {
                answered.get_or_init(|| started.elapsed());
            }
        });
    }

    /// The whole lines that came since the last look.
    pub fn new_lines(&mut self) -> Result<Vec<String>> {
        let Ok(mut file) = File::open(&self.log) else {
            return Ok(Vec::new());
        };
        file.seek(SeekFrom::Start(self.read))
            .context("cannot read the serial log")?;
        let mut fresh = Vec::new();
        let count = file
            .read_to_end(&mut fresh)
            .context("cannot read the serial log")?;
        if count == 0 {
            return Ok(Vec::new());
        }
        self.read += u64::try_from(count).context("a serial log larger than the address space")?;
        let now = self.started.elapsed();
        self.moments.firmware.get_or_insert(now);
        self.rest.extend(fresh);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        let lines: Vec<String> = String::from_utf8_lossy(&whole)
            .lines()
            .map(str::to_owned)
            .collect();
        for line in &lines {
            self.facts.read(line);
            if let (None, Some(stage0)) = (self.moments.kernel, self.facts.stage0) {
                self.moments.kernel = Some(now.saturating_sub(stage0));
            }
        }
        Ok(lines)
    }

    fn last_words(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text
            .lines()
            .map(plain)
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        if last.is_empty() {
            "none".to_owned()
        } else {
            last.join(" / ")
        }
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// A line without the terminal's control sequences.
pub fn plain(line: &str) -> String {
    let mut result = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // CSI sequences end with a letter or one of @ to ~; other escapes are one character long.
            if chars.next() == Some('[') {
                while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
            }
        } else if !c.is_control() || c == '\t' {
            result.push(c);
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_machine_says() {
        let mut facts = Facts::default();
        for line in [
            "\u{1b}[2J\u{1b}[01;01Hstage 0: started 1.52 s after the kernel\r",
            "Console: https://10.0.2.15/",
            "  Certificate: SHA-256 AB:CD:EF",
            "\u{1b}[1mClaim code: 7KQM-2XPD\u{1b}[0m",
        ] {
            facts.read(line);
        }
        assert_eq!(facts.stage0, Some(Duration::from_millis(1520)));
        assert_eq!(facts.console.as_deref(), Some("https://10.0.2.15/"));
        assert_eq!(facts.certificate.as_deref(), Some("AB:CD:EF"));
        assert_eq!(facts.claim_code.as_deref(), Some("7KQM-2XPD"));
    }

    #[test]
    fn control_sequences_vanish() {
        assert_eq!(
            plain("\u{1b}[0m\u{1b}[37m\u{1b}[40mBdsDxe: x\u{1b}=y"),
            "BdsDxe: xy"
        );
    }
}

//! A release on trial has a limited time: when the supervisor has not said by then that it passed its checks, the machine
//! starts again, and the boot loader counts. After the last attempt it starts the release before.
//!
//! The supervisor that is on trial can not be relied on to notice that it does not work: so it is process 1 that waits. It
//! reads what the boot loader left in variables of the firmware (systemd-boot(7), Boot Loader Interface) and no disk.
//!
//! Invariant: a machine that has only one release, or whose releases have all failed, is never restarted for it: a machine
//! that is up can be asked what is wrong.

use std::time::Instant;

use super::log;
use crate::sys::release;

/// A release that was started more often than this had all its attempts.
const MOST_ATTEMPTS: u32 = 3;

const FOLDER: &str = "/sys/firmware/efi/efivars";
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The trial that goes on.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    due: Instant,
}

impl Trial {
    /// Whether this start is an attempt, with another release to go back to.
    pub fn begin(now: Instant) -> Option<Trial> {
        let counted = variable("LoaderBootCountPath")?;
        let entries = variable("LoaderEntries")?;
        is_trial(&counted, &entries).then(|| {
            // Twice the time that the supervisor gives the checks, for its own start.
            let limit = release::trial_limit() * 2;
            log::info(format_args!(
                "on trial: {} starts again in {} s unless it passes its checks",
                counted.concat(),
                limit.as_secs()
            ));
            Trial { due: now + limit }
        })
    }

    /// When it is over.
    pub fn due(self) -> Instant {
        self.due
    }
}

/// The path of what was started, as the boot loader renamed it, and the names of everything it could start.
fn is_trial(counted: &[String], entries: &[String]) -> bool {
    let Some(done) = counted.first().and_then(|path| attempts(path)) else {
        return false;
    };
    let is_ours = |name: &&String| {
        let name = name.to_ascii_lowercase();
        name.starts_with("ashlar-") && name.ends_with(".efi")
    };
    (1..=MOST_ATTEMPTS).contains(&done) && entries.iter().filter(is_ours).count() > 1
}

/// The attempts in a name such as `\EFI\Linux\ashlar-0.2.0+2-1.efi`.
fn attempts(path: &str) -> Option<u32> {
    let name = path.rsplit(['\\', '/']).next()?;
    let stem = name.get(..name.len().checked_sub(".efi".len())?)?;
    let (_, counter) = stem.rsplit_once('+')?;
    let (_, done) = counter.split_once('-')?;
    done.parse().ok()
}

fn variable(name: &str) -> Option<Vec<String>> {
    let bytes = std::fs::read(format!("{FOLDER}/{name}-{LOADER}")).ok()?;
    Some(texts(&bytes))
}

/// Four bytes of attributes, then texts in UTF-16 with a zero behind each.
fn texts(variable: &[u8]) -> Vec<String> {
    let letters: Vec<u16> = variable
        .get(4..)
        .unwrap_or_default()
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    letters
        .split(|&letter| letter == 0)
        .filter(|text| !text.is_empty())
        .map(String::from_utf16_lossy)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn only_an_attempt_with_a_way_back_is_a_trial() {
        let two = list(&[
            "ashlar-0.2.0.efi",
            "ashlar-0.1.0.efi",
            "auto-reboot-to-firmware-setup",
        ]);
        let one = list(&["ashlar-0.2.0.efi", "auto-reboot-to-firmware-setup"]);
        let path = |counter: &str| list(&[&format!("\\EFI\\Linux\\ashlar-0.2.0{counter}.efi")]);
        assert!(is_trial(&path("+2-1"), &two));
        assert!(is_trial(&path("+0-3"), &two));
        assert!(!is_trial(&path("+2-1"), &one));
        assert!(!is_trial(&path("+0-4"), &two), "all attempts were made");
        assert!(!is_trial(&path(""), &two));
        assert!(!is_trial(&path("+3"), &two), "it was not counted");
        assert!(!is_trial(&[], &two));
    }

    #[test]
    fn reads_lists_of_texts() {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend("a.efi\0b.efi\0".encode_utf16().flat_map(u16::to_le_bytes));
        assert_eq!(texts(&bytes), ["a.efi", "b.efi"]);
        assert!(texts(&[1, 2]).is_empty());
    }
}

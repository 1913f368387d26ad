//! The power button, as an input device.
//!
//! Invariant: what the button means is decided here alone: an orderly end. Holding it for four seconds is the
//! firmware's business.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

use super::log;
use crate::sys::sysfs;

const KEY_POWER: u16 = 116;
const KEY_EVENTS: u16 = 1;
const PRESSED: i32 = 1;
/// Two time stamps of eight bytes, type, code, value.
const EVENT_SIZE: usize = 24;

/// The buttons of the machine that switch it off.
#[derive(Debug, Default)]
pub struct Buttons {
    open: Vec<(String, File)>,
}

impl Buttons {
    /// Opens the buttons that are there and not open yet.
    pub fn look(&mut self) {
        let class = Path::new("/sys/class/input");
        for name in sysfs::names(class) {
            let keys =
                sysfs::text(class.join(&name).join("device/capabilities/key")).unwrap_or_default();
            let known = self.open.iter().any(|(other, _)| *other == name);
            if known || !name.starts_with("event") || !has_key(&keys, KEY_POWER) {
                continue;
            }
            let path = Path::new("/dev/input").join(&name);
            let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
            match OpenOptions::new()
                .read(true)
                .custom_flags(flags)
                .open(&path)
            {
                Ok(file) => self.open.push((name, file)),
                Err(error) => {
                    log::warn(format_args!("cannot listen to {}: {error}", path.display()))
                }
            }
        }
    }

    /// What to wait on.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open.iter().map(|(_, file)| file.as_fd())
    }

    /// Whether one was pressed since the last look. A device that is gone is forgotten.
    pub fn pressed(&mut self) -> bool {
        let mut pressed = false;
        self.open.retain_mut(|(_, file)| {
            let mut buffer = [0; 64 * EVENT_SIZE];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(count) => pressed |= buffer[..count].chunks_exact(EVENT_SIZE).any(is_press),
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        });
        pressed
    }
}

fn is_press(event: &[u8]) -> bool {
    let (kind, code) = (
        u16::from_ne_bytes([event[16], event[17]]),
        u16::from_ne_bytes([event[18], event[19]]),
    );
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (kind, code, value) == (KEY_EVENTS, KEY_POWER, PRESSED)
}

/// The kernel writes the set of keys as hexadecimal words of 64 bits, the highest first.
fn has_key(capabilities: &str, key: u16) -> bool {
    let word = capabilities
        .split_ascii_whitespace()
        .rev()
        .nth(usize::from(key / 64));
    word.and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (key % 64) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_power_button_by_its_keys() {
        assert!(has_key("10000000000000 0", KEY_POWER));
        assert!(!has_key("10000000000000", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
        // A keyboard has the key too, as recorded, and it means the same.
        let keyboard = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe";
        assert!(has_key(keyboard, KEY_POWER));
        assert!(has_key("1 0 0 70000 10000000000000 0", KEY_POWER));
    }

    #[test]
    fn a_release_is_no_press() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(is_press(&event(1, 116, 1)));
        assert!(!is_press(&event(1, 116, 0)));
        assert!(!is_press(&event(1, 30, 1)));
        assert!(!is_press(&event(0, 0, 0)));
    }
}

//! What init says: into the kernel log, which is there before any disk is and survives in pstore after a crash.
//!
//! Invariant: saying something never fails and never waits. The kernel shows errors on the console and
//! keeps the rest for `dmesg`; the screen of the supervisor is not written over by chatter.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;

static KERNEL_LOG: OnceLock<File> = OnceLock::new();

/// Opens the kernel log; before that, and without it, lines go to standard error.
pub fn open() {
    if let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // Opened a second time it stays the first one.
        let _ = KERNEL_LOG.set(file);
    }
}

/// Something normal.
pub fn info(text: impl Display) {
    say(6, &text);
}

/// Something that a person should look at.
pub fn warn(text: impl Display) {
    say(4, &text);
}

/// Something that is broken.
pub fn error(text: impl Display) {
    say(3, &text);
}

/// The whole chain of causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn say(level: u8, text: &dyn Display) {
    let line = one_line(level, &text.to_string());
    // One write is one record of the kernel log.
    let _ = match KERNEL_LOG.get() {
        Some(mut log) => log.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

fn one_line(level: u8, text: &str) -> String {
    // The kernel takes records of up to about a thousand bytes.
    let text: String = text
        .chars()
        .take(900)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    format!("<{level}>ashlar: {}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        assert_eq!(one_line(4, "two\nlines\n"), "<4>ashlar: two lines\n");
        assert!(one_line(6, &"x".repeat(5000)).len() < 1000);
    }
}

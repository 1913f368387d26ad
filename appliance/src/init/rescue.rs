//! The screen of last resort: when the supervisor, which owns the screen, cannot stay up.
//!
//! Invariant: it is drawn only while no supervisor runs, so that two programs never read one keyboard; it goes when
//! the next try begins. A key that ends the machine is asked for twice.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::Ending;
use crate::sys::fs;

/// The screen and the first serial port.
const CONSOLES: [&str; 2] = ["/dev/tty1", "/dev/ttyS0"];
/// Leaves the second page of a terminal, resets colours, shows the cursor, clears.
const CLEAR: &str = "\x1b[?1049l\x1b[0m\x1b[?25h\x1b[2J\x1b[H";
const WIDTH: usize = 78;

/// Writes a line on all consoles, over whatever is there.
pub fn tell(text: &str) {
    for path in CONSOLES {
        if let Some(mut console) = open(path) {
            // Nobody may be listening; then there is nobody to tell.
            let _ = console.write_all(format!("{text}\r\n").as_bytes());
        }
    }
}

/// Clears all consoles for what is told next.
pub fn clear() {
    for path in CONSOLES {
        if let Some(mut console) = open(path) {
            let _ = console.write_all(CLEAR.as_bytes());
        }
    }
}

fn open(path: &str) -> Option<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open(path)
        .ok()
}

/// A console whose keys we read one by one.
#[derive(Debug)]
struct Console {
    file: File,
    before: Option<Termios>,
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // The terminal may be gone.
            let _ = tcsetattr(&self.file, SetArg::TCSANOW, before);
        }
    }
}

/// The page, while it is shown.
#[derive(Debug)]
pub struct Rescue {
    consoles: Vec<Console>,
    keys: Keys,
}

impl Rescue {
    /// Draws the page.
    pub fn show(times: u32, why: &str, log: &Path) -> Rescue {
        let last = fs::tail(log, 12).unwrap_or_default();
        let text = page(times, why, &last);
        let consoles = CONSOLES.iter().filter_map(|path| open(path)).map(|file| {
            let before = tcgetattr(&file).ok();
            if let Some(mut raw) = before.clone() {
                cfmakeraw(&mut raw);
                // Without it keys come only line by line; the page is still there.
                let _ = tcsetattr(&file, SetArg::TCSANOW, &raw);
            }
            let mut console = Console { file, before };
            let _ = console.file.write_all(text.as_bytes());
            console
        });
        Rescue {
            consoles: consoles.collect(),
            keys: Keys::default(),
        }
    }

    /// What to wait on.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.consoles.iter().map(|console| console.file.as_fd())
    }

    /// Reads keys; `Some` when an ending was asked for and confirmed.
    pub fn pressed(&mut self) -> Option<Ending> {
        let mut decided = None;
        let keys = &mut self.keys;
        self.consoles.retain_mut(|console| {
            let mut buffer = [0; 64];
            let count = match console.file.read(&mut buffer) {
                // Hung up: reading it again would give the same at once.
                Ok(0) => return false,
                Ok(count) => count,
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            };
            for &key in &buffer[..count] {
                match keys.press(key) {
                    Answer::Nothing => {}
                    Answer::Ask(question) => {
                        let _ = console.file.write_all(format!("\r\n{question}").as_bytes());
                    }
                    Answer::End(ending) => decided = Some(ending),
                }
            }
            true
        });
        decided
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    Ask(&'static str),
    End(Ending),
}

/// Which question is open.
#[derive(Debug, Default)]
struct Keys {
    asked: Option<Ending>,
}

impl Keys {
    fn press(&mut self, key: u8) -> Answer {
        match (self.asked.take(), key.to_ascii_lowercase()) {
            (Some(ending), b'y') => Answer::End(ending),
            (Some(_), _) => Answer::Ask("No.\r\n"),
            (None, b'r') => {
                self.asked = Some(Ending::Reboot);
                Answer::Ask(
                    "Restart the machine? Virtual machines are asked to shut down first, and\r\n\
                     have a minute for it. Y = yes, any other key = no: ",
                )
            }
            (None, b'p') => {
                self.asked = Some(Ending::PowerOff);
                Answer::Ask(
                    "Power off the machine? Virtual machines are asked to shut down first, and\r\n\
                     have a minute for it. Y = yes, any other key = no: ",
                )
            }
            (None, _) => Answer::Nothing,
        }
    }
}

fn page(times: u32, why: &str, last: &[String]) -> String {
    let mut text = format!(
        "{CLEAR}Ashlar\n\nThe program that manages this machine does not stay up.\n\n\
         It ended {times} times, the last time with: {why}.\n\
         It is started again and again; this page goes away when that helps.\n\
         Virtual machines that were running go on running.\n\nWhat it said last:\n"
    );
    if last.is_empty() {
        text.push_str("  (nothing)\n");
    }
    for line in last {
        let plain = line
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter });
        text.push_str("  ");
        text.extend(plain.take(WIDTH - 2));
        text.push('\n');
    }
    text.push_str("\nR = restart the machine   P = power off\n");
    text.replace('\n', "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_before_it_ends_anything() {
        let mut keys = Keys::default();
        assert_eq!(keys.press(b'x'), Answer::Nothing);
        assert_eq!(keys.press(b'y'), Answer::Nothing);
        let fits = |answer: Answer| match answer {
            Answer::Ask(question) => question.split("\r\n").all(|line| line.len() <= WIDTH),
            _ => false,
        };
        assert!(fits(keys.press(b'R')));
        assert_eq!(keys.press(b'n'), Answer::Ask("No.\r\n"));
        assert_eq!(keys.press(b'y'), Answer::Nothing);
        assert!(fits(keys.press(b'p')));
        assert_eq!(keys.press(b'Y'), Answer::End(Ending::PowerOff));
    }

    #[test]
    fn the_page_fits_and_says_what_happened() {
        let lines = vec![
            "x".repeat(500),
            "thread panicked\u{1b}[31m at supervisor.rs".to_owned(),
        ];
        let page = page(5, "exit code 101", &lines);
        assert!(page.contains("It ended 5 times, the last time with: exit code 101."));
        assert!(page.contains("thread panicked [31m at supervisor.rs"));
        let body = page.strip_prefix(CLEAR).unwrap();
        assert!(body.split("\r\n").all(|line| line.len() <= WIDTH));
    }

    #[test]
    fn reads_keys_from_a_real_terminal() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let file = File::from(pty.slave);
        nix::fcntl::fcntl(
            &file,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )
        .unwrap();
        let before = tcgetattr(&file).ok();
        let mut raw = before.clone().unwrap();
        cfmakeraw(&mut raw);
        tcsetattr(&file, SetArg::TCSANOW, &raw).unwrap();
        let mut rescue = Rescue {
            consoles: vec![Console { file, before }],
            keys: Keys::default(),
        };
        assert_eq!(rescue.pressed(), None);
        let mut keyboard = File::from(pty.master);
        keyboard.write_all(b"zry").unwrap();
        assert_eq!(rescue.pressed(), Some(Ending::Reboot));
        assert_eq!(rescue.watched().count(), 1);
    }
}

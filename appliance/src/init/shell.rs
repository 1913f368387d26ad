//! A root shell on a serial port, for whoever works on Ashlar itself: `ashlar.debug-shell=ttyS1` on the kernel's
//! command line, as systemd's `systemd.debug_shell`.
//!
//! It opens no door that is not open: who can change the kernel's command line decides which program becomes process 1.
//! Under Secure Boot systemd-stub takes no words from outside the signed image.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::libc;

use super::log;
use crate::sys::proc::kernel_words;

const WORD: &str = "ashlar.debug-shell=";
/// Begins anew when somebody ends it.
const SHELL: &str = "while :; do /bin/sh -i; sleep 1; done";

/// Starts the shell when the kernel's command line asks for one. Whoever reaps takes it.
pub fn start() {
    let words = kernel_words();
    let Some(terminal) = asked(&words) else {
        return;
    };
    log::warn(format_args!(
        "a root shell runs on {terminal}: the kernel's command line asks for it"
    ));
    if let Err(error) = spawn(terminal) {
        log::error(format_args!("no shell on {terminal}: {error}"));
    }
}

/// Whether this machine has one.
pub fn is_asked() -> bool {
    asked(&kernel_words()).is_some()
}

/// The terminal that is named; only a plain name below `/dev`.
fn asked(words: &[String]) -> Option<&str> {
    let terminal = words.iter().find_map(|word| word.strip_prefix(WORD))?;
    let plain = terminal
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric());
    (plain && !terminal.is_empty()).then_some(terminal)
}

fn spawn(terminal: &str) -> io::Result<()> {
    let terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(Path::new("/dev").join(terminal))?;
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", SHELL])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("HOME", "/root")
        .env("TERM", "vt102")
        .current_dir("/")
        .stdin(terminal.try_clone()?)
        .stdout(terminal.try_clone()?)
        .stderr(terminal);
    // SAFETY: both calls are async-signal-safe and touch no memory of ours.
    unsafe {
        command.pre_exec(|| {
            // Its own session, and the terminal its own: Ctrl-C then works.
            if libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command.spawn().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_terminal_gets_one() {
        let words = ["quiet", "ashlar.debug-shell=ttyS1", "x"].map(str::to_owned);
        assert_eq!(asked(&words), Some("ttyS1"));
        for word in [
            "quiet",
            "ashlar.debug-shell=",
            "ashlar.debug-shell=../etc/passwd",
        ] {
            assert_eq!(asked(&[word.to_owned()]), None, "{word}");
        }
    }
}

//! The local screen: what somebody sees who stands in front of the machine.
//!
//! It shows how the machine is, where its console is, and the claim code until
//! the machine has an owner; it can set the management address when there is no
//! DHCP, and restart or power off after a confirmation. There is no shell.
//!
//! ```text
//!   Facts (watch) ──► draw ──► /dev/tty1          full screen, always
//!                 └─► plain ─► /dev/ttyS0         lines when something changes;
//!                                                 Enter opens the full screen there
//!   keys ──► session ──► Intent (mpsc) ──► supervisor
//! ```
//!
//! Everything is drawn from [`Facts`] and [`View`] by pure functions. Nothing is
//! redrawn unless a fact, the minute or a key changed, so a screen that nobody
//! looks at costs nothing. A serial line gets plain lines first because its
//! reader is as often a log file as a person.

mod draw;
mod facts;
mod form;
mod keys;
mod plain;
mod session;
mod view;

use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, watch};

pub use facts::{DriveLine, Facts, LinkLine};
pub use view::Intent;

use session::{Manner, Session};

/// Starts a screen on each terminal of the machine that exists.
pub fn start(
    facts: &watch::Receiver<Facts>,
    intents: &mpsc::Sender<Intent>,
) -> Vec<tokio::task::JoinHandle<()>> {
    terminals()
        .into_iter()
        .map(|(path, manner)| {
            let session = Session::new(path, manner, facts.clone(), intents.clone());
            tokio::spawn(session.run())
        })
        .collect()
}

/// The first virtual terminal, and the first serial port that is really there:
/// `ttyS0` exists on every PC, so its type is asked (0 means no hardware).
fn terminals() -> Vec<(PathBuf, Manner)> {
    let mut found = Vec::new();
    if Path::new("/dev/tty1").exists() {
        found.push((PathBuf::from("/dev/tty1"), Manner::FullScreen));
    }
    let real =
        std::fs::read_to_string("/sys/class/tty/ttyS0/type").is_ok_and(|kind| kind.trim() != "0");
    if real {
        found.push((PathBuf::from("/dev/ttyS0"), Manner::LinesFirst));
    }
    found
}

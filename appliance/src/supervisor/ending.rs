//! How this process is told to end.
//!
//! Whoever wants the machine off asks init; init writes which end it is to
//! `/run/ashlar/ending` and sends SIGTERM. Without that file a SIGTERM means
//! only this process: guests and services go on, and the next supervisor finds
//! them.

use std::io;
use std::path::Path;

use tokio::signal::unix::{Signal, SignalKind, signal};

const ENDING: &str = "/run/ashlar/ending";

/// Hears of the end, from its making on: a signal that comes while nobody waits is kept.
pub struct Ending {
    term: Signal,
    int: Signal,
}

impl Ending {
    /// Begins to listen for SIGTERM and SIGINT.
    pub fn listen() -> io::Result<Ending> {
        Ok(Ending {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until somebody asks. True when the whole machine ends. Cancel-safe.
    pub async fn asked(&mut self) -> bool {
        // Both arms are cancel-safe: a stream keeps what was not received.
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
        Path::new(ENDING).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_signal_while_nobody_waits_is_kept() {
        let mut ending = Ending::listen().unwrap();
        // Waited for once, and given up: as the loop of the supervisor does for every change it sees.
        let given_up = tokio::time::timeout(Duration::from_millis(10), ending.asked()).await;
        assert!(given_up.is_err());
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let asked = tokio::time::timeout(Duration::from_secs(10), ending.asked()).await;
        assert!(!asked.unwrap());
    }
}

//! How this process is told to end.
//!
//! Whoever wants the machine off asks init; init writes which end it is to
//! `/run/ashlar/ending` and sends SIGTERM. Without that file a SIGTERM means
//! only this process: guests and services go on, and the next supervisor finds
//! them.

use std::io;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

const ENDING: &str = "/run/ashlar/ending";

/// Waits for SIGTERM or SIGINT. True when the whole machine ends.
pub async fn asked() -> io::Result<bool> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    // Both arms are cancel-safe: a signal that came while the other was handled is kept.
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(Path::new(ENDING).exists())
}

//! How this process ends, and how it asks for the machine to end.
//!
//! Whoever wants the machine off asks init; init writes which end it is to
//! `/run/ashlar/ending` and sends SIGTERM. Without that file a SIGTERM means
//! only this process: guests and services go on, and the next supervisor finds
//! them.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

/// Where init listens.
pub const INIT_SOCKET: &str = "/run/ashlar/init.sock";
const ENDING: &str = "/run/ashlar/ending";
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked of init.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End everything, then restart the machine.
    Reboot,
    /// End everything, then switch the machine off.
    PowerOff,
    /// Kill this process and start it again.
    RestartSupervisor,
}

/// Asks init to end the machine.
pub async fn ask(request: Request) -> io::Result<()> {
    let word: &[u8] = match request {
        Request::Reboot => b"reboot\n",
        Request::PowerOff => b"poweroff\n",
        Request::RestartSupervisor => b"restart-supervisor\n",
    };
    let sending = async {
        let mut socket = UnixStream::connect(INIT_SOCKET).await?;
        socket.write_all(word).await?;
        socket.shutdown().await
    };
    tokio::time::timeout(PATIENCE, sending)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "init does not answer"))?
}

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

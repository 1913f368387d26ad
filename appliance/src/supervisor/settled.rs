//! Whether the machine has all its devices. The supervisor starts before they are all there, so that the console is up
//! early; until then nothing is said to be missing, and no machine starts without the processor's virtualisation only
//! because its driver comes a second later.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use crate::sys::init_socket::SETTLED;

/// Init waits for slow drivers, too, but not so long.
const PATIENCE: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(100);

/// Turns true once, for good.
pub fn watch() -> watch::Receiver<bool> {
    let (settled, seen) = watch::channel(Path::new(SETTLED).exists());
    if *seen.borrow() {
        return seen;
    }
    tokio::spawn(async move {
        // A file in memory is asked for ten times a second, for the first seconds of a machine.
        let there = async {
            while !Path::new(SETTLED).exists() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            tracing::warn!(
                "init does not say that the drivers are loaded; going on with what is there"
            );
        }
        settled.send_replace(true);
    });
    seen
}

//! Whether the machine has all its devices. The supervisor starts before they are all there, so that the console is up
//! early; until then nothing is said to be missing, and no machine starts without the processor's virtualisation only
//! because its driver comes a second later.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::watch;

use crate::sys::init_socket::SETTLED;
use crate::sys::readable::Readable;

/// Init waits for slow drivers, too, but not so long.
const PATIENCE: Duration = Duration::from_secs(45);

/// Turns true once, for good.
pub fn watch() -> watch::Receiver<bool> {
    // A later supervisor of the same machine knows at once.
    let (settled, seen) = watch::channel(Path::new(SETTLED).exists());
    tokio::spawn(async move {
        match tokio::time::timeout(PATIENCE, appears(Path::new(SETTLED))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("cannot see whether the drivers are loaded: {error}"),
            Err(_) => tracing::warn!(
                "init does not say that the drivers are loaded; going on with what is there"
            ),
        }
        settled.send_replace(true);
    });
    seen
}

/// Returns once the file is there.
async fn appears(file: &Path) -> io::Result<()> {
    let news = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let directory = file.parent().unwrap_or(Path::new("/"));
    news.add_watch(
        directory,
        AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
    )?;
    let news = Readable::new(&news)?;
    // Asked after the watch began, so that none is missed.
    while !file.exists() {
        news.drain().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sees_a_file_before_and_after_it_looks() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settled");
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, appears(&file)).await.is_err());
        let waiting = tokio::spawn({
            let file = file.clone();
            async move { appears(&file).await }
        });
        tokio::time::sleep(short).await;
        std::fs::write(directory.path().join("other"), "").unwrap();
        tokio::time::sleep(short).await;
        assert!(!waiting.is_finished());
        let draft = directory.path().join("draft");
        std::fs::write(&draft, "").unwrap();
        std::fs::rename(&draft, &file).unwrap();
        waiting.await.unwrap().unwrap();
        appears(&file).await.unwrap();
        assert!(appears(Path::new("/no/such/folder/settled")).await.is_err());
    }
}

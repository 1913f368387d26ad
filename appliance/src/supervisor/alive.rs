//! The signs to init that this process does what it shall: init kills a supervisor that gives none for minutes, and
//! starts another, which finds everything by looking.
//!
//! A sign needs the clock, the sockets and a free thread of the runtime. That is what every part here needs, and all
//! that is claimed: a drive that hangs may hold up one of the parts, and no new process would change that.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::reconcile::chain;
use crate::sys::init_socket::{self, Request};

/// Init has patience for many of these.
pub const PACE: Duration = Duration::from_secs(20);

/// Gives signs at a pace, for ever, or until init says that it does not know what they are.
pub async fn tell(socket: &Path, pace: Duration) {
    let mut told = false;
    loop {
        match init_socket::ask(socket, Request::Alive).await {
            Ok(()) => told = false,
            // An answer that is not the one: an init of another version.
            Err(error) if error.kind() == ErrorKind::Other => {
                tracing::warn!("init wants no signs of life: {}", chain(&error));
                return;
            }
            Err(error) if !told => {
                tracing::warn!("tell init that all is well: {}", chain(&error));
                told = true;
            }
            Err(_) => {}
        }
        tokio::time::sleep(pace).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn gives_signs_until_they_are_not_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let init = tokio::spawn(async move {
            let mut heard = Vec::new();
            // The first is lost, the second taken, the third refused.
            for answer in ["", "ok\n", "unknown request: alive\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut line = String::new();
                stream.read_to_string(&mut line).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                heard.push(line);
            }
            heard
        });
        tell(&path, Duration::from_millis(1)).await;
        assert_eq!(init.await.unwrap(), ["alive\n"; 3]);
    }
}

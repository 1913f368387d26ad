//! How process 1 is asked for something: its socket, the words it knows, and the asking.
//!
//! ```text
//!   poweroff | reboot   ─►  ok
//!   restart-supervisor  ─►  ok          (the one who asks may be the one who is killed)
//!   alive               ─►  ok          (the supervisor, again and again: one that says nothing for minutes is killed)
//!   served              ─►  ok          (the console is up: drivers that nobody waited for may follow)
//!   kept                ─►  ok          (the release on trial has passed its checks, or there is no trial)
//!   status              ─►  {"restarts":0,"last_end":null,"watchdog":true,"ending":null}
//!   anything else       ─►  unknown request: …
//! ```
//!
//! Invariant: both sides take the words from here, so neither can say what the other does not know. Asking is
//! bounded, in time and in what is read. Process 1, which listens, has no runtime and its own code for that.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Where process 1 listens.
pub const SOCKET: &str = "/run/ashlar/init.sock";
/// A file that is there once all that was in the machine at its start has its driver: what is absent then, is absent.
pub const SETTLED: &str = "/run/ashlar/settled";
/// Its answer when it does what it was asked for.
pub const DONE: &str = "ok";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much of an answer is read.
const LONGEST_ANSWER: u64 = 4096;

/// What can be asked of process 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// End everything, then switch the machine off.
    PowerOff,
    /// End everything, then start the machine again.
    Reboot,
    /// Kill the supervisor and start it again; guests and services go on.
    RestartSupervisor,
    /// Note that the supervisor, if it is the one who asks, does what it shall.
    Alive,
    /// Note that the console is up, and go on with what was put off for it.
    Served,
    /// Note that the release that runs stays.
    Kept,
    /// Tell how things are.
    Status,
}

impl Request {
    const ALL: [Request; 7] = [
        Request::PowerOff,
        Request::Reboot,
        Request::RestartSupervisor,
        Request::Alive,
        Request::Served,
        Request::Kept,
        Request::Status,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Request::PowerOff => "poweroff",
            Request::Reboot => "reboot",
            Request::RestartSupervisor => "restart-supervisor",
            Request::Alive => "alive",
            Request::Served => "served",
            Request::Kept => "kept",
            Request::Status => "status",
        }
    }

    /// What a line asks for.
    pub fn parse(line: &str) -> Option<Request> {
        let word = line.trim();
        Request::ALL.into_iter().find(|one| one.word() == word)
    }
}

/// Asks process 1, which listens at `socket`, and waits until it has taken the request.
pub async fn ask(socket: &Path, request: Request) -> io::Result<()> {
    let asking = async {
        let mut stream = UnixStream::connect(socket).await?;
        let line = format!("{}\n", request.word());
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream
            .take(LONGEST_ANSWER)
            .read_to_string(&mut answer)
            .await?;
        // `status` is answered with a document.
        match answer.trim() {
            line if line == DONE || line.starts_with('{') => Ok(()),
            "" => Err(io::ErrorKind::UnexpectedEof.into()),
            line => Err(io::Error::other(line.to_owned())),
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_understood_and_nothing_else_is() {
        for request in Request::ALL {
            assert_eq!(
                Request::parse(&format!("{}\n", request.word())),
                Some(request)
            );
        }
        assert_eq!(Request::parse(""), None);
        assert_eq!(Request::parse("reboot now"), None);
    }

    #[tokio::test]
    async fn a_refusal_and_a_missing_listener_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        assert_eq!(
            ask(&path, Request::Status).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let init = tokio::spawn(async move {
            let mut heard = Vec::new();
            for answer in ["ok\n", "{}\n", "unknown request: x\n", ""] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut line = String::new();
                stream.read_to_string(&mut line).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
                heard.push(line);
            }
            heard
        });
        ask(&path, Request::Reboot).await.unwrap();
        ask(&path, Request::Status).await.unwrap();
        let refused = ask(&path, Request::PowerOff).await.unwrap_err();
        assert_eq!(refused.to_string(), "unknown request: x");
        let silent = ask(&path, Request::RestartSupervisor).await.unwrap_err();
        assert_eq!(silent.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            init.await.unwrap(),
            ["reboot\n", "status\n", "poweroff\n", "restart-supervisor\n"]
        );
    }
}

//! Requests to process 1, over `/run/ashlar/init.sock`: one line in, one line out.
//!
//! The words are in [`crate::sys::init_socket`], where those who ask take them too.
//!
//! Invariant: a client that says nothing, or half a line, holds up nobody: connections are few, do not block, and
//! are closed when a new one needs their place. Only root is heard.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{getsockopt, sockopt};

use super::log;
use crate::sys::init_socket::Request;

const MOST_CLIENTS: usize = 8;
const LONGEST_LINE: usize = 128;

#[derive(Debug)]
struct Client {
    stream: UnixStream,
    /// Who connected, as a process.
    pid: u32,
    line: Vec<u8>,
}

/// The listening end.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    clients: Vec<Client>,
}

impl Control {
    /// Begins to listen.
    pub fn open(path: &Path) -> std::io::Result<Control> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Control {
            listener,
            clients: Vec::new(),
        })
    }

    /// What to wait on.
    pub fn watched(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd())
            .chain(self.clients.iter().map(|client| client.stream.as_fd()))
    }

    /// Takes what has come, and from which process; `answer` gives the line to send back.
    pub fn serve(&mut self, mut answer: impl FnMut(Request, u32) -> String) {
        while let Ok((stream, _)) = self.listener.accept() {
            if let Some(pid) = root(&stream)
                && stream.set_nonblocking(true).is_ok()
            {
                if self.clients.len() >= MOST_CLIENTS {
                    self.clients.remove(0);
                }
                self.clients.push(Client {
                    stream,
                    pid,
                    line: Vec::new(),
                });
            }
        }
        self.clients.retain_mut(|client| client.serve(&mut answer));
    }
}

impl Client {
    /// False when the connection is done.
    fn serve(&mut self, answer: &mut impl FnMut(Request, u32) -> String) -> bool {
        let mut buffer = [0; LONGEST_LINE];
        let at_end = match self.stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.line.extend_from_slice(&buffer[..count]);
                false
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        let complete = self.line.contains(&b'\n') || self.line.len() >= LONGEST_LINE || at_end;
        if !complete {
            return true;
        }
        let text = String::from_utf8_lossy(&self.line).into_owned();
        let line = text.lines().next().unwrap_or_default();
        if !line.is_empty() {
            let reply = match Request::parse(line) {
                Some(request) => answer(request, self.pid),
                None => format!("unknown request: {}", line.escape_debug()),
            };
            // A short line always fits into an empty socket buffer.
            if let Err(error) = self.stream.write_all(format!("{reply}\n").as_bytes()) {
                log::warn(format_args!("cannot answer a request: {error}"));
            }
        }
        false
    }
}

/// The process at the other end, if it is root's.
fn root(stream: &UnixStream) -> Option<u32> {
    let peer = getsockopt(stream, sockopt::PeerCredentials).ok()?;
    (peer.uid() == 0).then(|| peer.pid().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;

    fn ask(path: &Path, text: &str) -> UnixStream {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn reply(stream: UnixStream) -> String {
        let mut line = String::new();
        std::io::BufReader::new(stream)
            .read_line(&mut line)
            .unwrap();
        line
    }

    #[test]
    fn answers_lines_and_is_not_held_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("init.sock");
        let mut control = Control::open(&path).unwrap();
        drop(control);
        // A socket left by an earlier start is replaced.
        control = Control::open(&path).unwrap();
        let mut heard = Vec::new();
        let silent: Vec<UnixStream> = (0..20).map(|_| ask(&path, "")).collect();
        let half = ask(&path, "powero");
        let whole = ask(&path, "reboot\n");
        let rubbish = ask(&path, "\u{7}rm -rf /\n");
        let long = ask(&path, &"x".repeat(1000));
        let us = std::process::id();
        for _ in 0..3 {
            control.serve(|request, who| {
                heard.push((request, who));
                "ok".to_owned()
            });
        }
        assert_eq!(heard, [(Request::Reboot, us)]);
        assert_eq!(reply(whole), "ok\n");
        assert_eq!(reply(rubbish), "unknown request: \\u{7}rm -rf /\n");
        assert!(reply(long).starts_with("unknown request: xxx"));
        assert!(control.watched().count() <= 1 + MOST_CLIENTS);
        (&half).write_all(b"ff\n").unwrap();
        control.serve(|request, who| {
            heard.push((request, who));
            "ok".to_owned()
        });
        assert_eq!(heard[1], (Request::PowerOff, us));
        assert_eq!(reply(half), "ok\n");
        drop(silent);
    }
}

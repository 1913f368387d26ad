//! A machine's serial line in this terminal.
//!
//! ```text
//!   keys ─► thread that reads the input ─► WebSocket ─► the guest
//!   terminal ◄──────────────────────────── WebSocket ◄──┘
//! ```
//!
//! The terminal hands over every key as it is, so Ctrl-C goes to the guest;
//! Ctrl-] leaves, as with `telnet` and `virsh console`. A line that breaks is
//! opened again: the control plane may just be starting anew, and the guest
//! goes on meanwhile. The line begins with its history, so nothing is missed.

use std::io::{IsTerminal, Read};
use std::time::Duration;

use ashlar_api::vm::Vm;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::ask::Raw;
use super::client::{Socket, at};
use super::error::{Error, Result};
use super::noun::{self, Cx, Noun};
use super::output;

/// Ctrl-], which leaves.
const LEAVE: u8 = 0x1d;
/// Keys that are waiting to be sent, in reads.
const WAITING: usize = 64;
/// How often in a row the line is opened again in vain.
const TRIES: u32 = 30;
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);
/// A line without a sound is asked whether it is there, this often.
const PING: Duration = Duration::from_secs(20);

/// Why a line is no longer looked at.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The reader left.
    Left,
    /// The line broke.
    Broken,
}

/// Opens the line, until Ctrl-].
pub async fn run(cx: &Cx, name: &str) -> Result {
    let (_, vm) = noun::find::<Vm>(&cx.client, name).await?;
    let path = format!("{}/serial", at(Vm::PATH, &vm.id()));
    let mut line = cx.client.socket(&path).await?;
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        output::note(&format!("Serial line of {}; Ctrl-] leaves.", vm.spec.name));
    }
    let raw = terminal.then(Raw::begin).transpose()?;
    let mut keys = keys(terminal);
    let end = loop {
        match look(&mut line, &mut keys).await {
            Ok(End::Left) => break Ok(()),
            Ok(End::Broken) => {}
            Err(error) => break Err(error),
        }
        output::print("\r\n[the line broke; opening it again]\r\n")?;
        match again(cx, &path, &mut keys).await {
            Ok(Some(opened)) => line = opened,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    drop(raw);
    if terminal {
        output::note("");
    }
    end
}

/// Reads the input. A thread of its own, because a read of a terminal cannot be
/// given up; it ends with the program.
fn keys(terminal: bool) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut buffer = [0; 1024];
        while let Ok(n) = input.read(&mut buffer) {
            let (keys, left) = until_leave(&buffer[..n], terminal);
            if !keys.is_empty() && sender.blocking_send(keys.to_vec()).is_err() {
                return;
            }
            if left {
                // An empty read says that the reader leaves.
                let _ = sender.blocking_send(Vec::new());
                return;
            }
            if n == 0 {
                break;
            }
        }
        // An input that ended is no reason to leave: the output may be a log.
        if !terminal {
            loop {
                std::thread::park();
            }
        }
    });
    receiver
}

/// The keys before Ctrl-], and whether it was among them; a file may hold that byte.
fn until_leave(keys: &[u8], terminal: bool) -> (&[u8], bool) {
    match keys.iter().position(|key| *key == LEAVE) {
        Some(at) if terminal => (&keys[..at], true),
        _ => (keys, false),
    }
}

/// Carries keys and output until the line breaks or the reader leaves.
async fn look(line: &mut Socket, keys: &mut mpsc::Receiver<Vec<u8>>) -> Result<End> {
    let mut asked = false;
    loop {
        // Both arms are cancel-safe: a channel keeps what was not received, and
        // a stream what was not taken from it.
        tokio::select! {
            typed = keys.recv() => match typed {
                None => return Ok(End::Left),
                Some(keys) if keys.is_empty() => {
                    // Whether the other end hears it does not matter any more.
                    let _ = line.close(None).await;
                    return Ok(End::Left);
                }
                Some(keys) => {
                    if line.send(Message::Binary(keys.into())).await.is_err() {
                        return Ok(End::Broken);
                    }
                }
            },
            heard = tokio::time::timeout(PING, line.next()) => match heard {
                Ok(Some(Ok(message))) => {
                    asked = false;
                    match message {
                        Message::Binary(bytes) => output::write(&bytes)?,
                        Message::Text(text) => output::write(text.as_bytes())?,
                        Message::Close(_) => return Ok(End::Broken),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                Ok(Some(Err(_)) | None) => return Ok(End::Broken),
                // No answer to the last question either.
                Err(_) if asked => return Ok(End::Broken),
                Err(_) => {
                    asked = true;
                    if line.send(Message::Ping(Vec::new().into())).await.is_err() {
                        return Ok(End::Broken);
                    }
                }
            },
        }
    }
}

/// Opens the line again; `None` when the reader leaves meanwhile.
async fn again(cx: &Cx, path: &str, keys: &mut mpsc::Receiver<Vec<u8>>) -> Result<Option<Socket>> {
    let mut last = Error::failed("the line cannot be opened again", "");
    for _ in 0..TRIES {
        // Keys that are typed at a broken line go nowhere.
        while let Ok(typed) = keys.try_recv() {
            if typed.is_empty() {
                return Ok(None);
            }
        }
        tokio::time::sleep(AGAIN).await;
        match cx.client.socket(path).await {
            Ok(line) => return Ok(Some(line)),
            Err(error) if error.may_pass() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bracket_leaves_a_terminal_only() {
        assert_eq!(until_leave(b"ls\r", true), (&b"ls\r"[..], false));
        assert_eq!(until_leave(b"ls\x1dx", true), (&b"ls"[..], true));
        assert_eq!(until_leave(b"ls\x1dx", false), (&b"ls\x1dx"[..], false));
    }
}

//! QMP: the line-wise JSON by which QEMU is told what to do and tells what happens.
//!
//! A codec of our own, because a strict one breaks with the next version of
//! QEMU: here a reply is found by its id, whatever else is in it, and unknown
//! fields and events are passed over.
//!
//! One task owns the socket, so a caller that gives up half way can not leave
//! half a command on the line. Everything is bounded: a line, the time of a
//! command, the queue of commands, and the events kept for a slow reader (who
//! then learns that some are missing and asks for the state instead).
//!
//! Descriptors can go with a command (`getfd`, `add-fd`): that is how QEMU is
//! given things it has no right to open.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, mpsc, oneshot};

/// How long a command may take unless the caller says otherwise.
const LIMIT: Duration = Duration::from_secs(10);
/// How long QEMU may take to take a command in.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// The longest line that is read.
const LONGEST: usize = 4 << 20;
/// So many events are kept for a slow reader.
const EVENTS: usize = 128;
/// So many commands wait at most.
const COMMANDS: usize = 64;

/// Why a command had no result.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket could not be connected.
    #[error("cannot connect to QEMU at {}", .path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// QEMU refused the command.
    #[error("QEMU refused `{command}`: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of error, such as `DeviceNotFound`.
        class: String,
        /// What it said.
        description: String,
    },
    /// No reply came in time.
    #[error("QEMU did not answer `{command}` within {} s", .limit.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// The connection ended.
    #[error("the connection to QEMU ended before `{command}` was answered")]
    Closed {
        /// The command.
        command: String,
    },
    /// A reply does not have the shape that it should have.
    #[error("QEMU answered `{command}` in a way that is not understood")]
    Reply {
        /// The command.
        command: String,
        /// What does not fit.
        source: serde_json::Error,
    },
}

/// Something that QEMU told by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct QmpEvent {
    /// Its name, such as `SHUTDOWN`.
    pub name: String,
    /// What came with it.
    pub data: Value,
}

/// A connection to one QEMU. Cheap to clone; it ends with its last clone.
#[derive(Clone, Debug)]
pub struct Qmp {
    commands: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    command: String,
    arguments: Value,
    fd: Option<OwnedFd>,
    reply: oneshot::Sender<Result<Value, QmpError>>,
}

/// One line from QEMU; what it is follows from which fields are there.
#[derive(Debug, Default, Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<u64>,
    #[serde(rename = "return")]
    returned: Option<Value>,
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    class: String,
    #[serde(default)]
    desc: String,
}

impl Qmp {
    /// Connects and shakes hands, within `limit`. The receiver has every event from the first on.
    pub async fn connect(
        path: &Path,
        limit: Duration,
    ) -> Result<(Qmp, broadcast::Receiver<QmpEvent>), QmpError> {
        let failed = |source| QmpError::Connect {
            path: path.to_owned(),
            source,
        };
        let stream = tokio::time::timeout(limit, UnixStream::connect(path))
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (sender, events) = broadcast::channel(EVENTS);
        let qmp = Qmp { commands };
        tokio::spawn(async move {
            let mut wire = Wire {
                stream,
                buffer: Vec::new(),
                waiting: HashMap::new(),
                last: 0,
                events: sender,
            };
            let why = wire.serve(inbox).await;
            tracing::debug!("connection to QEMU ended: {why}");
        });
        // The greeting needs no reading of its own: QEMU sends it first, and the reply to this after it.
        qmp.run_within("qmp_capabilities", json!({}), limit).await?;
        Ok((qmp, events))
    }

    /// Runs a command to its reply.
    pub async fn run(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        self.send(command, arguments, None, LIMIT).await
    }

    /// Runs a command that may take longer or must not.
    pub async fn run_within(
        &self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        self.send(command, arguments, None, limit).await
    }

    /// Runs a command that takes a descriptor.
    pub async fn run_with_fd(
        &self,
        command: &str,
        arguments: Value,
        fd: OwnedFd,
    ) -> Result<Value, QmpError> {
        self.send(command, arguments, Some(fd), LIMIT).await
    }

    /// Hands a file over; QEMU opens it as `/dev/fdset/<the number that is returned>`.
    pub async fn add_file(&self, file: OwnedFd) -> Result<i64, QmpError> {
        #[derive(Deserialize)]
        struct Added {
            #[serde(rename = "fdset-id")]
            set: i64,
        }
        let reply = self.run_with_fd("add-fd", json!({}), file).await?;
        let added: Added = serde_json::from_value(reply).map_err(|source| QmpError::Reply {
            command: "add-fd".to_owned(),
            source,
        })?;
        Ok(added.set)
    }

    /// Runs a command and reads its reply as a type.
    pub async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<T, QmpError> {
        let reply = self.run(command, arguments).await?;
        serde_json::from_value(reply).map_err(|source| QmpError::Reply {
            command: command.to_owned(),
            source,
        })
    }

    async fn send(
        &self,
        command: &str,
        arguments: Value,
        fd: Option<OwnedFd>,
        limit: Duration,
    ) -> Result<Value, QmpError> {
        let closed = || QmpError::Closed {
            command: command.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request {
            command: command.to_owned(),
            arguments,
            fd,
            reply,
        };
        let exchange = async {
            self.commands.send(request).await.map_err(|_| closed())?;
            answer.await.map_err(|_| closed())?
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| QmpError::TimedOut {
                command: command.to_owned(),
                limit,
            })?
    }
}

/// The socket and what waits on it.
struct Wire {
    stream: UnixStream,
    buffer: Vec<u8>,
    waiting: HashMap<u64, (String, oneshot::Sender<Result<Value, QmpError>>)>,
    last: u64,
    events: broadcast::Sender<QmpEvent>,
}

impl Wire {
    /// Serves until the other end or every caller is gone; says why it ended.
    async fn serve(&mut self, mut inbox: mpsc::Receiver<Request>) -> String {
        loop {
            // Both arms are cancel-safe: `readable` takes nothing off the
            // socket, and `recv` loses no message.
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => if let Err(error) = self.write(request).await {
                        return format!("write: {error}");
                    },
                    None => return "nobody needs it any more".to_owned(),
                },
                ready = self.stream.readable() => {
                    if let Err(error) = ready.and_then(|()| self.read()) {
                        return format!("read: {error}");
                    }
                }
            }
        }
    }

    async fn write(&mut self, request: Request) -> io::Result<()> {
        let Request {
            command,
            arguments,
            fd,
            reply,
        } = request;
        if reply.is_closed() {
            return Ok(());
        }
        self.last += 1;
        let id = self.last;
        let message = json!({ "execute": command, "arguments": arguments, "id": id });
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        self.waiting.retain(|_, (_, reply)| !reply.is_closed());
        self.waiting.insert(id, (command, reply));
        tokio::time::timeout(WRITE_LIMIT, self.write_all(&line, fd))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn write_all(&self, mut bytes: &[u8], mut fd: Option<OwnedFd>) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self
                .stream
                .async_io(Interest::WRITABLE, || {
                    let raw: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
                    let rights = [ControlMessage::ScmRights(&raw)];
                    let control = if raw.is_empty() { &[] } else { &rights[..] };
                    let data = [IoSlice::new(bytes)];
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    let socket = self.stream.as_raw_fd();
                    Ok(sendmsg::<()>(socket, &data, control, flags, None)?)
                })
                .await?;
            // It went with the first bytes.
            fd = None;
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes what there is off the socket and hands out the complete lines.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let fresh = self.buffer.len();
                    self.buffer.extend(chunk.iter().take(count));
                    self.take_lines(fresh)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn take_lines(&mut self, mut searched: usize) -> io::Result<()> {
        let mut begin = 0;
        while let Some(length) = self
            .buffer
            .get(searched..)
            .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let end = searched + length;
            let line = self.buffer.get(begin..end).unwrap_or_default();
            if !line.trim_ascii().is_empty() {
                let line: Line = serde_json::from_slice(line)?;
                hand_out(line, &mut self.waiting, &self.events);
            }
            begin = end + 1;
            searched = begin;
        }
        self.buffer.drain(..begin);
        if self.buffer.len() > LONGEST {
            return Err(io::Error::other("a line of more than 4 MiB"));
        }
        Ok(())
    }
}

type Waiting = HashMap<u64, (String, oneshot::Sender<Result<Value, QmpError>>)>;

fn hand_out(line: Line, waiting: &mut Waiting, events: &broadcast::Sender<QmpEvent>) {
    if let Some(name) = line.event {
        // Nobody listening is no failure.
        let _ = events.send(QmpEvent {
            name,
            data: line.data,
        });
        return;
    }
    // The greeting has no id; an error without one answers a line that QEMU could not read at all.
    let Some((command, reply)) = line.id.and_then(|id| waiting.remove(&id)) else {
        if let Some(refusal) = line.error {
            tracing::warn!("QEMU complains: {}", refusal.desc);
        }
        return;
    };
    let result = match line.error {
        Some(refusal) => Err(QmpError::Refused {
            command,
            class: refusal.class,
            description: refusal.desc,
        }),
        None => Ok(line.returned.unwrap_or_default()),
    };
    // Whoever asked may have given up.
    let _ = reply.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    /// The other end of the wire: answers each line by what `answer` says.
    fn peer(answer: impl Fn(&str) -> Vec<Vec<u8>> + Send + 'static) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("qmp.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(include_bytes!("testdata/qmp/greeting.json"))
                .unwrap();
            let reader = BufReader::new(stream.try_clone().unwrap());
            for line in reader.lines() {
                let Ok(line) = line else { return };
                for piece in answer(&line) {
                    if stream.write_all(&piece).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
        });
        directory
    }

    fn id(line: &str) -> u64 {
        serde_json::from_str::<Value>(line).unwrap()["id"]
            .as_u64()
            .unwrap()
    }

    async fn connect(directory: &tempfile::TempDir) -> (Qmp, broadcast::Receiver<QmpEvent>) {
        Qmp::connect(&directory.path().join("qmp.sock"), Duration::from_secs(5))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn finds_replies_by_id_between_events_and_pieces() {
        let directory = peer(|line| {
            let id = id(line);
            let reply = format!("{{\"new\": [1], \"return\": {{\"n\": {id}}}, \"id\": {id}}}\r\n");
            let (a, b) = reply.split_at(9);
            vec![
                b"{\"timestamp\": {}, \"event\": \"STOP\", \"extra\": 1}\r\n\r\n".to_vec(),
                a.as_bytes().to_vec(),
                [
                    b.as_bytes(),
                    b"{\"event\": \"RESUME\", \"data\": {\"x\": 2}}\r\n",
                ]
                .concat(),
            ]
        });
        let (qmp, mut events) = connect(&directory).await;
        assert_eq!(qmp.run("query-a", json!({})).await.unwrap()["n"], 2);
        assert_eq!(qmp.run("query-b", json!({})).await.unwrap()["n"], 3);
        let names: Vec<_> = std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| event.name)
            .collect();
        assert_eq!(names[..4], ["STOP", "RESUME", "STOP", "RESUME"]);
    }

    #[tokio::test]
    async fn tells_refusals_silence_and_the_end_apart() {
        let directory = peer(|line| {
            if line.contains("qmp_capabilities") {
                return vec![format!("{{\"return\": {{}}, \"id\": {}}}\n", id(line)).into_bytes()];
            }
            if line.contains("refuse") {
                let text = include_str!("testdata/qmp/refused.json");
                return vec![text.replace("7}", &format!("{}}}", id(line))).into_bytes()];
            }
            if line.contains("babble") {
                return (0..600).map(|_| vec![b'x'; 10_000]).collect();
            }
            Vec::new()
        });
        let (qmp, mut events) = connect(&directory).await;
        let error = qmp.run("refuse", json!({})).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "QEMU refused `refuse`: Device 'nosuch' not found"
        );
        let limit = Duration::from_millis(50);
        let error = qmp
            .run_within("silence", json!({}), limit)
            .await
            .unwrap_err();
        assert!(matches!(error, QmpError::TimedOut { .. }), "{error}");
        let error = qmp.run("babble", json!({})).await.unwrap_err();
        assert!(matches!(error, QmpError::Closed { .. }), "{error}");
        assert!(matches!(
            events.recv().await,
            Err(broadcast::error::RecvError::Closed)
        ));
        let nowhere = Qmp::connect(Path::new("/no/such.sock"), limit).await;
        assert!(matches!(nowhere, Err(QmpError::Connect { .. })));
    }

    #[tokio::test]
    async fn ends_with_its_last_user() {
        let directory =
            peer(|line| vec![format!("{{\"return\": {{}}, \"id\": {}}}\n", id(line)).into_bytes()]);
        let (qmp, mut events) = connect(&directory).await;
        drop(qmp);
        assert!(matches!(
            events.recv().await,
            Err(broadcast::error::RecvError::Closed)
        ));
    }
}

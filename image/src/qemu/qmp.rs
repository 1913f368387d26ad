//! A QMP connection to a machine: commands one at a time, events as they come.
//!
//! QEMU serves one client at a time on the socket, so a connection is made for what is to be done and dropped after.
//! Every read has a time limit: a hung QEMU becomes an error.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const ANSWER: Duration = Duration::from_secs(30);

/// A connection that has been greeted and may take commands.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    events: Vec<Value>,
    line: String,
}

impl Qmp {
    /// Connects to the socket of a running QEMU.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = connect_short(socket)
            .with_context(|| format!("cannot connect to QEMU at {}", socket.display()))?;
        let writer = stream
            .try_clone()
            .context("cannot share the QMP connection")?;
        let mut qmp = Self {
            reader: BufReader::new(stream),
            writer,
            events: Vec::new(),
            line: String::new(),
        };
        let greeting = qmp
            .read(Instant::now() + ANSWER)?
            .context("QEMU does not greet: another client holds its QMP socket")?;
        if greeting.get("QMP").is_none() {
            bail!("expected QMP's greeting, got {greeting}");
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs one command and returns what it returns.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut request = json!({ "execute": command, "arguments": arguments }).to_string();
        request.push('\n');
        self.writer
            .write_all(request.as_bytes())
            .with_context(|| format!("cannot send {command} to QEMU"))?;
        let end = Instant::now() + ANSWER;
        loop {
            let Some(mut message) = self.read(end)? else {
                bail!("QEMU did not answer {command} in time")
            };
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                bail!(
                    "QEMU refused {command}: {}",
                    error["desc"].as_str().unwrap_or("no reason given")
                );
            }
            self.events.push(message);
        }
    }

    /// Waits for an event of this name for which the condition holds; those that came before count too.
    pub fn wait_event(
        &mut self,
        name: &str,
        limit: Duration,
        matches: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + limit;
        loop {
            let found = self
                .events
                .iter()
                .position(|event| event["event"] == name && matches(&event["data"]));
            if let Some(position) = found {
                return Ok(self.events.remove(position));
            }
            match self.read(end)? {
                Some(message) => self.events.push(message),
                None => bail!("no {name} from QEMU within {} s", limit.as_secs()),
            }
        }
    }

    /// One message, or nothing when the time is over.
    fn read(&mut self, end: Instant) -> Result<Option<Value>> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.writer
                .set_read_timeout(Some(left))
                .context("cannot limit the wait for QEMU")?;
            match self.reader.read_line(&mut self.line) {
                Ok(0) => bail!("QEMU closed the QMP connection"),
                Ok(_) => {
                    let message = serde_json::from_str(&self.line)
                        .with_context(|| format!("not a QMP message: {}", self.line.trim()))?;
                    self.line.clear();
                    return Ok(Some(message));
                }
                // What was read of an unfinished line stays in `line`.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error).context("cannot read from QEMU"),
            }
        }
    }
}

/// Connects by way of the folder's descriptor, because the path of a socket may have 107 bytes only.
pub fn connect_short(socket: &Path) -> std::io::Result<UnixStream> {
    use std::os::fd::AsRawFd;
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket);
    };
    let folder = std::fs::File::open(folder)?;
    UnixStream::connect(
        Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn events_between_answers_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream
                .write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n")
                .unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.next().unwrap().unwrap();
            stream.write_all(b"{\"return\": {}}\r\n").unwrap();
            lines.next().unwrap().unwrap();
            stream
                .write_all(b"{\"timestamp\": {}, \"event\": \"STOP\"}\r\n{\"return\": {\"status\": \"paused\"}}\r\n")
                .unwrap();
            lines.next().unwrap().unwrap();
            stream
                .write_all(b"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\r\n")
                .unwrap();
        });
        let mut qmp = Qmp::connect(&socket).unwrap();
        assert_eq!(
            qmp.execute("query-status", json!({})).unwrap()["status"],
            "paused"
        );
        qmp.wait_event("STOP", Duration::from_secs(1), |_| true)
            .unwrap();
        assert!(
            qmp.execute("bad", json!({}))
                .unwrap_err()
                .to_string()
                .contains("refused bad: no")
        );
        server.join().unwrap();
    }
}

//! The guest agent: what a guest tells about itself, when it has one.
//!
//! Nothing here is trusted or waited for: a guest can answer anything, late or
//! never. One exchange has a time limit and a size limit, and begins with a
//! mark that tells its answers from those of an exchange that was given up.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long an exchange may take.
const LIMIT: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const LONGEST: usize = 256 << 10;
/// More addresses than this of one guest are not kept.
const MOST_ADDRESSES: usize = 32;

/// Why a guest agent told nothing.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its channel could not be used.
    #[error("the channel of the guest agent cannot be used")]
    Channel(#[from] io::Error),
    /// It did not answer in time.
    #[error("the guest agent did not answer within {} s", LIMIT.as_secs())]
    TimedOut,
    /// It answered something else.
    #[error("the guest agent answered something that is not understood")]
    Answer(#[from] serde_json::Error),
    /// It refused.
    #[error("the guest agent refused `{command}`")]
    Refused {
        /// The command.
        command: String,
    },
}

#[derive(Deserialize)]
struct Interface {
    #[serde(rename = "ip-addresses", default)]
    addresses: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "ip-address")]
    address: IpAddr,
}

/// The guest's addresses, but for those that no other machine can reach.
pub async fn addresses(socket: &Path) -> Result<Vec<IpAddr>, AgentError> {
    let answer = tokio::time::timeout(LIMIT, ask(socket, "guest-network-get-interfaces"))
        .await
        .map_err(|_| AgentError::TimedOut)??;
    parse(answer)
}

fn parse(answer: Value) -> Result<Vec<IpAddr>, AgentError> {
    let interfaces: Vec<Interface> = serde_json::from_value(answer)?;
    let mut addresses: Vec<IpAddr> = interfaces
        .into_iter()
        .flat_map(|interface| interface.addresses)
        .map(|address| address.address)
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.truncate(MOST_ADDRESSES);
    Ok(addresses)
}

/// Asks the guest to end. An agent that does so answers nothing.
pub async fn shutdown(socket: &Path) -> Result<(), AgentError> {
    let asking = async {
        let (mut stream, _) = open(socket).await?;
        let request = json!({ "execute": "guest-shutdown", "arguments": { "mode": "powerdown" } });
        stream.write_all(format!("{request}\n").as_bytes()).await?;
        Ok(())
    };
    tokio::time::timeout(LIMIT, asking)
        .await
        .map_err(|_| AgentError::TimedOut)?
}

/// Opens the channel and waits until the agent is heard; what else it said comes along.
async fn open(socket: &Path) -> Result<(UnixStream, Vec<u8>), AgentError> {
    let mut stream = UnixStream::connect(socket).await?;
    let mark = std::process::id();
    // The byte before makes the agent forget half a line of an earlier exchange.
    let sync = json!({ "execute": "guest-sync-delimited", "arguments": { "id": mark } });
    stream.write_all(b"\xff").await?;
    stream.write_all(format!("{sync}\n").as_bytes()).await?;
    let mut buffer = Vec::new();
    loop {
        let line = line(&mut stream, &mut buffer).await?;
        // Everything up to the last such byte answers somebody else.
        let fresh = line.rsplit(|byte| *byte == 0xff).next().unwrap_or_default();
        let answer: Option<Value> = serde_json::from_slice(fresh).ok();
        if answer.is_some_and(|answer| answer["return"] == json!(mark)) {
            return Ok((stream, buffer));
        }
    }
}

async fn ask(socket: &Path, command: &str) -> Result<Value, AgentError> {
    let (mut stream, mut buffer) = open(socket).await?;
    let request = json!({ "execute": command });
    stream.write_all(format!("{request}\n").as_bytes()).await?;
    let line = line(&mut stream, &mut buffer).await?;
    let mut answer: Value = serde_json::from_slice(&line)?;
    match answer.get_mut("return") {
        Some(value) => Ok(value.take()),
        None => Err(AgentError::Refused {
            command: command.to_owned(),
        }),
    }
}

async fn line(stream: &mut UnixStream, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        if let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = buffer.drain(..=end).collect();
            line.pop();
            return Ok(line);
        }
        if buffer.len() > LONGEST {
            return Err(io::Error::other("an answer of more than 256 KiB"));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    /// Answers as qemu-ga does (recorded from version 7.2), after the rest of an older exchange.
    fn agent(answer: &'static str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("agent.sock")).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).unwrap();
            let request: Value = serde_json::from_slice(&line[1..]).unwrap();
            let mark = &request["arguments"]["id"];
            let text = "{\"return\": 1}\n{\"ret\u{0}\n";
            stream.write_all(text.as_bytes()).unwrap();
            stream.write_all(b"\xff").unwrap();
            writeln!(stream, "{{\"return\": {mark}}}").unwrap();
            line.clear();
            reader.read_until(b'\n', &mut line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            std::thread::sleep(LIMIT * 2);
        });
        directory
    }

    #[tokio::test]
    async fn tells_addresses() {
        let directory = agent(include_str!("testdata/agent/interfaces.json"));
        let addresses = addresses(&directory.path().join("agent.sock"))
            .await
            .unwrap();
        let expected: Vec<IpAddr> = ["10.77.0.23", "2001:db8::5054:ff:fe12:3456"]
            .map(|address| address.parse().unwrap())
            .into();
        assert_eq!(addresses, expected);
    }

    #[tokio::test]
    async fn is_not_waited_for() {
        let directory = agent("");
        let error = addresses(&directory.path().join("agent.sock"))
            .await
            .unwrap_err();
        assert!(matches!(error, AgentError::TimedOut), "{error}");
        let directory = agent("{\"error\": {\"class\": \"CommandNotFound\"}}\n");
        let error = addresses(&directory.path().join("agent.sock"))
            .await
            .unwrap_err();
        assert!(matches!(error, AgentError::Refused { .. }), "{error}");
    }
}

//! A machine's serial line over the WebSocket of the API, as the console uses it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::api::Api;
use crate::socket::{self, Socket};

/// An open serial line.
pub struct Serial {
    socket: Socket,
    /// Everything that came so far.
    pub seen: String,
}

impl Serial {
    /// Opens the serial line of a machine.
    pub async fn open(api: &Api, vm: &str) -> Result<Self> {
        Ok(Serial {
            socket: socket::open(api, &format!("/api/v1/vms/{vm}/serial"), None).await?,
            seen: String::new(),
        })
    }

    /// Types a text.
    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.socket
            .send(Message::Binary(text.as_bytes().to_vec().into()))
            .await
            .context("the serial line is closed")
    }

    /// Reads what comes next. Cancel-safe.
    pub async fn read(&mut self) -> Result<()> {
        let message = self.socket.next().await;
        match message
            .context("the serial line was closed")?
            .context("the serial line broke")?
        {
            Message::Binary(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
            Message::Text(text) => self.seen.push_str(&text),
            Message::Close(_) => bail!("the serial line was closed"),
            _ => {}
        }
        Ok(())
    }

    /// Reads until `text` has come after what was `expect`ed before; gives everything up to there and forgets it.
    pub async fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            let left = limit.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, self.read()).await {
                Err(_) => bail!(
                    "waited {} s for \"{text}\" on the serial line; the last of it was:\n{}",
                    limit.as_secs(),
                    self.end()
                ),
                Ok(read) => read.with_context(|| format!("the last of it was:\n{}", self.end()))?,
            }
        }
    }

    fn end(&self) -> &str {
        let start = self.seen.len().saturating_sub(2000);
        &self.seen[self.seen.floor_char_boundary(start)..]
    }
}

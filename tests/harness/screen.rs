//! A machine's screen over the WebSocket of the API: the protocol RFB (RFC 6143), as far as a look needs it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::api::Api;
use crate::socket::{self, Socket};

const VERSION: &[u8] = b"RFB 003.008\n";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// What is asked for: a whole screen takes an emulated network a second.
const PART: u16 = 64;

/// An open screen.
pub struct Screen {
    socket: Socket,
    held: Vec<u8>,
    /// Width and height.
    pub size: (u16, u16),
    bytes_per_pixel: usize,
}

impl Screen {
    /// Opens the screen of a machine.
    pub async fn open(api: &Api, vm: &str) -> Result<Self> {
        let path = format!("/api/v1/vms/{vm}/vnc");
        let mut screen = Screen {
            socket: socket::open(api, &path, Some("binary")).await?,
            held: Vec::new(),
            size: (0, 0),
            bytes_per_pixel: 0,
        };
        tokio::time::timeout(LIMIT, screen.greet())
            .await
            .context("the screen does not greet")??;
        Ok(screen)
    }

    async fn greet(&mut self) -> Result<()> {
        let version = self.take(VERSION.len()).await?;
        ensure!(version == VERSION, "it speaks {version:?}");
        self.send(VERSION).await?;
        let count = self.take(1).await?[0];
        let ways = self.take(usize::from(count)).await?;
        const NO_PASSWORD: u8 = 1;
        ensure!(ways.contains(&NO_PASSWORD), "it wants a password: {ways:?}");
        self.send(&[NO_PASSWORD]).await?;
        let refused = self.take(4).await?;
        ensure!(refused == [0; 4], "it refuses: {refused:?}");
        const SHARED: u8 = 1;
        self.send(&[SHARED]).await?;
        self.size = (self.number().await?, self.number().await?);
        let format = self.take(16).await?;
        self.bytes_per_pixel = usize::from(format[0] / 8);
        let name = self.take(4).await?;
        let name = u32::from_be_bytes([name[0], name[1], name[2], name[3]]);
        self.take(usize::try_from(name)?).await.map(drop)
    }

    /// Asks for a part of what is on the screen and waits until it has come; gives its bytes.
    pub async fn look(&mut self) -> Result<Vec<u8>> {
        let (width, height) = (PART.min(self.size.0), PART.min(self.size.1));
        const UPDATE_REQUEST: u8 = 3;
        let mut request = vec![UPDATE_REQUEST, 0, 0, 0, 0, 0];
        request.extend(width.to_be_bytes());
        request.extend(height.to_be_bytes());
        self.send(&request).await?;
        tokio::time::timeout(LIMIT, self.update())
            .await
            .context("no picture of the screen")?
    }

    async fn update(&mut self) -> Result<Vec<u8>> {
        const UPDATE: u8 = 0;
        let head = self.take(2).await?;
        ensure!(head[0] == UPDATE, "it says {head:?}");
        let mut pixels = Vec::new();
        for _ in 0..self.number().await? {
            let place = [self.number().await?, self.number().await?];
            let size = [self.number().await?, self.number().await?];
            let encoding = self.take(4).await?;
            ensure!(encoding == [0; 4], "{encoding:?} was not asked for");
            ensure!(
                place[0] + size[0] <= self.size.0 && place[1] + size[1] <= self.size.1,
                "beside the screen: {place:?} {size:?}"
            );
            let count = usize::from(size[0]) * usize::from(size[1]) * self.bytes_per_pixel;
            pixels.extend(self.take(count).await?);
        }
        ensure!(!pixels.is_empty(), "a picture of nothing");
        Ok(pixels)
    }

    /// Waits until the line breaks.
    pub async fn over(mut self) {
        while self.take(1).await.is_ok() {}
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.socket
            .send(Message::Binary(bytes.to_vec().into()))
            .await
            .context("the screen is closed")
    }

    async fn number(&mut self) -> Result<u16> {
        let bytes = self.take(2).await?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The next bytes.
    async fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.held.len() < count {
            let message = self.socket.next().await;
            match message
                .context("the screen was closed")?
                .context("the screen broke")?
            {
                Message::Binary(bytes) => self.held.extend_from_slice(&bytes),
                Message::Close(_) => bail!("the screen was closed"),
                _ => {}
            }
        }
        Ok(self.held.drain(..count).collect())
    }
}

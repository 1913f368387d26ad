//! A machine's serial line over the WebSocket of the API, as the console uses it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream};

use crate::api::Api;

/// An open serial line.
pub struct Serial {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Everything that came so far.
    pub seen: String,
}

impl Serial {
    /// Opens the serial line of a machine.
    pub async fn open(api: &Api, vm: &str) -> Result<Self> {
        let address = format!(
            "{}/api/v1/vms/{vm}/serial",
            api.base().replacen("https", "wss", 1)
        );
        let mut request = address.into_client_request().context("not an address")?;
        let headers = request.headers_mut();
        headers.insert("Cookie", api.cookie().parse()?);
        headers.insert("Origin", api.base().parse()?);
        let tls = rustls::ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anything))
            .with_no_client_auth();
        let connecting = tokio_tungstenite::connect_async_tls_with_config(
            request,
            None,
            false,
            Some(Connector::Rustls(Arc::new(tls))),
        );
        let (socket, _) = tokio::time::timeout(Duration::from_secs(20), connecting)
            .await
            .context("no WebSocket in 20 s")??;
        Ok(Serial {
            socket,
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

    /// Reads until `text` has come after what was `expect`ed before; gives everything up to there and forgets it.
    pub async fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let start = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return Ok(std::mem::replace(&mut self.seen, rest));
            }
            let left = limit.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, self.socket.next()).await {
                Err(_) => bail!(
                    "waited {} s for \"{text}\" on the serial line; the last of it was:\n{}",
                    limit.as_secs(),
                    self.end()
                ),
                Ok(None) => bail!(
                    "the serial line was closed; the last of it was:\n{}",
                    self.end()
                ),
                Ok(Some(message)) => match message.context("the serial line broke")? {
                    Message::Binary(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                    Message::Text(text) => self.seen.push_str(&text),
                    Message::Close(_) => bail!("the serial line was closed"),
                    _ => {}
                },
            }
        }
    }

    fn end(&self) -> String {
        let start = self.seen.len().saturating_sub(2000);
        self.seen
            .chars()
            .skip(
                self.seen[..self.seen.floor_char_boundary(start)]
                    .chars()
                    .count(),
            )
            .collect()
    }
}

/// Takes any certificate: the appliance made it a minute ago.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

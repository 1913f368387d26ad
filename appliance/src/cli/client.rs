//! The API, spoken over a socket of this machine or over TLS.
//!
//! HTTP/1.1 only: one request at a time, and WebSockets share the settings of
//! TLS. No proxy and no redirect is followed, so that a secret goes to the
//! appliance that was named and nowhere else. Every request is bounded in time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ashlar_api::error::Problem;
use ashlar_api::{JobId, Page, endpoint};
use reqwest::header::{HeaderMap, HeaderValue, LINK};
use reqwest::{Method, RequestBuilder, Response};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::error::{Error, Result};
use super::place::{Address, Place};
use super::trust::{Met, Trust, Verifier};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// As whom the API is spoken to.
#[derive(Clone)]
pub enum Credentials {
    /// As nobody, or as the owner of the socket.
    None,
    /// As a token.
    Token(String),
    /// As whoever signed in.
    Session {
        /// Name and value of the cookie.
        cookie: String,
        /// What must come with every change.
        csrf: String,
    },
}

/// A connection to an appliance's API.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    place: Place,
    base: String,
    credentials: Credentials,
    verifier: Arc<Verifier>,
    tls: Arc<ClientConfig>,
}

/// What the API answered, whole.
#[derive(Debug)]
pub struct Answer {
    what: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Vec<u8>,
}

/// A stream of bytes in both directions, whatever carries it.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// An open WebSocket.
pub type Socket = WebSocketStream<Box<dyn Wire>>;

impl Answer {
    /// The body as a value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Unreadable {
            what: self.what.clone(),
            source,
        })
    }

    /// The jobs that the answer names.
    pub fn jobs(&self) -> Vec<JobId> {
        let links = self.headers.get_all(LINK).iter();
        let links = links.filter_map(|value| value.to_str().ok());
        links.flat_map(jobs_in).collect()
    }
}

/// The jobs in a `Link` header.
fn jobs_in(header: &str) -> impl Iterator<Item = JobId> {
    header.split(',').filter_map(|link| {
        let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_job = rest.split(';').any(|p| p.trim() == "rel=\"job\"");
        target.rsplit('/').next().filter(|_| is_job)?.parse().ok()
    })
}

impl Client {
    /// For a socket of this machine.
    pub fn local(socket: &Path) -> Result<Self> {
        let place = Place::Local(socket.to_owned());
        Self::build(place, Trust::System, Credentials::None)
    }

    /// For an appliance on the network.
    pub fn remote(address: &Address, trust: Trust, credentials: Credentials) -> Result<Self> {
        Self::build(Place::Remote(address.clone()), trust, credentials)
    }

    fn build(place: Place, trust: Trust, credentials: Credentials) -> Result<Self> {
        let verifier = Verifier::new(trust)?;
        let tls = verifier.config()?;
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ashlar/", env!("CARGO_PKG_VERSION")))
            .use_preconfigured_tls(tls.clone())
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only();
        let base = match &place {
            Place::Local(socket) => {
                builder = builder.unix_socket(PathBuf::from(socket));
                "http://localhost".to_owned()
            }
            Place::Remote(address) => address.to_string(),
        };
        let http = builder
            .build()
            .map_err(|error| Error::Prepare("set up HTTP", error.into()))?;
        Ok(Client {
            http,
            place,
            base,
            credentials,
            verifier,
            tls: Arc::new(tls),
        })
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The same client for the same appliance under another address.
    pub fn moved(&self, address: &Address) -> Self {
        Client {
            place: Place::Remote(address.clone()),
            base: address.to_string(),
            ..self.clone()
        }
    }

    /// A request to begin with; `path` is whole, such as `/api/v1/vms`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.credentials {
            Credentials::None => request,
            Credentials::Token(token) => request.bearer_auth(token),
            Credentials::Session { cookie, csrf } => request
                .header("Cookie", cookie)
                .header("X-CSRF-Token", csrf),
        }
        .timeout(PATIENCE)
    }

    /// Sends a request and reads the whole answer; a refusal is an error.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer> {
        let (response, what) = self.begin(request).await?;
        let headers = response.headers().clone();
        let body = response.bytes().await.map_err(|error| self.lost(error))?;
        Ok(Answer {
            what,
            headers,
            body: body.to_vec(),
        })
    }

    /// Sends a request; the body is still to be read. A refusal is an error.
    pub async fn begin(&self, request: RequestBuilder) -> Result<(Response, String)> {
        let (response, what) = self.exchange(request).await?;
        match response.status().is_success() {
            true => Ok((response, what)),
            false => Err(self.refused(response).await),
        }
    }

    /// Sends a request; a refusal is an answer too.
    pub async fn exchange(&self, request: RequestBuilder) -> Result<(Response, String)> {
        let request = request
            .build()
            .map_err(|error| Error::Prepare("make the request", error.without_url().into()))?;
        let what = format!("{} {}", request.method(), request.url().path());
        let response = self.http.execute(request).await;
        Ok((response.map_err(|error| self.lost(error))?, what))
    }

    /// What a refusal says.
    pub async fn refused(&self, response: Response) -> Error {
        let status = response.status().as_u16();
        match response.bytes().await {
            Ok(body) => refusal(status, &body),
            Err(error) => self.lost(error),
        }
    }

    fn lost(&self, error: reqwest::Error) -> Error {
        self.missed(error.without_url().into())
    }

    fn missed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        match self.verifier.met() {
            Some(Met {
                fingerprint,
                refused: Some(reason),
            }) => Error::Untrusted {
                place: self.place.to_string(),
                reason,
                fingerprint: fingerprint.to_string(),
            },
            _ => Error::Unreachable {
                place: self.place.to_string(),
                source,
            },
        }
    }

    /// Reads an object.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// Reads a list from its beginning to its end, as pages.
    pub async fn pages(&self, path: &str, query: &[(&str, String)]) -> Result<Vec<Answer>> {
        let mut pages = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let request = self
                .request(Method::GET, path)
                .query(query)
                .query(&[("limit", "500")]);
            let request = match &after {
                Some(after) => request.query(&[("after", after)]),
                None => request,
            };
            let answer = self.send(request).await?;
            let next = answer.read::<Page<serde::de::IgnoredAny>>()?.next;
            pages.push(answer);
            if next.is_none() || next == after {
                return Ok(pages);
            }
            after = next;
        }
    }

    /// Reads all objects of a list.
    pub async fn all<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        for page in self.pages(path, query).await? {
            items.extend(page.read::<Page<T>>()?.items);
        }
        Ok(items)
    }

    /// Creates or acts.
    pub async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// Opens a WebSocket.
    pub async fn socket(&self, path: &str) -> Result<Socket> {
        let address = format!("{}{path}", self.base.replacen("http", "ws", 1));
        let prepare = |error: tungstenite::Error| Error::Prepare("make the request", error.into());
        let mut request = address.into_client_request().map_err(prepare)?;
        let mut header = |name: &'static str, text: &str| -> Result {
            let mut value = HeaderValue::from_str(text)
                .map_err(|error| Error::Prepare("make the request", error.into()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
            Ok(())
        };
        match &self.credentials {
            Credentials::None => {}
            Credentials::Token(token) => header("authorization", &format!("Bearer {token}"))?,
            Credentials::Session { cookie, .. } => {
                header("cookie", cookie)?;
                header("origin", &self.base)?;
            }
        }
        let open = async {
            let wire: Box<dyn Wire> = match &self.place {
                Place::Local(socket) => Box::new(UnixStream::connect(socket).await?),
                Place::Remote(address) => Box::new(self.handshake(address).await?),
            };
            tokio_tungstenite::client_async(request, wire).await
        };
        let opened = tokio::time::timeout(CONNECT, open)
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        match opened {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                Err(refusal(response.status().as_u16(), body))
            }
            Err(error) => Err(self.missed(error.into())),
        }
    }

    async fn handshake(&self, address: &Address) -> io::Result<impl Wire + use<>> {
        let stream = TcpStream::connect((address.host(), address.port())).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(address.host().to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        TlsConnector::from(self.tls.clone())
            .connect(name, stream)
            .await
    }

    /// Meets the appliance without saying anything: whether it is trusted, and its certificate.
    pub async fn meet(&self) -> Result<Met> {
        let Place::Remote(address) = &self.place else {
            return Err(Error::usage(
                "a socket of this machine has no certificate",
                "Give an address with --url.",
            ));
        };
        let met = tokio::time::timeout(CONNECT, self.handshake(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map(drop);
        match (met, self.verifier.met()) {
            (_, Some(met)) => Ok(met),
            (Err(error), None) => Err(self.missed(error.into())),
            (Ok(()), None) => Err(Error::Foreign { status: 0 }),
        }
    }
}

/// What an answer that is no success says.
fn refusal(status: u16, body: &[u8]) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Error::Refused(Box::new(problem)),
        Err(_) => Error::Foreign { status },
    }
}

/// The address of one object.
pub fn at(path: &str, id: &str) -> String {
    format!("{path}/{id}")
}

/// The address of a job.
pub fn job(id: JobId) -> String {
    format!("{}/{id}", endpoint::JOBS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_found_in_links() {
        let one = "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d";
        let header = format!(
            "</api/v1/jobs/{one}>; rel=\"job\", </x>; rel=\"next\", </api/v1/jobs/zz>; rel=\"job\""
        );
        let jobs: Vec<String> = jobs_in(&header).map(|job| job.to_string()).collect();
        assert_eq!(jobs, [one]);
        assert_eq!(jobs_in("").count(), 0);
    }

    #[test]
    fn answers_of_others_are_not_problems() {
        assert!(matches!(
            refusal(502, b"<html>"),
            Error::Foreign { status: 502 }
        ));
        let problem = br#"{"code":"not-found","status":404,"title":"none"}"#;
        assert!(refusal(404, problem).is_not_found());
    }
}

//! The API of an appliance, as a program uses it: by token or by session, over TLS.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ashlar_api::error::Problem;
use ashlar_api::event::Change;
use ashlar_api::site::{ClaimRequest, SiteSpec};
use ashlar_api::user::Session;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, IF_MATCH, LINK, SET_COOKIE};
use reqwest::{Client, Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// Password of the administrator that tests make.
pub const PASSWORD: &str = "a quarry of blue stone";
/// The administrator that tests make.
pub const USER: &str = "admin";

/// An appliance's API.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    cookie: Option<String>,
    csrf: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as a value; an answer that is no success is an error that says what the appliance said.
    pub fn value<T: DeserializeOwned>(self) -> Result<T> {
        if !self.status.is_success() {
            bail!(
                "{}: {}",
                self.status,
                self.problem().map_or_else(
                    |_| String::from_utf8_lossy(&self.body).into_owned(),
                    |p| p.to_string()
                )
            );
        }
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "not what was expected: {}",
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// The body as a problem.
    pub fn problem(&self) -> Result<Problem> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "{} without a problem: {}",
                self.status,
                String::from_utf8_lossy(&self.body)
            )
        })
    }

    /// The revision in the ETag.
    pub fn etag(&self) -> Option<String> {
        Some(self.headers.get(ETAG)?.to_str().ok()?.to_owned())
    }

    /// The jobs that do what was asked for.
    pub fn jobs(&self) -> Vec<String> {
        let links = self.headers.get(LINK).and_then(|link| link.to_str().ok());
        links
            .into_iter()
            .flat_map(|links| links.split(','))
            .filter_map(|link| link.split(['<', '>']).nth(1)?.rsplit('/').next())
            .map(str::to_owned)
            .collect()
    }
}

/// The stream of changes, being read.
pub struct Events {
    response: reqwest::Response,
    text: Vec<u8>,
}

impl Events {
    /// The next change; nothing when the stream is over, however it ended.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                let change = line
                    .strip_prefix(b"data:")
                    .and_then(|data| serde_json::from_slice(data).ok());
                if change.is_some() {
                    return change;
                }
            }
            let piece = self.response.chunk().await.ok()??;
            self.text.extend_from_slice(&piece);
        }
    }

    /// Waits until the stream is over.
    pub async fn over(mut self) {
        while self.next().await.is_some() {}
    }
}

/// Sends a request and reads all of its answer.
async fn answered(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    Ok(Answer {
        status,
        headers,
        body: response.bytes().await?.to_vec(),
    })
}

impl Api {
    /// The API at `base`, such as `https://127.0.0.1:8443`. Tests meet appliances whose certificate was made a
    /// minute ago; that it is the one on the screen is a test of its own.
    pub fn new(base: &str) -> Result<Self> {
        // Installing it twice is harmless: the first stays.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(60))
            .connect_timeout(Duration::from_secs(5))
            .build()
            .context("cannot make a client")?;
        Ok(Api {
            client,
            base: base.trim_end_matches('/').to_owned(),
            cookie: None,
            csrf: String::new(),
        })
    }

    /// Where it is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The session cookie, for WebSockets.
    pub fn cookie(&self) -> &str {
        self.cookie.as_deref().unwrap_or_default()
    }

    /// One request; any status is an answer.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.base))
            .header("X-CSRF-Token", &self.csrf);
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answered(request)
            .await
            .with_context(|| format!("no answer to {path}"))
    }

    /// Reads.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.request(Method::GET, path, None::<&()>)
            .await?
            .value()
            .with_context(|| format!("GET {path}"))
    }

    /// Creates or acts.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.request(Method::POST, path, Some(body))
            .await?
            .value()
            .with_context(|| format!("POST {path}"))
    }

    /// Acts, without a body and without caring for the answer's.
    pub async fn act(&self, path: &str) -> Result<()> {
        let answer = self.request(Method::POST, path, None::<&()>).await?;
        if !answer.status.is_success() {
            bail!(
                "POST {path}: {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok(())
    }

    /// Replaces.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.request(Method::PUT, path, Some(body))
            .await?
            .value()
            .with_context(|| format!("PUT {path}"))
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let answer = self.request(Method::DELETE, path, None::<&()>).await?;
        if !answer.status.is_success() {
            bail!(
                "DELETE {path}: {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
        Ok(())
    }

    /// Replaces only if the object still has the revision of `etag`.
    pub async fn put_if(&self, path: &str, etag: &str, body: &impl Serialize) -> Result<Answer> {
        let mut request = self
            .client
            .put(format!("{}{path}", self.base))
            .header("X-CSRF-Token", &self.csrf)
            .header(IF_MATCH, etag)
            .json(body);
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        answered(request).await
    }

    /// Opens the stream of changes; gives it with what names the running supervisor.
    pub async fn events(&self) -> Result<(Events, String)> {
        const LONG: Duration = Duration::from_secs(3600);
        let response = self
            .client
            .get(format!("{}/api/v1/events", self.base))
            .header("Cookie", self.cookie())
            .timeout(LONG)
            .send()
            .await
            .context("no stream")?
            .error_for_status()?;
        let text = Vec::new();
        let mut events = Events { response, text };
        match events.next().await {
            Some(Change::Hello { instance, .. }) => Ok((events, instance)),
            other => bail!("the stream began with {other:?}"),
        }
    }

    /// Claims the appliance with the code on its screen and stays signed in.
    pub async fn claim(&mut self, code: &str, site: &str, node: &str) -> Result<()> {
        let request = ClaimRequest {
            code: code.to_owned(),
            site: SiteSpec {
                name: site.parse()?,
                description: String::new(),
                time_zone: String::new(),
                ntp_servers: Vec::new(),
            },
            node_name: node.parse()?,
            user: USER.parse()?,
            password: PASSWORD.to_owned(),
        };
        let answer = self
            .request(Method::POST, "/api/v1/claim", Some(&request))
            .await?;
        self.keep_session(answer)
    }

    /// Signs in.
    pub async fn sign_in(&mut self) -> Result<()> {
        let body = serde_json::json!({ "user": USER, "password": PASSWORD });
        let answer = self
            .request(Method::POST, "/api/v1/session", Some(&body))
            .await?;
        self.keep_session(answer)
    }

    fn keep_session(&mut self, answer: Answer) -> Result<()> {
        let cookie = answer
            .headers
            .get(SET_COOKIE)
            .and_then(|c| c.to_str().ok())
            .and_then(|c| c.split(';').next())
            .map(str::to_owned);
        let session: Session = answer.value()?;
        self.cookie = Some(cookie.context("no session cookie")?);
        self.csrf = session.csrf_token;
        Ok(())
    }

    /// Sends a file whole, as the body of one request; any status is an answer.
    pub async fn send_file(&self, path: &str, file: &std::path::Path) -> Result<Answer> {
        const LONG: Duration = Duration::from_secs(600);
        let content = tokio::fs::read(file)
            .await
            .with_context(|| format!("cannot read {}", file.display()))?;
        self.send_bytes(path, content, LONG).await
    }

    /// Sends bytes as the body of one request; any status is an answer.
    pub async fn send_bytes(
        &self,
        path: &str,
        content: Vec<u8>,
        limit: Duration,
    ) -> Result<Answer> {
        let mut request = self
            .client
            .put(format!("{}{path}", self.base))
            .header("X-CSRF-Token", &self.csrf)
            .header("Content-Type", "application/octet-stream")
            .timeout(limit)
            .body(content);
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        answered(request).await
    }

    /// Sends an image's bytes in pieces, as the console does.
    pub async fn upload(&self, image: &str, content: &[u8]) -> Result<()> {
        const PIECE: usize = 8 << 20;
        for (n, piece) in content.chunks(PIECE).enumerate() {
            let start = n * PIECE;
            let mut request = self
                .client
                .put(format!("{}/api/v1/images/{image}/content", self.base))
                .header("X-CSRF-Token", &self.csrf)
                .header(
                    CONTENT_RANGE,
                    format!(
                        "bytes {start}-{}/{}",
                        start + piece.len() - 1,
                        content.len()
                    ),
                )
                .header("Content-Type", "application/octet-stream")
                .timeout(Duration::from_secs(300))
                .body(piece.to_vec());
            if let Some(cookie) = &self.cookie {
                request = request.header("Cookie", cookie);
            }
            let response = request.send().await?;
            if !response.status().is_success() {
                bail!(
                    "piece at {start}: {}: {}",
                    response.status(),
                    response.text().await.unwrap_or_default()
                );
            }
        }
        Ok(())
    }
}

/// SHA-256 as the API writes it.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

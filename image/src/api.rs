//! The appliance's API as seen from the host, as much of it as booting and measuring needs.
//!
//! The certificate is self-signed and made at first boot, and the way there is the loopback interface into our own QEMU:
//! it is not checked here. People compare the fingerprint that `run` prints.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use ashlar_api::endpoint::{BASE, CLAIM, HEALTH};
use ashlar_api::user::Session;
use reqwest::Method;
use reqwest::blocking::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The administrator that [`Appliance::claim`] makes.
const USER: &str = "admin";
const PASSWORD: &str = "a quarry of blue stone";

const UPLOAD: Duration = Duration::from_secs(300);

/// One appliance behind a forwarded port.
pub struct Appliance {
    client: Client,
    origin: String,
    csrf: String,
    cookie: String,
}

impl Appliance {
    /// The appliance behind 127.0.0.1:`port`.
    pub fn new(port: u16) -> Result<Self> {
        // A provider installed before stays, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .danger_accept_invalid_certs(true)
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .context("cannot set up the HTTP client")?;
        Ok(Self {
            client,
            origin: format!("https://127.0.0.1:{port}"),
            csrf: String::new(),
            cookie: String::new(),
        })
    }

    /// Whether the API answers.
    pub fn health(&self) -> Result<()> {
        let request = self
            .client
            .get(format!("{}{HEALTH}", self.origin))
            .timeout(Duration::from_secs(3));
        successful(request.send().context("the API does not answer")?).map(drop)
    }

    /// Claims an appliance with the code on its screen; later requests are the new administrator's.
    pub fn claim(&mut self, code: &str) -> Result<()> {
        let body = json!({ "code": code, "site": { "name": "bench" }, "node_name": "node-1", "user": USER, "password": PASSWORD });
        let answer = self.send(Method::POST, CLAIM, Some(&body))?;
        let cookies = answer.headers().get_all(reqwest::header::SET_COOKIE);
        let pairs: Vec<_> = cookies
            .iter()
            .filter_map(|cookie| Some(cookie.to_str().ok()?.split(';').next()?.to_owned()))
            .collect();
        let session: Session = answer
            .json()
            .context("the claim was answered with something else than a session")?;
        self.cookie = pairs.join("; ");
        self.csrf = session.csrf_token;
        Ok(())
    }

    /// Reads an object or a list; the path follows `/api/v1`.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.send(Method::GET, &format!("{BASE}{path}"), None)?;
        answer
            .json()
            .with_context(|| format!("{path} is not what was expected"))
    }

    /// Creates an object.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let answer = self.send(Method::POST, &format!("{BASE}{path}"), Some(body))?;
        answer
            .json()
            .with_context(|| format!("{path} is not what was expected"))
    }

    /// Has something done to an object.
    pub fn act(&self, path: &str) -> Result<()> {
        self.send(Method::POST, &format!("{BASE}{path}"), None)
            .map(drop)
    }

    /// Sends the whole content of an image.
    pub fn upload(&self, path: &str, content: &[u8]) -> Result<()> {
        let last = content.len().saturating_sub(1);
        let request = self
            .request(Method::PUT, &format!("{BASE}{path}"))
            .timeout(UPLOAD)
            .header("Content-Range", format!("bytes 0-{last}/{}", content.len()))
            .body(content.to_vec());
        successful(
            request
                .send()
                .with_context(|| format!("no answer to {path}"))?,
        )
        .map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.origin));
        if self.cookie.is_empty() {
            return request;
        }
        request
            .header("Cookie", &self.cookie)
            .header("X-CSRF-Token", &self.csrf)
    }

    fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Response> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request
            .send()
            .with_context(|| format!("no answer to {path}"))?;
        successful(answer).with_context(|| path.to_owned())
    }
}

fn successful(answer: Response) -> Result<Response> {
    if !answer.status().is_success() {
        let status = answer.status();
        bail!(
            "the API answers {status}: {}",
            answer.text().unwrap_or_default()
        );
    }
    Ok(answer)
}

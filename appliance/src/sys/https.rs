//! Getting files by HTTP: the client, and what goes on after an interruption.
//!
//! Everything is bounded: waiting for a connection and for bytes, and redirections, which never lead from https to http.

use std::io;
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// The authorities whose certificates are accepted.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONNECT: Duration = Duration::from_secs(20);
/// How long the next bytes may take.
const STALL: Duration = Duration::from_secs(60);
const MOST_REDIRECTIONS: usize = 8;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The trusted authorities could not be read.
    #[error("the trusted certificate authorities in {AUTHORITIES} can not be read")]
    Authorities(#[source] io::Error),
    /// TLS could not be set up.
    #[error("TLS can not be used")]
    Tls(#[source] rustls::Error),
    /// The client could not be made.
    #[error("the HTTP client can not be made")]
    Client(#[source] reqwest::Error),
}

/// What tells later that the file is the same: a strong ETag, else its date.
pub fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    let strong = headers
        .get(ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    strong.or_else(|| headers.get(LAST_MODIFIED)).cloned()
}

/// Where a part begins: `bytes 100-199/200`.
pub fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.trim().parse().ok()
}

/// A client; authorities are only needed for `https`.
pub fn client(authorities: &Path, is_https: bool) -> Result<Client, ClientError> {
    let mut roots = RootCertStore::empty();
    if is_https {
        let pem = std::fs::read(authorities).map_err(ClientError::Authorities)?;
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            let error = io::Error::new(io::ErrorKind::InvalidData, "there is none in it");
            return Err(ClientError::Authorities(error));
        }
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let tls = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let redirections = Policy::custom(|attempt| {
        let was_https = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > MOST_REDIRECTIONS {
            attempt.error("too many redirections")
        } else if was_https && attempt.url().scheme() != "https" {
            attempt.error("it leads from https to http")
        } else {
            attempt.follow()
        }
    });
    Client::builder()
        .use_preconfigured_tls(tls)
        .user_agent(concat!("Ashlar/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .read_timeout(STALL)
        .redirect(redirections)
        .no_proxy()
        .build()
        .map_err(ClientError::Client)
}

//! Whether what answers is the appliance: its certificate, seen and judged.
//!
//! An appliance's first certificate is one of its own, so no authority vouches
//! for it. It is trusted by its SHA-256, which the appliance's screen shows: the
//! name in it, its dates and its issuer then do not matter, as an address that
//! changes must not lock anybody out. A certificate that an authority signed is
//! trusted the usual way, by `--ca` or the authorities of the system.
//!
//! The verifier remembers whom it refused and why, because the error that comes
//! back through the HTTP client does not say.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, Result};

/// Where systems keep the authorities they trust.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER form.
    pub fn of(certificate: &[u8]) -> Self {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let colon = if i == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("64 hexadecimal digits, with or without colons, as on the appliance's screen")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;
    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let text = text.trim();
        let text = text.strip_prefix("SHA256:").unwrap_or(text);
        let digits: Vec<char> = text
            .chars()
            .filter(|c| *c != ':' && !c.is_whitespace())
            .collect();
        let mut bytes = [0; 32];
        if digits.len() != 64 {
            return Err(InvalidFingerprint);
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair: String = pair.iter().collect();
            if !pair.chars().all(|c| c.is_ascii_hexdigit()) {
                return Err(InvalidFingerprint);
            }
            *byte = u8::from_str_radix(&pair, 16).map_err(|_| InvalidFingerprint)?;
        }
        Ok(Fingerprint(bytes))
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidFingerprint;
    fn try_from(text: String) -> Result<Self, InvalidFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> String {
        fingerprint.to_string()
    }
}

/// By what an appliance is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// By the fingerprint of its certificate.
    Pinned(Fingerprint),
    /// By the authorities in a file.
    Authority(PathBuf),
    /// By the authorities that the system trusts.
    System,
}

/// Whom the verifier met last.
#[derive(Clone, Debug)]
pub struct Met {
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// Why it was refused; `None` if it was not.
    pub refused: Option<String>,
}

/// Judges certificates.
#[derive(Debug)]
pub struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    authorities: Option<Arc<WebPkiServerVerifier>>,
    met: Mutex<Option<Met>>,
}

impl Verifier {
    /// One that trusts in this way.
    pub fn new(trust: Trust) -> Result<Arc<Self>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = match &trust {
            Trust::Pinned(_) => None,
            Trust::Authority(path) => Some(authorities(path, &provider)?),
            Trust::System => AUTHORITIES
                .iter()
                .map(Path::new)
                .find(|path| path.exists())
                .and_then(|path| authorities(path, &provider).ok()),
        };
        Ok(Arc::new(Verifier {
            trust,
            provider,
            authorities,
            met: Mutex::new(None),
        }))
    }

    /// Whom it met last.
    pub fn met(&self) -> Option<Met> {
        self.met
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Settings of TLS that ask this verifier.
    pub fn config(self: &Arc<Self>) -> Result<ClientConfig> {
        Ok(ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Prepare("set up TLS", error.into()))?
            .dangerous()
            .with_custom_certificate_verifier(self.clone())
            .with_no_client_auth())
    }
}

fn authorities(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let file = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::file("read the authorities in", path, source)
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| file(error.into()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| file(error.into()))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = Fingerprint::of(end_entity);
        let verdict = match (&self.trust, &self.authorities) {
            (Trust::Pinned(pin), _) if *pin == fingerprint => Ok(()),
            (Trust::Pinned(pin), _) => Err(format!(
                "its certificate has the SHA-256 {fingerprint}; {pin} is expected"
            )),
            (_, Some(authorities)) => authorities
                .verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                )
                .map(drop)
                .map_err(|error| {
                    format!("no authority vouches for its certificate ({error}), which has the SHA-256 {fingerprint}")
                }),
            (_, None) => Err(format!(
                "its certificate is not known; it has the SHA-256 {fingerprint}"
            )),
        };
        let refused = verdict.err();
        let answer = match &refused {
            None => Ok(ServerCertVerified::assertion()),
            Some(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        };
        *self.met.lock().unwrap_or_else(PoisonError::into_inner) = Some(Met {
            fingerprint,
            refused,
        });
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_shown() {
        let one = Fingerprint::of(b"certificate");
        let shown = one.to_string();
        assert_eq!(shown.len(), 95);
        assert_eq!(shown.parse(), Ok(one));
        assert_eq!(shown.to_lowercase().replace(':', "").parse(), Ok(one));
        assert_eq!(format!(" SHA256:{shown}\n").parse(), Ok(one));
        for bad in [
            "",
            "AA",
            &shown[1..],
            &shown.replace('A', "G"),
            &"+1".repeat(32),
        ] {
            if bad != shown {
                assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
            }
        }
    }

    #[test]
    fn only_the_pinned_certificate_is_trusted() {
        let judge = |trust: Trust, certificate: &'static [u8]| {
            let verifier = Verifier::new(trust).unwrap();
            let name = ServerName::try_from("node-1").unwrap();
            let certificate = CertificateDer::from(certificate);
            let verdict =
                verifier.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now());
            (verdict.is_ok(), verifier.met().unwrap())
        };
        let pin = Fingerprint::of(b"right");
        assert!(judge(Trust::Pinned(pin), b"right").0);
        let (trusted, met) = judge(Trust::Pinned(pin), b"wrong");
        assert!(!trusted);
        assert_eq!(met.fingerprint, Fingerprint::of(b"wrong"));
        assert!(met.refused.unwrap().contains(&pin.to_string()));
        assert!(!judge(Trust::System, b"nonsense").0);
    }
}

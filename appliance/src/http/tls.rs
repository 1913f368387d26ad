//! The certificate: made at the first start, replaced by request, never by itself.
//!
//! ```text
//!   tls/cert.pem + tls/key.pem ──► Certificate ──► rustls (asked at each handshake)
//!                                       ▲
//!            PUT /certificate ──────────┘  written first, then used: no restart
//! ```
//!
//! The one we make ourselves is trusted by its fingerprint, which the local
//! screen shows. So it must stay the same for as long as it can: it is valid
//! for ten years (a short life protects keys of authorities, while this one can
//! be told apart by nothing but its fingerprint, and an expired one locks its
//! owner out), it does not follow changes of addresses, and it begins before
//! the first start, because the clock of a new machine may be wrong. ECDSA
//! P-256 is what every browser knows and what a small processor signs fast.
//!
//! The two files are replaced one after the other. A crash in between leaves a
//! certificate that waits beside its key; the next start finishes the exchange.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ashlar_api::certificate::{Certificate as Facts, CertificateReplace};
use ashlar_api::{FieldError, Timestamp};
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::sys::fs::{FsError, write_atomic};

const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
/// Where a certificate waits until its key is in place.
const WAITING: &str = "cert.pem.new";
const YEARS: i32 = 10;

/// What goes wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("write the certificate")]
    Write(#[from] FsError),
    /// A certificate could not be made.
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// What was given cannot be used.
    #[error("{}: {}", .0.field, .0.message)]
    Refused(FieldError),
}

impl Error {
    fn refused(field: &str, message: impl Into<String>) -> Self {
        Error::Refused(FieldError {
            field: field.to_owned(),
            message: message.into(),
        })
    }
}

/// The certificate in use. Cheap to clone.
#[derive(Clone)]
pub struct Certificate(Arc<Shared>);

struct Shared {
    directory: PathBuf,
    key: RwLock<Arc<CertifiedKey>>,
    facts: watch::Sender<Facts>,
}

struct Current {
    key: Arc<CertifiedKey>,
    facts: Facts,
}

/// Chooses the implementation of cryptography for the whole program; again is harmless.
pub fn install_provider() {
    // An error means that one is installed, which is what is wanted.
    let _ = suited(has_aes()).install_default();
}

/// Whether the processor encrypts AES by itself.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(not(target_arch = "x86_64"))]
    return true;
}

/// Without help of the processor, ChaCha20 is several times faster than AES: it goes first then.
fn suited(has_aes: bool) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if !has_aes {
        // A stable sort: within both kinds the order stays.
        let is_chacha = |name: CipherSuite| format!("{name:?}").contains("CHACHA20");
        provider
            .cipher_suites
            .sort_by_key(|one| !is_chacha(one.suite()));
    }
    provider
}

impl Certificate {
    /// Takes the certificate in `directory`, or makes one for `name` and
    /// `addresses` if there is none. One that is there and can not be used stays
    /// where it is (somebody may have uploaded it, and the drive may be read
    /// again later); another one then serves until the next start.
    pub fn open(directory: &Path, name: &str, addresses: &[IpAddr]) -> Result<Self, Error> {
        std::fs::create_dir_all(directory).map_err(file("create", directory))?;
        let current = match load(directory) {
            Ok(current) => current,
            Err(error) => {
                let first = matches!(&error, Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
                let (chain, key) = make(name, addresses, Timestamp::now())?;
                if first {
                    store(directory, &chain, &key)?;
                } else {
                    tracing::warn!(
                        "the certificate cannot be used, another one is until the next start: {}",
                        crate::reconcile::chain(&error)
                    );
                }
                parse(&chain, &key)?
            }
        };
        tracing::info!(fingerprint = current.facts.fingerprint, "certificate");
        Ok(Certificate(Arc::new(Shared {
            directory: directory.to_owned(),
            key: RwLock::new(current.key),
            facts: watch::Sender::new(current.facts),
        })))
    }

    /// What it says.
    pub fn facts(&self) -> Facts {
        self.0.facts.borrow().clone()
    }

    /// What it says, now and whenever it is replaced.
    pub fn watch(&self) -> watch::Receiver<Facts> {
        self.0.facts.subscribe()
    }

    /// SHA-256 of it, as pairs of hexadecimal digits with colons.
    pub fn fingerprint(&self) -> String {
        self.0.facts.borrow().fingerprint.clone()
    }

    /// What another one says, if it could be used.
    pub fn examine(&self, new: &CertificateReplace, now: Timestamp) -> Result<Facts, Error> {
        let current = parse(&new.certificate, &new.key)?;
        check(&current, now)?;
        Ok(current.facts)
    }

    /// Uses another one from now on. Connections that are open keep the old one.
    pub fn replace(&self, new: &CertificateReplace, now: Timestamp) -> Result<Facts, Error> {
        let current = parse(&new.certificate, &new.key)?;
        check(&current, now)?;
        store(&self.0.directory, &new.certificate, &new.key)?;
        Ok(self.set(current))
    }

    /// Makes a new one of our own, with a new key.
    pub fn renew(&self, name: &str, addresses: &[IpAddr], now: Timestamp) -> Result<Facts, Error> {
        let (chain, key) = make(name, addresses, now)?;
        let current = parse(&chain, &key)?;
        store(&self.0.directory, &chain, &key)?;
        Ok(self.set(current))
    }

    /// How a server uses it.
    pub fn server_config(&self) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(Error::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        // A browser on a new processor puts AES first, whatever that costs an old node.
        config.ignore_client_order = !has_aes();
        Ok(config)
    }

    fn set(&self, current: Current) -> Facts {
        *self.0.key.write().unwrap_or_else(PoisonError::into_inner) = current.key;
        self.0.facts.send_replace(current.facts.clone());
        current.facts
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certificate")
            .field(&self.fingerprint())
            .finish()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.key.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(suited(has_aes())), Arc::clone)
}

/// SHA-256 of a certificate, as pairs of hexadecimal digits with colons.
pub fn fingerprint(certificate: &[u8]) -> String {
    let digest = Sha256::digest(certificate);
    let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

fn load(directory: &Path) -> Result<Current, Error> {
    let key = read(&directory.join(KEY))?;
    let found = read(&directory.join(CERTIFICATE)).and_then(|chain| parse(&chain, &key));
    let waiting = directory.join(WAITING);
    match found {
        Ok(current) => {
            // Left by a crash before its key was in place: of no use.
            let _ = std::fs::remove_file(&waiting);
            Ok(current)
        }
        Err(error) => {
            let Ok(current) = read(&waiting).and_then(|chain| parse(&chain, &key)) else {
                return Err(error);
            };
            let certificate = directory.join(CERTIFICATE);
            std::fs::rename(&waiting, &certificate).map_err(file("rename", &waiting))?;
            Ok(current)
        }
    }
}

/// Writes both so that after any crash one pair that fits is found by [`load`].
fn store(directory: &Path, chain: &str, key: &str) -> Result<(), Error> {
    let waiting = directory.join(WAITING);
    write_atomic(&waiting, chain.as_bytes(), 0o644)?;
    write_atomic(&directory.join(KEY), key.as_bytes(), 0o600)?;
    std::fs::rename(&waiting, directory.join(CERTIFICATE)).map_err(file("rename", &waiting))?;
    let handle = std::fs::File::open(directory).map_err(file("open", directory))?;
    handle.sync_all().map_err(file("write", directory))
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(file("read", path))
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File {
        action,
        path,
        source,
    }
}

/// A certificate that signs itself, and its key, both as PEM.
fn make(name: &str, addresses: &[IpAddr], now: Timestamp) -> Result<(String, String), Error> {
    let mut names: Vec<String> = Vec::new();
    for candidate in [name, "ashlar.local", "localhost"] {
        if ashlar_api::validate::is_host_name(candidate) && !names.iter().any(|n| n == candidate) {
            names.push(candidate.to_owned());
        }
    }
    let loopback = [
        IpAddr::from(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ];
    for address in addresses.iter().chain(&loopback) {
        let address = address.to_canonical().to_string();
        if !names.contains(&address) {
            names.push(address);
        }
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::Make)?;
    let mut params = rcgen::CertificateParams::new(names).map_err(Error::Make)?;
    let mut subject = DistinguishedName::new();
    // A common name has at most 64 characters.
    subject.push(
        DnType::CommonName,
        name.chars().take(64).collect::<String>(),
    );
    subject.push(DnType::OrganizationName, "Ashlar");
    params.distinguished_name = subject;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let year = i32::from(now.to_zoned(jiff::tz::TimeZone::UTC).year()).clamp(2026, 9000);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year + YEARS, 12, 31);
    let certificate = params.self_signed(&key).map_err(Error::Make)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Reads a chain and its key, which must belong together.
fn parse(chain: &str, key: &str) -> Result<Current, Error> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::refused("certificate", format!("no PEM text: {error}")))?;
    if !(1..=10).contains(&chain.len()) {
        return Err(Error::refused("certificate", "one to ten certificates"));
    }
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
        .map_err(|error| Error::refused("key", format!("no private key in PEM form: {error}")))?;
    let first = chain[0].clone();
    let facts = facts(&first)?;
    let signing = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|_| Error::refused("key", "an RSA, ECDSA or Ed25519 key"))?;
    let key = CertifiedKey::new(chain, signing);
    key.keys_match()
        .map_err(|_| Error::refused("key", "the key of the first certificate; this is another"))?;
    Ok(Current {
        key: Arc::new(key),
        facts,
    })
}

fn x509<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Error> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| Error::refused("certificate", format!("no X.509 certificate: {error}")))
}

fn facts(der: &CertificateDer<'_>) -> Result<Facts, Error> {
    let certificate = x509(der)?;
    let time = |time: x509_parser::time::ASN1Time| {
        Timestamp::from_second(time.timestamp())
            .map_err(|_| Error::refused("certificate", "times of our era"))
    };
    let names = certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(name_of)
                .collect()
        })
        .unwrap_or_default();
    Ok(Facts {
        fingerprint: fingerprint(der),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        not_before: time(certificate.validity().not_before)?,
        not_after: time(certificate.validity().not_after)?,
        self_signed: certificate.subject() == certificate.issuer(),
    })
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets)
                .ok()
                .map(|octets| IpAddr::from(octets).to_string()),
            16 => <[u8; 16]>::try_from(*octets)
                .ok()
                .map(|octets| IpAddr::from(octets).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// What would keep browsers from taking it.
fn check(current: &Current, now: Timestamp) -> Result<(), Error> {
    if current.facts.not_after <= now {
        return Err(Error::refused(
            "certificate",
            format!(
                "one that is still valid; this one ended at {}",
                current.facts.not_after
            ),
        ));
    }
    let chain = &current.key.cert;
    let first = x509(&chain[0])?;
    if let Ok(Some(usage)) = first.extended_key_usage()
        && !usage.value.server_auth
        && !usage.value.any
    {
        return Err(Error::refused(
            "certificate",
            "one for servers (extended key usage `serverAuth`)",
        ));
    }
    for pair in chain.windows(2) {
        let (child, parent) = (x509(&pair[0])?, x509(&pair[1])?);
        if child.issuer() != parent.subject() {
            return Err(Error::refused(
                "certificate",
                format!(
                    "each certificate followed by the one that signed it; `{}` is not followed by `{}`",
                    child.subject(),
                    child.issuer()
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chacha_goes_first_without_the_processor_s_help() {
        let names = |has_aes| -> Vec<CipherSuite> {
            let suites = suited(has_aes).cipher_suites;
            suites.iter().map(|one| one.suite()).collect()
        };
        let (with, without) = (names(true), names(false));
        assert_eq!(with[0], CipherSuite::TLS13_AES_256_GCM_SHA384);
        assert_eq!(without[0], CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        assert_eq!(with.len(), without.len());
    }

    fn now() -> Timestamp {
        "2026-11-22T08:00:00Z".parse().unwrap()
    }

    #[test]
    fn is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls");
        let first = Certificate::open(&path, "node-1", &["192.0.2.7".parse().unwrap()]).unwrap();
        let facts = first.facts();
        assert!(facts.self_signed);
        assert_eq!(facts.fingerprint.len(), 95);
        for name in [
            "node-1",
            "ashlar.local",
            "localhost",
            "192.0.2.7",
            "127.0.0.1",
            "::1",
        ] {
            assert!(
                facts.names.iter().any(|n| n == name),
                "{name} in {:?}",
                facts.names
            );
        }
        assert!(facts.not_after > "2036-01-01T00:00:00Z".parse().unwrap());
        let mode = std::os::unix::fs::MetadataExt::mode(&path.join(KEY).metadata().unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let again = Certificate::open(&path, "other", &[]).unwrap();
        assert_eq!(again.facts(), facts);
        assert!(again.server_config().is_ok());
    }

    #[test]
    fn is_replaced_only_by_one_that_fits() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = Certificate::open(directory.path(), "node-1", &[]).unwrap();
        let before = certificate.fingerprint();
        let (chain, key) = make("console.example.org", &[], now()).unwrap();
        let (_, other) = make("console.example.org", &[], now()).unwrap();
        let refused = |chain: &str, key: &str, at: Timestamp| {
            let new = CertificateReplace {
                certificate: chain.into(),
                key: key.into(),
            };
            match certificate.replace(&new, at) {
                Err(Error::Refused(field)) => field.field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(&chain, &other, now()), "key");
        assert_eq!(refused("rubbish", &key, now()), "certificate");
        assert_eq!(refused(&chain, "rubbish", now()), "key");
        assert_eq!(
            refused(&chain, &key, "2040-01-01T00:00:00Z".parse().unwrap()),
            "certificate"
        );
        assert_eq!(
            refused(
                &format!("{chain}{}", make("x", &[], now()).unwrap().0),
                &key,
                now()
            ),
            "certificate"
        );
        assert_eq!(certificate.fingerprint(), before);
        let new = CertificateReplace {
            certificate: chain,
            key,
        };
        let facts = certificate.replace(&new, now()).unwrap();
        assert_ne!(facts.fingerprint, before);
        assert_eq!(
            Certificate::open(directory.path(), "node-1", &[])
                .unwrap()
                .facts(),
            facts
        );
    }

    #[test]
    fn a_crash_between_the_files_is_mended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let old = Certificate::open(path, "node-1", &[])
            .unwrap()
            .fingerprint();
        let (chain, key) = make("node-2", &[], now()).unwrap();
        // The new certificate is there, the key not yet: the old pair goes on.
        write_atomic(&path.join(WAITING), chain.as_bytes(), 0o644).unwrap();
        assert_eq!(
            Certificate::open(path, "x", &[]).unwrap().fingerprint(),
            old
        );
        // The key is there, the certificate waits: the new pair is taken.
        write_atomic(&path.join(WAITING), chain.as_bytes(), 0o644).unwrap();
        write_atomic(&path.join(KEY), key.as_bytes(), 0o600).unwrap();
        let mended = Certificate::open(path, "x", &[]).unwrap();
        assert_eq!(
            mended.fingerprint(),
            parse(&chain, &key).unwrap().facts.fingerprint
        );
        assert!(!path.join(WAITING).exists());
        // Rubbish is no reason not to start, and none to write over it.
        write_atomic(&path.join(KEY), b"rubbish", 0o600).unwrap();
        assert_ne!(
            Certificate::open(path, "x", &[]).unwrap().fingerprint(),
            mended.fingerprint()
        );
        assert_eq!(std::fs::read(path.join(KEY)).unwrap(), b"rubbish");
        write_atomic(&path.join(KEY), key.as_bytes(), 0o600).unwrap();
        assert_eq!(
            Certificate::open(path, "x", &[]).unwrap().fingerprint(),
            mended.fingerprint()
        );
    }
}

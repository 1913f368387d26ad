//! The certificate with which the appliance proves itself to browsers and
//! programs. At first it is one of its own, to be trusted by its fingerprint;
//! it can be replaced by one that an authority signed.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::validate::{Check, Findings};

/// The certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Certificate {
    /// SHA-256 of it, as pairs of hexadecimal digits with colons.
    pub fingerprint: String,
    /// Whom it names.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The host names and addresses it is valid for.
    pub names: Vec<String>,
    /// From when it is valid.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub not_before: Timestamp,
    /// Until when it is valid.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub not_after: Timestamp,
    /// True if the appliance signed it itself.
    pub self_signed: bool,
}

/// A certificate to use from now on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CertificateReplace {
    /// The certificate and those that lead to its authority, in PEM form, the appliance's own first.
    pub certificate: String,
    /// Its private key, in PEM form, without a passphrase.
    pub key: String,
}

// Written by hand: a key must not end in a log.
impl std::fmt::Debug for CertificateReplace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateReplace")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Check for CertificateReplace {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            self.certificate.contains("-----BEGIN CERTIFICATE-----"),
            "certificate",
            "PEM text that begins with `-----BEGIN CERTIFICATE-----`",
        );
        f.require(
            self.certificate.len() <= 128 * 1024,
            "certificate",
            "at most 128 KiB",
        );
        f.require(
            self.key.contains("-----BEGIN ") && self.key.contains("PRIVATE KEY-----"),
            "key",
            "PEM text that begins with `-----BEGIN PRIVATE KEY-----`",
        );
        f.require(
            !self.key.contains("ENCRYPTED"),
            "key",
            "a key without a passphrase",
        );
        f.require(self.key.len() <= 32 * 1024, "key", "at most 32 KiB");
    }
}

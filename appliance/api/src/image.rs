//! Images: what new disks are filled from, and what machines are installed from.

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings, is_text};
use crate::{Bytes, Condition, ImageId, Name};

/// What is wanted of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageSpec {
    /// Its name.
    pub name: Name,
    /// What is in it, in free text.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: String,
    /// Where its bytes come from.
    pub source: ImageSource,
    /// SHA-256 that the bytes must have, 64 hexadecimal digits; not checked when absent. Required for an `http://`
    /// address, over which anybody on the way could send other bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub sha256: Option<String>,
}

/// Where an image's bytes come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ImageSource {
    /// The client sends them, in pieces: `PUT /api/v1/images/{id}/content`.
    Upload {
        /// How many bytes will come.
        #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 512, maximum = 8_796_093_022_208_i64))]
        size: Bytes,
    },
    /// The appliance fetches them.
    Url {
        /// An `https://` or `http://` address.
        url: String,
    },
}

impl Check for ImageSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.description, 1000),
            "description",
            "at most 1000 characters, no control characters",
        );
        if let Some(sum) = &self.sha256 {
            let ok = sum.len() == 64 && sum.chars().all(|c| c.is_ascii_hexdigit());
            f.require(ok, "sha256", "64 hexadecimal digits");
        }
        match &self.source {
            ImageSource::Upload { size } => {
                f.require(
                    size.0 >= 512 && size.0 <= 8 * Bytes::TIB,
                    "source.size",
                    "between 512 bytes and 8 TiB",
                );
            }
            ImageSource::Url { url } => {
                let rest = url
                    .strip_prefix("https://")
                    .or_else(|| url.strip_prefix("http://"));
                let ok = url.len() <= 2000
                    && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                    && url.chars().all(|c| c.is_ascii_graphic());
                f.require(
                    ok,
                    "source.url",
                    "an address that begins with https:// or http://",
                );
                f.require(
                    !rest.is_some_and(|rest| {
                        rest.split('/')
                            .next()
                            .is_some_and(|host| host.contains('@'))
                    }),
                    "source.url",
                    "an address without a user name or password",
                );
                f.require(
                    self.sha256.is_some() || !url.starts_with("http://"),
                    "sha256",
                    "the SHA-256 of the file, because over http:// anybody on the way could send another; \
                     or use https://",
                );
            }
        }
    }
}

/// What kind of file an image is, told by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ImageFormat {
    /// A plain disk.
    Raw,
    /// QEMU's format.
    Qcow2,
    /// VMware's format.
    Vmdk,
    /// Hyper-V's format.
    Vhdx,
    /// Hyper-V's older format.
    Vhd,
    /// A CD or DVD.
    Iso,
}

/// Where an image stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ImagePhase {
    /// Its bytes are coming.
    #[default]
    Receiving,
    /// Its bytes are here and are being looked at.
    Checking,
    /// Can be used.
    Ready,
    /// Can not be used; see the condition.
    Failed,
    /// Being removed.
    Deleting,
}

/// What is seen of an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImageStatus {
    /// Where it stands.
    pub phase: ImagePhase,
    /// How it is.
    pub condition: Condition,
    /// What kind of file it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
    /// How many bytes are here; an upload goes on from there.
    pub received: Bytes,
    /// How many bytes the file has, once known.
    pub size: Bytes,
    /// How large a disk made from it is at least.
    pub virtual_size: Bytes,
    /// SHA-256 of the file, once known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

object!(
    /// An image.
    Image, ImageId, ImageSpec, ImageStatus
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_unprotected_needs_its_sum() {
        let check = |url: &str, sha256: Option<&str>| {
            let spec = ImageSpec {
                name: "debian".parse().unwrap(),
                description: String::new(),
                source: ImageSource::Url {
                    url: url.to_owned(),
                },
                sha256: sha256.map(str::to_owned),
            };
            match spec.check() {
                Ok(()) => Vec::new(),
                Err(found) => found.into_iter().map(|error| error.field).collect(),
            }
        };
        let sum = "0f".repeat(32);
        let (plain, safe) = ("http://example.org/a", "https://example.org/a");
        assert_eq!(check(plain, None), ["sha256"]);
        assert!(check(plain, Some(&sum)).is_empty());
        assert_eq!(check(plain, Some("0f")), ["sha256"]);
        assert!(check(safe, None).is_empty());
    }
}

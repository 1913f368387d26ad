//! `qemu-img`: what it says of an image, and the filling of a volume from one.
//!
//! Invariant: the format is always said, and that there is no backing file;
//! the program never guesses. What it says of an image is a second opinion
//! beside [`super::inspect`]: where the two differ, the file is refused.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use ashlar_api::Bytes;
use ashlar_api::image::ImageFormat;
use serde::Deserialize;

use super::inspect::{Found, name};
use super::reader::{IMAGE_FD, ReaderError, Reading, VOLUME_FD, read};

const PROGRAM: &str = "/usr/bin/qemu-img";
/// For a look at an image. Nothing of its size is read for it.
const LOOK_LIMIT: Duration = Duration::from_secs(60);
const LOOK_CPU: Duration = Duration::from_secs(30);

/// Why it does not agree, or did not do it.
#[derive(Debug, thiserror::Error)]
pub enum QemuImgError {
    /// It could not be run to its end.
    #[error("{what}")]
    Run {
        /// What was tried.
        what: &'static str,
        /// What happened.
        source: ReaderError,
    },
    /// What it said could not be understood.
    #[error("understand what qemu-img says of the image")]
    Answer(#[source] serde_json::Error),
    /// It sees another disk in the file than we do.
    #[error("{format}: QEMU reads it differently ({what})")]
    Differs {
        /// Name of the format.
        format: &'static str,
        /// In what.
        what: String,
    },
}

impl QemuImgError {
    /// True when the image is to blame, not the machine.
    pub fn is_about_the_image(&self) -> bool {
        matches!(
            self,
            QemuImgError::Differs { .. }
                | QemuImgError::Answer(_)
                | QemuImgError::Run {
                    source: ReaderError::Failed { .. } | ReaderError::TimedOut { .. },
                    ..
                }
        )
    }
}

/// QEMU's name of a format.
fn driver(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Raw | ImageFormat::Iso => "raw",
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Vmdk => "vmdk",
        ImageFormat::Vhdx => "vhdx",
        ImageFormat::Vhd => "vpc",
    }
}

/// How the image on its descriptor is to be opened: by its own format and without any other file.
fn node(format: ImageFormat) -> String {
    let backing = match format {
        ImageFormat::Qcow2 | ImageFormat::Vmdk => "\"backing\":null,",
        _ => "",
    };
    format!(
        "json:{{\"driver\":\"{}\",{backing}\"file\":{{\"driver\":\"file\",\"filename\":\"/proc/self/fd/{IMAGE_FD}\"}}}}",
        driver(format)
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    virtual_size: u64,
    format: String,
    #[serde(default)]
    backing_filename: Option<String>,
    #[serde(default)]
    encrypted: bool,
}

/// Asks QEMU what it sees in an image. Returns the size of the disk as QEMU
/// will read it: an old VHD states it in two ways, and QEMU's choice counts.
pub async fn second_opinion(
    subject: &str,
    image: OwnedFd,
    found: Found,
) -> Result<Bytes, QemuImgError> {
    let said = read(
        Reading {
            name: subject.to_owned(),
            program: PathBuf::from(PROGRAM),
            args: ["info", "--output=json", &node(found.format)]
                .map(str::to_owned)
                .to_vec(),
            image,
            volume: None,
            limit: LOOK_LIMIT,
            cpu: LOOK_CPU,
        },
        |_| {},
    )
    .await
    .map_err(|source| QemuImgError::Run {
        what: "look at the image with qemu-img",
        source,
    })?;
    agree(&said, found)
}

fn agree(said: &str, found: Found) -> Result<Bytes, QemuImgError> {
    // Warnings can stand in front.
    let start = said.find('{').unwrap_or(0);
    let end = said.rfind('}').map_or(said.len(), |end| end + 1);
    let info: Info = serde_json::from_str(said.get(start..end).unwrap_or_default())
        .map_err(QemuImgError::Answer)?;
    let format = name(found.format);
    let differs = |what: String| Err(QemuImgError::Differs { format, what });
    if info.format != driver(found.format) {
        return differs(format!("as {}", info.format));
    }
    if let Some(other) = info.backing_filename {
        return differs(format!("with the backing file {other:?}"));
    }
    if info.encrypted {
        return differs("as encrypted".to_owned());
    }
    let size = Bytes(info.virtual_size);
    let is_near = size.0.abs_diff(found.virtual_size.0) <= 2 * Bytes::MIB.max(size.0 / 50);
    if size != found.virtual_size && !(found.format == ImageFormat::Vhd && is_near) {
        return differs(format!(
            "a disk of {} bytes instead of {}",
            size.0, found.virtual_size.0
        ));
    }
    Ok(size)
}

/// What a filling needs.
#[derive(Debug)]
pub struct Filling {
    /// The id of the volume.
    pub subject: String,
    /// The image, open for reading.
    pub image: OwnedFd,
    /// Its format.
    pub format: ImageFormat,
    /// Bytes of the disk in it.
    pub size: Bytes,
    /// The volume, open for writing; it reads as zeros everywhere.
    pub volume: OwnedFd,
}

/// Writes the disk of an image to a volume. `on_share` gets the share that is done, 0 to 1.
pub async fn fill(
    filling: Filling,
    mut on_share: impl FnMut(f32) + Send,
) -> Result<(), QemuImgError> {
    let source = node(filling.format);
    let target = format!("/proc/self/fd/{VOLUME_FD}");
    // Slower than any disk that works: an hour, and 4 MiB a second.
    let limit = Duration::from_secs(3600 + filling.size.0 / (4 * Bytes::MIB));
    let args = [
        "convert",
        "-p",
        "-n",
        "--target-is-zero",
        "-t",
        "none",
        "-O",
        "raw",
        &source,
        &target,
    ];
    read(
        Reading {
            name: filling.subject,
            program: PathBuf::from(PROGRAM),
            args: args.map(str::to_owned).to_vec(),
            image: filling.image,
            volume: Some(filling.volume),
            limit,
            cpu: limit,
        },
        |piece| {
            if let Some(share) = share(piece) {
                on_share(share);
            }
        },
    )
    .await
    .map(drop)
    .map_err(|source| QemuImgError::Run {
        what: "fill the volume from the image with qemu-img",
        source,
    })
}

/// Reads `(12.34/100%)`.
fn share(piece: &str) -> Option<f32> {
    let number = piece.strip_prefix('(')?.strip_suffix("/100%)")?;
    let percent: f32 = number.parse().ok()?;
    Some((percent / 100.0).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(format: ImageFormat, size: u64) -> Found {
        Found {
            format,
            virtual_size: Bytes(size),
        }
    }

    #[test]
    fn reads_progress() {
        assert_eq!(share("(12.50/100%)"), Some(0.125));
        assert_eq!(share("(100.00/100%)"), Some(1.0));
        assert_eq!(share("done"), None);
    }

    #[test]
    fn wants_the_same_disk() {
        let said = |more: &str| {
            format!("warning: x\n{{\"virtual-size\": 4194304, \"format\": \"qcow2\"{more}}}\n")
        };
        let right = found(ImageFormat::Qcow2, 4 << 20);
        assert_eq!(agree(&said(""), right).unwrap(), Bytes(4 << 20));
        let cases = [
            (said(""), found(ImageFormat::Raw, 4 << 20)),
            (said(""), found(ImageFormat::Qcow2, 5 << 20)),
            (said(", \"backing-filename\": \"/etc/passwd\""), right),
            (said(", \"encrypted\": true"), right),
        ];
        for (said, found) in cases {
            let error = agree(&said, found).unwrap_err();
            assert!(matches!(error, QemuImgError::Differs { .. }), "{error}");
            assert!(error.is_about_the_image());
        }
        assert!(matches!(agree("", right), Err(QemuImgError::Answer(_))));
        let old = "{\"virtual-size\": 4211712, \"format\": \"vpc\"}";
        assert_eq!(
            agree(old, found(ImageFormat::Vhd, 4 << 20)).unwrap(),
            Bytes(4_211_712)
        );
    }
}

//! What would differ between two builds of the same sources, made the same: the time, and identifiers.
//!
//! Whoever has the sources can so find out whether an image is made from them. The time is that of the newest commit, or
//! `SOURCE_DATE_EPOCH` (reproducible-builds.org); identifiers follow from what the disk is made of. Machines that were
//! flashed from one image have the same ones, as they would if these were drawn by lot for each image.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::place::Place;
use crate::tool::Tool;

const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The time that everything in an image bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Moment {
    /// That of the sources.
    pub fn of(place: &Place) -> Result<Self> {
        if let Ok(text) = std::env::var(EPOCH) {
            return Self::parse(&text).with_context(|| format!("{EPOCH} is `{text}`"));
        }
        // The checkout may belong to somebody else than who builds.
        let commit = Tool::new("git")
            .args(["-c", "safe.directory=*", "log", "-1", "--format=%ct"])
            .directory(place.root())
            .output();
        if let Ok(text) = commit {
            return Self::parse(&text).context("git tells no time");
        }
        // An archive of the sources: each file in it bears the time that it was archived with.
        let lock = place.root().join("Cargo.lock");
        let written = fs::metadata(&lock).and_then(|file| file.modified());
        let written =
            written.with_context(|| format!("cannot tell the age of {}", lock.display()))?;
        let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::parse(&since.as_secs().to_string())
            .with_context(|| format!("{} bears no usable time; set {EPOCH}", lock.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let seconds = text
            .trim()
            .parse()
            .context("seconds since 1970 are wanted")?;
        // The file systems of the disk know no other times: FAT begins in 1980, and a 32-bit count ends in 2106.
        ensure!(
            (315_532_800..u64::from(u32::MAX)).contains(&seconds),
            "it is before 1980 or after 2106"
        );
        Ok(Self(seconds))
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> String {
        self.0.to_string()
    }

    /// Has a tool take this for now.
    pub fn tell(self, tool: Tool) -> Tool {
        tool.env(EPOCH, self.seconds())
            .env("E2FSPROGS_FAKE_TIME", self.seconds())
            .env("TZ", "UTC")
    }
}

/// Identifiers that follow from a content.
#[derive(Clone, Copy, Debug)]
pub struct Identity([u8; 32]);

impl Identity {
    /// Of a file's content.
    pub fn of(path: &Path) -> Result<Self> {
        let mut hash = Sha256::new();
        let mut file =
            File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        io::copy(&mut file, &mut hash)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self(hash.finalize().into()))
    }

    /// The one for this purpose.
    pub fn uuid(self, purpose: &str) -> Uuid {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(purpose)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }

    /// A short one, for FAT: eight hexadecimal digits.
    pub fn serial(self, purpose: &str) -> String {
        self.uuid(purpose).simple().to_string()[..8].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_bounds() {
        assert_eq!(
            Moment::parse("1795858997\n").unwrap(),
            Moment(1_795_858_997)
        );
        for text in ["", "0", "-1", "tomorrow", "99999999999"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn identifiers_follow_from_content_and_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "a").unwrap();
        let one = Identity::of(&path).unwrap();
        assert_eq!(one.uuid("disk"), Identity::of(&path).unwrap().uuid("disk"));
        assert_ne!(one.uuid("disk"), one.uuid("esp"));
        std::fs::write(&path, "b").unwrap();
        assert_ne!(one.uuid("disk"), Identity::of(&path).unwrap().uuid("disk"));
        assert_eq!(one.serial("esp").len(), 8);
        assert_eq!(one.uuid("disk").get_version_num(), 8);
    }
}

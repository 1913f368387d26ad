//! Updates of the appliance itself: releases, the bundles they come in, and how an attempt to change to one went.
//!
//! A release is one file beside another on the EFI system partition. A new one is on trial at first: it has three
//! attempts to start and to pass its checks, then the one before comes back by itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings};
use crate::{Bytes, Timestamp};

/// The version of a release: three numbers (semver.org). Later ones are greater. Words behind the numbers are refused: the
/// boot loader orders those in another way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, example = "1.2.0"))]
pub struct Version(semver::Version);

/// The text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version such as 1.2.0")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let version: Result<semver::Version, _> = text.parse();
        match version {
            // It becomes a part of file names, where `+` counts attempts to start.
            Ok(version) if version.pre.is_empty() && version.build.is_empty() => {
                Ok(Version(version))
            }
            _ => Err(NotAVersion(text.chars().take(64).collect())),
        }
    }
}

impl Version {
    /// Older than every release.
    pub const fn oldest() -> Version {
        Version(semver::Version::new(0, 0, 0))
    }
}

impl TryFrom<String> for Version {
    type Error = NotAVersion;
    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a bundle says of the release in it. It is the part that is signed. A later release may say more than this one
/// knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Manifest {
    /// The version.
    pub version: Version,
    /// For whom it is meant, such as `stable`.
    pub channel: String,
    /// The machines it runs on, such as `x86_64`.
    pub architecture: String,
    /// The oldest version from which it can be reached in one step.
    pub from: Version,
    /// When it was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub made_at: Timestamp,
    /// The size of the release.
    pub size: Bytes,
    /// SHA-256 of the release, as hexadecimal digits.
    pub sha256: String,
    /// What is new, for a person.
    #[serde(default)]
    pub notes: String,
}

/// How good a release on the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Standing {
    /// It was received and verified, and waits to be started.
    Ready,
    /// It has started and passed its checks.
    Good,
    /// It is on trial: it has not passed its checks yet.
    Trial,
    /// It was put aside: it did not pass, or another was chosen in its place.
    Aside,
}

/// A release on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// Whether it can be relied on.
    pub standing: Standing,
    /// How many attempts to start it has left, while it is on trial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tries_left: Option<u32>,
    /// The node runs it now.
    pub running: bool,
    /// It is the one that the node starts next.
    pub next: bool,
    /// The boot loader knows of it.
    pub seen: bool,
    /// Its size.
    pub size: Bytes,
    /// What is new in it, where that is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub notes: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// Not yet decided.
    Waiting,
    /// All is well.
    Passed,
    /// It is not.
    Failed,
    /// It is not, and was not before the change either.
    Excused,
}

/// One of the checks that a release on trial has to pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrialCheck {
    /// Its name, such as `storage`.
    pub name: String,
    /// What must be so, as a sentence.
    pub title: String,
    /// How it came out.
    pub outcome: Outcome,
    /// What was seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finding: String,
}

/// How an attempt to change the release ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Ended {
    /// The release was kept.
    Kept {
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
        at: Timestamp,
    },
    /// The release before came back by itself.
    Returned {
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
        at: Timestamp,
        /// Why, as a sentence.
        reason: String,
        /// The last lines of the kernel, where it crashed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kernel: Vec<String>,
    },
}

/// The newest attempt to change the release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// The release before.
    pub from: Version,
    /// The release that was tried.
    pub to: Version,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// Who asked for it.
    pub by: String,
    /// The checks, as far as they came.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<TrialCheck>,
    /// How it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// A bundle that is being received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Receiving {
    /// What comes, once its beginning was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// Where it comes from: the address, or the user who sends it.
    pub source: String,
    /// How much has come.
    pub received: Bytes,
    /// How much will, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
}

/// The releases of a node, and how it changes between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Update {
    /// The version that runs.
    pub version: Version,
    /// True until the version that runs has passed its checks.
    pub on_trial: bool,
    /// The releases on the disk, the newest first.
    pub releases: Vec<Release>,
    /// Room for another one.
    pub free: Bytes,
    /// What is being received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving: Option<Receiving>,
    /// Why the last bundle was not taken, until another is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
    /// The newest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Why nothing can be changed, such as a system partition that is not there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// A bundle to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateFetch {
    /// Where it is, as `https://…` or `http://…`: what it holds is proved by its signature.
    pub url: String,
    /// Take it even if it is older than what runs.
    #[serde(default)]
    pub downgrade: bool,
}

impl Check for UpdateFetch {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            ["https://", "http://"]
                .iter()
                .any(|scheme| self.url.starts_with(scheme)),
            "url",
            "an address that begins with https:// or http://",
        );
        f.require(self.url.len() <= 2048, "url", "at most 2048 characters");
    }
}

/// A release to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateApply {
    /// Which one of those on the disk.
    pub version: Version,
    /// The name of the node, typed, because it restarts.
    pub confirm: String,
}

impl Check for UpdateApply {
    fn check_into(&self, f: &mut Findings) {
        f.require(!self.confirm.is_empty(), "confirm", "the name of the node");
    }
}

/// A release to be removed from the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UpdateRemove {
    /// Which one.
    pub version: Version,
}

impl Check for UpdateRemove {
    fn check_into(&self, _: &mut Findings) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_safe_in_file_names() {
        let version = |text: &str| text.parse::<Version>();
        assert!(version("1.10.0").unwrap() > version("1.9.3").unwrap());
        for bad in [
            "",
            "1",
            "1.2",
            "v1.2.3",
            "1.2.3+4",
            "1.2.3/../x",
            "1.2.0-beta.1",
            "1.2.0-RC1",
        ] {
            assert!(version(bad).is_err(), "{bad}");
        }
        let text = serde_json::to_string(&version("0.1.0").unwrap()).unwrap();
        assert_eq!(text, "\"0.1.0\"");
    }

    #[test]
    fn a_manifest_may_say_more() {
        let text = r#"{"version":"1.0.0","channel":"stable","architecture":"x86_64","from":"0.1.0",
            "made_at":"2026-01-02T03:04:05Z","size":7,"sha256":"00","notes":""}"#;
        let manifest: Manifest = serde_json::from_str(text).unwrap();
        assert_eq!(manifest.size, Bytes(7));
        let more = text.replacen('{', "{\"more\":1,", 1);
        assert_eq!(serde_json::from_str::<Manifest>(&more).unwrap(), manifest);
    }
}

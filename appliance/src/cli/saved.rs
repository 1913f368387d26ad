//! What is kept between commands: which appliances are known, by what they are
//! trusted, and the session that is open on each.
//!
//! One file, `$XDG_CONFIG_HOME/ashlar/logins.json`, that only its owner can
//! read; it is replaced whole. A session lasts half a day and can be ended from
//! the console, so a copy of the file is worth less than a copy of a password.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use ashlar_api::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use super::trust::{Fingerprint, Trust};
use crate::sys::fs::write_atomic;

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The appliance that is meant when none is named.
    #[serde(default)]
    pub default: Option<String>,
    /// The appliances by their address.
    #[serde(default)]
    pub appliances: BTreeMap<String, Known>,
}

/// What is known of an appliance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its certificate, if it is trusted by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The file of the authorities by which it is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<PathBuf>,
    /// The session that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SavedSession>,
}

/// A session that is open on an appliance.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedSession {
    /// Whose it is.
    pub user: String,
    /// The cookie, name and value.
    pub cookie: String,
    /// What must come with every change.
    pub csrf: String,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

// Written by hand: the cookie must not end in a log.
impl std::fmt::Debug for SavedSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SavedSession")
            .field("user", &self.user)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Known {
    /// By what it is trusted.
    pub fn trust(&self) -> Option<Trust> {
        let pinned = self.fingerprint.map(Trust::Pinned);
        pinned.or_else(|| self.authority.clone().map(Trust::Authority))
    }

    /// Remembers by what it is trusted.
    pub fn set_trust(&mut self, trust: &Trust) {
        self.fingerprint = None;
        self.authority = None;
        match trust {
            Trust::Pinned(fingerprint) => self.fingerprint = Some(*fingerprint),
            Trust::Authority(path) => self.authority = Some(path.clone()),
            Trust::System => {}
        }
    }
}

/// The file, as the variables of the environment name it.
fn path() -> Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let folder = variable("XDG_CONFIG_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".config")))
        .ok_or_else(|| {
            Error::usage(
                "there is no place to keep the login",
                "Set HOME or XDG_CONFIG_HOME, or use a token: ASHLAR_TOKEN or --token-file.",
            )
        })?;
    Ok(folder.join("ashlar").join("logins.json"))
}

impl Saved {
    /// Reads the file; nothing is known when there is none.
    pub fn load() -> Result<Self> {
        let Ok(path) = path() else {
            return Ok(Saved::default());
        };
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Error::file("understand (delete it and log in again)", path, error)
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Saved::default()),
            Err(error) => Err(Error::file("read", path, error)),
        }
    }

    /// Replaces the file.
    pub fn store(&self) -> Result {
        let path = path()?;
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(|error| Error::file("make", folder, error))?;
        }
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", path.clone(), error))?;
        text.push(b'\n');
        write_atomic(&path, &text, 0o600).map_err(|error| Error::file("write", path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let pin = Fingerprint::of(b"x");
        let mut known = Known::default();
        assert_eq!(known.trust(), None);
        known.set_trust(&Trust::Authority("/ca.pem".into()));
        known.set_trust(&Trust::Pinned(pin));
        known.session = Some(SavedSession {
            user: "ann".into(),
            cookie: "__Host-ashlar=secret".into(),
            csrf: "c".into(),
            expires_at: Timestamp::UNIX_EPOCH,
        });
        assert!(!format!("{known:?}").contains("secret"));
        let saved = Saved {
            default: Some("https://node-1".into()),
            appliances: BTreeMap::from([("https://node-1".to_owned(), known.clone())]),
        };
        let text = serde_json::to_string(&saved).unwrap();
        assert_eq!(serde_json::from_str::<Saved>(&text).unwrap(), saved);
        assert_eq!(known.trust(), Some(Trust::Pinned(pin)));
    }
}

//! The keys that sign releases.
//!
//! Two pairs: the first signs; the secret half of the second lies somewhere safe until the first is lost or stolen, and then,
//! alone in the folder, signs a release that brings the next two. The public ones are a part of every image. A folder that has none gets pairs of its own, so
//! that whoever builds an image can update it; releases for others are signed with the keys of `ASHLAR_KEYS`, which a
//! builder has to keep: who has them can change every appliance that was built with them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use minisign::{KeyPair, PublicKey, SecretKeyBox};

use crate::place::Place;

/// The folder of the keys, where it is not below the target directory.
const FOLDER: &str = "ASHLAR_KEYS";
/// The password of the key that signs; those that are made here have none.
const PASSWORD: &str = "ASHLAR_KEYS_PASSWORD";
const PAIRS: [&str; 2] = ["update-1", "update-2"];

/// The folder with both pairs.
#[derive(Clone, Debug)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// Finds the keys, or makes them where nobody named a folder. The caller holds the lock.
    pub fn of(place: &Place) -> Result<Self> {
        match std::env::var_os(FOLDER) {
            Some(folder) => {
                let keys = Self {
                    folder: PathBuf::from(folder),
                };
                for public in keys.public() {
                    ensure!(
                        public.exists(),
                        "{FOLDER} names a folder without {}",
                        public.display()
                    );
                }
                Ok(keys)
            }
            None => Self::make(&place.output()?.join("keys")),
        }
    }

    fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let keys = Self {
            folder: folder.to_owned(),
        };
        for name in PAIRS {
            let public = keys.file(name, "pub");
            if public.exists() {
                continue;
            }
            let secret_file = keys.file(name, "key");
            ensure!(
                !secret_file.exists(),
                "{} is there without its public half; put that back, or remove it",
                secret_file.display()
            );
            // An empty password leaves the key as it is; the library's function for that leaves its checksum out.
            let pair = KeyPair::generate_encrypted_keypair(Some(String::new()))
                .context("cannot make a pair of keys")?;
            let secret = pair.sk.to_box(None).context("cannot write a key")?;
            write(&secret_file, &secret.to_string(), 0o600)?;
            let text = pair.pk.to_box().context("cannot write a key")?;
            write(&public, &text.to_string(), 0o644)?;
        }
        Ok(keys)
    }

    fn file(&self, name: &str, end: &str) -> PathBuf {
        self.folder.join(format!("{name}.{end}"))
    }

    /// The files of the public keys.
    pub fn public(&self) -> [PathBuf; 2] {
        PAIRS.map(|name| self.file(name, "pub"))
    }

    /// Signs as minisign(1) does, with the first of the secret keys that is in the folder.
    pub fn sign(&self, content: &[u8], comment: &str) -> Result<String> {
        let [first, second] = PAIRS.map(|name| self.file(name, "key"));
        let path = if first.exists() { first } else { second };
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}, which signs releases", path.display()))?;
        let secret = SecretKeyBox::from_string(&text).context("the key can not be read")?;
        let password = std::env::var(PASSWORD).unwrap_or_default();
        let secret = secret.into_secret_key(Some(password)).with_context(|| {
            format!("the key that signs releases wants its password in {PASSWORD}")
        })?;
        let public = PublicKey::from_secret_key(&secret).context("the key has no public half")?;
        let signature = minisign::sign(Some(&public), &secret, content, Some(comment), None);
        Ok(signature.context("cannot sign")?.to_string())
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use minisign::{PublicKeyBox, SignatureBox};
    use std::io::Cursor;

    #[test]
    fn keys_are_made_once_and_sign() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::make(folder.path()).unwrap();
        let [first, _] = keys.public();
        let text = fs::read_to_string(&first).unwrap();
        let again = Keys::make(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&first).unwrap(), text);
        let signature = again.sign(b"a release", "version 1.0.0").unwrap();
        let public = PublicKeyBox::from_string(&text)
            .unwrap()
            .into_public_key()
            .unwrap();
        let signature = SignatureBox::from_string(&signature).unwrap();
        let check = |content: &[u8]| {
            minisign::verify(
                &public,
                &signature,
                Cursor::new(content.to_vec()),
                true,
                false,
                false,
            )
        };
        check(b"a release").unwrap();
        assert!(check(b"another").is_err());
    }
}

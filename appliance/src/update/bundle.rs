//! Bundles: how a release comes, and what is refused.
//!
//! ```text
//!   tar ┬ manifest.json            what it is (ashlar_api::update::Manifest)
//!       ├ manifest.json.minisig    a signature of that by a trusted key
//!       └ ashlar.efi               the release, as long as the manifest says and with its sum
//! ```
//!
//! Invariant: nothing of a bundle is believed before its signature was verified, and no byte is written before it was
//! admitted. Two keys are trusted, so that one can be replaced: a release signed by the second brings the next pair. They
//! are a part of the root image, so whoever can change them can change everything else.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ashlar_api::Bytes;
use ashlar_api::update::{Manifest, Version};
use minisign_verify::{PublicKey, Signature};
use sha2::{Digest, Sha256};

/// Where the trusted keys are.
pub const KEYS: &str = "/usr/share/ashlar/keys";
/// The machines this program was made for.
pub const ARCHITECTURE: &str = std::env::consts::ARCH;

const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.json.minisig";
const RELEASE: &str = "ashlar.efi";
/// Notes of a release are a page or two.
const LONGEST_MANIFEST: u64 = 256 << 10;
const LONGEST_SIGNATURE: u64 = 4 << 10;
/// No release is larger; it would not fit twice.
const LARGEST_RELEASE: u64 = 480 << 20;
const PORTION: usize = 1 << 20;

/// Why a bundle was refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no bundle.
    #[error("this is not a bundle of Ashlar: {0}")]
    NotABundle(String),
    /// It ended too early.
    #[error("the bundle ended before its end; only a part of it came")]
    Truncated,
    /// It could not be read.
    #[error("the bundle could not be read")]
    Read(#[source] io::Error),
    /// There are no keys.
    #[error("the keys in {} can not be read", .folder.display())]
    NoKeys {
        /// Where they should be.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No trusted key signed it.
    #[error("the bundle is not signed by a key that this appliance trusts")]
    Untrusted,
    /// The signature is good, what it signs is not understood.
    #[error("the manifest of the bundle is not understood")]
    Manifest(#[source] serde_json::Error),
    /// Its content is not what the manifest says.
    #[error("the release in the bundle is damaged: its checksum is not the one that was signed")]
    Damaged,
    /// It is for other machines.
    #[error("the release is for {found} machines, this one is {ARCHITECTURE}")]
    Architecture {
        /// For which.
        found: String,
    },
    /// It runs already.
    #[error("version {0} runs already")]
    Running(Version),
    /// It is on the disk already.
    #[error("version {0} is on the disk already")]
    Present(Version),
    /// It is older than what runs.
    #[error("version {found} is older than {running}, which runs")]
    Older {
        /// The version of the bundle.
        found: Version,
        /// The version that runs.
        running: Version,
    },
    /// What runs is too old for it.
    #[error("version {found} can be reached from {needed} and later; {running} runs")]
    TooFar {
        /// The version of the bundle.
        found: Version,
        /// The oldest version it can be reached from.
        needed: Version,
        /// The version that runs.
        running: Version,
    },
    /// It is larger than can be.
    #[error("the release is {0}, which is more than the system partition could hold twice")]
    TooLarge(Bytes),
    /// What was read could not be kept.
    #[error("the release could not be written to the system partition")]
    Write(#[source] io::Error),
}

impl BundleError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            BundleError::NotABundle(_) => {
                "Choose the file whose name ends in .ashlar.".to_owned()
            }
            BundleError::Truncated | BundleError::Read(_) | BundleError::Damaged => {
                "Get the bundle again and compare its checksum with the published one.".to_owned()
            }
            BundleError::NoKeys { .. } => "The image is damaged: start the release before, or flash the disk anew.".to_owned(),
            BundleError::Untrusted => {
                "Get the bundle from where the appliance came from. Never take one that somebody has changed.".to_owned()
            }
            BundleError::Manifest(_) => {
                "It may need a release in between: read the notes of the release.".to_owned()
            }
            BundleError::Architecture { .. } => {
                format!("Choose the bundle for {ARCHITECTURE}.")
            }
            BundleError::Running(_) => "Nothing is to be done.".to_owned(),
            BundleError::Present(_) => "Start it, or remove it first to receive it again.".to_owned(),
            BundleError::Older { .. } => {
                "Allow the downgrade if it is meant; settings that only the newer version knows may be lost.".to_owned()
            }
            BundleError::TooFar { needed, .. } => format!("Update to {needed} first."),
            BundleError::TooLarge(_) => "Read the notes of the release: it may have to be installed anew.".to_owned(),
            BundleError::Write(_) => "Look at the health of the system drive.".to_owned(),
        }
    }

    /// How reading failed.
    fn read(error: io::Error) -> BundleError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::Truncated,
            _ => BundleError::Read(error),
        }
    }
}

/// The keys that are trusted.
#[derive(Clone)]
pub struct Keys(Vec<PublicKey>);

impl Keys {
    /// Reads the files that end in `.pub` (minisign(1)) in a folder.
    pub fn read(folder: &Path) -> Result<Keys, BundleError> {
        let failed = |source| BundleError::NoKeys {
            folder: folder.to_owned(),
            source,
        };
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|end| end == "pub") {
                let text = std::fs::read_to_string(&path).map_err(failed)?;
                let key = PublicKey::decode(text.trim()).map_err(|error| {
                    failed(io::Error::other(format!("{}: {error}", path.display())))
                })?;
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        Ok(Keys(keys))
    }

    fn verify(&self, manifest: &[u8], signature: &str) -> Result<(), BundleError> {
        let signature = Signature::decode(signature).map_err(|_| BundleError::Untrusted)?;
        // Only signatures of the hash are taken: those of the text itself are an older form.
        let signed = |key: &PublicKey| key.verify(manifest, &signature, false).is_ok();
        match self.0.iter().any(signed) {
            true => Ok(()),
            false => Err(BundleError::Untrusted),
        }
    }
}

/// What a release has to fit to.
#[derive(Clone, Debug)]
pub struct Host {
    /// The version that runs.
    pub running: Version,
    /// Those that are on the disk.
    pub present: Vec<Version>,
    /// An older one is wanted.
    pub downgrade: bool,
}

/// Whether a release may come to this machine.
pub fn admit(manifest: &Manifest, host: &Host) -> Result<(), BundleError> {
    let (found, running) = (manifest.version.clone(), host.running.clone());
    if manifest.architecture != ARCHITECTURE {
        let found = manifest.architecture.clone();
        return Err(BundleError::Architecture { found });
    }
    if found == running {
        return Err(BundleError::Running(found));
    }
    if host.present.contains(&found) {
        return Err(BundleError::Present(found));
    }
    if found < running && !host.downgrade {
        return Err(BundleError::Older { found, running });
    }
    // The way back from a newer release is its own.
    if running < manifest.from && found > running {
        let needed = manifest.from.clone();
        return Err(BundleError::TooFar {
            found,
            needed,
            running,
        });
    }
    if manifest.size.0 > LARGEST_RELEASE {
        return Err(BundleError::TooLarge(manifest.size));
    }
    Ok(())
}

/// Reads a bundle to its end. `admitted` is called once with the verified manifest and gives where the release is to be
/// written; it comes there whole and with the right sum, or an error is returned.
pub fn read<W: io::Write, E: From<BundleError>>(
    bundle: impl Read,
    keys: &Keys,
    admitted: impl FnOnce(&Manifest) -> Result<W, E>,
) -> Result<(Manifest, W), E> {
    let mut archive = tar::Archive::new(bundle);
    let mut entries = archive
        .entries()
        .map_err(BundleError::read)?
        // Else it reads extensions by itself, however long these say that they are.
        .raw(true);
    let mut next = |name: &str| -> Result<_, BundleError> {
        let entry = match entries.next() {
            Some(Ok(entry)) => entry,
            None => return Err(BundleError::Truncated),
            Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BundleError::Truncated);
            }
            // What the library says of it names bytes that nobody can read.
            Some(Err(_)) => {
                let what = format!("no archive with `{name}` was found in it");
                return Err(BundleError::NotABundle(what));
            }
        };
        let found = entry.path_bytes().into_owned();
        if found != name.as_bytes() || !entry.header().entry_type().is_file() {
            let found = String::from_utf8_lossy(&found);
            let legible = |letter: &char| letter.is_ascii_graphic() || *letter == ' ';
            let found: String = found.chars().filter(legible).take(40).collect();
            return Err(BundleError::NotABundle(format!(
                "it holds `{found}` where `{name}` should be"
            )));
        }
        Ok(entry)
    };
    let manifest = short(next(MANIFEST)?, LONGEST_MANIFEST)?;
    let signature = short(next(SIGNATURE)?, LONGEST_SIGNATURE)?;
    keys.verify(&manifest, &String::from_utf8_lossy(&signature))?;
    let manifest: Manifest = serde_json::from_slice(&manifest).map_err(BundleError::Manifest)?;
    let mut release = next(RELEASE)?;
    if release.size() != manifest.size.0 {
        return Err(BundleError::Damaged.into());
    }
    let mut target = admitted(&manifest)?;
    let sum = copy(&mut release, &mut target, manifest.size.0)?;
    if !sum.eq_ignore_ascii_case(&manifest.sha256) {
        return Err(BundleError::Damaged.into());
    }
    Ok((manifest, target))
}

fn short(entry: tar::Entry<'_, impl Read>, most: u64) -> Result<Vec<u8>, BundleError> {
    let size = entry.size();
    if size > most {
        return Err(BundleError::NotABundle(format!(
            "its head is {size} bytes long"
        )));
    }
    let mut bytes = Vec::new();
    entry
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(BundleError::read)?;
    if (bytes.len() as u64) < size {
        return Err(BundleError::Truncated);
    }
    Ok(bytes)
}

/// Copies exactly `size` bytes and returns their sum.
fn copy(from: &mut impl Read, to: &mut impl io::Write, size: u64) -> Result<String, BundleError> {
    let mut sum = Sha256::new();
    let mut buffer = vec![0; PORTION];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PORTION).min(PORTION);
        let count = from.read(&mut buffer[..most]).map_err(BundleError::read)?;
        if count == 0 {
            return Err(BundleError::Truncated);
        }
        sum.update(&buffer[..count]);
        to.write_all(&buffer[..count]).map_err(BundleError::Write)?;
        left -= count as u64;
    }
    Ok(hexadecimal(&sum.finalize()))
}

/// The sum of what a reader gives.
pub fn sum(mut reader: impl Read) -> io::Result<String> {
    let mut sum = Sha256::new();
    io::copy(&mut reader, &mut sum)?;
    Ok(hexadecimal(&sum.finalize()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

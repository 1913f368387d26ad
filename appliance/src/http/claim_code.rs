//! The code that makes somebody the owner: shown on the machine's own screen,
//! so that only who stands before it can claim it.
//!
//! It is made when a node without owner starts, kept in a file in `/run` so
//! that a supervisor that starts again shows the same one, and removed with the
//! claim. Eight characters of 25 are 37 bits: with a few tries a minute, enough
//! for an age.

use std::path::{Path, PathBuf};

use super::error::{Answer, Failure};
use crate::sys::fs::{FsError, remove_file, write_atomic};

/// Of characters that look alike, one at most: no 0, O, 1, I, L, 5, S, 8, B, U and Z.
const ALPHABET: &[u8; 25] = b"34679ACDEFGHJKMNPQRTVWXY2";
const LENGTH: usize = 8;

/// Where the code is.
pub fn path(run: &Path) -> PathBuf {
    run.join("claim-code")
}

/// The code, as it is shown: `7KXQ-M2PD`.
pub fn read(run: &Path) -> Option<String> {
    let code = std::fs::read_to_string(path(run)).ok()?;
    let code = normal(&code);
    (code.len() == LENGTH).then(|| shown(&code))
}

/// The code of this boot; made if there is none yet.
pub fn ensure(run: &Path) -> Answer<String> {
    if let Some(code) = read(run) {
        return Ok(code);
    }
    let code = shown(&random()?);
    write_atomic(&path(run), format!("{code}\n").as_bytes(), 0o600).map_err(failed)?;
    Ok(code)
}

/// Removes it: the node has an owner.
pub fn forget(run: &Path) -> Answer<()> {
    remove_file(&path(run)).map_err(failed)
}

/// Whether what somebody typed is the code; case, dashes and blanks do not matter.
pub fn is_right(typed: &str, code: &str) -> bool {
    super::auth::same_secret(normal(typed).as_bytes(), normal(code).as_bytes())
}

fn failed(error: FsError) -> Failure {
    Failure::internal("write the claim code", &error)
}

fn normal(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

fn shown(code: &str) -> String {
    let (left, right) = code.split_at(LENGTH / 2);
    format!("{left}-{right}")
}

fn random() -> Answer<String> {
    let mut code = String::new();
    while code.len() < LENGTH {
        let bytes = super::auth::random_hex()?;
        for pair in bytes.as_bytes().chunks_exact(2) {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            let byte = usize::from(u8::from_str_radix(text, 16).unwrap_or(u8::MAX));
            // 250 is the largest multiple of 25: what is above would favour some letters.
            if byte < 250 && code.len() < LENGTH {
                code.push(char::from(ALPHABET[byte % ALPHABET.len()]));
            }
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_the_same_until_forgotten() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(read(run.path()), None);
        let code = ensure(run.path()).unwrap();
        assert_eq!(ensure(run.path()).unwrap(), code);
        assert_eq!(read(run.path()).as_deref(), Some(code.as_str()));
        let mode = std::os::unix::fs::MetadataExt::mode(&path(run.path()).metadata().unwrap());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!((code.len(), &code[4..5]), (9, "-"));
        forget(run.path()).unwrap();
        forget(run.path()).unwrap();
        assert_ne!(ensure(run.path()).unwrap(), code);
    }

    #[test]
    fn how_it_is_typed_does_not_matter() {
        for typed in ["7KXQ-M2PD", "7kxqm2pd", " 7kxq m2pd ", "7-K-X-Q-M-2-P-D"] {
            assert!(is_right(typed, "7KXQ-M2PD"), "{typed}");
        }
        for typed in ["", "7KXQ-M2P", "7KXQ-M2PDX", "7KXQ-M2PE"] {
            assert!(!is_right(typed, "7KXQ-M2PD"), "{typed}");
        }
    }

    #[test]
    fn letters_are_told_apart() {
        for _ in 0..50 {
            let code = random().unwrap();
            assert_eq!(code.len(), LENGTH);
            assert!(code.bytes().all(|c| ALPHABET.contains(&c)));
        }
    }
}

//! Passwords: argon2id for our users, SHA-512-crypt for users inside guests.
//!
//! One hash takes 19 MiB and tens of milliseconds on purpose, so hashing never
//! runs on a thread that serves requests, at most one runs at a time (the
//! memory of the appliance is budgeted), and only so many may wait: a flood of
//! sign-ins is told to come back rather than held in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use argon2::password_hash::{Output, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ashlar_api::error::Code;
use tokio::sync::Semaphore;

use super::error::{Answer, Failure};

/// Memory of one hash in KiB, passes over it, lanes (OWASP's advice for argon2id).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How many requests may wait for their hash.
const WAITING: usize = 32;
/// How long one waits at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// What goes wrong with a hash.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the parameters of argon2 are wrong: {0}")]
    Parameters(argon2::Error),
    #[error("hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    #[error("hash a password for a guest: {0}")]
    Crypt(sha_crypt::password_hash::Error),
    #[error("the source of random numbers failed: {0}")]
    Random(getrandom::Error),
    #[error("the thread that hashes ended early")]
    Thread(#[source] tokio::task::JoinError),
}

/// Hashes and compares passwords, one at a time.
#[derive(Clone, Debug)]
pub struct Passwords {
    turn: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// The hash of no password: comparing with it takes as long as with a real one.
    nobody: Arc<str>,
}

impl Passwords {
    /// Prepares the hash that unknown users are compared with.
    pub fn new() -> Answer<Self> {
        let nobody = hash_of_nobody().map_err(failure)?;
        Ok(Passwords {
            turn: Arc::new(Semaphore::new(1)),
            waiting: Arc::default(),
            nobody: nobody.into(),
        })
    }

    /// The argon2id hash of a password, in PHC form.
    pub async fn hash(&self, password: String) -> Answer<String> {
        self.run(move || hash(&password)).await
    }

    /// Whether a password is the one that was hashed. `None` stands for an
    /// unknown user: it takes as long, and the answer is no.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Answer<bool> {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.to_string());
        let same = self.run(move || verify(&password, &stored)).await?;
        Ok(same && known)
    }

    /// The SHA-512-crypt hash of a password, as `/etc/shadow` of a guest has it.
    pub async fn crypt(&self, password: String) -> Answer<String> {
        self.run(move || crypt(&password)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Answer<T> {
        let _place = Place::take(&self.waiting)?;
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned())
            .await
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| Failure::too_many(Duration::from_secs(5)))?;
        // The permit moves into the work: a request that is given up does not
        // let the next one start beside a hash that still runs.
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        done.await.map_err(Error::Thread).flatten().map_err(failure)
    }
}

/// One of the places in the queue.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(waiting: &Arc<AtomicUsize>) -> Answer<Self> {
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(waiting));
        if before >= WAITING {
            return Err(Failure::too_many(Duration::from_secs(5)));
        }
        Ok(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn failure(error: Error) -> Failure {
    Failure::internal("hash a password", &error)
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::Parameters)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String, Error> {
    let salt = salt()?;
    let hash = argon2()?.hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(Error::Hash)?.to_string())
}

/// A hash that no password is known for: random bytes in its place, because to compute one delays the start.
fn hash_of_nobody() -> Result<String, Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    let output = Output::new(&bytes).map_err(Error::Hash)?;
    let salt = salt()?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2()?.params().try_into().map_err(Error::Hash)?,
        salt: Some(salt.as_salt()),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn salt() -> Result<SaltString, Error> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(Error::Random)?;
    SaltString::encode_b64(&salt).map_err(Error::Hash)
}

/// A stored hash that cannot be read is no match, and is logged: nobody can sign in with it.
fn verify(password: &str, stored: &str) -> Result<bool, Error> {
    let stored = PasswordHash::new(stored).map_err(Error::Hash)?;
    match argon2()?.verify_password(password.as_bytes(), &stored) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::Password) => Ok(false),
        Err(error) => Err(Error::Hash(error)),
    }
}

fn crypt(password: &str) -> Result<String, Error> {
    use sha_crypt::PasswordHasher as _;
    // Twelve bytes are sixteen characters, which is all the salt crypt(3) looks at.
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(Error::Random)?;
    let hash = sha_crypt::ShaCrypt::SHA512
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(Error::Crypt)?;
    Ok(hash.to_string())
}

/// A failure for a password that is not the right one.
pub fn wrong() -> Failure {
    Failure::new(
        Code::Unauthenticated,
        "the user name or the password is wrong",
    )
    .remedy("Check both and try again. An administrator can set a new password.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_fits() {
        let passwords = Passwords::new().unwrap();
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = |password: &str, stored: Option<&str>| {
            passwords.verify(password.into(), stored.map(str::to_owned))
        };
        assert!(verify("correct horse", Some(&stored)).await.unwrap());
        assert!(!verify("correct Horse", Some(&stored)).await.unwrap());
        assert!(!verify("correct horse", None).await.unwrap());
        // The same work for nobody as for somebody.
        let cost = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(cost(&passwords.nobody), cost(&stored));
        assert_eq!(passwords.nobody.len(), stored.len());
        assert!(verify("x", Some("rubbish")).await.is_err());
    }

    #[test]
    fn guests_understand_the_hash() {
        // openssl passwd -6 is another implementation of crypt(3).
        let hash = crypt("ashlar ashlar").unwrap();
        assert!(hash.starts_with("$6$rounds=5000$"), "{hash}");
        let salt = hash.split('$').nth(3).unwrap();
        assert_eq!(salt.len(), 16);
        let other = std::process::Command::new("openssl")
            .args(["passwd", "-6", "-salt"])
            .arg(format!("rounds=5000${salt}"))
            .arg("ashlar ashlar")
            .output();
        if let Ok(other) = other {
            let other = String::from_utf8(other.stdout).unwrap();
            assert_eq!(other.trim(), hash);
        }
    }

    #[tokio::test]
    async fn only_so_many_wait() {
        let passwords = Passwords::new().unwrap();
        let places: Vec<_> = (0..WAITING)
            .map(|_| Place::take(&passwords.waiting).unwrap())
            .collect();
        let refused = passwords.hash("x".into()).await.unwrap_err();
        assert_eq!(refused.problem().status, 429);
        drop(places);
        assert!(passwords.hash("x".into()).await.is_ok());
    }
}

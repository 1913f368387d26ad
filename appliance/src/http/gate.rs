//! Passwords, and how often somebody may try one or a claim code.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::error::{Answer, Failure};
use super::limit::{Attempts, Doubling, Window, neighbourhood};
use super::password::Passwords;

/// Per address: five tries, then waits that double up to a quarter of an hour.
const ADDRESS: Doubling = Doubling {
    free: 5,
    longest: Duration::from_secs(900),
    forget: Duration::from_secs(1800),
};
/// Per user, from wherever: as many tries, and waits that hinder guessing but lock nobody out.
const USER: Doubling = Doubling {
    free: 5,
    longest: Duration::from_secs(10),
    forget: Duration::from_secs(900),
};
const MINUTE: Duration = Duration::from_secs(60);

/// Who may try now.
#[derive(Debug)]
pub struct Gate {
    /// Hashes and compares.
    pub passwords: Passwords,
    addresses: Attempts<IpAddr>,
    users: Attempts<String>,
    claims: Window<IpAddr>,
    all_claims: Window<()>,
}

impl Gate {
    /// A gate nobody has come to yet.
    pub fn new() -> Answer<Self> {
        Ok(Gate {
            passwords: Passwords::new()?,
            addresses: Attempts::new(ADDRESS),
            users: Attempts::new(USER),
            claims: Window::new(5, MINUTE),
            all_claims: Window::new(20, MINUTE),
        })
    }

    /// Charges an attempt to sign in as `user`, or says how long to wait.
    pub fn attempt(&self, address: IpAddr, user: &str) -> Answer<()> {
        let (address, user, now) = (neighbourhood(address), user.to_lowercase(), Instant::now());
        let wait = self
            .addresses
            .wait(&address, now)
            .max(self.users.wait(&user, now));
        if wait > Duration::ZERO {
            return Err(Failure::too_many(wait));
        }
        self.addresses.charge(address, now);
        self.users.charge(user, now);
        Ok(())
    }

    /// The attempt succeeded.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        self.addresses.succeed(&neighbourhood(address));
        self.users.succeed(&user.to_lowercase());
    }

    /// Charges an attempt to claim.
    pub fn claim(&self, address: IpAddr) -> Answer<()> {
        let now = Instant::now();
        self.claims
            .charge(neighbourhood(address), now)
            .and_then(|()| self.all_claims.charge((), now))
            .map_err(Failure::too_many)
    }
}

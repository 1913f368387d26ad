//! Which appliance is meant, and as whom it is spoken to.
//!
//! ```text
//!   --socket, else --url or ASHLAR_URL, else the socket of this machine, else the last login
//!   on a socket: the administrator `local`
//!   elsewhere:   --token-file, else ASHLAR_TOKEN, else the session that `ashlar login` opened
//! ```
//!
//! No secret is ever an argument: everybody on a machine can read the arguments
//! of everybody's programs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ashlar_api::Timestamp;
use clap::Args;
use nix::unistd::{AccessFlags, access};
use reqwest::Url;

use super::client::{Client, Credentials};
use super::error::{Error, Result};
use super::saved::Saved;
use super::trust::{Fingerprint, Trust};

/// The API on the appliance itself; root only.
const SOCKET: &str = "/run/ashlar/api.sock";
/// The variable that holds a token.
const TOKEN: &str = "ASHLAR_TOKEN";

/// The address of an appliance: `https://`, host and port, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// The host for a name lookup or a certificate: an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        let host = self.0.host_str().unwrap_or_default();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or(443)
    }

    /// The same appliance under another IP address, on the same port.
    pub fn at(&self, address: std::net::IpAddr) -> Option<Address> {
        let mut url = self.0.clone();
        url.set_ip_host(address).ok()?;
        Some(Address(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// A text that is no address of an appliance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It cannot be read.
    #[error("an address such as `https://node-1` or `192.0.2.10`")]
    Unreadable,
    /// It would send secrets in the clear.
    #[error("an address that begins with https://; over http:// everybody could read along")]
    Clear,
    /// It holds a user name or a password.
    #[error("an address without a user name or password; use `ashlar login`")]
    Secret,
}

impl FromStr for Address {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let text = text.trim();
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let mut url = Url::parse(&whole).map_err(|_| InvalidAddress::Unreadable)?;
        match url.scheme() {
            "https" => {}
            "http" => return Err(InvalidAddress::Clear),
            _ => return Err(InvalidAddress::Unreadable),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidAddress::Secret);
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(InvalidAddress::Unreadable);
        }
        url.set_path("");
        url.set_query(None);
        url.set_fragment(None);
        Ok(Address(url))
    }
}

/// Where the API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a socket of this machine.
    Local(PathBuf),
    /// Over the network.
    Remote(Address),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Local(path) => path.display().fmt(f),
            Place::Remote(address) => address.fmt(f),
        }
    }
}

/// Options that say which appliance is meant.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Which appliance")]
pub struct PlaceArgs {
    /// Address of the appliance, such as https://node-1
    #[arg(long, global = true, env = "ASHLAR_URL", value_name = "URL")]
    pub url: Option<Address>,
    /// Socket of the API, on the appliance itself
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// SHA-256 of the appliance's certificate, as on its screen
    #[arg(long, global = true, value_name = "SHA256")]
    pub fingerprint: Option<Fingerprint>,
    /// Certificates of the authorities to trust, PEM
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "fingerprint"
    )]
    pub ca: Option<PathBuf>,
    /// File that holds a token (or set ASHLAR_TOKEN)
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl PlaceArgs {
    /// Which appliance is meant.
    pub fn place(&self, saved: &Saved) -> Result<Place> {
        if let Some(socket) = &self.socket {
            return Ok(Place::Local(socket.clone()));
        }
        if let Some(address) = &self.url {
            return Ok(Place::Remote(address.clone()));
        }
        let socket = Path::new(SOCKET);
        if access(socket, AccessFlags::W_OK).is_ok() {
            return Ok(Place::Local(socket.to_owned()));
        }
        if let Some(address) = saved.default.as_deref().and_then(|text| text.parse().ok()) {
            return Ok(Place::Remote(address));
        }
        if socket.exists() {
            return Err(Error::usage(
                "only root may use this appliance without signing in",
                "Run the command as root, or name the appliance with --url and sign in.",
            ));
        }
        Err(Error::usage(
            "no appliance is named",
            "Give its address with --url or in ASHLAR_URL, or sign in once: `ashlar login --url https://node-1`.",
        ))
    }

    /// By what an address is trusted, unless nothing was said of it yet.
    pub fn trust(&self, saved: &Saved, address: &Address) -> Option<Trust> {
        if let Some(fingerprint) = self.fingerprint {
            return Some(Trust::Pinned(fingerprint));
        }
        if let Some(ca) = &self.ca {
            let whole = std::path::absolute(ca).unwrap_or_else(|_| ca.clone());
            return Some(Trust::Authority(whole));
        }
        let known = saved.appliances.get(&address.to_string())?;
        known.trust()
    }

    /// A client for whoever is signed in or has a token.
    pub fn client(&self) -> Result<Client> {
        let saved = Saved::load()?;
        match self.place(&saved)? {
            Place::Local(socket) => Client::local(&socket),
            Place::Remote(address) => {
                let trust = self.trust(&saved, &address).unwrap_or(Trust::System);
                let credentials = self.credentials(&saved, &address)?;
                Client::remote(&address, trust, credentials)
            }
        }
    }

    fn credentials(&self, saved: &Saved, address: &Address) -> Result<Credentials> {
        if let Some(path) = &self.token_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Error::file("read the token in", path, error))?;
            return Ok(Credentials::Token(text.trim().to_owned()));
        }
        if let Ok(token) = std::env::var(TOKEN)
            && !token.trim().is_empty()
        {
            return Ok(Credentials::Token(token.trim().to_owned()));
        }
        let known = saved.appliances.get(&address.to_string());
        let session = known.and_then(|known| known.session.clone());
        Ok(session
            .filter(|session| session.expires_at > Timestamp::now())
            .map_or(Credentials::None, |session| Credentials::Session {
                cookie: session.cookie,
                csrf: session.csrf,
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("node-1"), Ok("https://node-1".into()));
        assert_eq!(
            read("https://Node-1:8443/vms?x#y"),
            Ok("https://node-1:8443".into())
        );
        assert_eq!(read("192.0.2.10:443"), Ok("https://192.0.2.10".into()));
        assert_eq!(
            read("[2001:db8::1]:8443"),
            Ok("https://[2001:db8::1]:8443".into())
        );
        assert_eq!(read("http://node-1"), Err(InvalidAddress::Clear));
        assert_eq!(read("https://ann:x@node-1"), Err(InvalidAddress::Secret));
        assert_eq!(read("ftp://node-1"), Err(InvalidAddress::Unreadable));
        assert_eq!(read(""), Err(InvalidAddress::Unreadable));
        let six: Address = "[2001:db8::1]:8443".parse().unwrap();
        assert_eq!((six.host(), six.port()), ("2001:db8::1", 8443));
        let moved = six.at("192.0.2.7".parse().unwrap()).unwrap();
        assert_eq!(moved.to_string(), "https://192.0.2.7:8443");
    }

    #[test]
    fn what_is_said_goes_before_what_is_kept() {
        let mut saved = Saved {
            default: Some("https://kept".into()),
            ..Saved::default()
        };
        let known = saved.appliances.entry("https://kept".into()).or_default();
        known.set_trust(&Trust::Pinned(Fingerprint::of(b"kept")));
        let mut args = PlaceArgs::default();
        let kept: Address = "kept".parse().unwrap();
        assert_eq!(
            args.trust(&saved, &kept),
            Some(Trust::Pinned(Fingerprint::of(b"kept")))
        );
        args.fingerprint = Some(Fingerprint::of(b"said"));
        assert_eq!(
            args.trust(&saved, &kept),
            Some(Trust::Pinned(Fingerprint::of(b"said")))
        );
        args.url = Some("said".parse().unwrap());
        assert_eq!(args.place(&saved).unwrap().to_string(), "https://said");
        args.socket = Some("/tmp/x".into());
        assert_eq!(args.place(&saved).unwrap(), Place::Local("/tmp/x".into()));
    }
}

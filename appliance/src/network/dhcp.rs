//! The DHCP client: busybox `udhcpc` as a child, with our own binary as the
//! script that it calls at each event.
//!
//! ```text
//!  udhcpc ── bound, renew, nak, deconfig ──► ashlar dhcp-event ──► <link>.json ──(inotify)──► the domain looks
//! ```
//!
//! The script only writes what it was told into a file, whole or not at all;
//! the domain alone touches the machine. So a lease is not lost when the
//! supervisor is away, and the supervisor that comes next finds it.
//!
//! `udhcpc` says `deconfig` when it starts as well as when a lease has run out.
//! An address must not go away because the client was started again: a lease
//! whose time is not over stays until the server refuses it or gives another.
//! Times are seconds since the machine started, because at boot the clock of
//! the day may be wrong by years.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ashlar_api::vm::Mac;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// How long the client may ask in vain before the node helps itself.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Where leases are written, one file a link.
pub const DIRECTORY: &str = "/run/ashlar/service/dhcp";
/// Name of the link to our binary that the client calls; also the hidden role of the command line.
pub const HOOK: &str = "dhcp-event";

/// What the client knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The hardware address it was given to.
    pub mac: Mac,
    /// The address given.
    pub address: Ipv4Net,
    /// Routers, best first.
    #[serde(default)]
    pub routers: Vec<Ipv4Addr>,
    /// Further routes (option 121); when there are any, `routers` does not count (RFC 3442).
    #[serde(default)]
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Name servers.
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    /// Domains to complete short names with.
    #[serde(default)]
    pub search: Vec<String>,
    /// Time servers.
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
    /// Who gave it.
    #[serde(default)]
    pub server: Option<Ipv4Addr>,
    /// For how many seconds.
    pub seconds: u64,
    /// When it was given, in seconds since the machine started.
    pub at: u64,
}

impl Lease {
    /// Whether its time is over.
    pub fn is_over(&self, uptime: u64) -> bool {
        uptime >= self.at.saturating_add(self.seconds)
    }
}

/// What is in the file of a link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Word {
    /// There is a lease.
    Leased {
        /// It.
        lease: Lease,
    },
    /// There is none, and has not been since then.
    Asking {
        /// Seconds since the machine started.
        since: u64,
    },
}

/// Why an event could not be noted.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The client did not say what it must.
    #[error("the DHCP client gave no usable `{name}`: {value:?}")]
    Missing {
        /// Name of the variable.
        name: &'static str,
        /// What it was.
        value: String,
    },
    /// It said something this does not know.
    #[error("unknown event `{0}` of the DHCP client")]
    Unknown(String),
    /// The file could not be written.
    #[error("cannot write {}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The file of a link.
pub fn file(directory: &Path, link: &str) -> PathBuf {
    directory.join(format!("{link}.json"))
}

/// Reads the file of a link; nothing when it is absent or was not written by this.
pub fn read(directory: &Path, link: &str) -> Option<Word> {
    let text = std::fs::read(file(directory, link)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// What is to be written after an event. `None` leaves the file as it is.
pub fn note(
    event: &str,
    variables: &HashMap<String, String>,
    before: Option<Word>,
    uptime: u64,
) -> Result<Option<Word>, EventError> {
    let since = match &before {
        Some(Word::Asking { since }) => *since,
        _ => uptime,
    };
    let mac = variables.get(MAC_VARIABLE).map_or("", String::as_str);
    let is_same = |lease: &Lease| lease.mac.to_string() == mac;
    match event {
        "bound" | "renew" => Ok(Some(Word::Leased {
            lease: lease(variables, uptime)?,
        })),
        "deconfig" => match before {
            Some(Word::Leased { lease }) if !lease.is_over(uptime) && is_same(&lease) => Ok(None),
            _ => Ok(Some(Word::Asking { since })),
        },
        "nak" => Ok(Some(Word::Asking { since })),
        "leasefail" => Ok(None),
        other => Err(EventError::Unknown(other.to_owned())),
    }
}

fn lease(variables: &HashMap<String, String>, uptime: u64) -> Result<Lease, EventError> {
    let text = |name: &str| variables.get(name).map_or("", String::as_str).trim();
    let missing = |name: &'static str| EventError::Missing {
        name,
        value: text(name).to_owned(),
    };
    let ip: Ipv4Addr = text("ip").parse().map_err(|_| missing("ip"))?;
    // `mask` is the length of the prefix; a server that names none means the address alone.
    let length = match text("mask") {
        "" => 32,
        mask => mask.parse().map_err(|_| missing("mask"))?,
    };
    let address = Ipv4Net::new(ip, length).map_err(|_| missing("mask"))?;
    // A server may leave the time out; the client then takes an hour, and so does this.
    let seconds = match text("lease") {
        "" => 3600,
        seconds => seconds.parse().map_err(|_| missing("lease"))?,
    };
    Ok(Lease {
        mac: text(MAC_VARIABLE)
            .parse()
            .map_err(|_| missing(MAC_VARIABLE))?,
        address,
        routers: list(text("router")),
        routes: routes(text("staticroutes")),
        dns: list(text("dns")),
        search: search(text("search"), text("domain")),
        ntp: list(text("ntpsrv")),
        server: text("serverid").parse().ok(),
        seconds,
        at: uptime,
    })
}

/// The items of a list that can be read. A server's odd third name server is no reason to have no address.
fn list<T: FromStr>(text: &str) -> Vec<T> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn routes(text: &str) -> Vec<(Ipv4Net, Ipv4Addr)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .chunks_exact(2)
        .filter_map(|pair| Some((pair[0].parse().ok()?, pair[1].parse().ok()?)))
        .collect()
}

/// Domains end up in a file that resolvers parse: whatever is not a domain is left out.
fn search(search: &str, domain: &str) -> Vec<String> {
    let words = if search.is_empty() { domain } else { search };
    words
        .split_whitespace()
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| {
            !word.is_empty()
                && word.len() <= 253
                && word
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        })
        .take(6)
        .map(str::to_owned)
        .collect()
}

/// The hidden role: notes the event that this process was started for, from its environment.
pub fn event(event: &str) -> Result<(), EventError> {
    let variables: HashMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let missing = |name: &'static str| EventError::Missing {
        name,
        value: variables.get(name).cloned().unwrap_or_default(),
    };
    let link = variables
        .get("interface")
        .filter(|link| !link.is_empty() && !link.contains('/'))
        .ok_or_else(|| missing("interface"))?;
    let directory = variables
        .get(DIRECTORY_VARIABLE)
        .map_or_else(|| PathBuf::from(DIRECTORY), PathBuf::from);
    let before = read(&directory, link);
    if let Some(word) = note(event, &variables, before, uptime())? {
        write(&directory, link, &word)?;
    }
    Ok(())
}

/// Tells the script for which hardware address the client asks.
pub const MAC_VARIABLE: &str = "ASHLAR_DHCP_MAC";
/// Names another directory than [`DIRECTORY`] to the script.
pub const DIRECTORY_VARIABLE: &str = "ASHLAR_DHCP_DIRECTORY";

/// Seconds since the machine started, sleep included.
pub fn uptime() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .ok()
        .and_then(|time| u64::try_from(time.tv_sec()).ok())
        .unwrap_or(0)
}

/// Writes the file of a link, whole or not at all.
pub fn write(directory: &Path, link: &str, word: &Word) -> Result<(), EventError> {
    let path = file(directory, link);
    let part = directory.join(format!("{link}.json.part"));
    let text = serde_json::to_vec(word).unwrap_or_default();
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&part, text))
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(|source| EventError::Write { path, source })
}

/// The arguments of the client.
///
/// It is asked never to give up (`-t` and `-T` say how a round of asking goes,
/// `-A` how long it rests after one) and not to give the address back when it
/// ends (no `-R`): it ends when the supervisor starts it anew, too.
pub fn arguments(link: &str, hostname: &str, hook: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["udhcpc", "-f", "-i", link]
        .into_iter()
        .map(str::to_owned)
        .collect();
    arguments.extend(["-s".to_owned(), hook.display().to_string()]);
    for (option, value) in [("-t", "4"), ("-T", "2"), ("-A", "4")] {
        arguments.extend([option.to_owned(), value.to_owned()]);
    }
    for option in ["search", "staticroutes", "ntpsrv"] {
        arguments.extend(["-O".to_owned(), option.to_owned()]);
    }
    arguments.extend(["-x".to_owned(), format!("hostname:{hostname}")]);
    arguments
}

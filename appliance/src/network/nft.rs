//! The firewall: the table `inet ashlar`, written as a whole.
//!
//! The rules follow from the networks alone, so they are never changed but
//! replaced, in one transaction. The table's comment carries a fingerprint of
//! the text; as long as it is the one wanted, nothing is written.
//!
//! What is let in: answers to what the node asked, ICMP, the console and API
//! (443, and 80, which only sends browsers there) on the management network;
//! from machines on a translated network DHCP, DNS and the API. What is let through: from a translated network to the management
//! network, and the answers; so guests of two networks never meet.

use std::fmt::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::state::schema::MANAGEMENT_BRIDGE;
use crate::sys::command::{CommandError, Tool};

/// The table.
pub const TABLE: &str = "ashlar";
const TIME: Duration = Duration::from_secs(20);

/// A translated network, as the firewall sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated {
    /// Its bridge.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Ipv4Net,
    /// The node's own.
    pub gateway: Ipv4Addr,
}

/// The whole table as text, with its fingerprint inside.
#[derive(Clone, PartialEq, Eq)]
pub struct Ruleset {
    fingerprint: String,
    text: String,
}

impl Ruleset {
    /// The rules for these networks.
    pub fn new(networks: &[Translated]) -> Ruleset {
        let mut rules = String::new();
        // Writing to a string can not fail.
        let _ = write_rules(&mut rules, networks);
        let fingerprint = digest(&rules);
        // Naming the table first makes it exist, so that deleting it can not fail.
        let text = format!(
            "table inet {TABLE}\n\
             delete table inet {TABLE}\n\
             table inet {TABLE} {{\n\
             \tcomment \"{fingerprint}\"\n\
             {rules}\
             }}\n"
        );
        Ruleset { fingerprint, text }
    }

    /// Differs when the rules do.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What `nft` reads.
    #[cfg(test)]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many rules these are.
    pub fn rules(&self) -> usize {
        count(&self.text)
    }

    /// Puts the rules in force, all or none: `nft -f` is one transaction (nft(8)), so a trial before it (`-c`) would
    /// only do the same work twice.
    pub async fn apply(&self) -> Result<(), CommandError> {
        Tool::new("nft")
            .args(["-f", "-"])
            .stdin(self.text.as_bytes())
            .timeout(TIME)
            .run()
            .await?;
        Ok(())
    }
}

/// A step is shown to people: the text would be in the way there.
impl fmt::Debug for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ruleset({})", self.fingerprint)
    }
}

impl Serialize for Ruleset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.text.lines())
    }
}

fn write_rules(f: &mut String, networks: &[Translated]) -> fmt::Result {
    let uplink = MANAGEMENT_BRIDGE;
    writeln!(f, "\tchain input {{")?;
    writeln!(
        f,
        "\t\ttype filter hook input priority filter; policy drop;"
    )?;
    writeln!(f, "\t\tct state established,related accept")?;
    writeln!(f, "\t\tiifname \"lo\" accept")?;
    // ICMP and ICMPv6 by number: a node has no list of protocol names (/etc/protocols).
    writeln!(f, "\t\tmeta l4proto {{ 1, 58 }} accept")?;
    writeln!(f, "\t\tct state invalid drop")?;
    writeln!(
        f,
        "\t\tiifname \"{uplink}\" udp sport 67 udp dport 68 accept"
    )?;
    writeln!(f, "\t\tiifname \"{uplink}\" tcp dport {{ 80, 443 }} accept")?;
    for Translated {
        bridge, gateway, ..
    } in networks
    {
        writeln!(
            f,
            "\t\tiifname \"{bridge}\" udp sport 68 udp dport 67 accept"
        )?;
        for protocol in ["udp", "tcp"] {
            writeln!(
                f,
                "\t\tiifname \"{bridge}\" ip daddr {gateway} {protocol} dport 53 accept"
            )?;
        }
        writeln!(f, "\t\tiifname \"{bridge}\" tcp dport {{ 80, 443 }} accept")?;
    }
    writeln!(f, "\t}}")?;

    writeln!(f, "\tchain forward {{")?;
    writeln!(
        f,
        "\t\ttype filter hook forward priority filter; policy drop;"
    )?;
    writeln!(f, "\t\tct state established,related accept")?;
    // Frames between ports of one bridge pass here only where the kernel sends them through the firewall.
    for bridge in std::iter::once(uplink).chain(networks.iter().map(|n| n.bridge.as_str())) {
        writeln!(f, "\t\tiifname \"{bridge}\" oifname \"{bridge}\" accept")?;
    }
    for Translated { bridge, subnet, .. } in networks {
        writeln!(
            f,
            "\t\tiifname \"{bridge}\" oifname \"{uplink}\" ip saddr {subnet} accept"
        )?;
    }
    writeln!(f, "\t}}")?;

    writeln!(f, "\tchain postrouting {{")?;
    writeln!(
        f,
        "\t\ttype nat hook postrouting priority srcnat; policy accept;"
    )?;
    for Translated { subnet, .. } in networks {
        writeln!(f, "\t\toifname \"{uplink}\" ip saddr {subnet} masquerade")?;
    }
    writeln!(f, "\t}}")
}

/// The first 16 hexadecimal digits of the SHA-256 of a text.
pub fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The table as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The fingerprint it was written with.
    pub fingerprint: Option<String>,
    /// A digest of the rules as they are listed.
    pub digest: String,
    /// How many rules there are.
    pub rules: usize,
}

/// Looks at the table; nothing when there is none.
pub async fn list() -> Result<Option<Listing>, CommandError> {
    let listed = Tool::new("nft")
        .args(["-s", "list", "table", "inet", TABLE])
        .timeout(TIME)
        .run()
        .await;
    match listed {
        Ok(output) => Ok(Some(listing(&output.stdout))),
        Err(error) if is_absent(error.stderr()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_absent(stderr: &str) -> bool {
    stderr.contains("No such file or directory")
}

/// The rules in a text, as we write it and as it is listed: one a line, two tabs in; a chain's own line begins with
/// its type.
fn count(text: &str) -> usize {
    text.lines()
        .filter_map(|line| line.strip_prefix("\t\t"))
        .filter(|line| !line.starts_with("type "))
        .count()
}

fn listing(text: &str) -> Listing {
    let fingerprint = text.lines().find_map(|line| {
        let quoted = line.trim().strip_prefix("comment \"")?;
        Some(quoted.strip_suffix('"')?.to_owned())
    });
    Listing {
        fingerprint,
        digest: digest(text),
        rules: count(text),
    }
}

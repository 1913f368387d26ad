//! The children of the network: a DHCP client for the management network, a
//! `dnsmasq` for each translated one.
//!
//! What is wanted of a child is data with a fingerprint. The fingerprint is
//! kept beside the running child, so that a supervisor that finds it can tell
//! whether it is the child it would start.

use ashlar_api::vm::Mac;
use serde::{Deserialize, Serialize};

use super::dnsmasq;
use super::nft::digest;

/// Changes when the way in which children are started does, so that those of an older version are replaced.
const GENERATION: u32 = 1;

/// A child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "service", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Service {
    /// Asks for an address.
    DhcpClient {
        /// On this link.
        link: String,
        /// The link's hardware address: with another one it is another client to the server.
        mac: Mac,
        /// The name it gives itself.
        hostname: String,
    },
    /// Gives addresses and names.
    Dnsmasq(dnsmasq::Server),
}

impl Service {
    /// Its name: that of its control group, its folder and its log.
    pub fn name(&self) -> String {
        match self {
            Service::DhcpClient { link, .. } => format!("{DHCP}{link}"),
            Service::Dnsmasq(server) => {
                let short = server.bridge.strip_prefix("br-").unwrap_or(&server.bridge);
                format!("{DNSMASQ}{short}")
            }
        }
    }

    /// The link without which it can not work.
    pub fn link(&self) -> &str {
        match self {
            Service::DhcpClient { link, .. } => link,
            Service::Dnsmasq(server) => &server.bridge,
        }
    }

    /// Differs when it would be started differently.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default();
        digest(&format!("{GENERATION} {text}"))
    }
}

const DHCP: &str = "dhcp-";
const DNSMASQ: &str = "dnsmasq-";

/// Whether a child of this name is this domain's.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(DHCP) || name.starts_with(DNSMASQ)
}

//! What the machine is to look like: the wishes of the database, with every
//! choice made. Pure. The plan is then nothing but the difference between this
//! and what there is.
//!
//! Which network can be brought up is decided here. One whose addresses overlap
//! with those of the management network would take the node's own way to its
//! users; it stays without address, firewall rules and DHCP until it is
//! changed, and says so.

use std::collections::{BTreeMap, BTreeSet};

use ashlar_api::network::{LinkKind, NetworkMode};
use ashlar_api::node::{Addressing, Management};
use ashlar_api::vm::Mac;
use ashlar_api::{Name, NetworkId};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::dnsmasq;
use super::management::{self, Ipv4, Uplink};
use super::nft::{Ruleset, Translated};
use super::observe::{Observed, Route};
use super::service::Service;
use crate::state::schema::MANAGEMENT_BRIDGE;

/// What the database wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// The node's name.
    pub hostname: String,
    /// Its management network.
    pub management: Management,
    /// A change of it was not confirmed in time.
    #[serde(default)]
    pub revert: bool,
    /// The networks, oldest first.
    #[serde(default)]
    pub networks: Vec<Network>,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: Name,
    /// Its bridge.
    pub bridge: String,
    /// What it is like.
    pub mode: NetworkMode,
    /// To be removed.
    #[serde(default)]
    pub deleting: bool,
}

impl Network {
    /// Whether its bridge is its own.
    pub fn has_bridge(&self) -> bool {
        self.bridge != MANAGEMENT_BRIDGE
    }

    /// The child that serves it, were it up.
    pub fn server(&self, hostname: &str) -> Option<dnsmasq::Server> {
        match self.mode {
            NetworkMode::Nat { subnet } => Some(dnsmasq::Server {
                bridge: self.bridge.clone(),
                subnet,
                gateway: self.mode.gateway()?,
                hostname: hostname.to_owned(),
            }),
            _ => None,
        }
    }
}

/// Why a network can not be brought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// Its own addresses.
    pub subnet: Ipv4Net,
    /// What they overlap with.
    pub with: Ipv4Net,
    /// Whose those are: another network's name, or the management network when absent.
    pub whose: Option<Name>,
}

/// What the machine is to look like.
#[derive(Clone, Debug)]
pub struct Want<'a> {
    /// The link to the management network.
    pub uplink: Uplink<'a>,
    /// The IPv4 settings there.
    pub ipv4: Option<Ipv4>,
    /// Bridges, with their hardware address where it matters.
    pub bridges: BTreeMap<String, Option<Mac>>,
    /// Addresses on bridges.
    pub addresses: BTreeSet<(String, Ipv4Net)>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Kernel settings.
    pub sysctls: BTreeMap<String, &'static str>,
    /// The firewall.
    pub firewall: Ruleset,
    /// The name servers' file.
    pub resolv_conf: String,
    /// Children.
    pub services: Vec<Service>,
    /// Networks that can not be brought up.
    pub overlaps: BTreeMap<NetworkId, Overlap>,
}

/// The kernel setting that lets packets pass from network to network.
pub const FORWARD: &str = "net/ipv4/ip_forward";

/// The kernel setting that switches IPv6 off on a link.
pub fn no_ipv6(link: &str) -> String {
    format!("net/ipv6/conf/{link}/disable_ipv6")
}

/// The kernel setting that has a link listen to IPv6 routers.
pub fn accept_ra(link: &str) -> String {
    format!("net/ipv6/conf/{link}/accept_ra")
}

/// Makes every choice.
pub fn want<'a>(desired: &Desired, observed: &'a Observed) -> Want<'a> {
    let uplink = management::uplink(&desired.management, observed);
    let ipv4 = management::ipv4(&desired.management, observed, uplink);
    let mac = uplink.link().and_then(|link| link.mac);

    let mut bridges = BTreeMap::from([(MANAGEMENT_BRIDGE.to_owned(), mac)]);
    let mut addresses = BTreeSet::new();
    let mut services = Vec::new();
    if let Some(settings) = &ipv4 {
        addresses.insert((MANAGEMENT_BRIDGE.to_owned(), settings.address));
    }
    if let (Addressing::Dhcp, Some(mac)) = (&desired.management.ipv4, mac) {
        services.push(Service::DhcpClient {
            link: MANAGEMENT_BRIDGE.to_owned(),
            mac,
            hostname: desired.hostname.clone(),
        });
    }

    let mut taken = management_subnets(ipv4.as_ref(), observed, uplink);
    let mut overlaps = BTreeMap::new();
    let mut translated = Vec::new();
    for network in desired.networks.iter().filter(|network| !network.deleting) {
        if network.has_bridge() {
            bridges.insert(network.bridge.clone(), None);
        }
        let Some(server) = network.server(&desired.hostname) else {
            continue;
        };
        let subnet = server.subnet;
        let clash = |(net, _): &&(Ipv4Net, Option<Name>)| {
            net.contains(&subnet.network()) || subnet.contains(&net.network())
        };
        if let Some((with, whose)) = taken.iter().find(clash).cloned() {
            let overlap = Overlap {
                subnet,
                with,
                whose,
            };
            overlaps.insert(network.id, overlap);
            continue;
        }
        taken.push((subnet, Some(network.name.clone())));
        // The gateway is a host of the subnet, so its prefix length is in range.
        if let Ok(address) = Ipv4Net::new(server.gateway, subnet.prefix_len()) {
            addresses.insert((network.bridge.clone(), address));
        }
        translated.push(Translated {
            bridge: network.bridge.clone(),
            subnet,
            gateway: server.gateway,
        });
        services.push(Service::Dnsmasq(server));
    }

    Want {
        uplink,
        bridges: bridges.clone(),
        addresses,
        routes: ipv4.iter().flat_map(|s| s.routes.clone()).collect(),
        sysctls: sysctls(&bridges, observed, !translated.is_empty()),
        firewall: Ruleset::new(&translated),
        resolv_conf: management::resolv_conf(ipv4.as_ref()),
        services,
        overlaps,
        ipv4,
    }
}

/// The networks that the management network takes: by its settings, or, as long as it has none, by what others gave it.
fn management_subnets(
    ipv4: Option<&Ipv4>,
    observed: &Observed,
    uplink: Uplink<'_>,
) -> Vec<(Ipv4Net, Option<Name>)> {
    match ipv4 {
        Some(settings) => vec![(settings.address.trunc(), None)],
        None => uplink
            .link()
            .map(|link| link.name.as_str())
            .into_iter()
            .chain([MANAGEMENT_BRIDGE])
            .flat_map(|link| observed.ipv4(link))
            .filter(|(_, address)| !address.ours)
            .map(|(net, _)| (net.trunc(), None))
            .collect(),
    }
}

/// IPv6 is for the management bridge alone: a link without a part to play must not take an address from a stranger's
/// router, a port's address would be its bridge's twice, and a guest has no business with the node's link-local one.
fn sysctls(
    bridges: &BTreeMap<String, Option<Mac>>,
    observed: &Observed,
    forward: bool,
) -> BTreeMap<String, &'static str> {
    let mut sysctls = BTreeMap::new();
    sysctls.insert(FORWARD.to_owned(), if forward { "1" } else { "0" });
    for bridge in bridges.keys() {
        let management = bridge == MANAGEMENT_BRIDGE;
        sysctls.insert(no_ipv6(bridge), if management { "0" } else { "1" });
    }
    sysctls.insert(accept_ra(MANAGEMENT_BRIDGE), "1");
    for link in observed
        .links
        .iter()
        .filter(|l| l.kind == LinkKind::Physical)
    {
        sysctls.insert(no_ipv6(&link.name), "1");
    }
    sysctls
}

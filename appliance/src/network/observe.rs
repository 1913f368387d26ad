//! What there is: links, addresses, routes, the firewall's mark, the children
//! that run, the lease. Plain data, so that a plan can be made and tested from
//! a file; `eyes` fills it from the kernel.

use std::collections::{BTreeMap, BTreeSet};

use ashlar_api::network::LinkKind;
use ashlar_api::vm::Mac;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

use super::dhcp;

/// Everything that was seen in one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observed {
    /// Every link, in the kernel's order.
    pub links: Vec<Link>,
    /// Every address of both families.
    pub addresses: Vec<Address>,
    /// IPv4 routes of the main table that the kernel did not make itself.
    pub routes: Vec<Route>,
    /// Kernel settings that this domain has to do with, by path under `/proc/sys`; absent when the kernel has none.
    pub sysctls: BTreeMap<String, String>,
    /// Content of the name servers' file.
    pub resolv_conf: Option<String>,
    /// Fingerprint of the firewall's rules that are in force, if they are as they were written.
    pub firewall: Option<String>,
    /// Children that run: name and fingerprint of what they were started with.
    pub services: BTreeMap<String, String>,
    /// What the DHCP client said last.
    pub lease: Option<dhcp::Lease>,
    /// The DHCP client has been asking in vain for longer than [`dhcp::PATIENCE`].
    pub overdue: bool,
    /// Hardware address of the uplink that was chosen last, also before the last start of the machine.
    pub remembered: Option<Mac>,
    /// The links had their time to find a carrier since the machine started.
    pub settled: bool,
    /// Addresses of ours that another machine on the network answers for.
    pub conflicts: BTreeSet<Ipv4Addr>,
}

/// A link.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address, if it has one of a single station.
    pub mac: Option<Mac>,
    /// What it is.
    pub kind: LinkKind,
    /// Switched on.
    pub up: bool,
    /// The other end is alive.
    pub carrier: bool,
    /// Largest packet.
    #[serde(default)]
    pub mtu: u32,
    /// The bridge it is a port of.
    #[serde(default)]
    pub master: Option<String>,
    /// Driver of the hardware.
    #[serde(default)]
    pub driver: String,
    /// Mbit/s.
    #[serde(default)]
    pub speed: Option<u32>,
}

/// An address on a link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The link.
    pub link: String,
    /// Address with prefix length.
    pub net: IpNet,
    /// It bears our mark.
    pub ours: bool,
}

/// An IPv4 route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The link it leads over.
    pub link: String,
    /// Where it leads to.
    pub destination: Ipv4Net,
    /// The router; directly when absent.
    pub gateway: Option<Ipv4Addr>,
    /// The address packets leave with.
    pub source: Option<Ipv4Addr>,
    /// Lower wins.
    pub metric: u32,
    /// It bears our mark.
    pub ours: bool,
}

impl Observed {
    /// A link by name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The IPv4 addresses of a link.
    pub fn ipv4(&self, link: &str) -> impl Iterator<Item = (Ipv4Net, &Address)> {
        self.addresses
            .iter()
            .filter(move |address| address.link == link)
            .filter_map(|address| match address.net {
                IpNet::V4(net) => Some((net, address)),
                IpNet::V6(_) => None,
            })
    }

    /// The links that could be the node's way to the world, in the kernel's order.
    pub fn uplinks(&self) -> impl Iterator<Item = &Link> {
        self.links
            .iter()
            .filter(|link| link.kind == LinkKind::Physical)
    }

    /// How many machines' ends are ports of a bridge.
    pub fn taps(&self, bridge: &str) -> usize {
        self.links
            .iter()
            .filter(|link| link.kind == LinkKind::Tap && link.master.as_deref() == Some(bridge))
            .count()
    }
}

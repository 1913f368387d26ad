//! The management network: which link leads to it, and which addresses the node
//! has there. Pure: every choice follows from what is wanted and what is seen.
//!
//! The link is the one named in the node's spec; where none is named, the one
//! that is in the bridge already (a choice is kept as long as the link is
//! there), else the one chosen before the last start, else the first that has a
//! carrier. A named link that is missing is not replaced by another: someone
//! who names a link may have a reason not to want the console on the others.

use std::net::{IpAddr, Ipv4Addr};

use ashlar_api::node::{Addressing, Management};
use ashlar_api::vm::Mac;
use ipnet::{IpNet, Ipv4Net};
use sha2::{Digest, Sha256};

use super::observe::{Link, Observed, Route};
use crate::state::schema::MANAGEMENT_BRIDGE;

/// The number that marks routes and addresses as ours.
pub const PROTOCOL: u8 = 97;
/// The metric of our routes.
pub const METRIC: u32 = 97;

/// What became of the choice of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Uplink<'a> {
    /// This one.
    Chosen(&'a Link),
    /// None yet: no link has a carrier, or the one used before is still given time.
    Waiting,
    /// There is no link to choose from.
    NoLink,
    /// The link that is named is not there.
    Missing,
}

impl<'a> Uplink<'a> {
    /// The link, if one was chosen.
    pub fn link(self) -> Option<&'a Link> {
        match self {
            Uplink::Chosen(link) => Some(link),
            _ => None,
        }
    }
}

/// Chooses the link.
pub fn uplink<'a>(wanted: &Management, observed: &'a Observed) -> Uplink<'a> {
    // A port of something that is not ours is not ours either.
    let mut links = observed
        .uplinks()
        .filter(|link| matches!(link.master.as_deref(), None | Some(MANAGEMENT_BRIDGE)))
        .filter(|link| link.mac.is_some());
    if let Some(named) = &wanted.interface {
        return links
            .find(|link| is_named(link, named))
            .map_or(Uplink::Missing, Uplink::Chosen);
    }
    let links: Vec<&Link> = links.collect();
    if links.is_empty() {
        return Uplink::NoLink;
    }
    if let Some(port) = links.iter().find(|link| link.master.is_some()) {
        return Uplink::Chosen(port);
    }
    let remembered = observed
        .remembered
        .and_then(|mac| links.iter().find(|link| link.mac == Some(mac)));
    match remembered {
        Some(link) if link.carrier => return Uplink::Chosen(link),
        Some(_) if !observed.settled => return Uplink::Waiting,
        _ => {}
    }
    links
        .iter()
        .find(|link| link.carrier)
        .map_or(Uplink::Waiting, |link| Uplink::Chosen(link))
}

fn is_named(link: &Link, named: &str) -> bool {
    link.name == named
        || link
            .mac
            .is_some_and(|mac| mac.to_string().eq_ignore_ascii_case(named))
}

/// Where an address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the node's spec.
    Static,
    /// From a DHCP server.
    Lease,
    /// Made up, because no DHCP server answers (RFC 3927).
    LinkLocal,
}

/// The node's IPv4 settings on the management network.
#[derive(Clone, Debug, PartialEq)]
pub struct Ipv4 {
    /// Where they come from.
    pub origin: Origin,
    /// The address.
    pub address: Ipv4Net,
    /// Routes.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Domains to complete short names with.
    pub search: Vec<String>,
}

/// The IPv4 settings. `None` while a DHCP server is still expected to answer.
pub fn ipv4(wanted: &Management, observed: &Observed, uplink: Uplink<'_>) -> Option<Ipv4> {
    let route = |source: Ipv4Net| {
        move |(destination, gateway): (Ipv4Net, Option<Ipv4Addr>)| Route {
            link: MANAGEMENT_BRIDGE.to_owned(),
            destination,
            gateway,
            source: Some(source.addr()),
            metric: METRIC,
            ours: true,
        }
    };
    // A lease belongs to the hardware address that it was given to.
    let mac = uplink.link().and_then(|link| link.mac);
    let lease = observed
        .lease
        .as_ref()
        .filter(|lease| mac == Some(lease.mac));
    match (&wanted.ipv4, lease) {
        (
            Addressing::Static {
                address: IpNet::V4(address),
                gateway,
                dns,
            },
            _,
        ) => {
            let gateway = match gateway {
                Some(IpAddr::V4(gateway)) => Some(*gateway),
                _ => None,
            };
            let default = gateway.map(|gateway| (Ipv4Net::default(), Some(gateway)));
            Some(Ipv4 {
                origin: Origin::Static,
                address: *address,
                routes: default.into_iter().map(route(*address)).collect(),
                dns: dns.clone(),
                search: Vec::new(),
            })
        }
        // The rules of the spec let no such address in.
        (Addressing::Static { .. }, _) => None,
        (Addressing::Dhcp, Some(lease)) => {
            let mut routes: Vec<(Ipv4Net, Option<Ipv4Addr>)> = match lease.routes.as_slice() {
                [] => lease
                    .routers
                    .first()
                    .map(|router| (Ipv4Net::default(), Some(*router)))
                    .into_iter()
                    .collect(),
                routes => routes
                    .iter()
                    .map(|&(to, via)| (to.trunc(), (!via.is_unspecified()).then_some(via)))
                    .collect(),
            };
            routes.sort_unstable();
            routes.dedup_by_key(|(destination, _)| *destination);
            Some(Ipv4 {
                origin: Origin::Lease,
                address: lease.address,
                routes: routes.into_iter().map(route(lease.address)).collect(),
                dns: lease.dns.iter().copied().map(IpAddr::V4).take(3).collect(),
                search: lease.search.clone(),
            })
        }
        (Addressing::Dhcp, None) if observed.overdue => Some(Ipv4 {
            origin: Origin::LinkLocal,
            address: link_local(mac?),
            routes: Vec::new(),
            dns: Vec::new(),
            search: Vec::new(),
        }),
        (Addressing::Dhcp, None) => None,
    }
}

/// An address of 169.254/16 that follows from the hardware address, without the first and the last 256, which are
/// kept for later use.
pub fn link_local(mac: Mac) -> Ipv4Net {
    let hash = Sha256::digest(mac.0);
    let draw = u32::from(u16::from_be_bytes([hash[0], hash[1]]));
    let offset = 256 + draw % (65536 - 512);
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(169, 254, 0, 0)) + offset);
    Ipv4Net::new_assert(address, 16)
}

/// The file for resolvers.
pub fn resolv_conf(settings: Option<&Ipv4>) -> String {
    let mut text = String::from("# Written by ashlar; changes are overwritten.\n");
    let Some(settings) = settings else {
        return text;
    };
    if !settings.search.is_empty() {
        text.push_str(&format!("search {}\n", settings.search.join(" ")));
    }
    for server in &settings.dns {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

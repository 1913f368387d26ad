//! The plan: what differs between what is wanted and what there is, as steps in
//! the order in which they can be done. Pure and total.
//!
//! What bears our mark and is not wanted goes first. Then links, and the DHCP
//! client, which needs no address and asks while the rest is done. The firewall
//! comes before the first address, so that no door is open for a moment; packets
//! are let through only after it. (The kernel's own IPv6 addresses are of no use
//! for a second after a link is up, RFC 4862 5.4.) A network's record is
//! forgotten in the pass after its bridge and its child have been seen gone,
//! never on hope.
//!
//! Ours are: bridges with our names, IPv4 addresses and routes on them, routes
//! and addresses with our number elsewhere, the children with our names. On
//! `br-mgmt`, addresses of others are left alone until the node has its own:
//! they may be the way by which it is reached while it waits for a lease.

use std::collections::BTreeSet;

use ashlar_api::NetworkId;
use ashlar_api::network::LinkKind;
use ashlar_api::vm::Mac;
use ipnet::Ipv4Net;
use serde::Serialize;

use super::nft::Ruleset;
use super::observe::{Address, Link, Observed, Route};
use super::service::{self, Service};
use super::want::{Desired, FORWARD, Want, accept_ra, no_ipv6, want};
use crate::state::schema::MANAGEMENT_BRIDGE;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Goes back to the node's spec before an unconfirmed change.
    RevertNode,
    /// Ends a child.
    StopService(String),
    /// Forgets what a DHCP server said about a link.
    DropLease(String),
    /// Takes a route away.
    DeleteRoute(Route),
    /// Takes an address away.
    DeleteAddress(Address),
    /// Takes a bridge away.
    DeleteBridge(String),
    /// Puts firewall rules in force.
    ApplyFirewall(Ruleset),
    /// Sets a kernel setting.
    SetSysctl {
        /// Its path under `/proc/sys`.
        key: String,
        /// Its value.
        value: &'static str,
    },
    /// Makes a bridge.
    CreateBridge {
        /// Its name.
        name: String,
        /// Its hardware address; the kernel's choice when absent.
        mac: Option<Mac>,
    },
    /// Gives a bridge a hardware address.
    SetMac {
        /// The bridge.
        link: String,
        /// The address.
        mac: Mac,
    },
    /// Switches a link on.
    SetUp(String),
    /// Takes a link out of the management bridge.
    ReleaseLink(String),
    /// Puts a link into the management bridge.
    EnslaveLink(String),
    /// Gives a link an address.
    AddAddress(Address),
    /// Adds a route.
    AddRoute(Route),
    /// Writes the name servers' file.
    WriteResolvConf(String),
    /// Starts a child.
    StartService(Service),
    /// Keeps the choice of the uplink for the next start of the machine.
    RememberUplink(Mac),
    /// Tells the state that a network is gone.
    ForgetNetwork(NetworkId),
}

/// Whether a bridge of this name is that of a network: `br-` and eight hexadecimal digits.
pub fn is_network_bridge(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|rest| {
        rest.len() == 8 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What is to be done, in order.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let want = want(desired, observed);
    let mut steps = Vec::new();
    if desired.revert {
        steps.push(Step::RevertNode);
    }
    let gone = remove(&want, observed, &mut steps);
    links(&want, observed, &mut steps);
    ports(&want, observed, &mut steps);
    let absent = |service: &&Service| !is_running(service, observed);
    let (asking, serving): (Vec<_>, Vec<_>) = want
        .services
        .iter()
        .filter(absent)
        .partition(|service| asks(service));
    let start = |service: &Service| Step::StartService(service.clone());
    steps.extend(asking.into_iter().map(start));
    if observed.firewall.as_deref() != Some(want.firewall.fingerprint()) {
        steps.push(Step::ApplyFirewall(want.firewall.clone()));
    }
    set(&want, observed, FORWARD.to_owned(), true, &mut steps);
    strangers(&want, observed, &gone, &mut steps);
    addresses(&want, observed, &gone, &mut steps);
    if observed.resolv_conf.as_ref() != Some(&want.resolv_conf) {
        steps.push(Step::WriteResolvConf(want.resolv_conf.clone()));
    }
    steps.extend(serving.into_iter().map(start));
    if let Some(mac) = want.uplink.link().and_then(|link| link.mac)
        && observed.remembered != Some(mac)
    {
        steps.push(Step::RememberUplink(mac));
    }
    for network in desired.networks.iter().filter(|network| network.deleting) {
        let name = network.server("").map(|s| Service::Dnsmasq(s).name());
        let served = name.is_some_and(|name| observed.services.contains_key(&name));
        let bridged = network.has_bridge() && observed.link(&network.bridge).is_some();
        if !served && !bridged {
            steps.push(Step::ForgetNetwork(network.id));
        }
    }
    steps
}

/// Whether a child runs as it is wanted. One whose link has gone hangs on to something that is not there any more.
fn is_running(service: &Service, observed: &Observed) -> bool {
    observed.services.get(&service.name()) == Some(&service.fingerprint())
        && observed.link(service.link()).is_some()
}

fn asks(service: &Service) -> bool {
    matches!(service, Service::DhcpClient { .. })
}

/// What is removed from links that stay, for the steps that add.
struct Gone {
    addresses: BTreeSet<(String, Ipv4Net)>,
}

impl Gone {
    /// Whether a route goes, too: with an address the kernel removes the routes that leave with it.
    fn takes(&self, route: &Route) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|(link, net)| *link == route.link && Some(net.addr()) == route.source)
    }
}

fn remove(want: &Want<'_>, observed: &Observed, steps: &mut Vec<Step>) -> Gone {
    for name in observed.services.keys() {
        let wanted = want
            .services
            .iter()
            .find(|service| service.name() == *name)
            .is_some_and(|service| is_running(service, observed));
        if service::is_ours(name) && !wanted {
            steps.push(Step::StopService(name.clone()));
        }
    }
    if observed.lease.is_some() && !want.services.iter().any(asks) {
        steps.push(Step::DropLease(MANAGEMENT_BRIDGE.to_owned()));
    }

    let uplink = want.uplink.link().map(|link| link.name.as_str());
    let settled = want.ipv4.is_some();
    // A bridge that is removed takes its addresses and routes with it.
    let leaves = |link: &str| is_network_bridge(link) && !want.bridges.contains_key(link);
    let stays = |link: &str| observed.link(link).is_some() && !leaves(link);

    for route in observed.routes.iter().filter(|route| stays(&route.link)) {
        let foreign_at_home = !route.ours && route.link == MANAGEMENT_BRIDGE && settled;
        let unwanted = (route.ours || foreign_at_home) && !want.routes.contains(route);
        // The uplink's own routes are moved, or go with its addresses.
        if unwanted || uplink == Some(route.link.as_str()) {
            steps.push(Step::DeleteRoute(route.clone()));
        }
    }
    let mut gone = Gone {
        addresses: BTreeSet::new(),
    };
    for link in observed.links.iter().filter(|link| stays(&link.name)) {
        for (net, address) in observed.ipv4(&link.name) {
            let managed = is_network_bridge(&link.name)
                || (link.name == MANAGEMENT_BRIDGE && settled)
                || address.ours;
            let key = (link.name.clone(), net);
            if managed && !want.addresses.contains(&key) {
                steps.push(Step::DeleteAddress(address.clone()));
                gone.addresses.insert(key);
            }
        }
    }
    for link in &observed.links {
        if link.kind == LinkKind::Bridge && leaves(&link.name) {
            steps.push(Step::DeleteBridge(link.name.clone()));
        }
    }
    gone
}

/// Sets a kernel setting that is not as it is wanted. One that the kernel does not have is left, unless its link is new.
fn set(want: &Want<'_>, observed: &Observed, key: String, exists: bool, steps: &mut Vec<Step>) {
    let Some(&value) = want.sysctls.get(&key) else {
        return;
    };
    let differs = match observed.sysctls.get(&key) {
        Some(seen) => seen != value,
        None => !exists,
    };
    if differs {
        steps.push(Step::SetSysctl { key, value });
    }
}

fn links(want: &Want<'_>, observed: &Observed, steps: &mut Vec<Step>) {
    let up = |link: &Link, steps: &mut Vec<Step>| {
        if !link.up {
            steps.push(Step::SetUp(link.name.clone()));
        }
    };
    for link in &observed.links {
        match link.kind {
            LinkKind::Loopback => up(link, steps),
            LinkKind::Physical => {
                set(want, observed, no_ipv6(&link.name), true, steps);
                up(link, steps);
            }
            _ => {}
        }
    }
    for (name, &mac) in &want.bridges {
        let seen = observed.link(name);
        match seen {
            None => steps.push(Step::CreateBridge {
                name: name.clone(),
                mac,
            }),
            Some(link) => {
                if let Some(mac) = mac.filter(|_| link.mac != mac) {
                    steps.push(Step::SetMac {
                        link: name.clone(),
                        mac,
                    });
                }
            }
        }
        for key in [no_ipv6(name), accept_ra(name)] {
            set(want, observed, key, seen.is_some(), steps);
        }
        if seen.is_none_or(|link| !link.up) {
            steps.push(Step::SetUp(name.clone()));
        }
    }
}

/// Puts the uplink into the bridge.
fn ports(want: &Want<'_>, observed: &Observed, steps: &mut Vec<Step>) {
    let Some(uplink) = want.uplink.link() else {
        release(None, observed, steps);
        return;
    };
    release(Some(&uplink.name), observed, steps);
    if uplink.master.as_deref() != Some(MANAGEMENT_BRIDGE) {
        steps.push(Step::EnslaveLink(uplink.name.clone()));
    }
}

/// Gives the bridge what others gave the uplink: the bridge answers from now on.
fn strangers(want: &Want<'_>, observed: &Observed, gone: &Gone, steps: &mut Vec<Step>) {
    let Some(uplink) = want.uplink.link() else {
        return;
    };
    // One of ours from before, that goes in this pass, is no reason not to move the same one.
    let removed = |net: Ipv4Net| {
        let key = (MANAGEMENT_BRIDGE.to_owned(), net);
        gone.addresses.contains(&key)
    };
    let on_bridge: Vec<Ipv4Net> = observed
        .ipv4(MANAGEMENT_BRIDGE)
        .map(|(net, _)| net)
        .filter(|net| !removed(*net))
        .collect();
    for (net, address) in observed.ipv4(&uplink.name) {
        if want.ipv4.is_none() && !address.ours && !on_bridge.contains(&net) {
            steps.push(Step::AddAddress(Address {
                link: MANAGEMENT_BRIDGE.to_owned(),
                ..address.clone()
            }));
        }
        if !address.ours {
            steps.push(Step::DeleteAddress(address.clone()));
        }
    }
    for route in observed.routes.iter().filter(|r| r.link == uplink.name) {
        let moved = Route {
            link: MANAGEMENT_BRIDGE.to_owned(),
            ..route.clone()
        };
        let leaves_with = |source| {
            let strangers = |link| observed.ipv4(link).filter(|(_, address)| !address.ours);
            strangers(&uplink.name)
                .chain(strangers(MANAGEMENT_BRIDGE))
                .any(|(net, _)| net.addr() == source)
        };
        let movable = !route.ours && route.source.is_none_or(leaves_with);
        let stays = observed.routes.contains(&moved) && !gone.takes(&moved);
        if want.ipv4.is_none() && movable && !stays {
            steps.push(Step::AddRoute(moved));
        }
    }
}

fn release(keep: Option<&str>, observed: &Observed, steps: &mut Vec<Step>) {
    for link in observed.uplinks() {
        let inside = link.master.as_deref() == Some(MANAGEMENT_BRIDGE);
        if inside && keep != Some(link.name.as_str()) {
            steps.push(Step::ReleaseLink(link.name.clone()));
        }
    }
}

fn addresses(want: &Want<'_>, observed: &Observed, gone: &Gone, steps: &mut Vec<Step>) {
    for (link, net) in &want.addresses {
        if !observed.ipv4(link).any(|(seen, _)| seen == *net) {
            steps.push(Step::AddAddress(Address {
                link: link.clone(),
                net: (*net).into(),
                ours: true,
            }));
        }
    }
    for route in &want.routes {
        if gone.takes(route) || !observed.routes.contains(route) {
            steps.push(Step::AddRoute(route.clone()));
        }
    }
}

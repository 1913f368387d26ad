//! What is told of the network: links, networks, leases, and what is wrong, as
//! stories with a remedy. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::job::{Kind, Subject};
use ashlar_api::network::{Lease, Link as ApiLink, LinkKind, NetworkMode, NetworkStatus};
use ashlar_api::node::Addressing;
use ashlar_api::{Condition, NetworkId, Timestamp};
use ipnet::IpNet;

use super::management::{Origin, Uplink};
use super::observe::{Link, Observed};
use super::service::Service;
use super::want::{Desired, Network, Overlap, Want};
use crate::reconcile::Pass;
use crate::state::schema::MANAGEMENT_BRIDGE;

/// What is seen of the network of this node.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Its interfaces.
    pub links: Vec<ApiLink>,
    /// The networks for machines.
    pub networks: BTreeMap<NetworkId, NetworkStatus>,
    /// Addresses of the management network, those that users can use first.
    pub addresses: Vec<IpAddr>,
    /// Time servers that DHCP names.
    pub time_servers: Vec<IpAddr>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// The interfaces.
pub fn links(observed: &Observed) -> Vec<ApiLink> {
    observed
        .links
        .iter()
        .map(|link| ApiLink {
            name: link.name.clone(),
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            kind: link.kind,
            up: link.up,
            carrier: link.carrier,
            speed: link.speed,
            driver: link.driver.clone(),
            mtu: link.mtu,
            bridge: link.master.clone(),
            addresses: observed
                .addresses
                .iter()
                .filter(|address| address.link == link.name)
                .map(|address| address.net.to_string())
                .collect(),
            management: link.name == MANAGEMENT_BRIDGE || is_port(link),
        })
        .collect()
}

fn is_port(link: &Link) -> bool {
    link.kind == LinkKind::Physical && link.master.as_deref() == Some(MANAGEMENT_BRIDGE)
}

/// The addresses at which the node is reached: IPv4 before IPv6, those that only work on the link last; IPv6 addresses
/// that need the name of a link are of no use in a URL.
pub fn addresses(observed: &Observed) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = observed
        .addresses
        .iter()
        .filter(|address| address.link == MANAGEMENT_BRIDGE)
        .map(|address| address.net.addr())
        .filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect();
    addresses.sort_by_key(|ip| match ip {
        IpAddr::V4(ip) if ip.is_link_local() => (2, IpAddr::V4(*ip)),
        IpAddr::V4(ip) => (0, IpAddr::V4(*ip)),
        IpAddr::V6(ip) => (1, IpAddr::V6(*ip)),
    });
    addresses.dedup();
    addresses
}

/// Time servers that DHCP names, in its order.
pub fn time_servers(observed: &Observed) -> Vec<IpAddr> {
    let lease = observed.lease.as_ref();
    lease
        .into_iter()
        .flat_map(|lease| lease.ntp.iter().copied().map(IpAddr::V4))
        .collect()
}

/// What is seen of a network.
pub fn network(
    network: &Network,
    desired: &Desired,
    observed: &Observed,
    want: &Want<'_>,
    leases: Vec<Lease>,
) -> NetworkStatus {
    NetworkStatus {
        condition: condition(network, desired, observed, want),
        bridge: network.bridge.clone(),
        gateway: network.mode.gateway(),
        leases,
        interfaces: observed.taps(&network.bridge),
    }
}

fn condition(
    network: &Network,
    desired: &Desired,
    observed: &Observed,
    want: &Want<'_>,
) -> Condition {
    let not = |message: String, remedy: &str| Condition {
        ready: false,
        message,
        remedy: remedy.to_owned(),
    };
    if network.deleting {
        return not("It is being removed.".to_owned(), "");
    }
    if let Some(overlap) = want.overlaps.get(&network.id) {
        return not(overlap_text(overlap), OVERLAP_REMEDY);
    }
    if !observed.link(&network.bridge).is_some_and(|link| link.up) {
        return not(format!("Its bridge {} is not up.", network.bridge), WAIT);
    }
    match network.mode {
        NetworkMode::Isolated {} => {}
        NetworkMode::Bridged {} => {
            if !observed
                .links
                .iter()
                .any(|link| is_port(link) && link.carrier)
            {
                return not(
                    "The management network has no connection.".to_owned(),
                    "Connect the node's network cable.",
                );
            }
        }
        NetworkMode::Nat { subnet } => {
            let gateway = network.mode.gateway();
            let has_address = observed
                .ipv4(&network.bridge)
                .any(|(net, _)| Some(net.addr()) == gateway);
            if !has_address {
                return not(format!("The node has no address in {subnet} yet."), WAIT);
            }
            let server = network.server(&desired.hostname).map(Service::Dnsmasq);
            let serves = server.is_some_and(|server| {
                observed.services.get(&server.name()) == Some(&server.fingerprint())
            });
            if !serves {
                return not(
                    "Its DHCP and DNS server does not run.".to_owned(),
                    "It is started again by itself. If this stays, see its log under Settings, Services.",
                );
            }
            if observed.firewall.as_deref() != Some(want.firewall.fingerprint()) {
                return not("Its firewall rules are not in force.".to_owned(), WAIT);
            }
        }
    }
    Condition {
        ready: true,
        ..Condition::default()
    }
}

const WAIT: &str = "It is tried again by itself.";
const OVERLAP_REMEDY: &str =
    "Give the network other addresses: ones that are not used in your site, such as 10.77.0.0/24.";

fn overlap_text(overlap: &Overlap) -> String {
    let Overlap {
        subnet,
        with,
        whose,
    } = overlap;
    let whose = match whose {
        Some(name) => format!("the network {name}"),
        None => "the management network".to_owned(),
    };
    format!("Its addresses {subnet} overlap with those of {whose}, {with}.")
}

/// Something that is wrong, not yet with the time since when.
#[derive(Clone, Debug, PartialEq)]
pub struct Story {
    code: &'static str,
    severity: Severity,
    title: String,
    detail: String,
    remedy: String,
    subject: Option<Subject>,
}

/// Which stories are the same one: code and subject.
pub type Key = (&'static str, String);

impl Story {
    /// What makes it the same story as before.
    pub fn key(&self) -> Key {
        let subject = self.subject.as_ref().map(|subject| subject.id.clone());
        (self.code, subject.unwrap_or_default())
    }

    /// The fault.
    pub fn since(self, since: Timestamp) -> Fault {
        Fault {
            code: self.code.to_owned(),
            severity: self.severity,
            title: self.title,
            detail: self.detail,
            remedy: self.remedy,
            subject: self.subject,
            since,
        }
    }
}

fn link_subject(name: &str) -> Option<Subject> {
    Some(Subject {
        kind: Kind::Link,
        id: name.to_owned(),
        name: name.to_owned(),
    })
}

/// What is wrong.
pub fn stories(
    desired: &Desired,
    observed: &Observed,
    want: &Want<'_>,
    failures: &[String],
) -> Vec<Story> {
    let mut stories = Vec::new();
    stories.extend(uplink_story(desired, observed, want));
    stories.extend(address_story(desired, observed, want));
    for ip in &observed.conflicts {
        stories.push(Story {
            code: "address-conflict",
            severity: Severity::Critical,
            title: format!("Another machine on the network has the address {ip}, too."),
            detail: "Connections to the node may reach the other machine or break.".to_owned(),
            remedy: "Give this node, or the other machine, another address.".to_owned(),
            subject: link_subject(MANAGEMENT_BRIDGE),
        });
    }
    for network in &desired.networks {
        if let Some(overlap) = want.overlaps.get(&network.id) {
            stories.push(Story {
                code: "network-overlap",
                severity: Severity::Warning,
                title: format!("The network {} can not be brought up.", network.name),
                detail: overlap_text(overlap),
                remedy: OVERLAP_REMEDY.to_owned(),
                subject: Some(Subject {
                    kind: Kind::Network,
                    id: network.id.to_string(),
                    name: network.name.to_string(),
                }),
            });
        }
    }
    if !failures.is_empty() {
        stories.push(Story {
            code: "network-not-applied",
            severity: Severity::Warning,
            title: "Some network settings could not be applied.".to_owned(),
            detail: failures.join("\n"),
            remedy: "It is tried again by itself. If this stays, restart the node; if it comes back, report it with \
                     this text."
                .to_owned(),
            subject: None,
        });
    }
    stories
}

fn uplink_story(desired: &Desired, observed: &Observed, want: &Want<'_>) -> Option<Story> {
    let critical = |code, title: String, detail: &str, remedy: &str| {
        Some(Story {
            code,
            severity: Severity::Critical,
            title,
            detail: detail.to_owned(),
            remedy: remedy.to_owned(),
            subject: link_subject(MANAGEMENT_BRIDGE),
        })
    };
    match want.uplink {
        Uplink::NoLink => critical(
            "no-interface",
            "The node has no network interface.".to_owned(),
            "No network hardware was found, or none that has a driver.",
            "Put in a network card, or in a virtual machine add a virtio network interface. It is used as soon as it \
             appears.",
        ),
        Uplink::Missing => {
            let named = desired.management.interface.as_deref().unwrap_or_default();
            let others: Vec<&str> = observed.uplinks().map(|link| link.name.as_str()).collect();
            let there = match others.as_slice() {
                [] => "There is no other.".to_owned(),
                others => format!("There are: {}.", others.join(", ")),
            };
            critical(
                "management-interface-missing",
                format!("The management interface {named} is missing."),
                &there,
                "Put it back, or choose another one on the local screen.",
            )
        }
        Uplink::Waiting if observed.settled => critical(
            "no-carrier",
            "No network cable is connected.".to_owned(),
            "None of the network interfaces has a live other end.",
            "Connect a cable and see that the switch is on. The first interface that comes alive is used.",
        ),
        Uplink::Waiting => None,
        Uplink::Chosen(link) if !link.carrier => critical(
            "no-carrier",
            format!("The management interface {} has no connection.", link.name),
            "There is no live other end on its cable.",
            "Check the cable and the switch, or choose another interface on the local screen.",
        ),
        Uplink::Chosen(_) => None,
    }
}

fn address_story(desired: &Desired, observed: &Observed, want: &Want<'_>) -> Option<Story> {
    let link = want.uplink.link().filter(|link| link.carrier)?;
    let asks = desired.management.ipv4 == Addressing::Dhcp;
    if !asks || !observed.overdue || observed.lease.is_some() {
        return None;
    }
    let meanwhile = match &want.ipv4 {
        Some(settings) if settings.origin == Origin::LinkLocal => format!(
            "Meanwhile the node can be reached at {} from a machine on the same cable or switch.",
            settings.address.addr()
        ),
        _ => String::new(),
    };
    let ipv6 = observed
        .addresses
        .iter()
        .filter(|address| address.link == MANAGEMENT_BRIDGE)
        .any(
            |address| matches!(address.net, IpNet::V6(net) if !net.addr().is_unicast_link_local()),
        );
    Some(Story {
        code: "no-dhcp",
        severity: match ipv6 {
            true => Severity::Warning,
            false => Severity::Critical,
        },
        title: format!("No DHCP server answers on {}.", link.name),
        detail: format!("The node has no IPv4 address from the network. It keeps asking. {meanwhile}")
            .trim_end()
            .to_owned(),
        remedy: "Give the node a fixed address on the local screen, or see that a DHCP server is on this network and \
                 that the cable is in the right port."
            .to_owned(),
        subject: link_subject(&link.name),
    })
}

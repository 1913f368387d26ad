//! Networks for virtual machines, and the interfaces of a node.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings, is_text};
use crate::{Condition, Name, NetworkId};

/// What is wanted of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkSpec {
    /// Its name.
    pub name: Name,
    /// What it is for, in free text.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: String,
    /// How machines on it reach the world.
    pub mode: NetworkMode,
}

/// How machines on a network reach the world.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum NetworkMode {
    /// Machines are on the same network as the node's management interface.
    Bridged {},
    /// Machines are behind the node: it gives addresses and names and translates outward.
    Nat {
        /// The network's addresses; the node takes the first one.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        subnet: Ipv4Net,
    },
    /// Machines reach one another and nothing else.
    Isolated {},
}

impl NetworkMode {
    /// The node's own address on a translated network: the first of the subnet.
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        match self {
            NetworkMode::Nat { subnet } => subnet.hosts().next(),
            NetworkMode::Bridged {} | NetworkMode::Isolated {} => None,
        }
    }
}

impl Check for NetworkSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.description, 1000),
            "description",
            "at most 1000 characters, no control characters",
        );
        if let NetworkMode::Nat { subnet } = &self.mode {
            f.require(
                (16..=29).contains(&subnet.prefix_len()),
                "mode.subnet",
                "a prefix length of 16 to 29, such as `10.77.0.0/24`",
            );
            f.require(
                subnet.addr() == subnet.network(),
                "mode.subnet",
                format!(
                    "the address of a network; did you mean `{}`?",
                    subnet.trunc()
                ),
            );
            f.require(
                subnet.network().is_private(),
                "mode.subnet",
                "a private network (10/8, 172.16/12 or 192.168/16)",
            );
        }
    }
}

/// An address that a machine got from the network's DHCP server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lease {
    /// Hardware address of the machine's interface.
    pub mac: String,
    /// The address it got.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub address: IpAddr,
    /// The name it gave; empty when none.
    pub hostname: String,
}

/// What is seen of a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NetworkStatus {
    /// How it is.
    pub condition: Condition,
    /// Name of its bridge on the node.
    pub bridge: String,
    /// The node's address on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub gateway: Option<Ipv4Addr>,
    /// Addresses given out.
    #[serde(default)]
    pub leases: Vec<Lease>,
    /// How many machines' interfaces are on it.
    pub interfaces: usize,
}

object!(
    /// A network for virtual machines.
    Network, NetworkId, NetworkSpec, NetworkStatus
);

/// A network interface of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Link {
    /// Its name, such as `enp1s0`.
    pub name: String,
    /// Hardware address.
    pub mac: String,
    /// What it is.
    pub kind: LinkKind,
    /// True if switched on.
    pub up: bool,
    /// True if a cable with a live other end is plugged in.
    pub carrier: bool,
    /// Speed in Mbit/s, where it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<u32>,
    /// Driver of the hardware.
    #[serde(default)]
    pub driver: String,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// The bridge it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Its addresses with prefix lengths.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// True if the management network uses it.
    pub management: bool,
}

/// What an interface is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LinkKind {
    /// Hardware (or what a hypervisor shows as such).
    Physical,
    /// A bridge.
    Bridge,
    /// A virtual machine's end.
    Tap,
    /// The loopback.
    Loopback,
    /// Something else.
    Other,
}

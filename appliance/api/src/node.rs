//! A node: one machine of the site, its own network settings and what it is
//! made of.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::event::Severity;
use crate::validate::{Check, Findings, is_host_name};
use crate::{BootId, Bytes, Name, NodeId, Timestamp};

/// What is wanted of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeSpec {
    /// Its host name.
    pub name: Name,
    /// How it is reached.
    pub management: Management,
}

/// The management network: how the console and the API are reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Management {
    /// The interface (by name or MAC address); the first that has a carrier, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where its IPv4 address comes from.
    #[serde(default)]
    pub ipv4: Addressing,
}

/// Where an address comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Addressing {
    /// From a DHCP server.
    #[default]
    Dhcp,
    /// As given here.
    Static {
        /// Address with prefix length, such as `192.0.2.10/24`.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        address: IpNet,
        /// The router; none, when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
        gateway: Option<IpAddr>,
        /// Name servers.
        #[serde(default)]
        #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
        dns: Vec<IpAddr>,
    },
}

/// What a node keeps of its memory from machines: 128 MiB, or 1/64 where that is more.
pub fn memory_reserve(total: Bytes) -> Bytes {
    Bytes::mib(128).max(Bytes(total.0 / 64))
}

impl Check for NodeSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_host_name(self.name.as_str()),
            "name",
            "a host name: letters, digits and hyphens",
        );
        f.within("management", &self.management);
    }
}

impl Check for Management {
    fn check_into(&self, f: &mut Findings) {
        if let Some(interface) = &self.interface {
            let ok = (1..=17).contains(&interface.len())
                && interface
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
            f.require(
                ok,
                "interface",
                "the name or MAC address of an interface, such as `enp1s0`",
            );
        }
        if let Addressing::Static {
            address,
            gateway,
            dns,
        } = &self.ipv4
        {
            let v4 = matches!(address, IpNet::V4(_));
            f.require(
                v4,
                "ipv4.address",
                "an IPv4 address with prefix length, such as `192.0.2.10/24`",
            );
            let host = address.prefix_len() >= 31
                || (address.addr() != address.network() && address.addr() != address.broadcast());
            f.require(
                host,
                "ipv4.address",
                "the address of a host, not of the network or its broadcast",
            );
            let usable = !address.addr().is_loopback()
                && !address.addr().is_multicast()
                && !address.addr().is_unspecified();
            f.require(
                usable,
                "ipv4.address",
                "an ordinary address (not loopback, multicast or zero)",
            );
            f.require(
                (8..=32).contains(&address.prefix_len()),
                "ipv4.address",
                "a prefix length of 8 to 32",
            );
            if let Some(gateway) = gateway {
                f.require(
                    address.contains(gateway) && *gateway != address.addr(),
                    "ipv4.gateway",
                    format!("another address inside {}", address.trunc()),
                );
            }
            f.require(dns.len() <= 3, "ipv4.dns", "at most 3 name servers");
        }
    }
}

/// What is seen of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeStatus {
    /// Version of the appliance.
    pub version: String,
    /// Version of the Linux kernel.
    pub kernel: String,
    /// This start of the node.
    pub boot_id: BootId,
    /// When it was started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub booted_at: Timestamp,
    /// Maker and model, as the firmware says.
    pub model: String,
    /// Model of the processor.
    pub cpu_model: String,
    /// Logical processors.
    pub cpus: u32,
    /// True if KVM can be used.
    pub virtualisation: bool,
    /// Memory that the kernel has.
    pub memory: Bytes,
    /// Memory that the appliance itself needs (init, supervisor, root image).
    pub memory_system: Bytes,
    /// Memory promised to machines that run.
    pub memory_vms: Bytes,
    /// Virtual processors promised to machines that run.
    pub vcpus: u32,
    /// Addresses of the management network.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// The newest load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<crate::metrics::Sample>,
    /// The worst fault of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// A change of the management network waits to be confirmed until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub confirm_until: Option<Timestamp>,
}

/// The newest lines of a node's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Log {
    /// The lines, oldest first.
    pub lines: Vec<String>,
}

/// Asks a node to restart or to power off. Machines on it are asked to end first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NodeEnd {
    /// The node's name once more, so that nobody ends the wrong one.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 63))]
    pub confirm: String,
}

impl Check for NodeEnd {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (1..=63).contains(&self.confirm.len()),
            "confirm",
            "the node's name once more",
        );
    }
}

object!(
    /// A node.
    Node, NodeId, NodeSpec, NodeStatus
);

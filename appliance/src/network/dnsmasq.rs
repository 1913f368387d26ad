//! Addresses and names for the machines of a translated network: one `dnsmasq`
//! a network, so that networks know nothing of one another and a fault in one
//! stays in it.
//!
//! It listens on its bridge alone (`bind-dynamic`: an address that comes back
//! is served again without a restart) and drops its rights after it has opened
//! its sockets and its leases file. Machines that gave a name find one another
//! by it, under `internal`, the top-level domain kept free for such use.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ashlar_api::network::Lease;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The domain of the machines' names.
pub const DOMAIN: &str = "internal";

/// What a server is to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The bridge it listens on.
    pub bridge: String,
    /// The addresses of the network.
    pub subnet: Ipv4Net,
    /// The node's own address on it.
    pub gateway: Ipv4Addr,
    /// The node's name, by which machines find it.
    pub hostname: String,
}

impl Server {
    /// The first and the last address that machines can get: all but the node's.
    pub fn range(&self) -> (Ipv4Addr, Ipv4Addr) {
        let first = u32::from(self.gateway).saturating_add(1);
        let last = u32::from(self.subnet.broadcast()).saturating_sub(1);
        (first.min(last).into(), last.into())
    }

    /// Its configuration file. `leases` is where it writes who has which address.
    pub fn configuration(&self, resolv_conf: &Path, leases: &Path) -> String {
        let (first, last) = self.range();
        let most = u32::from(last) - u32::from(first) + 1;
        let Server {
            bridge,
            subnet,
            gateway,
            hostname,
        } = self;
        let mut text = String::new();
        // Writing to a string can not fail.
        let _ = write!(
            text,
            "interface={bridge}\n\
             bind-dynamic\n\
             except-interface=lo\n\
             user=dnsmasq\n\
             pid-file=\n\
             log-facility=-\n\
             no-hosts\n\
             resolv-file={}\n\
             domain-needed\n\
             bogus-priv\n\
             cache-size=1000\n\
             domain={DOMAIN},{subnet}\n\
             local=/{DOMAIN}/\n\
             host-record={hostname},{hostname}.{DOMAIN},{gateway}\n\
             dhcp-authoritative\n\
             dhcp-range={first},{last},{},12h\n\
             dhcp-option=option:router,{gateway}\n\
             dhcp-option=option:dns-server,{gateway}\n\
             dhcp-lease-max={most}\n\
             dhcp-leasefile={}\n\
             quiet-dhcp\n",
            resolv_conf.display(),
            subnet.netmask(),
            leases.display(),
        );
        text
    }
}

/// The leases in a leases file, by address. Lines that are no IPv4 lease are passed over.
///
/// A line is: end (seconds since 1970), hardware address, address, name or `*`, client id.
pub fn leases(text: &str) -> Vec<Lease> {
    let mut leases: Vec<Lease> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let _end: u64 = words.next()?.parse().ok()?;
            let mac = words.next()?;
            let address: Ipv4Addr = words.next()?.parse().ok()?;
            let hostname = words.next()?;
            Some(Lease {
                // A type of hardware other than Ethernet is put before the address.
                mac: mac.rsplit('-').next().unwrap_or(mac).to_owned(),
                address: IpAddr::V4(address),
                hostname: match hostname {
                    "*" => String::new(),
                    name => name.to_owned(),
                },
            })
        })
        .collect();
    leases.sort_by_key(|lease| lease.address);
    leases
}

//! What the local screen tells, gathered from what the parts have seen.

use std::net::IpAddr;
use std::path::Path;

use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::metrics::Sample;
use ashlar_api::network::{Link, LinkKind};
use ashlar_api::node::Addressing;
use ashlar_api::pool::{Drive, DriveUsage, PoolStatus};
use ashlar_api::vm::{VmPhase, VmStatus};
use ashlar_api::{Bytes, Timestamp};

use crate::screen::{DriveLine, Facts, LinkLine};
use crate::sys::{fs, proc};

/// Where a browser finds the console, the best address first: IPv4 before IPv6, and no link-local IPv6,
/// which needs an interface name that browsers do not take.
pub fn urls(addresses: &[IpAddr]) -> Vec<String> {
    let mut sorted: Vec<&IpAddr> = addresses
        .iter()
        .filter(|address| match address {
            IpAddr::V4(v4) => !v4.is_loopback(),
            IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        })
        .collect();
    sorted.sort_by_key(|address| (address.is_ipv6(), is_link_local(address)));
    sorted
        .into_iter()
        .map(|address| match address {
            IpAddr::V4(v4) => format!("https://{v4}"),
            IpAddr::V6(v6) => format!("https://[{v6}]"),
        })
        .collect()
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if v4.is_link_local())
}

/// Processor, as one line.
pub fn processor(load: Option<&Sample>, cores: usize) -> String {
    let cores = if cores == 1 {
        "1 core".to_owned()
    } else {
        format!("{cores} cores")
    };
    match load {
        Some(load) => format!("{:.0} % of {cores}", load.cpu * 100.0),
        None => cores,
    }
}

/// Memory, as one line.
pub fn memory(used: Bytes, total: Bytes) -> String {
    format!("{used} of {total}")
}

/// Storage, as one line.
pub fn storage<'a>(pools: impl Iterator<Item = &'a PoolStatus>) -> String {
    let (mut count, mut used, mut size) = (0, 0, 0);
    for pool in pools {
        count += 1;
        used += pool.used.0;
        size += pool.size.0;
    }
    match count {
        0 => "not set up".to_owned(),
        _ => format!("{} of {} used", Bytes(used), Bytes(size)),
    }
}

/// Network, as one line.
pub fn network(links: &[Link], addressing: &Addressing) -> String {
    let Some(link) = links
        .iter()
        .find(|link| link.management && link.kind == LinkKind::Physical)
    else {
        return "no network interface".to_owned();
    };
    if !link.carrier {
        return format!("{}: no cable", link.name);
    }
    let address = links
        .iter()
        .find(|bridge| Some(&bridge.name) == link.bridge.as_ref())
        .and_then(|bridge| {
            bridge
                .addresses
                .iter()
                .find(|address| address.contains('.'))
        });
    let how = if *addressing == Addressing::Dhcp {
        "DHCP"
    } else {
        "static"
    };
    match address {
        Some(address) => format!("{} {address} ({how})", link.name),
        None if *addressing == Addressing::Dhcp => {
            format!("{}: waiting for a DHCP server", link.name)
        }
        None => format!("{}: no address yet", link.name),
    }
}

/// Virtual machines, as one line.
pub fn machines<'a>(vms: impl Iterator<Item = &'a VmStatus>) -> String {
    let (mut all, mut running) = (0, 0);
    for vm in vms {
        all += 1;
        running += usize::from(matches!(vm.phase, VmPhase::Running | VmPhase::Paused));
    }
    match all {
        0 => "none".to_owned(),
        _ => format!("{running} of {all} running"),
    }
}

/// Interfaces, a line each.
pub fn links(links: &[Link]) -> Vec<LinkLine> {
    let hardware = links.iter().filter(|link| link.kind == LinkKind::Physical);
    hardware
        .map(|link| {
            let mut state = if link.carrier {
                "connected".to_owned()
            } else {
                "no cable".to_owned()
            };
            if let Some(speed) = link.speed {
                state.push_str(&format!(", {speed} Mbit/s"));
            }
            if link.management {
                state.push_str(", management");
            }
            LinkLine {
                name: link.name.clone(),
                mac: link.mac.clone(),
                state,
            }
        })
        .collect()
}

/// Drives, a line each.
pub fn drives(drives: &[Drive]) -> Vec<DriveLine> {
    drives
        .iter()
        .map(|drive| {
            let usage = match &drive.usage {
                DriveUsage::Free => "free".to_owned(),
                DriveUsage::System => "the system".to_owned(),
                DriveUsage::Pool { .. } => "in a pool".to_owned(),
                DriveUsage::Foreign => format!("holds {}", drive.content),
                DriveUsage::ForeignPool { volume_group } => {
                    format!("pool {volume_group} of another appliance")
                }
                DriveUsage::Unusable { reason } => reason.clone(),
            };
            DriveLine {
                name: drive.name.clone(),
                model: format!("{} {}", drive.size, drive.model).trim().to_owned(),
                usage,
            }
        })
        .collect()
}

/// What the screen tells while the state can not be opened; `aside` is the file without which it could.
pub fn stateless(name: &str, what: &str, remedy: &str, aside: Option<&Path>) -> Facts {
    let aside = aside
        .and_then(Path::file_name)
        .map(|file| file.to_string_lossy().into_owned());
    let how = aside.as_ref().map(|file| {
        format!(
            " To set it aside, press F8 on this screen (on a serial line Enter first) and type {file}."
        )
    });
    let fault = Fault {
        code: "state-unusable".to_owned(),
        severity: Severity::Critical,
        title: "The configuration of this node can not be opened".to_owned(),
        detail: format!("{what}.\nNothing was changed; virtual machines that run go on."),
        remedy: format!("{remedy}{}", how.unwrap_or_default()),
        subject: None,
        since: Timestamp::now(),
    };
    Facts {
        version: crate::sys::release::version().to_owned(),
        node: name.to_owned(),
        processor: processor(None, proc::processors()),
        faults: vec![fault],
        log: log(20),
        stateless: true,
        aside,
        ..Facts::default()
    }
}

/// The newest lines of the supervisor's log.
pub fn log(lines: usize) -> Vec<String> {
    fs::tail(Path::new(super::LOG), lines).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_to_type_comes_first() {
        let addresses: Vec<IpAddr> = [
            "2001:db8::7",
            "fe80::1",
            "169.254.3.4",
            "192.0.2.7",
            "127.0.0.1",
        ]
        .iter()
        .filter_map(|a| a.parse().ok())
        .collect();
        assert_eq!(
            urls(&addresses),
            [
                "https://192.0.2.7",
                "https://169.254.3.4",
                "https://[2001:db8::7]"
            ]
        );
    }

    #[test]
    fn without_state_the_way_on_is_told() {
        let file = Path::new("/var/lib/ashlar/raft.db");
        let facts = stateless("node-1", "it is damaged", "Set raft.db aside.", Some(file));
        assert_eq!(facts.aside.as_deref(), Some("raft.db"));
        assert_eq!(facts.health(), "needs help");
        let remedy = &facts.faults[0].remedy;
        assert!(
            remedy.starts_with("Set raft.db aside. To set it aside, press F8"),
            "{remedy}"
        );
        let facts = stateless("node-1", "it is newer", "Start version 2.", None);
        assert_eq!(facts.faults[0].remedy, "Start version 2.");
    }

    #[test]
    fn nothing_set_up_is_said_so() {
        assert_eq!(storage([].iter()), "not set up");
        assert_eq!(machines([].iter()), "none");
        assert_eq!(network(&[], &Addressing::Dhcp), "no network interface");
    }
}

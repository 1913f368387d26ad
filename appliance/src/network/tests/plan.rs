//! The plan: fixtures in `testdata/<case>/{desired,observed,plan}.json` (set
//! `ASHLAR_BLESS=1` to write the plans anew), and what must hold for any.

use std::collections::BTreeMap;
use std::path::Path;

use ashlar_api::NetworkId;
use ashlar_api::network::{LinkKind, NetworkMode};
use ashlar_api::node::{Addressing, Management};
use ashlar_api::vm::Mac;
use proptest::prelude::*;
use serde_json::Value;

use super::model;
use crate::network::dhcp::Lease;
use crate::network::observe::{Address, Link, Observed, Route};
use crate::network::plan::{Step, is_network_bridge, plan};
use crate::network::service::Service;
use crate::network::want::{Desired, FORWARD, Network, accept_ra, no_ipv6, want};
use crate::state::schema::MANAGEMENT_BRIDGE;

#[test]
fn plans_are_as_recorded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/network/testdata");
    let mut cases = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let case = case.unwrap().path();
        let read = |name: &str| std::fs::read_to_string(case.join(name)).unwrap_or_default();
        if !case.join("desired.json").exists() {
            continue;
        }
        let mut desired: Desired = serde_json::from_str(&read("desired.json")).unwrap();
        let mut observed: Observed = serde_json::from_str(&read("observed.json")).unwrap();
        let steps = plan(&desired, &observed);
        let made = serde_json::to_value(&steps).unwrap();
        if std::env::var_os("ASHLAR_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&made).unwrap();
            std::fs::write(case.join("plan.json"), text + "\n").unwrap();
        }
        let recorded: Value = serde_json::from_str(&read("plan.json")).unwrap_or(Value::Null);
        assert_eq!(made, recorded, "{}", case.display());
        converges(&mut desired, &mut observed);
        cases += 1;
    }
    assert!(cases >= 15, "{cases} cases");
}

/// One pass does all, but for what must be seen to be gone first.
fn converges(desired: &mut Desired, machine: &mut Observed) {
    for step in plan(desired, machine) {
        model::apply(step, desired, machine);
    }
    for step in plan(desired, machine) {
        assert!(matches!(step, Step::ForgetNetwork(_)), "{step:?}");
        model::apply(step, desired, machine);
    }
    assert_eq!(plan(desired, machine), []);
}

const BRIDGES: [&str; 3] = ["br-1a2b3c4d", "br-5e6f7a8b", "br-00c0ffee"];
const LINKS: [(&str, LinkKind); 9] = [
    ("lo", LinkKind::Loopback),
    ("enp1s0", LinkKind::Physical),
    ("enp2s0", LinkKind::Physical),
    (MANAGEMENT_BRIDGE, LinkKind::Bridge),
    (BRIDGES[0], LinkKind::Bridge),
    (BRIDGES[1], LinkKind::Bridge),
    (BRIDGES[2], LinkKind::Bridge),
    ("br-lan", LinkKind::Bridge),
    ("vt525400bb0001", LinkKind::Tap),
];
const NETS: [&str; 6] = [
    "192.0.2.10/24",
    "192.0.2.10/25",
    "192.0.2.77/24",
    "10.77.0.1/24",
    "10.78.0.1/24",
    "198.51.100.7/24",
];

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

fn a_net() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NETS.to_vec())
}

fn a_link() -> impl Strategy<Value = Vec<Link>> {
    let one = |(index, (name, kind)): (usize, (&'static str, LinkKind))| {
        let master = prop::option::weighted(
            0.4,
            prop::sample::select(match kind {
                LinkKind::Tap => vec![MANAGEMENT_BRIDGE, "br-lan", BRIDGES[0]],
                _ => vec![MANAGEMENT_BRIDGE, "br-lan"],
            }),
        );
        let number = u8::try_from(index).unwrap();
        let bridge_mac = prop::sample::select(vec![mac(1), mac(2), mac(9)]);
        (any::<[bool; 3]>(), master, bridge_mac).prop_map(
            move |([there, up, carrier], master, bridge_mac)| {
                let is_bridge = kind == LinkKind::Bridge;
                let link = Link {
                    index: u32::from(number) + 1,
                    name: name.to_owned(),
                    mac: Some(if is_bridge { bridge_mac } else { mac(number) }),
                    kind,
                    up,
                    carrier: up && carrier,
                    mtu: 1500,
                    master: master
                        .filter(|_| !is_bridge && name != "lo")
                        .map(str::to_owned),
                    driver: String::new(),
                    speed: None,
                };
                there.then_some(link)
            },
        )
    };
    let all: Vec<_> = LINKS.into_iter().enumerate().map(one).collect();
    all.prop_map(|links| {
        let mut links: Vec<Link> = links.into_iter().flatten().collect();
        let names: Vec<String> = links.iter().map(|link| link.name.clone()).collect();
        for link in &mut links {
            link.master.take_if(|master| !names.contains(master));
        }
        links
    })
}

prop_compose! {
    fn a_machine()(
        links in a_link(),
        addresses in prop::collection::vec((0..LINKS.len(), a_net(), any::<bool>()), 0..8),
        routes in prop::collection::vec((0..LINKS.len(), a_net(), any::<bool>(), prop::option::of(a_net())), 0..6),
        sysctls in prop::collection::vec(prop::option::of(any::<bool>()), 16),
        services in prop::collection::btree_map(
            prop::sample::select(vec!["dhcp-br-mgmt", "dnsmasq-1a2b3c4d", "dnsmasq-00c0ffee", "chrony"]),
            "[a-c]", 0..3),
        lease in prop::option::of((a_net(), 1u8..3, any::<bool>())),
        flags in any::<[bool; 2]>(),
        remembered in prop::option::of(1u8..4),
    ) -> Observed {
        let there = |index: usize| links.iter().any(|link| link.name == LINKS[index].0);
        let mut addresses: Vec<Address> = addresses.into_iter().filter(|(index, ..)| there(*index))
            .map(|(index, net, ours)| Address { link: LINKS[index].0.to_owned(), net: net.parse().unwrap(), ours })
            .collect();
        addresses.sort();
        addresses.dedup_by(|a, b| a.link == b.link && a.net == b.net);
        let mut routes: Vec<Route> = routes.into_iter().filter(|(index, ..)| there(*index))
            .map(|(index, to, ours, source)| Route {
                link: LINKS[index].0.to_owned(),
                destination: to.parse::<ipnet::Ipv4Net>().unwrap().trunc(),
                gateway: None,
                source: source.map(|net| net.parse::<ipnet::Ipv4Net>().unwrap().addr()),
                metric: 97,
                ours,
            })
            .filter(|route| route.source.is_none_or(|ip| addresses.iter().any(|a| a.net.addr() == ip)))
            .collect();
        routes.sort();
        routes.dedup_by(|a, b| a.link == b.link && a.destination == b.destination);
        let mut keys: Vec<String> = links.iter().map(|link| no_ipv6(&link.name)).collect();
        keys.push(FORWARD.to_owned());
        if there(3) {
            keys.push(accept_ra(MANAGEMENT_BRIDGE));
        }
        let values = keys.into_iter().zip(sysctls);
        let sysctls: BTreeMap<String, String> = values
            .filter_map(|(key, value)| Some((key, u8::from(value?).to_string())))
            .collect();
        let lease = lease.map(|(net, number, more)| Lease {
            mac: mac(number),
            address: net.parse().unwrap(),
            routers: vec!["192.0.2.1".parse().unwrap()],
            routes: if more { vec![("203.0.113.0/24".parse().unwrap(), "192.0.2.2".parse().unwrap())] } else { vec![] },
            dns: vec![],
            search: vec![],
            ntp: vec![],
            server: None,
            seconds: 60,
            at: 0,
        });
        Observed {
            overdue: lease.is_none() && flags[0],
            settled: flags[1],
            services: services.into_iter().map(|(name, text)| (name.to_owned(), text)).collect(),
            remembered: remembered.map(mac),
            links, addresses, routes, sysctls, lease,
            ..Observed::default()
        }
    }
}

prop_compose! {
    fn a_wish()(
        interface in prop::option::of(prop::sample::select(vec!["enp1s0", "enp2s0", "52:54:00:00:00:02", "gone0"])),
        address in prop::option::of(a_net()),
        modes in prop::collection::vec((0..3usize, a_net(), any::<bool>()), 0..4),
        revert in any::<bool>(),
    ) -> Desired {
        let networks = modes.into_iter().zip(BRIDGES.into_iter().chain([MANAGEMENT_BRIDGE])).enumerate();
        let networks = networks.map(|(index, ((mode, net, deleting), bridge))| {
            let mode = match (bridge, mode) {
                (MANAGEMENT_BRIDGE, _) => NetworkMode::Bridged {},
                (_, 0) => NetworkMode::Isolated {},
                _ => NetworkMode::Nat { subnet: net.parse::<ipnet::Ipv4Net>().unwrap().trunc() },
            };
            let number = u128::try_from(index).unwrap() + 1;
            Network {
                id: NetworkId(uuid::Uuid::from_u128(number)),
                name: format!("network{index}").parse().unwrap(),
                bridge: bridge.to_owned(),
                mode,
                deleting,
            }
        });
        Desired {
            hostname: "node1".to_owned(),
            management: Management {
                interface: interface.map(str::to_owned),
                ipv4: match address {
                    None => Addressing::Dhcp,
                    Some(net) => Addressing::Static {
                        address: net.parse().unwrap(),
                        gateway: Some("192.0.2.1".parse().unwrap()),
                        dns: vec!["192.0.2.1".parse().unwrap()],
                    },
                },
            },
            revert,
            networks: networks.collect(),
        }
    }
}

/// What a plan must never do, whatever it was made from.
fn leaves_strangers_alone(steps: &[Step], desired: &Desired, machine: &Observed) {
    let want = want(desired, machine);
    let uplink = want.uplink.link().map(|link| link.name.as_str());
    let bridge = |name: &str| name == MANAGEMENT_BRIDGE || is_network_bridge(name);
    let ours = |name: &str| bridge(name) || uplink == Some(name);
    let physical = |name: &str| machine.link(name).unwrap().kind == LinkKind::Physical;
    for step in steps {
        let fine = match step {
            Step::DeleteBridge(name) => is_network_bridge(name),
            Step::DeleteAddress(address) => address.ours || ours(&address.link),
            Step::DeleteRoute(route) => route.ours || ours(&route.link),
            Step::AddAddress(Address { link, .. }) | Step::AddRoute(Route { link, .. }) => {
                bridge(link)
            }
            Step::SetMac { link, .. } => link == MANAGEMENT_BRIDGE,
            Step::CreateBridge { name, .. } => bridge(name),
            Step::SetUp(name) => bridge(name) || name == "lo" || physical(name),
            Step::EnslaveLink(name) => physical(name) && uplink == Some(name),
            Step::ReleaseLink(name) => {
                physical(name)
                    && machine.link(name).unwrap().master.as_deref() == Some(MANAGEMENT_BRIDGE)
            }
            Step::StopService(name) => name != "chrony",
            _ => true,
        };
        assert!(fine, "{step:?}");
    }
    // The management network is never taken by another.
    if let Some(settings) = &want.ipv4 {
        for (link, net) in &want.addresses {
            assert!(
                link == MANAGEMENT_BRIDGE || !settings.address.trunc().contains(&net.addr()),
                "{net} on {link}"
            );
        }
    }
}

/// Neither an address, nor packets let through, nor a server comes before the firewall.
fn opens_no_door_before_the_firewall(steps: &[Step]) {
    let firewall = |step: &Step| matches!(step, Step::ApplyFirewall(_));
    let before = steps.iter().position(firewall).unwrap_or(0);
    for step in &steps[..before] {
        let opens = match step {
            Step::AddAddress(_) => true,
            Step::SetSysctl { key, value } => *key == FORWARD && *value == "1",
            Step::StartService(service) => !matches!(service, Service::DhcpClient { .. }),
            _ => false,
        };
        assert!(!opens, "{step:?} comes before the firewall");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_done_leaves_nothing_to_do((mut desired, mut machine) in (a_wish(), a_machine())) {
        let steps = plan(&desired, &machine);
        leaves_strangers_alone(&steps, &desired, &machine);
        opens_no_door_before_the_firewall(&steps);
        converges(&mut desired, &mut machine);
    }
}

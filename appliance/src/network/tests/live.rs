//! The whole domain against the real kernel and the real programs, each test in
//! its own network namespaces. They need root.

use std::net::IpAddr;
use std::time::Duration;

use ashlar_api::Timestamp;
use ashlar_api::network::NetworkMode;
use ashlar_api::node::{Addressing, Management};

use super::world::{Machine, Program, World, on_a_node, sh, succeeds};
use crate::network::Status;
use crate::network::dhcp::{self, Word};
use crate::state::command::Command;
use crate::state::schema::{NetworkRecord, NodeRecord};

/// What the DHCP client calls at each event; no test.
#[test]
#[ignore = "called by the DHCP client of other tests"]
fn hook() {
    dhcp::event(&std::env::var("ASHLAR_TEST_EVENT").unwrap()).unwrap();
}

/// The site's network: a router with 192.0.2.1 at the other end of the node's cable.
fn site() -> Machine {
    let site = Machine::new();
    site.cable("up0", "far0");
    site.sh("ip addr add 192.0.2.1/24 dev far0");
    site
}

fn fixed(address: &str) -> Management {
    Management {
        interface: None,
        ipv4: Addressing::Static {
            address: address.parse().unwrap(),
            gateway: Some("192.0.2.1".parse().unwrap()),
            dns: vec!["192.0.2.1".parse().unwrap()],
        },
    }
}

fn has_fault(code: &'static str) -> impl Fn(&Status) -> bool {
    move |status| status.faults.iter().any(|fault| fault.code == code)
}

fn first_address(status: &Status) -> Option<String> {
    status.addresses.first().map(IpAddr::to_string)
}

fn leased(status: &Status) -> bool {
    first_address(status).is_some_and(|ip| ip.starts_with("192.0.2.1"))
}

fn ping(target: &str) -> String {
    format!("busybox ping -c 1 -W 2 {target}")
}

#[test]
fn a_lease_comes_through_the_bridge_and_stays() {
    on_a_node(|mut world| async move {
        let site = site();
        let _server = site.dhcp_server("far0", world.directory.path());
        let mac = sh("cat /proc/net/arp >/dev/null; ip -br link show up0 | awk '{print $3}'");
        world.start();
        let status = world.until("a lease", leased).await;
        let address = first_address(&status).unwrap();

        let bridge = sh("ip -d -br link show br-mgmt");
        assert!(bridge.contains(mac.trim()), "{bridge} is not {mac}");
        assert!(sh("ip link show up0").contains("master br-mgmt"));
        let route = sh("ip route show default");
        assert!(
            route.contains("via 192.0.2.1 dev br-mgmt proto 97 src"),
            "{route}"
        );
        let resolvers = std::fs::read_to_string(world.places.resolv_conf()).unwrap();
        assert!(resolvers.contains("search site.example\nnameserver 192.0.2.1\n"));
        assert!(succeeds(&ping("192.0.2.1")) && site.succeeds(&ping(&address)));
        assert!(status.faults.is_empty(), "{:?}", status.faults);
        let up0 = status.links.iter().find(|link| link.name == "up0").unwrap();
        assert!(up0.management && up0.carrier && up0.bridge.as_deref() == Some("br-mgmt"));

        // Whatever is taken away comes back.
        let line = format!("ip -4 addr show br-mgmt | grep -q {address}/24");
        let drift = [
            (
                format!("ip addr del {address}/24 dev br-mgmt"),
                line.clone(),
            ),
            (
                "ip route del default".to_owned(),
                "ip route | grep -q '^default via 192.0.2.1 dev br-mgmt'".to_owned(),
            ),
            (
                "ip link set br-mgmt down".to_owned(),
                format!("{line} && {}", ping("192.0.2.1")),
            ),
            ("ip link set up0 nomaster".to_owned(), ping("192.0.2.1")),
            (
                "nft flush ruleset".to_owned(),
                "nft list chain inet ashlar input | grep -q 443".to_owned(),
            ),
            (
                "nft add rule inet ashlar input accept".to_owned(),
                "! nft list chain inet ashlar input | grep -q '^\t\taccept'".to_owned(),
            ),
            (
                "ip link del br-mgmt".to_owned(),
                format!("{line} && {}", ping("192.0.2.1")),
            ),
        ];
        for (harm, healed) in drift {
            sh(&harm);
            world.eventually(&harm, || succeeds(&healed)).await;
        }

        // The next supervisor finds everything. It writes the firewall again, which nobody watched meanwhile, and
        // changes nothing else.
        world
            .until("rest", |status| {
                status
                    .pass
                    .as_ref()
                    .is_some_and(|pass| pass.left.is_empty())
            })
            .await;
        // The client's script is a second process for as long as it runs.
        world
            .eventually("one client", || world.processes("dhcp-br-mgmt").len() == 1)
            .await;
        let client = world.processes("dhcp-br-mgmt");
        world.kill().await;
        let mut monitor = std::process::Command::new("ip");
        let monitor = monitor
            .args(["monitor", "address", "route", "link"])
            .stdout(std::process::Stdio::piped());
        let mut monitor = monitor.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        world.start();
        let status = world
            .until("a first pass", |status| status.pass.is_some())
            .await;
        assert_eq!(status.pass.unwrap().done, 1);
        assert_eq!(first_address(&world.status()), Some(address.clone()));
        assert_eq!(world.processes("dhcp-br-mgmt"), client);
        monitor.kill().unwrap();
        let news = monitor.wait_with_output().unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&news), "");

        // A client that dies is started again; the lease stays meanwhile.
        sh(&format!("kill -9 {}", client[0]));
        world
            .eventually("a new client", || {
                let now = world.processes("dhcp-br-mgmt");
                now.len() == 1 && now != client
            })
            .await;
        assert!(succeeds(&line));
        assert!(matches!(
            dhcp::read(&world.places.dhcp(), "br-mgmt"),
            Some(Word::Leased { .. })
        ));
    });
}

#[test]
fn without_an_answer_it_helps_itself_and_goes_on_asking() {
    on_a_node(|mut world| async move {
        let site = site();
        // As if it had been asking for a while.
        let since = dhcp::uptime().saturating_sub(30);
        dhcp::write(&world.places.dhcp(), "br-mgmt", &Word::Asking { since }).unwrap();
        world.start();
        let status = world.until("a fault", has_fault("no-dhcp")).await;
        let fault = status
            .faults
            .iter()
            .find(|fault| fault.code == "no-dhcp")
            .unwrap();
        assert!(fault.title.contains("up0") && fault.remedy.contains("fixed address"));
        let status = world
            .until("an address of its own", |status| {
                first_address(status).is_some_and(|ip| ip.starts_with("169.254."))
            })
            .await;
        let own = first_address(&status).unwrap();
        site.sh("ip addr add 169.254.0.9/16 dev far0");
        assert!(site.succeeds(&ping(&own)));

        let _server = site.dhcp_server("far0", world.directory.path());
        let status = world.until("a lease", leased).await;
        assert!(!has_fault("no-dhcp")(&status));
        assert!(!sh("ip addr show br-mgmt").contains("169.254"));
    });
}

#[test]
fn a_link_that_is_plugged_in_is_used() {
    on_a_node(|mut world| async move {
        world.start();
        world.until("a fault", has_fault("no-interface")).await;
        // It comes with an address and a route of a stranger, on which somebody relies.
        let site = Machine::new();
        site.cable("up0", "far0");
        site.sh("ip addr add 192.0.2.1/24 dev far0");
        sh(
            "ip addr add 192.0.2.77/24 dev up0; ip link set up0 up; ip route add default via 192.0.2.1",
        );
        world
            .until("no fault", |status| !has_fault("no-interface")(status))
            .await;
        world.eventually("the address on the bridge", || {
            succeeds("ip addr show br-mgmt | grep -q 192.0.2.77/24 && ip route | grep -q 'default via 192.0.2.1 dev br-mgmt'")
        }).await;
        assert!(site.succeeds(&ping("192.0.2.77")));
        assert!(!sh("ip addr show up0").contains("192.0.2.77"));

        // A second one is switched on and left alone.
        let other = Machine::new();
        other.cable("up1", "far1");
        world
            .until("up1", |status| {
                status
                    .links
                    .iter()
                    .any(|link| link.name == "up1" && link.up)
            })
            .await;
        assert!(!sh("ip link show up1").contains("master"));
        // The one in use goes: the other takes its place.
        sh("ip link del up0");
        world
            .eventually("the other link", || {
                succeeds("ip link show up1 | grep -q 'master br-mgmt'")
            })
            .await;
        let mac = sh("cat /dev/null; ip -br link show up1 | awk '{print $3}'");
        assert!(sh("ip link show br-mgmt").contains(mac.trim()));
        // A cable without a live end.
        other.sh("ip link set far1 down");
        world.until("a fault", has_fault("no-carrier")).await;
    });
}

#[test]
fn a_change_that_nobody_confirms_is_taken_back() {
    on_a_node(|mut world| async move {
        let _site = site();
        world.manage(fixed("192.0.2.10/24"), None).await;
        world.start();
        world
            .until("the address", |s| {
                first_address(s).as_deref() == Some("192.0.2.10")
            })
            .await;
        let soon = Timestamp::now() + Duration::from_secs(2);
        world.manage(fixed("192.0.2.99/24"), Some(soon)).await;
        world
            .until("the new address", |s| {
                first_address(s).as_deref() == Some("192.0.2.99")
            })
            .await;
        world
            .until("the old address", |s| {
                first_address(s).as_deref() == Some("192.0.2.10")
            })
            .await;
        let node: NodeRecord = world.store.get(world.node).unwrap().unwrap();
        assert_eq!(
            (node.spec.management, node.unconfirmed),
            (fixed("192.0.2.10/24"), None)
        );
        assert!(Timestamp::now() >= soon);
    });
}

#[test]
fn an_address_that_is_taken_is_told() {
    on_a_node(|mut world| async move {
        let _site = site();
        world.manage(fixed("192.0.2.1/24"), None).await;
        world.start();
        let status = world.until("a fault", has_fault("address-conflict")).await;
        let fault = status
            .faults
            .iter()
            .find(|fault| fault.code == "address-conflict")
            .unwrap();
        assert!(fault.title.contains("192.0.2.1"), "{fault:?}");
        world.manage(fixed("192.0.2.2/24"), None).await;
        world
            .until("no fault", |status| !has_fault("address-conflict")(status))
            .await;
    });
}

/// A guest on a bridge: its end of the cable is `g0`.
fn guest(bridge: &str, number: u8) -> Machine {
    let guest = Machine::new();
    let tap = format!("vt52540000000{number}");
    guest.cable(&tap, "g0");
    sh(&format!("ip link set {tap} master {bridge} up"));
    guest
}

/// Takes the address that is offered, the way a guest does; the address.
fn ask(guest: &Machine) -> String {
    // The client's script is told all in variables.
    let script = r#"#!/bin/sh
        [ "$1" = bound ] || exit 0
        ip addr add $ip/$mask dev g0
        ip route add default via $router
        echo "$ip $router $dns $domain" > "$OUT""#;
    let file = tempfile::NamedTempFile::new().unwrap();
    let hook = file.path().with_extension("sh");
    std::fs::write(&hook, script).unwrap();
    let out = file.path().display();
    let hook = hook.display();
    guest.sh(&format!(
        "chmod 755 {hook}; OUT={out} busybox udhcpc -f -n -q -t 10 -T 1 -i g0 -x hostname:guest1 -s {hook} 2>&1; rm {hook}"
    ));
    std::fs::read_to_string(file.path()).unwrap()
}

fn listen(world: &World, port: u16) -> Program {
    let _ = world;
    let line = format!("exec busybox nc -ll -p {port} -e true");
    let command = std::process::Command::new("sh").args(["-c", &line]).spawn();
    let program = Program::from(command.unwrap());
    // It listens a moment after it was started. 0A is LISTEN (proc_net_tcp.txt).
    let entry = format!(":{port:04X} ");
    let listens = || {
        sh("cat /proc/net/tcp /proc/net/tcp6")
            .lines()
            .any(|line| line.contains(&entry) && line.contains(" 0A "))
    };
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !listens() && std::time::Instant::now() < limit {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(listens(), "nobody listens on port {port}");
    program
}

fn reaches(host: &str, port: u16) -> String {
    format!("busybox timeout 10 busybox nc -w 3 {host} {port} </dev/null")
}

#[test]
fn guests_get_addresses_names_and_a_way_out_but_never_meet() {
    on_a_node(|mut world| async move {
        let site = site();
        let _dns = site.dhcp_server("far0", world.directory.path());
        world.manage(fixed("192.0.2.10/24"), None).await;
        let (one, bridge) = world.network("one", nat("10.77.0.0/24")).await;
        let (two, other_bridge) = world.network("two", nat("10.78.0.0/29")).await;
        let (lab, lab_bridge) = world.network("lab", NetworkMode::Isolated {}).await;
        let (office, _) = world.network("office", NetworkMode::Bridged {}).await;
        world.start();
        world
            .until("all networks", |status| {
                status.networks.len() == 4 && status.networks.values().all(|n| n.condition.ready)
            })
            .await;
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
        assert!(!sh(&format!("ip addr show {lab_bridge}")).contains("inet"));
        assert!(!sh(&format!("ip addr show {bridge}")).contains("inet6"));

        let guest = guest(&bridge, 1);
        assert!(ask(&guest).ends_with(" 10.77.0.1 10.77.0.1 internal\n"));
        let neighbour = super::live::guest(&other_bridge, 2);
        let address = ask(&neighbour);
        let neighbour_address = address.split(' ').next().unwrap();
        assert!(neighbour_address.starts_with("10.78.0."));

        // Names: the node's, the guest's own, the site's, through the node.
        for name in ["node1.internal", "guest1.internal", "far.example"] {
            assert!(
                guest.succeeds(&format!("busybox nslookup {name} 10.77.0.1")),
                "{name}"
            );
        }
        // Outward, and only because it is translated: the site knows no way to 10.77/16.
        assert!(guest.succeeds(&ping("192.0.2.1")));
        // Neither its neighbours, nor from the site inward, even with a route.
        assert!(!guest.succeeds(&ping(neighbour_address)));
        site.sh("ip route add 10.77.0.0/24 via 192.0.2.10");
        let inside = guest.sh("ip -br -4 addr show g0 | awk '{print $3}' | cut -d/ -f1");
        assert!(!site.succeeds(&ping(inside.trim())));
        // The API and the way to it, and nothing else.
        let _api = listen(&world, 443);
        let _redirect = listen(&world, 80);
        let _other = listen(&world, 8080);
        for (machine, host) in [(&guest, "10.77.0.1"), (&site, "192.0.2.10")] {
            assert!(machine.succeeds(&reaches(host, 443)), "{host}");
            assert!(machine.succeeds(&reaches(host, 80)), "{host}");
            assert!(!machine.succeeds(&reaches(host, 8080)), "{host}");
        }

        let status = world
            .until("leases", |status| status.networks[&one].leases.len() == 1)
            .await;
        let lease = &status.networks[&one].leases[0];
        assert_eq!(
            (lease.hostname.as_str(), lease.address.to_string()),
            ("guest1", inside.trim().to_owned())
        );
        assert!(sh("true").is_empty() && guest.sh("ip link show g0").contains(&lease.mac));

        // A server that dies is started again, and knows what it gave.
        let server = format!("dnsmasq-{}", one.short());
        let old = world.processes(&server);
        sh(&format!("kill -9 {}", old[0]));
        world
            .eventually("a new server", || {
                let now = world.processes(&server);
                now.len() == 1 && now != old
            })
            .await;
        world
            .until("ready", |status| status.networks[&one].condition.ready)
            .await;
        assert_eq!(world.status().networks[&one].leases.len(), 1);

        // Gone for good: bridge, server, record.
        for id in [one, two, lab, office] {
            world
                .wish(Command::DeleteNetwork { id, revision: None })
                .await;
        }
        world
            .until("no networks", |status| status.networks.is_empty())
            .await;
        assert!(world.store.list::<NetworkRecord>().unwrap().is_empty());
        assert!(world.processes(&server).is_empty());
        assert!(!sh("ip -br link").contains(&bridge));
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "0");
    });
}

fn nat(subnet: &str) -> NetworkMode {
    NetworkMode::Nat {
        subnet: subnet.parse().unwrap(),
    }
}

#[test]
fn a_network_that_would_take_the_nodes_own_way_stays_down() {
    on_a_node(|mut world| async move {
        let site = Machine::new();
        site.cable("up0", "far0");
        site.sh("ip addr add 10.77.0.9/24 dev far0");
        let (id, bridge) = world.network("one", nat("10.77.0.0/24")).await;
        world.start();
        world
            .until("the network", |status| {
                status.networks.get(&id).is_some_and(|n| n.condition.ready)
            })
            .await;
        // The state refuses a fixed address that overlaps; a DHCP server does not ask it.
        let server = site.start(
            "dnsmasq --no-daemon --conf-file=/dev/null --no-resolv --user=root --bind-interfaces --interface=far0 \
             --except-interface=lo --no-ping --dhcp-authoritative --pid-file= --dhcp-leasefile=/dev/null \
             --dhcp-range=10.77.0.100,10.77.0.110,255.255.255.0,1h",
        );
        let status = world.until("a fault", has_fault("network-overlap")).await;
        assert!(first_address(&status).is_some_and(|ip| ip.starts_with("10.77.0.1")));
        let network = &status.networks[&id];
        assert!(!network.condition.ready && network.condition.remedy.contains("10.77.0.0/24"));
        assert!(!sh(&format!("ip addr show {bridge}")).contains("10.77"));
        assert!(succeeds(&ping("10.77.0.9")));
        drop(server);
    });
}

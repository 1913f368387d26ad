//! Parsers on what the programs really say, and the texts they are given.

use std::collections::HashMap;

use crate::network::dhcp::{self, Lease, Word};
use crate::network::dnsmasq::{self, Server};
use crate::network::management::link_local;
use crate::network::nft::{Ruleset, Translated};

/// The variables that busybox 1.35 gave its script for a lease of dnsmasq 2.90.
const BOUND: &str = include_str!("../testdata/text/udhcpc-bound.env");

fn variables(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn leased(word: Option<Word>) -> Lease {
    match word {
        Some(Word::Leased { lease }) => lease,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lease_is_read_as_it_was_given() {
    let lease = leased(dhcp::note("bound", &variables(BOUND), None, 100).unwrap());
    insta::assert_json_snapshot!(lease);
    assert!(!lease.is_over(100) && lease.is_over(100 + lease.seconds));
}

#[test]
fn odd_values_of_a_server_do_no_harm() {
    let mut odd = variables(BOUND);
    odd.insert("dns".to_owned(), "192.0.2.1 nonsense 192.0.2.2".to_owned());
    odd.insert(
        "search".to_owned(),
        "a.example $(reboot) b\u{7}c ../x ok.example.".to_owned(),
    );
    odd.insert(
        "staticroutes".to_owned(),
        "0.0.0.0/0 192.0.2.1 198.51.100.0/99 x 10".to_owned(),
    );
    odd.remove("lease");
    let lease = leased(dhcp::note("renew", &odd, None, 0).unwrap());
    assert_eq!(lease.dns.len(), 2);
    assert_eq!(lease.search, ["a.example", "ok.example"]);
    assert_eq!((lease.routes.len(), lease.seconds), (1, 3600));
    for (name, value) in [
        ("ip", ""),
        ("ip", "::1"),
        ("mask", "33"),
        ("lease", "-1"),
        (dhcp::MAC_VARIABLE, "x"),
    ] {
        let mut bad = variables(BOUND);
        bad.insert(name.to_owned(), value.to_owned());
        let error = dhcp::note("bound", &bad, None, 0).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(dhcp::note("explode", &odd, None, 0).is_err());
}

#[test]
fn a_lease_outlives_its_client_but_not_its_time() {
    let all = variables(BOUND);
    let word = dhcp::note("bound", &all, None, 100).unwrap();
    let lease = leased(word.clone());
    // The client was started again.
    assert_eq!(
        dhcp::note("deconfig", &all, word.clone(), 200).unwrap(),
        None
    );
    // Its time is over.
    let over = lease.at + lease.seconds;
    let asking = |since| Some(Word::Asking { since });
    assert_eq!(
        dhcp::note("deconfig", &all, word.clone(), over).unwrap(),
        asking(over)
    );
    // The server refuses it.
    assert_eq!(
        dhcp::note("nak", &all, word.clone(), 200).unwrap(),
        asking(200)
    );
    // It is another client, on another link.
    let mut other = all.clone();
    other.insert(
        dhcp::MAC_VARIABLE.to_owned(),
        "52:54:00:00:00:99".to_owned(),
    );
    assert_eq!(
        dhcp::note("deconfig", &other, word, 200).unwrap(),
        asking(200)
    );
    // Asking goes on since when it began.
    assert_eq!(
        dhcp::note("deconfig", &all, asking(7), 200).unwrap(),
        asking(7)
    );
    assert_eq!(dhcp::note("leasefail", &all, asking(7), 200).unwrap(), None);
}

#[test]
fn leases_of_guests_are_read() {
    let leases = dnsmasq::leases(include_str!("../testdata/text/dnsmasq.leases"));
    insta::assert_json_snapshot!(leases);
    assert_eq!(dnsmasq::leases("duid 00:01\n1 2\n\nx y z\n"), []);
}

#[test]
fn every_address_but_the_nodes_is_given_out() {
    for (subnet, first, last) in [
        ("10.77.0.0/24", "10.77.0.2", "10.77.0.254"),
        ("10.0.0.0/16", "10.0.0.2", "10.0.255.254"),
        ("192.168.1.8/29", "192.168.1.10", "192.168.1.14"),
    ] {
        let subnet: ipnet::Ipv4Net = subnet.parse().unwrap();
        let server = Server {
            bridge: "br-1a2b3c4d".to_owned(),
            subnet,
            gateway: subnet.hosts().next().unwrap(),
            hostname: "node1".to_owned(),
        };
        let range = server.range();
        assert_eq!(range, (first.parse().unwrap(), last.parse().unwrap()));
    }
}

#[test]
fn rules_have_a_fingerprint_of_their_own() {
    let network = |bridge: &str| Translated {
        bridge: bridge.to_owned(),
        subnet: "10.77.0.0/24".parse().unwrap(),
        gateway: "10.77.0.1".parse().unwrap(),
    };
    let none = Ruleset::new(&[]);
    let one = Ruleset::new(&[network("br-1a2b3c4d")]);
    assert_ne!(none.fingerprint(), one.fingerprint());
    assert_eq!(one, Ruleset::new(&[network("br-1a2b3c4d")]));
    assert!(
        one.text()
            .contains(&format!("comment \"{}\"", one.fingerprint()))
    );
    assert_eq!(format!("{one:?}").lines().count(), 1);
}

#[test]
fn made_up_addresses_are_those_that_may_be_made_up() {
    for last in 0..=255u8 {
        let address = link_local(ashlar_api::vm::Mac([0x52, 0x54, 0, 0, 0, last])).addr();
        let [a, b, c, _] = address.octets();
        assert!((a, b) == (169, 254) && (1..=254).contains(&c), "{address}");
    }
}

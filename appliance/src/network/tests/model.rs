//! A machine in miniature: what the kernel makes of each step, strict about
//! order where the kernel is.

use ashlar_api::network::LinkKind;
use ipnet::IpNet;

use crate::network::dnsmasq::Server;
use crate::network::observe::{Link, Observed};
use crate::network::plan::Step;
use crate::network::service::Service;
use crate::network::want::{Desired, accept_ra, no_ipv6};
use crate::state::schema::MANAGEMENT_BRIDGE;

/// Does a step; panics where the kernel would refuse it.
pub fn apply(step: Step, desired: &mut Desired, machine: &mut Observed) {
    match step {
        Step::RevertNode => desired.revert = false,
        Step::ForgetNetwork(id) => desired.networks.retain(|network| network.id != id),
        Step::StopService(name) => drop(machine.services.remove(&name)),
        Step::StartService(service) => {
            let link = machine.link(service.link()).expect("the child's link");
            assert!(link.up, "{service:?} needs its link up");
            if let Service::Dnsmasq(Server {
                bridge, gateway, ..
            }) = &service
            {
                let mut addresses = machine.ipv4(bridge);
                assert!(addresses.any(|(net, _)| net.addr() == *gateway));
            }
            machine
                .services
                .insert(service.name(), service.fingerprint());
        }
        Step::DropLease(_) => machine.lease = None,
        Step::DeleteRoute(route) => machine.routes.retain(|other| *other != route),
        Step::DeleteAddress(address) => {
            machine.addresses.retain(|other| *other != address);
            let IpNet::V4(net) = address.net else {
                panic!("IPv6 addresses are the kernel's");
            };
            let last = machine.ipv4(&address.link).next().is_none();
            machine.routes.retain(|route| {
                route.link != address.link || !(last || route.source == Some(net.addr()))
            });
        }
        Step::DeleteBridge(name) => {
            machine.links.retain(|link| link.name != name);
            machine.addresses.retain(|address| address.link != name);
            machine.routes.retain(|route| route.link != name);
            machine.sysctls.remove(&no_ipv6(&name));
            for link in &mut machine.links {
                link.master.take_if(|master| *master == name);
            }
        }
        Step::ApplyFirewall(rules) => machine.firewall = Some(rules.fingerprint().to_owned()),
        Step::SetSysctl { key, value } => {
            assert!(machine.sysctls.contains_key(&key), "no setting {key}");
            machine.sysctls.insert(key, value.to_owned());
        }
        Step::CreateBridge { name, mac } => {
            assert!(machine.link(&name).is_none());
            machine.sysctls.insert(no_ipv6(&name), "0".to_owned());
            if name == MANAGEMENT_BRIDGE {
                machine.sysctls.insert(accept_ra(&name), "1".to_owned());
            }
            machine.links.push(Link {
                index: machine
                    .links
                    .iter()
                    .map(|link| link.index)
                    .max()
                    .unwrap_or(0)
                    + 1,
                mac: mac.or_else(|| "02:00:00:00:00:99".parse().ok()),
                kind: LinkKind::Bridge,
                up: false,
                carrier: false,
                mtu: 1500,
                master: None,
                driver: String::new(),
                speed: None,
                name,
            });
        }
        Step::SetMac { link, mac } => link_mut(machine, &link).mac = Some(mac),
        Step::SetUp(link) => link_mut(machine, &link).up = true,
        Step::ReleaseLink(link) => link_mut(machine, &link).master = None,
        Step::EnslaveLink(link) => {
            assert!(machine.link(MANAGEMENT_BRIDGE).is_some());
            link_mut(machine, &link).master = Some(MANAGEMENT_BRIDGE.to_owned());
        }
        Step::AddAddress(address) => {
            assert!(machine.link(&address.link).is_some());
            let there = |other: &&_| {
                let other: &&crate::network::observe::Address = other;
                other.link == address.link && other.net == address.net
            };
            if machine.addresses.iter().find(there).is_none() {
                machine.addresses.push(address);
            }
        }
        Step::AddRoute(route) => {
            assert!(link_mut(machine, &route.link).up, "{route:?}");
            if let Some(source) = route.source {
                let mut sources = machine.addresses.iter().map(|a| a.net.addr());
                assert!(sources.any(|ip| ip == source), "{route:?}");
            }
            if !machine.routes.contains(&route) {
                machine.routes.push(route);
            }
        }
        Step::WriteResolvConf(text) => machine.resolv_conf = Some(text),
        Step::RememberUplink(mac) => machine.remembered = Some(mac),
    }
}

fn link_mut<'a>(machine: &'a mut Observed, name: &str) -> &'a mut Link {
    machine
        .links
        .iter_mut()
        .find(|link| link.name == name)
        .expect("the link of the step")
}

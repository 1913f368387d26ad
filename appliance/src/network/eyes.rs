//! Looks at the machine and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use ashlar_api::network::LinkKind;

use super::children::Places;
use super::dhcp::{self, Word};
use super::netlink::Netlink;
use super::nft::{self, Listing};
use super::observe::{Link, Observed};
use super::plan::is_network_bridge;
use super::want::{FORWARD, accept_ra, no_ipv6};
use super::{Error, dnsmasq, generation};
use crate::reconcile::children::Children;
use crate::state::schema::MANAGEMENT_BRIDGE;
use crate::sys::sysfs;

/// How long links may take to find a carrier before another than the one used last is chosen.
const SETTLING: Duration = Duration::from_secs(5);

/// Looks, and remembers only what can not be looked up.
#[derive(Debug)]
pub struct Eyes {
    places: Places,
    started: Instant,
    /// Since when, in seconds since the machine started, this knows of no lease and of no word of the client.
    silent: Option<u64>,
    /// The firewall as it was listed right after it was written, and the generation in which it was still so.
    firewall: Option<(Listing, Option<u32>)>,
}

impl Eyes {
    /// Has seen nothing yet.
    pub fn new(places: Places) -> Eyes {
        Eyes {
            places,
            started: Instant::now(),
            silent: None,
            firewall: None,
        }
    }

    /// The firewall was written just now: what is listed is what was meant, unless somebody added or removed a rule in
    /// that very moment; then it is written again.
    pub async fn firewall_written(&mut self, ruleset: &nft::Ruleset) -> Result<(), Error> {
        let now = generation();
        let listed = nft::list().await?;
        self.firewall = listed
            .filter(|listed| listed.rules == ruleset.rules())
            .map(|listed| (listed, now));
        Ok(())
    }

    /// Looks at everything.
    pub async fn look(
        &mut self,
        netlink: &Netlink,
        children: &mut Children,
        conflicts: BTreeSet<Ipv4Addr>,
    ) -> Result<Observed, Error> {
        let mut links = netlink.links().await?;
        let addresses = netlink.addresses(&links).await?;
        let routes = netlink.routes(&links).await?;
        hardware(&mut links);
        let (lease, overdue) = self.lease();
        let firewall = self.firewall().await?;
        Ok(Observed {
            sysctls: sysctls(&links),
            links,
            addresses,
            routes,
            resolv_conf: std::fs::read_to_string(self.places.resolv_conf()).ok(),
            firewall,
            services: children.running()?,
            lease,
            overdue,
            remembered: sysfs::parse(self.places.uplink()),
            settled: self.started.elapsed() >= SETTLING,
            conflicts,
        })
    }

    /// When time alone will change what is seen.
    pub fn next(&self, observed: &Observed) -> Option<Duration> {
        let settling = (!observed.settled).then(|| SETTLING.saturating_sub(self.started.elapsed()));
        let asking = (observed.lease.is_none() && !observed.overdue).then(|| {
            let since = self.silent.unwrap_or_default();
            let asked = Duration::from_secs(dhcp::uptime().saturating_sub(since));
            dhcp::PATIENCE.saturating_sub(asked)
        });
        settling
            .into_iter()
            .chain(asking)
            .min()
            .map(|wait| wait + Duration::from_millis(100))
    }

    fn lease(&mut self) -> (Option<dhcp::Lease>, bool) {
        let now = dhcp::uptime();
        let since = match dhcp::read(&self.places.dhcp(), MANAGEMENT_BRIDGE) {
            Some(Word::Leased { lease }) => {
                self.silent = None;
                return (Some(lease), false);
            }
            Some(Word::Asking { since }) => since,
            None => self.silent.unwrap_or(now),
        };
        self.silent = Some(since);
        (None, now.saturating_sub(since) >= dhcp::PATIENCE.as_secs())
    }

    /// The fingerprint in force, unless the rules were changed under it. Rules that this process did not write are not
    /// trusted: they may have been changed while nobody looked.
    async fn firewall(&mut self) -> Result<Option<String>, Error> {
        let Some((written, then)) = &mut self.firewall else {
            return Ok(None);
        };
        // Asked first: what changes while it is listed is seen the next time.
        let now = generation();
        if now.is_some() && now == *then {
            return Ok(written.fingerprint.clone());
        }
        let listed = nft::list().await?;
        if listed.as_ref() != Some(written) {
            return Ok(None);
        }
        *then = now;
        Ok(written.fingerprint.clone())
    }

    /// Who has which address, by network bridge.
    pub fn leases(&self, server: &str) -> Vec<ashlar_api::network::Lease> {
        std::fs::read_to_string(self.places.leases(server))
            .map(|text| dnsmasq::leases(&text))
            .unwrap_or_default()
    }
}

/// The generation of the firewall. Where it can not be told, the rules are listed.
fn generation() -> Option<u32> {
    generation::generation()
        .inspect_err(|error| tracing::debug!("the firewall's generation is not told: {error}"))
        .ok()
}

/// What only `/sys` knows of links.
fn hardware(links: &mut [Link]) {
    let class = Path::new("/sys/class/net");
    for link in links
        .iter_mut()
        .filter(|link| link.kind == LinkKind::Physical)
    {
        let device = class.join(&link.name);
        link.driver = sysfs::link_name(device.join("device/driver")).unwrap_or_default();
        // -1 and an error both mean that it can not be told.
        link.speed = sysfs::parse::<i64>(device.join("speed"))
            .and_then(|speed| u32::try_from(speed).ok())
            .filter(|&speed| speed > 0 && speed < u32::MAX);
    }
}

fn sysctls(links: &[Link]) -> BTreeMap<String, String> {
    let ours = links.iter().filter(|link| {
        link.kind == LinkKind::Physical
            || link.name == MANAGEMENT_BRIDGE
            || is_network_bridge(&link.name)
    });
    let keys = ours
        .map(|link| no_ipv6(&link.name))
        .chain([accept_ra(MANAGEMENT_BRIDGE), FORWARD.to_owned()]);
    let root = Path::new("/proc/sys");
    keys.filter_map(|key| Some((key.clone(), sysfs::text(root.join(&key))?)))
        .collect()
}

//! The domain: reads the wishes, looks, does, tells.

use std::collections::BTreeMap;
use std::time::Duration;

use ashlar_api::node::Management;
use ashlar_api::{NodeId, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::children::Places;
use super::conflict::Conflicts;
use super::events::Events;
use super::eyes::Eyes;
use super::netlink::{Netlink, NetlinkError};
use super::observe::Observed;
use super::plan::{self, Step};
use super::service::{self, Service};
use super::status::{self, Status};
use super::want::{self, Desired, Network};
use super::{Error, apply};
use crate::reconcile::children::Children;
use crate::reconcile::{Domain, Pass, Waker};
use crate::state::Store;
use crate::state::schema::{NetworkRecord, NodeRecord};

/// The domain.
pub struct NetworkDomain {
    store: Store,
    node: NodeId,
    status: watch::Sender<Status>,
    waker: Waker,
    places: Places,
    netlink: Option<Netlink>,
    events: Events,
    children: Children,
    eyes: Eyes,
    conflicts: Conflicts,
    alarm: Option<JoinHandle<()>>,
    since: BTreeMap<status::Key, Timestamp>,
    /// When an unconfirmed change is to be taken back.
    until: Option<Timestamp>,
}

impl NetworkDomain {
    /// Begins to listen to the kernel. Needs a runtime; the network namespace is that of the calling thread.
    pub fn new(
        store: Store,
        node: NodeId,
        places: Places,
        waker: Waker,
        status: watch::Sender<Status>,
    ) -> NetworkDomain {
        NetworkDomain {
            store,
            node,
            status,
            events: Events::listen(&waker),
            children: Children::new(places.home(), service::is_ours, waker.clone()),
            eyes: Eyes::new(places.clone()),
            conflicts: Conflicts::new(waker.clone()),
            places,
            waker,
            netlink: None,
            alarm: None,
            since: BTreeMap::new(),
            until: None,
        }
    }

    /// Ends the children, when the machine is about to end. Links and addresses end with the kernel.
    pub async fn take_down(places: &Places) -> Vec<Error> {
        let mut children = Children::new(places.home(), service::is_ours, Waker::default());
        let mut errors = Vec::new();
        match children.running() {
            Ok(running) => {
                for name in running.keys() {
                    errors.extend(children.stop(name).await.err().map(Error::from));
                }
            }
            Err(error) => errors.push(error.into()),
        }
        errors
    }

    /// The socket for requests, opened anew if it broke.
    fn netlink(&mut self) -> Result<&Netlink, NetlinkError> {
        let netlink = match self.netlink.take().filter(Netlink::is_open) {
            Some(netlink) => netlink,
            None => Netlink::open()?,
        };
        Ok(self.netlink.insert(netlink))
    }

    /// Sees to it that the domain looks again when time alone changes something.
    fn arm(&mut self, observed: &Observed) {
        if let Some(alarm) = self.alarm.take() {
            alarm.abort();
        }
        let until = self.until.map(|until| {
            let left = until.duration_since(Timestamp::now());
            Duration::try_from(left).unwrap_or_default() + Duration::from_millis(100)
        });
        if let Some(wait) = until.into_iter().chain(self.eyes.next(observed)).min() {
            let waker = self.waker.clone();
            self.alarm = Some(tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                waker.wake();
            }));
        }
    }

    /// Has the files watched that the children write.
    fn watch_files(&self, observed: &Observed) {
        self.events.watch(&self.places.dhcp());
        for name in observed.services.keys() {
            self.events.watch(&self.places.service(name));
        }
    }
}

impl Drop for NetworkDomain {
    fn drop(&mut self) {
        if let Some(alarm) = &self.alarm {
            alarm.abort();
        }
    }
}

impl Domain for NetworkDomain {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Error = Error;

    const NAME: &'static str = "network";

    fn desired(&mut self) -> Result<Desired, Error> {
        let node: Option<NodeRecord> = self.store.get(self.node)?;
        let mut networks: Vec<NetworkRecord> = self.store.list()?;
        networks.sort_by_key(|network| network.id);
        let unconfirmed = node.as_ref().and_then(|node| node.unconfirmed.as_ref());
        self.until = unconfirmed.map(|unconfirmed| unconfirmed.until);
        let (hostname, management) = match node {
            Some(node) => (node.spec.name.to_string(), node.spec.management),
            // Before the node is known it must be reachable, too.
            None => ("ashlar".to_owned(), Management::default()),
        };
        Ok(Desired {
            hostname,
            management,
            revert: self.until.is_some_and(|until| until <= Timestamp::now()),
            networks: networks
                .into_iter()
                .map(|record| Network {
                    bridge: record.bridge(),
                    id: record.id,
                    name: record.spec.name,
                    mode: record.spec.mode,
                    deleting: record.deleting,
                })
                .collect(),
        })
    }

    async fn observe(&mut self) -> Result<Observed, Error> {
        self.netlink()?;
        let Some(netlink) = &self.netlink else {
            return Ok(Observed::default());
        };
        let conflicts = self.conflicts.found();
        let observed = self
            .eyes
            .look(netlink, &mut self.children, conflicts)
            .await?;
        self.watch_files(&observed);
        Ok(observed)
    }

    fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
        plan::plan(desired, observed)
    }

    async fn apply(&mut self, step: Step) -> Result<(), Error> {
        self.netlink()?;
        let Some(netlink) = &self.netlink else {
            return Ok(());
        };
        let hands = apply::Hands {
            netlink,
            children: &mut self.children,
            places: &self.places,
            eyes: &mut self.eyes,
            store: &self.store,
            node: self.node,
        };
        apply::apply(hands, step).await
    }

    fn publish(&mut self, desired: &Desired, observed: &Observed, pass: &Pass) {
        let want = want::want(desired, observed);
        self.arm(observed);
        self.conflicts.mind(want.ipv4.as_ref());
        let stories = status::stories(desired, observed, &want, &pass.failures);
        let known = std::mem::take(&mut self.since);
        let faults = stories.into_iter().map(|story| {
            let key = story.key();
            let since = known.get(&key).copied().unwrap_or_else(Timestamp::now);
            self.since.insert(key, since);
            story.since(since)
        });
        let faults = faults.collect();
        let networks = desired.networks.iter().map(|network| {
            let server = network.server("").map(Service::Dnsmasq);
            let leases = server.map(|server| self.eyes.leases(&server.name()));
            let leases = leases.unwrap_or_default();
            let status = status::network(network, desired, observed, &want, leases);
            (network.id, status)
        });
        self.status.send_replace(Status {
            networks: networks.collect(),
            links: status::links(observed),
            addresses: status::addresses(observed),
            time_servers: status::time_servers(observed),
            pass: Some(pass.clone()),
            faults,
        });
    }
}

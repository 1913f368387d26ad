//! The services of the node that no other domain owns: the device manager and the time keeper.
//!
//! ```text
//!   site (time servers) ─┐
//!   DHCP's time servers ─┴─► wanted units ─► plan ─► children (reconcile/children.rs) ─► status, faults
//!                             running units ──┘
//! ```
//!
//! Invariant: `udevd`, which init started, is started anew before anything else when it ended and, each time, told of
//! the devices that were there before it, because LVM waits for what it says of volumes. A unit whose configuration changed
//! is ended and started anew; one that cannot stay up is a fault, and is started again at growing intervals.
//!
//! The time keeper comes when the machine has all its devices: by then it is known whom the network suggests it asks, and
//! nobody waits for it, while its start takes the processor from what somebody waits for.

mod plan;
mod status;
mod unit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use ashlar_api::Timestamp;
use ashlar_api::service::Service;
use tokio::sync::watch;

use crate::reconcile::children::{Children, Home, ServiceError};
use crate::reconcile::{Domain, Pass, Retry, Retryable, Waker};
use crate::state::{StateError, Store};
use crate::sys::udev;

pub use self::plan::Step;
pub use self::status::Status;
use self::unit::Unit;

/// How long `udevd` has to open its socket after it was started.
const AWAKE: Duration = Duration::from_secs(10);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state could not be read.
    #[error("the state could not be read")]
    State(#[from] StateError),
    /// A service is not as it should be.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The device manager does not listen.
    #[error("the device manager does not listen at {} {} s after its start", udev::CONTROL, AWAKE.as_secs())]
    Deaf,
}

impl Retryable for Error {
    /// All of it may pass by itself.
    fn retry(&self) -> Retry {
        Retry::Soon
    }
}

/// Which units run, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Name and fingerprint.
    pub running: BTreeMap<String, String>,
}

/// The domain.
pub struct ServiceDomain {
    store: Store,
    suggested: watch::Receiver<Vec<IpAddr>>,
    children: Children,
    since: BTreeMap<String, (bool, Timestamp)>,
    faults_since: BTreeMap<String, Timestamp>,
    status: watch::Sender<Status>,
    settled: watch::Receiver<bool>,
}

impl ServiceDomain {
    /// Starts nothing yet. `suggested` are the time servers that the network offers; `settled` turns true when the
    /// machine has all its devices. Needs a runtime.
    pub fn new(
        store: Store,
        suggested: watch::Receiver<Vec<IpAddr>>,
        waker: Waker,
        status: watch::Sender<Status>,
        settled: watch::Receiver<bool>,
    ) -> ServiceDomain {
        waker.wake_when(settled.clone());
        ServiceDomain {
            store,
            suggested,
            children: Children::new(Home::default(), unit::is_ours, waker),
            since: BTreeMap::new(),
            faults_since: BTreeMap::new(),
            status,
            settled,
        }
    }

    /// Tells the device manager of every device that was there before it.
    async fn announce() -> Result<(), Error> {
        let listens = async {
            while !udev::listens() {
                // The socket appears within a moment; nothing tells when.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(AWAKE, listens)
            .await
            .map_err(|_| Error::Deaf)?;
        // Each file answers once the kernel has sent its message.
        tokio::task::spawn_blocking(udev::announce)
            .await
            .map_err(|_| Error::Deaf)?;
        Ok(())
    }
}

impl Domain for ServiceDomain {
    type Desired = Vec<Unit>;
    type Observed = Observed;
    type Step = Step;
    type Error = Error;

    const NAME: &'static str = "service";

    fn desired(&mut self) -> Result<Vec<Unit>, Error> {
        let site = self.store.site()?;
        let servers = site.map(|site| site.spec.ntp_servers).unwrap_or_default();
        let suggested = self.suggested.borrow_and_update().clone();
        let mut units = vec![Unit::Udevd];
        if *self.settled.borrow_and_update() {
            units.push(Unit::chronyd(&servers, &suggested));
        }
        Ok(units)
    }

    async fn observe(&mut self) -> Result<Observed, Error> {
        Ok(Observed {
            running: self.children.running()?,
        })
    }

    fn plan(desired: &Vec<Unit>, observed: &Observed) -> Vec<Step> {
        plan::plan(desired, observed)
    }

    async fn apply(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Stop(name) => self.children.stop(&name).await?,
            Step::Start(unit) => {
                let prepare = |directory: &Path| unit.launch(directory);
                self.children
                    .start(unit.name(), &unit.fingerprint(), prepare)?;
                if unit == Unit::Udevd {
                    Self::announce().await?;
                }
            }
        }
        Ok(())
    }

    fn publish(&mut self, desired: &Vec<Unit>, observed: &Observed, pass: &Pass) {
        let now = Timestamp::now();
        let mut services = Vec::new();
        for unit in desired {
            let name = unit.name();
            let running = observed.running.contains_key(name);
            let known = self.since.entry(name.to_owned()).or_insert((running, now));
            if known.0 != running {
                *known = (running, now);
            }
            let since = known.1;
            let message = if running {
                String::new()
            } else {
                self.children.last_words(name).unwrap_or_default()
            };
            services.push(Service {
                name: name.to_owned(),
                running,
                since,
                restarts: self.children.restarts(name),
                message,
            });
        }
        let faults = status::faults(&services, &pass.failures, &mut self.faults_since, now);
        self.status.send_replace(Status {
            services,
            pass: Some(pass.clone()),
            faults,
        });
    }
}

/// Ends the services, when the machine is about to end; the device manager last, volumes need it.
pub async fn take_down() -> Vec<Error> {
    let mut children = Children::new(Home::default(), unit::is_ours, Waker::default());
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

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::NodeId;

    #[tokio::test]
    async fn the_time_keeper_waits_for_the_devices() {
        let folder = tempfile::tempdir().unwrap();
        let node = NodeId(uuid::Uuid::from_u128(1));
        let store = Store::open(folder.path(), node).await.unwrap();
        let (settle, settled) = watch::channel(false);
        let (_, suggested) = watch::channel(Vec::new());
        let (status, _) = watch::channel(Status::default());
        let waker = Waker::default();
        let mut domain = ServiceDomain::new(store, suggested, waker.clone(), status, settled);
        let mut names = || -> Vec<&str> {
            let units = domain.desired().unwrap();
            units.iter().map(Unit::name).collect()
        };
        assert_eq!(names(), ["udevd"]);
        settle.send_replace(true);
        let woken = tokio::time::timeout(Duration::from_secs(5), waker.woken());
        woken.await.unwrap();
        assert_eq!(names(), ["udevd", "chronyd"]);
    }
}

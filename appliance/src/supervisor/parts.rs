//! The domains: builds each once, runs each in a loop of its own, and ends them in order with the machine.
//!
//! ```text
//!  start   services, network, storage     at once: each waits for what it needs by looking
//!          machines, the hardware's check when the machine has settled
//!  end     machines ─► storage ─► network ─► services     each stands on the next
//! ```

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::identity::Identity;
use crate::hardware::Hardware;
use crate::health::seen::Seen;
use crate::reconcile::progress::Board;
use crate::reconcile::{Domain, Waker, chain, drive};
use crate::state::Store;
use crate::{network, service, storage, vm};

/// How long guests may take to end. Init gives the whole end two minutes.
const GUESTS: Duration = Duration::from_secs(75);
/// How long a loop may take for the step it is at.
const LAST_STEP: Duration = Duration::from_secs(10);

/// The running domains, and what others need of them.
pub struct Parts {
    /// What they see.
    pub seen: Seen,
    /// How far jobs have come.
    pub board: Board,
    /// The way to the screens and serial lines of machines.
    pub consoles: vm::Consoles,
    /// The way for the bytes of images.
    pub uploads: storage::Uploads,
    /// The hardware.
    pub hardware: Hardware,
    places: network::Places,
    loops: Vec<JoinHandle<()>>,
}

impl Parts {
    /// Starts every domain; none waits for another here.
    pub fn start(
        store: &Store,
        identity: &Identity,
        hardware: Hardware,
        settled: &watch::Receiver<bool>,
        stopped: &watch::Receiver<bool>,
    ) -> Parts {
        let mut loops = Vec::new();
        let look = hardware.clone().run(stopped.clone());
        loops.push(tokio::spawn(look));
        let board = Board::default();
        let places = network::Places::default();

        let waker = Waker::default();
        let (status, network) = watch::channel(network::Status::default());
        let domain = network::NetworkDomain::new(
            store.clone(),
            identity.node,
            places.clone(),
            waker.clone(),
            status,
        );
        loops.push(run(domain, waker, store, stopped));

        let waker = Waker::default();
        let (status, services) = watch::channel(service::Status::default());
        let (suggest, suggested) = watch::channel(Vec::new());
        let domain = service::ServiceDomain::new(
            store.clone(),
            suggested,
            waker.clone(),
            status,
            settled.clone(),
        );
        loops.push(tokio::spawn(pass_time_servers(
            network.clone(),
            suggest,
            waker.clone(),
        )));
        loops.push(run(domain, waker, store, stopped));

        let waker = Waker::default();
        let (status, storage) = watch::channel(storage::Status::default());
        let domain = storage::StorageDomain::new(
            store.clone(),
            identity.node,
            board.clone(),
            waker.clone(),
            status,
            settled.clone(),
        );
        let uploads = storage::Uploads::new(store.clone(), storage.clone(), waker.clone());
        loops.push(run(domain, waker, store, stopped));

        let waker = Waker::default();
        let (status, vm) = watch::channel(vm::Status::default());
        let (domain, consoles) = vm::VmDomain::new(
            store.clone(),
            identity.node,
            identity.boot,
            vm::Place::default(),
            waker.clone(),
            status,
        );
        let (mut settled, mut ended) = (settled.clone(), stopped.clone());
        let (revision, stop) = (store.watch(), stopped.clone());
        loops.push(tokio::spawn(async move {
            // Both arms are cancel-safe: a watch keeps its newest value.
            let may_start = tokio::select! {
                _ = settled.wait_for(|settled| *settled) => true,
                _ = ended.wait_for(|ended| *ended) => false,
            };
            if may_start {
                drive(domain, waker, revision, stop).await;
            }
        }));

        Parts {
            seen: Seen {
                network,
                storage,
                vm,
                service: services,
                hardware: hardware.watch(),
            },
            hardware,
            board,
            consoles,
            uploads,
            places,
            loops,
        }
    }

    /// Ends everything, because the machine ends. The loops have been told to stop. Bounded at each step.
    pub async fn end(self) {
        for id in vm::end_all(&self.consoles, GUESTS).await {
            tracing::error!("the process of the virtual machine {id} could not be ended");
        }
        for task in self.loops {
            // One that is in the middle of a long step is not waited for longer: what follows is idempotent.
            let abort = task.abort_handle();
            if tokio::time::timeout(LAST_STEP, task).await.is_err() {
                abort.abort();
            }
        }
        for error in storage::take_down().await {
            tracing::warn!("take the volumes down: {}", chain(&error));
        }
        for error in network::NetworkDomain::take_down(&self.places).await {
            tracing::warn!("take the network down: {}", chain(&error));
        }
        for error in service::take_down().await {
            tracing::warn!("end the services: {}", chain(&error));
        }
    }
}

fn run<D: Domain>(
    domain: D,
    waker: Waker,
    store: &Store,
    stopped: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(drive(domain, waker, store.watch(), stopped.clone()))
}

/// Domains do not know one another: what DHCP says of time servers is handed on here.
async fn pass_time_servers(
    mut network: watch::Receiver<network::Status>,
    suggest: watch::Sender<Vec<std::net::IpAddr>>,
    waker: Waker,
) {
    while network.changed().await.is_ok() {
        let now = network.borrow_and_update().time_servers.clone();
        let changed = suggest.send_if_modified(|known| {
            let changed = *known != now;
            *known = now;
            changed
        });
        if changed {
            waker.wake();
        }
    }
}

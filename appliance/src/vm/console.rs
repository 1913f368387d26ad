//! What people see of machines: screens, serial lines, pictures; and the
//! end of all machines when the node ends.
//!
//! A handle that can be cloned and given to whoever serves people. It borrows
//! the owner's connection for each request and never acts on a machine's life.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ashlar_api::VmId;
use tokio::net::UnixStream;

use super::fleet::{Fleet, Reach};
use super::place::Place;
use super::qmp::Qmp;
use super::serial::SerialSession;
use super::vnc;

/// How long after their time machines may take to be gone before their groups are killed.
const GRACE: Duration = Duration::from_secs(20);
/// How long killed groups may take to be empty.
const KILLED: Duration = Duration::from_secs(5);

/// Screens and serial lines of the machines on this node.
#[derive(Clone, Debug)]
pub struct Consoles {
    fleet: Arc<Fleet>,
    place: Place,
}

/// Why a console can not be shown.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// There is no such machine on this node.
    #[error("there is no such virtual machine on this node")]
    NoSuchVm,
    /// It does not run.
    #[error("the virtual machine does not run")]
    NotRunning,
    /// Something went wrong.
    #[error("cannot {step}")]
    Failed {
        /// What was tried.
        step: &'static str,
        /// Why it did not work.
        source: Box<dyn Error + Send + Sync>,
    },
}

fn failed<E: Error + Send + Sync + 'static>(step: &'static str) -> impl Fn(E) -> ConsoleError {
    move |error| ConsoleError::Failed {
        step,
        source: Box::new(error),
    }
}

impl Consoles {
    pub(super) fn new(fleet: Arc<Fleet>, place: Place) -> Consoles {
        Consoles { fleet, place }
    }

    fn running(&self, id: VmId) -> Result<Reach, ConsoleError> {
        let reach = self.fleet.reach(id).ok_or(ConsoleError::NoSuchVm)?;
        let up = reach.live.borrow().up;
        up.then_some(reach).ok_or(ConsoleError::NotRunning)
    }

    fn qmp(&self, id: VmId) -> Result<Qmp, ConsoleError> {
        let qmp = self.running(id)?.live.borrow().qmp.clone();
        qmp.ok_or(ConsoleError::NotRunning)
    }

    /// Opens a viewer of the screen: a stream that speaks the protocol of VNC (RFB), without a password.
    pub async fn vnc(&self, id: VmId) -> Result<UnixStream, ConsoleError> {
        let qmp = self.qmp(id)?;
        vnc::connect(&qmp).await.map_err(failed("open the screen"))
    }

    /// Begins to look at the serial line.
    pub async fn serial(&self, id: VmId) -> Result<SerialSession, ConsoleError> {
        let reach = self.running(id)?;
        let session = reach.serial.attach().await;
        session.map_err(failed("open the serial line"))
    }

    /// Draws the screen as it is now, as PNG.
    pub async fn picture(&self, id: VmId) -> Result<Vec<u8>, ConsoleError> {
        let qmp = self.qmp(id)?;
        vnc::picture(&qmp).await.map_err(failed("draw the screen"))
    }
}

/// Ends every machine because the node ends: asks each guest, waits at most
/// `bound`, then cuts those that still run. No machine is started any more from
/// now on. Returns the machines whose process could not be ended at all.
pub async fn end_all(consoles: &Consoles, bound: Duration) -> Vec<VmId> {
    let until = Instant::now() + bound;
    consoles.fleet.end(until);
    let last = tokio::time::Instant::from_std(until + GRACE);
    for id in consoles.fleet.ids() {
        if let Some(mut reach) = consoles.fleet.reach(id) {
            // An owner that is no more is looked after below.
            let _ = tokio::time::timeout_at(last, reach.live.wait_for(|live| !live.up)).await;
        }
    }
    let populated = || -> Vec<VmId> {
        let groups = consoles.place.groups();
        let names = groups.iter().flat_map(|groups| groups.children());
        let ids = names.filter_map(|name| name.parse().ok());
        let group = |id: &VmId| consoles.place.cgroup(*id);
        ids.filter(|id| group(id).is_ok_and(|group| group.is_populated()))
            .collect()
    };
    for id in populated() {
        tracing::warn!(vm = %id, "is cut: its owner did not end it in time");
        if let Err(error) = consoles.place.cgroup(id).and_then(|group| group.kill()) {
            tracing::error!(vm = %id, "{error}");
        }
    }
    let late = Instant::now() + KILLED;
    while !populated().is_empty() && Instant::now() < late {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    populated()
}

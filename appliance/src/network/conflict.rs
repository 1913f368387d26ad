//! Is another machine using our address? A fixed address is chosen by a person,
//! and people choose addresses that are taken. The kernel does not ask, so this
//! does: an ARP probe (RFC 5227) after the address is set and every few minutes.
//! Addresses from a DHCP server are the server's care.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::management::{Ipv4, Origin};
use crate::reconcile::Waker;
use crate::state::schema::MANAGEMENT_BRIDGE;
use crate::sys::command::{CommandError, Tool};
use crate::sys::pidfd::Exit;

/// Waits after the first probes: the link may be coming up, and switches may hold frames back, when the address is set.
const AT_FIRST: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(30),
];
/// Between two probes while all is well, and while it is not.
const WELL: Duration = Duration::from_secs(300);
const ILL: Duration = Duration::from_secs(20);

/// Probes one address, again and again.
#[derive(Debug)]
pub struct Conflicts {
    waker: Waker,
    probe: Option<(Ipv4Addr, JoinHandle<()>)>,
    found: Arc<Mutex<BTreeSet<Ipv4Addr>>>,
}

impl Conflicts {
    /// Probes nothing yet.
    pub fn new(waker: Waker) -> Conflicts {
        Conflicts {
            waker,
            probe: None,
            found: Arc::default(),
        }
    }

    /// Which of our addresses another machine answers for.
    pub fn found(&self) -> BTreeSet<Ipv4Addr> {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Probes the address of these settings from now on, if it is a person's choice or made up.
    pub fn mind(&mut self, settings: Option<&Ipv4>) {
        let address = settings
            .filter(|settings| settings.origin != Origin::Lease)
            .map(|settings| settings.address.addr());
        let minded = self.probe.as_ref().map(|(address, _)| *address);
        if address == minded {
            return;
        }
        if let Some((old, task)) = self.probe.take() {
            task.abort();
            note(&self.found, old, false);
        }
        if let Some(address) = address {
            let task = probe(address, self.found.clone(), self.waker.clone());
            self.probe = Some((address, tokio::spawn(task)));
        }
    }
}

impl Drop for Conflicts {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.probe {
            task.abort();
        }
    }
}

/// Writes down what was found; true when it is news.
fn note(found: &Mutex<BTreeSet<Ipv4Addr>>, address: Ipv4Addr, taken: bool) -> bool {
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    match taken {
        true => found.insert(address),
        false => found.remove(&address),
    }
}

async fn probe(address: Ipv4Addr, found: Arc<Mutex<BTreeSet<Ipv4Addr>>>, waker: Waker) {
    let mut at_first = AT_FIRST.into_iter();
    loop {
        let asked = is_taken(address).await;
        if let Err(error) = &asked {
            tracing::debug!("cannot probe {address}: {error}");
        }
        if note(&found, address, matches!(asked, Ok(true))) {
            waker.wake();
        }
        let wait = match asked {
            Ok(false) => at_first.next().unwrap_or(WELL),
            Ok(true) | Err(_) => ILL,
        };
        tokio::time::sleep(wait).await;
    }
}

/// Asks the network. The tool ends with 1 when somebody else answers, and in duplicate-address mode it asks with the
/// sender 0.0.0.0, so that asking does no harm.
async fn is_taken(address: Ipv4Addr) -> Result<bool, CommandError> {
    let asked = Tool::new("busybox")
        .args(["arping", "-D", "-q", "-c", "2", "-w", "3"])
        .args(["-I", MANAGEMENT_BRIDGE])
        .arg(address.to_string())
        .timeout(Duration::from_secs(10))
        .run()
        .await;
    match asked {
        Ok(_) => Ok(false),
        Err(CommandError::Failed {
            status: Exit::Code(1),
            ref stderr,
            ..
        }) if stderr.trim().is_empty() => Ok(true),
        Err(error) => Err(error),
    }
}

//! What the domains see, as the API reads it.

use tokio::sync::watch;

use crate::{network, service, storage, vm};

/// The watches of all domains.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Links and networks.
    pub network: watch::Receiver<network::Status>,
    /// Drives, pools, volumes, images.
    pub storage: watch::Receiver<storage::Status>,
    /// Machines.
    pub vm: watch::Receiver<vm::Status>,
    /// Services.
    pub service: watch::Receiver<service::Status>,
}

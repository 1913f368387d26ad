//! What the domains see, as the API reads it.

use tokio::sync::watch;

use crate::{hardware, network, service, storage, vm};

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
    /// The hardware.
    pub hardware: watch::Receiver<hardware::Status>,
}

impl Seen {
    /// Whether every domain has looked since this process started, and the hardware was checked.
    pub fn is_whole(&self) -> bool {
        self.network.borrow().pass.is_some()
            && self.storage.borrow().pass.is_some()
            && self.vm.borrow().pass.is_some()
            && self.service.borrow().pass.is_some()
            && self.hardware.borrow().looked
    }
}

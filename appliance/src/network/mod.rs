//! The network of a node: its links, its management network, the networks of
//! its machines.
//!
//! ```text
//!  cable ── enp1s0 ─┐                       ┌─ vt… (a machine on a bridged network)
//!                   br-mgmt ────────────────┘   192.0.2.10/24, console and API
//!                     ▲ masquerade, nft
//!  10.77.0.1/24     br-1a2b3c4d ── vt…          a translated network: dnsmasq gives addresses and names
//!                   br-5e6f7a8b ── vt…          an isolated one: no address, no way out
//! ```
//!
//! The management link is a port of a bridge from the start, so that machines
//! can be put on the same network later without an interruption. The bridge has
//! the link's hardware address: to DHCP servers, switches and neighbours it is
//! the link.
//!
//! [`observe`] is what there is, [`want`] what it should be like with every
//! choice made, [`plan`] the difference; all three are plain data and pure
//! functions. [`eyes`] and [`apply`] touch the machine. Taps are made by the
//! domain of machines; here they are only counted.

mod apply;
mod children;
mod conflict;
pub mod dhcp;
mod dnsmasq;
mod domain;
mod events;
mod eyes;
mod generation;
mod management;
mod netlink;
mod nft;
pub mod observe;
pub mod plan;
mod service;
mod status;
pub mod want;

#[cfg(test)]
mod tests;

use crate::reconcile::children::ServiceError;
use crate::reconcile::{Retry, Retryable};
use crate::state::{ProposeError, StateError};
use crate::sys::command::CommandError;
use crate::sys::fs::FsError;

pub use self::children::Places;
pub use self::domain::NetworkDomain;
use self::netlink::NetlinkError;
pub use self::status::Status;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state could not be read.
    #[error("the state could not be read")]
    State(#[from] StateError),
    /// The state could not be told.
    #[error("the state could not be told")]
    Propose(#[from] ProposeError),
    /// The kernel did not do it.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The firewall could not be seen or set.
    #[error("the firewall could not be seen or set")]
    Firewall(#[from] CommandError),
    /// A child is not as it should be.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FsError),
    /// A kernel setting could not be set.
    #[error("cannot set the kernel setting {key} to {value}")]
    Sysctl {
        /// Its path under `/proc/sys`.
        key: String,
        /// The value.
        value: String,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Retryable for Error {
    /// Everything here may pass by itself: a link that is being renamed, a child that has to rest, a busy kernel.
    fn retry(&self) -> Retry {
        match self {
            // A command that the rules refuse is refused again until something else changes.
            Error::Propose(ProposeError::Refused(_)) => Retry::OnChange,
            _ => Retry::Soon,
        }
    }
}

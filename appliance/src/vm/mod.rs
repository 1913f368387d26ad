//! Virtual machines.
//!
//! ```text
//!  records ─► domain ─── tells ──► owner of a machine ──► QEMU, in a control group of its own
//!  (wanted)   (who has      ▲       (life: what next?)        │ QMP, serial line, screen, agent
//!              an owner?)   │              │                  │
//!                           └── is gone ───┤ status ◄─────────┘
//!                                          └──────► board: Status, faults
//!  http ─► Consoles ─► screen, serial line, picture, load of a machine that runs
//!  supervisor ─► end_all ─► every owner, when the node ends
//! ```
//!
//! A machine's life is a pure state machine ([`life`]) driven by one task, its
//! owner; nothing else acts on its process. The domain only sees to it that
//! each record has an owner that knows it, and that what is left of machines
//! without a record goes away. All that must outlive the supervisor is in the
//! control group, in the directory of the machine's sockets, or in the state:
//! the next supervisor finds a process by its group and talks to it by its
//! socket, and the guest does not notice.
//!
//! The end of the node: the supervisor calls [`end_all`]`(&consoles, bound)`
//! while the store is open, whether or not the loop of the domain still runs.
//! Every guest is asked to end (by its agent and by the power button), those
//! that still run after `bound` are cut; it returns the machines whose process
//! could not be ended at all, within `bound` and some 25 seconds.

pub mod admission;
mod agent;
pub mod arguments;
mod board;
mod console;
mod domain;
mod fleet;
pub mod life;
mod link;
mod metrics;
mod owner;
mod place;
mod probe;
mod process;
pub mod qmp;
mod sampler;
pub mod seed;
mod serial;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod vnc;
mod wanted;

pub use self::console::{ConsoleError, Consoles, end_all};
pub use self::domain::VmDomain;
pub use self::place::Place;
pub use self::probe::probe;
pub use self::serial::{MISSED, SerialSession};
pub use self::status::Status;

use crate::reconcile::{Retry, Retryable};
use crate::state::{ProposeError, StateError};
use crate::sys::cgroup::CgroupError;

/// Who proposes what was settled here.
const OURSELVES: &str = "ashlar";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state could not be read.
    #[error("the state could not be read")]
    State(#[from] StateError),
    /// The state could not be told.
    #[error("the state could not be told")]
    Propose(#[from] ProposeError),
    /// The control groups of machines can not be used.
    #[error("the control groups of virtual machines cannot be used")]
    Groups(#[from] CgroupError),
    /// What is left of a machine that is no more can not be removed.
    #[error("cannot remove what is left of a virtual machine")]
    Erase(#[from] place::EraseError),
}

impl Retryable for Error {
    fn retry(&self) -> Retry {
        match self {
            // A command that the rules refuse is refused again until something else changes.
            Error::Propose(ProposeError::Refused(_)) => Retry::OnChange,
            _ => Retry::Soon,
        }
    }
}

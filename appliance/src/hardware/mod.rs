//! The hardware of a node: what it is made of, and whether it will do.
//!
//! ```text
//!   /proc, /sys ──► observe ──► Observed ──► checks (pure) ──► Report ──► keeper ──► http, health
//!                  (thin edge)               catalogue.toml                 │ a file on the state partition
//!                                                                          └ what was overridden
//! ```
//!
//! The same look and the same checks serve three occasions: before an installation
//! (on any Linux: [`report`] needs neither a supervisor nor the state), at each
//! start and then each day, and whenever somebody asks. They use no network and
//! open no device, so they take milliseconds and disturb nothing.
//!
//! A check is a line in a table ([`checks`]) and a pure function of what was seen.
//! What blocks an installation is what is critical; a warning can be overridden by
//! somebody who knows better ([`kept`]). On a node that runs nothing is blocked:
//! a critical failure is a fault there, unless another part of the program tells
//! of the same thing in its own words.
//!
//! Reports and overrides stay on the node. They speak of one machine and are of no
//! use to another, they must be there when the node can reach nobody, and a node
//! that is installed anew is checked anew: so they are files on its state
//! partition, not commands in the log that all nodes share.

mod catalogue;
mod checks;
mod faults;
mod keeper;
mod kept;
mod machine;
mod observe;
mod observed;
#[cfg(test)]
mod tests;

use ashlar_api::hardware::{KnownModel, Report};

pub use catalogue::Catalogue;
pub use checks::{RULES, check};
pub use keeper::{Error, Hardware, Status};
pub use kept::news;
pub use observe::observe;
pub use observed::{Observed, Purpose};

/// Looks at this machine and checks it. Blocks, for milliseconds.
pub fn report(purpose: Purpose) -> Report {
    conclude(&observe(purpose))
}

/// What follows from what was seen.
pub fn conclude(seen: &Observed) -> Report {
    let catalogue = Catalogue::built_in();
    Report::new(
        seen.at,
        crate::sys::release::version(),
        machine::machine(seen),
        catalogue.of(seen).map(KnownModel::from),
        check(seen, catalogue),
    )
}

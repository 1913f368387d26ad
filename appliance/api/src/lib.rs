//! The words both ends speak.
//!
//! One file a noun: its spec (what is wanted, written by people), its status
//! (what is seen, written by the machine) and the requests on it. The console,
//! the command line and the appliance link this crate, so a name or a rule can
//! not differ between them. It does no I/O and builds for wasm32.
//!
//! Rules of one value live here, in `check` functions that name the field and
//! the remedy ([`validate`]); rules between objects ("this name is taken") are
//! the state machine's, which alone sees every object at once.

#[macro_use]
mod object;

pub mod certificate;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod fault;
pub mod hardware;
pub mod id;
pub mod image;
pub mod job;
pub mod metrics;
pub mod name;
pub mod network;
pub mod node;
pub mod pool;
pub mod quantity;
pub mod service;
pub mod site;
pub mod sizing;
pub mod update;
pub mod user;
pub mod validate;
pub mod vm;
pub mod volume;

pub use error::Problem;
pub use id::*;
pub use name::Name;
pub use object::{Condition, Page};
pub use quantity::Bytes;
pub use validate::{Check, FieldError};

/// A moment in UTC; RFC 3339 text in JSON (`2026-11-22T08:04:52Z`).
pub use jiff::Timestamp;

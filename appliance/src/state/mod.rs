//! What is wanted, replicated.
//!
//! ```text
//!   http, domains ── propose(Command) ──► raft log (raft.db) ──► state machine (state.db) ──► watch(revision)
//!                 ◄── list, get (read-only connections to state.db) ──
//! ```
//!
//! One node is a cluster of one: the log, the snapshots and the elections are
//! those that several nodes will use. A command and the index of its log entry
//! land in `state.db` in one transaction, so that after any crash each command
//! has been applied exactly once.

pub mod command;
pub mod schema;

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
//! functions. Taps are made by the
//! domain of machines; here they are only counted.

mod children;
mod conflict;
pub mod dhcp;
mod dnsmasq;
mod events;
mod management;
mod netlink;
mod nft;
pub mod observe;
pub mod plan;
mod service;
mod status;
pub mod want;

pub use self::children::Places;
pub use self::status::Status;

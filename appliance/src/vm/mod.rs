//! Virtual machines.

pub mod admission;
pub mod arguments;
pub mod life;
pub mod qmp;
pub mod seed;
mod status;

pub use self::status::Status;

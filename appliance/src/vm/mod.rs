//! Virtual machines.

mod status;

pub use self::status::Status;

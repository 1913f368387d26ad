//! The services of the node that run beside the domains.

mod status;

pub use self::status::Status;

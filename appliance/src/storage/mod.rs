//! Storage: drives, pools, volumes and images of this node.

pub mod inspect;
mod status;

pub use self::status::Status;

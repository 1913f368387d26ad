//! Storage: drives, pools, volumes and images of this node.

pub mod inspect;
mod lvm;
mod qemu_img;
mod reader;
mod status;

pub use self::status::Status;

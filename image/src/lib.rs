//! From sources to a bootable disk, and that disk in QEMU.
//!
//! `base` (kernel and root tree) + the release program with the console inside -> `root` (squashfs and initramfs) ->
//! `uki` (one EFI program) -> `disk` (what is flashed) and `bundle` (what an appliance updates to). `qemu` boots that disk, for people (`run`), for the tests, and
//! for `bench`. Everything made lies under the target directory; `place` says where.

pub mod api;
pub mod base;
pub mod bench;
pub mod boot;
pub mod build;
pub mod bundle;
pub mod cpio;
pub mod disk;
pub mod place;
pub mod progress;
pub mod qemu;
pub mod root;
pub mod run;
pub mod sign;
pub mod stamp;
pub mod tool;
pub mod uki;
pub mod web;

//! Thin edges to the kernel and to tools: each module wraps one thing and decides nothing.
//!
//! Invariant: nothing in here knows what a virtual machine, a pool or a network is. The domains above decide;
//! these modules only look and do, and they say exactly what failed on what. Files are read synchronously:
//! `/proc` and `/sys` answer from memory, and PID 1 (which has no runtime) uses the same code as the supervisor.

pub mod block;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod command;
pub mod fs;
pub mod gpt;
pub mod home;
pub mod hostname;
pub mod https;
pub mod init_socket;
pub mod io_uring;
pub mod noted;
pub mod pidfd;
pub mod proc;
pub mod readable;
pub mod release;
pub mod signature;
pub mod smbios;
pub mod sysfs;
pub mod tap;
pub mod tty;
pub mod udev;
pub mod uevent;

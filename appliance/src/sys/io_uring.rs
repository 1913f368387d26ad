//! Whether programs without rights may use io_uring: absent in old kernels, switched off in careful ones.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use super::sysfs;

/// Size of `struct io_uring_params`, which the kernel fills in.
const PARAMS: usize = 120;

/// Makes a ring of one entry and lets it go.
pub fn usable() -> bool {
    let off: i32 = sysfs::parse("/proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    if off != 0 {
        return false;
    }
    let mut params = [0u64; PARAMS / 8];
    // SAFETY: the kernel reads and writes one io_uring_params, which is 120 bytes of integers; all zeros asks for
    // nothing special. The array lives until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    match Errno::result(result).map(i32::try_from) {
        Ok(Ok(fd)) => {
            // SAFETY: the kernel has just given us this descriptor and nobody else owns it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_without_leaving_a_descriptor() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let first = super::usable();
        let before = count();
        for _ in 0..50 {
            assert_eq!(super::usable(), first);
        }
        assert!(count() < before + 50);
    }
}

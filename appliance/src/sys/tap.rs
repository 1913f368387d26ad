//! Network taps: the host's end of a virtual machine's network card.
//!
//! Invariant: a tap lives as long as somebody holds its descriptor. It is made here, handed to QEMU by number and
//! closed on our side; when QEMU ends, the kernel removes it, so none is ever left over. `vnet_hdr` is always on:
//! without it checksum and segmentation offload are lost.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

/// Why a tap could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` or `/dev/vhost-net` could not be opened: the module is not loaded.
    #[error("cannot open {path}")]
    Open {
        /// The device.
        path: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The name is empty, too long, or holds letters that a link's name may not have.
    #[error(
        "{name:?} cannot be the name of a network link: 1 to 15 letters, digits, '-', '_' or '.'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The kernel refused; `EBUSY` means that another process holds a tap of this name.
    #[error("cannot make the tap {name}")]
    Create {
        /// The name.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A tap that exists.
#[derive(Debug)]
pub struct Tap {
    /// One descriptor for each queue.
    pub queues: Vec<OwnedFd>,
}

const TUN: &str = "/dev/net/tun";
const VHOST: &str = "/dev/vhost-net";

impl Tap {
    /// Makes a tap with one or more queues. It is down; raising it and putting it in a bridge is netlink's work.
    pub fn create(name: &str, queues: usize) -> Result<Tap, TapError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || !name.bytes().all(fine) {
            return Err(TapError::Name {
                name: name.to_owned(),
            });
        }
        let failed = |errno: Errno| TapError::Create {
            name: name.to_owned(),
            source: errno.into(),
        };
        let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        if queues > 1 {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut fds = Vec::new();
        for _ in 0..queues.max(1) {
            let file = open(TUN)?;
            // SAFETY: ifreq is plain data for which all zeros is a valid value.
            let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = libc::c_char::from_ne_bytes([from]);
            }
            request.ifr_ifru.ifru_flags =
                libc::c_short::try_from(flags).map_err(|_| failed(Errno::EINVAL))?;
            // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns.
            let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &mut request) };
            Errno::result(result).map_err(failed)?;
            fds.push(OwnedFd::from(file));
        }
        Ok(Tap { queues: fds })
    }
}

/// Opens the kernel's packet mover for one queue. An error here is no disaster: QEMU then moves packets itself.
pub fn open_vhost_net() -> Result<OwnedFd, TapError> {
    open(VHOST).map(OwnedFd::from)
}

fn open(path: &'static str) -> Result<File, TapError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|source| TapError::Open { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::net::if_::if_nametoindex;

    #[test]
    fn lives_as_long_as_its_descriptor() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let tap = Tap::create("vt0123456789ab", 1).unwrap();
            assert!(if_nametoindex("vt0123456789ab").is_ok());
            let error = Tap::create("vt0123456789ab", 1).unwrap_err();
            assert!(matches!(&error, TapError::Create { source, .. } if source.raw_os_error() == Some(libc::EBUSY)));
            drop(tap);
            assert!(if_nametoindex("vt0123456789ab").is_err());
            assert_eq!(Tap::create("vtmany", 4).unwrap().queues.len(), 4);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn refuses_names_the_kernel_would_cut() {
        for name in ["", "sixteen-letters-", "a/b", "a b", "vt%d"] {
            assert!(
                matches!(Tap::create(name, 1), Err(TapError::Name { .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn vhost_is_there_or_the_error_names_it() {
        match open_vhost_net() {
            Ok(_) => assert!(std::path::Path::new(VHOST).exists()),
            Err(error) => assert_eq!(error.to_string(), "cannot open /dev/vhost-net"),
        }
    }
}

//! Settings of the kernel that hold from the first process on, and what the machine lacks.
//!
//! No swap, neither on disk nor in compressed memory: a host that swaps its guests is slow in a way nobody can
//! explain, and guests are promised their memory. What the host itself holds is small and mostly in use; the root
//! image in memory is compressed already.

use std::os::fd::AsRawFd;

use ashlar_api::event::Severity;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::fault::Fault;
use super::log;
use crate::sys::proc::{LITTLE_MEMORY, Memory};
use crate::sys::sysfs;

/// `/proc/sys`. A crash restarts the machine after ten seconds: its records are in the store by then, and a host that
/// stands still helps nobody. The rest keeps unprivileged programs from each other and from the kernel. Forwarding
/// and the like belong to the network domain.
const SETTINGS: [(&str, &str); 13] = [
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/kptr_restrict", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    ("kernel/yama/ptrace_scope", "1"),
    ("kernel/core_pattern", "|/bin/false"),
    ("kernel/poweroff_cmd", "/bin/busybox kill -PWR 1"),
    ("fs/protected_fifos", "1"),
    ("fs/protected_regular", "2"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_symlinks", "1"),
    ("fs/aio-max-nr", "1048576"),
];

/// Writes the settings; one that this kernel does not have is skipped.
pub fn apply_settings() {
    for (name, value) in SETTINGS {
        let path = format!("/proc/sys/{name}");
        if let Err(error) = std::fs::write(&path, value)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn(format_args!("cannot set {path}: {error}"));
        }
    }
    lower_reserve();
}

/// With huge pages, the kernel keeps 66 MiB free on any machine (`set_recommended_min_free_kbytes` in `mm/khugepaged.c`)
/// and counts half as much again as not available: a lot for one with little memory. It recommends so to keep large
/// pieces together, which guests break up less than many small programs.
fn lower_reserve() {
    let path = "/proc/sys/vm/min_free_kbytes";
    let total = Memory::read().total;
    let Some(kept) = sysfs::parse(path).filter(|_| total > 0) else {
        return;
    };
    let wanted = reserve(total);
    if wanted < kept
        && let Err(error) = std::fs::write(path, wanted.to_string())
    {
        log::warn(format_args!("cannot set {path}: {error}"));
    }
}

/// How many KiB are enough to keep free of so many bytes: 0.8 %, and at least what the kernel would keep of 16 GiB
/// without huge pages (`init_per_zone_wmark_min` in `mm/page_alloc.c`).
fn reserve(total: u64) -> u64 {
    (total >> 17).max(16 << 10)
}

/// Ends what the command line began (`rcupdate.rcu_expedited`): while the machine starts, whoever waits for the kernel's
/// clean-up is not kept waiting, at the price of disturbing all processors, which guests would feel.
pub fn end_haste() {
    let path = "/sys/kernel/rcu_expedited";
    if let Err(error) = std::fs::write(path, "0") {
        log::warn(format_args!("cannot set {path}: {error}"));
    }
}

/// Raises the loopback link; the kernel then gives it its address.
pub fn raise_loopback() -> std::io::Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: ifreq is plain data for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    // SAFETY: SIOCGIFFLAGS and SIOCSIFFLAGS read and write one ifreq, which lives until the calls return, and the
    // flags are the member of the union that both of them use.
    unsafe {
        Errno::result(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS,
            &mut request,
        ))?;
        request.ifr_ifru.ifru_flags |= libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
        Errno::result(libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            &request,
        ))?;
    }
    Ok(())
}

/// What the machine lacks to be a good host; what machines need of it is told by their domain.
pub fn shortcomings() -> Option<Fault> {
    memory_fault(Memory::read().total)
}

fn memory_fault(total: u64) -> Option<Fault> {
    (total < LITTLE_MEMORY).then(|| Fault {
        code: "low-memory",
        title: "The machine has little memory.".to_owned(),
        detail: format!(
            "It has {} MiB; the appliance itself needs most of that.",
            total >> 20
        ),
        remedy: "Add memory: 4 GiB or more, and what the virtual machines are to have.".to_owned(),
        severity: Severity::Warning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_memory_is_told() {
        assert!(
            memory_fault(1 << 30)
                .unwrap()
                .detail
                .starts_with("It has 1024 MiB")
        );
        assert_eq!(memory_fault(2_000_000_000), None);
        assert_eq!(memory_fault(64 << 30), None);
    }

    #[test]
    fn a_small_machine_keeps_less_free() {
        for (gibibytes, mebibytes) in [(1, 16), (2, 16), (4, 32), (8, 64), (64, 512)] {
            assert_eq!(reserve(gibibytes << 30), mebibytes << 10);
        }
    }

    #[test]
    fn loopback_comes_up_in_a_new_network() {
        std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let reach = || std::net::TcpStream::connect(listener.local_addr().unwrap());
            assert!(reach().is_err());
            raise_loopback().unwrap();
            raise_loopback().unwrap();
            reach().unwrap();
        })
        .join()
        .unwrap();
    }
}

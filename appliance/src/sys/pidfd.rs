//! Processes by descriptor: a pid may be handed to another process after its owner ended, a pidfd never is.
//!
//! The supervisor watches two kinds of processes with the same code: those it started (it must also reap them, or
//! they stay zombies) and those an earlier supervisor started (init reaps them; how they ended is then unknown).
//! `wait` hides the difference. `waitpid(-1)` is used nowhere but in init: it would steal the results of tokio's
//! own children.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It called exit with this code.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ended, but another process was its parent and got the result.
    Unknown,
}

impl Exit {
    /// Whether it ended with code 0.
    pub fn success(self) -> bool {
        self == Exit::Code(0)
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Exit::Unknown => f.write_str("ended, result unknown"),
        }
    }
}

/// A descriptor that stays bound to one process, alive or not.
#[derive(Debug)]
pub struct PidFd {
    pid: u32,
    fd: OwnedFd,
}

impl PidFd {
    /// Opens the process with this id. The caller makes sure that the id is still the process it means: by being
    /// its parent, or by looking at its cgroup again afterwards ([`super::cgroup::Cgroup::processes`]).
    pub fn open(pid: u32) -> io::Result<PidFd> {
        let raw =
            libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let result = unsafe { libc::syscall(libc::SYS_pidfd_open, raw, 0) };
        let number = Errno::result(result)?;
        let number = i32::try_from(number).map_err(io::Error::other)?;
        // SAFETY: the kernel has just given us this descriptor (close-on-exec) and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(PidFd { pid, fd })
    }

    /// The process id it was opened with.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal; a process that has ended already is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: a valid descriptor, a signal number, no siginfo: the kernel reads no memory of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal as libc::c_int,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        match Errno::result(result) {
            Ok(_) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the process still runs (a zombie does not).
    pub fn is_alive(&self) -> bool {
        !matches!(self.poll(PollTimeout::ZERO), Ok(true))
    }

    /// Waits for the end of the process and reaps it when it is our child.
    ///
    /// Dropping the future loses nothing: the next call sees the same end again, unless it was reaped.
    pub async fn wait(&self) -> io::Result<Exit> {
        // SAFETY: the descriptor is an OwnedFd: it stays open and the same until the AsyncFd is dropped.
        let watched =
            unsafe { AsyncFd::register_with_interest(self.fd.try_clone()?, Interest::READABLE) }?;
        let _ready = watched.readable().await?;
        Ok(self.reap())
    }

    /// Like [`Self::wait`] without a runtime; `None` when the time is over first.
    pub fn wait_blocking(&self, limit: Duration) -> io::Result<Option<Exit>> {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        Ok(self.poll(limit)?.then(|| self.reap()))
    }

    fn poll(&self, limit: PollTimeout) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, limit) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn reap(&self) -> Exit {
        match waitid(
            Id::PIDFd(self.fd.as_fd()),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
        ) {
            Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
            _ => Exit::Unknown,
        }
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn shell(script: &str) -> PidFd {
        let launch = crate::sys::child::Launch::new("/bin/sh");
        launch.args(["-c", script]).spawn().unwrap().pidfd
    }

    #[tokio::test]
    async fn waits_for_a_child_and_tells_how_it_ended() {
        let fd = shell("exit 7");
        assert_eq!(fd.wait().await.unwrap(), Exit::Code(7));
        assert!(!fd.is_alive());
        fd.signal(Signal::SIGTERM).unwrap();

        let fd = shell("exec sleep 1000");
        assert!(fd.is_alive());
        assert_eq!(fd.wait_blocking(Duration::from_millis(20)).unwrap(), None);
        fd.signal(Signal::SIGKILL).unwrap();
        assert_eq!(
            fd.wait_blocking(Duration::from_secs(5)).unwrap(),
            Some(Exit::Signal(9))
        );
    }

    #[tokio::test]
    async fn sees_the_end_of_a_process_that_is_not_ours() {
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 0.2 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()),
            &mut line,
        )
        .unwrap();
        let fd = PidFd::open(line.trim().parse().unwrap()).unwrap();
        assert_eq!(fd.wait().await.unwrap(), Exit::Unknown);
        shell.wait().unwrap();
    }

    #[test]
    fn names_the_signal() {
        assert_eq!(Exit::Signal(9).to_string(), "killed by SIGKILL");
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert!(PidFd::open(u32::MAX).is_err());
    }
}

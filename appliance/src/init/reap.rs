//! Taking the results of ended processes: of our own children, and of all that lost their parent.
//!
//! Invariant: only process 1 does this, and only in its main loop and at the end; while booting it waits for each of
//! its few children by name.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

use crate::sys::pidfd::Exit;

/// Reaps everything that has ended by now.
pub fn all() -> Vec<(u32, Exit)> {
    let mut ended = Vec::new();
    loop {
        match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(pid, code)) => {
                ended.push((pid.as_raw().unsigned_abs(), Exit::Code(code)))
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                ended.push((pid.as_raw().unsigned_abs(), Exit::Signal(signal as i32)));
            }
            // Ended by a signal this library has no name for: reaped, and that is all we want.
            Err(Errno::EINVAL | Errno::EINTR) => {}
            Ok(_) | Err(_) => return ended,
        }
    }
}

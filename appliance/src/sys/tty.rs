//! Terminals: what nix does not wrap.

use std::os::fd::{AsFd, AsRawFd};

nix::ioctl_read_bad!(tiocgwinsz, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Columns and rows of a terminal. `None` when it does not know, as serial
/// lines do not (ioctl_tty(2)).
pub fn size(terminal: &impl AsFd) -> Option<(u16, u16)> {
    let mut size = nix::libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is open for as long as it is borrowed, and the
    // kernel writes one `winsize`, which is what the pointer leads to.
    let answer = unsafe { tiocgwinsz(terminal.as_fd().as_raw_fd(), &mut size) };
    match answer {
        Ok(_) if size.ws_col > 0 && size.ws_row > 0 => Some((size.ws_col, size.ws_row)),
        _ => None,
    }
}

//! Whether the kernel's clock follows a time server.

/// No clock that is right shows an earlier moment: seconds since 1970.
pub const RELEASED: i64 = 1_767_225_600;

/// True if something disciplines the clock and it is close to the true time, as
/// the kernel keeps count of it (adjtimex(2): what chrony tells it).
pub fn synchronised() -> bool {
    // SAFETY: all-zero is a valid timex; `modes` 0 asks and sets nothing.
    let mut state: nix::libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a timex that lives through the call, and the
    // kernel writes nothing else.
    let answer = unsafe { nix::libc::adjtimex(&mut state) };
    answer >= 0 && answer != nix::libc::TIME_ERROR && state.status & nix::libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn can_be_asked() {
        // Either answer is right on a build machine; it must only be given.
        super::synchronised();
    }
}

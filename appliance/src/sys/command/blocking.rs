//! Running a tool without a runtime, for init: one poll loop over the pipes and the end of the tool.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{CommandError, GRACE, Group, Keep, Kept, MOST_OUTPUT, MOST_STDERR, Output, Tool};
use crate::sys::pidfd::PidFd;

impl Tool {
    /// The same for a process without a runtime (init).
    pub fn run_blocking(self) -> Result<Output, CommandError> {
        let started = Instant::now();
        let mut child = self
            .command()
            .spawn()
            .map_err(|source| self.spawn_error(source))?;
        let mut group = Group::of(Some(child.id()));
        let mut out = Kept::new(MOST_OUTPUT, Keep::First);
        let mut err = Kept::new(MOST_STDERR, Keep::Last);
        let watched = self.watch(&mut child, &mut out, &mut err, started);
        if !matches!(watched, Ok(true)) {
            group.kill();
        }
        let finished = watched.map_err(|source| self.io_error(source))?;
        if !finished {
            // Killed; one that hangs in the kernel must not hang us. Whoever reaps later takes it.
            if let Ok(fd) = PidFd::open(child.id()) {
                let _ = fd.wait_blocking(GRACE);
            }
            group.disarm();
            return Err(self.timed_out());
        }
        let exit = child.wait().map_err(|source| self.io_error(source))?;
        group.disarm();
        self.finish(exit.into(), out, err, started)
    }

    /// Moves bytes until the child ended; false when the time limit came first.
    fn watch(
        &self,
        child: &mut std::process::Child,
        out: &mut Kept,
        err: &mut Kept,
        started: Instant,
    ) -> io::Result<bool> {
        let ended = PidFd::open(child.id())?;
        let (mut stdin, mut stdout, mut stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        for fd in [
            stdin.as_ref().map(AsFd::as_fd),
            stdout.as_ref().map(AsFd::as_fd),
            stderr.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut to_write = self.stdin.as_slice();
        loop {
            if to_write.is_empty() {
                stdin = None;
            }
            let Some(left) = self.limit.checked_sub(started.elapsed()) else {
                return Ok(false);
            };
            let mut fds = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                stdin
                    .iter()
                    .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)),
            );
            fds.extend(
                stdout
                    .iter()
                    .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            );
            fds.extend(
                stderr
                    .iter()
                    .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)),
            );
            // One millisecond more: a rest below one would otherwise be rounded to no waiting at all.
            let left =
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, left) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let over = fds[0].any().unwrap_or(false);
            if let Some(pipe) = stdin.as_mut() {
                match pipe.write(to_write) {
                    Ok(written) => to_write = &to_write[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => to_write = &[],
                }
            }
            if drain(&mut stdout, out) {
                stdout = None;
            }
            if drain(&mut stderr, err) {
                stderr = None;
            }
            if over {
                return Ok(true);
            }
        }
    }
}

/// Reads what is there; true at the end of the pipe.
fn drain(pipe: &mut Option<impl Read>, kept: &mut Kept) -> bool {
    let Some(pipe) = pipe else { return true };
    let mut buffer = [0; 8192];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => kept.add(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[test]
    fn runs_without_a_runtime() {
        let output = Tool::new("cat")
            .stdin(vec![b'y'; 300_000])
            .run_blocking()
            .unwrap();
        assert_eq!(output.stdout.len(), 300_000);
        let error = shell("echo bad >&2; exit 3").run_blocking().unwrap_err();
        assert_eq!(error.stderr(), "bad\n");
        let started = Instant::now();
        let error = shell("sleep 100")
            .timeout(Duration::from_millis(100))
            .run_blocking()
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }));
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

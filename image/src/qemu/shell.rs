//! The debug shell of a machine: commands run as root inside of it, for measuring and for tests of what no API tells.
//!
//! The machine has it when it was made with [`super::RunOptions::shell`]: a second serial port, and the word on the
//! kernel's command line that has init start a shell there.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// The socket, in the machine's folder.
pub const SOCKET: &str = "shell.sock";
/// What has init start the shell.
pub const WORD: &str = "ashlar.debug-shell=ttyS1";

const GREETING: Duration = Duration::from_secs(30);

/// A connection to the shell.
pub struct Shell {
    stream: UnixStream,
    /// Counts commands, so that the end of one is never taken for that of another.
    number: u32,
}

impl Shell {
    pub(super) fn over(stream: UnixStream) -> Result<Self> {
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .context("cannot limit the wait for the shell")?;
        let mut shell = Self { stream, number: 0 };
        // Without echo and prompt, what comes back is what the command says.
        shell.run("stty -echo -onlcr; PS1=; PS2=", GREETING)?;
        Ok(shell)
    }

    /// Runs a command line and gives what it printed; an error when it fails or takes longer than `limit`.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<String> {
        self.number += 1;
        // Told in two parts, so that an echo of the command is not taken for its end.
        let (head, tail) = ("ashlar", format!("done-{}", self.number));
        let line = format!("{command}\necho {head}'-'{tail} $?\n");
        self.stream
            .write_all(line.as_bytes())
            .context("cannot write to the shell")?;
        let end = format!("{head}-{tail} ");
        let said = self
            .until(&end, limit)
            .with_context(|| format!("`{command}`"))?;
        let (output, code) = said
            .rsplit_once(&end)
            .context("the shell's answer has no end")?;
        ensure!(
            code.trim() == "0",
            "`{command}` failed with {}: {}",
            code.trim(),
            output.trim()
        );
        Ok(output.to_owned())
    }

    /// Reads until a whole line begins with `end`.
    fn until(&mut self, end: &str, limit: Duration) -> Result<String> {
        let deadline = Instant::now() + limit;
        let mut said = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&said);
            if text
                .split_once(end)
                .is_some_and(|(_, rest)| rest.contains('\n'))
            {
                return Ok(text.into_owned());
            }
            ensure!(
                Instant::now() < deadline,
                "no end after {} s; it said: {text}",
                limit.as_secs()
            );
            match self.stream.read(&mut buffer) {
                Ok(0) => bail!("the machine has gone"),
                Ok(count) => said.extend_from_slice(&buffer[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("cannot read from the shell"),
            }
        }
    }
}

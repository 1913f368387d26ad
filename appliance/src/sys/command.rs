//! The one way to run a tool: its words as a list (never a shell), a clean environment, a time limit.
//!
//! Invariant: when [`Tool::run`] returns or is dropped, the tool does not run any more, except as a daemon it
//! made of itself. The tool leads its own process group, so that a time limit also ends what it started.
//! Only `LC_ALL=C` and a fixed `PATH` are passed on: what a tool prints must not depend on who started us.
//!
//! Meaning is given to failures by the module that wraps the tool ("no such volume", "in use"); here a failure is
//! the status and what was said on stderr.

mod blocking;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt;
use std::pin::pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::pidfd::Exit;

/// Where tools are looked for; nothing else of the environment is passed on.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The time limit of a tool for which the caller names none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(60);
/// How long the output of an ended tool may stay open in a process it left behind.
const GRACE: Duration = Duration::from_secs(1);
/// More output than this is refused rather than kept in memory.
const MOST_OUTPUT: usize = 32 << 20;
/// Only the end of stderr is kept, errors are there.
const MOST_STDERR: usize = 64 << 10;

/// What a tool said that ended with code 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// The end of standard error.
    pub stderr: String,
}

/// Why a tool gave no result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started: not installed, no memory.
    #[error("cannot start {tool}")]
    Spawn {
        /// Name of the tool.
        tool: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It ran and ended with an error.
    #[error("{tool} {} failed ({status}): {}", .args.join(" "), last_line(.stderr))]
    Failed {
        /// Name of the tool.
        tool: String,
        /// Its arguments.
        args: Vec<String>,
        /// How it ended.
        status: Exit,
        /// The end of its standard error.
        stderr: String,
        /// Its standard output; some tools explain themselves there.
        stdout: String,
    },
    /// It ran longer than allowed and was killed.
    #[error("{tool} {} did not end within {after:?} and was killed", .args.join(" "))]
    TimedOut {
        /// Name of the tool.
        tool: String,
        /// Its arguments.
        args: Vec<String>,
        /// The limit.
        after: Duration,
    },
    /// It printed more than any tool we use should.
    #[error("{tool} printed more than {MOST_OUTPUT} bytes")]
    TooMuchOutput {
        /// Name of the tool.
        tool: String,
    },
    /// Its pipes could not be read or it could not be waited for.
    #[error("lost track of {tool}")]
    Io {
        /// Name of the tool.
        tool: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CommandError {
    /// The end of standard error of a tool that failed; empty for other errors.
    pub fn stderr(&self) -> &str {
        match self {
            CommandError::Failed { stderr, .. } => stderr,
            _ => "",
        }
    }
}

/// The last line that says something: one that names an error, else one with words.
fn last_line(text: &str) -> &str {
    let words = || {
        let lines = text.lines().rev().map(str::trim);
        lines.filter(|line| line.contains(char::is_alphanumeric))
    };
    words()
        .find(|line| line.contains("Error") || line.contains("error"))
        .or_else(|| words().next())
        .unwrap_or("it said nothing")
}

/// A tool with its arguments, ready to run.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `run`"]
pub struct Tool {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Tool {
    /// A tool by name (looked for in [`PATH`]) or by absolute path.
    pub fn new(program: impl AsRef<OsStr>) -> Tool {
        Tool {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            limit: DEFAULT_LIMIT,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Tool {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(mut self, args: I) -> Tool {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable beside `LC_ALL` and `PATH`.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Tool {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Bytes for standard input; without this it is `/dev/null`.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Tool {
        self.stdin = bytes.into();
        self
    }

    /// How long it may run; 60 s unless told.
    pub fn timeout(mut self, limit: Duration) -> Tool {
        self.limit = limit;
        self
    }

    /// Runs it to its end. Dropping the future kills it.
    pub async fn run(self) -> Result<Output, CommandError> {
        self.run_with(|_| {}).await
    }

    /// Like [`Self::run`], and hands over standard output while it comes, in pieces ended by a line feed or a
    /// carriage return: for tools that show their progress.
    pub async fn run_with(self, on_piece: impl FnMut(&str) + Send) -> Result<Output, CommandError> {
        let started = Instant::now();
        let mut command = tokio::process::Command::from(self.command());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| self.spawn_error(source))?;
        let mut group = Group::of(child.id());

        let mut out = Kept::new(MOST_OUTPUT, Keep::First);
        let mut err = Kept::new(MOST_STDERR, Keep::Last);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit = {
            let pipes = async {
                tokio::join!(
                    feed(stdin, &self.stdin),
                    read(stdout, &mut out, on_piece),
                    read(stderr, &mut err, |_| {})
                )
            };
            let mut pipes = pin!(pipes);
            let ended = tokio::time::timeout(self.limit, async {
                let mut drained = false;
                let exit = {
                    let mut exit = pin!(child.wait());
                    loop {
                        // Cancel-safe: both futures are pinned outside of the loop and go on where they were.
                        tokio::select! {
                            exit = &mut exit => break exit,
                            _ = &mut pipes, if !drained => drained = true,
                        }
                    }
                };
                if !drained {
                    // A daemon it left behind may hold the pipes open for ever.
                    let _ = tokio::time::timeout(GRACE, &mut pipes).await;
                }
                exit
            });
            ended.await
        };
        let exit = match exit {
            Ok(exit) => exit,
            Err(_) => {
                group.kill();
                let _ = tokio::time::timeout(GRACE, child.wait()).await;
                group.disarm();
                return Err(self.timed_out());
            }
        };
        group.disarm();
        let exit = exit.map_err(|source| self.io_error(source))?;
        self.finish(exit.into(), out, err, started)
    }

    fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", PATH)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn finish(
        &self,
        status: Exit,
        out: Kept,
        err: Kept,
        started: Instant,
    ) -> Result<Output, CommandError> {
        tracing::debug!(tool = %self.name(), args = ?self.args, %status, took = ?started.elapsed(), "ran");
        if out.refused {
            return Err(CommandError::TooMuchOutput { tool: self.name() });
        }
        let (stdout, stderr) = (out.text(), err.text());
        if status.success() {
            Ok(Output { stdout, stderr })
        } else {
            Err(CommandError::Failed {
                tool: self.name(),
                args: self.words(),
                status,
                stderr,
                stdout,
            })
        }
    }

    fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn words(&self) -> Vec<String> {
        self.args
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect()
    }

    fn spawn_error(&self, source: io::Error) -> CommandError {
        CommandError::Spawn {
            tool: self.name(),
            source,
        }
    }

    fn io_error(&self, source: io::Error) -> CommandError {
        CommandError::Io {
            tool: self.name(),
            source,
        }
    }

    fn timed_out(&self) -> CommandError {
        CommandError::TimedOut {
            tool: self.name(),
            args: self.words(),
            after: self.limit,
        }
    }
}

/// The process group of a tool, killed unless the tool was seen to end.
struct Group(Option<Pid>);

impl Group {
    fn of(pid: Option<u32>) -> Group {
        Group(
            pid.and_then(|pid| i32::try_from(pid).ok())
                .map(Pid::from_raw),
        )
    }

    fn kill(&self) {
        if let Some(group) = self.0 {
            // It may have ended in this moment.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }

    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

enum Keep {
    First,
    Last,
}

/// Output with a bound.
struct Kept {
    bytes: Vec<u8>,
    most: usize,
    keep: Keep,
    refused: bool,
}

impl Kept {
    fn new(most: usize, keep: Keep) -> Kept {
        Kept {
            bytes: Vec::new(),
            most,
            keep,
            refused: false,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        match self.keep {
            Keep::First if self.bytes.len() + bytes.len() > self.most => self.refused = true,
            Keep::First => self.bytes.extend_from_slice(bytes),
            Keep::Last => {
                self.bytes.extend_from_slice(bytes);
                if self.bytes.len() > 2 * self.most {
                    self.bytes.drain(..self.bytes.len() - self.most);
                }
            }
        }
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// Writes the input; a tool that does not read all of it is no error.
async fn feed(pipe: Option<tokio::process::ChildStdin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(bytes).await;
        let _ = pipe.shutdown().await;
    }
}

async fn read(
    pipe: Option<impl AsyncRead + Unpin>,
    kept: &mut Kept,
    mut on_piece: impl FnMut(&str),
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8192];
    let mut piece = Vec::new();
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        kept.add(&buffer[..count]);
        for &byte in &buffer[..count] {
            match byte {
                b'\n' | b'\r' => {
                    on_piece(&String::from_utf8_lossy(&piece));
                    piece.clear();
                }
                _ if piece.len() < 4096 => piece.push(byte),
                _ => {}
            }
        }
    }
    if !piece.is_empty() {
        on_piece(&String::from_utf8_lossy(&piece));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Tool {
        Tool::new("sh").args(["-c", script])
    }

    #[tokio::test]
    async fn gives_output_and_a_clean_environment() {
        let output = shell("env | cut -d= -f1 | sort | tr '\\n' ' '; echo oops >&2; pwd")
            .run()
            .await
            .unwrap();
        assert_eq!(output.stdout, "LC_ALL PATH PWD /\n");
        assert_eq!(output.stderr, "oops\n");
        let output = Tool::new("cat").stdin("hello").run().await.unwrap();
        assert_eq!(output.stdout, "hello");
        let many = vec![b'x'; 1 << 20];
        let output = Tool::new("cat").stdin(many.clone()).run().await.unwrap();
        assert_eq!(output.stdout.len(), many.len());
        // A tool that does not read its input must not hang us.
        Tool::new("true").stdin(many).run().await.unwrap();
    }

    #[tokio::test]
    async fn tells_how_it_failed() {
        let error = shell("echo first >&2; echo 'no such volume' >&2; exit 5")
            .run()
            .await
            .unwrap_err();
        assert!(matches!(
            &error,
            CommandError::Failed {
                status: Exit::Code(5),
                ..
            }
        ));
        assert!(
            error
                .to_string()
                .ends_with("failed (exit code 5): no such volume"),
            "{error}"
        );
        let error = Tool::new("ashlar-no-such-tool").run().await.unwrap_err();
        assert!(
            matches!(&error, CommandError::Spawn { tool, .. } if tool == "ashlar-no-such-tool")
        );
        let error = shell("kill -9 $$").run().await.unwrap_err();
        assert!(matches!(
            error,
            CommandError::Failed {
                status: Exit::Signal(9),
                ..
            }
        ));
    }

    #[tokio::test]
    async fn kills_the_whole_group_at_the_limit() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let path = marker.path().display();
        let started = Instant::now();
        let script = format!("(sleep 2; echo alive > {path}) & wait");
        let error = shell(&script)
            .timeout(Duration::from_millis(200))
            .run()
            .await
            .unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }));
        assert!(started.elapsed() < Duration::from_millis(1500));
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(std::fs::read_to_string(marker.path()).unwrap(), "");
    }

    #[tokio::test]
    async fn a_dropped_run_ends_the_tool() {
        let marker = tempfile::NamedTempFile::new().unwrap();
        let script = format!("(sleep 1; echo alive > {}) & wait", marker.path().display());
        let run = shell(&script).run();
        assert!(
            tokio::time::timeout(Duration::from_millis(200), run)
                .await
                .is_err()
        );
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(std::fs::read_to_string(marker.path()).unwrap(), "");
    }

    #[tokio::test]
    async fn a_daemon_left_behind_does_not_hold_us() {
        let started = Instant::now();
        let output = shell("setsid sleep 3 & echo done").run().await.unwrap();
        assert_eq!(output.stdout, "done\n");
        assert!(started.elapsed() < Duration::from_millis(2500));
    }

    #[tokio::test]
    async fn hands_over_progress_as_it_comes() {
        let mut pieces = Vec::new();
        let script = "printf ' (0.00/100%%)\\r (50.00/100%%)\\r'; printf ' (100.00/100%%)\\n'";
        shell(script)
            .run_with(|piece| pieces.push(piece.trim().to_owned()))
            .await
            .unwrap();
        assert_eq!(pieces, ["(0.00/100%)", "(50.00/100%)", "(100.00/100%)"]);
    }

    #[tokio::test]
    async fn refuses_endless_output() {
        let error = shell("head -c 40000000 /dev/zero").run().await.unwrap_err();
        assert!(matches!(error, CommandError::TooMuchOutput { .. }));
    }
}

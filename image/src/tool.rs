//! The one way the builder runs a program of the host: output is shown as progress, kept, and part of the error.
//!
//! `/usr/sbin` is added to the path, because Debian keeps mke2fs and mkfs.vfat there and out of an ordinary user's path.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::progress::Step;

const KEPT_LINES: usize = 30;

/// A program with its arguments, ready to run.
pub struct Tool {
    name: String,
    command: Command,
}

impl Tool {
    /// Names the program; its messages will be in the C locale.
    pub fn new(name: &str) -> Self {
        Self::over(name, Command::new(name))
    }

    /// The same over a command that was begun elsewhere; `name` is what errors call it.
    pub fn over(name: &str, mut command: Command) -> Self {
        command
            .env("LC_ALL", "C")
            .env("PATH", search_path())
            .stdin(Stdio::null());
        Self {
            name: name.to_owned(),
            command,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets one variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes one variable of the environment.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it in another folder.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Runs it and returns what it printed.
    pub fn output(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| self.missing())?;
        if !output.status.success() {
            bail!(
                "{} failed ({}): {}",
                self.name,
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("{} printed something that is not text", self.name))
    }

    /// Runs it, showing each line it prints (either stream) on the step; the last lines are in the error.
    pub fn show(mut self, step: &Step) -> Result<()> {
        let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
        let errors = writer.try_clone().context("cannot make a pipe")?;
        let spawned = self.command.stdout(writer).stderr(errors).spawn();
        let mut child = spawned.with_context(|| self.missing())?;
        // The command holds the writing ends; without this the reader would never see the end.
        self.command.stdout(Stdio::null()).stderr(Stdio::null());
        let last = follow(reader, step);
        let status = child
            .wait()
            .with_context(|| format!("cannot wait for {}", self.name))?;
        if !status.success() {
            bail!(
                "{} failed ({status}). Its last lines:\n{}",
                self.name,
                last.join("\n")
            );
        }
        Ok(())
    }

    fn missing(&self) -> String {
        format!(
            "cannot run {}: run `make setup`, which installs what is missing",
            self.name
        )
    }
}

/// Reads lines ended by newline or carriage return, shows them, and keeps the last ones.
fn follow(reader: impl Read, step: &Step) -> Vec<String> {
    let mut last = VecDeque::new();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
        let text = String::from_utf8_lossy(&line);
        if let Some(text) = text.trim_end().rsplit('\r').next() {
            step.say(text);
            last.push_back(text.to_owned());
        }
        if last.len() > KEPT_LINES {
            last.pop_front();
        }
        line.clear();
    }
    last.into()
}

/// Whether the program is on the path.
pub fn present(name: &str) -> bool {
    std::env::split_paths(&search_path()).any(|dir| dir.join(name).is_file())
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_last_lines() {
        let step = Step::start("test");
        let error = Tool::new("sh")
            .args(["-c", "echo one; echo two >&2; exit 3"])
            .show(&step)
            .unwrap_err()
            .to_string();
        assert!(error.contains("one\ntwo"), "{error}");
    }

    #[test]
    fn a_missing_program_names_the_remedy() {
        let error = Tool::new("no-such-program-here")
            .output()
            .unwrap_err()
            .to_string();
        assert!(error.contains("make setup"), "{error}");
    }
}

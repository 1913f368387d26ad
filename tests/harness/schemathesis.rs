//! Schemathesis, which asks an API everything that its OpenAPI document allows and forbids.
//!
//! It is a Python program and lives in an environment of its own under `target/tests/`, made by the first test that
//! needs it from `tests/schemathesis.txt`. Nothing of it is installed for the machine.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What is installed: every package with its version.
const PACKAGES: &str = include_str!("../schemathesis.txt");

/// The program; installed if it is not there, or not in these versions.
pub fn program() -> Result<PathBuf> {
    let home = crate::target().join("tests/schemathesis-environment");
    let stamp = home.join("packages.txt");
    let program = home.join("bin/schemathesis");
    if program.exists() && std::fs::read_to_string(&stamp).is_ok_and(|text| text == PACKAGES) {
        return Ok(program);
    }
    eprintln!("Installing Schemathesis in {}", home.display());
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&home))
    .context("run `make setup`")?;
    let list = home.join("wanted.txt");
    std::fs::write(&list, PACKAGES).with_context(|| format!("cannot write {}", list.display()))?;
    run(Command::new(home.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg("--requirement")
        .arg(&list))
    .context("the packages come from PyPI")?;
    std::fs::rename(&list, &stamp).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(program)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Its configuration: who asks, and which objects there are to ask for.
#[derive(Default)]
pub struct Configuration(String);

impl Configuration {
    /// Asks with an API token. The certificate was made a minute ago; that it is the right one is a test of its own.
    pub fn new(token: &str) -> Self {
        Configuration(format!(
            "tls-verify = false\nrequest-timeout = 60.0\n[auth.openapi]\ntoken = {{ bearer = \"{token}\" }}\n"
        ))
    }

    /// Gives a list of values a name.
    #[must_use]
    pub fn list(mut self, name: &str, values: &[String]) -> Self {
        // Ids and names of the API need no escapes. Writing to a text cannot fail.
        let _ = writeln!(self.0, "[dictionaries.{name}]\nvalues = {values:?}");
        self
    }

    /// Says what is put in for parameters: in every operation, or in those given as TOML.
    #[must_use]
    pub fn parameters(
        mut self,
        operations: Option<&str>,
        parameters: &[(&str, Value<'_>)],
    ) -> Self {
        self.0.push_str(match operations {
            Some(_) => "[[operations]]\n",
            None => "[parameters]\n",
        });
        let prefix = match operations {
            Some(which) => {
                let _ = writeln!(self.0, "{which}");
                "parameters."
            }
            None => "",
        };
        for (name, value) in parameters {
            let value = match value {
                // The rest of the time it invents something, as for every other parameter.
                Value::Mostly(list) => format!("{{ dictionary = \"{list}\", probability = 0.8 }}"),
                Value::Always(value) => format!("\"{value}\""),
            };
            let _ = writeln!(self.0, "{prefix}\"{name}\" = {value}");
        }
        self
    }

    /// Writes it to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.0).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What is put in for a parameter.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// Mostly one of a list.
    Mostly(&'a str),
    /// This and nothing else.
    Always(&'a str),
}

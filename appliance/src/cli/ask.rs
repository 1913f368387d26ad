//! Questions to the person at the terminal.
//!
//! Where there is no terminal nothing is asked: the command must then say by an
//! option what it would have been asked, or it ends with wrong usage.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::error::{Error, Result};
use super::output::plain;

/// The longest secret that is read.
const LONGEST: u64 = 64 * 1024;

/// True if somebody can be asked.
pub fn somebody() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a line; `otherwise` tells what to do where nobody can be asked.
pub fn line(question: &str, otherwise: &str) -> Result<String> {
    if !somebody() {
        return Err(Error::usage(
            format!(
                "{} is needed, and there is no terminal to ask at",
                plain(question)
            ),
            otherwise,
        ));
    }
    prompt(question)?;
    let mut text = String::new();
    io::stdin().read_line(&mut text).map_err(Error::Terminal)?;
    if text.is_empty() {
        return Err(given_up());
    }
    Ok(text.trim().to_owned())
}

fn prompt(question: &str) -> Result {
    let mut output = io::stderr().lock();
    write!(output, "{}: ", plain(question))
        .and_then(|()| output.flush())
        .map_err(Error::Terminal)
}

fn given_up() -> Error {
    Error::failed("given up", "")
}

/// Asks whether to go on; anything but yes is no.
pub fn sure(question: &str, otherwise: &str) -> Result {
    let answer = line(&format!("{question} [y/N]"), otherwise)?;
    if ["y", "yes"].contains(&answer.to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Error::failed("nothing was changed", ""))
}

/// Asks before something is lost, unless it was said beforehand.
pub fn unless_said(yes: bool, question: &str) -> Result {
    if yes {
        return Ok(());
    }
    sure(question, "Say so beforehand with --yes.")
}

/// The terminal hands over single keys until this is dropped.
pub struct Raw(());

impl Raw {
    /// Begins.
    pub fn begin() -> Result<Self> {
        enable_raw_mode().map_err(Error::Terminal)?;
        Ok(Raw(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The shell puts right what cannot be put right here.
        let _ = disable_raw_mode();
    }
}

/// A password: from a file (`-` is the input), else asked for without showing it.
pub fn password(file: Option<&Path>, question: &str) -> Result<String> {
    match file {
        Some(path) => from_file(path),
        None => hidden(question),
    }
}

/// A new password: asked for twice.
pub fn new_password(file: Option<&Path>, question: &str) -> Result<String> {
    let first = password(file, question)?;
    if file.is_none() && hidden("Once more")? != first {
        return Err(Error::failed(
            "the two passwords are not the same",
            "Run the command again.",
        ));
    }
    Ok(first)
}

/// The first line of a file; `-` is the input.
pub fn from_file(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(LONGEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text))
    };
    read.map_err(|error| Error::file("read", path, error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn hidden(question: &str) -> Result<String> {
    if !somebody() {
        return Err(Error::usage(
            format!("{question} is needed, and there is no terminal to ask at"),
            "Give it with --password-file FILE, or on the input with --password-file -.",
        ));
    }
    prompt(question)?;
    let text = {
        let _raw = Raw::begin()?;
        typed()
    };
    // The Enter that ended it was not shown either.
    let _ = writeln!(io::stderr().lock());
    text
}

fn typed() -> Result<String> {
    let mut text = String::new();
    loop {
        let key = match event::read().map_err(Error::Terminal)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            _ => continue,
        };
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Ok(text),
            KeyCode::Esc => return Err(given_up()),
            KeyCode::Char('c' | 'd') if control => return Err(given_up()),
            KeyCode::Char('j' | 'm') if control => return Ok(text),
            KeyCode::Char('u') if control => text.clear(),
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(c) if !control => text.push(c),
            _ => {}
        }
    }
}

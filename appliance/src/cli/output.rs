//! How answers are shown: tables for people, the API's JSON for programs.
//!
//! Names and texts can come from guests (the host name in a DHCP lease), so
//! nothing is printed that a terminal would take as a command.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ashlar_api::{Bytes, Condition, Timestamp};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde::Serialize;
use tabled::builder::Builder;
use tabled::settings::{Padding, Style};

use super::error::{Error, Result};

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables, for people
    #[default]
    Table,
    /// What the API answered, for programs
    Json,
}

/// How values look.
#[derive(Clone, Debug)]
pub struct Look {
    /// How answers are shown.
    pub format: Format,
    /// The time zone of the reader.
    pub zone: TimeZone,
    /// Names of other objects, by id.
    pub names: BTreeMap<String, String>,
}

impl Look {
    /// For the reader at this terminal.
    pub fn new(format: Format) -> Self {
        Look {
            format,
            zone: TimeZone::system(),
            names: BTreeMap::new(),
        }
    }

    /// A moment, in local time.
    pub fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string()
    }

    /// A moment that may be missing.
    pub fn maybe_time(&self, at: Option<Timestamp>) -> String {
        at.map(|at| self.time(at)).unwrap_or_default()
    }

    /// The name of another object, its id when the name is not known.
    pub fn name(&self, id: impl ToString) -> String {
        let id = id.to_string();
        self.names.get(&id).cloned().unwrap_or(id)
    }

    /// The name of another object that may be missing.
    pub fn maybe_name(&self, id: Option<impl ToString>) -> String {
        id.map(|id| self.name(id)).unwrap_or_default()
    }
}

/// The word with which the API writes a value of an enum.
pub fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

/// `yes` or `no`.
pub fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// How something is, in a word or a sentence.
pub fn condition(condition: &Condition) -> String {
    match (condition.ready, condition.message.as_str()) {
        (true, "") => "ready".to_owned(),
        (false, "") => "not ready".to_owned(),
        (_, message) => message.to_owned(),
    }
}

/// A part of a whole, in percent.
pub fn share(part: f32) -> String {
    format!("{:.0} %", part * 100.0)
}

/// Used and whole: `1.5 GiB of 20 GiB`.
pub fn of(part: Bytes, whole: Bytes) -> String {
    format!("{part} of {whole}")
}

/// A list in one cell.
pub fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// Text without what a terminal takes as a command.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A table with a line of headings.
pub fn table(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut builder = Builder::new();
    builder.push_record(columns.iter().map(|column| column.to_uppercase()));
    for row in rows {
        builder.push_record(row.iter().map(|cell| match cell.as_str() {
            "" => "-".to_owned(),
            text => plain(text),
        }));
    }
    drawn(builder)
}

/// What there is to say about one object, one line each; empty values are left out.
pub fn details(lines: &[(&str, String)]) -> String {
    let mut builder = Builder::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        for (i, part) in value.lines().enumerate() {
            let name = if i == 0 { *name } else { "" };
            builder.push_record([name.to_owned(), plain(part)]);
        }
    }
    drawn(builder)
}

fn drawn(builder: Builder) -> String {
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 3, 0, 0));
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes to the output.
pub fn write(bytes: &[u8]) -> Result {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::Unheard),
        Err(error) => Err(Error::Terminal(error)),
    }
}

/// Writes a text to the output.
pub fn print(text: &str) -> Result {
    write(text.as_bytes())
}

/// Writes JSON as it came, with an end of line.
pub fn json(body: &[u8]) -> Result {
    write(body)?;
    if body.ends_with(b"\n") || body.is_empty() {
        return Ok(());
    }
    write(b"\n")
}

/// Tells the reader something that is not the answer.
pub fn note(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr().lock(), "{}", plain(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = vec![
            vec!["web-1".to_owned(), "running".into(), "2 GiB".into()],
            vec!["db".to_owned(), String::new(), "512 MiB".into()],
            vec!["bad\x1b[2J".to_owned(), "stopped".into(), "1 GiB".into()],
        ];
        insta::assert_snapshot!(table(&["name", "state", "memory"], rows), @r"
        NAME      STATE     MEMORY
        web-1     running   2 GiB
        db        -         512 MiB
        bad�[2J   stopped   1 GiB
        ");
    }

    #[test]
    fn details_leave_out_what_is_empty() {
        let lines = [
            ("name", "web-1".to_owned()),
            ("description", String::new()),
            ("addresses", "10.77.0.2\n10.77.0.3".to_owned()),
        ];
        insta::assert_snapshot!(details(&lines), @r"
        name        web-1
        addresses   10.77.0.2
                    10.77.0.3
        ");
    }

    #[test]
    fn values_read_well() {
        let look = Look {
            zone: TimeZone::UTC,
            ..Look::new(Format::Table)
        };
        assert_eq!(look.time(Timestamp::UNIX_EPOCH), "1970-01-01 00:00:00");
        assert_eq!(word(&ashlar_api::vm::RunPolicy::Always), "always");
        assert_eq!(share(0.428), "43 %");
        assert_eq!(of(Bytes::gib(1), Bytes::gib(20)), "1 GiB of 20 GiB");
        assert_eq!(plain("a\r\n\u{9b}b"), "a\u{fffd}\u{fffd}\u{fffd}b");
    }
}

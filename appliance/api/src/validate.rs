//! Rules of single values: each failure names the field and the remedy.

use serde::{Deserialize, Serialize};

/// One field that can not be accepted as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FieldError {
    /// Path of the field in the request, such as `disks[0].size`.
    pub field: String,
    /// What is wrong and what would be right, as one sentence.
    pub message: String,
}

/// Collects what is wrong with a value.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    prefix: String,
    found: Vec<FieldError>,
}

impl Findings {
    /// Notes `message` on `field` unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, message: impl Into<String>) {
        if !holds {
            let field = match (self.prefix.as_str(), field) {
                ("", field) => field.to_owned(),
                (prefix, "") => prefix.to_owned(),
                (prefix, field) => format!("{prefix}.{field}"),
            };
            self.found.push(FieldError {
                field,
                message: message.into(),
            });
        }
    }

    /// Checks a part under its own path.
    pub fn within<C: Check + ?Sized>(&mut self, path: impl AsRef<str>, part: &C) {
        let mut inner = Findings {
            prefix: join(&self.prefix, path.as_ref()),
            found: Vec::new(),
        };
        part.check_into(&mut inner);
        self.found.append(&mut inner.found);
    }
}

fn join(prefix: &str, path: &str) -> String {
    if prefix.is_empty() {
        path.to_owned()
    } else {
        format!("{prefix}.{path}")
    }
}

/// A value with rules.
pub trait Check {
    /// Notes everything that is wrong.
    fn check_into(&self, findings: &mut Findings);

    /// All that is wrong at once, so that nobody mends one field at a time.
    fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut findings = Findings::default();
        self.check_into(&mut findings);
        if findings.found.is_empty() {
            Ok(())
        } else {
            Err(findings.found)
        }
    }
}

/// Free text: at most `max` characters and no control characters but newline and tab.
pub fn is_text(text: &str, max: usize) -> bool {
    text.chars().count() <= max
        && !text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
}

/// A DNS host name (RFC 1123): labels of letters, digits and hyphens.
pub fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

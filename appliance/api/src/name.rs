//! Names that people give: letters, digits, `-`, `_` and `.`, one to 63
//! characters, beginning with a letter or digit. Such a name is safe in a file
//! name, a URL and a host name field alike.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A valid name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", min_length = 1, max_length = 63))]
pub struct Name(String);

/// A text that can not be a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing was given.
    #[error("a name is needed")]
    Empty,
    /// More than 63 characters.
    #[error("at most 63 characters; this has {0}")]
    TooLong(usize),
    /// A character that names can not have.
    #[error("`{0}` can not be in a name; use letters, digits, `-`, `_` and `.`")]
    Character(char),
    /// It does not begin with a letter or digit.
    #[error("begin with a letter or a digit")]
    Start,
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let first = text.chars().next().ok_or(InvalidName::Empty)?;
        if let Some(bad) = text
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c)))
        {
            return Err(InvalidName::Character(bad));
        }
        if text.len() > 63 {
            return Err(InvalidName::TooLong(text.len()));
        }
        if !first.is_ascii_alphanumeric() {
            return Err(InvalidName::Start);
        }
        Ok(Name(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_wrong() {
        assert_eq!("".parse::<Name>(), Err(InvalidName::Empty));
        assert_eq!("-a".parse::<Name>(), Err(InvalidName::Start));
        assert_eq!("a b".parse::<Name>(), Err(InvalidName::Character(' ')));
        assert_eq!("ä".parse::<Name>(), Err(InvalidName::Character('ä')));
        assert_eq!(
            "a".repeat(64).parse::<Name>(),
            Err(InvalidName::TooLong(64))
        );
        assert!("web-01.example_x".parse::<Name>().is_ok());
    }
}

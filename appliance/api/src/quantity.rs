//! Amounts of bytes: a plain number in JSON, "20 GiB" where a person reads or
//! types. Binary units only, because memory and volumes are made of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u64))]
pub struct Bytes(pub u64);

/// A text that is not an amount of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size; write a number with a unit, such as `512M`, `20GiB` or `1.5T`")]
pub struct InvalidBytes(pub String);

const UNITS: [(&str, u32); 6] = [
    ("KiB", 10),
    ("MiB", 20),
    ("GiB", 30),
    ("TiB", 40),
    ("PiB", 50),
    ("EiB", 60),
];

impl Bytes {
    /// One kibibyte.
    pub const KIB: u64 = 1 << 10;
    /// One mebibyte.
    pub const MIB: u64 = 1 << 20;
    /// One gibibyte.
    pub const GIB: u64 = 1 << 30;
    /// One tebibyte.
    pub const TIB: u64 = 1 << 40;

    /// This many mebibytes.
    pub const fn mib(n: u64) -> Self {
        Bytes(n * Self::MIB)
    }
    /// This many gibibytes.
    pub const fn gib(n: u64) -> Self {
        Bytes(n * Self::GIB)
    }
    /// The amount in mebibytes, rounded down.
    pub const fn as_mib(self) -> u64 {
        self.0 / Self::MIB
    }
    /// The next multiple of `step` (saturating).
    pub const fn round_up(self, step: u64) -> Self {
        match self.0.checked_next_multiple_of(step) {
            Some(n) => Bytes(n),
            None => Bytes(u64::MAX / step * step),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((unit, shift)) = UNITS.iter().rev().find(|(_, shift)| self.0 >> shift > 0) else {
            return write!(f, "{} B", self.0);
        };
        // Two decimals at most: the loss of precision is the point of a rounded amount.
        let value = self.0 as f64 / (1u64 << shift) as f64;
        let text = if value >= 100.0 {
            format!("{value:.0}")
        } else if value >= 10.0 {
            format!("{value:.1}")
        } else {
            format!("{value:.2}")
        };
        let text = if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.')
        } else {
            &text
        };
        write!(f, "{text} {unit}")
    }
}

impl FromStr for Bytes {
    type Err = InvalidBytes;
    fn from_str(text: &str) -> Result<Self, InvalidBytes> {
        let invalid = || InvalidBytes(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let unit = unit.trim().to_ascii_uppercase();
        let shift = match unit.as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            "T" | "TB" | "TIB" => 40,
            "P" | "PB" | "PIB" => 50,
            _ => return Err(invalid()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Bytes).ok_or_else(invalid);
        }
        let (whole, fraction) = number.split_once('.').ok_or_else(invalid)?;
        if fraction.is_empty() || fraction.len() > 6 {
            return Err(invalid());
        }
        let whole: u64 = whole.parse().map_err(|_| invalid())?;
        let digits: u128 = fraction.parse().map_err(|_| invalid())?;
        let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| invalid())?);
        let part = (digits << shift) / scale;
        let total = (u128::from(whole) << shift) + part;
        u64::try_from(total).map(Bytes).map_err(|_| invalid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!("20GiB".parse(), Ok(Bytes::gib(20)));
        assert_eq!(" 1.5 T".parse(), Ok(Bytes(3 << 39)));
        assert_eq!("512m".parse(), Ok(Bytes::mib(512)));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        for bad in ["", "GiB", "1.G", "-1G", "1X", "99999999999P", "1.2.3G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn writes_what_people_read() {
        assert_eq!(Bytes(0).to_string(), "0 B");
        assert_eq!(Bytes::gib(20).to_string(), "20 GiB");
        assert_eq!(Bytes(3 << 29).to_string(), "1.5 GiB");
        assert_eq!(Bytes(100 << 20).to_string(), "100 MiB");
    }

    proptest! {
        #[test]
        fn whole_units_survive(n in 0u64..1 << 23) {
            prop_assert_eq!(format!("{n}M").parse(), Ok(Bytes::mib(n)));
            prop_assert!(Bytes::mib(n).to_string().parse::<Bytes>().is_ok());
        }
    }
}

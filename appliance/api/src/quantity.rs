//! Amounts of bytes: a plain number in JSON, "20 GiB" where a person reads or
//! types. Binary units only, because memory and volumes are made of them; but a
//! drive is called what is printed on it, which counts in thousands
//! ([`DriveSize`]): read as binary, a drive of 2 TB would be a tenth too large.

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
        let value = self.0 as f64 / (1u64 << shift) as f64;
        write!(f, "{} {unit}", decimals(value))
    }
}

impl FromStr for Bytes {
    type Err = InvalidBytes;
    fn from_str(text: &str) -> Result<Self, InvalidBytes> {
        read(text, |unit| {
            let shift = match unit {
                "" | "B" => 0,
                "K" | "KB" | "KIB" => 10,
                "M" | "MB" | "MIB" => 20,
                "G" | "GB" | "GIB" => 30,
                "T" | "TB" | "TIB" => 40,
                "P" | "PB" | "PIB" => 50,
                _ => return None,
            };
            Some(1 << shift)
        })
        .map(Bytes)
        .ok_or_else(|| InvalidBytes(text.to_owned()))
    }
}

/// A number of a unit: `unit` says how many bytes one is, by its name in capitals.
fn read(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, name) = trimmed.split_at(split);
    let unit = unit(&name.trim().to_ascii_uppercase())?;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let (whole, fraction) = number.split_once('.')?;
    if fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let digits: u128 = fraction.parse().ok()?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let unit = u128::from(unit);
    u64::try_from(u128::from(whole) * unit + digits * unit / scale).ok()
}

/// The size of a drive, in the units of its label: `2 TB` is 2,000,000,000,000 bytes. `2TiB` and a plain number of bytes
/// are read as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriveSize(pub Bytes);

/// A text that is not the size of a drive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the size of a drive; write it as on its label, such as `960GB` or `3.84TB`")]
pub struct InvalidDriveSize(pub String);

impl FromStr for DriveSize {
    type Err = InvalidDriveSize;
    fn from_str(text: &str) -> Result<Self, InvalidDriveSize> {
        read(text, |unit| {
            Some(match unit {
                "" | "B" => 1,
                "M" | "MB" => 1_000_000,
                "G" | "GB" => 1_000_000_000,
                "T" | "TB" => 1_000_000_000_000,
                "P" | "PB" => 1_000_000_000_000_000,
                "MIB" => Bytes::MIB,
                "GIB" => Bytes::GIB,
                "TIB" => Bytes::TIB,
                "PIB" => 1 << 50,
                _ => return None,
            })
        })
        .map(|size| DriveSize(Bytes(size)))
        .ok_or_else(|| InvalidDriveSize(text.to_owned()))
    }
}

impl fmt::Display for DriveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, f64); 4] = [("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)];
        let size = self.0.0 as f64;
        // A little less than a whole unit is written as one: labels are rounded too.
        match UNITS.iter().find(|(_, scale)| size >= scale * 0.9995) {
            Some((unit, scale)) => write!(f, "{} {unit}", decimals(size / scale)),
            None => write!(f, "{size:.0} B"),
        }
    }
}

/// Three digits at least, two decimals at most: the loss of precision is the point of a rounded amount.
fn decimals(value: f64) -> String {
    let text = if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
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

    #[test]
    fn drives_are_called_what_is_printed_on_them() {
        let size = |text: &str| text.parse::<DriveSize>().map(|size| size.0.0);
        assert_eq!(size("2TB"), Ok(2_000_000_000_000));
        assert_eq!(size("3.84 t"), Ok(3_840_000_000_000));
        assert_eq!(size("960GB"), Ok(960_000_000_000));
        assert_eq!(size("2TiB"), Ok(2 << 40));
        assert_eq!(size("2000398934016"), Ok(2_000_398_934_016));
        for bad in ["", "TB", "2X", "-2TB", "99999999P"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        let label = |size| DriveSize(Bytes(size)).to_string();
        assert_eq!(label(1_920_383_410_176), "1.92 TB");
        assert_eq!(label(4_000_787_030_016), "4 TB");
        assert_eq!(label(128_000_000_000_000), "128 TB");
        assert_eq!(label(512), "512 B");
    }

    proptest! {
        #[test]
        fn labels_are_read_again(n in 1u64..1000) {
            let size = DriveSize(Bytes(n * 1_000_000_000));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn whole_units_survive(n in 0u64..1 << 23) {
            prop_assert_eq!(format!("{n}M").parse(), Ok(Bytes::mib(n)));
            prop_assert!(Bytes::mib(n).to_string().parse::<Bytes>().is_ok());
        }
    }
}

//! Numbers and words as people read them. Pure, so the rules are tested without
//! a browser. Between a number and its unit stands a no-break space, so that no
//! line ever ends between the two.

use ashlar_api::Bytes;
use ashlar_api::quantity::DriveSize;

const NBSP: char = '\u{a0}';

/// An amount of bytes in binary units: `20 GiB`.
pub fn bytes(amount: Bytes) -> String {
    amount.to_string().replace(' ', "\u{a0}")
}

/// Two amounts that are compared, in the unit of the larger: `("9.1", "21.8 TiB")`.
pub fn share_of(part: Bytes, whole: Bytes) -> (String, String) {
    let whole_text = bytes(whole);
    let unit = whole_text.rsplit(NBSP).next().unwrap_or_default();
    let shift = match unit {
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        "PiB" => 50,
        _ => 0,
    };
    let value = part.0 as f64 / (1u64 << shift) as f64;
    (decimal(value), whole_text)
}

/// Bytes per second: `1.2 MiB/s`.
pub fn rate(per_second: u64) -> String {
    format!("{}/s", bytes(Bytes(per_second)))
}

/// The size of a drive as printed on it, in decimal units: `1.92 TB`.
pub fn drive(size: Bytes) -> String {
    DriveSize(size).to_string().replace(' ', "\u{a0}")
}

/// A share between 0 and 1: `38 %`; small shares keep one decimal.
pub fn percent(share: f64) -> String {
    format!("{}{NBSP}%", percent_number(share))
}

/// A share between 0 and 1 without its sign: `38`.
pub fn percent_number(share: f64) -> String {
    let value = if share.is_finite() {
        (share * 100.0).clamp(0.0, 999.0)
    } else {
        0.0
    };
    if value > 0.0 && value < 0.1 {
        "<0.1".to_owned()
    } else if value > 0.0 && value < 9.95 {
        trim(&format!("{value:.1}"))
    } else {
        format!("{value:.0}")
    }
}

/// How large `part` is of `whole`, 0 to 1.
pub fn ratio(part: Bytes, whole: Bytes) -> f64 {
    if whole.0 == 0 {
        0.0
    } else {
        (part.0 as f64 / whole.0 as f64).min(1.0)
    }
}

/// A stretch of time, in the one or two units that matter: `2 h 5 min`.
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}{NBSP}s"),
        (0, 0, m) => format!("{m}{NBSP}min"),
        (0, h, 0) => format!("{h}{NBSP}h"),
        (0, h, m) => format!("{h}{NBSP}h {m}{NBSP}min"),
        (1, 0, _) => format!("1{NBSP}day"),
        (1, h, _) => format!("1{NBSP}day {h}{NBSP}h"),
        (d, _, _) => format!("{d}{NBSP}days"),
    }
}

/// A number with its noun: `1 machine`, `24 machines`.
pub fn count(n: usize, one: &str, many: &str) -> String {
    let noun = if n == 1 { one } else { many };
    format!("{n}{NBSP}{noun}")
}

/// Names in a sentence: `a`, `a and b`, `a, b and 3 more`.
pub fn names(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [a, b] => format!("{a} and {b}"),
        [a, b, c] => format!("{a}, {b} and {c}"),
        [a, b, rest @ ..] => format!("{a}, {b} and {} more", rest.len()),
    }
}

/// The first letter as a capital.
pub fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

/// Up to two letters that stand for a person.
pub fn initials(name: &str) -> String {
    let mut words = name
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| !w.is_empty());
    let first = words.next().unwrap_or_default();
    match words.next() {
        Some(second) => first
            .chars()
            .take(1)
            .chain(second.chars().take(1))
            .collect(),
        None => first.chars().take(2).collect(),
    }
}

/// A name made of free text, such as that of a file: what names can not have becomes `-`.
pub fn name_from(text: &str) -> String {
    let mut name = String::new();
    for c in text.trim().chars() {
        if c.is_ascii_alphanumeric() || ".-_".contains(c) {
            name.push(c);
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

fn decimal(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        trim(&format!("{value:.1}"))
    } else {
        trim(&format!("{value:.2}"))
    }
}

fn trim(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        text.replace(NBSP, " ")
    }

    #[test]
    fn amounts() {
        assert_eq!(plain(&bytes(Bytes::gib(20))), "20 GiB");
        assert_eq!(plain(&rate(1_258_291)), "1.2 MiB/s");
        assert_eq!(plain(&drive(Bytes(1_920_383_410_176))), "1.92 TB");
        assert_eq!(plain(&drive(Bytes(4_000_787_030_016))), "4 TB");
        assert_eq!(plain(&drive(Bytes(21_474_836_480))), "21.5 GB");
        let (part, whole) = share_of(Bytes(91 << 37), Bytes(218 << 37));
        assert_eq!(
            (part.as_str(), plain(&whole).as_str()),
            ("11.4", "27.2 TiB")
        );
        assert_eq!(share_of(Bytes(0), Bytes(0)).0, "0");
    }

    #[test]
    fn shares() {
        assert_eq!(plain(&percent(0.384)), "38 %");
        assert_eq!(plain(&percent(0.0)), "0 %");
        assert_eq!(plain(&percent(0.031)), "3.1 %");
        assert_eq!(plain(&percent(0.0004)), "<0.1 %");
        assert_eq!(plain(&percent(f64::NAN)), "0 %");
        assert!((ratio(Bytes(1), Bytes(0))).abs() < f64::EPSILON);
    }

    #[test]
    fn times() {
        assert_eq!(plain(&duration(22)), "22 s");
        assert_eq!(plain(&duration(540)), "9 min");
        assert_eq!(plain(&duration(7500)), "2 h 5 min");
        assert_eq!(plain(&duration(86_400 + 7200)), "1 day 2 h");
        assert_eq!(plain(&duration(86_400 * 41)), "41 days");
        assert_eq!(duration(-5), duration(0));
    }

    #[test]
    fn words() {
        assert_eq!(plain(&count(1, "machine", "machines")), "1 machine");
        assert_eq!(plain(&count(0, "machine", "machines")), "0 machines");
        let all: Vec<String> = "a b c d".split(' ').map(str::to_owned).collect();
        assert_eq!(names(&all[..2]), "a and b");
        assert_eq!(names(&all), "a, b and 2 more");
        assert_eq!(initials("anna visser"), "av");
        assert_eq!(initials("operator"), "op");
        assert_eq!(capital("élan"), "Élan");
        assert_eq!(
            name_from("Debian 13 (cloud).qcow2"),
            "Debian-13-cloud-.qcow2"
        );
        assert_eq!(name_from("--"), "");
        assert!(
            name_from(&"x".repeat(200))
                .parse::<ashlar_api::Name>()
                .is_ok()
        );
    }
}

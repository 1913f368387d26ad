//! Small attributes of `/sys`, read with their type.
//!
//! Invariant: an attribute that is absent or unreadable is `None`, never an error: which ones exist depends on the
//! driver, and a missing drive model must not hide the drive.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

/// The text without blanks around it; `None` when absent, unreadable or empty.
pub fn text(path: impl AsRef<Path>) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(|letter: char| letter.is_whitespace() || letter == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// A number (or anything else that can be parsed).
pub fn parse<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}

/// `1` is true.
pub fn flag(path: impl AsRef<Path>) -> Option<bool> {
    parse::<u8>(path).map(|value| value != 0)
}

/// The last part of what a link points to, as `driver -> ../../bus/pci/drivers/nvme`.
pub fn link_name(path: impl AsRef<Path>) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// The names in a directory, sorted; none when it is absent.
pub fn names(path: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A `uevent` file: one `KEY=value` a line.
pub fn uevent(path: impl AsRef<Path>) -> BTreeMap<String, String> {
    let text = text(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `major:minor`.
pub fn device_number(path: impl AsRef<Path>) -> Option<(u32, u32)> {
    let text = text(path)?;
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("model"), "Samsung SSD 990   \n").unwrap();
        std::fs::write(at("size"), "2048\n").unwrap();
        std::fs::write(at("empty"), "\n").unwrap();
        std::fs::write(at("dev"), "259:3\n").unwrap();
        std::fs::write(
            at("uevent"),
            "MAJOR=259\nPARTNAME=ashlar-state\nDEVTYPE=partition\n",
        )
        .unwrap();
        std::os::unix::fs::symlink("../../bus/pci/drivers/nvme", at("driver")).unwrap();
        assert_eq!(text(at("model")).as_deref(), Some("Samsung SSD 990"));
        assert_eq!(parse::<u64>(at("size")), Some(2048));
        assert_eq!(parse::<u64>(at("model")), None);
        assert_eq!(text(at("empty")), None);
        assert_eq!(flag(at("none")), None);
        assert_eq!(device_number(at("dev")), Some((259, 3)));
        assert_eq!(uevent(at("uevent"))["PARTNAME"], "ashlar-state");
        assert_eq!(link_name(at("driver")).as_deref(), Some("nvme"));
        assert_eq!(names(at("none")), Vec::<String>::new());
        assert!(names("/sys/class").contains(&"block".to_owned()));
    }
}

//! Which release this program is a part of.
//!
//! The image knows, in `/etc/os-release` (os-release(5)): one program can be a part of several. Elsewhere, as on the
//! computer of an administrator, it is the version that the program was made with.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

const FILE: &str = "/etc/os-release";
/// Guests that start take their time.
const TRIAL: Duration = Duration::from_secs(300);

/// The version, as `1.2.0`.
pub fn version() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let text = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
        parse(&text).unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned())
    })
}

/// Whether this system is an appliance.
pub fn is_appliance() -> bool {
    let text = std::fs::read_to_string(Path::new(FILE)).unwrap_or_default();
    parse(&text).is_some()
}

/// How long a release that is on trial has to pass its checks. Kernel word `ashlar.trial=SECONDS` gives another time.
pub fn trial_limit() -> Duration {
    let words = super::proc::kernel_words();
    let given = words
        .iter()
        .find_map(|word| word.strip_prefix("ashlar.trial="));
    given
        .and_then(|seconds| seconds.parse().ok())
        .map_or(TRIAL, Duration::from_secs)
}

fn parse(text: &str) -> Option<String> {
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        let found = lines
            .filter(|(key, _)| *key == name)
            .map(|(_, value)| value)
            .next_back();
        found.map(|value| value.trim_matches('"').to_owned())
    };
    (value("ID")? == "ashlar").then(|| value("VERSION_ID"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_of_an_image_of_ours() {
        let ours = "NAME=\"Ashlar\"\nID=ashlar\nVERSION_ID=\"1.2.0\"\n";
        assert_eq!(parse(ours).as_deref(), Some("1.2.0"));
        assert_eq!(parse("ID=debian\nVERSION_ID=\"13\"\n"), None);
        assert_eq!(parse(""), None);
    }
}

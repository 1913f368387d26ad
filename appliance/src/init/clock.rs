//! The clock, before any time server is reached.
//!
//! Invariant: time never lies before the newest moment we know to have been: when this program was built, or when
//! the machine was last seen running. A battery that is empty starts in 1970 or 2000, and then no certificate is
//! valid and the time servers' own answers are refused. The clock is only ever set forward here.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ashlar_api::event::Severity;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

use super::fault::Fault;
use super::log;
use crate::sys::fs;

const SAVED: &str = "/var/lib/ashlar/clock";
/// Drift of a healthy clock between two starts, and the error of the last saved time.
const TOLERANCE: Duration = Duration::from_secs(3600);
/// A clock this far ahead of the program is as absurd as one behind it.
const FUTURE: Duration = Duration::from_secs(20 * 365 * 86400);

/// Sets the clock forward when it is absurd. Returns what was wrong.
pub fn correct() -> Option<Fault> {
    let now = now();
    let wanted = better(now, built(), saved(Path::new(SAVED)))?;
    let before = describe(now);
    if let Err(errno) = clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::from_duration(wanted)) {
        log::error(format_args!("cannot set the clock: {errno}"));
    }
    Some(Fault {
        code: "clock",
        title: "The clock of the machine was wrong.".to_owned(),
        detail: format!("It said {before} and was set to {}, the last time known.", describe(wanted)),
        remedy: "Times may be wrong until a time server is reached. If this comes back after each start, \
                 replace the battery on the mainboard."
            .to_owned(),
        severity: Severity::Warning,
    })
}

/// Remembers the time for the next start.
pub fn save() {
    let text = format!("{}\n", now().as_secs());
    if let Err(error) = fs::write_atomic(Path::new(SAVED), text.as_bytes(), 0o600) {
        log::warn(log::chain(&error));
    }
}

/// The time to set, when the clock's is absurd.
fn better(now: Duration, built: Duration, saved: Option<Duration>) -> Option<Duration> {
    // A saved time from an absurd clock must not keep the absurdity alive.
    let saved = saved
        .filter(|saved| *saved < built + FUTURE)
        .unwrap_or_default();
    let newest = built.max(saved);
    (now + TOLERANCE < newest || now > built + FUTURE).then_some(newest)
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Given by the build, else the age of the program's file.
fn built() -> Duration {
    let given = option_env!("ASHLAR_BUILD_TIME")
        .and_then(|text| text.parse().ok())
        .map(Duration::from_secs);
    let file = || {
        std::fs::metadata("/proc/self/exe")
            .and_then(|file| file.modified())
            .ok()
    };
    given
        .or_else(|| file()?.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default()
}

fn saved(path: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(path).ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn describe(time: Duration) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => format!("{seconds} seconds after 1970"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_forward_to_the_newest_moment_known() {
        let day = |days: u64| Duration::from_secs(days * 86400);
        let (built, saved) = (day(20_000), Some(day(20_100)));
        assert_eq!(better(day(0), built, None), Some(built));
        assert_eq!(better(day(0), built, saved), saved);
        assert_eq!(better(day(20_050), built, saved), saved);
        assert_eq!(better(day(20_101), built, saved), None);
        assert_eq!(
            better(day(20_100) - Duration::from_secs(60), built, saved),
            None
        );
        assert_eq!(better(day(60_000), built, saved), saved);
        assert_eq!(better(day(20_101), built, Some(day(90_000))), None);
    }

    #[test]
    fn reads_what_it_saved() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("clock");
        assert_eq!(saved(&path), None);
        std::fs::write(&path, "1790000000\n").unwrap();
        assert_eq!(saved(&path), Some(Duration::from_secs(1_790_000_000)));
        assert_eq!(
            describe(Duration::from_secs(1_790_000_000)),
            "2026-09-21 14:13 UTC"
        );
        assert!(built() > Duration::from_secs(1_700_000_000));
    }
}

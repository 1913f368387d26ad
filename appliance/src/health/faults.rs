//! What is wrong with the node as a whole: what no domain sees because it is
//! nobody's subject (room, memory, the clock, the certificate), and what init
//! found while it started.
//!
//! All rules are pure functions of [`Facts`]; each fault says what, where, and
//! what to do. Thresholds for going away are the same as for coming: values
//! here move slowly.

use std::path::Path;
use std::time::Duration;

use ashlar_api::certificate::Certificate;
use ashlar_api::event::Severity;
use ashlar_api::fault::Fault;
use ashlar_api::{Bytes, Timestamp};
use serde::Deserialize;

use crate::sys::clock::RELEASED;
use crate::sys::fs::Space;
use crate::sys::proc::Memory;

/// What the rules look at.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Since when the kernel runs.
    pub uptime: Duration,
    /// True if a time server disciplines the clock.
    pub synchronised: bool,
    /// The node's memory.
    pub memory: Memory,
    /// The certificate in use.
    pub certificate: Certificate,
    /// Room on the state partition.
    pub state: Option<Space>,
    /// The largest files on it with their sizes, while it is nearly full.
    pub largest: Vec<(String, u64)>,
}

/// With less room on the state partition the state refuses to make anything new.
const NOTHING_NEW: Bytes = crate::state::ROOM_TO_CREATE;
/// The clock has so much time to follow a server.
const CLOCK_PATIENCE: Duration = Duration::from_secs(600);

/// One per code and subject: what makes two faults the same one.
pub fn key(fault: &Fault) -> String {
    match &fault.subject {
        Some(subject) => format!("{} {}", fault.code, subject.id),
        None => fault.code.clone(),
    }
}

/// Whether so little is free that it matters what takes the room.
pub fn is_nearly_full(space: &Space) -> bool {
    space.available < space.total / 10
}

/// What is wrong by these rules, each since now.
pub fn own(facts: &Facts) -> Vec<Fault> {
    let mut found = Vec::new();
    found.extend(memory(&facts.memory, facts.now));
    found.extend(clock(facts));
    found.extend(certificate(&facts.certificate, facts.now));
    found.extend(
        facts
            .state
            .as_ref()
            .and_then(|space| state(space, &facts.largest, facts.now)),
    );
    found
}

fn fault(
    code: &str,
    severity: Severity,
    title: String,
    detail: String,
    remedy: &str,
    now: Timestamp,
) -> Fault {
    Fault {
        code: code.to_owned(),
        severity,
        title,
        detail,
        remedy: remedy.to_owned(),
        subject: None,
        since: now,
    }
}

fn memory(memory: &Memory, now: Timestamp) -> Option<Fault> {
    if memory.total == 0 {
        return None;
    }
    let (total, available) = (memory.total, memory.available);
    let severity = if available < total / 50 || available < 96 * Bytes::MIB {
        Severity::Critical
    } else if available < total / 20 || available < 160 * Bytes::MIB {
        Severity::Warning
    } else {
        return None;
    };
    Some(fault(
        "memory-short",
        severity,
        "The node has hardly any memory left".to_owned(),
        format!(
            "{} of {} can still be used.",
            Bytes(available),
            Bytes(total)
        ),
        "Stop a virtual machine or give one less memory; or put more memory in.",
        now,
    ))
}

fn clock(facts: &Facts) -> Option<Fault> {
    if facts.now.as_second() < RELEASED {
        return Some(fault(
            "clock-wrong",
            Severity::Critical,
            "The clock is wrong".to_owned(),
            format!(
                "It shows {}, which is before this version was made.",
                facts.now
            ),
            "Make sure a time server can be reached (Settings, Site), or set the clock in the firmware. The battery of the main board may be empty.",
            facts.now,
        ));
    }
    (!facts.synchronised && facts.uptime > CLOCK_PATIENCE).then(|| {
        fault(
            "clock-alone",
            Severity::Warning,
            "The clock does not follow a time server".to_owned(),
            "It will slowly go wrong, and with it times in logs and the validity of certificates."
                .to_owned(),
            "Check the time servers (Settings, Site) and that the network lets UDP port 123 out.",
            facts.now,
        )
    })
}

fn certificate(certificate: &Certificate, now: Timestamp) -> Option<Fault> {
    let left = certificate.not_after.as_second() - now.as_second();
    let days = left / 86_400;
    let (severity, title) = match left {
        ..=0 => (Severity::Critical, "The certificate has ended".to_owned()),
        _ if days < 7 => (
            Severity::Critical,
            format!("The certificate ends in {days} days"),
        ),
        _ if days < 30 => (
            Severity::Warning,
            format!("The certificate ends in {days} days"),
        ),
        _ => return None,
    };
    let remedy = if certificate.self_signed {
        "Make a new one (Settings, Certificate)."
    } else {
        "Put in a new one (Settings, Certificate)."
    };
    let detail = format!(
        "It is valid until {}; browsers refuse it after that.",
        certificate.not_after
    );
    Some(fault(
        "certificate-ends",
        severity,
        title,
        detail,
        remedy,
        now,
    ))
}

fn state(space: &Space, largest: &[(String, u64)], now: Timestamp) -> Option<Fault> {
    if !is_nearly_full(space) {
        return None;
    }
    let (size, free) = (Bytes(space.total), Bytes(space.available));
    let (severity, title, follows) = if free < NOTHING_NEW {
        (
            Severity::Critical,
            "The system drive is full",
            "Nothing new can be made; what there is can be used, changed and deleted.",
        )
    } else {
        (
            Severity::Warning,
            "The system drive is nearly full",
            "When it is full, nothing new can be made.",
        )
    };
    let largest: Vec<String> = largest
        .iter()
        .map(|(name, size)| format!("{name} ({})", Bytes(*size)))
        .collect();
    let largest = match largest.as_slice() {
        [] => String::new(),
        files => format!(" The largest files are {}.", files.join(", ")),
    };
    Some(fault(
        "system-drive-full",
        severity,
        title.to_owned(),
        format!("{free} of {size} are free for what the appliance keeps. {follows}{largest}"),
        "Restart the node, which removes old files that it set aside, and delete machines, users and tokens that \
         nobody needs. If that does not help, remove the largest files from the partition ashlar-state with a rescue \
         system, and report it: the drive should not fill.",
        now,
    ))
}

/// A fault that init noted while the node started.
#[derive(Deserialize)]
struct Noted {
    code: String,
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    remedy: String,
    severity: Severity,
}

/// The faults in `<run>/faults/*.json`. One that cannot be read is left out and logged.
pub fn noted(directory: &Path, now: Timestamp) -> Vec<Fault> {
    let mut found = Vec::new();
    for name in crate::sys::sysfs::names(directory) {
        if !name.ends_with(".json") {
            continue;
        }
        let read = std::fs::read(directory.join(&name)).map_err(|error| error.to_string());
        let parsed = read.and_then(|bytes| {
            serde_json::from_slice::<Noted>(&bytes).map_err(|error| error.to_string())
        });
        match parsed {
            Ok(noted) => {
                let mut fault = fault(
                    &noted.code,
                    noted.severity,
                    noted.title,
                    noted.detail,
                    &noted.remedy,
                    now,
                );
                fault.since = modified(&directory.join(&name)).unwrap_or(now);
                found.push(fault);
            }
            Err(error) => tracing::warn!(name, "a fault that was noted cannot be read: {error}"),
        }
    }
    found
}

fn modified(path: &Path) -> Option<Timestamp> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?;
    Timestamp::try_from(time).ok()
}

/// The worst first; among equals the newest.
pub fn sort(faults: &mut [Fault]) {
    faults.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then(b.since.cmp(&a.since))
            .then(a.title.cmp(&b.title))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            now: "2026-11-22T08:00:00Z".parse().unwrap(),
            uptime: Duration::from_secs(3600),
            synchronised: true,
            memory: Memory {
                total: 8 << 30,
                available: 4 << 30,
                ..Memory::default()
            },
            certificate: Certificate {
                fingerprint: String::new(),
                subject: String::new(),
                issuer: String::new(),
                names: Vec::new(),
                not_before: "2020-01-01T00:00:00Z".parse().unwrap(),
                not_after: "2036-12-31T00:00:00Z".parse().unwrap(),
                self_signed: true,
            },
            state: Some(Space {
                total: 1 << 30,
                available: 1 << 29,
            }),
            largest: Vec::new(),
        }
    }

    fn codes(facts: &Facts) -> Vec<(String, Severity)> {
        own(facts)
            .into_iter()
            .map(|fault| (fault.code, fault.severity))
            .collect()
    }

    #[test]
    fn a_sound_node_has_no_faults() {
        assert!(codes(&facts()).is_empty());
        let fresh = Facts {
            synchronised: false,
            uptime: Duration::from_secs(60),
            ..facts()
        };
        assert!(codes(&fresh).is_empty());
    }

    #[test]
    fn each_rule_is_told() {
        let mut sick = facts();
        sick.synchronised = false;
        sick.memory.available = 100 << 20;
        sick.certificate.not_after = "2026-12-10T00:00:00Z".parse().unwrap();
        sick.state = Some(Space {
            total: 1 << 30,
            available: 1 << 20,
        });
        let wanted = [
            ("memory-short", Severity::Critical),
            ("clock-alone", Severity::Warning),
            ("certificate-ends", Severity::Warning),
            ("system-drive-full", Severity::Critical),
        ];
        let wanted: Vec<_> = wanted.iter().map(|(c, s)| ((*c).to_owned(), *s)).collect();
        assert_eq!(codes(&sick), wanted);
        assert!(
            own(&sick)
                .iter()
                .all(|fault| !fault.remedy.is_empty() && !fault.title.is_empty())
        );
        sick.now = "2001-01-01T00:00:00Z".parse().unwrap();
        assert!(codes(&sick).contains(&("clock-wrong".to_owned(), Severity::Critical)));
    }

    #[test]
    fn a_full_system_drive_names_what_fills_it() {
        let mut full = facts();
        full.largest = vec![
            ("crash/old".into(), 900 << 20),
            ("state.db".into(), 1 << 20),
        ];
        let with = |available: u64| Facts {
            state: Some(Space {
                total: 1 << 30,
                available,
            }),
            ..full.clone()
        };
        let told = own(&with(64 << 20));
        assert_eq!(told[0].severity, Severity::Warning);
        let told = own(&with(31 << 20));
        assert_eq!(told[0].title, "The system drive is full");
        assert!(
            told[0]
                .detail
                .contains("crash/old (900 MiB), state.db (1 MiB)"),
            "{}",
            told[0].detail
        );
        assert!(told[0].remedy.contains("Restart the node"));
    }

    #[test]
    fn what_init_noted_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write(
            "no-state.json",
            r#"{"code":"no-state","title":"No state partition","detail":"d","remedy":"r","severity":"critical"}"#,
        );
        write("bad.json", "{");
        write("other.txt", "x");
        let found = noted(directory.path(), Timestamp::now());
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].code.as_str(), found[0].severity),
            ("no-state", Severity::Critical)
        );
        assert!(noted(Path::new("/none"), Timestamp::now()).is_empty());
    }
}

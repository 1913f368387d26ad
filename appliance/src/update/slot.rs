//! Which releases are on the disk, and which one the boot loader will start: its rules, as a pure function of file names.
//!
//! ```text
//!   ashlar-0.3.0.ready      received and verified; the boot loader does not see it
//!   ashlar-0.2.0.efi        good
//!   ashlar-0.2.0+3.efi      on trial: three attempts left           the boot loader counts down with each start
//!   ashlar-0.2.0+1-2.efi    on trial: one left, two were made
//!   ashlar-0.2.0+0-3.efi    put aside: none left
//!   ashlar-0.1.0.aside      put aside, and the boot loader does not see it
//! ```
//!
//! systemd-boot starts the newest version that is not put aside, or the newest of all when all are (systemd-boot(7), and
//! the Automatic Boot Assessment of systemd). So a release is chosen by the names alone, never by a setting of the
//! loader, whose `default` would hold for a release that fails as well.
//!
//! Invariant: while a release is on trial, the loader sees two: that one, and the one that ran before, which starts when it
//! fails. An older one is tried by putting the running one aside for the loader: when both are, the newer starts.

use std::cmp::Reverse;

use ashlar_api::Bytes;
use ashlar_api::update::{Standing, Version};

/// How many attempts a release has to start and pass its checks.
pub const TRIES: u32 = 3;

const PREFIX: &str = "ashlar-";
const SUFFIX: &str = ".efi";
const READY: &str = ".ready";
const ASIDE: &str = ".aside";

/// The counter in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Attempts that are left.
    pub left: u32,
    /// Attempts that were made.
    pub done: u32,
}

/// How a release stands with the boot loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Not seen: it was received and verified.
    Ready,
    /// Seen, and good.
    Good,
    /// Seen, with a counter.
    Counted(Tries),
    /// Not seen: it was put aside.
    Hidden,
}

/// A release on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its version.
    pub version: Version,
    /// What its name says beside that.
    pub mark: Mark,
    /// Its size.
    pub size: Bytes,
}

/// A file to be renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// From this name.
    pub from: String,
    /// To this.
    pub to: String,
}

impl Slot {
    /// The slot of a file; none when its name is not one of ours.
    pub fn parse(name: &str, size: Bytes) -> Option<Slot> {
        // FAT keeps what was written, but compares without regard to case.
        let lower = name.to_ascii_lowercase();
        let rest = lower.strip_prefix(PREFIX)?;
        let (version, mark) = if let Some(version) = rest.strip_suffix(READY) {
            (version, Mark::Ready)
        } else if let Some(version) = rest.strip_suffix(ASIDE) {
            (version, Mark::Hidden)
        } else {
            let seen = rest.strip_suffix(SUFFIX)?;
            match seen.split_once('+') {
                Some((version, counter)) => (version, Mark::Counted(Tries::parse(counter)?)),
                None => (seen, Mark::Good),
            }
        };
        Some(Slot {
            version: version.parse().ok()?,
            mark,
            size,
        })
    }

    /// Its file name.
    pub fn name(&self) -> String {
        let end = match self.mark {
            Mark::Ready => READY.to_owned(),
            Mark::Hidden => ASIDE.to_owned(),
            Mark::Good => SUFFIX.to_owned(),
            Mark::Counted(Tries { left, done: 0 }) => format!("+{left}{SUFFIX}"),
            Mark::Counted(Tries { left, done }) => format!("+{left}-{done}{SUFFIX}"),
        };
        format!("{PREFIX}{}{end}", self.version)
    }

    /// Whether it can be relied on.
    pub fn standing(&self) -> Standing {
        match self.mark {
            Mark::Ready => Standing::Ready,
            Mark::Good => Standing::Good,
            Mark::Hidden | Mark::Counted(Tries { left: 0, .. }) => Standing::Aside,
            Mark::Counted(_) => Standing::Trial,
        }
    }

    /// Whether the boot loader knows of it.
    pub fn is_seen(&self) -> bool {
        matches!(self.mark, Mark::Good | Mark::Counted(_))
    }

    /// Attempts that are left, while it is on trial.
    pub fn tries_left(&self) -> Option<u32> {
        match self.mark {
            Mark::Counted(tries) if tries.left > 0 => Some(tries.left),
            _ => None,
        }
    }

    /// Whether it is on trial while it runs. One that was put aside and not started since waits for another to be tried.
    pub fn is_tried(&self) -> bool {
        matches!(self.mark, Mark::Counted(tries) if tries.left > 0 || tries.done > 0)
    }

    /// Attempts that were made to start it.
    fn done(&self) -> u32 {
        match self.mark {
            Mark::Counted(tries) => tries.done,
            _ => 0,
        }
    }

    fn renamed(&self, mark: Mark) -> Option<Rename> {
        let to = Slot {
            mark,
            ..self.clone()
        };
        (to.mark != self.mark).then(|| Rename {
            from: self.name(),
            to: to.name(),
        })
    }
}

impl Tries {
    fn parse(counter: &str) -> Option<Tries> {
        let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
        Some(Tries {
            left: left.parse().ok()?,
            done: done.parse().ok()?,
        })
    }
}

/// The one that the boot loader starts next.
pub fn next(slots: &[Slot]) -> Option<&Slot> {
    let is_aside = |slot: &Slot| slot.standing() == Standing::Aside;
    slots
        .iter()
        .filter(|slot| slot.is_seen())
        .max_by_key(|slot| (Reverse(is_aside(slot)), slot.version.clone()))
}

/// What is to be renamed so that the boot loader tries `chosen` next and `running` when that fails. In this order, for the
/// power may go in between: up to the last the machine starts one of the two.
pub fn choose(slots: &[Slot], running: &Version, chosen: &Version) -> Vec<Rename> {
    let (left, done) = (TRIES, 0);
    let trial = Mark::Counted(Tries { left, done });
    let last = Mark::Counted(Tries { left: 0, done });
    let others = slots
        .iter()
        .filter(|slot| slot.version != *running && slot.version != *chosen && slot.is_seen());
    let chosen_slot = slots.iter().filter(|slot| slot.version == *chosen);
    let steps_back = chosen < running;
    let running_slot = slots
        .iter()
        .filter(|slot| slot.version == *running && steps_back);
    others
        .filter_map(|slot| slot.renamed(Mark::Hidden))
        .chain(chosen_slot.filter_map(|slot| slot.renamed(trial)))
        .chain(running_slot.filter_map(|slot| slot.renamed(last)))
        .collect()
}

/// What is to be renamed when the machine does not restart into the chosen one after all.
pub fn unchoose(slots: &[Slot], running: &Version, chosen: &Version) -> Vec<Rename> {
    let running = slots.iter().filter(|slot| slot.version == *running);
    let chosen = slots.iter().filter(|slot| slot.version == *chosen);
    running
        .filter_map(|slot| slot.renamed(Mark::Good))
        .chain(chosen.filter_map(|slot| slot.renamed(Mark::Ready)))
        .collect()
}

/// What is to be renamed when the running release has passed its checks.
pub fn keep(slots: &[Slot], running: &Version) -> Vec<Rename> {
    let running = slots.iter().filter(|slot| slot.version == *running);
    running
        .filter_map(|slot| slot.renamed(Mark::Good))
        .collect()
}

/// What is to be renamed when a release has failed: it is put aside, whatever attempts it had left.
pub fn reject(slots: &[Slot], failed: &Version) -> Vec<Rename> {
    let failed = slots
        .iter()
        .filter(|slot| slot.version == *failed && slot.is_seen());
    failed
        .filter_map(|slot| {
            let (left, done) = (0, slot.done());
            slot.renamed(Mark::Counted(Tries { left, done }))
        })
        .collect()
}

/// Which releases may go to make room for one of `size` bytes where `free` are, the least useful first: never the one
/// that runs, nor the only good one beside it. None when there is not enough room even then.
pub fn make_room(
    slots: &[Slot],
    running: &Version,
    free: Bytes,
    size: Bytes,
) -> Option<Vec<String>> {
    let others = slots.iter().filter(|slot| slot.version != *running);
    let best_other = others
        .clone()
        .filter(|slot| slot.standing() == Standing::Good)
        .max_by_key(|slot| slot.version.clone());
    let mut candidates: Vec<&Slot> = others
        .filter(|slot| best_other.is_none_or(|best| best.version != slot.version))
        .collect();
    // Those that failed go first, then the oldest.
    candidates.sort_by_key(|slot| (slot.standing() != Standing::Aside, slot.version.clone()));
    let mut free = free.0;
    let mut gone = Vec::new();
    for slot in candidates {
        if free >= size.0 {
            break;
        }
        free += slot.size.0;
        gone.push(slot.name());
    }
    (free >= size.0).then_some(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(names: &[&str]) -> Vec<Slot> {
        names
            .iter()
            .map(|name| Slot::parse(name, Bytes(100)).unwrap())
            .collect()
    }

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    fn renamed(slots: &[Slot], renames: &[Rename]) -> Vec<Slot> {
        let name = |slot: &Slot| {
            let rename = renames.iter().find(|rename| rename.from == slot.name());
            rename.map_or_else(|| slot.name(), |rename| rename.to.clone())
        };
        let parsed = slots.iter().map(|slot| Slot::parse(&name(slot), slot.size));
        parsed.collect::<Option<_>>().unwrap()
    }

    #[test]
    fn names_are_read_and_written() {
        for name in [
            "ashlar-0.1.0.efi",
            "ashlar-0.1.0+3.efi",
            "ashlar-0.1.0+2-1.efi",
            "ashlar-1.0.0+0-3.efi",
            "ashlar-0.2.0.ready",
            "ashlar-0.2.0.aside",
        ] {
            assert_eq!(Slot::parse(name, Bytes(1)).unwrap().name(), name);
        }
        for name in [
            "ashlar-0.1.0.EFI+",
            "other-0.1.0.efi",
            "ashlar-1.efi",
            "ashlar-0.1.0+x.efi",
            "ashlar-.efi",
            "ashlar-1.0.0-beta.1.efi",
        ] {
            assert_eq!(Slot::parse(name, Bytes(1)), None, "{name}");
        }
        assert!(Slot::parse("ASHLAR-0.1.0+3.EFI", Bytes(1)).is_some());
    }

    #[test]
    fn the_newest_that_is_not_put_aside_starts() {
        let cases: [(&[&str], &str); 4] = [
            (&["ashlar-0.1.0.efi", "ashlar-0.2.0+3.efi"], "0.2.0"),
            (&["ashlar-0.1.0.efi", "ashlar-0.2.0+0-3.efi"], "0.1.0"),
            (&["ashlar-0.1.0+0.efi", "ashlar-0.2.0+0-3.efi"], "0.2.0"),
            (&["ashlar-0.9.0.efi", "ashlar-0.10.0.efi"], "0.10.0"),
        ];
        for (names, expected) in cases {
            assert_eq!(next(&slots(names)).unwrap().version, version(expected));
        }
        assert_eq!(next(&[]), None);
    }

    #[test]
    fn when_an_older_one_fails_the_one_that_ran_comes_back() {
        let all = slots(&[
            "ashlar-0.0.9.efi",
            "ashlar-0.1.0.aside",
            "ashlar-0.2.0.efi",
            "ashlar-0.3.0+0-3.efi",
        ]);
        let renames = choose(&all, &version("0.2.0"), &version("0.1.0"));
        let to: Vec<&str> = renames.iter().map(|rename| rename.to.as_str()).collect();
        assert_eq!(
            to,
            [
                "ashlar-0.0.9.aside",
                "ashlar-0.3.0.aside",
                "ashlar-0.1.0+3.efi",
                "ashlar-0.2.0+0.efi"
            ]
        );
        let trial = renamed(&all, &renames);
        let failed = renamed(&trial, &reject(&trial, &version("0.1.0")));
        assert_eq!(next(&failed).unwrap().version, version("0.2.0"));
        let kept = renamed(&failed, &keep(&failed, &version("0.2.0")));
        assert_eq!(next(&kept).unwrap().standing(), Standing::Good);
    }

    #[test]
    fn room_is_made_from_what_failed_and_what_is_old() {
        let all = slots(&[
            "ashlar-0.1.0.efi",
            "ashlar-0.2.0.efi",
            "ashlar-0.3.0.efi",
            "ashlar-0.4.0+0-3.efi",
        ]);
        let running = version("0.3.0");
        let gone = |free, size| make_room(&all, &running, Bytes(free), Bytes(size));
        assert_eq!(gone(100, 100), Some(vec![]));
        assert_eq!(gone(50, 100), Some(vec!["ashlar-0.4.0+0-3.efi".to_owned()]));
        let two = ["ashlar-0.4.0+0-3.efi", "ashlar-0.1.0.efi"].map(str::to_owned);
        assert_eq!(gone(50, 200), Some(two.to_vec()));
        assert_eq!(gone(50, 300), None, "0.2.0 is the way back");
    }

    /// A running release that the loader sees, and others in any state.
    fn any_slots() -> impl Strategy<Value = Vec<Slot>> {
        let counted =
            (0u32..=3, 0u32..=3).prop_map(|(left, done)| Mark::Counted(Tries { left, done }));
        let mark = prop_oneof![
            Just(Mark::Ready),
            Just(Mark::Good),
            Just(Mark::Hidden),
            counted
        ];
        proptest::collection::vec((0u64..6, mark), 2..6).prop_map(|list| {
            let mut slots: Vec<Slot> = Vec::new();
            for (minor, mark) in list {
                let version = version(&format!("0.{minor}.0"));
                if slots.iter().all(|slot| slot.version != version) {
                    let size = Bytes(100);
                    slots.push(Slot {
                        version,
                        mark,
                        size,
                    });
                }
            }
            slots[0].mark = Mark::Good;
            slots
        })
    }

    proptest! {
        #[test]
        fn what_is_chosen_starts_and_when_it_fails_what_ran_before(slots in any_slots(), pick in 1usize..6) {
            let running = slots[0].version.clone();
            let chosen = slots[pick % slots.len()].version.clone();
            prop_assume!(running != chosen);
            let renames = choose(&slots, &running, &chosen);
            for part in 0..=renames.len() {
                let now = renamed(&slots, &renames[..part]);
                let first = next(&now).unwrap();
                // Never one that the loader did not see before, but the chosen one.
                let before = slots.iter().find(|slot| slot.version == first.version);
                prop_assert!(first.version == chosen || before.is_some_and(Slot::is_seen));
            }
            let trial = renamed(&slots, &renames);
            prop_assert_eq!(&next(&trial).unwrap().version, &chosen);
            prop_assert_eq!(next(&trial).unwrap().standing(), Standing::Trial);
            let kept = renamed(&trial, &keep(&trial, &chosen));
            prop_assert_eq!(&next(&kept).unwrap().version, &chosen);
            let rejected = renamed(&trial, &reject(&trial, &chosen));
            prop_assert_eq!(&next(&rejected).unwrap().version, &running);
        }
    }
}

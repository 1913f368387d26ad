//! The texts in which LVM describes a group, as `pvck` finds them on drives
//! whose metadata LVM itself can not read, and the choice of the one to restore.
//!
//! ```text
//!  label ─► PV identity, and where the metadata areas are: one in front, one at the end
//!  area     head ─► text 9 (length, checksum)
//!           … text 7 │ text 8 │ text 9 │ text 3 …      a ring: the older ones are still there
//! ```
//!
//! A power cut can leave a head that leads to a text which was never written, in
//! all areas at once. The text before it is as durable as what was done to the
//! pool by then: we have the drives flushed after each change, and the kernel does
//! when it commits a thin pool. So the newest complete text is the right one.
//!
//! Invariant: a text that is not surely whole is never chosen. Each sector of a
//! text may have been written or not, and what is not may hold a piece of a text
//! of long ago. So it must have the checksum that the head asks for, if the head
//! leads to it; else its copies must be equal, and its form that of a whole one.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ashlar_api::PoolId;

use super::POOL_TAG;
use crate::state::schema::LVM_TAG;

/// Why nothing can be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unrestorable {
    /// LVM could read it.
    #[error("the metadata on {device} is sound: LVM did not read it for another reason")]
    Sound {
        /// The device.
        device: String,
    },
    /// There is no text.
    #[error("no complete copy of it is left on {devices}")]
    NoText {
        /// The devices that were looked at.
        devices: String,
    },
    /// Which copy is right can not be said.
    #[error("the newest copies of it (number {seqno}) differ from each other")]
    Contradiction {
        /// Their number.
        seqno: u64,
    },
    /// A part of the group is not there.
    #[error("its drives are not all there: it has another one, which was {device}")]
    Absent {
        /// The name of the drive when it was last seen.
        device: String,
    },
    /// It was written, and LVM does not take it.
    #[error("it was written, and LVM does not see the group yet")]
    Unseen,
}

/// A metadata area, by its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// 1 in front, 2 at the end of the drive.
    pub number: u8,
    /// Whether the head itself is as it should be.
    pub is_sound: bool,
    /// Where the head is, in bytes from the beginning of the drive.
    start: u64,
    /// Where the text should be that is valid, from the head.
    offset: u64,
    /// The text's checksum.
    checksum: u32,
}

/// A text that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The area that it is in.
    pub area: u8,
    /// Where it is, in bytes from the beginning of the drive.
    offset: u64,
    checksum: u32,
    /// Which version of the metadata it is.
    pub seqno: u64,
    /// The text.
    pub body: String,
}

/// A drive, with all that was found on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its device file.
    pub device: PathBuf,
    /// Its identity for LVM, without dashes.
    pub identity: String,
    /// Its metadata areas.
    pub areas: Vec<Area>,
    /// Texts in them that look complete.
    pub texts: Vec<Text>,
}

/// What to write, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The text.
    pub text: Text,
    /// Devices and their areas. Those that hold the text come last, so that it is somewhere at any time.
    pub places: Vec<(PathBuf, u8)>,
}

/// Reads `pvck --dump headers`: the identity of the drive and its areas.
pub fn heads(said: &str) -> (String, Vec<Area>) {
    let mut identity = String::new();
    let mut areas: Vec<Area> = Vec::new();
    for line in said.lines().map(str::trim) {
        if let Some(found) = line.strip_prefix("pv_header.pv_uuid ") {
            identity = found.replace('-', "");
            continue;
        }
        let complaint = line.strip_prefix("CHECK: ");
        let Some(rest) = complaint.unwrap_or(line).strip_prefix("mda_header_") else {
            continue;
        };
        let (number, rest) = rest.split_at(rest.len().min(1));
        let Ok(number) = number.parse::<u8>() else {
            continue;
        };
        if let Some(place) = rest.strip_prefix(" at ") {
            let Some(start) = first(place) else { continue };
            areas.push(Area {
                number,
                is_sound: true,
                start,
                offset: 0,
                checksum: 0,
            });
            continue;
        }
        let mut known = areas.iter_mut();
        let Some(area) = known.find(|area| area.number == number) else {
            continue;
        };
        let valid = rest.strip_prefix(".raw_locn[0].");
        match (valid, complaint) {
            (None, Some(_)) if !rest.starts_with(".raw_locn") => area.is_sound = false,
            (Some(_), Some(_)) => area.is_sound = false,
            (Some(field), None) => {
                if let Some(offset) = field.strip_prefix("offset ") {
                    area.offset = first(offset).unwrap_or_default();
                } else if let Some(checksum) = field.strip_prefix("checksum 0x") {
                    area.checksum = u32::from_str_radix(checksum, 16).unwrap_or_default();
                }
            }
            _ => {}
        }
    }
    (identity, areas)
}

fn first(words: &str) -> Option<u64> {
    words.split(' ').next()?.parse().ok()
}

/// Reads what `pvck --dump metadata_search` found in an area: its list, what it warned of, and the file into which it put
/// the texts, one after another. What it warned of is left out.
pub fn texts(area: u8, list: &str, warnings: &str, mut file: &[u8]) -> Vec<Text> {
    const BETWEEN: &[u8] = b"\n--\n";
    let mut texts = Vec::new();
    for line in list.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[
            "metadata",
            "at",
            offset,
            "length",
            length,
            "crc",
            checksum,
            "vg",
            _,
            "seqno",
            seqno,
            ..,
        ] = words.as_slice()
        else {
            continue;
        };
        let length = length.parse::<usize>().unwrap_or_default();
        // A zero ends it on the drive.
        let Some((body, rest)) = file.split_at_checked(length.saturating_sub(1)) else {
            break;
        };
        file = rest.strip_prefix(BETWEEN).unwrap_or(rest);
        let complaint = format!(" for metadata at {offset}");
        if warnings.lines().any(|line| line.ends_with(&complaint)) {
            continue;
        }
        let text = || {
            Some(Text {
                area,
                offset: offset.parse().ok()?,
                checksum: u32::from_str_radix(checksum, 16).ok()?,
                seqno: seqno.parse().ok()?,
                body: String::from_utf8(body.to_vec()).ok()?,
            })
        };
        texts.extend(text());
    }
    texts
}

/// Chooses what to restore the group of a pool from.
pub fn choose(group: &str, pool: PoolId, found: &[Found]) -> Result<Choice, Unrestorable> {
    let mut newest: Option<(&Text, Described<'_>)> = None;
    let mut rivals = Vec::new();
    for drive in found {
        for text in &drive.texts {
            if drive.is_current(text)? == Some(false) {
                continue;
            }
            let Some(described) = describe(&text.body) else {
                continue;
            };
            let is_ours = described.name == group
                && described.seqno == Some(text.seqno)
                && described.tags.contains(&LVM_TAG)
                && described
                    .tags
                    .contains(&format!("{POOL_TAG}{pool}").as_str());
            if !is_ours || !described.members.iter().any(|m| m.is(&drive.identity)) {
                continue;
            }
            match &newest {
                Some((known, _)) if known.seqno > text.seqno => {}
                Some((known, _)) if known.seqno == text.seqno => rivals.push(text),
                _ => {
                    rivals.clear();
                    newest = Some((text, described));
                }
            }
        }
    }
    let Some((text, described)) = newest else {
        let names = found.iter().map(|drive| drive.device.display().to_string());
        let devices = names.collect::<Vec<_>>().join(", ");
        return Err(Unrestorable::NoText { devices });
    };
    if rivals.iter().any(|rival| rival.body != text.body) {
        let seqno = text.seqno;
        return Err(Unrestorable::Contradiction { seqno });
    }
    let mut members = Vec::new();
    for member in &described.members {
        let mut drives = found.iter().filter(|drive| member.is(&drive.identity));
        let (Some(drive), None) = (drives.next(), drives.next()) else {
            let device = member.device.to_owned();
            return Err(Unrestorable::Absent { device });
        };
        members.push(drive);
    }
    let mut places: Vec<(bool, PathBuf, u8)> = Vec::new();
    for drive in members {
        for area in &drive.areas {
            let mut texts = drive.texts.iter();
            let holds = texts.any(|t| t.area == area.number && t.body == text.body);
            places.push((holds, drive.device.clone(), area.number));
        }
    }
    places.sort();
    Ok(Choice {
        text: text.clone(),
        places: places
            .into_iter()
            .map(|(_, device, area)| (device, area))
            .collect(),
    })
}

impl Found {
    /// Whether a text is what the head of its area asks for; nothing when the head leads elsewhere.
    fn is_current(&self, text: &Text) -> Result<Option<bool>, Unrestorable> {
        let mut areas = self.areas.iter();
        let is_led_to = |area: &&Area| area.start.checked_add(area.offset) == Some(text.offset);
        let Some(area) = areas.find(is_led_to) else {
            return Ok(None);
        };
        let is_whole = area.checksum == text.checksum;
        if is_whole && area.is_sound {
            let device = self.device.display().to_string();
            return Err(Unrestorable::Sound { device });
        }
        Ok(Some(is_whole))
    }
}

/// What is of interest in a text.
struct Described<'a> {
    name: &'a str,
    seqno: Option<u64>,
    tags: Vec<&'a str>,
    members: Vec<Member<'a>>,
}

/// A physical volume of a group.
struct Member<'a> {
    identity: &'a str,
    device: &'a str,
}

impl Member<'_> {
    fn is(&self, identity: &str) -> bool {
        !identity.is_empty() && self.identity.replace('-', "") == identity
    }
}

/// Reads a text; nothing when it is not whole: each section is closed, nothing is said twice, and what LVM writes last is
/// there.
fn describe(body: &str) -> Option<Described<'_>> {
    let (name, rest) = body.split_once(" {\n")?;
    let mut described = Described {
        name,
        seqno: None,
        tags: Vec::new(),
        members: Vec::new(),
    };
    let mut sections = vec![name];
    let mut said = BTreeSet::new();
    let mut lines = rest.lines();
    while !sections.is_empty() {
        let line = lines.next()?;
        if let Some(section) = line.strip_suffix(" {") {
            sections.push(section);
            if !said.insert(sections.clone()) {
                return None;
            }
        } else if line == "}" {
            sections.pop();
        }
        let Some((key, value)) = line.split_once(" = ") else {
            continue;
        };
        if !said.insert([sections.as_slice(), &[key]].concat()) {
            return None;
        }
        match (sections.as_slice(), key) {
            ([_], "seqno") => described.seqno = value.parse().ok(),
            ([_], "tags") => described.tags = words(value),
            ([_, "physical_volumes", _], "id") => described.members.push(Member {
                identity: value.trim_matches('"'),
                device: "",
            }),
            ([_, "physical_volumes", _], "device") => {
                described.members.last_mut()?.device = value.trim_matches('"');
            }
            _ => {}
        }
    }
    let mut end = lines.skip_while(|line| *line != "contents = \"Text Format Volume Group\"");
    end.next()?;
    let is_ended = end.any(|line| line.starts_with("creation_time = "));
    (is_ended && body.ends_with("\n\n")).then_some(described)
}

/// The words of a list, as `["a", "b"]`.
fn words(list: &str) -> Vec<&str> {
    let inner = list.trim_matches(['[', ']']);
    inner
        .split(", ")
        .map(|word| word.trim_matches('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "ashlar-8a9b0c1d";

    /// What the image says of a drive whose newest text (9) is not there in front and torn at the end.
    fn recorded(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/storage/testdata/lvm/torn");
        std::fs::read(format!("{folder}/{name}.txt")).unwrap()
    }

    fn text(name: &str) -> String {
        String::from_utf8(recorded(name)).unwrap()
    }

    fn pool() -> PoolId {
        "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d".parse().unwrap()
    }

    fn torn() -> Found {
        let (identity, areas) = heads(&text("heads"));
        let mut found = texts(1, &text("list1"), "", &recorded("found1"));
        let warnings = text("warnings2");
        found.extend(texts(2, &text("list2"), &warnings, &recorded("found2")));
        Found {
            device: "/dev/vdb".into(),
            identity,
            areas,
            texts: found,
        }
    }

    /// The drive with its last text in front, as if the torn one had looked like a whole one.
    fn with_last(body: &str, checksum: u32) -> Found {
        let mut drive = torn();
        drive.texts.push(Text {
            area: 1,
            offset: 28160,
            checksum,
            seqno: 9,
            body: body.replace("seqno = 8", "seqno = 9"),
        });
        drive
    }

    fn newest(drive: &Found) -> &Text {
        drive.texts.iter().rfind(|text| text.seqno == 8).unwrap()
    }

    #[test]
    fn reads_what_pvck_finds() {
        let drive = torn();
        assert_eq!(drive.identity, "9XSGW4GPgwE8Yjnr8QcRFaJ1bWC7rFRR");
        let areas: Vec<_> = drive.areas.iter().collect();
        assert_eq!(areas.len(), 2);
        assert_eq!((areas[0].number, areas[0].start), (1, 4096));
        assert_eq!((areas[1].number, areas[1].start), (2, 4_293_918_720));
        for area in areas {
            assert!(area.is_sound);
            assert_eq!((area.offset, area.checksum), (24064, 0xb2d1_6acd));
        }
        let seqnos: Vec<_> = drive
            .texts
            .iter()
            .map(|text| (text.area, text.seqno))
            .collect();
        let both: Vec<_> = [1, 2]
            .into_iter()
            .flat_map(|area| (1..9).map(move |seqno| (area, seqno)))
            .collect();
        assert_eq!(seqnos, both);
        assert!(
            drive
                .texts
                .iter()
                .all(|text| describe(&text.body).is_some())
        );
        let last = describe(&newest(&drive).body).unwrap();
        assert_eq!((last.name, last.seqno), (GROUP, Some(8)));
        assert_eq!(last.members.len(), 1);
        assert_eq!(last.members[0].device, "/dev/vdb");
    }

    #[test]
    fn tells_heads_that_are_bad() {
        let said = "  pv_header.pv_uuid xBBP5RzGSkYe4a9Ay0rWtoBUppeERtqs
  mda_header_1 at 4096 # metadata area
  mda_header_1.checksum 0xab74990c
  CHECK: mda_header_1.checksum expected 0xfa3f226
  mda_header_1.raw_locn[0].offset 2342692404675097318
  mda_header_1.raw_locn[0].checksum 0xf18012dc
  CHECK: mda_header_1.raw_locn[0].size larger than metadata area size
  mda_header_2 at 2146435072 # metadata area
  mda_header_2.raw_locn[0].offset 5120
  mda_header_2.raw_locn[0].checksum 0xf7ed7176
  CHECK: mda_header_2.raw_locn[1] for precommit not empty\n";
        let (identity, areas) = heads(said);
        assert_eq!(identity, "xBBP5RzGSkYe4a9Ay0rWtoBUppeERtqs");
        assert_eq!((areas[0].is_sound, areas[1].is_sound), (false, true));
        assert_eq!(heads(""), (String::new(), Vec::new()));
    }

    #[test]
    fn takes_the_newest_text_that_is_whole() {
        let drive = torn();
        let choice = choose(GROUP, pool(), std::slice::from_ref(&drive)).unwrap();
        assert_eq!(choice.text.seqno, 8);
        let device = drive.device.clone();
        assert_eq!(choice.places, [(device.clone(), 1), (device.clone(), 2)]);
        // It stays where it is until it is somewhere else.
        let mut one = torn();
        one.texts.retain(|text| text.area == 1 || text.seqno < 8);
        let choice = choose(GROUP, pool(), &[one]).unwrap();
        assert_eq!(choice.text.seqno, 8);
        assert_eq!(choice.places, [(device.clone(), 2), (device, 1)]);
    }

    #[test]
    fn takes_no_text_that_may_be_torn() {
        let drive = torn();
        let body = newest(&drive).body.clone();
        // It looks whole, and is not what the head asks for.
        let choice = choose(GROUP, pool(), &[with_last(&body, 1)]).unwrap();
        assert_eq!(choice.text.seqno, 8);
        // LVM can read it.
        let sound = choose(GROUP, pool(), &[with_last(&body, 0xb2d1_6acd)]);
        assert!(
            matches!(sound, Err(Unrestorable::Sound { .. })),
            "{sound:?}"
        );
        // It is what a damaged head asks for.
        let mut damaged = with_last(&body, 0xb2d1_6acd);
        damaged.areas[0].is_sound = false;
        assert_eq!(choose(GROUP, pool(), &[damaged]).unwrap().text.seqno, 9);
        // Two copies differ.
        let mut two = torn();
        let last = two.texts.last_mut().unwrap();
        last.body = last
            .body
            .replace("transaction_id = 2", "transaction_id = 3");
        assert_ne!(last.body, body);
        let differ = Err(Unrestorable::Contradiction { seqno: 8 });
        assert_eq!(choose(GROUP, pool(), &[two]), differ);
        // A part in the middle or at the end is lost.
        let lines: Vec<&str> = body.lines().collect();
        for cut in [5, 20, 60, lines.len() - 6, lines.len() - 2] {
            assert!(
                describe(&(lines[..cut].join("\n") + "\n\n")).is_none(),
                "{cut}"
            );
        }
        // A part is of an older text.
        for at in [5, 20, 60] {
            let twice: Vec<&str> = [&lines[..=at], &lines[at - 4..]].concat();
            assert!(describe(&(twice.join("\n") + "\n\n")).is_none(), "{at}");
        }
        let close = lines.iter().position(|line| *line == "}").unwrap();
        let without: Vec<&str> = [&lines[..close], &lines[close + 1..]].concat();
        assert!(describe(&(without.join("\n") + "\n\n")).is_none());
    }

    #[test]
    fn takes_no_text_of_another_group() {
        let none = |chosen: Result<Choice, Unrestorable>| {
            assert!(
                matches!(chosen, Err(Unrestorable::NoText { .. })),
                "{chosen:?}"
            );
        };
        let other = "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1e".parse().unwrap();
        none(choose(GROUP, other, &[torn()]));
        none(choose("ashlar-8a9b0c1e", pool(), &[torn()]));
        let mut stranger = torn();
        stranger.identity = "xBBP5RzGSkYe4a9Ay0rWtoBUppeERtqs".to_owned();
        none(choose(GROUP, pool(), &[stranger]));
        none(choose(GROUP, pool(), &[]));
        let mut foreign = torn();
        for text in &mut foreign.texts {
            text.body = text.body.replace("tags = [\"ashlar\", ", "tags = [");
        }
        none(choose(GROUP, pool(), &[foreign]));
    }

    #[test]
    fn wants_all_drives_of_the_group() {
        let second =
            "pv1 {\nid = \"xBBP5R-zGSk-Ye4a-9Ay0-rWto-BUpp-eERtqs\"\ndevice = \"/dev/vdc\"\n}\n";
        let mut one = torn();
        for text in &mut one.texts {
            text.body = text.body.replacen("pv0 {", &format!("{second}\npv0 {{"), 1);
        }
        let absent = choose(GROUP, pool(), std::slice::from_ref(&one));
        assert_eq!(
            absent,
            Err(Unrestorable::Absent {
                device: "/dev/vdc".to_owned()
            })
        );
        let two = Found {
            device: "/dev/vdd".into(),
            identity: "xBBP5RzGSkYe4a9Ay0rWtoBUppeERtqs".to_owned(),
            texts: Vec::new(),
            ..one.clone()
        };
        let choice = choose(GROUP, pool(), &[one, two]).unwrap();
        let places: Vec<_> = choice
            .places
            .iter()
            .map(|(device, area)| (device.to_str().unwrap(), *area))
            .collect();
        let wanted = [
            ("/dev/vdd", 1),
            ("/dev/vdd", 2),
            ("/dev/vdb", 1),
            ("/dev/vdb", 2),
        ];
        assert_eq!(places, wanted);
    }
}

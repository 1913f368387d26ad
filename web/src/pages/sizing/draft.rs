//! A plan as it is typed, the address that keeps it, and what it is as a request.

use std::str::FromStr;

use ashlar_api::pool::{Drive, DriveUsage, Media};
use ashlar_api::quantity::DriveSize;
use ashlar_api::sizing::{DriveKind, Resiliency, SizingSpec, VmShape};
use ashlar_api::{Bytes, FieldError};
use leptos::prelude::*;

use crate::components::Reader;
use crate::format;

/// A field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// How many nodes.
    Nodes,
    /// Memory of each.
    Memory,
    /// Processor threads of each.
    Threads,
    /// Drives of each.
    Drives,
    /// The size of a drive.
    Size,
    /// What the drives are.
    Kind,
    /// How often data is kept.
    Resiliency,
    /// The part of nested parity that is mirrored.
    Mirrored,
    /// Processors of a machine.
    VmCpus,
    /// Its memory.
    VmMemory,
    /// Its disks.
    VmDisk,
    /// Virtual processors to a thread.
    Vcpus,
    /// Drives in reserve.
    Reserve,
    /// Nodes that may fail.
    Spare,
}

/// The usual part of nested parity that is mirrored, in percent.
const MIRRORED: &str = "20";

/// The fields in the order of [`Field`]: names in the address, and texts to begin with. Empty: what is usual.
const FIELDS: [(Field, &str, &str); 14] = [
    (Field::Nodes, "nodes", "3"),
    (Field::Memory, "memory", "64 GiB"),
    (Field::Threads, "threads", "16"),
    (Field::Drives, "drives", "4"),
    (Field::Size, "size", "2 TB"),
    (Field::Kind, "kind", "flash"),
    (Field::Resiliency, "resiliency", ""),
    (Field::Mirrored, "mirrored", MIRRORED),
    (Field::VmCpus, "vm-cpus", "2"),
    (Field::VmMemory, "vm-memory", "4 GiB"),
    (Field::VmDisk, "vm-disk", "40 GiB"),
    (Field::Vcpus, "vcpus", "4"),
    (Field::Reserve, "reserve", ""),
    (Field::Spare, "spare", ""),
];

/// What was typed.
#[derive(Clone, Copy)]
pub struct Draft([RwSignal<String>; FIELDS.len()]);

impl Draft {
    /// What the address says, and what is usual for the rest.
    pub fn new(link: &str) -> Self {
        let draft = Draft(FIELDS.map(|(_, _, usual)| RwSignal::new(usual.to_owned())));
        draft.follow(link);
        draft
    }

    /// The text of a field.
    pub fn text(self, field: Field) -> RwSignal<String> {
        self.0[field as usize]
    }

    /// Takes over what an address says.
    pub fn follow(self, link: &str) {
        for (signal, text) in self.0.iter().zip(texts(link)) {
            if signal.with_untracked(|old| *old != text) {
                signal.set(text);
            }
        }
    }

    /// The address of what is typed.
    pub fn link(self) -> String {
        link(&self.0.map(|signal| signal.get()))
    }

    /// The plan, or what is wrong with it.
    pub fn build(self) -> Result<SizingSpec, Vec<FieldError>> {
        read(|field| self.text(field).get())
    }

    /// The hardware of a node, as many times as there are nodes. What was chosen for copies stays where these can have it.
    /// Says which drives were taken, and that others were not.
    pub fn take(self, nodes: usize, memory: Bytes, threads: u32, drives: &[Drive]) -> String {
        let set = |field, text: String| self.text(field).set(text);
        set(Field::Nodes, nodes.max(1).to_string());
        set(Field::Memory, memory.to_string());
        set(Field::Threads, threads.to_string());
        let taken = data_drives(drives);
        if let Some(taken) = &taken {
            set(Field::Drives, taken.count.to_string());
            set(Field::Size, DriveSize(taken.size).to_string());
            let kind = match taken.kind {
                DriveKind::Flash => "flash",
                DriveKind::Hybrid => "hybrid",
            };
            set(Field::Kind, kind.to_owned());
        }
        if untrack(|| self.build()).is_err() {
            for field in [Field::Resiliency, Field::Reserve, Field::Spare] {
                set(field, String::new());
            }
        }
        taken.map_or_else(
            || "This node has no drive for data; the drives stay as they were".to_owned(),
            |taken| taken.sentence(),
        )
    }
}

/// Sizes that differ by less are those of drives that are sold as the same.
const ALIKE: u64 = 20;

/// The drives for data that a plan can reckon with: those of one size.
#[derive(Debug, PartialEq)]
struct Taken {
    count: usize,
    /// What all of them have at least.
    size: Bytes,
    kind: DriveKind,
    /// Drives for data of other sizes.
    left_out: usize,
}

impl Taken {
    fn sentence(&self) -> String {
        let taken = format!(
            "Taken: {} of {}",
            format::count(self.count, "drive", "drives"),
            DriveSize(self.size)
        );
        match self.left_out {
            0 => taken,
            n => format!(
                "{taken}; {} of other sizes left out",
                format::count(n, "drive", "drives")
            ),
        }
    }
}

/// Of the drives for data those of the size that makes the most room, and what they are: flash beside disks is their
/// cache. What the system leaves of its drive, and what is plugged in by USB, is nothing to plan with.
fn data_drives(drives: &[Drive]) -> Option<Taken> {
    let usable = |drive: &&Drive| {
        let used = matches!(
            drive.usage,
            DriveUsage::System | DriveUsage::Unusable { .. }
        );
        !used && !drive.id.ends_with(":data") && drive.bus != "USB"
    };
    let is_disk = |drive: &&Drive| drive.media == Media::Hdd;
    let hybrid = drives.iter().filter(usable).any(|drive| is_disk(&drive));
    let mut sizes: Vec<u64> = drives
        .iter()
        .filter(usable)
        .filter(|drive| !hybrid || is_disk(drive))
        .map(|drive| drive.size.0)
        .collect();
    sizes.sort_unstable();
    let kind = if hybrid {
        DriveKind::Hybrid
    } else {
        DriveKind::Flash
    };
    // Each group begins with its smallest.
    let alike = |smallest: u64| move |size: &&u64| (**size - smallest) * ALIKE < smallest;
    let groups = sizes.iter().enumerate().map(|(place, smallest)| {
        let count = sizes[place..].iter().take_while(alike(*smallest)).count();
        (count, *smallest)
    });
    let (count, size) = groups.max_by_key(|(count, size)| u128::from(*size) * *count as u128)?;
    Some(Taken {
        count,
        size: Bytes(size),
        kind,
        left_out: sizes.len() - count,
    })
}

fn texts(link: &str) -> [String; FIELDS.len()] {
    FIELDS.map(|(_, key, usual)| {
        link.split(',')
            .filter_map(|part| part.split_once(':'))
            .find(|(name, _)| *name == key)
            .map_or(usual, |(_, text)| text)
            .to_owned()
    })
}

fn link(texts: &[String; FIELDS.len()]) -> String {
    let changed = FIELDS
        .iter()
        .zip(texts)
        .filter(|((_, _, usual), text)| usual != text)
        .map(|((_, key, _), text)| format!("{key}:{}", text.replace(',', " ")));
    changed.collect::<Vec<_>>().join(",")
}

fn read(text: impl Fn(Field) -> String) -> Result<SizingSpec, Vec<FieldError>> {
    let mut reader = Reader::new();
    let nodes: Option<u16> = whole(&mut reader, "nodes", &text(Field::Nodes), "nodes");
    let drives: Option<u16> = whole(
        &mut reader,
        "drives_per_node",
        &text(Field::Drives),
        "drives",
    );
    let size: Option<DriveSize> = reader.parse("drive_size", &text(Field::Size));
    // It is shown, and so can be mended, only where it counts.
    let mirrored = match text(Field::Resiliency) == Resiliency::NestedParity.key() {
        true => text(Field::Mirrored),
        false => MIRRORED.to_owned(),
    };
    let mirror_share: Option<u8> = whole(&mut reader, "mirror_share", &mirrored, "percent");
    let vcpus: Option<u16> = whole(
        &mut reader,
        "vcpus_per_thread",
        &text(Field::Vcpus),
        "virtual processors",
    );
    let cpus: Option<u16> = whole(&mut reader, "vm.cpus", &text(Field::VmCpus), "processors");
    let memory: Option<Bytes> = reader.parse("vm.memory", &text(Field::VmMemory));
    let disk: Option<Bytes> = reader.parse("vm.disk", &text(Field::VmDisk));
    let number = |reader: &mut Reader, path: &str, text: String, of: &str| {
        filled(text).map(|text| whole::<u16>(reader, path, &text, of))
    };
    let reserve = number(
        &mut reader,
        "reserve_drives",
        text(Field::Reserve),
        "drives",
    );
    let spare = number(&mut reader, "spare_nodes", text(Field::Spare), "nodes");
    let threads = number(
        &mut reader,
        "threads_per_node",
        text(Field::Threads),
        "threads",
    );
    let node_memory =
        filled(text(Field::Memory)).map(|text| reader.parse::<Bytes>("memory_per_node", &text));
    let resiliency =
        filled(text(Field::Resiliency)).map(|text| reader.parse::<Resiliency>("resiliency", &text));
    let spec = || {
        Some(SizingSpec {
            nodes: nodes?,
            drives_per_node: drives?,
            drive_size: size?.0,
            drive_kind: if text(Field::Kind) == "hybrid" {
                DriveKind::Hybrid
            } else {
                DriveKind::Flash
            },
            resiliency: known(resiliency)?,
            mirror_share: mirror_share?,
            reserve_drives: known(reserve)?,
            memory_per_node: known(node_memory)?,
            threads_per_node: known(threads)?,
            vcpus_per_thread: vcpus?,
            spare_nodes: known(spare)?,
            vm: VmShape {
                cpus: cpus?,
                memory: memory?,
                disk: disk?,
            },
        })
    };
    let spec = spec();
    if let Some(spec) = &spec {
        reader.check(spec);
    }
    reader.done(spec)
}

fn whole<T: FromStr>(reader: &mut Reader, path: &str, text: &str, of: &str) -> Option<T> {
    reader.parse_or(path, text, &format!("a whole number of {of}"))
}

/// A text, unless there is none.
fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

/// A value that may be left out: `None` only if it was given and could not be read.
fn known<T>(given: Option<Option<T>>) -> Option<Option<T>> {
    match given {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use ashlar_api::sizing::size;

    use super::*;

    fn with<'a>(changes: &'a [(Field, &str)]) -> impl Fn(Field) -> String + 'a {
        |field| {
            let changed = changes.iter().find(|(changed, _)| *changed == field);
            let (_, _, usual) = FIELDS[field as usize];
            changed.map_or(usual, |(_, text)| text).to_owned()
        }
    }

    fn wrong(changes: &[(Field, &str)]) -> Vec<String> {
        let errors = read(with(changes)).unwrap_err();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn fields_are_found_by_their_place() {
        for (n, (field, _, _)) in FIELDS.iter().enumerate() {
            assert_eq!(*field as usize, n);
        }
    }

    #[test]
    fn what_is_there_at_first_is_a_plan() {
        let plan = read(with(&[])).unwrap();
        assert_eq!((plan.nodes, plan.drive_size.0), (3, 2_000_000_000_000));
        let sizing = size(&plan).unwrap();
        assert_eq!(sizing.resiliency, Resiliency::ThreeWay);
        assert!(sizing.vms.count > 0);
        let empty = [(Field::Memory, ""), (Field::Threads, " ")];
        let plan = read(with(&empty)).unwrap();
        assert_eq!((plan.memory_per_node, plan.threads_per_node), (None, None));
    }

    #[test]
    fn errors_stand_at_their_fields() {
        assert_eq!(wrong(&[(Field::Nodes, "many")]), ["nodes"]);
        assert_eq!(wrong(&[(Field::Nodes, "17")]), ["nodes"]);
        assert_eq!(
            wrong(&[(Field::Nodes, "2"), (Field::Resiliency, "three-way")]),
            ["resiliency"]
        );
        assert_eq!(
            wrong(&[(Field::Size, "2 XB"), (Field::Reserve, "-1")]),
            ["drive_size", "reserve_drives"]
        );
        assert_eq!(wrong(&[(Field::Memory, "much")]), ["memory_per_node"]);
        assert_eq!(wrong(&[(Field::VmDisk, "1")]), ["vm.disk"]);
        assert_eq!(wrong(&[(Field::Spare, "3")]), ["spare_nodes"]);
        let mirrored = (Field::Mirrored, "much");
        let nested = [
            (Field::Nodes, "2"),
            (Field::Resiliency, "nested-parity"),
            mirrored,
        ];
        assert_eq!(wrong(&nested), ["mirror_share"]);
        // Nobody sees the field then.
        assert!(read(with(&[mirrored])).is_ok());
    }

    #[test]
    fn an_address_keeps_what_was_typed() {
        assert_eq!(link(&texts("")), "");
        let typed = "nodes:4,size:3.84 TB,reserve:0";
        assert_eq!(link(&texts(typed)), typed);
        assert_eq!(texts(typed)[4], "3.84 TB");
        for odd in ["nodes", ":", "nodes:,drives::", "racks:2,nodes:3", ",,,"] {
            let once = link(&texts(odd));
            assert_eq!(link(&texts(&once)), once, "{odd}");
        }
        let mut typed = texts("");
        typed[4] = "2,5 TB".to_owned();
        assert_eq!(link(&typed), "size:2 5 TB");
    }

    #[test]
    fn flash_beside_disks_is_their_cache() {
        let drive = |media, size, usage| Drive {
            id: String::new(),
            name: String::new(),
            model: String::new(),
            serial: String::new(),
            bus: String::new(),
            size: Bytes(size),
            media,
            usage,
            content: String::new(),
        };
        let system = drive(Media::Ssd, 1, DriveUsage::System);
        let flash = drive(Media::Nvme, 2, DriveUsage::Free);
        let disk = |size| drive(Media::Hdd, size, DriveUsage::Foreign);
        assert_eq!(data_drives(std::slice::from_ref(&system)), None);
        let taken = |count, size, kind, left_out| {
            Some(Taken {
                count,
                size: Bytes(size),
                kind,
                left_out,
            })
        };
        let all = [system.clone(), flash.clone()];
        assert_eq!(data_drives(&all), taken(1, 2, DriveKind::Flash, 0));
        let all = [system.clone(), flash.clone(), disk(801), disk(800)];
        assert_eq!(data_drives(&all), taken(2, 800, DriveKind::Hybrid, 0));
        // Four of 2 TB come to more than one of 4 TB and one of 500 GB.
        let (tera, giga) = (1_000_000_000_000, 1_000_000_000);
        let sizes = [500 * giga, 2 * tera, 2 * tera, 4 * tera, 2 * tera, 2 * tera];
        let mixed: Vec<Drive> = sizes.into_iter().map(disk).collect();
        let found = data_drives(&mixed);
        assert_eq!(found, taken(4, 2 * tera, DriveKind::Hybrid, 2));
        let sentence = found.unwrap().sentence().replace('\u{a0}', " ");
        assert_eq!(
            sentence,
            "Taken: 4 drives of 2 TB; 2 drives of other sizes left out"
        );
        // The rest of the system drive, and a stick.
        let mut rest = flash.clone();
        rest.id = "eui.0025385b11b0f0aa:data".to_owned();
        let mut stick = flash;
        stick.bus = "USB".to_owned();
        assert_eq!(data_drives(&[system, rest, stick]), None);
    }
}

//! The firmware's own list of what is in the machine (SMBIOS), as far as the kernel does not show it elsewhere: the
//! modules of memory, and whether they correct errors.
//!
//! Invariant: a table may hold anything, firmware is careless. What does not fit is left out; nothing is read beyond the
//! end of a structure. Only root may read it.
//!
//! ```text
//!   kind, length, handle │ fields (length - 4) │ text 1 \0 text 2 \0 … \0 │ next structure
//! ```

/// Where the kernel shows the table.
pub const TABLE: &str = "/sys/firmware/dmi/tables/DMI";

/// Kind of an array of memory (SMBIOS 7.17).
const ARRAY: u8 = 16;
/// Kind of a module of memory (SMBIOS 7.18).
const MODULE: u8 = 17;
/// Kind of the end of the table.
const END: u8 = 127;
/// Use of an array as the system's memory, not of a graphics card or a cache.
const SYSTEM_MEMORY: u8 = 3;

/// One structure of the table.
#[derive(Debug, Clone, Copy)]
struct Structure<'a> {
    kind: u8,
    /// From its beginning, so that offsets are those of the specification.
    fields: &'a [u8],
    texts: &'a [u8],
}

impl Structure<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.fields.get(at).copied()
    }

    fn word(&self, at: usize) -> Option<u16> {
        let bytes = self.fields.get(at..at + 2)?;
        Some(u16::from_le_bytes(bytes.try_into().ok()?))
    }

    fn double(&self, at: usize) -> Option<u32> {
        let bytes = self.fields.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The text whose number is in the field; texts are counted from 1.
    fn text(&self, at: usize) -> String {
        let number = usize::from(self.byte(at).unwrap_or(0));
        let text = number
            .checked_sub(1)
            .and_then(|index| self.texts.split(|byte| *byte == 0).nth(index));
        String::from_utf8_lossy(text.unwrap_or_default())
            .trim()
            .to_owned()
    }
}

/// Cuts the table into its structures, as far as it can be.
fn structures(mut table: &[u8]) -> Vec<Structure<'_>> {
    let mut found = Vec::new();
    while let [kind, length, ..] = *table {
        let length = usize::from(length);
        if length < 4 || table.len() < length || kind == END {
            break;
        }
        let (fields, rest) = table.split_at(length);
        // The texts end with two zeros, also when there are none.
        let end = rest.windows(2).position(|pair| pair == [0, 0]);
        let (texts, next) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &rest[rest.len()..]),
        };
        found.push(Structure {
            kind,
            fields,
            texts,
        });
        table = next;
    }
    found
}

/// How memory deals with errors, by the numbers of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// Not at all.
    None,
    /// It notices them.
    Parity,
    /// It corrects one bit.
    SingleBit,
    /// It corrects several bits.
    MultiBit,
    /// It notices them by a checksum.
    Crc,
    /// The firmware does not say, or something else.
    Unknown,
}

/// A module of memory in its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Where it sits, as printed on the main board.
    pub slot: String,
    /// Bytes.
    pub size: u64,
    /// Bits with those for correction.
    pub total_width: Option<u16>,
    /// Bits of data.
    pub data_width: Option<u16>,
    /// As `DDR4`; empty when it is none of those with a name here.
    pub kind: &'static str,
    /// Megatransfers per second, as it runs.
    pub speed: Option<u32>,
    /// Its maker.
    pub maker: String,
    /// The maker's name for it.
    pub part: String,
    /// The number of this one.
    pub serial: String,
}

/// What the table says about memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Of the arrays of the system's memory the least; none when none is told of.
    pub correction: Option<Correction>,
    /// Slots that hold something.
    pub modules: Vec<Module>,
}

impl Memory {
    /// Reads the table.
    pub fn parse(table: &[u8]) -> Memory {
        let structures = structures(table);
        let of = |kind: u8| structures.iter().filter(move |s| s.kind == kind);
        let corrections = of(ARRAY)
            .filter(|array| array.byte(0x05) == Some(SYSTEM_MEMORY))
            .filter_map(|array| array.byte(0x06))
            .map(correction);
        Memory {
            correction: corrections.min_by_key(|kind| strength(*kind)),
            modules: of(MODULE).filter_map(module).collect(),
        }
    }
}

fn correction(number: u8) -> Correction {
    match number {
        3 => Correction::None,
        4 => Correction::Parity,
        5 => Correction::SingleBit,
        6 => Correction::MultiBit,
        7 => Correction::Crc,
        _ => Correction::Unknown,
    }
}

fn strength(kind: Correction) -> u8 {
    match kind {
        Correction::None => 0,
        Correction::Parity => 1,
        Correction::Crc => 2,
        Correction::Unknown => 3,
        Correction::SingleBit => 4,
        Correction::MultiBit => 5,
    }
}

/// `None` for an empty slot, and for one whose size is not told.
fn module(structure: &Structure<'_>) -> Option<Module> {
    let size = match structure.word(0x0c)? {
        0 | 0xffff => return None,
        // Too large for the field: MiB in another one.
        0x7fff => u64::from(structure.double(0x1c)? & 0x7fff_ffff) << 20,
        // The highest bit says whether it is counted in KiB or in MiB.
        size if size & 0x8000 != 0 => u64::from(size & 0x7fff) << 10,
        size => u64::from(size) << 20,
    };
    if size == 0 {
        return None;
    }
    let width = |at: usize| {
        structure
            .word(at)
            .filter(|bits| !matches!(bits, 0 | 0xffff))
    };
    let speed = |at: usize, extended: usize| match structure.word(at)? {
        0 => None,
        0xffff => structure
            .double(extended)
            .map(|speed| speed & 0x7fff_ffff)
            .filter(|speed| *speed > 0),
        speed => Some(u32::from(speed)),
    };
    Some(Module {
        slot: structure.text(0x10),
        size,
        total_width: width(0x08),
        data_width: width(0x0a),
        kind: kind(structure.byte(0x12).unwrap_or(0)),
        // As configured, else what it could.
        speed: speed(0x20, 0x58).or_else(|| speed(0x15, 0x54)),
        maker: structure.text(0x17),
        part: structure.text(0x1a),
        serial: structure.text(0x18),
    })
}

fn kind(number: u8) -> &'static str {
    match number {
        0x07 => "RAM",
        0x0f => "SDRAM",
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A structure from its fields (given by their offsets) and texts.
    fn structure(kind: u8, length: u8, fields: &[(usize, &[u8])], texts: &[&str]) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(length)];
        (bytes[0], bytes[1]) = (kind, length);
        for (at, value) in fields {
            bytes[*at..*at + value.len()].copy_from_slice(value);
        }
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        if texts.is_empty() {
            bytes.push(0);
        }
        bytes.push(0);
        bytes
    }

    fn array(correction: u8) -> Vec<u8> {
        structure(ARRAY, 0x17, &[(4, &[3, 3, correction])], &[])
    }

    #[test]
    fn modules_are_read_with_their_texts() {
        let module = structure(
            MODULE,
            0x28,
            &[
                (0x08, &[72, 0, 64, 0]),
                (0x0c, &[0, 0x40]),
                (0x10, &[1, 2]),
                (0x12, &[0x1a]),
                (0x15, &3200u16.to_le_bytes()),
                (0x17, &[3, 4, 0, 5]),
                (0x20, &2933u16.to_le_bytes()),
            ],
            &["DIMM A1", "BANK 0", "Micron ", "1A2B", "36ASF4G72PZ"],
        );
        let empty = structure(MODULE, 0x28, &[(0x10, &[1])], &["DIMM A2"]);
        let large = structure(
            MODULE,
            0x28,
            &[
                (0x0c, &[0xff, 0x7f]),
                (0x1c, &65_536u32.to_le_bytes()),
                (0x10, &[9]),
            ],
            &["DIMM A3"],
        );
        let end = structure(END, 4, &[], &[]);
        let table = [array(6), module, empty, large, end, array(3)].concat();
        let memory = Memory::parse(&table);
        assert_eq!(memory.correction, Some(Correction::MultiBit));
        let [first, second] = memory.modules.as_slice() else {
            panic!("{:?}", memory.modules);
        };
        assert_eq!(
            first,
            &Module {
                slot: "DIMM A1".to_owned(),
                size: 16 << 30,
                total_width: Some(72),
                data_width: Some(64),
                kind: "DDR4",
                speed: Some(2933),
                maker: "Micron".to_owned(),
                part: "36ASF4G72PZ".to_owned(),
                serial: "1A2B".to_owned(),
            }
        );
        // A text with a number beyond the last is none.
        assert_eq!((second.slot.as_str(), second.size), ("", 64 << 30));
    }

    #[test]
    fn the_least_correction_counts() {
        let both = [array(5), array(3)].concat();
        assert_eq!(Memory::parse(&both).correction, Some(Correction::None));
        let graphics = structure(ARRAY, 0x17, &[(4, &[3, 4, 3])], &[]);
        assert_eq!(Memory::parse(&graphics).correction, None);
        assert_eq!(Memory::parse(&[]).modules, []);
    }

    proptest! {
        #[test]
        fn no_table_is_too_broken(mut table in prop::collection::vec(any::<u8>(), 0..600), kind in 16u8..=17) {
            Memory::parse(&table);
            if let Some(first) = table.first_mut() {
                *first = kind;
                Memory::parse(&table);
            }
        }
    }
}

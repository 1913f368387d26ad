//! The ways to keep data more than once, what each costs, and what each survives.
//!
//! ```text
//!   within a node (LVM)          mirror, RAID 5, RAID 6
//!   between nodes (DRBD)         two-way, three-way
//!   both                         nested mirror, nested parity
//!   parity across nodes          dual parity: for comparison with Storage Spaces Direct, which has it
//! ```
//!
//! Each is a share of a node's room that the data gets there ([`Resiliency::within`]), times how many nodes hold the data
//! ([`Resiliency::copies`]). Shares are exact ratios of whole numbers; what they come to is the table in `docs/sizing.md`.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DriveKind, MOST_NODES, SizingSpec};

/// How often, and where, data is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Resiliency {
    /// Once, on one node.
    Single,
    /// Twice, on two drives of one node.
    Mirror,
    /// On the drives of one node, with parity for the loss of one of them.
    Raid5,
    /// On the drives of one node, with parity for the loss of two of them.
    Raid6,
    /// On two nodes.
    TwoWay,
    /// On three nodes.
    ThreeWay,
    /// In parts on all nodes, with parity for the loss of two of them.
    DualParity,
    /// On two nodes, and there on two drives each.
    NestedMirror,
    /// On two nodes, and there with parity; a part of it mirrored, which takes the writes.
    NestedParity,
}

/// What may be lost at once without loss of data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Failures {
    /// So many drives, wherever they are.
    pub drives: u16,
    /// So many nodes.
    pub nodes: u16,
    /// The same, and what else, in a sentence.
    pub text: String,
}

/// A part of a whole, exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ratio {
    /// So many.
    pub part: u64,
    /// Of so many; never 0.
    pub whole: u64,
}

impl Ratio {
    /// In lowest terms. A whole of nothing counts as one.
    pub const fn new(part: u64, whole: u64) -> Self {
        let whole = if whole == 0 { 1 } else { whole };
        let (mut a, mut b) = (part, whole);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        // `a` divides `whole`, which is not 0.
        Ratio {
            part: part / a,
            whole: whole / a,
        }
    }

    /// This part of an amount, rounded down.
    pub fn of(self, amount: u128) -> u128 {
        amount.saturating_mul(u128::from(self.part)) / u128::from(self.whole.max(1))
    }

    /// The same as a number, 0 to 1.
    pub fn share(self) -> f64 {
        self.part as f64 / self.whole.max(1) as f64
    }
}

impl fmt::Display for Ratio {
    /// In percent, with one decimal at most.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = u128::from(self.whole.max(1));
        let tenths = (u128::from(self.part) * 1000 + whole / 2) / whole;
        match tenths % 10 {
            0 => write!(f, "{} %", tenths / 10),
            rest => write!(f, "{}.{rest} %", tenths / 10),
        }
    }
}

/// A text that names no resiliency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no resiliency; choose one of {names}", names = names())]
pub struct InvalidResiliency(pub String);

fn names() -> String {
    Resiliency::ALL.map(Resiliency::key).join(", ")
}

impl FromStr for Resiliency {
    type Err = InvalidResiliency;
    fn from_str(text: &str) -> Result<Self, InvalidResiliency> {
        Self::ALL
            .into_iter()
            .find(|one| one.key() == text)
            .ok_or_else(|| InvalidResiliency(text.to_owned()))
    }
}

/// Drives in a group with parity, at most: a wider one saves little more, and takes longer to repair.
const WIDEST_PARITY: u64 = 7;

impl Resiliency {
    /// All of them, those that need the fewest nodes first.
    pub const ALL: [Resiliency; 9] = [
        Resiliency::Single,
        Resiliency::Mirror,
        Resiliency::Raid5,
        Resiliency::Raid6,
        Resiliency::TwoWay,
        Resiliency::NestedMirror,
        Resiliency::NestedParity,
        Resiliency::ThreeWay,
        Resiliency::DualParity,
    ];

    /// The word with which the API writes it.
    pub const fn key(self) -> &'static str {
        match self {
            Resiliency::Single => "single",
            Resiliency::Mirror => "mirror",
            Resiliency::Raid5 => "raid5",
            Resiliency::Raid6 => "raid6",
            Resiliency::TwoWay => "two-way",
            Resiliency::ThreeWay => "three-way",
            Resiliency::DualParity => "dual-parity",
            Resiliency::NestedMirror => "nested-mirror",
            Resiliency::NestedParity => "nested-parity",
        }
    }

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Resiliency::Single => "single copy",
            Resiliency::Mirror => "mirror in each node",
            Resiliency::Raid5 => "parity in each node (RAID 5)",
            Resiliency::Raid6 => "double parity in each node (RAID 6)",
            Resiliency::TwoWay => "two-way mirror",
            Resiliency::ThreeWay => "three-way mirror",
            Resiliency::DualParity => "dual parity across nodes",
            Resiliency::NestedMirror => "nested two-way mirror",
            Resiliency::NestedParity => "nested mirror-accelerated parity",
        }
    }

    /// What is usual for so many nodes, with so many drives each.
    pub const fn usual(nodes: u16, drives_per_node: u16) -> Self {
        match (nodes, drives_per_node) {
            (0 | 1, 0 | 1) => Resiliency::Single,
            (0 | 1, _) => Resiliency::Mirror,
            (2, _) => Resiliency::TwoWay,
            _ => Resiliency::ThreeWay,
        }
    }

    /// With how many nodes it can be had.
    pub const fn nodes(self) -> RangeInclusive<u16> {
        match self {
            Resiliency::Single | Resiliency::Mirror | Resiliency::Raid5 | Resiliency::Raid6 => {
                1..=MOST_NODES
            }
            Resiliency::TwoWay => 2..=MOST_NODES,
            Resiliency::ThreeWay => 3..=MOST_NODES,
            Resiliency::DualParity => 4..=MOST_NODES,
            Resiliency::NestedMirror | Resiliency::NestedParity => 2..=2,
        }
    }

    /// How many drives each node needs at least.
    pub const fn least_drives(self) -> u16 {
        match self {
            Resiliency::Single
            | Resiliency::TwoWay
            | Resiliency::ThreeWay
            | Resiliency::DualParity => 1,
            Resiliency::Mirror | Resiliency::NestedMirror => 2,
            Resiliency::Raid5 => 3,
            Resiliency::NestedParity => 4,
            Resiliency::Raid6 => 5,
        }
    }

    /// How many nodes hold the whole of a volume.
    pub const fn copies(self) -> u16 {
        match self {
            Resiliency::Single
            | Resiliency::Mirror
            | Resiliency::Raid5
            | Resiliency::Raid6
            | Resiliency::DualParity => 1,
            Resiliency::TwoWay | Resiliency::NestedMirror | Resiliency::NestedParity => 2,
            Resiliency::ThreeWay => 3,
        }
    }

    /// True if each volume is on one node alone, and goes with it.
    pub const fn stays_in_node(self) -> bool {
        matches!(
            self,
            Resiliency::Single | Resiliency::Mirror | Resiliency::Raid5 | Resiliency::Raid6
        )
    }

    /// True if what a drive held can be made anew from others.
    pub const fn repairs(self) -> bool {
        !matches!(self, Resiliency::Single)
    }

    /// True if a write has to reckon parity as well.
    pub const fn has_parity(self) -> bool {
        matches!(
            self,
            Resiliency::Raid5
                | Resiliency::Raid6
                | Resiliency::DualParity
                | Resiliency::NestedParity
        )
    }

    /// Drives kept free for repair when nobody says how many: one a node, where a node has more than the data needs.
    /// Where any node can take part in a repair, four are enough; what stays in a node is repaired there alone. A single
    /// copy has nothing to be repaired from.
    pub fn usual_reserve(self, nodes: u16, drives_per_node: u16) -> u16 {
        match self.repairs() && drives_per_node > self.least_drives() {
            false => 0,
            true if self.stays_in_node() => nodes,
            true => nodes.min(4),
        }
    }

    /// The share of a node's room that data gets there, on so many drives: those in reserve hold no parity.
    pub fn within(self, plan: &SizingSpec, drives: u16) -> Ratio {
        let drives = u64::from(drives.max(1));
        match self {
            Resiliency::Single | Resiliency::TwoWay | Resiliency::ThreeWay => Ratio::new(1, 1),
            Resiliency::Mirror | Resiliency::NestedMirror => Ratio::new(1, 2),
            Resiliency::Raid5 => {
                let width = drives.min(WIDEST_PARITY);
                Ratio::new(width - 1, width)
            }
            Resiliency::Raid6 => {
                let width = drives.min(WIDEST_PARITY + 1);
                Ratio::new(width.saturating_sub(2), width)
            }
            Resiliency::DualParity => dual_parity(plan.nodes, plan.drive_kind),
            Resiliency::NestedParity => {
                // Of 100 parts, `share` are kept twice in the node and the others with parity, which stretches them by
                // `width / (width - 1)`.
                let width = drives.clamp(2, WIDEST_PARITY);
                let share = u64::from(plan.mirror_share).min(100);
                let room = 2 * share * (width - 1) + width * (100 - share);
                Ratio::new(100 * (width - 1), room)
            }
        }
    }

    /// The share of the footprint that data gets, on the nodes with the fewest drives in reserve.
    pub fn efficiency(self, plan: &SizingSpec) -> Ratio {
        let reserve = plan.reserve_drives() / plan.nodes.max(1);
        let within = self.within(plan, plan.drives_per_node.saturating_sub(reserve));
        Ratio::new(within.part, within.whole * u64::from(self.copies()))
    }

    /// What may be lost at once.
    pub fn failures(self, nodes: u16) -> Failures {
        let one = nodes <= 1;
        let (drives, lost, text) = match self {
            Resiliency::Single => (
                0,
                0,
                "Nothing may fail: with a drive goes everything on its node.",
            ),
            Resiliency::Mirror | Resiliency::Raid5 if one => (1, 0, "One drive may fail."),
            Resiliency::Mirror | Resiliency::Raid5 => (
                1,
                0,
                "One drive of each node may fail; while a node is away, so are its machines.",
            ),
            Resiliency::Raid6 if one => (2, 0, "Two drives may fail."),
            Resiliency::Raid6 => (
                2,
                0,
                "Two drives of each node may fail; while a node is away, so are its machines.",
            ),
            Resiliency::TwoWay => (
                1,
                1,
                "One node may fail, or any number of drives in one node.",
            ),
            Resiliency::ThreeWay if nodes <= 3 => (
                2,
                2,
                "Two nodes may fail, one after the other and with a witness, or any number of drives in two nodes.",
            ),
            Resiliency::ThreeWay | Resiliency::DualParity => (
                2,
                2,
                "Two nodes may fail, or any number of drives in two nodes.",
            ),
            Resiliency::NestedMirror | Resiliency::NestedParity => (
                2,
                1,
                "Two drives may fail wherever they are, or one node and a drive of the other.",
            ),
        };
        Failures {
            drives,
            nodes: lost,
            text: text.to_owned(),
        }
    }
}

/// The layouts of Storage Spaces Direct: Reed-Solomon codes, and local reconstruction codes where they are wider.
const fn dual_parity(nodes: u16, kind: DriveKind) -> Ratio {
    match (kind, nodes) {
        (_, 0..=6) => Ratio::new(2, 4),
        (DriveKind::Hybrid, 7..=11) | (DriveKind::Flash, 7..=8) => Ratio::new(4, 6),
        (DriveKind::Hybrid, _) => Ratio::new(8, 11),
        (DriveKind::Flash, 9..=15) => Ratio::new(6, 8),
        (DriveKind::Flash, _) => Ratio::new(12, 15),
    }
}

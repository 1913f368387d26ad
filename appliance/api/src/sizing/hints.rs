//! What wants to be known about a plan, and what to change: each hint has its rule here and nowhere else.

use super::{DriveKind, Hint, Limit, Resiliency, Sizing, SizingSpec};
use crate::Bytes;
use crate::event::Severity;
use crate::quantity::DriveSize;

/// Virtual machines that a node is built for.
const VMS_PER_NODE: u64 = 1024;
/// Virtual machines that a cluster is built for.
const VMS: u64 = 8000;

/// What can be one.
const WITNESS: &str = "Any small Linux machine elsewhere, or a container, can be one.";

struct Found(Vec<Hint>);

impl Found {
    fn note(
        &mut self,
        severity: Severity,
        code: &str,
        title: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Hint {
            code: code.to_owned(),
            severity,
            title: title.into(),
            remedy: remedy.into(),
        });
    }

    fn warn(&mut self, code: &str, title: impl Into<String>, remedy: impl Into<String>) {
        self.note(Severity::Warning, code, title, remedy);
    }

    fn tell(&mut self, code: &str, title: impl Into<String>, remedy: impl Into<String>) {
        self.note(Severity::Info, code, title, remedy);
    }
}

/// The hints about a plan and what it comes to, warnings first.
pub fn of(plan: &SizingSpec, sizing: &Sizing) -> Vec<Hint> {
    let mut found = Found(Vec::new());
    copies(plan, sizing, &mut found);
    reserve(plan, sizing, &mut found);
    nodes(plan, sizing, &mut found);
    machines(plan, sizing, &mut found);
    drives(plan, sizing, &mut found);
    if plan.nodes > 1 || sizing.resiliency != Resiliency::Single {
        found.tell(
            "planned",
            "This version makes pools of one node, with one copy",
            "More nodes, copies and parity come with later versions.",
        );
    }
    // Stable: the order above stays within a severity.
    found.0.sort_by_key(|hint| std::cmp::Reverse(hint.severity));
    found.0
}

fn copies(plan: &SizingSpec, sizing: &Sizing, found: &mut Found) {
    match sizing.resiliency {
        Resiliency::Single => found.warn(
            "single-copy",
            "Everything is kept once",
            "If a drive fails, what is on its node is lost. Keep backups elsewhere, or choose a mirror.",
        ),
        Resiliency::TwoWay
            if plan.nodes == 2
                && plan.drives_per_node >= Resiliency::NestedMirror.least_drives() =>
        {
            let parity = match plan.drives_per_node >= Resiliency::NestedParity.least_drives() {
                true => "; nested parity costs less",
                false => "",
            };
            found.tell(
                "nested",
                "With two nodes, a nested mirror survives more",
                format!("It bears a failed drive while the other node is away, for half the room{parity}."),
            );
        }
        Resiliency::TwoWay if plan.nodes > 2 => found.tell(
            "three-way",
            "A second failure before the first is repaired loses data",
            "A three-way mirror survives two, for two thirds of the room.",
        ),
        Resiliency::DualParity => found.tell(
            "comparison",
            "Parity across nodes is reckoned for comparison",
            "The figures are those of Storage Spaces Direct. Ashlar keeps parity inside a node.",
        ),
        _ => {}
    }
    if sizing.resiliency.has_parity() {
        found.tell(
            "parity-writes",
            "Parity makes writing slower",
            "It suits archives and backups; keep the disks of busy machines on a mirror.",
        );
    }
}

fn reserve(plan: &SizingSpec, sizing: &Sizing, found: &mut Found) {
    let resiliency = sizing.resiliency;
    let usual = resiliency.usual_reserve(plan.nodes, plan.drives_per_node);
    if sizing.reserve_drives == 0 && resiliency.repairs() {
        let remedy = if usual > 0 {
            format!(
                "Keep {} in reserve.",
                count(u64::from(usual), "drive", "drives")
            )
        } else {
            "Add a drive to each node, to be kept in reserve.".to_owned()
        };
        found.warn(
            "no-reserve",
            "Nothing is kept for repair: after a failure, copies stay missing until the drive is replaced",
            remedy,
        );
    } else if sizing.reserve_drives < usual {
        found.tell(
            "low-reserve",
            "Not every node has a drive in reserve",
            format!("{usual} are usual, so that each repair can begin at once."),
        );
    }
    let even = sizing.efficiency.of(u128::from(sizing.footprint.0));
    // Each node rounds down by a byte or so.
    if u128::from(sizing.usable.0) + u128::from(Bytes::MIB) < even {
        let lost = Bytes(
            u64::try_from(even)
                .unwrap_or(u64::MAX)
                .saturating_sub(sizing.usable.0),
        );
        found.tell(
            "uneven-reserve",
            format!("{lost} can not be used, because some nodes keep more in reserve than others"),
            format!(
                "Keep as many drives on each node: a multiple of {}.",
                plan.nodes
            ),
        );
    }
}

/// How many nodes can fail at once with a majority left, and whether that takes a witness.
fn majority(nodes: u16) -> (u16, u16) {
    let alone = nodes.saturating_sub(1) / 2;
    (alone, nodes / 2)
}

fn nodes(plan: &SizingSpec, sizing: &Sizing, found: &mut Found) {
    let (spare, survived) = (sizing.spare_nodes, sizing.failures.nodes);
    if spare > survived {
        let remedy = if sizing.resiliency.stays_in_node() {
            "Disks of machines are on one node only: when it fails, they do not run elsewhere. Choose a mirror between nodes."
                .to_owned()
        } else {
            format!("Plan for {survived}, or choose a resiliency with more copies.")
        };
        found.warn(
            "spare-beyond-copies",
            format!(
                "There is room for the loss of {}, but no copy of the data elsewhere",
                count(u64::from(spare), "node", "nodes")
            ),
            remedy,
        );
    } else if spare == 0 && survived > 0 {
        found.warn(
            "no-spare-node",
            "When a node fails, its machines may find no room on the others",
            "Plan for the loss of one node.",
        );
    }
    let (alone, with_witness) = majority(plan.nodes);
    if spare > with_witness {
        found.warn(
            "majority",
            format!(
                "Of {} nodes, {with_witness} may fail at once: the others need a majority",
                plan.nodes
            ),
            format!("Plan for at most {with_witness} at once, or add nodes."),
        );
    }
    let wanted = spare.max(survived).min(with_witness);
    if plan.nodes == 3 && survived == 2 {
        found.tell(
            "witness",
            "3 nodes need a witness, to go on when two fail one after the other",
            WITNESS,
        );
    } else if wanted > alone {
        found.tell(
            "witness",
            format!(
                "{} nodes need a witness, to go on when {}",
                plan.nodes,
                if wanted == 1 {
                    "one fails".to_owned()
                } else {
                    format!("{wanted} fail at once")
                }
            ),
            WITNESS,
        );
    }
}

fn machines(plan: &SizingSpec, sizing: &Sizing, found: &mut Found) {
    let vms = &sizing.vms;
    if vms.count == 0 {
        let remedy = match vms.limit {
            Limit::Storage => "Give it a smaller disk, or the nodes more drives.".to_owned(),
            Limit::Memory => format!(
                "A node has {} for machines. Give the machine less memory, or the node more.",
                sizing.memory_for_vms.unwrap_or_default()
            ),
            Limit::Processors => {
                "Give it fewer processors, or let more of them share a thread.".to_owned()
            }
        };
        found.warn("nothing-fits", "No machine of this size fits", remedy);
    }
    if let Some(threads) = plan
        .threads_per_node
        .filter(|threads| plan.vm.cpus > *threads)
    {
        found.warn(
            "wide-machine",
            "A machine has more processors than a node has threads",
            format!(
                "They would wait for one another: give it {} at most.",
                count(u64::from(threads), "processor", "processors")
            ),
        );
    }
    let left_out = match (plan.memory_per_node, plan.threads_per_node) {
        (None, None) => "Memory and processors were not given",
        (None, Some(_)) => "Memory was not given",
        (Some(_), None) => "Processors were not given",
        (Some(_), Some(_)) => "",
    };
    if !left_out.is_empty() {
        found.tell(
            "not-given",
            left_out,
            "So they are not counted; on a node they limit how many machines run.",
        );
    }
    let most = (VMS_PER_NODE * u64::from(plan.nodes)).min(VMS);
    if vms.count > most {
        found.warn(
            "many-machines",
            format!("Ashlar is built for {most} machines on so many nodes"),
            "Plan with fewer and larger ones, or add nodes.",
        );
    }
}

fn drives(plan: &SizingSpec, sizing: &Sizing, found: &mut Found) {
    if plan.drive_kind == DriveKind::Hybrid {
        let node = sizing.raw.0 / u64::from(plan.nodes.max(1));
        let cache = DriveSize(Bytes((node / 100).saturating_mul(15).max(32_000_000_000)));
        found.tell(
            "cache",
            "The flash of the cache comes on top, and adds no room",
            format!("Give each node at least two flash drives for it, of {cache} together: 15 % of its disks."),
        );
    }
}

fn count(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

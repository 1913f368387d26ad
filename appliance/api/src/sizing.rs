//! The sizing tool: what planned nodes and drives come to.
//!
//! ```text
//!   nodes × drives ─► raw ─ reserve ─► footprint ─ copies and parity ─► usable
//!   node's memory ─ what it keeps ─┐
//!   processor threads × over-commit ─┼─ less the nodes that may fail ─► machines that fit, and what ends first
//!   usable ─────────────────────────┘
//! ```
//!
//! [`size`] is pure and total: the console runs it while one types, the command line runs it with no appliance at all, and
//! the API answers the same. Room is counted in whole bytes and exact ratios, so that three sums on three machines never
//! differ. A volume is whole on each node that holds it, and a machine is whole on one node: what fits is counted node by
//! node and not from the sum, of which the last pieces could not be used.
//!
//! What a node keeps of its memory is what the kernel's records of its pages take (1/64), what is in use at rest
//! (`docs/benchmarks.md`), and what is never promised to machines ([`memory_reserve`]). The pools' own records, less than
//! 0.2 % of their room, are left out.

mod hints;
mod resiliency;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::event::Severity;
use crate::node::memory_reserve;
use crate::validate::{Check, FieldError, Findings};
use crate::vm::overhead;
use crate::{Bytes, volume};

pub use resiliency::{Failures, InvalidResiliency, Ratio, Resiliency};

/// The largest cluster.
pub const MOST_NODES: u16 = 16;
/// The most drives of a node that can be in a pool.
pub const MOST_DRIVES: u16 = 64;
/// What is in use on a node at rest, with what the kernel holds back.
const AT_REST: Bytes = Bytes::mib(256);

/// What is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SizingSpec {
    /// How many nodes.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 16))]
    pub nodes: u16,
    /// How many drives for data each has; the one that it starts from and those of a cache do not count.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 64))]
    pub drives_per_node: u16,
    /// The size of a drive. A drive sold as 2 TB has 2,000,000,000,000 bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 1_000_000_000, maximum = 281_474_976_710_656_i64))]
    pub drive_size: Bytes,
    /// What the drives are.
    #[serde(default)]
    pub drive_kind: DriveKind,
    /// How often, and where, data is kept; what is usual for the nodes, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resiliency: Option<Resiliency>,
    /// With `nested-parity`: how many percent of the data are mirrored rather than kept with parity.
    #[serde(default = "usual_mirror_share")]
    #[cfg_attr(feature = "openapi", schema(default = 20, minimum = 0, maximum = 50))]
    pub mirror_share: u8,
    /// How many drives, of all nodes together, are kept free for repair; one a node when absent, and four at most where
    /// data is kept on more nodes than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 1024))]
    pub reserve_drives: Option<u16>,
    /// Memory of each node; limits nothing, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>, minimum = 1_073_741_824, maximum = 70_368_744_177_664_i64))]
    pub memory_per_node: Option<Bytes>,
    /// Processor threads of each node; limit nothing, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 4096))]
    pub threads_per_node: Option<u16>,
    /// How many virtual processors share a thread; 1 gives each its own.
    #[serde(default = "usual_overcommit")]
    #[cfg_attr(feature = "openapi", schema(default = 4, minimum = 1, maximum = 32))]
    pub vcpus_per_thread: u16,
    /// How many nodes may fail while every machine still runs; one of two or more, when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 15))]
    pub spare_nodes: Option<u16>,
    /// What one machine takes.
    #[serde(default)]
    pub vm: VmShape,
}

/// What the drives for data are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DriveKind {
    /// All of them flash.
    #[default]
    Flash,
    /// Disks, with flash before them as a cache.
    Hybrid,
}

/// What one virtual machine takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmShape {
    /// Virtual processors.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 256))]
    pub cpus: u16,
    /// Memory.
    #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 67_108_864, maximum = 4_398_046_511_104_i64))]
    pub memory: Bytes,
    /// Its disks together, filled to the last byte.
    #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 4_194_304, maximum = 70_368_744_177_664_i64))]
    pub disk: Bytes,
}

impl Default for VmShape {
    fn default() -> Self {
        VmShape {
            cpus: 2,
            memory: Bytes::gib(4),
            disk: Bytes::gib(40),
        }
    }
}

fn usual_mirror_share() -> u8 {
    20
}

fn usual_overcommit() -> u16 {
    4
}

impl SizingSpec {
    /// A plan with what is usual in everything else.
    pub fn new(nodes: u16, drives_per_node: u16, drive_size: Bytes) -> Self {
        SizingSpec {
            nodes,
            drives_per_node,
            drive_size,
            drive_kind: DriveKind::default(),
            resiliency: None,
            mirror_share: usual_mirror_share(),
            reserve_drives: None,
            memory_per_node: None,
            threads_per_node: None,
            vcpus_per_thread: usual_overcommit(),
            spare_nodes: None,
            vm: VmShape::default(),
        }
    }

    /// The resiliency that is reckoned with.
    pub fn resiliency(&self) -> Resiliency {
        self.resiliency
            .unwrap_or_else(|| Resiliency::usual(self.nodes, self.drives_per_node))
    }

    /// The drives that are kept free.
    pub fn reserve_drives(&self) -> u16 {
        self.reserve_drives.unwrap_or_else(|| {
            self.resiliency()
                .usual_reserve(self.nodes, self.drives_per_node)
        })
    }

    /// The nodes that may fail while every machine still runs.
    pub fn spare_nodes(&self) -> u16 {
        self.spare_nodes.unwrap_or(u16::from(self.nodes > 1))
    }
}

impl Check for VmShape {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (1..=256).contains(&self.cpus),
            "cpus",
            "between 1 and 256 processors",
        );
        f.require(
            (Bytes::mib(64)..=Bytes(4 * Bytes::TIB)).contains(&self.memory),
            "memory",
            "between 64 MiB and 4 TiB",
        );
        volume::check_size(self.disk, "disk", f);
    }
}

impl Check for SizingSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            (1..=MOST_NODES).contains(&self.nodes),
            "nodes",
            "between 1 and 16 nodes",
        );
        f.require(
            (1..=MOST_DRIVES).contains(&self.drives_per_node),
            "drives_per_node",
            "between 1 and 64 drives in each node",
        );
        f.require(
            (1_000_000_000..=256 * Bytes::TIB).contains(&self.drive_size.0),
            "drive_size",
            "between 1 GB and 256 TiB",
        );
        f.require(
            self.mirror_share <= 50,
            "mirror_share",
            "between 0 and 50 percent",
        );
        if let Some(memory) = self.memory_per_node {
            f.require(
                (Bytes::gib(1)..=Bytes(64 * Bytes::TIB)).contains(&memory),
                "memory_per_node",
                "between 1 GiB and 64 TiB",
            );
        }
        if let Some(threads) = self.threads_per_node {
            f.require(
                (1..=4096).contains(&threads),
                "threads_per_node",
                "between 1 and 4096 processor threads",
            );
        }
        f.require(
            (1..=32).contains(&self.vcpus_per_thread),
            "vcpus_per_thread",
            "between 1 and 32 virtual processors for each thread",
        );
        f.within("vm", &self.vm);
        self.check_relations(f);
    }
}

impl SizingSpec {
    /// The rules between two values.
    fn check_relations(&self, f: &mut Findings) {
        let resiliency = self.resiliency();
        let (name, nodes) = (resiliency.name(), resiliency.nodes());
        let usual = Resiliency::usual(self.nodes, self.drives_per_node).name();
        let need = if nodes.start() == nodes.end() {
            format!("{name} needs exactly {} nodes", nodes.start())
        } else {
            format!("{name} needs at least {} nodes", nodes.start())
        };
        f.require(
            nodes.contains(&self.nodes) || !(1..=MOST_NODES).contains(&self.nodes),
            "resiliency",
            format!("{need}; change the nodes, or choose {usual}"),
        );
        let least = resiliency.least_drives();
        f.require(
            self.drives_per_node >= least || self.drives_per_node == 0,
            "drives_per_node",
            format!(
                "{name} needs at least {least} drives in each node; add drives, or choose {usual}"
            ),
        );
        let spare = self.drives_per_node.saturating_sub(least);
        let most = spare.saturating_mul(self.nodes);
        f.require(
            self.reserve_drives() <= most,
            "reserve_drives",
            match most {
                0 => format!(
                    "0: {name} needs every drive of the nodes; add drives to keep some in reserve"
                ),
                _ => format!("at most {most}: {name} needs {least} of the drives in each node"),
            },
        );
        f.require(
            self.spare_nodes() < self.nodes.max(1),
            "spare_nodes",
            format!(
                "at most {}: a node has to be left to run the machines",
                self.nodes.saturating_sub(1)
            ),
        );
    }
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sizing {
    /// The answer in two or three sentences.
    pub summary: String,
    /// The resiliency that was reckoned with.
    pub resiliency: Resiliency,
    /// All drives together.
    pub raw: Bytes,
    /// Of that, kept free for repair.
    pub reserve: Bytes,
    /// How many drives that is.
    pub reserve_drives: u16,
    /// The rest: room for volumes with their copies and parity.
    pub footprint: Bytes,
    /// Room for volumes as machines see them.
    pub usable: Bytes,
    /// The share of the footprint that data gets.
    pub efficiency: Ratio,
    /// What may be lost.
    pub failures: Failures,
    /// Memory of a node that machines can have; absent when no memory was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_for_vms: Option<Bytes>,
    /// The nodes that may fail while every machine still runs.
    pub spare_nodes: u16,
    /// How many machines fit.
    pub vms: Fit,
    /// What wants to be known or changed, the most important first.
    pub hints: Vec<Hint>,
}

/// How many machines fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Fit {
    /// So many.
    pub count: u64,
    /// What ends first.
    pub limit: Limit,
    /// How many the storage has room for.
    pub by_storage: u64,
    /// How many the memory is enough for; absent when no memory was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_memory: Option<u64>,
    /// How many the processors are enough for; absent when no threads were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_processors: Option<u64>,
}

/// What ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Limit {
    /// Room for disks.
    Storage,
    /// Memory.
    Memory,
    /// Processors.
    Processors,
}

impl Limit {
    /// That it ends first.
    const fn ends_first(self) -> &'static str {
        match self {
            Limit::Storage => "storage ends first",
            Limit::Memory => "memory ends first",
            Limit::Processors => "processors end first",
        }
    }
}

/// Something to know or to change about a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Hint {
    /// Which hint, such as `no-reserve`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub title: String,
    /// What follows, or what to do.
    pub remedy: String,
}

/// What a plan comes to, or what is wrong with it.
pub fn size(plan: &SizingSpec) -> Result<Sizing, Vec<FieldError>> {
    plan.check()?;
    let resiliency = plan.resiliency();
    let rooms = rooms(plan);
    let drives = u128::from(plan.nodes) * u128::from(plan.drives_per_node);
    let raw = drives * u128::from(plan.drive_size.0);
    let reserve = u128::from(plan.reserve_drives()) * u128::from(plan.drive_size.0);
    let vms = fit(plan, &rooms);
    let failures = resiliency.failures(plan.nodes);
    let mut sizing = Sizing {
        summary: String::new(),
        resiliency,
        raw: bytes(raw),
        reserve: bytes(reserve),
        reserve_drives: plan.reserve_drives(),
        footprint: bytes(raw.saturating_sub(reserve)),
        usable: bytes(spread(&rooms, resiliency.copies())),
        efficiency: resiliency.efficiency(plan),
        failures,
        memory_for_vms: plan.memory_per_node.map(for_vms),
        spare_nodes: plan.spare_nodes(),
        vms,
        hints: Vec::new(),
    };
    sizing.summary = summary(&sizing);
    sizing.hints = hints::of(plan, &sizing);
    Ok(sizing)
}

/// What a node's memory leaves for machines.
fn for_vms(memory: Bytes) -> Bytes {
    let records = memory.0 / 64;
    let kept = AT_REST
        .0
        .saturating_add(records)
        .saturating_add(memory_reserve(memory).0);
    Bytes(memory.0.saturating_sub(kept))
}

fn bytes(amount: u128) -> Bytes {
    Bytes(u64::try_from(amount).unwrap_or(u64::MAX))
}

/// Room for data on each node, the largest first: reserve is spread as evenly as it can be.
fn rooms(plan: &SizingSpec) -> Vec<u128> {
    let nodes = plan.nodes.max(1);
    let (each, more) = (plan.reserve_drives() / nodes, plan.reserve_drives() % nodes);
    let room = |reserve: u16| {
        let drives = plan.drives_per_node.saturating_sub(reserve);
        let within = plan.resiliency().within(plan, drives);
        within.of(u128::from(drives) * u128::from(plan.drive_size.0))
    };
    (0..nodes)
        .map(|node| room(each + u16::from(node >= nodes - more)))
        .collect()
}

/// How much can be kept `copies` times, each time on another node, in rooms of these sizes, the largest first.
///
/// `v` can be kept if the rooms, none counted with more than `v`, hold `copies × v`: then it can be laid out node after
/// node, and no node gets anything twice. Where the `k` largest are counted with `v`, the others have to hold the
/// `copies - k` that are left.
fn spread(rooms: &[u128], copies: u16) -> u128 {
    (0..copies)
        .map(|largest| {
            let rest: u128 = rooms.iter().skip(usize::from(largest)).sum();
            rest / u128::from(copies - largest)
        })
        .min()
        .unwrap_or(0)
}

fn fit(plan: &SizingSpec, rooms: &[u128]) -> Fit {
    let resiliency = plan.resiliency();
    let disk = u128::from(plan.vm.disk.0.max(1));
    let by_storage = if resiliency == Resiliency::DualParity {
        rooms.iter().sum::<u128>() / disk
    } else {
        let disks: Vec<u128> = rooms.iter().map(|room| room / disk).collect();
        spread(&disks, resiliency.copies())
    };
    let by_storage = u64::try_from(by_storage).unwrap_or(u64::MAX);
    let left = u64::from(plan.nodes.saturating_sub(plan.spare_nodes()));
    let by_memory = plan.memory_per_node.map(|memory| {
        let own = overhead(plan.vm.memory, plan.vm.cpus).0;
        let need = plan.vm.memory.0.saturating_add(own).max(1);
        left.saturating_mul(for_vms(memory).0 / need)
    });
    let by_processors = plan.threads_per_node.map(|threads| {
        let vcpus = u64::from(threads) * u64::from(plan.vcpus_per_thread);
        left.saturating_mul(vcpus / u64::from(plan.vm.cpus.max(1)))
    });
    let limits = [
        (Limit::Storage, Some(by_storage)),
        (Limit::Memory, by_memory),
        (Limit::Processors, by_processors),
    ];
    let (limit, count) = limits
        .into_iter()
        .filter_map(|(limit, count)| Some((limit, count?)))
        .min_by_key(|(_, count)| *count)
        .unwrap_or((Limit::Storage, by_storage));
    Fit {
        count,
        limit,
        by_storage,
        by_memory,
        by_processors,
    }
}

fn summary(sizing: &Sizing) -> String {
    let fit = match sizing.vms.count {
        0 => format!(
            "No virtual machine of this size fits: {}.",
            sizing.vms.limit.ends_first()
        ),
        1 => format!(
            "One virtual machine of this size fits; {}.",
            sizing.vms.limit.ends_first()
        ),
        count => format!(
            "{count} virtual machines of this size fit; {}.",
            sizing.vms.limit.ends_first()
        ),
    };
    format!(
        "{} for volumes. {} {fit}",
        sizing.usable, sizing.failures.text
    )
}

//! `ashlar sizing`: what planned nodes and drives come to.
//!
//! It needs no appliance: the reckoning is that of the API, done here.

use ashlar_api::event::Severity;
use ashlar_api::quantity::DriveSize;
use ashlar_api::sizing::{DriveKind, Resiliency, Sizing, SizingSpec, VmShape, size};
use ashlar_api::{Bytes, Problem};
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::error::{Error, Result};
use super::output::{self, Format, Look};

/// What is planned.
#[derive(Args, Debug)]
pub struct SizingArgs {
    /// How many nodes, 1 to 16
    #[arg(long)]
    nodes: u16,
    /// How many drives for data each node has; the one it starts from does not count
    #[arg(long)]
    drives: u16,
    /// The size of a drive as on its label, such as 3.84TB
    #[arg(long, value_name = "SIZE")]
    drive_size: DriveSize,
    /// The drives are disks, with flash before them as a cache
    #[arg(long)]
    hybrid: bool,
    /// How often, and where, data is kept [default: what is usual for the nodes]
    #[arg(long, value_parser = resiliencies())]
    resiliency: Option<Resiliency>,
    /// With nested-parity: percent of the data that are mirrored
    #[arg(long, value_name = "PERCENT", default_value_t = 20)]
    mirror_share: u8,
    /// Drives of all nodes together that are kept free for repair [default: one a node, four at most where data is on several nodes]
    #[arg(long, value_name = "DRIVES")]
    reserve: Option<u16>,
    /// Memory of each node, such as 256G
    #[arg(long, value_name = "SIZE")]
    memory: Option<Bytes>,
    /// Processor threads of each node
    #[arg(long)]
    threads: Option<u16>,
    /// How many virtual processors share a thread
    #[arg(long, value_name = "VCPUS", default_value_t = 4)]
    vcpus_per_thread: u16,
    /// Nodes that may fail while every machine still runs [default: one of two or more]
    #[arg(long, value_name = "NODES")]
    spare_nodes: Option<u16>,
    /// Virtual processors of a machine
    #[arg(long, value_name = "VCPUS", default_value_t = 2)]
    vm_cpus: u16,
    /// Memory of a machine
    #[arg(long, value_name = "SIZE", default_value = "4G")]
    vm_memory: Bytes,
    /// Disks of a machine, together
    #[arg(long, value_name = "SIZE", default_value = "40G")]
    vm_disk: Bytes,
}

fn resiliencies() -> impl TypedValueParser<Value = Resiliency> {
    let values = Resiliency::ALL.map(|one| PossibleValue::new(one.key()).help(one.name()));
    PossibleValuesParser::new(values).try_map(|text| text.parse::<Resiliency>())
}

impl SizingArgs {
    fn plan(self) -> SizingSpec {
        SizingSpec {
            nodes: self.nodes,
            drives_per_node: self.drives,
            drive_size: self.drive_size.0,
            drive_kind: if self.hybrid {
                DriveKind::Hybrid
            } else {
                DriveKind::Flash
            },
            resiliency: self.resiliency,
            mirror_share: self.mirror_share,
            reserve_drives: self.reserve,
            memory_per_node: self.memory,
            threads_per_node: self.threads,
            vcpus_per_thread: self.vcpus_per_thread,
            spare_nodes: self.spare_nodes,
            vm: VmShape {
                cpus: self.vm_cpus,
                memory: self.vm_memory,
                disk: self.vm_disk,
            },
        }
    }

    /// Does it.
    pub fn run(self, look: &Look) -> Result {
        let plan = self.plan();
        let sizing =
            size(&plan).map_err(|fields| Error::Refused(Box::new(Problem::invalid(fields))))?;
        match look.format {
            Format::Table => output::print(&told(&plan, &sizing)),
            Format::Json => {
                let text = serde_json::to_vec(&sizing);
                output::json(&text.map_err(|error| Error::Prepare("write JSON", error.into()))?)
            }
        }
    }
}

fn told(plan: &SizingSpec, sizing: &Sizing) -> String {
    let mut text = format!("{}\n\n{}", sizing.summary, room(sizing));
    text.push('\n');
    text.push_str(&machines(plan, sizing));
    for hint in &sizing.hints {
        let word = match hint.severity {
            Severity::Info => "Note",
            Severity::Warning | Severity::Critical => "Warning",
        };
        text.push_str(&format!("\n{word}: {}.\n  → {}\n", hint.title, hint.remedy));
    }
    text
}

/// Where the room goes. Volumes are counted in binary units, drives are sold in decimal ones.
fn room(sizing: &Sizing) -> String {
    let copies = Bytes(sizing.footprint.0.saturating_sub(sizing.usable.0));
    let rows = [
        ("all drives", sizing.raw),
        ("reserve for repair", sizing.reserve),
        ("copies and parity", copies),
        ("volumes", sizing.usable),
    ];
    let rows = rows.map(|(what, size)| {
        vec![
            what.to_owned(),
            size.to_string(),
            DriveSize(size).to_string(),
        ]
    });
    output::table(&["room", "size", "as drives are sold"], rows.into())
}

fn machines(plan: &SizingSpec, sizing: &Sizing) -> String {
    let counted = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    let vms = &sizing.vms;
    output::details(&[
        (
            "resiliency",
            format!("{}, {}", sizing.resiliency.name(), sizing.efficiency),
        ),
        (
            "reserve",
            match sizing.reserve_drives {
                1 => "1 drive".to_owned(),
                n => format!("{n} drives"),
            },
        ),
        (
            "a machine",
            format!(
                "{} virtual processors, {} of memory, {} of disks",
                plan.vm.cpus, plan.vm.memory, plan.vm.disk
            ),
        ),
        ("fit by storage", vms.by_storage.to_string()),
        ("fit by memory", counted(vms.by_memory)),
        ("fit by processors", counted(vms.by_processors)),
        (
            "memory for machines",
            sizing
                .memory_for_vms
                .map_or_else(String::new, |memory| format!("{memory} of each node")),
        ),
        ("nodes that may fail", sizing.spare_nodes.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: SizingArgs,
    }

    fn args(line: &str) -> SizingArgs {
        let words = std::iter::once("sizing").chain(line.split(' '));
        <Line as clap::Parser>::try_parse_from(words).unwrap().args
    }

    #[test]
    fn options_are_those_of_the_api() {
        let plain = args("--nodes 3 --drives 4 --drive-size 3.84TB").plan();
        assert_eq!(plain, SizingSpec::new(3, 4, Bytes(3_840_000_000_000)));
        let all = args(
            "--nodes 2 --drives 6 --drive-size 8TB --hybrid --resiliency nested-parity --mirror-share 10 \
             --reserve 2 --memory 256G --threads 32 --vcpus-per-thread 2 --spare-nodes 0 --vm-cpus 4 \
             --vm-memory 8G --vm-disk 100G",
        );
        let wanted = SizingSpec {
            drive_kind: DriveKind::Hybrid,
            resiliency: Some(Resiliency::NestedParity),
            mirror_share: 10,
            reserve_drives: Some(2),
            memory_per_node: Some(Bytes::gib(256)),
            threads_per_node: Some(32),
            vcpus_per_thread: 2,
            spare_nodes: Some(0),
            vm: VmShape {
                cpus: 4,
                memory: Bytes::gib(8),
                disk: Bytes::gib(100),
            },
            ..SizingSpec::new(2, 6, Bytes(8_000_000_000_000))
        };
        assert_eq!(all.plan(), wanted);
    }

    #[test]
    fn what_can_not_be_is_refused_as_the_api_does() {
        let line = "--nodes 2 --drives 4 --drive-size 2TB --resiliency three-way";
        let refused = args(line).run(&Look::new(Format::Table)).unwrap_err();
        assert_eq!(refused.status(), 1);
        insta::assert_snapshot!(refused.story(), @r"
        ashlar: resiliency: three-way mirror needs at least 3 nodes; change the nodes, or choose two-way mirror
        ");
    }

    fn said(mut plan: SizingSpec, change: impl FnOnce(&mut SizingSpec)) -> String {
        change(&mut plan);
        told(&plan, &size(&plan).unwrap())
    }

    #[test]
    fn the_answer_comes_first() {
        let plan = SizingSpec::new(4, 16, Bytes(2_000_000_000_000));
        let text = said(plan, |plan| {
            plan.memory_per_node = Some(Bytes::gib(256));
            plan.threads_per_node = Some(32);
        });
        insta::assert_snapshot!(text, @r"
        36.4 TiB for volumes. Two nodes may fail, or any number of drives in two nodes. 180 virtual machines of this size fit; memory ends first.

        ROOM                 SIZE       AS DRIVES ARE SOLD
        all drives           116 TiB    128 TB
        reserve for repair   7.28 TiB   8 TB
        copies and parity    72.8 TiB   80 TB
        volumes              36.4 TiB   40 TB

        resiliency            three-way mirror, 33.3 %
        reserve               4 drives
        a machine             2 virtual processors, 4 GiB of memory, 40 GiB of disks
        fit by storage        930
        fit by memory         180
        fit by processors     192
        memory for machines   248 GiB of each node
        nodes that may fail   1

        Note: 4 nodes need a witness, to go on when 2 fail at once.
          → Any small Linux machine elsewhere, or a container, can be one.

        Note: This version makes pools of one node, with one copy.
          → More nodes, copies and parity come with later versions.
        ");
    }

    #[test]
    fn what_was_not_given_is_not_told() {
        let plan = SizingSpec::new(1, 1, Bytes(960_000_000_000));
        let text = said(plan, |_| {});
        insta::assert_snapshot!(text, @r"
        894 GiB for volumes. Nothing may fail: with a drive goes everything on its node. 22 virtual machines of this size fit; storage ends first.

        ROOM                 SIZE      AS DRIVES ARE SOLD
        all drives           894 GiB   960 GB
        reserve for repair   0 B       0 B
        copies and parity    0 B       0 B
        volumes              894 GiB   960 GB

        resiliency            single copy, 100 %
        reserve               0 drives
        a machine             2 virtual processors, 4 GiB of memory, 40 GiB of disks
        fit by storage        22
        nodes that may fail   0

        Warning: Everything is kept once.
          → If a drive fails, what is on its node is lost. Keep backups elsewhere, or choose a mirror.

        Note: Memory and processors were not given.
          → So they are not counted; on a node they limit how many machines run.
        ");
    }
}

//! The newest load, and how the domains fare, as text that Prometheus and its kin read.
//!
//! Gauges only: rates are reckoned where the counters are read, and a reader
//! that comes every five seconds or more seldom gets what the console shows.
//! Names are stable; a machine that is not running has only its phase.

use std::fmt::{Display, Write};

use actix_web::http::header;
use actix_web::{HttpResponse, get, web};
use ashlar_api::event::Severity;
use ashlar_api::metrics::VmSample;
use ashlar_api::vm::VmPhase;

use super::Shared;
use super::auth::Caller;
use super::error::Answer;
use super::request::NoQuery;
use crate::reconcile::Pass;
use crate::state::schema::{NodeRecord, PoolRecord, VmRecord};

/// The content type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The newest load as text
///
/// In the format that Prometheus reads; give it a token of a viewer as
/// `authorization.credentials`.
#[utoipa::path(responses((status = 200, description = "Gauges, one per line.", body = String, content_type = "text/plain")))]
#[get("/metrics")]
pub async fn read(shared: web::Data<Shared>, _: Caller, _: web::Query<NoQuery>) -> Answer {
    let mut text = Exposition::default();
    node(&shared, &mut text)?;
    passes(&shared, &mut text);
    pools(&shared, &mut text)?;
    vms(&shared, &mut text)?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, TEXT))
        .body(text.0))
}

/// Text in the making.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// A gauge with all its values; left out when there are none.
    fn gauge<V: Display>(&mut self, name: &str, help: &str, values: Vec<(Vec<(&str, String)>, V)>) {
        if values.is_empty() {
            return;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP ashlar_{name} {help}\n# TYPE ashlar_{name} gauge"
        );
        for (labels, value) in values {
            let labels: Vec<String> = labels
                .iter()
                .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
                .collect();
            let labels = match labels.as_slice() {
                [] => String::new(),
                labels => format!("{{{}}}", labels.join(",")),
            };
            let _ = writeln!(self.0, "ashlar_{name}{labels} {value}");
        }
    }
}

/// A label's value: backslashes, quotes and line breaks are told from the format's own.
fn escaped(text: &str) -> String {
    text.replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

fn node(shared: &Shared, text: &mut Exposition) -> Answer<()> {
    let name = shared
        .app
        .store
        .get::<NodeRecord>(shared.app.node)?
        .map(|node| node.spec.name.to_string())
        .unwrap_or_default();
    let own = || vec![("node", name.clone())];
    let version = vec![
        ("node", name.clone()),
        ("version", crate::sys::release::version().to_owned()),
    ];
    text.gauge("info", "The version that runs.", vec![(version, 1)]);
    let faults = shared.app.health.faults();
    let count = |severity| faults.iter().filter(|f| f.severity == severity).count();
    let each = [
        ("critical", Severity::Critical),
        ("warning", Severity::Warning),
        ("info", Severity::Info),
    ];
    let each = each.map(|(word, severity)| {
        let labels = vec![("node", name.clone()), ("severity", word.to_owned())];
        (labels, count(severity))
    });
    text.gauge("faults", "What is wrong now.", each.into());
    let Some(load) = shared.app.health.metrics.newest() else {
        return Ok(());
    };
    text.gauge(
        "node_cpu_ratio",
        "Busy share of all processors.",
        vec![(own(), load.cpu)],
    );
    let bytes = [
        (
            "node_memory_used_bytes",
            "Memory in use.",
            load.memory_used.0,
        ),
        (
            "node_network_receive_bytes_per_second",
            "Received on the uplinks.",
            load.net_rx,
        ),
        (
            "node_network_transmit_bytes_per_second",
            "Sent on the uplinks.",
            load.net_tx,
        ),
        (
            "node_disk_read_bytes_per_second",
            "Read from drives.",
            load.disk_read,
        ),
        (
            "node_disk_written_bytes_per_second",
            "Written to drives.",
            load.disk_write,
        ),
    ];
    for (metric, help, value) in bytes {
        text.gauge(metric, help, vec![(own(), value)]);
    }
    Ok(())
}

/// What a gauge says of a pass.
type OfPass = fn(&Pass) -> i64;

/// How the last pass of each domain went; a domain that has made none yet is left out.
fn passes(shared: &Shared, text: &mut Exposition) {
    let seen = &shared.app.seen;
    let passes = [
        ("network", seen.network.borrow().pass.clone()),
        ("storage", seen.storage.borrow().pass.clone()),
        ("vm", seen.vm.borrow().pass.clone()),
        ("service", seen.service.borrow().pass.clone()),
    ];
    let each = |of: OfPass| {
        let value = |(domain, pass): &(&str, Option<Pass>)| {
            let labels = vec![("domain", (*domain).to_owned())];
            pass.as_ref().map(|pass| (labels, of(pass)))
        };
        passes.iter().filter_map(value).collect::<Vec<_>>()
    };
    let gauges: [(&str, &str, OfPass); 4] = [
        (
            "pass_end_timestamp_seconds",
            "When a domain last compared what is with what is wanted.",
            |pass| pass.at.as_second(),
        ),
        ("pass_steps_done", "Steps that the last pass did.", |pass| {
            number(pass.done)
        }),
        (
            "pass_steps_left",
            "Steps that were left after the last pass.",
            |pass| number(pass.left.len()),
        ),
        (
            "pass_failures",
            "What went wrong in the last pass.",
            |pass| number(pass.failures.len()),
        ),
    ];
    for (name, help, of) in gauges {
        text.gauge(name, help, each(of));
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn pools(shared: &Shared, text: &mut Exposition) -> Answer<()> {
    let seen = shared.app.seen.storage.borrow().pools.clone();
    let mut pools = Vec::new();
    for record in shared.app.store.list::<PoolRecord>()? {
        if let Some(status) = seen.get(&record.id) {
            pools.push((record.spec.name.to_string(), status.clone()));
        }
    }
    let each = |of: fn(&ashlar_api::pool::PoolStatus) -> u64| {
        let value = |(name, status): &(String, _)| (vec![("pool", name.clone())], of(status));
        pools.iter().map(value).collect()
    };
    text.gauge(
        "pool_size_bytes",
        "Room for data.",
        each(|pool| pool.size.0),
    );
    text.gauge(
        "pool_used_bytes",
        "Room that holds data.",
        each(|pool| pool.used.0),
    );
    text.gauge(
        "pool_promised_bytes",
        "Room promised to volumes.",
        each(|pool| pool.promised.0),
    );
    let metadata = pools.iter().map(|(name, status)| {
        let labels = vec![("pool", name.clone())];
        (labels, status.metadata_used)
    });
    text.gauge(
        "pool_metadata_used_ratio",
        "Share of the room for metadata that is used.",
        metadata.collect(),
    );
    Ok(())
}

fn phase(phase: VmPhase) -> &'static str {
    match phase {
        VmPhase::Preparing => "preparing",
        VmPhase::Stopped => "stopped",
        VmPhase::Starting => "starting",
        VmPhase::Running => "running",
        VmPhase::Paused => "paused",
        VmPhase::Stopping => "stopping",
        VmPhase::Failed => "failed",
        VmPhase::Deleting => "deleting",
    }
}

/// What a gauge says of a machine's load.
type OfLoad = fn(&VmSample) -> f64;

fn vms(shared: &Shared, text: &mut Exposition) -> Answer<()> {
    let seen = shared.app.seen.vm.borrow().clone();
    let (mut phases, mut loads) = (Vec::new(), Vec::new());
    for record in shared.app.store.list::<VmRecord>()? {
        let name = record.spec.name.to_string();
        let status = seen.of(&record, shared.app.boot);
        let labels = vec![
            ("vm", name.clone()),
            ("phase", phase(status.phase).to_owned()),
        ];
        phases.push((labels, 1));
        loads.extend(status.load.map(|load| (name, load)));
    }
    text.gauge("vm_phase", "Where a machine's life stands.", phases);
    let each = |of: OfLoad| {
        let value = |(name, load): &(String, _)| (vec![("vm", name.clone())], of(load));
        loads.iter().map(value).collect::<Vec<_>>()
    };
    let gauges: [(&str, &str, OfLoad); 6] = [
        (
            "vm_cpu_ratio",
            "Busy share of the machine's processors.",
            |load| f64::from(load.cpu),
        ),
        (
            "vm_memory_bytes",
            "Memory of the node that the machine holds.",
            |load| load.memory.0 as f64,
        ),
        (
            "vm_network_receive_bytes_per_second",
            "Received by the machine.",
            |load| load.net_rx as f64,
        ),
        (
            "vm_network_transmit_bytes_per_second",
            "Sent by the machine.",
            |load| load.net_tx as f64,
        ),
        (
            "vm_disk_read_bytes_per_second",
            "Read by the machine.",
            |load| load.disk_read as f64,
        ),
        (
            "vm_disk_written_bytes_per_second",
            "Written by the machine.",
            |load| load.disk_write as f64,
        ),
    ];
    for (name, help, of) in gauges {
        text.gauge(name, help, each(of));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_label() {
        let mut text = Exposition::default();
        let labels = vec![
            ("vm", "a\"} 1\nb\\".to_owned()),
            ("phase", "running".to_owned()),
        ];
        text.gauge("vm_phase", "Where it stands.", vec![(labels, 1)]);
        text.gauge::<u64>("none", "Nothing.", Vec::new());
        assert_eq!(
            text.0,
            "# HELP ashlar_vm_phase Where it stands.\n# TYPE ashlar_vm_phase gauge\n\
             ashlar_vm_phase{vm=\"a\\\"} 1\\nb\\\\\",phase=\"running\"} 1\n"
        );
    }
}

//! Nodes: what they are made of, their settings, their end.
//!
//! A change of the management network is kept only if it is confirmed within a
//! minute, over the network as it is then; else the network domain takes it
//! back. Whoever cuts himself off gets in again by waiting.

use std::sync::OnceLock;
use std::time::Duration;

use actix_web::{HttpResponse, get, post, put, web};
use ashlar_api::error::Code;
use ashlar_api::job::Kind;
use ashlar_api::metrics::{Range, Sample, Series};
use ashlar_api::node::{Log, Node, NodeEnd, NodeSpec, NodeStatus};
use ashlar_api::vm::VmPhase;
use ashlar_api::{Bytes, NodeId, Page, Timestamp};
use jiff::ToSpan;
use serde::Deserialize;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::Command;
use crate::state::schema::{NodeRecord, VmRecord};
use crate::sys::cgroup::Cgroup;
use crate::sys::init_socket::{self, Request};
use crate::sys::{fs, proc, sysfs};

/// How long an unconfirmed change of the management network lasts.
const CONFIRM_SECONDS: i64 = 60;

/// What does not change while the node runs.
struct Hardware {
    kernel: String,
    model: String,
    cpu_model: String,
}

fn hardware() -> &'static Hardware {
    static FOUND: OnceLock<Hardware> = OnceLock::new();
    FOUND.get_or_init(|| {
        let dmi = |name: &str| sysfs::text(std::path::Path::new("/sys/class/dmi/id").join(name));
        let parts = [dmi("sys_vendor"), dmi("product_name")];
        Hardware {
            kernel: sysfs::text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            model: parts.into_iter().flatten().collect::<Vec<_>>().join(" "),
            cpu_model: proc::processor_model().unwrap_or_default(),
        }
    })
}

/// What machines hold of the node's memory, by their cgroups.
fn held_by_vms() -> u64 {
    Cgroup::named("vm")
        .ok()
        .filter(Cgroup::exists)
        .and_then(|vms| vms.stats().memory_anonymous)
        .unwrap_or(0)
}

fn status(shared: &Shared, record: &NodeRecord) -> Answer<NodeStatus> {
    let memory = proc::Memory::read();
    let used = memory.total.saturating_sub(memory.available);
    let (mut memory_vms, mut vcpus) = (0, 0);
    let vms = shared.app.store.list::<VmRecord>()?;
    let seen = shared.app.seen.vm.borrow();
    for vm in &vms {
        if matches!(
            seen.of(vm, shared.app.boot).phase,
            VmPhase::Running | VmPhase::Paused | VmPhase::Starting | VmPhase::Stopping
        ) {
            memory_vms += vm.spec.memory.0;
            vcpus += u32::from(vm.spec.cpus);
        }
    }
    drop(seen);
    let hardware = hardware();
    Ok(NodeStatus {
        version: crate::sys::release::version().to_owned(),
        kernel: hardware.kernel.clone(),
        boot_id: shared.app.boot,
        booted_at: shared.app.booted_at,
        model: hardware.model.clone(),
        cpu_model: hardware.cpu_model.clone(),
        cpus: u32::try_from(proc::processors()).unwrap_or(u32::MAX),
        virtualisation: std::path::Path::new("/dev/kvm").exists(),
        memory: Bytes(memory.total),
        memory_system: Bytes(used.saturating_sub(held_by_vms())),
        memory_vms: Bytes(memory_vms),
        vcpus,
        addresses: shared.app.seen.network.borrow().addresses.clone(),
        load: shared.app.health.metrics.newest(),
        severity: shared.app.health.severity(),
        confirm_until: record.unconfirmed.as_ref().map(|change| change.until),
    })
}

fn view(shared: &Shared, record: NodeRecord) -> Answer<Node> {
    Ok(Node {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: false,
        status: status(shared, &record)?,
        spec: record.spec,
    })
}

/// The name of this node.
pub fn own_name(shared: &Shared) -> Answer<String> {
    Ok(shared
        .need::<NodeRecord>(shared.app.node)?
        .spec
        .name
        .to_string())
}

/// The nodes.
#[utoipa::path(responses((status = 200, body = Page<Node>)))]
#[get("/nodes")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    let page = shared.page::<NodeRecord, _>(&query, |node| view(&shared, node))?;
    let items = page.items.into_iter().collect::<Answer<Vec<Node>>>()?;
    Ok(reply::ok(&Page {
        items,
        total: page.total,
        next: page.next,
    }))
}

/// A node.
#[utoipa::path(responses((status = 200, body = Node)))]
#[get("/nodes/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<NodeId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<NodeRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)?))
}

/// Changes a node
///
/// A change of the management network goes back by itself unless it is
/// confirmed before `status.confirm_until`.
#[utoipa::path(request_body = NodeSpec, responses((status = 200, body = Node)))]
#[put("/nodes/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NodeId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<NodeSpec>,
) -> Answer {
    let before = shared.need::<NodeRecord>(id)?;
    let risky = before.spec.management != spec.management;
    let confirm_until = if risky {
        let until = Timestamp::now().checked_add(CONFIRM_SECONDS.seconds());
        Some(until.map_err(|error| Failure::internal("reckon with the clock", &error))?)
    } else {
        None
    };
    let command = Command::ReplaceNode {
        id,
        spec: spec.clone(),
        revision,
        confirm_until,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<NodeRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else if record != before {
        shared.note(&caller, Kind::Node, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(record.revision, &view(&shared, record)?))
}

/// Keeps a change of the management network.
#[utoipa::path(responses((status = 200, body = Node)))]
#[post("/nodes/{id}/confirm")]
pub async fn confirm(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NodeId>,
    _: web::Query<NoQuery>,
) -> Answer {
    shared
        .app
        .store
        .propose(&caller.name, Command::ConfirmNode { id })
        .await?;
    let record = shared.need::<NodeRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)?))
}

/// How far back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RangeQuery {
    /// How far back the series goes.
    #[serde(default)]
    #[param(inline)]
    pub range: Range,
}

/// The load of a node over time.
#[utoipa::path(responses((status = 200, body = Series<Sample>)))]
#[get("/nodes/{id}/metrics")]
pub async fn metrics(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<NodeId>,
    query: web::Query<RangeQuery>,
) -> Answer {
    shared.need::<NodeRecord>(id)?;
    Ok(reply::ok(&shared.app.health.metrics.series(query.range)))
}

/// How much of the log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// How many lines at most; 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    #[serde(default)]
    pub lines: Option<usize>,
}

/// How many lines of the log are answered unless it is said.
const LINES: usize = 200;
/// How many at most.
const MOST_LINES: usize = 1000;

/// The newest lines of a node's log
///
/// What its own program has said since the node was switched on, oldest first.
/// Very long lines count for several.
#[utoipa::path(responses((status = 200, body = Log)))]
#[get("/nodes/{id}/log")]
pub async fn log(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<NodeId>,
    query: web::Query<LogQuery>,
) -> Answer {
    shared.need::<NodeRecord>(id)?;
    own(&shared, id)?;
    let lines = query.lines.unwrap_or(LINES);
    if !(1..=MOST_LINES).contains(&lines) {
        return Err(Failure::invalid(
            "lines",
            format!("between 1 and {MOST_LINES}"),
        ));
    }
    let file = shared.app.run.join("log/supervisor.log");
    let lines = web::block(move || fs::tail_with_older(&file, lines))
        .await
        .map_err(|error| Failure::internal("read the log", &error))?
        .map_err(|error| Failure::internal("read the log", &error))?;
    Ok(reply::ok(&Log { lines }))
}

/// Restarts a node
///
/// Machines on it are asked to end first.
#[utoipa::path(request_body = NodeEnd, responses((status = 202)))]
#[post("/nodes/{id}/restart")]
pub async fn restart(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NodeId>,
    _: web::Query<NoQuery>,
    Body(end): Body<NodeEnd>,
) -> Answer {
    finish(
        &shared,
        &caller,
        id,
        &end,
        Request::Reboot,
        "is being restarted",
    )
    .await
}

/// Powers a node off
///
/// Machines on it are asked to end first.
#[utoipa::path(request_body = NodeEnd, responses((status = 202)))]
#[post("/nodes/{id}/power-off")]
pub async fn power_off(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NodeId>,
    _: web::Query<NoQuery>,
    Body(end): Body<NodeEnd>,
) -> Answer {
    finish(
        &shared,
        &caller,
        id,
        &end,
        Request::PowerOff,
        "is being powered off",
    )
    .await
}

async fn finish(
    shared: &Shared,
    caller: &Caller,
    id: NodeId,
    end: &NodeEnd,
    request: Request,
    what: &str,
) -> Answer {
    let record = shared.need::<NodeRecord>(id)?;
    own(shared, id)?;
    if end.confirm != record.spec.name.as_str() {
        return Err(Failure::invalid(
            "confirm",
            format!("the node's name, `{}`", record.spec.name),
        ));
    }
    shared.note(caller, Kind::Node, id, &record.spec.name, what);
    ask(shared, request).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// How long the answer has to get away before the supervisor is killed.
const LAST_WORD: Duration = Duration::from_millis(500);

/// Starts the program of a node again
///
/// Virtual machines, volumes and networks go on; the API is away for a few
/// seconds, and streams and consoles have to be opened again.
#[utoipa::path(responses((status = 202)))]
#[post("/nodes/{id}/restart-supervisor")]
pub async fn restart_supervisor(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NodeId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<NodeRecord>(id)?;
    own(&shared, id)?;
    // Init kills this very process, so it is asked when the answer is on its way;
    // whether it is there to be asked is found out before.
    ask(&shared, Request::Status).await?;
    let what = "starts its program again";
    shared.note(&caller, Kind::Node, id, &record.spec.name, what);
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORD).await;
        if let Err(failure) = ask(&shared, Request::RestartSupervisor).await {
            tracing::error!("{failure}");
        }
    });
    Ok(HttpResponse::Accepted().finish())
}

/// Only this node can be ended from here.
fn own(shared: &Shared, id: NodeId) -> Answer<()> {
    if id == shared.app.node {
        return Ok(());
    }
    Err(Failure::new(Code::WrongState, "this is another node").remedy("Ask that node itself."))
}

/// Asks init, and waits until it has taken the request.
pub async fn ask(shared: &Shared, request: Request) -> Answer<()> {
    let socket = shared.app.run.join("init.sock");
    init_socket::ask(&socket, request).await.map_err(|error| {
        tracing::error!("init cannot be asked for {}: {error}", request.word());
        Failure::new(Code::Unavailable, "the node does not take the wish to end")
            .remedy("Press the power button of the machine.")
    })
}

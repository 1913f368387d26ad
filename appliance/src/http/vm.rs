//! Virtual machines: their definition and what can be done to them.
//!
//! What a request leaves open is chosen here, before proposing, so that the
//! state holds no open choice: new disks become volumes named after the
//! machine, interfaces get hardware addresses, a password becomes a hash.

use std::collections::{BTreeSet, HashSet};
use std::str::FromStr;

use actix_web::{HttpRequest, delete, get, post, put, web};
use ashlar_api::job::Kind;
use ashlar_api::metrics::{Series, VmSample};
use ashlar_api::vm::{Mac, Vm, VmAction, VmDisk, VmSpec};
use ashlar_api::volume::VolumeSpec;
use ashlar_api::{JobId, Page, Timestamp, VmId, VolumeId, endpoint};
use serde::Deserialize;
use uuid::Uuid;

use super::auth::Caller;
use super::error::{Answer, Failure};
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, auth, reply, volume};
use crate::state::command::{Command, NewJob};
use crate::state::schema::{Power, VmRecord, VolumeRecord, made_name};

/// Volumes to be made with a machine, with their jobs.
type NewVolumes = Vec<(VolumeRecord, NewJob)>;

fn view(shared: &Shared, mut record: VmRecord) -> Vm {
    let status = shared.app.seen.vm.borrow().of(&record, shared.app.boot);
    if let Some(cloud_init) = &mut record.spec.cloud_init {
        cloud_init.password = None;
    }
    Vm {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: record.deleting,
        spec: record.spec,
        status,
    }
}

/// Names for the volumes of a machine: `web-1-disk0` and on, without those that are taken.
fn volume_names(
    vm: &ashlar_api::Name,
    taken: &HashSet<String>,
) -> impl Iterator<Item = ashlar_api::Name> {
    (0u32..).filter_map(move |n| {
        let name = made_name(vm, &format!("-disk{n}"))?;
        (!taken.contains(&name.as_str().to_lowercase())).then_some(name)
    })
}

/// Turns each new disk into a volume to be made.
fn settle_disks(shared: &Shared, spec: &mut VmSpec) -> Answer<NewVolumes> {
    let mut volumes = Vec::new();
    if !spec
        .disks
        .iter()
        .any(|disk| matches!(disk, VmDisk::New { .. }))
    {
        return Ok(volumes);
    }
    let taken = shared.app.store.list::<VolumeRecord>()?;
    let taken = taken
        .iter()
        .map(|volume| volume.spec.name.as_str().to_lowercase())
        .collect();
    let mut names = volume_names(&spec.name, &taken);
    for disk in &mut spec.disks {
        if let VmDisk::New { pool, size, image } = disk {
            let name = names.next().ok_or_else(|| {
                Failure::invalid("name", "a name that volumes can be named after")
            })?;
            let new = VolumeSpec {
                name,
                description: String::new(),
                pool: *pool,
                size: *size,
                image: *image,
            };
            let (record, job) = volume::record(new);
            *disk = VmDisk::Volume { volume: record.id };
            volumes.push((record, job));
        }
    }
    Ok(volumes)
}

/// Gives each interface without one a hardware address: the one that the
/// interface in its place had, else a new one.
fn settle_macs(shared: &Shared, spec: &mut VmSpec, before: Option<&VmSpec>) -> Answer<()> {
    if spec.nics.iter().all(|nic| nic.mac.is_some()) {
        return Ok(());
    }
    let vms = shared.app.store.list::<VmRecord>()?;
    let mut taken: BTreeSet<Mac> = vms
        .iter()
        .flat_map(|vm| &vm.spec.nics)
        .filter_map(|nic| nic.mac)
        .collect();
    let named: BTreeSet<Mac> = spec.nics.iter().filter_map(|nic| nic.mac).collect();
    taken.extend(&named);
    for (i, nic) in spec.nics.iter_mut().enumerate() {
        if nic.mac.is_some() {
            continue;
        }
        let had = before
            .and_then(|before| before.nics.get(i)?.mac)
            .filter(|mac| !named.contains(mac));
        nic.mac = Some(match had {
            Some(mac) => mac,
            None => new_mac(&mut taken)?,
        });
    }
    Ok(())
}

/// A free address of QEMU's own range, `52:54:00:…`.
fn new_mac(taken: &mut BTreeSet<Mac>) -> Answer<Mac> {
    // 24 random bits: with a thousand machines the first is free with all but certainty.
    for _ in 0..1000 {
        let mut tail = [0; 3];
        getrandom::fill(&mut tail).map_err(|error| {
            tracing::error!("the source of random numbers failed: {error}");
            Failure::new(
                ashlar_api::error::Code::Internal,
                "the appliance has no random numbers",
            )
        })?;
        let [a, b, c] = tail;
        let mac = Mac([0x52, 0x54, 0x00, a, b, c]);
        if taken.insert(mac) {
            return Ok(mac);
        }
    }
    Err(Failure::new(
        ashlar_api::error::Code::NoSpace,
        "no hardware address is free",
    )
    .remedy("Give the interface a hardware address of your own."))
}

/// Turns a password into its hash. One that is left out is the one from before,
/// which no answer ever told, as long as it is for the same user.
async fn settle_password(
    shared: &Shared,
    spec: &mut VmSpec,
    before: Option<&VmSpec>,
) -> Answer<()> {
    let Some(cloud_init) = &mut spec.cloud_init else {
        return Ok(());
    };
    cloud_init.password = match cloud_init.password.take() {
        Some(password) => Some(shared.gate.passwords.crypt(password).await?),
        None => before
            .and_then(|before| before.cloud_init.as_ref())
            .filter(|before| before.user == cloud_init.user)
            .and_then(|before| before.password.clone()),
    };
    Ok(())
}

async fn settle(shared: &Shared, spec: &mut VmSpec, before: Option<&VmSpec>) -> Answer<NewVolumes> {
    settle_macs(shared, spec, before)?;
    settle_password(shared, spec, before).await?;
    settle_disks(shared, spec)
}

fn jobs(volumes: &NewVolumes) -> Vec<JobId> {
    volumes.iter().map(|(_, job)| job.id).collect()
}

/// The virtual machines.
#[utoipa::path(responses((status = 200, body = Page<Vm>)))]
#[get("/vms")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    Ok(reply::ok(
        &shared.page::<VmRecord, Vm>(&query, |vm| view(&shared, vm))?,
    ))
}

/// A virtual machine.
#[utoipa::path(responses((status = 200, body = Vm)))]
#[get("/vms/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<VmId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<VmRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Makes a virtual machine
///
/// With its new disks, all or nothing. With the run policy `always` it starts
/// as soon as its disks are ready.
#[utoipa::path(request_body = VmSpec, responses((status = 201, body = Vm)))]
#[post("/vms")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(mut spec): Body<VmSpec>,
) -> Answer {
    let volumes = settle(&shared, &mut spec, None).await?;
    let jobs = jobs(&volumes);
    let record = VmRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        deleting: false,
        delete_volumes: Vec::new(),
        spec,
        power: Power::default(),
        uid: 0,
    };
    let command = Command::CreateVm {
        vm: Box::new(record.clone()),
        volumes,
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(&shared, record)));
    }
    let record = shared.need::<VmRecord>(record.id)?;
    shared.note(&caller, Kind::Vm, record.id, &record.spec.name, "was made");
    Ok(reply::created(
        endpoint::VMS,
        record.id,
        record.revision,
        &jobs,
        &view(&shared, record),
    ))
}

/// Changes a virtual machine
///
/// What can not change while it runs waits for its next start; `status.pending` names it.
#[utoipa::path(request_body = VmSpec, responses((status = 200, body = Vm)))]
#[put("/vms/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VmId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(mut spec): Body<VmSpec>,
) -> Answer {
    let before = shared.need::<VmRecord>(id)?;
    let volumes = settle(&shared, &mut spec, Some(&before.spec)).await?;
    let command = Command::ReplaceVm {
        id,
        spec: Box::new(spec.clone()),
        revision,
        volumes,
        boot: Some(shared.app.boot),
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<VmRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else if record.revision != before.revision {
        shared.note(&caller, Kind::Vm, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// How a machine is removed.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Which of its volumes go with it: `all`, or ids with commas between them; none when absent.
    #[serde(default)]
    pub volumes: Option<String>,
    /// Only says whether it would be accepted.
    #[param(default = false)]
    #[serde(default)]
    pub dry_run: bool,
}

fn doomed(wanted: Option<&str>, spec: &VmSpec) -> Answer<Vec<VolumeId>> {
    match wanted {
        None | Some("") => Ok(Vec::new()),
        Some("all") => Ok(spec
            .disks
            .iter()
            .filter_map(|disk| match disk {
                VmDisk::Volume { volume } => Some(*volume),
                VmDisk::New { .. } => None,
            })
            .collect()),
        Some(ids) => ids
            .split(',')
            .map(|id| {
                id.trim().parse().map_err(|_| {
                    Failure::invalid(
                        "volumes",
                        "`all`, or ids of its volumes with commas between them",
                    )
                })
            })
            .collect(),
    }
}

/// Removes a virtual machine
///
/// Its power is cut. Its volumes stay, unless `volumes` says otherwise.
#[utoipa::path(responses((status = 202, body = Vm)))]
#[delete("/vms/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VmId>,
    IfMatch(revision): IfMatch,
    query: web::Query<DeleteQuery>,
) -> Answer {
    let before = shared.need::<VmRecord>(id)?;
    let volumes = doomed(query.volumes.as_deref(), &before.spec)?;
    let change = ChangeQuery {
        dry_run: query.dry_run,
    };
    shared
        .propose(
            &caller,
            Command::DeleteVm {
                id,
                revision,
                volumes,
            },
            change,
        )
        .await?;
    if !change.dry_run {
        shared.note(&caller, Kind::Vm, id, &before.spec.name, "is being deleted");
    }
    // It may be gone already: then it is answered as it was.
    let record = shared.app.store.get::<VmRecord>(id)?.unwrap_or(VmRecord {
        deleting: true,
        ..before
    });
    Ok(reply::accepted(
        record.revision,
        &[],
        &view(&shared, record),
    ))
}

/// The action in the address.
struct Action(VmAction);

impl FromStr for Action {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self, Failure> {
        VmAction::ALL
            .into_iter()
            .find(|action| action.verb() == text)
            .map(Action)
            .ok_or_else(auth::nothing_here)
    }
}

fn done(action: VmAction) -> &'static str {
    match action {
        VmAction::Start => "is to start",
        VmAction::Shutdown => "is to shut down",
        VmAction::Restart => "is to restart",
        VmAction::Stop => "is to be stopped",
        VmAction::Reset => "is to be reset",
        VmAction::Pause => "is to be held",
        VmAction::Resume => "is to go on",
    }
}

/// Starts, stops, restarts … a virtual machine
///
/// The answer comes at once; `status.phase` tells how far it is.
#[utoipa::path(responses((status = 202, body = Vm)))]
#[post("/vms/{id}/{action}")]
pub async fn act(
    request: HttpRequest,
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<VmId>,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let Action(action) = request
        .match_info()
        .get("action")
        .unwrap_or_default()
        .parse()?;
    let command = Command::ActOnVm {
        id,
        action,
        boot: shared.app.boot,
    };
    shared.propose(&caller, command, *change).await?;
    let record = shared.need::<VmRecord>(id)?;
    if !change.dry_run {
        shared.note(&caller, Kind::Vm, id, &record.spec.name, done(action));
    }
    Ok(reply::accepted(
        record.revision,
        &[],
        &view(&shared, record),
    ))
}

/// The load of a virtual machine over the last hour.
#[utoipa::path(responses((status = 200, body = Series<VmSample>)))]
#[get("/vms/{id}/metrics")]
pub async fn metrics(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<VmId>,
    _: web::Query<NoQuery>,
) -> Answer {
    shared.need::<VmRecord>(id)?;
    Ok(reply::ok(&shared.app.health.metrics.vm_series(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_named_after_their_machine() {
        let taken = HashSet::from(["web-1-disk0".to_owned(), "web-1-disk2".to_owned()]);
        let name = "Web-1".parse().unwrap();
        let names = volume_names(&name, &taken);
        let names: Vec<String> = names.take(3).map(|name| name.to_string()).collect();
        assert_eq!(names, ["Web-1-disk1", "Web-1-disk3", "Web-1-disk4"]);
        let long = "x".repeat(63).parse().unwrap();
        let name = volume_names(&long, &HashSet::new()).next().unwrap();
        assert_eq!(name.as_str().len(), 63);
        assert!(name.as_str().ends_with("-disk0"));
    }

    #[test]
    fn hardware_addresses_are_unique() {
        let mut taken = BTreeSet::new();
        for _ in 0..500 {
            let mac = new_mac(&mut taken).unwrap();
            assert!(mac.to_string().starts_with("52:54:00:"));
        }
        assert_eq!(taken.len(), 500);
    }

    #[test]
    fn every_action_has_an_address() {
        for action in VmAction::ALL {
            let Action(found) = action.verb().parse().unwrap();
            assert_eq!(found, action);
        }
        assert!("explode".parse::<Action>().is_err());
    }
}

//! Networks for virtual machines.

use actix_web::{delete, get, post, put, web};
use ashlar_api::job::Kind;
use ashlar_api::network::{Network, NetworkSpec};
use ashlar_api::{Condition, NetworkId, Page, Timestamp, endpoint};
use uuid::Uuid;

use super::auth::Caller;
use super::error::Answer;
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::Command;
use crate::state::schema::NetworkRecord;

fn view(shared: &Shared, record: NetworkRecord) -> Network {
    let seen = shared
        .app
        .seen
        .network
        .borrow()
        .networks
        .get(&record.id)
        .cloned();
    let mut status = seen.unwrap_or_default();
    if status.bridge.is_empty() {
        status.bridge = record.bridge();
        status.condition = Condition {
            message: "being set up".to_owned(),
            ..Condition::default()
        };
    }
    Network {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: record.deleting,
        spec: record.spec,
        status,
    }
}

/// The networks.
#[utoipa::path(responses((status = 200, body = Page<Network>)))]
#[get("/networks")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    Ok(reply::ok(
        &shared.page::<NetworkRecord, Network>(&query, |network| view(&shared, network))?,
    ))
}

/// A network.
#[utoipa::path(responses((status = 200, body = Network)))]
#[get("/networks/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<NetworkId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<NetworkRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Makes a network.
#[utoipa::path(request_body = NetworkSpec, responses((status = 201, body = Network)))]
#[post("/networks")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<NetworkSpec>,
) -> Answer {
    let record = NetworkRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        deleting: false,
        spec,
    };
    let command = Command::CreateNetwork {
        network: Box::new(record.clone()),
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(&shared, record)));
    }
    let record = shared.need::<NetworkRecord>(record.id)?;
    shared.note(
        &caller,
        Kind::Network,
        record.id,
        &record.spec.name,
        "was made",
    );
    Ok(reply::created(
        endpoint::NETWORKS,
        record.id,
        record.revision,
        &[],
        &view(&shared, record),
    ))
}

/// Changes a network.
#[utoipa::path(request_body = NetworkSpec, responses((status = 200, body = Network)))]
#[put("/networks/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NetworkId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<NetworkSpec>,
) -> Answer {
    let command = Command::ReplaceNetwork {
        id,
        spec: spec.clone(),
        revision,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<NetworkRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else {
        shared.note(&caller, Kind::Network, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Removes a network
///
/// Refused while a machine is on it.
#[utoipa::path(responses((status = 202, body = Network)))]
#[delete("/networks/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<NetworkId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let before = shared.need::<NetworkRecord>(id)?;
    shared
        .propose(&caller, Command::DeleteNetwork { id, revision }, *change)
        .await?;
    if !change.dry_run {
        shared.note(
            &caller,
            Kind::Network,
            id,
            &before.spec.name,
            "is being deleted",
        );
    }
    // It may be gone already: then it is answered as it was.
    let record = shared
        .app
        .store
        .get::<NetworkRecord>(id)?
        .unwrap_or(NetworkRecord {
            deleting: true,
            ..before
        });
    Ok(reply::accepted(
        record.revision,
        &[],
        &view(&shared, record),
    ))
}

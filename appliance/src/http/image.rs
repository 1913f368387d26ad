//! Images, and their bytes.

use actix_web::{delete, get, post, put, web};
use ashlar_api::image::{Image, ImagePhase, ImageSource, ImageSpec};
use ashlar_api::job::{Kind, Verb};
use ashlar_api::{Bytes, Condition, ImageId, JobId, Page, Timestamp, endpoint};
use uuid::Uuid;

use super::auth::Caller;
use super::error::Answer;
use super::request::{Body, ChangeQuery, Id, IfMatch, ListQuery, NoQuery};
use super::{Shared, reply};
use crate::state::command::{Command, NewJob};
use crate::state::schema::{ImageRecord, Phase};

/// An image as the API shows it: what is stored goes before what is seen.
pub fn view(shared: &Shared, record: ImageRecord) -> Image {
    let seen = shared
        .app
        .seen
        .storage
        .borrow()
        .images
        .get(&record.id)
        .cloned();
    let mut status = seen.unwrap_or_default();
    match &record.phase {
        Phase::Preparing => {
            if status.phase != ImagePhase::Checking {
                status.phase = ImagePhase::Receiving;
            }
            // What is seen is some seconds old; a client that goes on needs the very byte.
            if let (ImageSource::Upload { .. }, Ok(held)) =
                (&record.spec.source, shared.app.uploads.held(record.id))
            {
                status.received = Bytes(held);
            }
        }
        Phase::Ready => status.phase = ImagePhase::Ready,
        Phase::Failed { message } => {
            status.phase = ImagePhase::Failed;
            if status.condition.message.is_empty() {
                status.condition = Condition {
                    message: message.clone(),
                    ..Condition::default()
                };
            }
        }
        Phase::Deleting => status.phase = ImagePhase::Deleting,
    }
    if let Some(content) = &record.content {
        status.format = Some(content.format);
        status.received = content.size;
        status.size = content.size;
        status.virtual_size = content.virtual_size;
        status.sha256 = Some(content.sha256.clone());
        status.condition.ready = status.phase == ImagePhase::Ready;
    } else if let ImageSource::Upload { size } = record.spec.source
        && status.size.0 == 0
    {
        status.size = size;
    }
    Image {
        id: record.id,
        revision: record.revision,
        created_at: record.created_at,
        deleting: record.phase == Phase::Deleting,
        spec: record.spec,
        status,
    }
}

/// The images.
#[utoipa::path(responses((status = 200, body = Page<Image>)))]
#[get("/images")]
pub async fn list(shared: web::Data<Shared>, _: Caller, query: web::Query<ListQuery>) -> Answer {
    Ok(reply::ok(
        &shared.page::<ImageRecord, Image>(&query, |image| view(&shared, image))?,
    ))
}

/// An image.
#[utoipa::path(responses((status = 200, body = Image)))]
#[get("/images/{id}")]
pub async fn read(
    shared: web::Data<Shared>,
    _: Caller,
    Id(id): Id<ImageId>,
    _: web::Query<NoQuery>,
) -> Answer {
    let record = shared.need::<ImageRecord>(id)?;
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Makes an image
///
/// Its bytes are sent to `PUT /images/{id}/content`, or fetched from a URL.
#[utoipa::path(request_body = ImageSpec, responses((status = 201, body = Image)))]
#[post("/images")]
pub async fn create(
    shared: web::Data<Shared>,
    caller: Caller,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<ImageSpec>,
) -> Answer {
    let verb = match spec.source {
        ImageSource::Upload { .. } => Verb::Upload,
        ImageSource::Url { .. } => Verb::Download,
    };
    let record = ImageRecord {
        id: Uuid::now_v7().into(),
        revision: 0,
        created_at: Timestamp::now(),
        phase: Phase::Preparing,
        spec,
        content: None,
    };
    let job = JobId::from(Uuid::now_v7());
    let command = Command::CreateImage {
        image: Box::new(record.clone()),
        job: NewJob { id: job, verb },
    };
    shared.propose(&caller, command, *change).await?;
    if change.dry_run {
        return Ok(reply::ok(&view(&shared, record)));
    }
    let record = shared.need::<ImageRecord>(record.id)?;
    Ok(reply::created(
        endpoint::IMAGES,
        record.id,
        record.revision,
        &[job],
        &view(&shared, record),
    ))
}

/// Changes the name and description of an image.
#[utoipa::path(request_body = ImageSpec, responses((status = 200, body = Image)))]
#[put("/images/{id}")]
pub async fn replace(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<ImageId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
    Body(spec): Body<ImageSpec>,
) -> Answer {
    let command = Command::ReplaceImage {
        id,
        spec: spec.clone(),
        revision,
    };
    shared.propose(&caller, command, *change).await?;
    let mut record = shared.need::<ImageRecord>(id)?;
    if change.dry_run {
        record.spec = spec;
    } else {
        shared.note(&caller, Kind::Image, id, &record.spec.name, "was changed");
    }
    Ok(reply::object(record.revision, &view(&shared, record)))
}

/// Removes an image
///
/// Refused while it is in a CD drive or a volume is being filled from it.
#[utoipa::path(responses((status = 202, body = Image)))]
#[delete("/images/{id}")]
pub async fn delete(
    shared: web::Data<Shared>,
    caller: Caller,
    Id(id): Id<ImageId>,
    IfMatch(revision): IfMatch,
    change: web::Query<ChangeQuery>,
) -> Answer {
    let before = shared.need::<ImageRecord>(id)?;
    shared
        .propose(&caller, Command::DeleteImage { id, revision }, *change)
        .await?;
    if !change.dry_run {
        shared.note(
            &caller,
            Kind::Image,
            id,
            &before.spec.name,
            "is being deleted",
        );
    }
    let record = shared
        .app
        .store
        .get::<ImageRecord>(id)?
        .unwrap_or(ImageRecord {
            phase: Phase::Deleting,
            ..before
        });
    Ok(reply::accepted(
        record.revision,
        &[],
        &view(&shared, record),
    ))
}

//! What is told of storage. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ashlar_api::fault::Fault;
use ashlar_api::image::{ImagePhase, ImageSource, ImageStatus};
use ashlar_api::job::Kind;
use ashlar_api::pool::{Drive as ApiDrive, PoolStatus};
use ashlar_api::volume::{VolumePhase, VolumeStatus};
use ashlar_api::{Bytes, Condition, ImageId, JobId, PoolId, VolumeId};

use super::observe::{Content, Drive, Observed, Work};
use super::want::Desired;
use crate::reconcile::Pass;
use crate::state::schema::{ImageRecord, Phase, PoolRecord, VolumeRecord};

/// What storage sees, after every pass.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The drives of this node.
    pub drives: Vec<ApiDrive>,
    /// The pools.
    pub pools: BTreeMap<PoolId, PoolStatus>,
    /// The volumes.
    pub volumes: BTreeMap<VolumeId, VolumeStatus>,
    /// The images.
    pub images: BTreeMap<ImageId, ImageStatus>,
    /// Where images are kept, once there is a pool for them.
    pub library: Option<PathBuf>,
    /// How the last pass went.
    pub pass: Option<Pass>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Everything that is seen. What is wrong with an object is what its first fault says; `waits` is what those wait for
/// that are being made, by their id.
pub fn status(
    desired: &Desired,
    observed: &Observed,
    faults: &[Fault],
    waits: &BTreeMap<String, String>,
) -> Status {
    let pools = desired
        .pools
        .iter()
        .map(|record| (record.id, pool(record, desired, observed, faults)));
    let volumes = desired
        .volumes
        .iter()
        .map(|record| (record.id, volume(record, desired, observed, faults)));
    let images = desired
        .images
        .iter()
        .map(|record| (record.id, image(record, observed, faults)));
    let mut pools: BTreeMap<PoolId, PoolStatus> = pools.collect();
    for (id, status) in &mut pools {
        wait(&mut status.condition, waits.get(&id.to_string()));
    }
    let mut volumes: BTreeMap<VolumeId, VolumeStatus> = volumes.collect();
    for (id, status) in &mut volumes {
        wait(&mut status.condition, waits.get(&id.to_string()));
    }
    Status {
        drives: observed
            .drives
            .iter()
            .map(|drive| api_drive(drive, desired, observed))
            .collect(),
        pools,
        volumes,
        images: images.collect(),
        library: observed
            .usable_library(desired)
            .map(|_| PathBuf::from(crate::state::schema::LIBRARY_PATH)),
        pass: None,
        faults: Vec::new(),
    }
}

fn wait(condition: &mut Condition, wait: Option<&String>) {
    if let Some(wait) = wait {
        condition.message = format!("It is being made, and waits: {wait}.");
    }
}

fn api_drive(drive: &Drive, desired: &Desired, observed: &Observed) -> ApiDrive {
    ApiDrive {
        id: drive.id.clone(),
        name: drive.name.clone(),
        model: drive.model.clone(),
        serial: drive.serial.clone(),
        bus: drive.bus.clone(),
        size: drive.size,
        media: drive.media,
        usage: observed.usage(drive, desired),
        content: match &drive.content {
            Content::Blank => String::new(),
            Content::Lvm => "LVM physical volume".to_owned(),
            Content::Data(text) => text.clone(),
        },
    }
}

/// Critical, because soon it will not: a pool that fills.
const STILL_WORKS: [&str; 2] = ["pool-nearly-full", "pool-metadata-nearly-full"];

/// The condition of something that is wanted and there, unless a fault says otherwise.
fn condition(phase: &Phase, kind: Kind, id: String, faults: &[Fault]) -> Condition {
    let not = |message: &str, remedy: &str| Condition {
        ready: false,
        message: message.to_owned(),
        remedy: remedy.to_owned(),
    };
    match phase {
        Phase::Preparing => not("It is being made.", ""),
        Phase::Deleting => not("It is being removed.", ""),
        Phase::Failed { message } => not(
            &format!("It could not be made: {message}"),
            "Remove it, and make it again once the cause is gone.",
        ),
        Phase::Ready => {
            let mut own = faults.iter().filter(|fault| {
                let subject = fault.subject.as_ref();
                subject.is_some_and(|subject| subject.kind == kind && subject.id == id)
            });
            own.next().map_or_else(
                || Condition {
                    ready: true,
                    ..Condition::default()
                },
                |fault| Condition {
                    // What works, but not for long, is ready.
                    ready: fault.severity < ashlar_api::event::Severity::Critical
                        || STILL_WORKS.contains(&fault.code.as_str()),
                    message: format!("{}.", fault.title),
                    remedy: fault.remedy.clone(),
                },
            )
        }
    }
}

/// A share of an amount.
fn share_of(size: Bytes, share: Option<f64>) -> Bytes {
    let share = share.unwrap_or_default().clamp(0.0, 1.0);
    #[expect(clippy::cast_possible_truncation, reason = "a share of a u64 is one")]
    let bytes = (size.0 as f64 * share) as u64;
    Bytes(bytes.min(size.0))
}

fn pool(
    record: &PoolRecord,
    desired: &Desired,
    observed: &Observed,
    faults: &[Fault],
) -> PoolStatus {
    let thin = observed
        .group(record.id)
        .and_then(|group| group.thin.as_ref());
    let volumes = desired
        .volumes
        .iter()
        .filter(|volume| volume.spec.pool == record.id);
    let metadata_used = thin.and_then(|thin| thin.metadata_used);
    #[expect(clippy::cast_possible_truncation, reason = "a share needs few digits")]
    let metadata_used = metadata_used.unwrap_or_default() as f32;
    PoolStatus {
        condition: condition(&record.phase, Kind::Pool, record.id.to_string(), faults),
        size: thin.map(|thin| thin.size).unwrap_or_default(),
        used: thin
            .map(|thin| share_of(thin.size, thin.data_used))
            .unwrap_or_default(),
        promised: Bytes(volumes.clone().map(|volume| volume.spec.size.0).sum()),
        metadata_used,
        volumes: volumes.count(),
        volume_group: record.volume_group(),
        // The drives of a pool are put end to end: each holds a part that no other has.
        failures_survived: 0,
    }
}

fn volume(
    record: &VolumeRecord,
    desired: &Desired,
    observed: &Observed,
    faults: &[Fault],
) -> VolumeStatus {
    let there = observed
        .group(record.spec.pool)
        .and_then(|group| group.volume(&record.logical_volume()));
    VolumeStatus {
        phase: match record.phase {
            Phase::Preparing => VolumePhase::Preparing,
            Phase::Ready => VolumePhase::Ready,
            Phase::Failed { .. } => VolumePhase::Failed,
            Phase::Deleting => VolumePhase::Deleting,
        },
        condition: condition(&record.phase, Kind::Volume, record.id.to_string(), faults),
        size: there.map_or(record.spec.size, |there| there.size),
        used: there
            .map(|there| share_of(there.size, there.used))
            .unwrap_or_default(),
        vm: desired.owners.get(&record.id).copied(),
    }
}

fn image(record: &ImageRecord, observed: &Observed, faults: &[Fault]) -> ImageStatus {
    let file = observed.file(record.id);
    let received = file.whole.or(file.partial).unwrap_or_default();
    let content = record.content.as_ref();
    let is_checked = matches!(
        observed.images.get(&record.id),
        Some(Work::Running { checking: true } | Work::Done { .. })
    );
    let promised = match record.spec.source {
        ImageSource::Upload { size } => size,
        ImageSource::Url { .. } => Bytes(0),
    };
    ImageStatus {
        phase: match record.phase {
            Phase::Preparing if is_checked => ImagePhase::Checking,
            Phase::Preparing => ImagePhase::Receiving,
            Phase::Ready => ImagePhase::Ready,
            Phase::Failed { .. } => ImagePhase::Failed,
            Phase::Deleting => ImagePhase::Deleting,
        },
        condition: match record.phase {
            Phase::Preparing => Condition {
                ready: false,
                message: if is_checked {
                    "It is being checked.".to_owned()
                } else {
                    "Its bytes are coming.".to_owned()
                },
                remedy: String::new(),
            },
            _ => condition(&record.phase, Kind::Image, record.id.to_string(), faults),
        },
        format: content.map(|content| content.format),
        received: content.map_or(received, |content| content.size),
        size: content.map_or(promised, |content| content.size),
        virtual_size: content
            .map(|content| content.virtual_size)
            .unwrap_or_default(),
        sha256: content.map(|content| content.sha256.clone()),
    }
}

/// How far the uploads have come.
pub fn uploads(desired: &Desired, observed: &Observed) -> Vec<(JobId, f32)> {
    let coming = desired.images.iter().filter(|image| {
        image.phase == Phase::Preparing && !observed.images.contains_key(&image.id)
    });
    coming
        .filter_map(|image| {
            let ImageSource::Upload { size } = image.spec.source else {
                return None;
            };
            let job = desired.job(image.id)?;
            let held = observed.file(image.id).partial.unwrap_or_default();
            Some((job.id, held.0 as f32 / size.0.max(1) as f32))
        })
        .collect()
}

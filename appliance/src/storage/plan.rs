//! The plan: what differs between what is wanted and what there is, as steps in
//! the order in which they can be done. Pure and total.
//!
//! Nothing is touched that does not bear our mark, but for drives that a new
//! pool names: blank ones, and those whose erasure was confirmed with it. What
//! goes comes first (it gives room); a record is forgotten in the pass after
//! its thing was seen gone, never on hope: while the machine starts, and while a
//! drive does not answer, what is not seen may be there.
//!
//! ```text
//!  pool     drives ─► group + thin pool ─► settled ─► active ─► library in one of them, mounted
//!  volume   (absent) ─► made, and filled by work of its own ─► settled ─► grows
//!  image    bytes come ─► checked by work of its own ─► settled
//! ```
//!
//! A pool whose group LVM does not see, because it can not read its own metadata on the pool's drives, is not lost: the
//! metadata is restored first, and until that was tried nothing in the pool counts as gone.
//!
//! What is being made may be in any state of completion: a volume that has yet
//! to be filled carries a mark that goes when it is full, and is begun anew when
//! no work on it is known. What was ready once is never made again by itself: its
//! absence is a fault.

use ashlar_api::image::ImageSource;
use ashlar_api::volume::BLOCK;
use ashlar_api::{Bytes, ImageId, PoolId};

use super::lvm::Group;
use super::observe::{Content, Drive, Library, Observed, Work};
use super::step::Disk;
pub use super::step::{Step, Subject};
use super::want::Desired;
use crate::state::command::Outcome;
use crate::state::schema::{ImageContent, ImageRecord, LIBRARY, Phase, PoolRecord, VolumeRecord};

/// The library's volume is as large as its pool, up to this: it takes only the room that its images need.
const LARGEST_LIBRARY: Bytes = Bytes(16 * Bytes::TIB);

/// What is to be done.
pub fn plan(desired: &Desired, observed: &Observed) -> Vec<Step> {
    let mut plan = Plan {
        desired,
        observed,
        steps: Vec::new(),
    };
    plan.stop_work();
    desired
        .images
        .iter()
        .for_each(|image| plan.clear_image(image));
    desired
        .volumes
        .iter()
        .for_each(|volume| plan.clear_volume(volume));
    plan.clear_leftovers();
    plan.unmount_library();
    desired.pools.iter().for_each(|pool| plan.clear_pool(pool));
    desired.pools.iter().for_each(|pool| plan.make_pool(pool));
    plan.make_library();
    desired
        .volumes
        .iter()
        .for_each(|volume| plan.make_volume(volume));
    desired
        .images
        .iter()
        .for_each(|image| plan.make_image(image));
    plan.steps
}

struct Plan<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    steps: Vec<Step>,
}

impl<'a> Plan<'a> {
    fn step(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// The group of a pool, when volumes can be made and changed in it.
    fn whole_group(&self, pool: PoolId) -> Option<&'a Group> {
        self.observed.group(pool).filter(|group| group.is_whole())
    }

    /// Ends work on what is not being made any more.
    fn stop_work(&mut self) {
        for id in self.observed.fills.keys() {
            let mut volumes = self.desired.volumes.iter();
            let wanted = volumes.any(|volume| volume.id == *id && volume.phase == Phase::Preparing);
            if !wanted {
                self.step(Step::StopWork(Subject::Volume(*id)));
            }
        }
        for id in self.observed.images.keys() {
            let mut images = self.desired.images.iter();
            let wanted = images.any(|image| image.id == *id && image.phase == Phase::Preparing);
            if !wanted {
                self.step(Step::StopWork(Subject::Image(*id)));
            }
        }
    }

    /// Removes the files of an image that is not wanted or could not be made.
    fn clear_image(&mut self, image: &ImageRecord) {
        if !matches!(image.phase, Phase::Deleting | Phase::Failed { .. }) {
            return;
        }
        let file = self.observed.file(image.id);
        let is_there = file.partial.is_some() || file.whole.is_some();
        if is_there && self.library().is_some() {
            self.step(Step::RemoveFiles(image.id));
        } else if image.phase == Phase::Deleting && self.library_is_seen_or_lost() {
            self.step(Step::ForgetImage(image.id));
        }
    }

    /// Whether the absence of a file means that it is gone: the library is
    /// mounted, or will not be again, because its group is not there or not whole.
    fn library_is_seen_or_lost(&self) -> bool {
        let pool = self.desired.library();
        let is_lost = match pool {
            Some(pool) => self.is_lost(pool.id),
            None => self.observed.is_complete(),
        };
        self.library().is_some() || is_lost
    }

    /// Whether what was in a pool will not be seen again: its group is not there or not whole, and nothing is left to
    /// wait for or to try.
    fn is_lost(&self, pool: PoolId) -> bool {
        let has_hope = |pool: &PoolRecord| !self.damaged(pool).is_empty();
        self.whole_group(pool).is_none()
            && self.observed.is_complete()
            && !self.desired.pool(pool).is_some_and(has_hope)
    }

    /// The drives of a pool whose metadata has yet to be restored.
    fn damaged(&self, pool: &PoolRecord) -> Vec<&'a Drive> {
        if self.observed.unrestorable.contains_key(&pool.id) {
            return Vec::new();
        }
        self.observed.damaged(pool)
    }

    /// Restores the metadata of a pool once all drives had time to appear, unless its volumes are in use: what is on the
    /// drives may be older than what the kernel knows. Of two pools that name the same drive, which the rules do not
    /// allow but an old record may, one at a time: what the first found decides what there is for the second.
    fn restore(&mut self, pool: &PoolRecord) {
        let damaged = self.damaged(pool);
        let is_used = damaged.iter().any(|drive| !drive.holders.is_empty());
        if damaged.is_empty() || is_used || !self.observed.is_complete() {
            return;
        }
        let disk = |drive: &&Drive| self.observed.disk(&drive.path);
        let drives: Vec<Disk> = damaged.iter().map(disk).collect();
        let is_taken = self.steps.iter().any(|step| match step {
            Step::RestoreGroup { drives: taken, .. } => drives.iter().any(|d| taken.contains(d)),
            _ => false,
        });
        if is_taken {
            return;
        }
        self.step(Step::RestoreGroup {
            id: pool.id,
            drives,
        });
    }

    /// Removes a volume that is not wanted or could not be made.
    fn clear_volume(&mut self, volume: &VolumeRecord) {
        if !matches!(volume.phase, Phase::Deleting | Phase::Failed { .. }) {
            return;
        }
        // In a group that lost drives nothing can be removed; it goes with the group.
        let group = self.whole_group(volume.spec.pool);
        let name = volume.logical_volume();
        let there = group.filter(|group| group.volume(&name).is_some());
        match there {
            Some(group) => self.step(Step::RemoveVolume {
                group: group.name.clone(),
                name,
            }),
            None if volume.phase != Phase::Deleting => {}
            None if group.is_some() || self.is_lost(volume.spec.pool) => {
                self.step(Step::ForgetVolume(volume.id));
            }
            None => {}
        }
    }

    /// Removes volumes that were never complete and whose record is gone, and files like that.
    fn clear_leftovers(&mut self) {
        for pool in &self.desired.pools {
            let Some(group) = self.whole_group(pool.id) else {
                continue;
            };
            for volume in group.volumes.iter().filter(|v| v.ours && v.preparing) {
                let mut records = self.desired.volumes.iter();
                let is_known = volume.name == LIBRARY
                    || records.any(|record| record.logical_volume() == volume.name);
                if !is_known && pool.phase == Phase::Ready {
                    self.step(Step::RemoveVolume {
                        group: group.name.clone(),
                        name: volume.name.clone(),
                    });
                }
            }
        }
        let files = self.library().into_iter().flat_map(|l| &l.files);
        for (id, file) in files {
            let is_known = self.desired.images.iter().any(|image| image.id == *id);
            if !is_known && file.partial.is_some() && file.whole.is_none() {
                self.step(Step::RemoveFiles(*id));
            }
        }
    }

    /// The library, when files in it can be read and written.
    fn library(&self) -> Option<&'a Library> {
        self.observed.usable_library(self.desired)
    }

    /// Takes a library out of the tree that is not in the pool that keeps the images now.
    fn unmount_library(&mut self) {
        let wanted = self.desired.library_device();
        let mounted = self.observed.library.as_ref();
        if mounted.is_some_and(|library| Some(&library.device) != wanted.as_ref()) {
            self.step(Step::UnmountLibrary);
        }
    }

    /// Removes a pool that is not wanted or could not be made.
    fn clear_pool(&mut self, pool: &PoolRecord) {
        if !matches!(pool.phase, Phase::Deleting | Phase::Failed { .. }) {
            return;
        }
        let mut claims = self.observed.groups_of(pool.id);
        match (claims.next(), claims.next()) {
            // Of a group that lacks drives, those would keep their part, and bring half of it back.
            (Some(group), None) if group.missing > 0 && !self.observed.is_complete() => {}
            // With volumes of somebody else in our group, a person has to look first.
            (Some(group), None) if group.strangers.is_empty() => self.step(Step::RemoveGroup {
                group: group.name.clone(),
                partial: group.missing > 0,
                drives: group
                    .devices
                    .iter()
                    .map(|path| self.observed.disk(path))
                    .collect(),
            }),
            (None, _) if pool.phase == Phase::Deleting && self.observed.is_complete() => {
                self.step(Step::ForgetPool(pool.id));
            }
            _ => {}
        }
    }

    /// Makes a pool, and keeps it usable.
    fn make_pool(&mut self, pool: &PoolRecord) {
        let is_new = pool.phase == Phase::Preparing;
        if !is_new && pool.phase != Phase::Ready {
            return;
        }
        let Some(group) = self.observed.group(pool.id) else {
            // Before, its drives may not be there yet, nor a group that was begun, nor another drive that bears
            // the same name.
            let is_seen = self.observed.groups_of(pool.id).next().is_some();
            if is_new && !is_seen && self.observed.settled {
                let step = self.create_pool(pool);
                self.step(step);
            }
            self.restore(pool);
            return;
        };
        let Some(thin) = &group.thin else {
            if is_new {
                self.step(Step::CreateThin {
                    id: pool.id,
                    room: group.free,
                });
            }
            return;
        };
        if group.missing > 0 {
            // Half a volume is of no use to a guest: nothing is activated, the fault says what to do.
            return;
        }
        // The other copy is good, and LVM leaves a bad one alone: the next cut could take both.
        let mut devices = group.devices.iter();
        if devices.any(|device| self.observed.flawed.contains(device)) {
            self.step(Step::RenewMetadata(group.name.clone()));
        }
        let mut volumes = group.volumes.iter();
        if !thin.active || volumes.any(|v| v.ours && !v.preparing && !v.active) {
            self.step(Step::ActivateGroup(group.name.clone()));
        } else {
            let mut volumes = group.volumes.iter();
            let lacks_file = volumes.any(|volume| {
                let path = format!("{}/{}", group.name, volume.name);
                volume.ours && self.observed.without_file.contains(&path)
            });
            if lacks_file {
                self.step(Step::MakeFiles(group.name.clone()));
            }
        }
        if is_new {
            self.step(Step::SettlePool {
                id: pool.id,
                outcome: Outcome::Done,
            });
        }
    }

    /// Makes a pool of its drives, or says why it can not be made of them.
    fn create_pool(&self, pool: &PoolRecord) -> Step {
        let mut silent = pool.spec.drives.iter().filter_map(|id| {
            let drive = self.observed.drive(id)?;
            drive.mute.then_some((id, drive))
        });
        if let Some((id, drive)) = silent.next() {
            let problem = drive.problem.as_deref().unwrap_or("it does not answer");
            return Step::AwaitPool {
                id: pool.id,
                message: format!("the drive {} (`{id}`) is waited for: {problem}", drive.name),
            };
        }
        let mut drives = Vec::new();
        let (mut erase, mut orphans) = (Vec::new(), Vec::new());
        for id in &pool.spec.drives {
            let drive = match self.usable_drive(pool, id) {
                Ok(drive) => drive,
                Err(message) => {
                    let outcome = Outcome::Failed { message };
                    return Step::SettlePool {
                        id: pool.id,
                        outcome,
                    };
                }
            };
            drives.push(self.observed.disk(&drive.path));
            if drive.content == Content::Blank {
                continue;
            }
            if pool.erase.contains(id) {
                erase.push(drive.path.clone());
            } else {
                orphans.push(drive.path.clone());
            }
        }
        Step::CreatePool {
            id: pool.id,
            drives,
            erase,
            orphans,
        }
    }

    fn usable_drive(&self, pool: &PoolRecord, id: &str) -> Result<&'a Drive, String> {
        let observed = self.observed;
        let drive = observed
            .drive(id)
            .ok_or_else(|| format!("the drive `{id}` is not there"))?;
        let name = &drive.name;
        if drive.system {
            return Err(format!("the node starts from the drive {name} (`{id}`)"));
        }
        // A drive that is busy is left to the step, which waits: what keeps it may be gone in a moment, and may even be
        // the group of this pool that the look has missed.
        if let Some(problem) = observed.unfit(drive) {
            return Err(format!(
                "the drive {name} (`{id}`) can not be used: {problem}"
            ));
        }
        let mut others = self
            .desired
            .pools
            .iter()
            .filter(|other| other.id != pool.id);
        let holder = others.find(|other| {
            let mut groups = observed.groups_of(other.id);
            groups.any(|group| group.devices.contains(&drive.path))
                || observed.damaged(other).contains(&drive)
        });
        if let Some(holder) = holder {
            return Err(format!(
                "the drive {name} (`{id}`) belongs to the storage pool `{}`",
                holder.spec.name
            ));
        }
        let taken = |step: &Step| matches!(step, Step::CreatePool { drives, .. } if drives.iter().any(|disk| disk.path == drive.path));
        if self.steps.iter().any(taken) {
            return Err(format!(
                "another new storage pool takes the drive {name} (`{id}`)"
            ));
        }
        let is_orphan = observed.orphans.contains(&drive.path);
        let is_ours = drive.content == Content::Blank || is_orphan;
        if !is_ours && !pool.erase.iter().any(|erased| erased == id) {
            return Err(format!(
                "the drive {name} (`{id}`) is not empty, and its erasure was not confirmed"
            ));
        }
        Ok(drive)
    }

    /// Makes the library and puts it into the tree.
    fn make_library(&mut self) {
        let Some(pool) = self.desired.library() else {
            return;
        };
        let Some(group) = self.whole_group(pool.id) else {
            return;
        };
        let Some(thin) = &group.thin else {
            return;
        };
        let size = thin.size.min(LARGEST_LIBRARY);
        let name = group.name.clone();
        let Some(volume) = group.volume(LIBRARY).filter(|volume| !volume.preparing) else {
            let again = group.volume(LIBRARY).is_some();
            self.step(Step::CreateLibrary {
                group: name,
                size,
                again,
            });
            return;
        };
        match self.desired.library_device() {
            // To mount it again and again would not mend it; a person is told.
            _ if self.is_broken() => {}
            Some(device) if self.library().is_none() => self.step(Step::MountLibrary { device }),
            _ if volume.size < size => self.step(Step::GrowLibrary { group: name, size }),
            _ => {}
        }
    }

    fn is_broken(&self) -> bool {
        let library = self.observed.library.as_ref();
        library.is_some_and(|library| {
            library.problem.is_some()
                && self.desired.library_device().as_ref() == Some(&library.device)
        })
    }

    /// Makes a volume, and lets it grow.
    fn make_volume(&mut self, volume: &VolumeRecord) {
        let pool = self.desired.pool(volume.spec.pool);
        if !pool.is_some_and(|pool| pool.phase == Phase::Ready) {
            return;
        }
        let Some(group) = self.whole_group(volume.spec.pool) else {
            return;
        };
        let there = group.volume(&volume.logical_volume());
        match volume.phase {
            Phase::Preparing => self.prepare_volume(volume, group),
            Phase::Ready => {
                let size = volume.spec.size.round_up(BLOCK);
                if there.is_some_and(|there| there.size < size) {
                    self.step(Step::GrowVolume {
                        group: group.name.clone(),
                        name: volume.logical_volume(),
                        size,
                    });
                }
            }
            Phase::Failed { .. } | Phase::Deleting => {}
        }
    }

    fn prepare_volume(&mut self, volume: &VolumeRecord, group: &Group) {
        let (id, name, group_name) = (volume.id, volume.logical_volume(), group.name.clone());
        if self.desired.is_cancelled(id) {
            let outcome = Outcome::Cancelled;
            return self.step(Step::SettleVolume { id, outcome });
        }
        let there = group.volume(&name);
        let size = volume.spec.size.round_up(BLOCK);
        if there.is_some_and(|there| !there.preparing) {
            let outcome = Outcome::Done;
            return self.step(Step::SettleVolume { id, outcome });
        }
        let Some(image) = volume.spec.image else {
            if there.is_some() {
                self.step(Step::RemoveVolume {
                    group: group_name.clone(),
                    name: name.clone(),
                });
            }
            return self.step(Step::CreateVolume {
                id,
                group: group_name,
                name,
                size,
            });
        };
        match self.observed.fills.get(&id) {
            Some(Work::Running { .. }) => {}
            Some(Work::Failed { message }) => {
                let outcome = Outcome::Failed {
                    message: message.clone(),
                };
                self.step(Step::SettleVolume { id, outcome });
            }
            Some(Work::Done { .. }) if there.is_some() => self.step(Step::CompleteVolume {
                group: group_name,
                name,
            }),
            // The image can only be read while the library is there; until then the volume waits.
            Some(Work::Done { .. }) | None if self.library().is_some() => {
                self.step(Step::FillVolume {
                    id,
                    group: group_name,
                    name,
                    size,
                    image,
                    again: there.is_some(),
                    job: self.desired.job(id).map(|job| job.id),
                });
            }
            Some(Work::Done { .. }) | None => {}
        }
    }

    /// Brings an image to its end: its bytes fetched or awaited, then checked.
    fn make_image(&mut self, image: &ImageRecord) {
        if image.phase != Phase::Preparing {
            return;
        }
        let id = image.id;
        if self.desired.is_cancelled(id) {
            return self.settle_image(id, Outcome::Cancelled, None);
        }
        let job = self.desired.job(id).map(|job| job.id);
        match self.observed.images.get(&id) {
            Some(Work::Running { .. }) => {}
            Some(Work::Failed { message }) => {
                let outcome = Outcome::Failed {
                    message: message.clone(),
                };
                self.settle_image(id, outcome, None);
            }
            Some(Work::Done {
                content: Some(content),
            }) => {
                self.settle_image(id, Outcome::Done, Some(content.clone()));
            }
            Some(Work::Done { content: None }) | None => {
                if self.library().is_none() {
                    return;
                }
                let file = self.observed.file(id);
                match &image.spec.source {
                    // A whole file was checked, but not told.
                    _ if file.whole.is_some() => self.step(Step::CheckImage { id, job }),
                    ImageSource::Upload { size } if file.partial == Some(*size) => {
                        self.step(Step::CheckImage { id, job });
                    }
                    ImageSource::Upload { .. } => {}
                    ImageSource::Url { .. } => self.step(Step::FetchImage { id, job }),
                }
            }
        }
    }

    fn settle_image(&mut self, id: ImageId, outcome: Outcome, content: Option<ImageContent>) {
        self.step(Step::SettleImage {
            id,
            outcome,
            content,
        });
    }
}

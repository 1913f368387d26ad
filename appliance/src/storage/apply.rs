//! Does one step. Nothing is decided here, but for one thing: what could not be
//! made is settled as failed, with the reason, so that whoever asked hears it.

use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ashlar_api::{Bytes, ImageId, PoolId, Timestamp, VolumeId};
use tokio::sync::watch;

use super::erase::Hold;
use super::events::Events;
use super::eyes::RESTORED;
use super::fetch::fetch;
use super::lvm::{Complete, Group, Lvm, LvmError, POOL_TAG, layout};
use super::plan::{Step, Subject};
use super::qemu_img::{Filling, fill};
use super::reader::open_device;
use super::room::Room;
use super::step::Disk;
use super::work::{Teller, Works};
use super::{Error, Status, check, erase, library};
use crate::reconcile::chain;
use crate::state::command::{Command, Outcome, Refusal};
use crate::state::schema::{
    ImageRecord, LIBRARY, LIBRARY_PATH, Phase, PoolRecord, VolumeRecord, library_pool, volume_group,
};
use crate::state::{ProposeError, Store};
use crate::sys::fs::{self, Unmount};

/// In whose name the state is told what became of wishes.
const OURSELVES: &str = "ashlar";
/// How long to wait for whoever looks at a new device for a moment: half a minute in all, as a machine that has much to
/// do takes its time, and what could not be made is not tried again by itself.
const RESTS: [Duration; 7] = [
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(7),
    Duration::from_secs(8),
    Duration::from_secs(8),
];

/// How long something may take to be made, where only a wait is between it and success.
const PATIENCE: Duration = Duration::from_secs(600);
/// With this LVM begins and ends the description of a group.
const GROUP_TEXT: &str = "Text Format Volume Group";

/// What steps are done with.
pub struct Hands<'a> {
    /// The state.
    pub store: &'a Store,
    /// Since when this process has done steps.
    pub began: Instant,
    /// The long work.
    pub works: &'a Works,
    /// To be told of drives that are changed.
    pub events: &'a Events,
    /// The devices of our groups, as last seen.
    pub devices: &'a BTreeMap<String, Vec<PathBuf>>,
    /// How much room there is, as last seen.
    pub status: watch::Receiver<Status>,
}

/// A volume on its way.
struct Volume<'a> {
    id: VolumeId,
    group: &'a str,
    name: &'a str,
    size: Bytes,
    again: bool,
}

/// Does a step.
pub async fn apply(hands: Hands<'_>, step: Step) -> Result<(), Error> {
    match step {
        Step::StopWork(subject) => hands.works.stop(subject),
        Step::SettlePool { id, outcome } => hands.settle_pool(id, outcome).await?,
        Step::SettleVolume { id, outcome } => hands.settle_volume(id, outcome).await?,
        Step::SettleImage {
            id,
            outcome,
            content,
        } => {
            let command = Command::SettleImage {
                id,
                outcome,
                content,
            };
            hands.propose(command).await?;
        }
        Step::UnmountLibrary => library::unmount(Unmount::Plain)?,
        Step::RemoveFiles(id) => remove_files(hands.store, Path::new(LIBRARY_PATH), id)?,
        Step::RemoveVolume { group, name } => {
            patiently(|| async { Ok(hands.lvm(&group).remove_volume(&group, &name).await?) })
                .await?;
        }
        Step::RemoveGroup {
            group,
            partial,
            drives,
        } => hands.remove_group(&group, partial, &drives).await?,
        Step::CreatePool {
            id,
            drives,
            erase,
            orphans,
        } => {
            let made = hands.create_pool(id, &drives, &erase, &orphans).await;
            hands.events.note();
            hands.or_fail_pool(id, made).await?;
        }
        Step::AwaitPool { id, message } => {
            let awaited = Err(Error::Awaited { message });
            hands.or_fail_pool(id, awaited).await?;
        }
        Step::CreateThin { id, room } => {
            let group = volume_group(id);
            let made = create_thin(&hands.lvm(&group), &group, room).await;
            hands.or_fail_pool(id, made).await?;
        }
        Step::RestoreGroup { id, drives } => hands.restore_group(id, &drives).await?,
        Step::RenewMetadata(group) => hands.lvm(&group).renew(&group).await?,
        Step::ActivateGroup(group) => hands.lvm(&group).activate(&group).await?,
        Step::MakeFiles(group) => hands.lvm(&group).make_nodes(&group).await?,
        Step::CreateLibrary { group, size, again } => {
            hands.create_library(&group, size, again).await?;
        }
        Step::MountLibrary { device } => library::mount(&device).await?,
        Step::GrowLibrary { group, size } => {
            hands.lvm(&group).grow_volume(&group, LIBRARY, size).await?;
            library::grow(&device(&group, LIBRARY)).await?;
        }
        Step::CreateVolume {
            id,
            group,
            name,
            size,
        } => {
            let lvm = hands.lvm(&group);
            let made = lvm.create_volume(&group, &name, size, Complete::Yes).await;
            hands.or_fail_volume(id, made.map_err(Error::from)).await?;
        }
        Step::FillVolume {
            id,
            group,
            name,
            size,
            image,
            again,
            job,
        } => {
            let volume = Volume {
                id,
                group: &group,
                name: &name,
                size,
                again,
            };
            let begun = match hands.begin_filling(&volume, image).await {
                Ok(filling) => {
                    let subject = Subject::Volume(id);
                    let work = |teller| fill_volume(filling, teller);
                    hands.works.start(subject, job, work);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            hands.or_fail_volume(id, begun).await?;
        }
        Step::CompleteVolume { group, name } => {
            hands.lvm(&group).complete_volume(&group, &name).await?;
        }
        Step::GrowVolume { group, name, size } => {
            hands.lvm(&group).grow_volume(&group, &name, size).await?;
        }
        Step::CheckImage { id, job } => hands.start_on_image(id, job, None)?,
        Step::FetchImage { id, job } => {
            let room = hands.room()?;
            hands.start_on_image(id, job, Some(room))?;
        }
        Step::ForgetImage(id) => hands.propose(Command::ForgetImage { id }).await?,
        Step::ForgetVolume(id) => hands.propose(Command::ForgetVolume { id }).await?,
        Step::ForgetPool(id) => hands.propose(Command::ForgetPool { id }).await?,
    }
    Ok(())
}

/// Removes the files of an image, unless it is wanted by now: an image that was made and sent while this pass looked at
/// the machine has a file, and its record is younger than what the pass read.
pub fn remove_files(store: &Store, library: &Path, id: ImageId) -> Result<(), Error> {
    let record: Option<ImageRecord> = store.get(id)?;
    match record.map(|image| image.phase) {
        Some(Phase::Preparing | Phase::Ready) => Ok(()),
        Some(Phase::Deleting | Phase::Failed { .. }) | None => library::remove(library, id),
    }
}

impl Hands<'_> {
    /// LVM that sees the devices of this group only.
    fn lvm(&self, group: &str) -> Lvm {
        Lvm::on(self.devices.get(group).into_iter().flatten())
    }

    /// Tells the state. That it is so already is success.
    async fn propose(&self, command: Command) -> Result<(), Error> {
        match self.store.propose(OURSELVES, command).await {
            Ok(_)
            | Err(ProposeError::Refused(Refusal::NotFound { .. } | Refusal::WrongState { .. })) => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn settle_pool(&self, id: PoolId, outcome: Outcome) -> Result<(), Error> {
        self.propose(Command::SettlePool { id, outcome }).await
    }

    fn may_wait(&self, error: &Error, created_at: Option<Timestamp>) -> bool {
        let age = created_at.map(|at| Timestamp::now().duration_since(at).unsigned_abs());
        error.is_transient() && may_wait(age, self.began.elapsed())
    }

    async fn settle_volume(&self, id: VolumeId, outcome: Outcome) -> Result<(), Error> {
        self.propose(Command::SettleVolume { id, outcome }).await
    }

    /// What only has to wait stays as it is, and is tried again; what can not be made is told.
    async fn or_fail_pool(&self, id: PoolId, made: Result<(), Error>) -> Result<(), Error> {
        let record: Option<PoolRecord> = self.store.get(id)?;
        match made {
            Ok(()) => Ok(()),
            Err(error) if self.may_wait(&error, record.map(|pool| pool.created_at)) => Err(error),
            Err(error) => self.settle_pool(id, failed(&error)).await,
        }
    }

    async fn or_fail_volume(&self, id: VolumeId, made: Result<(), Error>) -> Result<(), Error> {
        let record: Option<VolumeRecord> = self.store.get(id)?;
        match made {
            Ok(()) => Ok(()),
            Err(error) if self.may_wait(&error, record.map(|volume| volume.created_at)) => {
                Err(error)
            }
            Err(error) => self.settle_volume(id, failed(&error)).await,
        }
    }

    async fn create_pool(
        &self,
        id: PoolId,
        drives: &[Disk],
        erased: &[PathBuf],
        orphans: &[PathBuf],
    ) -> Result<(), Error> {
        let held = hold_all(drives).await?;
        let group = volume_group(id);
        let paths: Vec<PathBuf> = drives.iter().map(|disk| disk.path.clone()).collect();
        let lvm = Lvm::on(&paths);
        // An attempt that was made before and that the look missed is gone on with, never erased.
        let earlier = earlier(group_of(&lvm, id).await)?;
        if earlier.is_none() {
            let is_orphan = |held: &Hold| orphans.contains(&held.disk().path);
            let is_erased = |held: &&Hold| erased.contains(&held.disk().path) || is_orphan(held);
            // All are looked at before the first is touched.
            for drive in held.iter().filter(is_erased) {
                if is_orphan(drive) && drive.bears(GROUP_TEXT.to_owned()).await? {
                    return Err(Error::Unconfirmed {
                        drive: drive.disk().path.clone(),
                    });
                }
                if drive.bears(format!("{POOL_TAG}{id}")).await? {
                    return Err(Error::Marked {
                        drive: drive.disk().path.clone(),
                        pool: id,
                    });
                }
            }
            for drive in held.iter().filter(is_erased) {
                patiently(|| erase::erase(drive.disk())).await?;
            }
            patiently(|| async { Ok(lvm.create_group(&group, id, &paths).await?) }).await?;
        }
        match group_of(&lvm, id).await? {
            Some(made) if made.thin.is_some() => Ok(()),
            Some(made) => create_thin(&lvm, &group, made.free).await,
            None => Err(Error::GroupUnseen { group }),
        }
    }

    async fn remove_group(&self, group: &str, partial: bool, drives: &[Disk]) -> Result<(), Error> {
        let lvm = Lvm::on(drives.iter().map(|disk| &disk.path));
        let _held = hold_all(drives).await?;
        self.events.note();
        if partial {
            lvm.drop_missing(group).await?;
        }
        patiently(|| async { Ok(lvm.remove_group(group).await?) }).await?;
        for drive in drives {
            patiently(|| erase::erase(drive)).await?;
        }
        Ok(())
    }

    async fn restore_group(&self, id: PoolId, drives: &[Disk]) -> Result<(), Error> {
        let group = volume_group(id);
        let lvm = Lvm::on(drives.iter().map(|disk| &disk.path));
        let _held = hold_all(drives).await?;
        self.events.note();
        if let Some(seqno) = lvm.restore(&group, id).await? {
            tracing::warn!(
                "LVM could not read the metadata of {group}: restored from version {seqno}, the newest complete one"
            );
            let folder = Path::new(RESTORED);
            let noted = fs::create_directory(folder);
            noted.and_then(|()| fs::write_atomic(&folder.join(id.to_string()), b"", 0o644))?;
        }
        Ok(())
    }

    async fn create_library(&self, group: &str, size: Bytes, again: bool) -> Result<(), Error> {
        let lvm = self.lvm(group);
        if again {
            patiently(|| async { Ok(lvm.remove_volume(group, LIBRARY).await?) }).await?;
        }
        lvm.create_volume(group, LIBRARY, size, Complete::NotYet)
            .await?;
        library::format(&device(group, LIBRARY)).await?;
        Ok(lvm.complete_volume(group, LIBRARY).await?)
    }

    /// Makes the volume anew: a filling relies on its being empty.
    async fn begin_filling(&self, volume: &Volume<'_>, image: ImageId) -> Result<Filling, Error> {
        let record: Option<ImageRecord> = self.store.get(image)?;
        let record = record.filter(|record| record.phase == Phase::Ready);
        let (path, content) = record
            .and_then(|record| Some((record.path(), record.content?)))
            .ok_or(Error::NoImage)?;
        let source = File::open(path).map_err(Error::Image)?;
        let lvm = self.lvm(volume.group);
        if volume.again {
            patiently(|| async { Ok(lvm.remove_volume(volume.group, volume.name).await?) }).await?;
        }
        lvm.create_volume(volume.group, volume.name, volume.size, Complete::NotYet)
            .await?;
        let node = PathBuf::from(format!("/dev/.ashlar-{}", volume.id));
        let target = open_device(&device(volume.group, volume.name), &node)?;
        Ok(Filling {
            subject: volume.id.to_string(),
            image: source.into(),
            format: content.format,
            size: content.virtual_size,
            volume: target.into(),
        })
    }

    fn room(&self) -> Result<Room, Error> {
        let pools: Vec<PoolRecord> = self.store.list()?;
        let library = PathBuf::from(LIBRARY_PATH);
        Ok(Room::new(
            self.status.clone(),
            library,
            library_pool(&pools),
        ))
    }

    /// Begins to check an image; to fetch it before, when there is `room` to put it into.
    fn start_on_image(
        &self,
        id: ImageId,
        job: Option<ashlar_api::JobId>,
        room: Option<Room>,
    ) -> Result<(), Error> {
        let record: ImageRecord = self.store.get(id)?.ok_or(Error::NoImage)?;
        let work = |teller: Teller| async move {
            let library = Path::new(LIBRARY_PATH);
            if let (Some(room), ashlar_api::image::ImageSource::Url { url }) =
                (room, &record.spec.source)
            {
                let (_, partial) = library::paths(library, id);
                fetch(url, &partial, &room, &teller)
                    .await
                    .map_err(|error| error.story())?;
            }
            let wanted = record.spec.sha256.as_deref();
            let checked = check::check(library, id, wanted, &teller).await;
            checked.map(Some).map_err(|error| error.story())
        };
        self.works.start(Subject::Image(id), job, work);
        Ok(())
    }
}

/// The group of a pool, as LVM sees it now.
async fn group_of(lvm: &Lvm, pool: PoolId) -> Result<Option<Group>, Error> {
    let mut groups = lvm.report().await?.groups.into_iter();
    Ok(groups.find(|group| group.pool == Some(pool)))
}

/// Whether what was wished so long ago may wait on, in a process that has run so long: a node that was off for an hour has
/// not tried for an hour.
fn may_wait(age: Option<Duration>, running: Duration) -> bool {
    age.is_some_and(|age| age.min(running) < PATIENCE)
}

/// What a look for the group of a pool on its drives says of earlier attempts. What is there of others may be damaged so
/// that LVM can not report it; whoever named the drives wants it gone. Only if LVM said so, though: one that could not be
/// run, or was not understood, may have missed the group.
fn earlier(looked: Result<Option<Group>, Error>) -> Result<Option<Group>, Error> {
    match looked {
        Err(error @ Error::Lvm(LvmError::Failed { .. })) => {
            tracing::info!("look for the group on its drives: {}", chain(&error));
            Ok(None)
        }
        other => other,
    }
}

async fn hold_all(drives: &[Disk]) -> Result<Vec<Hold>, Error> {
    let mut held = Vec::new();
    for drive in drives {
        held.push(patiently(|| async { erase::hold(drive) }).await?);
    }
    Ok(held)
}

async fn create_thin(lvm: &Lvm, group: &str, room: Bytes) -> Result<(), Error> {
    let layout = layout(room).ok_or(Error::TooSmall)?;
    Ok(lvm.create_thin(group, layout).await?)
}

async fn fill_volume(
    filling: Filling,
    teller: Teller,
) -> Result<Option<crate::state::schema::ImageContent>, String> {
    let _place = teller.place().await;
    teller.tell(Some(0.0), "Filling the volume");
    let told = teller.clone();
    fill(filling, move |share| {
        told.tell(Some(share), "Filling the volume");
    })
    .await
    .map(|()| None)
    .map_err(|error| {
        format!(
            "{}. Look at the room and the health of the pool, then make the volume again.",
            chain(&error)
        )
    })
}

fn device(group: &str, volume: &str) -> PathBuf {
    Path::new("/dev").join(group).join(volume)
}

fn failed(error: &Error) -> Outcome {
    Outcome::Failed {
        message: chain(error),
    }
}

/// Tries again for a moment while something else uses the thing.
async fn patiently<T, F: Future<Output = Result<T, Error>>>(
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error> {
    for rest in RESTS {
        match attempt().await {
            Err(error) if error.is_busy() => tokio::time::sleep(rest).await,
            ended => return ended,
        }
    }
    attempt().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::command::CommandError;

    fn lvm(error: LvmError) -> Result<Option<Group>, Error> {
        Err(error.into())
    }

    #[test]
    fn what_only_has_to_wait_is_given_up_in_the_end() {
        let (short, long) = (Duration::from_secs(30), Duration::from_secs(3600));
        assert!(may_wait(Some(short), short) && may_wait(Some(short), long));
        assert!(may_wait(Some(long), short) && !may_wait(Some(long), long));
        // What is no more waits for nothing.
        assert!(!may_wait(None, short));
    }

    #[test]
    fn only_a_verdict_of_lvm_says_that_there_is_no_group() {
        let what = || "look".to_owned();
        let message = "Checksum error".to_owned();
        let damaged = lvm(LvmError::Failed {
            what: what(),
            message,
        });
        assert!(matches!(earlier(damaged), Ok(None)));
        assert!(matches!(earlier(Ok(None)), Ok(None)));
        let late = CommandError::TimedOut {
            tool: "lvm".to_owned(),
            args: Vec::new(),
            after: Duration::from_secs(60),
        };
        let late = LvmError::Run {
            what: what(),
            source: Box::new(late),
        };
        assert!(earlier(lvm(late)).is_err());
        let unread = serde_json::from_str::<()>("{").unwrap_err();
        assert!(earlier(lvm(LvmError::Report(unread))).is_err());
        let message = "in use".to_owned();
        let busy = LvmError::InUse {
            what: what(),
            message,
        };
        assert!(earlier(lvm(busy)).is_err());
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert!(earlier(Err(Error::Image(gone))).is_err());
    }
}

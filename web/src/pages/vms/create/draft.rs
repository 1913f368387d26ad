//! A machine that is not made yet: what was typed, and the request it becomes.

use ashlar_api::image::Image;
use ashlar_api::vm::{RunPolicy, VmDisk, VmNic, VmSpec};
use ashlar_api::{Bytes, FieldError, ImageId, Name, NetworkId, PoolId};
use leptos::prelude::*;

use crate::components::Reader;
use crate::live::Live;
use crate::pages::images::choice::too_small;
use crate::pages::vms::cloud_init::{Texts, Typed};
use crate::words;

/// What the machine starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A disk filled from an image.
    Image,
    /// An empty disk, and a CD to install from.
    Cd,
    /// An empty disk.
    Empty,
}

impl Origin {
    /// The origin of a key.
    pub fn of(key: &str) -> Self {
        match key {
            "cd" => Origin::Cd,
            "empty" => Origin::Empty,
            _ => Origin::Image,
        }
    }
}

/// Sizes to begin with: key, name, virtual processors, memory.
pub const SIZES: [(&str, &str, u16, Bytes); 4] = [
    ("tiny", "Tiny", 1, Bytes::gib(1)),
    ("small", "Small", 2, Bytes::gib(2)),
    ("medium", "Medium", 2, Bytes::gib(4)),
    ("large", "Large", 4, Bytes::gib(8)),
];

/// The disk of a machine, unless its image needs a larger one.
const DISK: Bytes = Bytes::gib(20);

/// What was typed.
#[derive(Clone, Copy)]
pub struct Draft {
    /// Its name.
    pub name: RwSignal<String>,
    /// What it is for.
    pub note: RwSignal<String>,
    /// Key of the origin.
    pub origin: RwSignal<String>,
    /// Id of the image.
    pub image: RwSignal<String>,
    /// Id of the CD.
    pub cd: RwSignal<String>,
    /// Key of the size, or `own`.
    pub size: RwSignal<String>,
    /// Virtual processors.
    pub cpus: RwSignal<String>,
    /// Memory.
    pub memory: RwSignal<String>,
    /// Id of the pool.
    pub pool: RwSignal<String>,
    /// Size of the disk.
    pub disk: RwSignal<String>,
    /// Id of the network; empty for none.
    pub network: RwSignal<String>,
    /// What cloud-init sets up in the guest.
    pub cloud: Typed,
    /// Key of the run policy.
    pub policy: RwSignal<String>,
    /// True to start it at once.
    pub start: RwSignal<bool>,
    /// True to refuse deleting it.
    pub protected: RwSignal<bool>,
}

impl Draft {
    /// Nothing typed yet; one image and one network are chosen by themselves.
    pub fn new() -> Self {
        let text = |text: &str| RwSignal::new(text.to_owned());
        Draft {
            name: text(""),
            note: text(""),
            origin: text("image"),
            image: text(""),
            cd: text(""),
            size: text("small"),
            cpus: text("2"),
            memory: text("2 GiB"),
            pool: text(""),
            disk: RwSignal::new(DISK.to_string()),
            network: text(""),
            cloud: Typed::new(Texts {
                on: true,
                ..Texts::default()
            }),
            policy: text("always"),
            start: RwSignal::new(true),
            protected: RwSignal::new(false),
        }
    }

    /// What the machine starts from.
    pub fn origin(self) -> Origin {
        self.origin.with(|origin| Origin::of(origin))
    }

    /// The chosen image of a disk.
    pub fn image(self, live: Live) -> Option<Image> {
        (self.origin() == Origin::Image)
            .then(|| live.images.one(&self.image.get()))
            .flatten()
    }

    /// True if cloud-init sets the guest up.
    pub fn with_cloud(self) -> bool {
        self.cloud.on.get() && self.origin() == Origin::Image
    }

    /// The smallest disk that the chosen image fits on.
    pub fn least_disk(self, live: Live) -> Bytes {
        self.image(live)
            .map_or(Bytes(0), |image| image.status.virtual_size)
    }

    /// A disk large enough for the chosen image, and for something more.
    pub fn proposed_disk(least: Bytes) -> Bytes {
        least.max(DISK).round_up(Bytes::GIB)
    }

    /// Which errors belong to which step.
    pub const STEPS: [&'static [&'static str]; 4] = [
        &["name", "description", "disks[0].image", "cdrom"],
        &["cpus", "memory", "disks[0].size", "disks[0].pool"],
        &["nics"],
        &["cloud_init"],
    ];

    /// The step of an error; the last one when none.
    pub fn step_of(field: &str) -> usize {
        Self::STEPS
            .iter()
            .position(|prefixes| prefixes.iter().any(|prefix| field.starts_with(prefix)))
            .unwrap_or(Self::STEPS.len())
    }

    /// The request, or what is wrong.
    pub fn build(self, live: Live) -> Result<VmSpec, Vec<FieldError>> {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &self.name.get());
        let cpus: Option<u16> =
            reader.parse_or("cpus", &self.cpus.get(), "a whole number, such as 2");
        let memory: Option<Bytes> = reader.parse("memory", &self.memory.get());
        let pool: Option<PoolId> =
            reader.parse_or("disks[0].pool", &self.pool.get(), "choose a pool");
        let size: Option<Bytes> = reader.parse("disks[0].size", &self.disk.get());
        let least = self.least_disk(live);
        if let Some(wrong) = size.and_then(|size| too_small(size, least)) {
            reader.note("disks[0].size", wrong);
        }
        let image: Option<Option<ImageId>> = match self.origin() {
            Origin::Image => reader
                .parse_or("disks[0].image", &self.image.get(), "choose an image")
                .map(Some),
            Origin::Cd | Origin::Empty => Some(None),
        };
        let cdrom: Option<Option<ImageId>> = match self.origin() {
            Origin::Cd => reader
                .parse_or("cdrom", &self.cd.get(), "choose a CD")
                .map(Some),
            Origin::Image | Origin::Empty => Some(None),
        };
        let network = self.network.get();
        let nics = if network.is_empty() {
            Some(Vec::new())
        } else {
            let network: Option<NetworkId> =
                reader.parse_or("nics[0].network", &network, "choose a network");
            network.map(|network| vec![VmNic { network, mac: None }])
        };
        let cloud_init = self
            .with_cloud()
            .then(|| self.cloud.texts().read())
            .flatten();
        let spec = || {
            Some(VmSpec {
                name: name?,
                description: self.note.get().trim().to_owned(),
                cpus: cpus?,
                memory: memory?,
                run_policy: words::run_policy_of(&self.policy.get()),
                disks: vec![VmDisk::New {
                    pool: pool?,
                    size: size?,
                    image: image?,
                }],
                cdrom: cdrom?,
                nics: nics?,
                cloud_init: cloud_init.clone(),
                protected: self.protected.get(),
            })
        };
        let spec = spec();
        if let Some(spec) = &spec {
            reader.check(spec);
        } else if let Some(cloud_init) = &cloud_init {
            // So that its errors show although another step is not filled in yet.
            let mut inner = Reader::new();
            inner.check(cloud_init);
            for error in inner.done::<()>(None).err().unwrap_or_default() {
                reader.note(&format!("cloud_init.{}", error.field), error.message);
            }
        }
        reader.done(spec)
    }

    /// True if the machine is to be started by hand right after it was made.
    pub fn starts_by_hand(self) -> bool {
        self.start.get_untracked()
            && words::run_policy_of(&self.policy.get_untracked()) == RunPolicy::Manual
    }
}

#[cfg(test)]
mod tests {
    use super::Draft;
    use ashlar_api::Bytes;

    #[test]
    fn errors_know_their_step() {
        assert_eq!(Draft::step_of("name"), 0);
        assert_eq!(Draft::step_of("disks[0].image"), 0);
        assert_eq!(Draft::step_of("disks[0].size"), 1);
        assert_eq!(Draft::step_of("nics[0].network"), 2);
        assert_eq!(Draft::step_of("cloud_init.ssh_keys[1]"), 3);
        assert_eq!(Draft::step_of("run_policy"), 4);
    }

    #[test]
    fn disks_hold_their_image() {
        assert_eq!(Draft::proposed_disk(Bytes(0)), Bytes::gib(20));
        assert_eq!(
            Draft::proposed_disk(Bytes(Bytes::gib(40).0 + 1)),
            Bytes::gib(41)
        );
    }
}

//! The records of the database, and the names on the machine that follow from
//! them.
//!
//! A record is what is wanted of one object, with what only the state machine
//! may decide (revision, phase of its life). Each is kept as one JSON document
//! in the table of its noun: lists read documents, and a change of shape is a
//! migration of documents. What is merely seen is never in here.
//!
//! Two domains that must agree on the name of a thing on the machine (a logical
//! volume, a bridge) do not ask one another: the name is a pure function of the
//! id, here.

use std::path::PathBuf;

use ashlar_api::image::{ImageFormat, ImageSpec};
use ashlar_api::job::{JobState, Kind, Subject, Verb};
use ashlar_api::network::NetworkSpec;
use ashlar_api::node::NodeSpec;
use ashlar_api::pool::PoolSpec;
use ashlar_api::site::SiteSpec;
use ashlar_api::user::{TokenSpec, UserSpec};
use ashlar_api::vm::{Mac, VmSpec};
use ashlar_api::volume::VolumeSpec;
use ashlar_api::{
    BootId, Bytes, ImageId, JobId, Name, NetworkId, NodeId, PoolId, SessionId, Timestamp, TokenId,
    UserId, VmId, VolumeId,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A kind of record: which table it is in and what it is called.
pub trait Record: Clone + Serialize + DeserializeOwned + Send + 'static {
    /// The table of the noun.
    const TABLE: &'static str;
    /// The noun, for programs.
    const KIND: Kind;
    /// The noun, for people.
    const NOUN: &'static str;
    /// The type of its id.
    type Id: Copy + std::fmt::Display + PartialEq;
    /// Its id.
    fn id(&self) -> Self::Id;
    /// Its name: unique in its table when [`Record::UNIQUE_NAME`], else only for sorting.
    fn name(&self) -> String;
    /// Whether two records can not have the same name.
    const UNIQUE_NAME: bool;
    /// Whether lists begin with the newest; else they are in order of name.
    const NEWEST_FIRST: bool;
    /// Grows with every change.
    fn revision(&self) -> u64;
    /// Sets the revision (the state machine alone does).
    fn set_revision(&mut self, revision: u64);
}

macro_rules! record {
    ($name:ident, $table:literal, $id:ty, $kind:ident, $noun:literal, unique: $unique:literal, newest first: $newest:literal, |$r:ident| $call:expr) => {
        impl Record for $name {
            const TABLE: &'static str = $table;
            const KIND: Kind = Kind::$kind;
            const NOUN: &'static str = $noun;
            const UNIQUE_NAME: bool = $unique;
            const NEWEST_FIRST: bool = $newest;
            type Id = $id;
            fn id(&self) -> $id {
                self.id
            }
            fn name(&self) -> String {
                let $r = self;
                $call
            }
            fn revision(&self) -> u64 {
                self.revision
            }
            fn set_revision(&mut self, revision: u64) {
                self.revision = revision;
            }
        }
    };
}

/// The site; there is one once it is claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SiteRecord {
    /// Grows with every change.
    pub revision: u64,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// What is wanted.
    pub spec: SiteSpec,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id: the machine id.
    pub id: NodeId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// What is wanted.
    pub spec: NodeSpec,
    /// What was wanted before a change that nobody has confirmed yet.
    #[serde(default)]
    pub unconfirmed: Option<Unconfirmed>,
}

/// A change that can cut its author off: kept only if confirmed in time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// What to go back to.
    pub previous: NodeSpec,
    /// When to go back.
    pub until: Timestamp,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Its id.
    pub id: UserId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// What is wanted.
    pub spec: UserSpec,
    /// argon2id in PHC form.
    pub password_hash: String,
}

/// An API token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub user: UserId,
    /// What is wanted.
    pub spec: TokenSpec,
    /// SHA-256 of the secret, hexadecimal.
    pub secret_hash: String,
}

/// A signed-in session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// Whose it is.
    pub user: UserId,
    /// SHA-256 of the cookie's secret, hexadecimal.
    pub secret_hash: String,
    /// The token that must come with every change.
    pub csrf_token: String,
    /// From which address it was opened.
    pub address: String,
    /// With which program.
    pub agent: String,
}

/// A network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// Its id.
    pub id: NetworkId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// True from the request to delete it until it is gone.
    #[serde(default)]
    pub deleting: bool,
    /// What is wanted.
    pub spec: NetworkSpec,
}

/// A storage pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolRecord {
    /// Its id.
    pub id: PoolId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where its life stands.
    pub phase: Phase,
    /// What is wanted.
    pub spec: PoolSpec,
    /// Drives whose content may be erased while the pool is being made.
    #[serde(default)]
    pub erase: Vec<String>,
    /// True if the images are kept in it: at most one pool, which is ready. The
    /// state machine alone decides it (the first pool that was made), so that
    /// the images do not move when another pool comes or goes.
    #[serde(default)]
    pub library: bool,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Its id.
    pub id: VolumeId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where its life stands.
    pub phase: Phase,
    /// What is wanted.
    pub spec: VolumeSpec,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its id.
    pub id: ImageId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where its life stands.
    pub phase: Phase,
    /// What is wanted.
    pub spec: ImageSpec,
    /// What was found in the file, once it was looked at.
    #[serde(default)]
    pub content: Option<ImageContent>,
}

/// What was found in an image's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageContent {
    /// What kind of file it is.
    pub format: ImageFormat,
    /// Bytes of the file.
    pub size: Bytes,
    /// Bytes of a disk made from it.
    pub virtual_size: Bytes,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmRecord {
    /// Its id.
    pub id: VmId,
    /// Grows with every change.
    pub revision: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// True from the request to delete it until it is gone.
    #[serde(default)]
    pub deleting: bool,
    /// Volumes to delete with it, named in the request to delete it.
    #[serde(default)]
    pub delete_volumes: Vec<VolumeId>,
    /// What is wanted. Its disks are all volumes, its interfaces all have addresses.
    pub spec: VmSpec,
    /// Whether it is wanted to run.
    pub power: Power,
    /// User and group id of its process; unique among machines.
    pub uid: u32,
}

/// Whether a machine is wanted to run. Counters, not events: a wish that was
/// seen twice is fulfilled once, and one that was missed is not lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// What is wanted.
    pub want: Want,
    /// The start of the node in which `on` was asked for; a machine with the
    /// policy `manual` is wanted to run in that one only.
    #[serde(default)]
    pub boot: Option<BootId>,
    /// How often a restart (ask, then start) was asked for.
    #[serde(default)]
    pub restarts: u64,
    /// How often a reset was asked for.
    #[serde(default)]
    pub resets: u64,
}

/// What a machine is wanted to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Want {
    /// Run.
    On,
    /// Be held.
    Paused,
    /// End, at the guest's own pace.
    #[default]
    Off,
    /// End now.
    Cut,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Grows with every change.
    pub revision: u64,
    /// What it does.
    pub verb: Verb,
    /// To what.
    pub subject: Subject,
    /// Where it stands.
    pub state: JobState,
    /// Why it failed.
    #[serde(default)]
    pub message: String,
    /// Who asked for it.
    pub by: String,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was over.
    #[serde(default)]
    pub finished_at: Option<Timestamp>,
}

/// Where the life of something that takes time to make stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Being made; begun again from the start after any interruption.
    #[default]
    Preparing,
    /// Made.
    Ready,
    /// Could not be made, and is not tried again.
    Failed {
        /// What went wrong, as one sentence.
        message: String,
    },
    /// To be removed.
    Deleting,
}

record!(NodeRecord, "node", NodeId, Node, "node", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(UserRecord, "user", UserId, User, "user", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(TokenRecord, "token", TokenId, Token, "API token", unique: false, newest first: false, |r| r.spec.name.to_string());
record!(SessionRecord, "session", SessionId, Session, "session", unique: false, newest first: true, |r| format!("{:.9}", r.created_at));
record!(NetworkRecord, "network", NetworkId, Network, "network", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(PoolRecord, "pool", PoolId, Pool, "storage pool", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(VolumeRecord, "volume", VolumeId, Volume, "volume", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(ImageRecord, "image", ImageId, Image, "image", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(VmRecord, "vm", VmId, Vm, "virtual machine", unique: true, newest first: false, |r| r.spec.name.to_string());
record!(JobRecord, "job", JobId, Job, "job", unique: false, newest first: true, |r| format!("{:.9}", r.created_at));

impl JobRecord {
    /// Whether it can be asked to stop. What makes or removes a thing is over in a moment, and half of it helps nobody.
    pub fn is_cancellable(&self) -> bool {
        self.state == JobState::Running
            && matches!(self.verb, Verb::Fill | Verb::Upload | Verb::Download)
    }
}

impl PoolRecord {
    /// Its volume group.
    pub fn volume_group(&self) -> String {
        volume_group(self.id)
    }
}

/// Name of a pool's volume group.
pub fn volume_group(pool: PoolId) -> String {
    format!("ashlar-{}", pool.short())
}

/// Name of the thin pool in a volume group.
pub const THIN_POOL: &str = "data";
/// Name of the logical volume that holds the images.
pub const LIBRARY: &str = "library";
/// The pool that holds the images, once a pool was made.
pub fn library_pool(pools: &[PoolRecord]) -> Option<PoolId> {
    pools.iter().find(|pool| pool.library).map(|pool| pool.id)
}
/// Where that logical volume is mounted.
pub const LIBRARY_PATH: &str = "/var/lib/ashlar/library";
/// The mark on volume groups and logical volumes of ours.
pub const LVM_TAG: &str = "ashlar";

impl VolumeRecord {
    /// Its logical volume.
    pub fn logical_volume(&self) -> String {
        format!("vol-{}", self.id)
    }
    /// Its device.
    pub fn device(&self) -> PathBuf {
        PathBuf::from("/dev")
            .join(volume_group(self.spec.pool))
            .join(self.logical_volume())
    }
}

impl ImageRecord {
    /// Its file, once it is complete.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(LIBRARY_PATH).join(self.id.to_string())
    }
}

/// The bridge of the management network.
pub const MANAGEMENT_BRIDGE: &str = "br-mgmt";

impl NetworkRecord {
    /// The bridge of the network.
    pub fn bridge(&self) -> String {
        match self.spec.mode {
            ashlar_api::network::NetworkMode::Bridged {} => MANAGEMENT_BRIDGE.to_owned(),
            _ => format!("br-{}", self.id.short()),
        }
    }
}

impl VmRecord {
    /// The node's end of an interface: `vt` and the last six bytes' worth of
    /// the hardware address, which is unique on the site.
    pub fn tap(mac: Mac) -> String {
        format!("vt{}", mac.to_string().replace(':', ""))
    }
    /// Where the sockets and files of its process are.
    pub fn runtime_directory(id: VmId) -> PathBuf {
        PathBuf::from("/run/ashlar/vm").join(id.to_string())
    }
    /// Its UEFI variables.
    pub fn variables(id: VmId) -> PathBuf {
        PathBuf::from("/var/lib/ashlar/vars").join(format!("{id}.fd"))
    }
    /// Whether it is wanted to run in this start of the node, before its policy
    /// is considered further by its owner.
    pub fn wanted(&self, boot: BootId) -> Want {
        use ashlar_api::vm::RunPolicy;
        match (self.spec.run_policy, self.power.want) {
            _ if self.deleting => Want::Cut,
            (RunPolicy::Manual, Want::On | Want::Paused) if self.power.boot != Some(boot) => {
                Want::Off
            }
            (RunPolicy::Stopped, Want::On | Want::Paused) => Want::Off,
            (_, want) => want,
        }
    }
}

/// The name as the newtype, for names that this program makes itself.
pub fn made_name(base: &Name, suffix: &str) -> Option<Name> {
    let keep = 63usize.saturating_sub(suffix.len());
    let base: String = base.as_str().chars().take(keep).collect();
    format!("{base}{suffix}").parse().ok()
}

//! The commands of the replicated state: every way in which what is wanted can
//! change. Ids, times and secrets are chosen by the proposer, so that every
//! replica comes to the same state. A command that was written to the log once
//! must be readable for ever: each has a golden file in `testdata/`, and a
//! field is only ever added with a default.

use std::fmt;

use ashlar_api::image::ImageSpec;
use ashlar_api::job::Verb;
use ashlar_api::network::NetworkSpec;
use ashlar_api::node::NodeSpec;
use ashlar_api::site::SiteSpec;
use ashlar_api::user::UserSpec;
use ashlar_api::vm::{VmAction, VmSpec};
use ashlar_api::volume::VolumeSpec;
use ashlar_api::{
    BootId, ImageId, JobId, NetworkId, NodeId, PoolId, SessionId, Timestamp, TokenId, UserId, VmId,
    VolumeId,
};
use serde::{Deserialize, Serialize};

use super::schema::{
    ImageContent, ImageRecord, NetworkRecord, NodeRecord, PoolRecord, SessionRecord, TokenRecord,
    UserRecord, VmRecord, VolumeRecord,
};

/// A command, with who proposed it and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Name of the user, or `ashlar` for what the appliance decides itself.
    pub by: String,
    /// When it was proposed.
    pub at: Timestamp,
    /// The command.
    pub command: Command,
}

/// For traces: who and when, and nothing of the command, which can hold secrets.
impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a proposal of {} at {}", self.by, self.at)
    }
}

/// A job to be written together with the wish that causes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it does.
    pub verb: Verb,
}

/// A change of what is wanted.
///
/// Created records carry revision 0; the state machine sets it. `revision:
/// Some(n)` means: only if the object still has revision n.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Gives the appliance its owner; refused when it has one. Renames the node.
    Claim {
        site: SiteSpec,
        node: NodeId,
        node_spec: NodeSpec,
        user: Box<UserRecord>,
    },
    /// Changes the site.
    ReplaceSite {
        spec: SiteSpec,
        revision: Option<u64>,
    },

    /// Makes a node known (at its first start); nothing when it is known.
    RegisterNode { node: Box<NodeRecord> },
    /// Changes a node. With `confirm_until` it goes back by itself unless confirmed.
    ReplaceNode {
        id: NodeId,
        spec: NodeSpec,
        revision: Option<u64>,
        confirm_until: Option<Timestamp>,
    },
    /// Keeps an unconfirmed change.
    ConfirmNode { id: NodeId },
    /// Goes back to the spec before an unconfirmed change.
    RevertNode { id: NodeId },

    /// Makes a user.
    CreateUser { user: Box<UserRecord> },
    /// Changes a user; the last administrator stays one.
    ReplaceUser {
        id: UserId,
        spec: UserSpec,
        revision: Option<u64>,
    },
    /// Sets a password and closes the user's sessions but one.
    SetPassword {
        id: UserId,
        password_hash: String,
        keep: Option<SessionId>,
    },
    /// Removes a user with sessions and tokens; the last administrator stays.
    DeleteUser { id: UserId, revision: Option<u64> },
    /// Makes an API token.
    CreateToken { token: Box<TokenRecord> },
    /// Removes an API token.
    DeleteToken { id: TokenId },
    /// Opens a session; removes those that have ended.
    OpenSession { session: Box<SessionRecord> },
    /// Closes a session.
    CloseSession { id: SessionId },

    /// Makes a network.
    CreateNetwork { network: Box<NetworkRecord> },
    /// Changes a network.
    ReplaceNetwork {
        id: NetworkId,
        spec: NetworkSpec,
        revision: Option<u64>,
    },
    /// Wants a network gone; refused while a machine is on it.
    DeleteNetwork {
        id: NetworkId,
        revision: Option<u64>,
    },
    /// A network is gone from every node.
    ForgetNetwork { id: NetworkId },

    /// Makes a pool.
    CreatePool { pool: Box<PoolRecord>, job: NewJob },
    /// A pool was made, or could not be.
    SettlePool { id: PoolId, outcome: Outcome },
    /// Wants a pool gone; refused while it has volumes or holds the images.
    DeletePool {
        id: PoolId,
        revision: Option<u64>,
        job: NewJob,
    },
    /// A pool is gone.
    ForgetPool { id: PoolId },

    /// Makes a volume.
    CreateVolume {
        volume: Box<VolumeRecord>,
        job: NewJob,
    },
    /// Changes a volume; its size can grow, its pool and image stay.
    ReplaceVolume {
        id: VolumeId,
        spec: VolumeSpec,
        revision: Option<u64>,
    },
    /// A volume was made, or could not be.
    SettleVolume { id: VolumeId, outcome: Outcome },
    /// Wants a volume gone; refused while a machine has it.
    DeleteVolume {
        id: VolumeId,
        revision: Option<u64>,
        job: NewJob,
    },
    /// A volume is gone.
    ForgetVolume { id: VolumeId },

    /// Makes an image, whose bytes will come.
    CreateImage {
        image: Box<ImageRecord>,
        job: NewJob,
    },
    /// Changes name and description of an image.
    ReplaceImage {
        id: ImageId,
        spec: ImageSpec,
        revision: Option<u64>,
    },
    /// An image is complete, or can not be used.
    SettleImage {
        id: ImageId,
        outcome: Outcome,
        content: Option<ImageContent>,
    },
    /// Wants an image gone; refused while a machine has it in its CD drive or a volume is being filled from it.
    DeleteImage { id: ImageId, revision: Option<u64> },
    /// An image is gone.
    ForgetImage { id: ImageId },

    /// Makes a machine with its new volumes, all or nothing. The uid is chosen by the state machine when 0.
    CreateVm {
        vm: Box<VmRecord>,
        volumes: Vec<(VolumeRecord, NewJob)>,
    },
    /// Changes a machine, perhaps with new volumes.
    ReplaceVm {
        id: VmId,
        spec: Box<VmSpec>,
        revision: Option<u64>,
        volumes: Vec<(VolumeRecord, NewJob)>,
        /// This start of the node that runs it: a machine that runs because it
        /// always does goes on in this start when its policy becomes `manual`.
        #[serde(default)]
        boot: Option<BootId>,
    },
    /// Starts, stops … a machine. `boot` is the start of the node that is wanted to run it.
    ActOnVm {
        id: VmId,
        action: VmAction,
        boot: BootId,
    },
    /// A guest ended by itself: a machine with the policy `manual` is not wanted to run any more.
    EndVm { id: VmId, boot: BootId },
    /// Wants a machine gone, and these of its volumes; refused when protected.
    DeleteVm {
        id: VmId,
        revision: Option<u64>,
        volumes: Vec<VolumeId>,
    },
    /// A machine is gone; its volumes that were named are wanted gone now.
    ForgetVm { id: VmId },

    /// Asks a job to stop. What it was making is settled as failed by its domain.
    CancelJob { id: JobId },
    /// A job is over.
    FinishJob { id: JobId, outcome: Outcome },
}

/// How something ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// As wanted.
    Done,
    /// Not, and it is not tried again.
    Failed {
        /// Why, as one sentence.
        message: String,
    },
    /// Stopped because someone asked.
    Cancelled,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is in force.
    Applied {
        /// The state's revision with it; also that of the object it changed.
        revision: u64,
    },
    /// It was refused and changed nothing.
    Refused {
        /// Why, as the API will say it.
        refusal: Refusal,
    },
}

/// Why a command was refused. (The types of the API are not used here: what is
/// in the log must not change with them.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "refusal", rename_all = "kebab-case")]
pub enum Refusal {
    /// There is no such object.
    #[error("there is no {what} with the id {id}")]
    NotFound { what: String, id: String },
    /// The name is taken.
    #[error("there is a {what} called `{name}` already")]
    NameTaken { what: String, name: String },
    /// It changed since it was read.
    #[error("it was changed since you read it: revision {wanted} was expected, it has {found}")]
    Changed { wanted: u64, found: u64 },
    /// Something uses it.
    #[error("it is in use: {by}")]
    InUse { by: String },
    /// It is not in a state in which this can be done.
    #[error("{message}")]
    WrongState { message: String, remedy: String },
    /// A field can not be accepted.
    #[error("{field}: {message}")]
    Invalid { field: String, message: String },
    /// The appliance has an owner already.
    #[error("the appliance has been claimed already")]
    Claimed,
    /// The appliance has no owner yet.
    #[error("the appliance has not been claimed yet")]
    Unclaimed,
}

//! Virtual machines.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::validate::{Check, Findings, is_host_name, is_text};
use crate::{Bytes, ImageId, Name, NetworkId, PoolId, Timestamp, VmId, VolumeId};

/// What is wanted of a virtual machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmSpec {
    /// Its name.
    pub name: Name,
    /// What it is for, in free text.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_length = 1000))]
    pub description: String,
    /// Virtual processors.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 256))]
    pub cpus: u16,
    /// Memory.
    #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 67_108_864, maximum = 4_398_046_511_104_i64, multiple_of = 1_048_576))]
    pub memory: Bytes,
    /// When it runs.
    #[serde(default)]
    pub run_policy: RunPolicy,
    /// Its disks; it starts from the first that can be started from.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 16))]
    pub disks: Vec<VmDisk>,
    /// An ISO image in its CD drive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cdrom: Option<ImageId>,
    /// Its network interfaces.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(max_items = 8))]
    pub nics: Vec<VmNic>,
    /// What it does when it starts for the first time; needs cloud-init in the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInit>,
    /// Refuses to be deleted while this is true.
    #[serde(default)]
    pub protected: bool,
}

/// What a running machine needs of the node's memory beside its own: the heap of QEMU, the screen, page tables.
pub fn overhead(memory: Bytes, cpus: u16) -> Bytes {
    let tables = memory.0 / 256;
    Bytes(tables + Bytes::mib(64).0 + u64::from(cpus) * 4 * Bytes::MIB)
}

/// When a machine runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RunPolicy {
    /// Whenever the node runs, unless somebody stopped it; a guest that ends by itself is started again.
    #[default]
    Always,
    /// When somebody starts it, until it ends or the node does.
    Manual,
    /// Never; starting it is refused.
    Stopped,
}

/// A disk of a machine. In a request it can be a new one; what is stored always names a volume.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VmDisk {
    /// A volume that exists.
    Volume {
        /// The volume.
        volume: VolumeId,
    },
    /// A volume to be made with the machine, named after it.
    New {
        /// The pool it is cut from.
        pool: PoolId,
        /// Its size.
        #[cfg_attr(feature = "openapi", schema(value_type = u64, minimum = 4_194_304, maximum = 70_368_744_177_664_i64))]
        size: Bytes,
        /// The image it is filled from; empty when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<ImageId>,
    },
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmNic {
    /// The network it is on.
    pub network: NetworkId,
    /// Its hardware address; chosen by the appliance when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
}

/// A unicast hardware address, such as `52:54:00:12:34:56`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, pattern = "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$"))]
pub struct Mac(pub [u8; 6]);

/// A text that is not a unicast hardware address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address of one interface, such as `52:54:00:12:34:56`")]
pub struct InvalidMac(pub String);

impl FromStr for Mac {
    type Err = InvalidMac;
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() || bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(invalid());
        }
        Ok(Mac(bytes))
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;
    fn try_from(text: String) -> Result<Self, InvalidMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a guest with cloud-init does at its first start (NoCloud).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloudInit {
    /// Host name; the machine's name when empty.
    #[serde(default)]
    pub hostname: String,
    /// A user to be made, who may use `sudo`; none when empty.
    #[serde(default)]
    pub user: String,
    /// The user's password: stored and passed on only as a hash. Given as plain
    /// text in a request, answered as `null` always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// SSH public keys of the user.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Own user-data (`#cloud-config` or a script) in place of all of the above.
    #[serde(default)]
    pub user_data: String,
}

impl Check for CloudInit {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            self.hostname.is_empty() || is_host_name(&self.hostname),
            "hostname",
            "a host name: letters, digits, hyphens and dots",
        );
        let user = self.user.is_empty()
            || (self.user.len() <= 32
                && self
                    .user
                    .starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
                && self
                    .user
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c)));
        f.require(
            user,
            "user",
            "a Linux user name: lower-case letters, digits, `-` and `_`, at most 32",
        );
        if let Some(password) = &self.password {
            f.require(
                (1..=200).contains(&password.chars().count()) && is_text(password, 200),
                "password",
                "1 to 200 characters",
            );
            f.require(!self.user.is_empty(), "user", "a password needs a user");
        }
        f.require(
            self.ssh_keys.is_empty() || !self.user.is_empty(),
            "user",
            "SSH keys need a user",
        );
        for (i, key) in self.ssh_keys.iter().enumerate() {
            let mut words = key.split_whitespace();
            let kind = words.next().unwrap_or_default();
            let ok = key.len() <= 16_384
                && is_text(key, 16_384)
                && !key.contains('\n')
                && (kind.starts_with("ssh-")
                    || kind.starts_with("ecdsa-")
                    || kind.starts_with("sk-"))
                && words.next().is_some_and(|body| body.len() > 20);
            f.require(
                ok,
                &format!("ssh_keys[{i}]"),
                "a public key as in `id_ed25519.pub`, on one line",
            );
        }
        f.require(
            self.user_data.len() <= 256 * 1024,
            "user_data",
            "at most 256 KiB",
        );
        let head = self.user_data.is_empty()
            || self.user_data.starts_with("#cloud-config")
            || self.user_data.starts_with("#!")
            || self.user_data.starts_with("Content-Type:")
            || self.user_data.starts_with("#include");
        f.require(
            head,
            "user_data",
            "a first line `#cloud-config`, or a script that begins with `#!`",
        );
    }
}

impl Check for VmSpec {
    fn check_into(&self, f: &mut Findings) {
        f.require(
            is_text(&self.description, 1000),
            "description",
            "at most 1000 characters, no control characters",
        );
        f.require((1..=256).contains(&self.cpus), "cpus", "between 1 and 256");
        f.require(
            self.memory >= Bytes::mib(64) && self.memory <= Bytes(4 * Bytes::TIB),
            "memory",
            "between 64 MiB and 4 TiB",
        );
        f.require(
            self.memory.0.is_multiple_of(Bytes::MIB),
            "memory",
            "whole mebibytes",
        );
        f.require(self.disks.len() <= 16, "disks", "at most 16 disks");
        for (i, disk) in self.disks.iter().enumerate() {
            match disk {
                VmDisk::New { size, .. } => {
                    crate::volume::check_size(*size, &format!("disks[{i}].size"), f)
                }
                VmDisk::Volume { .. } => f.require(
                    !self.disks[..i].contains(disk),
                    &format!("disks[{i}].volume"),
                    "this volume is named twice",
                ),
            }
        }
        f.require(self.nics.len() <= 8, "nics", "at most 8 network interfaces");
        for (i, nic) in self.nics.iter().enumerate() {
            let twice =
                nic.mac.is_some() && self.nics[..i].iter().any(|other| other.mac == nic.mac);
            f.require(
                !twice,
                &format!("nics[{i}].mac"),
                "this hardware address is named twice",
            );
        }
        if let Some(cloud_init) = &self.cloud_init {
            f.within("cloud_init", cloud_init);
        }
    }
}

/// Where a machine's life stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VmPhase {
    /// Its disks are being made.
    Preparing,
    /// It does not run.
    #[default]
    Stopped,
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It is held; its memory is kept.
    Paused,
    /// It was asked to end.
    Stopping,
    /// It should run and can not; see the message.
    Failed,
    /// It is being removed.
    Deleting,
}

/// What is seen of a machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct VmStatus {
    /// Where its life stands.
    pub phase: VmPhase,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub since: Option<Timestamp>,
    /// What is going on or wrong, for a person; empty when all is well.
    #[serde(default)]
    pub message: String,
    /// What the reader can do about it.
    #[serde(default)]
    pub remedy: String,
    /// True if it is wanted to run.
    pub wanted: bool,
    /// True if it runs under KVM; absent while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kvm: Option<bool>,
    /// Process on the node; absent while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// True if a guest agent answers.
    pub agent: bool,
    /// Addresses, as the DHCP server or the agent knows them.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub addresses: Vec<IpAddr>,
    /// Settings changed since it was started, which wait for the next start.
    #[serde(default)]
    pub pending: Vec<String>,
    /// The newest load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<crate::metrics::VmSample>,
}

object!(
    /// A virtual machine.
    Vm, VmId, VmSpec, VmStatus
);

/// What can be done to a machine (`POST /api/v1/vms/{id}/<verb>`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum VmAction {
    /// Start it.
    Start,
    /// Ask the guest to end.
    Shutdown,
    /// Ask the guest to end, then start it.
    Restart,
    /// Cut its power; what the guest has not written is lost.
    Stop,
    /// Press its reset button; what the guest has not written is lost.
    Reset,
    /// Hold it.
    Pause,
    /// Go on.
    Resume,
}

impl VmAction {
    /// Every action.
    pub const ALL: [VmAction; 7] = [
        VmAction::Start,
        VmAction::Shutdown,
        VmAction::Restart,
        VmAction::Stop,
        VmAction::Reset,
        VmAction::Pause,
        VmAction::Resume,
    ];

    /// The verb in the address.
    pub const fn verb(self) -> &'static str {
        match self {
            VmAction::Start => "start",
            VmAction::Shutdown => "shutdown",
            VmAction::Restart => "restart",
            VmAction::Stop => "stop",
            VmAction::Reset => "reset",
            VmAction::Pause => "pause",
            VmAction::Resume => "resume",
        }
    }
}

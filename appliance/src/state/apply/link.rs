//! Which record needs which thing. Links are derived from documents whenever
//! one is written, so they can not say anything else.

use ashlar_api::vm::VmDisk;

use crate::state::schema::{
    ImageRecord, JobRecord, NetworkRecord, NodeRecord, Phase, PoolRecord, Record, SessionRecord,
    TokenRecord, UserRecord, VmRecord, VolumeRecord,
};

/// As what a thing is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A volume, by the machine it belongs to.
    Disk,
    /// An image, by a machine that has it in its CD drive.
    Cdrom,
    /// A network, by a machine on it.
    Network,
    /// A hardware address, by its machine.
    Mac,
    /// A user id, by its machine.
    Uid,
    /// A pool, by a volume.
    Pool,
    /// An image, by a volume that is being filled from it.
    Fill,
    /// A drive, by its pool.
    Drive,
    /// A user, by a token.
    Token,
    /// A user, by a session.
    Session,
    /// An object, by a job that is not over.
    Running,
    /// A moment, by a job that was over then.
    Over,
}

impl Role {
    /// Its name in the table.
    pub const fn text(self) -> &'static str {
        match self {
            Role::Disk => "disk",
            Role::Cdrom => "cdrom",
            Role::Network => "network",
            Role::Mac => "mac",
            Role::Uid => "uid",
            Role::Pool => "pool",
            Role::Fill => "fill",
            Role::Drive => "drive",
            Role::Token => "token",
            Role::Session => "session",
            Role::Running => "running",
            Role::Over => "over",
        }
    }
}

/// A record that may need other things.
pub trait Linked: Record {
    /// What it needs.
    fn links(&self) -> Vec<(Role, String)> {
        Vec::new()
    }
}

impl Linked for NodeRecord {}
impl Linked for UserRecord {}
impl Linked for NetworkRecord {}
impl Linked for ImageRecord {}

impl Linked for TokenRecord {
    fn links(&self) -> Vec<(Role, String)> {
        vec![(Role::Token, self.user.to_string())]
    }
}

impl Linked for SessionRecord {
    fn links(&self) -> Vec<(Role, String)> {
        vec![(Role::Session, self.user.to_string())]
    }
}

impl Linked for PoolRecord {
    fn links(&self) -> Vec<(Role, String)> {
        let drives = self.spec.drives.iter();
        drives.map(|drive| (Role::Drive, drive.clone())).collect()
    }
}

impl Linked for VolumeRecord {
    fn links(&self) -> Vec<(Role, String)> {
        let mut links = vec![(Role::Pool, self.spec.pool.to_string())];
        if let (Phase::Preparing, Some(image)) = (&self.phase, self.spec.image) {
            links.push((Role::Fill, image.to_string()));
        }
        links
    }
}

impl Linked for VmRecord {
    fn links(&self) -> Vec<(Role, String)> {
        let mut links = vec![(Role::Uid, self.uid.to_string())];
        for disk in &self.spec.disks {
            if let VmDisk::Volume { volume } = disk {
                links.push((Role::Disk, volume.to_string()));
            }
        }
        if let Some(image) = self.spec.cdrom {
            links.push((Role::Cdrom, image.to_string()));
        }
        for nic in &self.spec.nics {
            links.push((Role::Network, nic.network.to_string()));
            if let Some(mac) = nic.mac {
                links.push((Role::Mac, mac.to_string()));
            }
        }
        links
    }
}

impl Linked for JobRecord {
    fn links(&self) -> Vec<(Role, String)> {
        vec![match self.finished_at {
            Some(at) => (Role::Over, format!("{at:.9}")),
            None => (Role::Running, self.subject.id.clone()),
        }]
    }
}

//! Where the things of machines are on a node, and what the node can do for them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ashlar_api::VmId;

use crate::state::schema::VmRecord;
use crate::sys::cgroup::{Cgroup, CgroupError};
use crate::sys::proc::processor_model;

/// Firmware and the variables that a new machine begins with, where either base has them.
const FIRMWARE: [(&str, &str); 3] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];
const KVM: &str = "/dev/kvm";

/// Why what belongs to a machine can not be removed.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// Its control group stays.
    #[error(transparent)]
    Group(#[from] CgroupError),
    /// Its files stay.
    #[error("cannot remove {}", .path.display())]
    Files {
        /// The directory or file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

/// Where things are. Tests have theirs elsewhere.
#[derive(Clone, Debug)]
pub struct Place {
    /// QEMU.
    pub program: PathBuf,
    /// What comes before every path of a machine.
    pub root: PathBuf,
    /// The control group of all machines, under the top.
    pub group: PathBuf,
    /// Uses KVM when it is there.
    pub with_kvm: bool,
}

/// The firmware of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Its code.
    pub code: PathBuf,
    /// The variables that a new machine begins with.
    pub variables: PathBuf,
}

impl Default for Place {
    fn default() -> Self {
        Place {
            program: PathBuf::from("/usr/bin/qemu-system-x86_64"),
            root: PathBuf::from("/"),
            group: PathBuf::from("vm"),
            with_kvm: true,
        }
    }
}

impl Place {
    /// Where a path of the node is.
    pub fn under(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The sockets and files of a machine's process.
    pub fn runtime(&self, id: VmId) -> PathBuf {
        self.under(&VmRecord::runtime_directory(id))
    }

    /// The UEFI variables of a machine.
    pub fn variables(&self, id: VmId) -> PathBuf {
        self.under(&VmRecord::variables(id))
    }

    /// The control group of all machines.
    pub fn groups(&self) -> Result<Cgroup, CgroupError> {
        Cgroup::named(&self.group)
    }

    /// The control group of a machine.
    pub fn cgroup(&self, id: VmId) -> Result<Cgroup, CgroupError> {
        Ok(self.groups()?.child(&id.to_string()))
    }

    /// The machines of which there is a process, or files of one.
    pub fn leftovers(&self) -> Result<Vec<VmId>, CgroupError> {
        let nobody = VmId(uuid::Uuid::nil());
        let all = self.runtime(nobody);
        let files = all
            .parent()
            .map(crate::sys::sysfs::names)
            .unwrap_or_default();
        let names = self.groups()?.children().into_iter().chain(files);
        let mut ids: Vec<VmId> = names.filter_map(|name| name.parse().ok()).collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Removes what belongs to a machine without a process; its absence is success.
    pub fn erase(&self, id: VmId) -> Result<(), EraseError> {
        self.cgroup(id)?.remove()?;
        let (directory, variables) = (self.runtime(id), self.variables(id));
        let gone = [
            (std::fs::remove_dir_all(&directory), directory),
            (std::fs::remove_file(&variables), variables),
        ];
        for (done, path) in gone {
            match done {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(EraseError::Files { path, source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The firmware that is installed.
    pub fn firmware(&self) -> Option<Firmware> {
        let installed = FIRMWARE
            .iter()
            .find(|(code, variables)| Path::new(code).exists() && Path::new(variables).exists());
        installed.map(|(code, variables)| Firmware {
            code: code.into(),
            variables: variables.into(),
        })
    }

    /// Whether hardware virtualisation can be used.
    pub fn kvm(&self) -> bool {
        self.with_kvm
            && std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(KVM)
                .is_ok()
    }

    /// As whom a machine's process runs (none: as we do), with the group that may use KVM.
    pub fn user(&self, uid: u32, kvm: bool) -> Option<(u32, Option<u32>)> {
        let group = std::fs::metadata(KVM)
            .ok()
            .filter(|device| kvm && device.mode() & 0o060 == 0o060 && device.gid() != 0)
            .map(|device| device.gid());
        (uid != 0).then_some((uid, group))
    }
}

/// Whether the node's processor is itself an emulated one.
pub fn emulated_cpu() -> bool {
    processor_model().is_some_and(|model| model.starts_with("QEMU Virtual CPU"))
}

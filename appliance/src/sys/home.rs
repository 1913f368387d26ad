//! Where the children that outlive us are: services, started by init or by a domain, and found again by looking.
//!
//! ```text
//!  /sys/fs/cgroup/service/<name>           runs?
//!  /run/ashlar/service/<name>/fingerprint  with what
//!  /run/ashlar/log/<name>.log              what it said
//! ```

use std::path::{Path, PathBuf};

use super::cgroup::{Cgroup, CgroupError};
use super::child::{ChildError, Launch};
use super::fs::{self, FsError};

/// Where the files and groups of children are.
#[derive(Clone, Debug)]
pub struct Home {
    /// What lasts until the machine is switched off.
    pub run: PathBuf,
    /// Where under the control groups' top the children's groups are.
    pub groups: PathBuf,
}

impl Default for Home {
    fn default() -> Self {
        Home {
            run: PathBuf::from("/run/ashlar"),
            groups: PathBuf::from("service"),
        }
    }
}

/// Why a child could not be started or forgotten.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Its control group failed.
    #[error("the control group of {name} failed")]
    Group {
        /// Its name.
        name: String,
        /// Why.
        source: CgroupError,
    },
    /// Its files could not be written.
    #[error("cannot write the files of {name}")]
    Files {
        /// Its name.
        name: String,
        /// Why.
        source: FsError,
    },
    /// It did not start.
    #[error("{name} did not start")]
    Start {
        /// Its name.
        name: String,
        /// Why.
        source: ChildError,
    },
}

impl Home {
    /// The files of a child.
    pub fn service(&self, name: &str) -> PathBuf {
        self.run.join("service").join(name)
    }

    /// What a child said.
    pub fn log(&self, name: &str) -> PathBuf {
        self.run.join("log").join(format!("{name}.log"))
    }

    /// The control group of a child.
    pub fn group(&self, name: &str) -> Result<Cgroup, HomeError> {
        Cgroup::named(self.groups.join(name)).map_err(|source| HomeError::Group {
            name: name.to_owned(),
            source,
        })
    }

    /// What a child that runs was started with; empty when that is not known.
    pub fn started_with(&self, name: &str) -> String {
        std::fs::read_to_string(self.fingerprint(name)).unwrap_or_default()
    }

    /// Starts a child in its group, and notes with what. `prepare` is given its folder, and writes what it needs there.
    pub fn start(
        &self,
        name: &str,
        fingerprint: &str,
        prepare: impl FnOnce(&Path) -> Result<Launch, FsError>,
    ) -> Result<(), HomeError> {
        let group = self.group(name)?;
        group.create().map_err(|source| HomeError::Group {
            name: name.to_owned(),
            source,
        })?;
        let files = |source| HomeError::Files {
            name: name.to_owned(),
            source,
        };
        let (directory, log) = (self.service(name), self.log(name));
        fs::create_directory(&directory).map_err(files)?;
        fs::create_directory(&self.run.join("log")).map_err(files)?;
        prepare(&directory)
            .map_err(files)?
            .cgroup(group.path())
            .log(log)
            .spawn()
            .map_err(|source| HomeError::Start {
                name: name.to_owned(),
                source,
            })?;
        fs::write_atomic(&self.fingerprint(name), fingerprint.as_bytes(), 0o600).map_err(files)
    }

    /// Forgets what a child that ended was started with.
    pub fn forget(&self, name: &str) -> Result<(), HomeError> {
        fs::remove_file(&self.fingerprint(name)).map_err(|source| HomeError::Files {
            name: name.to_owned(),
            source,
        })
    }

    fn fingerprint(&self, name: &str) -> PathBuf {
        self.service(name).join("fingerprint")
    }
}

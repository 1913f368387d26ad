//! What the children of the network are started with, and where their files are.

use std::io;
use std::path::{Path, PathBuf};

use super::dhcp;
use super::service::Service;
use crate::reconcile::children::Home;
use crate::sys::child::Launch;
use crate::sys::fs::{self, FsError};

/// Where the files of this domain are.
#[derive(Clone, Debug)]
pub struct Places {
    /// What lasts until the machine is switched off.
    pub run: PathBuf,
    /// What lasts.
    pub state: PathBuf,
    /// Where under the control groups' top the children's groups are.
    pub groups: PathBuf,
    /// What the DHCP client calls at each event; a link to our own binary, when absent.
    pub hook: Option<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Places {
            run: PathBuf::from("/run/ashlar"),
            state: PathBuf::from("/var/lib/ashlar"),
            groups: PathBuf::from("service"),
            hook: None,
        }
    }
}

impl Places {
    /// Where the children are.
    pub fn home(&self) -> Home {
        Home {
            run: self.run.clone(),
            groups: self.groups.clone(),
        }
    }
    /// The name servers' file.
    pub fn resolv_conf(&self) -> PathBuf {
        self.run.join("resolv.conf")
    }
    /// Where the DHCP client's words are.
    pub fn dhcp(&self) -> PathBuf {
        self.run.join("service/dhcp")
    }
    /// The files of a child.
    pub fn service(&self, name: &str) -> PathBuf {
        self.home().service(name)
    }
    /// Who has which address of a network.
    pub fn leases(&self, name: &str) -> PathBuf {
        self.service(name).join("leases")
    }
    /// The uplink that was chosen last.
    pub fn uplink(&self) -> PathBuf {
        self.state.join("uplink")
    }

    /// Writes what a child needs into its folder, and says how it is started.
    pub fn launch(&self, service: &Service, directory: &Path) -> Result<Launch, FsError> {
        match service {
            Service::DhcpClient {
                link,
                mac,
                hostname,
            } => {
                fs::create_directory(&self.dhcp())?;
                let hook = self.hook()?;
                Ok(Launch::new("/usr/bin/busybox")
                    .args(dhcp::arguments(link, hostname, &hook))
                    .env(dhcp::MAC_VARIABLE, mac.to_string())
                    .env(dhcp::DIRECTORY_VARIABLE, self.dhcp()))
            }
            Service::Dnsmasq(server) => {
                let path = directory.join("dnsmasq.conf");
                let leases = self.leases(&service.name());
                let text = server.configuration(&self.resolv_conf(), &leases);
                fs::write_atomic(&path, text.as_bytes(), 0o644)?;
                let mut argument = std::ffi::OsString::from("--conf-file=");
                argument.push(&path);
                Ok(Launch::new("/usr/sbin/dnsmasq")
                    .arg("--keep-in-foreground")
                    .arg(argument))
            }
        }
    }

    /// What the DHCP client calls.
    fn hook(&self) -> Result<PathBuf, FsError> {
        if let Some(hook) = &self.hook {
            return Ok(hook.clone());
        }
        let path = self.dhcp().join(dhcp::HOOK);
        let link = || {
            let program = std::env::current_exe()?;
            if std::fs::read_link(&path).is_ok_and(|target| target == program) {
                return Ok(());
            }
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            std::os::unix::fs::symlink(program, &path)
        };
        match link() {
            Ok(()) => Ok(path),
            Err(source) => Err(FsError::Write { path, source }),
        }
    }
}

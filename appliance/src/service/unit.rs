//! The units: what each is started with. Pure but for [`Unit::launch`], which writes its configuration.

use std::net::IpAddr;
use std::path::Path;

use nix::unistd::User;

use crate::sys::child::Launch;
use crate::sys::fs::{self, FsError};
use crate::sys::udev;

/// Changes when the way in which the time keeper is started does, so that one of an older version is replaced.
const GENERATION: u32 = 1;
/// Asked when neither the site nor DHCP names a time server.
const POOL: &str = "pool.ntp.org";
/// Where the time keeper remembers how the clock drifts.
const DRIFT: &str = "/var/lib/ashlar/chrony";
/// The user of the time keeper.
const CHRONY_USER: &str = "_chrony";

const CHRONYD: &str = "chronyd";

/// A unit as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Names devices, loads the modules of hot-plugged ones (udev(7)).
    Udevd,
    /// Keeps the time (chronyd(8)).
    Chronyd {
        /// Its configuration (chrony.conf(5)).
        configuration: String,
    },
}

/// Whether a child of this name is one of these.
pub fn is_ours(name: &str) -> bool {
    [udev::NAME, CHRONYD].contains(&name)
}

impl Unit {
    /// The time keeper, for the servers that the site names, else for those that the network suggests.
    pub fn chronyd(servers: &[String], suggested: &[IpAddr]) -> Unit {
        let mut sources: Vec<String> = servers
            .iter()
            .map(|server| format!("server {server} iburst"))
            .collect();
        if sources.is_empty() {
            sources = suggested
                .iter()
                .map(|server| format!("server {server} iburst"))
                .collect();
        }
        if sources.is_empty() {
            sources.push(format!("pool {POOL} iburst"));
        }
        // A clock that is wrong by more than a second is set at once, as long as it is among the first answers; later
        // it is only steered, because guests and logs do not expect time to jump. It serves nobody.
        let configuration = format!(
            "{}\ndriftfile {DRIFT}/drift\nmakestep 1 3\nrtcsync\ncmdport 0\nport 0\n",
            sources.join("\n")
        );
        Unit::Chronyd { configuration }
    }

    /// Its name: that of its control group, its folder and its log.
    pub fn name(&self) -> &'static str {
        match self {
            Unit::Udevd => udev::NAME,
            Unit::Chronyd { .. } => CHRONYD,
        }
    }

    /// Differs when it would be started differently.
    pub fn fingerprint(&self) -> String {
        match self {
            Unit::Udevd => udev::FINGERPRINT.to_owned(),
            Unit::Chronyd { configuration } => format!("{GENERATION} {configuration}"),
        }
    }

    /// Writes what it needs into its folder, and says how it is started.
    pub fn launch(&self, directory: &Path) -> Result<Launch, FsError> {
        match self {
            Unit::Udevd => Ok(udev::launch()),
            Unit::Chronyd { configuration } => {
                let path = directory.join("chrony.conf");
                fs::write_atomic(&path, configuration.as_bytes(), 0o644)?;
                own(Path::new(DRIFT))?;
                Ok(Launch::new("/usr/sbin/chronyd")
                    .args(["-d", "-u", CHRONY_USER, "-f"])
                    .arg(path))
            }
        }
    }
}

/// Makes a directory that belongs to the time keeper.
fn own(path: &Path) -> Result<(), FsError> {
    fs::create_directory(path)?;
    // Without such a user the time keeper itself says so in its log.
    let Ok(Some(user)) = User::from_name(CHRONY_USER) else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(
        |source| FsError::Write {
            path: path.to_owned(),
            source,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_s_servers_go_before_the_network_s_and_these_before_the_pool() {
        let text = |servers: &[&str], suggested: &[&str]| {
            let servers: Vec<String> = servers.iter().map(|&s| s.to_owned()).collect();
            let suggested: Vec<IpAddr> = suggested.iter().map(|s| s.parse().unwrap()).collect();
            let Unit::Chronyd { configuration } = Unit::chronyd(&servers, &suggested) else {
                unreachable!("a time keeper");
            };
            let sources: Vec<String> = configuration
                .lines()
                .filter(|line| line.ends_with(" iburst"))
                .map(str::to_owned)
                .collect();
            sources
        };
        assert_eq!(
            text(&["a.example.org", "b.example.org"], &["192.0.2.1"]),
            ["server a.example.org iburst", "server b.example.org iburst"]
        );
        assert_eq!(
            text(&[], &["192.0.2.1", "2001:db8::1"]),
            ["server 192.0.2.1 iburst", "server 2001:db8::1 iburst"]
        );
        assert_eq!(text(&[], &[]), ["pool pool.ntp.org iburst"]);
    }

    #[test]
    fn another_server_is_another_unit() {
        let one = Unit::chronyd(&["a.example.org".to_owned()], &[]);
        let other = Unit::chronyd(&["b.example.org".to_owned()], &[]);
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert_eq!(one.name(), other.name());
        assert!(is_ours(one.name()) && !is_ours("dnsmasq-1a2b3c4d"));
    }
}

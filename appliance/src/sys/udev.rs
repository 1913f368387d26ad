//! The device manager, systemd-udevd(8): it names NICs, gives devices their permissions, and LVM waits for what it says
//! of volumes. Init starts it, so that devices have their names before anything uses them; the service domain keeps it
//! running.

use std::path::Path;

use super::child::Launch;
use super::home::{Home, HomeError};
use super::sysfs;

/// Its name among the services.
pub const NAME: &str = "udevd";
/// Changes when the way in which it is started does, so that one of an older version is replaced.
pub const FINGERPRINT: &str = "2";
/// Its socket, there once it listens.
pub const CONTROL: &str = "/run/udev/control";

/// The kinds of devices whose rules do something we need: disks and volumes get names, NICs too, and `/dev/kvm` and its
/// like their permissions. To announce all devices keeps a small machine busy for seconds.
const ANNOUNCED: [&str; 3] = ["net", "misc", "block"];

/// How it is started.
pub fn launch() -> Launch {
    Launch::new("/usr/lib/systemd/systemd-udevd").oom_score_adj(-500)
}

/// Starts it as the service that it is.
pub fn start() -> Result<(), HomeError> {
    Home::default().start(NAME, FINGERPRINT, |_| Ok(launch()))
}

/// Whether it listens.
pub fn listens() -> bool {
    Path::new(CONTROL).exists()
}

/// Has the kernel tell of the devices that were there before it (sysfs(5), `uevent`).
pub fn announce() {
    for kind in ANNOUNCED {
        let devices = Path::new("/sys/class").join(kind);
        for name in sysfs::names(&devices) {
            // A device that has just gone needs no announcement.
            let _ = std::fs::write(devices.join(name).join("uevent"), "add");
        }
    }
}

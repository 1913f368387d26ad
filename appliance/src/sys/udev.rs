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

/// The kinds of devices whose rules do something we need: NICs and disks and volumes get names. To announce all devices
/// keeps a small machine busy for seconds.
const ANNOUNCED: [&str; 2] = ["net", "block"];
/// Loop devices have no names, and there are always some.
const NAMELESS: &str = "loop";
/// Of the others, those that get permissions.
const PERMITTED: [&str; 4] = ["kvm", "tun", "vhost-net", "vhost-vsock"];

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
    let classes = Path::new("/sys/class");
    let named = ANNOUNCED.iter().flat_map(|kind| {
        let devices = classes.join(kind);
        let names = sysfs::names(&devices).into_iter();
        let names = names.filter(|name| !name.starts_with(NAMELESS));
        names.map(move |name| devices.join(name))
    });
    let permitted = PERMITTED.iter().map(|name| classes.join("misc").join(name));
    for device in named.chain(permitted) {
        // A device that is not there, or has just gone, needs no announcement.
        let _ = std::fs::write(device.join("uevent"), "add");
    }
}

//! How the machine is started, and what guards that.

use jiff::civil::Date;

use super::Finding;
use crate::hardware::catalogue::Model;
use crate::hardware::machine;
use crate::hardware::observed::Observed;
use crate::sys::clock::RELEASED;

const FIRMWARE: &str = "firmware";
const WATCHDOG: &str = "watchdog";
/// Older firmware has most likely a successor.
const YEARS: i16 = 5;
/// What the kernel's own watchdog calls itself: it ends with the kernel it should guard.
const SOFTWARE: &str = "Software Watchdog";

/// The image is a program of UEFI: nothing else can start it.
pub fn uefi(seen: &Observed) -> Finding {
    if seen.firmware.uefi {
        return Finding::passed(FIRMWARE, "The machine was started by UEFI.");
    }
    Finding::failed(
        FIRMWARE,
        "The machine was not started by UEFI, but in the old way (BIOS, CSM).",
        "Switch the firmware to UEFI and its support for the old way (CSM, legacy boot) off.",
    )
}

/// The firmware starts only what it knows by a signature.
pub fn secure_boot(seen: &Observed) -> Finding {
    let firmware = &seen.firmware;
    let sign = "The node works without it. To have it on, sign the image with keys of your own and enrol them in the \
                firmware first: an image that is not signed does not start with it.";
    match (firmware.secure_boot, firmware.setup_mode) {
        (Some(true), _) => Finding::passed(
            FIRMWARE,
            "Secure Boot is on: the firmware starts what bears a signature that it knows.",
        ),
        (Some(false), Some(true)) => Finding::failed(
            FIRMWARE,
            "Secure Boot is off, and the firmware takes keys from whoever comes first (setup mode).",
            sign,
        ),
        (Some(false), _) => Finding::failed(
            FIRMWARE,
            "Secure Boot is off: the firmware starts whatever lies on a drive.",
            sign,
        ),
        (None, _) if !firmware.uefi => {
            Finding::failed(FIRMWARE, "Without UEFI there is no Secure Boot.", sign)
        }
        (None, _) if firmware.variables => {
            Finding::failed(FIRMWARE, "The firmware has no Secure Boot.", sign)
        }
        (None, _) => Finding::unknown(FIRMWARE, "The variables of the firmware can not be read."),
    }
}

/// The machine can keep a key.
pub fn tpm(seen: &Observed) -> Finding {
    let firmware = &seen.firmware;
    let remedy = "The node works without one. Switch it on in the firmware (TPM 2.0, Intel PTT or AMD fTPM), or plug \
                  a module in, if keys are to be kept where nobody can read them.";
    let newest = firmware.tpms.iter().max_by_key(|tpm| tpm.version);
    match newest.map(|tpm| (&tpm.name, tpm.version)) {
        Some((name, Some(2..))) => Finding::passed(name, format!("There is a TPM 2.0 ({name}).")),
        Some((name, Some(version))) => Finding::failed(
            name,
            format!("The TPM {name} speaks version {version}, which is not enough."),
            remedy,
        )
        .known_by(format!("TPM {version}")),
        Some((name, None)) => Finding::unknown(
            name,
            format!("There is a TPM ({name}), but it does not tell its version."),
        ),
        None if firmware.tpm_told => Finding::failed(
            FIRMWARE,
            "The firmware tells of a TPM, but the kernel has no driver for it.",
            "The node works without one. Look for newer firmware, and report it with the model of the machine.",
        ),
        None => Finding::failed(
            FIRMWARE,
            "There is no TPM, or it is switched off: the machine can keep no key that others can not read.",
            remedy,
        ),
    }
}

/// Newer than some years, and than what the catalogue asks for.
pub fn age(seen: &Observed, model: Option<&Model>) -> Finding {
    let Some(made) = machine::date(&seen.dmi.firmware_date) else {
        return Finding::unknown(FIRMWARE, "The firmware does not tell its date.");
    };
    let remedy = "Look at the maker's site for newer firmware: it mends errors of the board, and of the processor by \
                  newer microcode.";
    let version = machine::text(&seen.dmi.firmware_version);
    let told = match version.as_str() {
        "" => format!("The firmware is of {made}"),
        version => format!("The firmware {version} is of {made}"),
    };
    if let Some(wanted) = model
        .and_then(|model| model.firmware)
        .filter(|wanted| made < *wanted)
    {
        return Finding::failed(
            FIRMWARE,
            format!("{told}; this model is known to work with that of {wanted} or newer."),
            remedy,
        );
    }
    match oldest(seen) {
        None => Finding::unknown(
            FIRMWARE,
            format!("{told}, and the clock is not right, so its age can not be told."),
        ),
        Some(oldest) if made < oldest => Finding::failed(
            FIRMWARE,
            format!("{told}, more than {YEARS} years old."),
            remedy,
        ),
        Some(_) => Finding::passed(FIRMWARE, format!("{told}.")),
    }
}

/// The day before which firmware is old; none by a clock that is wrong.
fn oldest(seen: &Observed) -> Option<Date> {
    let today = seen.at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let right = seen.at.as_second() >= RELEASED;
    let year = today.year().checked_sub(YEARS).filter(|_| right)?;
    // The 29th of February is not in every year; the day before it does as well.
    Date::new(year, today.month(), today.day())
        .or_else(|_| Date::new(year, today.month(), today.day() - 1))
        .ok()
}

/// Something beside the kernel restarts a machine that hangs. Init feeds the first watchdog and no other.
pub fn watchdog(seen: &Observed) -> Finding {
    let without = |text| {
        Finding::failed(
            WATCHDOG,
            text,
            "Switch it on in the firmware, if the board has one. A node works without it; somebody then has to restart \
             a machine that hangs.",
        )
    };
    match seen.watchdog.as_deref() {
        None => {
            without("There is no watchdog: when the kernel hangs, nothing restarts the machine.")
        }
        Some(SOFTWARE) => without(
            "The only watchdog is the kernel's own: when the kernel hangs, nothing restarts the machine.",
        ),
        Some("") => Finding::unknown(
            WATCHDOG,
            "There is a watchdog, but it does not tell whether it is more than the kernel's own.",
        ),
        Some(identity) => Finding::passed(
            WATCHDOG,
            format!("The machine is restarted when it hangs, by {identity}."),
        ),
    }
}

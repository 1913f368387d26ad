//! The clock that goes on while the machine is off.

use super::Finding;
use crate::hardware::observed::Observed;
use crate::sys::clock::RELEASED;

/// More than a healthy clock drifts in a month, and less than a time zone.
const TOLERANCE: u64 = 15 * 60;

/// It shows a time that can be, and the right one where that is known.
pub fn right(seen: &Observed) -> Finding {
    let Some(rtc) = &seen.clock.rtc else {
        return Finding::failed(
            "clock",
            "The machine has no clock that goes on while it is off.",
            "Times are wrong after each start, until a time server is reached: make sure that one can be (Settings, \
             Site).",
        );
    };
    let name = &rtc.name;
    let Some(shows) = rtc.shows else {
        return Finding::unknown(name, "The clock of the main board can not be read.");
    };
    let remedy = "It is set right once a time server is reached, or in the firmware (to UTC). If it is wrong again \
                  after the machine was without power, replace the battery of the main board.";
    if shows.as_second() < RELEASED {
        return Finding::failed(
            name,
            format!(
                "The clock of the main board shows {}, which is before this version was made.",
                told(shows)
            ),
            remedy,
        )
        .known_by("rtc");
    }
    let off = shows.as_second().abs_diff(seen.at.as_second());
    if seen.clock.synchronised && off > TOLERANCE {
        return Finding::failed(
            name,
            format!(
                "The clock of the main board shows {}, and it is {}.",
                told(shows),
                told(seen.at)
            ),
            remedy,
        )
        .known_by("rtc");
    }
    Finding::passed(
        name,
        match seen.clock.synchronised {
            true => "The clock of the main board is right.",
            false => {
                "The clock of the main board shows a time that can be right; no time server was reached to compare."
            }
        },
    )
}

fn told(time: ashlar_api::Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

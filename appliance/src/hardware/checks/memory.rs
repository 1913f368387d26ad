//! How much memory there is, and whether it can be relied on.

use ashlar_api::Bytes;
use ashlar_api::event::Severity;

use super::{Finding, counted, listed};
use crate::hardware::observed::{Controller, Correction, Observed, Purpose};
use crate::sys::proc::{LITTLE_MEMORY as LITTLE, MISSING_MEMORY as MISSING};

const MEMORY: &str = "memory";
/// The system runs from memory: with less built in, it does not start in earnest.
const LEAST: u64 = Bytes::GIB - MISSING;

/// There is enough for the system, and something for machines. A node that runs with little is only told so.
pub fn size(seen: &Observed) -> Finding {
    let total = seen.memory.total;
    let remedy = "Add memory: 4 GiB or more, and what the virtual machines are to have.";
    match total.0 {
        0 => Finding::unknown(MEMORY, "The amount of memory can not be read."),
        1..LEAST => Finding::failed(
            MEMORY,
            format!("The machine has {total}; the system runs from memory and needs 1 GiB."),
            remedy,
        )
        .only(match seen.purpose {
            Purpose::Node => Severity::Warning,
            Purpose::Install => Severity::Critical,
        }),
        LEAST..LITTLE => Finding::failed(
            MEMORY,
            format!("The machine has {total}; the system itself needs most of that."),
            remedy,
        )
        .only(Severity::Warning),
        _ => Finding::passed(MEMORY, format!("The machine has {total}.")),
    }
}

/// A controller that counts what it corrects is the better witness: firmware tables are often filled in carelessly. Where
/// two of their words contradict each other, neither is believed.
pub fn correction(seen: &Observed) -> Finding {
    let memory = &seen.memory;
    let without = |text: &str| {
        Finding::failed(
            MEMORY,
            text,
            "A node works without it, but a bit that flips can spoil data or end the machine unseen. Memory with ECC \
             helps where main board and processor take it.",
        )
    };
    match (
        memory.controllers.is_empty(),
        memory.correction,
        memory.wide,
    ) {
        (false, ..) => Finding::passed(
            MEMORY,
            "The memory controller corrects errors and counts them.",
        ),
        (_, Some(Correction::Correct), Some(false)) => Finding::unknown(
            MEMORY,
            "The firmware says that memory corrects errors, and that its modules have no bits for it: one of them is wrong.",
        ),
        (_, Some(Correction::None | Correction::Notice), Some(true)) => Finding::unknown(
            MEMORY,
            "The firmware says that memory does not correct errors, and that its modules have bits for it: they are not \
             used, or one of them is wrong.",
        ),
        (_, Some(Correction::Correct), _) => {
            Finding::passed(MEMORY, "The firmware says that memory corrects errors.")
        }
        (_, Some(Correction::None), _) => without("Memory does not correct errors (no ECC)."),
        (_, Some(Correction::Notice), _) => {
            without("Memory notices errors, but does not correct them.")
        }
        (_, None, Some(true)) => {
            Finding::passed(MEMORY, "All modules of memory have bits for correction.")
        }
        (_, None, Some(false)) => {
            without("The modules of memory have no bits for correction (no ECC).")
        }
        (_, None, None) => Finding::unknown(
            MEMORY,
            "Neither the firmware nor a memory controller says whether memory corrects errors.",
        ),
    }
}

/// Memory has given back what was written to it since the start.
pub fn errors(seen: &Observed) -> Finding {
    let controllers = &seen.memory.controllers;
    if controllers.is_empty() {
        return Finding::unknown(
            MEMORY,
            "No memory controller counts errors, so none would be seen.",
        );
    }
    let sum = |of: fn(&Controller) -> u64| controllers.iter().map(of).fold(0, u64::saturating_add);
    let corrected = sum(|controller| controller.corrected);
    let uncorrected = sum(|controller| controller.uncorrected);
    let modules: Vec<String> = controllers
        .iter()
        .flat_map(|controller| controller.modules.iter().cloned())
        .collect();
    let (target, place) = match modules.as_slice() {
        [] => (MEMORY.to_owned(), String::new()),
        some => (some.join(", "), format!(", in {}", listed(some))),
    };
    match (uncorrected, corrected) {
        (0, 0) => Finding::passed(MEMORY, "No error in memory since the machine was started."),
        (0, n) => Finding::failed(
            &target,
            format!(
                "Since the start memory had {} that could be corrected{place}.",
                counted(n, "error", "errors")
            ),
            "Nothing is lost yet. When there are more each day, replace the module before it gives errors that can \
             not be corrected.",
        )
        .only(Severity::Warning)
        // Who knows of a few has said nothing of ten times as many.
        .known_by(format!("{target}: {} or more", 10u64.pow(n.ilog10()))),
        (n, _) => Finding::failed(
            target,
            format!(
                "Since the start memory had {} that could not be corrected{place}; what was there is lost.",
                counted(n, "error", "errors")
            ),
            "Switch the machine off and replace the module. Until then use it for nothing that matters.",
        ),
    }
}

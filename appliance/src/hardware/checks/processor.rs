//! What a processor must be able to do, and how many there are.

use ashlar_api::event::Severity;

use super::{Finding, counted, listed};
use crate::hardware::observed::{Observed, Purpose};

const PROCESSOR: &str = "processor";
/// What x86-64-v2 has beyond the first processors of 64 bits, by the kernel's names.
const LEVEL_2: [&str; 6] = ["cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"];

/// The maker's word for virtualisation, when the processor has it.
fn word(seen: &Observed) -> Option<&'static str> {
    match () {
        () if seen.processor.has("vmx") => Some("VT-x"),
        () if seen.processor.has("svm") => Some("AMD-V"),
        () => None,
    }
}

/// Without it machines are emulated: that is told as what it is, not forbidden once the node runs.
pub fn virtualisation(seen: &Observed) -> Finding {
    let severity = match seen.purpose {
        Purpose::Node => Severity::Warning,
        Purpose::Install => Severity::Critical,
    };
    match (word(seen), seen.processor.kvm) {
        (Some(word), true) => Finding::passed(
            PROCESSOR,
            format!("The processor offers {word}, and the kernel uses it."),
        ),
        (None, true) => Finding::passed(PROCESSOR, "The kernel offers hardware virtualisation."),
        (Some(word), false) => Finding::failed(
            PROCESSOR,
            format!(
                "The processor has {word}, but the kernel can not use it: there is no /dev/kvm."
            ),
            format!(
                "Switch {word} on in the firmware, where it is often under the processor or security, and restart. \
                 If it is on, report it with the node's log."
            ),
        )
        .only(severity),
        (None, false) => Finding::failed(
            PROCESSOR,
            "The processor offers no hardware virtualisation, so virtual machines run by emulation: ten to a hundred \
             times slower.",
            "Switch on virtualisation in the firmware (Intel VT-x, AMD SVM) and restart. Where this machine is itself \
             a virtual machine, switch on nested virtualisation for it.",
        )
        .only(severity),
    }
}

/// The processor translates the addresses of guests without the kernel.
pub fn nested_paging(seen: &Observed) -> Finding {
    let processor = &seen.processor;
    match () {
        () if processor.has("ept") || processor.has("npt") => Finding::passed(
            PROCESSOR,
            "The processor translates the addresses of virtual machines itself.",
        ),
        () if word(seen).is_none() => Finding::unknown(
            PROCESSOR,
            "Without hardware virtualisation there is nothing to tell.",
        ),
        () => Finding::failed(
            PROCESSOR,
            "The processor has virtualisation, but neither EPT nor NPT: whatever changes the page tables of a virtual \
             machine is slow.",
            "Virtual machines run all the same. Where this machine is itself a virtual machine, let it see EPT or \
             NPT; else only another processor helps.",
        ),
    }
}

/// Programs of the release base run on it.
pub fn level(seen: &Observed) -> Finding {
    let processor = &seen.processor;
    let missing: Vec<String> = LEVEL_2
        .iter()
        .filter(|feature| !processor.has(feature))
        .map(|feature| (*feature).to_owned())
        .collect();
    if missing.is_empty() {
        return Finding::passed(PROCESSOR, "The processor has all of x86-64-v2.");
    }
    if processor.model.is_empty() && processor.features.is_empty() {
        return Finding::unknown(PROCESSOR, "The processor does not tell what it can do.");
    }
    Finding::failed(
        PROCESSOR,
        format!(
            "The processor lacks {}, so it is below x86-64-v2; programs that are built for it do not run here.",
            listed(&missing)
        ),
        "A release that is built for x86-64-v2 does not run here. Where this machine is itself a virtual machine, \
         give it a newer model of processor; else only another processor helps.",
    )
}

/// The node and its machines need not take turns.
pub fn count(seen: &Observed) -> Finding {
    let (logical, sockets) = (seen.processor.logical, seen.processor.sockets);
    match logical {
        0 => Finding::unknown(PROCESSOR, "The number of processors can not be read."),
        1 => Finding::failed(
            PROCESSOR,
            "There is one logical processor; the node and all virtual machines take turns on it.",
            "Use a machine with two or more, or live with waiting.",
        ),
        n => Finding::passed(
            PROCESSOR,
            format!(
                "There are {n} logical processors in {}.",
                counted(u64::from(sockets.max(1)), "socket", "sockets")
            ),
        ),
    }
}

/// Devices are kept from memory that is not theirs.
pub fn iommu(seen: &Observed) -> Finding {
    match seen.iommu_groups {
        0 => Finding::failed(
            PROCESSOR,
            "There is no IOMMU, or it is off: devices reach all of memory, and none can be handed to a virtual machine.",
            "Switch on VT-d or AMD-Vi in the firmware, and restart. A node works without it.",
        ),
        n => Finding::passed(
            PROCESSOR,
            format!(
                "The IOMMU shields devices in {}.",
                counted(u64::from(n), "group", "groups")
            ),
        ),
    }
}

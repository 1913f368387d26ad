//! The machine as a person reads of it, from what firmware and kernel say.
//!
//! Makers leave the words of a form in their firmware ("To be filled by O.E.M."):
//! such a text says as much as none, and counts as none.

use ashlar_api::hardware::{Machine, Module};
use jiff::civil::Date;

use super::observed::{Dmi, Observed};

/// What makers leave where they should have written something, in small letters.
const NOTHING: [&str; 18] = [
    "to be filled by o.e.m.",
    "to be filled by oem",
    "default string",
    "not specified",
    "not applicable",
    "not available",
    "not provided",
    "system manufacturer",
    "system product name",
    "system serial number",
    "system version",
    "unknown",
    "undefined",
    "invalid",
    "none",
    "n/a",
    "oem",
    "0123456789",
];

/// A text of the firmware; empty when it says nothing.
pub fn text(told: &str) -> String {
    let told = told.trim();
    let says_nothing = NOTHING.contains(&told.to_lowercase().as_str())
        || told.chars().all(|letter| "0 .-xX".contains(letter));
    match says_nothing {
        true => String::new(),
        false => told.to_owned(),
    }
}

/// A date of the firmware, `MM/DD/YYYY`; some write two digits for the year.
pub fn date(told: &str) -> Option<Date> {
    let mut parts = told.trim().split('/');
    let (month, day) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let year: i16 = parts.next()?.parse().ok()?;
    if parts.next().is_some() {
        return None;
    }
    let year = match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        _ => year,
    };
    Date::new(year, month, day).ok()
}

/// Maker and model; those of the main board where the machine has no name of its own.
pub fn name(dmi: &Dmi) -> (String, String) {
    let (vendor, model) = (text(&dmi.vendor), text(&dmi.product));
    match model.is_empty() {
        true => (text(&dmi.board_vendor), text(&dmi.board)),
        false => (vendor, model),
    }
}

/// The machine.
pub fn machine(seen: &Observed) -> Machine {
    let dmi = &seen.dmi;
    let (vendor, model) = name(dmi);
    Machine {
        vendor,
        model,
        serial: text(&dmi.serial),
        firmware_vendor: text(&dmi.firmware_vendor),
        firmware_version: text(&dmi.firmware_version),
        firmware_date: date(&dmi.firmware_date),
        processor: seen.processor.model.clone(),
        sockets: seen.processor.sockets,
        processors: seen.processor.logical,
        memory: seen.memory.total,
        modules: seen.memory.modules.iter().map(module).collect(),
        is_virtual: seen.processor.has("hypervisor"),
    }
}

fn module(told: &Module) -> Module {
    Module {
        slot: text(&told.slot),
        maker: text(&told.maker),
        part: text(&told.part),
        serial: text(&told.serial),
        ..told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_words_of_a_form_are_no_name() {
        for nothing in [
            "To be filled by O.E.M.",
            " Default string ",
            "",
            "0000",
            "None",
            "x.x",
        ] {
            assert_eq!(text(nothing), "", "{nothing}");
        }
        assert_eq!(text(" PowerEdge R740 "), "PowerEdge R740");
        let dmi = Dmi {
            vendor: "System manufacturer".to_owned(),
            product: "System Product Name".to_owned(),
            board_vendor: "ASUSTeK COMPUTER INC.".to_owned(),
            board: "PRIME B550M-A".to_owned(),
            ..Dmi::default()
        };
        let named = (
            "ASUSTeK COMPUTER INC.".to_owned(),
            "PRIME B550M-A".to_owned(),
        );
        assert_eq!(name(&dmi), named);
    }

    #[test]
    fn dates_are_read_as_firmware_writes_them() {
        assert_eq!(date("05/20/2024"), Date::new(2024, 5, 20).ok());
        assert_eq!(date("11/02/98"), Date::new(1998, 11, 2).ok());
        assert_eq!(date("04/01/14"), Date::new(2014, 4, 1).ok());
        for bad in ["", "2024-05-20", "13/40/2024", "1/2", "1/2/2024/3", "a/b/c"] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(told in "\\PC{0,24}", numbers in "[0-9/-]{0,16}") {
            text(&told);
            date(&told);
            date(&numbers);
        }
    }
}

//! How the machine reaches the world.

use super::drives::without_driver;
use super::{Finding, listed};
use crate::hardware::observed::{DeviceKind, Link, Observed, Purpose};

const NETWORK: &str = "network";
/// What any card of the last twenty years does with a whole cable, in Mbit/s.
const GIGABIT: u32 = 1000;

/// Cards with a cable: a bridge takes no others.
fn cards(seen: &Observed) -> Vec<&Link> {
    seen.links.iter().filter(|link| !link.wireless).collect()
}

fn names(links: &[&Link]) -> Vec<String> {
    links.iter().map(|link| link.name.clone()).collect()
}

/// There is a card that the node can be reached by.
pub fn card(seen: &Observed) -> Finding {
    let cards = names(&cards(seen));
    match cards.as_slice() {
        [] => {
            let wireless = match seen.links.is_empty() {
                true => "",
                false => " A wireless one can not carry virtual machines.",
            };
            let by = match seen.purpose {
                Purpose::Node => "",
                Purpose::Install => " in the system that runs now",
            };
            Finding::failed(
                NETWORK,
                format!(
                    "There is no network card for a cable, or none that has a driver{by}.{wireless}"
                ),
                "Put in a network card that Linux knows: it is used at once.",
            )
        }
        [one] => Finding::passed(one, format!("There is a network card, {one}.")),
        some => Finding::passed(
            some.join(", "),
            format!("There are {} network cards: {}.", some.len(), listed(some)),
        ),
    }
}

/// Every network card has a driver.
pub fn drivers(seen: &Observed) -> Finding {
    without_driver(
        seen,
        DeviceKind::Network,
        NETWORK,
        "network card",
        "The others work. A newer version may have the driver: report it with these numbers.",
    )
}

/// The network is not slower than any card of today.
pub fn speed(seen: &Observed) -> Finding {
    let cards = cards(seen);
    let connected: Vec<&Link> = cards.into_iter().filter(|link| link.carrier).collect();
    let fastest = connected
        .iter()
        .filter_map(|link| Some((link.speed?, &link.name)))
        .max_by_key(|(speed, _)| *speed);
    match fastest {
        None if connected.is_empty() => {
            Finding::unknown(NETWORK, "No network card has a cable with a live end.")
        }
        None => Finding::unknown(
            names(&connected).join(", "),
            format!(
                "The speed of {} is not told, as that of virtual cards.",
                listed(&names(&connected))
            ),
        ),
        Some((speed, name)) if speed < GIGABIT => Finding::failed(
            name,
            format!("The fastest connection, {name}, runs at {}.", rate(speed)),
            format!(
                "Try another cable (four pairs, Cat 5e or better) and another port of the switch. Images and backups \
                 take {} times as long as at 1 Gbit/s.",
                (GIGABIT / speed.max(1)).max(2)
            ),
        )
        .known_by(NETWORK),
        Some((speed, name)) => {
            Finding::passed(name, format!("{name} is connected at {}.", rate(speed)))
        }
    }
}

/// A speed in Mbit/s for a person: `2.5 Gbit/s`.
fn rate(speed: u32) -> String {
    match speed {
        GIGABIT.. => format!("{} Gbit/s", f64::from(speed) / f64::from(GIGABIT)),
        _ => format!("{speed} Mbit/s"),
    }
}

/// One card can fail.
pub fn spare(seen: &Observed) -> Finding {
    let cards = names(&cards(seen));
    match cards.as_slice() {
        [] => Finding::unknown(NETWORK, "There is no network card."),
        [one] => Finding::failed(
            one,
            format!(
                "{one} is the only network card: when it or its cable fails, the node is not reached."
            ),
            "A second card can take over. A node works with one.",
        ),
        some => Finding::passed(
            some.join(", "),
            format!("There are {} network cards.", some.len()),
        ),
    }
}

//! The network form: the one setting that must be reachable without a network.

use std::net::IpAddr;

use ashlar_api::Check;
use ashlar_api::node::{Addressing, Management};

use super::keys::Key;

/// The fields of the form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// The interface to use, as a place in `interfaces`; 0 leaves the choice to the node.
    pub interface: usize,
    /// Names of the interfaces there are.
    pub interfaces: Vec<String>,
    /// Address by DHCP; the other fields count only when this is false.
    pub dhcp: bool,
    /// Address with prefix length, gateway, name servers.
    pub texts: [String; 3],
    /// Which row has the focus: 0 is the interface, 1 the method, 2 to 4 the texts.
    pub row: usize,
    /// What is wrong with what was typed.
    pub error: String,
}

/// Names of the text fields.
pub const LABELS: [&str; 3] = ["Address", "Gateway", "Name servers"];
/// What a right value looks like.
pub const EXAMPLES: [&str; 3] = ["192.0.2.10/24", "192.0.2.1", "192.0.2.1, 192.0.2.2"];

impl Form {
    /// The form, filled with what is wanted now.
    pub fn of(management: &Management, mut interfaces: Vec<String>) -> Self {
        let interface = management.interface.as_ref().map_or(0, |wanted| {
            // One that is missing now stays the choice until another is made.
            let place = interfaces.iter().position(|name| name == wanted);
            1 + place.unwrap_or_else(|| {
                interfaces.push(wanted.clone());
                interfaces.len() - 1
            })
        });
        let texts = match &management.ipv4 {
            Addressing::Dhcp => Default::default(),
            Addressing::Static {
                address,
                gateway,
                dns,
            } => [
                address.to_string(),
                gateway.map(|g| g.to_string()).unwrap_or_default(),
                dns.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            ],
        };
        Form {
            interface,
            interfaces,
            dhcp: management.ipv4 == Addressing::Dhcp,
            texts,
            row: 1,
            error: String::new(),
        }
    }

    /// Takes a key. `Some` when the form was finished with a good value.
    pub fn press(&mut self, key: Key) -> Option<Management> {
        let rows = if self.dhcp { 2 } else { 5 };
        let choices = self.interfaces.len() + 1;
        match key {
            Key::Next => self.row = (self.row + 1) % rows,
            Key::Previous => self.row = (self.row + rows - 1) % rows,
            Key::Right | Key::Char(' ') if self.row == 0 => {
                self.interface = (self.interface + 1) % choices;
            }
            Key::Left if self.row == 0 => {
                self.interface = (self.interface + choices - 1) % choices;
            }
            Key::Left | Key::Right | Key::Char(' ') if self.row == 1 => self.dhcp = !self.dhcp,
            Key::Char(c) if self.row > 1 && self.texts[self.row - 2].len() < 64 => {
                self.texts[self.row - 2].push(c);
            }
            Key::Erase if self.row > 1 => {
                self.texts[self.row - 2].pop();
            }
            Key::Enter => match self.value() {
                Ok(management) => return Some(management),
                Err(error) => self.error = error,
            },
            _ => {}
        }
        None
    }

    /// The interface that was chosen; none leaves the choice to the node.
    pub fn interface(&self) -> Option<&str> {
        let place = self.interface.checked_sub(1)?;
        self.interfaces.get(place).map(String::as_str)
    }

    fn value(&self) -> Result<Management, String> {
        let interface = self.interface().map(str::to_owned);
        if self.dhcp {
            return Ok(Management {
                interface,
                ipv4: Addressing::Dhcp,
            });
        }
        let [address, gateway, dns] = &self.texts;
        let wrong = |row: usize| format!("{}: write it like {}", LABELS[row], EXAMPLES[row]);
        let address = address.trim().parse().map_err(|_| wrong(0))?;
        let gateway = match gateway.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| wrong(1))?),
        };
        let dns: Result<Vec<IpAddr>, _> = dns
            .split([',', ' '])
            .filter(|part| !part.is_empty())
            .map(|part| part.parse().map_err(|_| wrong(2)))
            .collect();
        let ipv4 = Addressing::Static {
            address,
            gateway,
            dns: dns?,
        };
        let management = Management { interface, ipv4 };
        match management.check() {
            Ok(()) => Ok(management),
            Err(fields) => Err(fields
                .into_iter()
                .map(|f| format!("{}: {}", f.field.trim_start_matches("ipv4."), f.message))
                .next()
                .unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(address: &str, gateway: &str, dns: &str) -> Form {
        Form {
            interface: 0,
            interfaces: vec!["eth0".into(), "eth1".into()],
            dhcp: false,
            texts: [address.into(), gateway.into(), dns.into()],
            row: 2,
            error: String::new(),
        }
    }

    #[test]
    fn gives_a_static_address() {
        let value = filled("192.0.2.10/24", "192.0.2.1", "192.0.2.1 9.9.9.9").press(Key::Enter);
        let Some(Management {
            ipv4:
                Addressing::Static {
                    address,
                    gateway,
                    dns,
                },
            interface: None,
        }) = value
        else {
            panic!("{value:?}")
        };
        assert_eq!(address.to_string(), "192.0.2.10/24");
        assert_eq!(gateway.map(|g| g.to_string()).as_deref(), Some("192.0.2.1"));
        assert_eq!(dns.len(), 2);
    }

    #[test]
    fn says_what_is_wrong_and_keeps_what_was_typed() {
        for (address, gateway, expected) in [
            ("192.0.2.10", "", "Address"),
            ("192.0.2.10/24", "10.0.0.1", "gateway"),
            ("192.0.2.0/24", "", "address"),
        ] {
            let mut form = filled(address, gateway, "");
            assert_eq!(form.press(Key::Enter), None);
            assert!(form.error.contains(expected), "{}", form.error);
            assert_eq!(form.texts[0], address);
        }
    }

    #[test]
    fn a_key_at_a_time() {
        let mut form = Form::of(&Management::default(), Vec::new());
        form.press(Key::Right);
        form.press(Key::Next);
        for c in "192.0.2.7/24x".chars() {
            form.press(Key::Char(c));
        }
        form.press(Key::Erase);
        assert!(matches!(
            form.press(Key::Enter),
            Some(Management {
                ipv4: Addressing::Static { gateway: None, .. },
                ..
            })
        ));
    }

    #[test]
    fn an_interface_is_chosen_or_left_to_the_node() {
        let names = || vec!["eth0".to_owned(), "eth1".to_owned()];
        let mut form = Form::of(&Management::default(), names());
        form.press(Key::Previous);
        form.press(Key::Left);
        assert_eq!(form.interface(), Some("eth1"));
        form.press(Key::Left);
        let chosen = form.press(Key::Enter).and_then(|value| value.interface);
        assert_eq!(chosen.as_deref(), Some("eth0"));
        form.press(Key::Left);
        assert_eq!(form.press(Key::Enter), Some(Management::default()));
        let missing = Management {
            interface: Some("eth7".to_owned()),
            ..Management::default()
        };
        assert_eq!(Form::of(&missing, names()).interface(), Some("eth7"));
    }
}

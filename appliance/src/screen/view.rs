//! Which part of the screen is shown, and what keys do: pure.

use ashlar_api::node::Addressing;

use super::facts::Facts;
use super::form::Form;
use super::keys::Key;

/// What somebody at the screen wants; the supervisor does it.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Restart the machine.
    Restart,
    /// Switch the machine off.
    PowerOff,
    /// Change where the management address comes from.
    SetAddressing(Addressing),
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// How the machine is and where its console is.
    Summary,
    /// Interfaces, and the form for the address.
    Network(Form),
    /// Drives.
    Drives,
    /// The log.
    Log,
    /// Restart or power off: which, and what was typed to confirm.
    Power(Confirm),
}

/// The question before the machine is restarted or switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Which of the two?
    Choose,
    /// Sure to restart?
    Restart,
    /// Sure to power off?
    PowerOff,
    /// It is being done.
    Ending,
}

impl View {
    /// Takes a key: the next view, and what is wanted.
    pub fn press(self, key: Key, facts: &Facts) -> (View, Option<Intent>) {
        match (self, key) {
            (View::Power(Confirm::Ending), _) => (View::Power(Confirm::Ending), None),
            (_, Key::F(1) | Key::Escape) => (View::Summary, None),
            (View::Network(form), Key::F(2)) => (View::Network(form), None),
            (_, Key::F(2)) => (View::Network(Form::of(&facts.addressing)), None),
            (_, Key::F(3)) => (View::Drives, None),
            (_, Key::F(4)) => (View::Log, None),
            (_, Key::F(10)) => (View::Power(Confirm::Choose), None),
            (View::Network(mut form), key) => match form.press(key) {
                Some(value) => (View::Summary, Some(Intent::SetAddressing(value))),
                None => (View::Network(form), None),
            },
            (View::Power(confirm), key) => power(confirm, key),
            (view, _) => (view, None),
        }
    }
}

fn power(confirm: Confirm, key: Key) -> (View, Option<Intent>) {
    let Key::Char(letter) = key else {
        return (View::Power(confirm), None);
    };
    match (confirm, letter.to_ascii_lowercase()) {
        (Confirm::Choose, 'r') => (View::Power(Confirm::Restart), None),
        (Confirm::Choose, 'p') => (View::Power(Confirm::PowerOff), None),
        (Confirm::Restart, 'y') => (View::Power(Confirm::Ending), Some(Intent::Restart)),
        (Confirm::PowerOff, 'y') => (View::Power(Confirm::Ending), Some(Intent::PowerOff)),
        (Confirm::Restart | Confirm::PowerOff, 'n') => (View::Summary, None),
        (same, _) => (View::Power(same), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(keys: &[Key]) -> (View, Vec<Intent>) {
        let facts = Facts::default();
        let mut view = View::Summary;
        let mut intents = Vec::new();
        for key in keys {
            let (next, intent) = view.press(*key, &facts);
            view = next;
            intents.extend(intent);
        }
        (view, intents)
    }

    #[test]
    fn nothing_ends_without_a_confirmation() {
        assert_eq!(press(&[Key::F(10), Key::Char('p')]).1, []);
        assert_eq!(
            press(&[Key::F(10), Key::Char('p'), Key::Char('n')]),
            (View::Summary, vec![])
        );
        assert_eq!(press(&[Key::F(10), Key::Char('y')]).1, []);
        assert_eq!(
            press(&[Key::F(10), Key::Char('p'), Key::Char('y')]).1,
            [Intent::PowerOff]
        );
        assert_eq!(
            press(&[Key::F(10), Key::Char('r'), Key::Char('Y'), Key::Char('y')]).1,
            [Intent::Restart]
        );
    }

    #[test]
    fn function_keys_lead_everywhere() {
        assert_eq!(press(&[Key::F(3)]).0, View::Drives);
        assert_eq!(press(&[Key::F(4), Key::F(1)]).0, View::Summary);
        assert!(matches!(press(&[Key::F(2)]).0, View::Network(_)));
    }
}

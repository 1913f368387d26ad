//! Which part of the screen is shown, and what keys do: pure.

use ashlar_api::node::Management;

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
    /// Change over which interface and at which address the node is reached.
    SetManagement(Management),
    /// Go on without the damaged file of the state that the facts name.
    SetAside,
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
    /// Everything that is wrong, in full.
    Faults,
    /// Go on without a damaged file: what was typed to confirm.
    Aside(Typed),
    /// Restart or power off: which, and what was typed to confirm.
    Power(Confirm),
}

/// What was typed to confirm that a file is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// The name of the file, as far as it was typed.
    pub text: String,
    /// Something else was typed.
    pub wrong: bool,
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
            (_, Key::F(8)) if facts.aside.is_some() => (View::Aside(Typed::default()), None),
            (view, Key::F(2 | 3)) if facts.stateless => (view, None),
            (View::Network(form), Key::F(2)) => (View::Network(form), None),
            (_, Key::F(2)) => {
                let names = facts.links.iter().map(|link| link.name.clone());
                let form = Form::of(&facts.management, names.collect());
                (View::Network(form), None)
            }
            (_, Key::F(3)) => (View::Drives, None),
            (_, Key::F(4)) => (View::Log, None),
            (_, Key::F(5)) => (View::Faults, None),
            (_, Key::F(10)) => (View::Power(Confirm::Choose), None),
            (View::Network(mut form), key) => match form.press(key) {
                Some(value) => (View::Summary, Some(Intent::SetManagement(value))),
                None => (View::Network(form), None),
            },
            (View::Power(confirm), key) => power(confirm, key),
            (View::Aside(typed), key) => aside(typed, key, facts),
            (view, _) => (view, None),
        }
    }
}

/// Only the name of the file, typed in full, sets it aside.
fn aside(mut typed: Typed, key: Key, facts: &Facts) -> (View, Option<Intent>) {
    match key {
        Key::Char(letter) if typed.text.len() < 64 => {
            typed.wrong = false;
            typed.text.push(letter);
        }
        Key::Erase => {
            typed.text.pop();
        }
        Key::Enter if facts.aside.as_deref() == Some(typed.text.trim()) => {
            return (View::Summary, Some(Intent::SetAside));
        }
        Key::Enter => {
            typed = Typed {
                wrong: true,
                ..Typed::default()
            };
        }
        _ => {}
    }
    (View::Aside(typed), None)
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
        press_with(&Facts::default(), keys)
    }

    fn press_with(facts: &Facts, keys: &[Key]) -> (View, Vec<Intent>) {
        let mut view = View::Summary;
        let mut intents = Vec::new();
        for key in keys {
            let (next, intent) = view.press(*key, facts);
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
    fn a_file_is_set_aside_only_when_its_name_is_typed() {
        let facts = Facts {
            stateless: true,
            aside: Some("raft.db".to_owned()),
            ..Facts::default()
        };
        let typed = |text: &str| -> Vec<Key> {
            let letters = text.chars().map(Key::Char);
            std::iter::once(Key::F(8))
                .chain(letters)
                .chain([Key::Enter])
                .collect()
        };
        assert_eq!(
            press_with(&facts, &typed("raft.db")),
            (View::Summary, vec![Intent::SetAside])
        );
        for wrong in ["", "y", "raft", "state.db", "raft.dbx"] {
            let (view, intents) = press_with(&facts, &typed(wrong));
            assert_eq!(intents, [], "{wrong}");
            assert!(matches!(view, View::Aside(Typed { wrong: true, .. })));
        }
        // A mistake can be mended, and the question be left.
        let mut keys = typed("raft.dbx");
        keys.insert(keys.len() - 1, Key::Erase);
        assert_eq!(press_with(&facts, &keys).1, [Intent::SetAside]);
        assert_eq!(
            press_with(&facts, &[Key::F(8), Key::Escape]).0,
            View::Summary
        );
        // Where nothing is damaged there is no such question.
        assert_eq!(press(&typed("raft.db")), (View::Summary, vec![]));
        assert_eq!(press_with(&facts, &[Key::F(2)]).0, View::Summary);
    }

    #[test]
    fn function_keys_lead_everywhere() {
        assert_eq!(press(&[Key::F(3)]).0, View::Drives);
        assert_eq!(press(&[Key::F(5)]).0, View::Faults);
        assert_eq!(press(&[Key::F(4), Key::F(1)]).0, View::Summary);
        assert!(matches!(press(&[Key::F(2)]).0, View::Network(_)));
    }
}

//! Light, dark, or as the system wishes. `static/js/theme.js` reads the same key
//! before the first paint.

use leptos::prelude::*;

use crate::components::Icon;

const KEY: &str = "ashlar-theme";

/// How the console is lit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// As the system wishes.
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

impl Theme {
    /// Every theme, in the order of the menu.
    pub const ALL: [Theme; 3] = [Theme::System, Theme::Light, Theme::Dark];

    /// The theme that holds now.
    pub fn now() -> Self {
        let chosen = document()
            .document_element()
            .and_then(|root| root.get_attribute("data-theme"));
        match chosen.as_deref() {
            Some("light") => Theme::Light,
            Some("dark") => Theme::Dark,
            _ => Theme::System,
        }
    }

    /// What it is called.
    pub const fn words(self) -> &'static str {
        match self {
            Theme::System => "As the system",
            Theme::Light => "Light",
            Theme::Dark => "Dark",
        }
    }

    /// Its picture.
    pub const fn icon(self) -> Icon {
        match self {
            Theme::System => Icon::SunMoon,
            Theme::Light => Icon::Sun,
            Theme::Dark => Icon::Moon,
        }
    }

    /// Chooses it, now and for the next time.
    pub fn choose(self) {
        let value = match self {
            Theme::System => None,
            Theme::Light => Some("light"),
            Theme::Dark => Some("dark"),
        };
        let storage = window().local_storage().ok().flatten();
        let root = document().document_element();
        // Storage can be forbidden; then the choice holds until the page is left.
        match value {
            Some(value) => {
                let _ = root.map(|root| root.set_attribute("data-theme", value));
                let _ = storage.map(|storage| storage.set_item(KEY, value));
            }
            None => {
                let _ = root.map(|root| root.remove_attribute("data-theme"));
                let _ = storage.map(|storage| storage.remove_item(KEY));
            }
        }
    }
}

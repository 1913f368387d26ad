//! A state: a colour, a picture and a word, never the colour alone.

use leptos::prelude::*;

use super::Icon;

/// How good or bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Ok,
    /// Wants looking at.
    Warn,
    /// Does not work.
    Bad,
    /// On its way.
    Info,
    /// At rest.
    #[default]
    Off,
}

impl Tone {
    /// Its class in the style sheet.
    pub const fn class(self) -> &'static str {
        match self {
            Tone::Ok => "ok",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Info => "info",
            Tone::Off => "off",
        }
    }
    /// Its usual picture.
    pub const fn icon(self) -> Icon {
        match self {
            Tone::Ok => Icon::Check,
            Tone::Warn | Tone::Bad => Icon::Alert,
            Tone::Info => Icon::Play,
            Tone::Off => Icon::Stop,
        }
    }
}

/// A state in a word.
#[component]
pub fn Pill(
    /// How good it is.
    tone: Tone,
    /// The word.
    #[prop(into)]
    word: String,
    /// A picture other than the usual one.
    #[prop(optional, into)]
    icon: Option<Icon>,
) -> impl IntoView {
    view! {
        <span class=format!("pill {}", tone.class())>
            {icon.unwrap_or(tone.icon()).view()} {word}
        </span>
    }
}

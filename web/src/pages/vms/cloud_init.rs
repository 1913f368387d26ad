//! What cloud-init sets up in a guest, as it is typed: of a machine that is
//! being made, and of one that exists. A stored password is never told, so its
//! field begins empty, and empty means the one that is stored.

use ashlar_api::vm::CloudInit;
use leptos::prelude::*;

use crate::components::{AreaField, Icon, TextField};

/// The texts of the fields at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// True if cloud-init is to set the guest up.
    pub on: bool,
    /// User to be made in the guest.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The user's SSH keys, a line each.
    pub keys: String,
    /// The guest's host name.
    pub hostname: String,
    /// Own user-data.
    pub user_data: String,
}

impl Texts {
    /// The texts of what is stored.
    pub fn of(stored: Option<&CloudInit>) -> Self {
        stored.map_or_else(Texts::default, |stored| Texts {
            on: true,
            user: stored.user.clone(),
            password: String::new(),
            keys: stored.ssh_keys.join("\n"),
            hostname: stored.hostname.clone(),
            user_data: stored.user_data.clone(),
        })
    }

    /// What they ask for.
    pub fn read(&self) -> Option<CloudInit> {
        self.on.then(|| CloudInit {
            hostname: self.hostname.trim().to_owned(),
            user: self.user.trim().to_owned(),
            password: (!self.password.is_empty()).then(|| self.password.clone()),
            ssh_keys: self
                .keys
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
            user_data: self.user_data.trim_start().to_owned(),
        })
    }
}

/// What was typed.
#[derive(Clone, Copy)]
pub struct Typed {
    /// True if cloud-init is to set the guest up.
    pub on: RwSignal<bool>,
    user: RwSignal<String>,
    password: RwSignal<String>,
    keys: RwSignal<String>,
    hostname: RwSignal<String>,
    user_data: RwSignal<String>,
}

impl Typed {
    /// Begins with these texts.
    pub fn new(texts: Texts) -> Self {
        Typed {
            on: RwSignal::new(texts.on),
            user: RwSignal::new(texts.user),
            password: RwSignal::new(texts.password),
            keys: RwSignal::new(texts.keys),
            hostname: RwSignal::new(texts.hostname),
            user_data: RwSignal::new(texts.user_data),
        }
    }

    /// Shows other texts.
    pub fn show(self, texts: Texts) {
        self.on.set(texts.on);
        self.user.set(texts.user);
        self.password.set(texts.password);
        self.keys.set(texts.keys);
        self.hostname.set(texts.hostname);
        self.user_data.set(texts.user_data);
    }

    /// The texts now.
    pub fn texts(self) -> Texts {
        Texts {
            on: self.on.get(),
            user: self.user.get(),
            password: self.password.get(),
            keys: self.keys.get(),
            hostname: self.hostname.get(),
            user_data: self.user_data.get(),
        }
    }
}

/// The fields.
#[component]
pub fn CloudFields(
    /// What is typed into them.
    typed: Typed,
    /// What becomes of the password.
    password_hint: &'static str,
) -> impl IntoView {
    view! {
        <div class="form tight">
            <div class="fields">
                <TextField
                    label="User"
                    value=typed.user
                    path="cloud_init.user"
                    placeholder="debian"
                    hint="Is made in the guest, and may use sudo."
                    optional=true
                />
                <TextField
                    label="Password"
                    value=typed.password
                    path="cloud_init.password"
                    kind="password"
                    autocomplete="new-password"
                    hint=password_hint
                    optional=true
                />
            </div>
            <AreaField
                label="SSH public keys"
                value=typed.keys
                path="cloud_init.ssh_keys"
                placeholder="ssh-ed25519 AAAA… name"
                hint="One a line, as in id_ed25519.pub."
                optional=true
            />
            <details class="more" open=more_is_used(typed)>
                <summary>{Icon::Next.view()} "More"</summary>
                <div class="form tight">
                    <TextField
                        label="Host name"
                        value=typed.hostname
                        path="cloud_init.hostname"
                        hint="The machine's name, when empty."
                        optional=true
                    />
                    <AreaField
                        label="Own user-data"
                        value=typed.user_data
                        path="cloud_init.user_data"
                        placeholder="#cloud-config"
                        hint="Taken in place of all of the above."
                        optional=true
                        code=true
                    />
                </div>
            </details>
        </div>
    }
}

// What is filled in already is in sight.
fn more_is_used(typed: Typed) -> bool {
    let filled = |text: RwSignal<String>| !text.with_untracked(String::is_empty);
    filled(typed.hostname) || filled(typed.user_data)
}

#[cfg(test)]
mod tests {
    use super::Texts;
    use ashlar_api::vm::CloudInit;

    #[test]
    fn what_is_stored_is_shown_and_read_again() {
        let stored = CloudInit {
            hostname: "web".to_owned(),
            user: "debian".to_owned(),
            password: None,
            ssh_keys: vec!["ssh-ed25519 A a".to_owned(), "ssh-ed25519 B b".to_owned()],
            user_data: String::new(),
        };
        let texts = Texts::of(Some(&stored));
        assert_eq!(texts.keys, "ssh-ed25519 A a\nssh-ed25519 B b");
        assert_eq!(texts.read(), Some(stored));
        assert_eq!(Texts::of(None).read(), None);
    }

    #[test]
    fn empty_passwords_and_lines_are_left_out() {
        let texts = Texts {
            on: true,
            keys: " ssh-ed25519 A a \n\n".to_owned(),
            ..Texts::default()
        };
        let read = texts.read().unwrap();
        assert_eq!(read.password, None);
        assert_eq!(read.ssh_keys, ["ssh-ed25519 A a"]);
    }
}

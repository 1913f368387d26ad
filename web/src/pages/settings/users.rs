//! People who may use the site.

use ashlar_api::user::{PasswordChange, Role, User, UserCreate, UserSpec};
use ashlar_api::{Name, endpoint};
use leptos::prelude::*;

use crate::address;
use crate::client;
use crate::components::pick::Choice;
use crate::components::{
    Button, Confirm, Dialog, Form, Icon, Item, Look, Menu, Picks, Reader, TextField, Toasts,
    Trouble, Until, Work,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::words;

/// The choices of a role.
pub fn roles() -> Vec<Choice> {
    [Role::Administrator, Role::Operator, Role::Viewer]
        .into_iter()
        .map(|role| {
            let (name, text) = words::role(role);
            Choice::new(words::role_key(role), name, text)
        })
        .collect()
}

/// The users.
#[component]
pub fn Users() -> impl IntoView {
    let live = Live::get();
    let sessions = Sessions::get();
    let adding = address::flag("do", "user");
    let barred = Signal::derive(move || {
        if sessions.may(Role::Administrator) {
            String::new()
        } else {
            "Your role does not allow it".to_owned()
        }
    });
    view! {
        <div class="card flush">
            <div class="bar">
                <h2>"Users"</h2>
                <span class="push">
                    <Button
                        label="Add a user"
                        small=true
                        icon=Icon::Plus
                        barred
                        on_press=move |()| adding.set(true)
                    />
                </span>
            </div>
            <Until collection=live.users>
                <div class="wide">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"Name"</th>
                                <th scope="col">"Role"</th>
                                <th scope="col" class="num opt3">"Sessions"</th>
                                <th scope="col"><span class="sr">"Acts"</span></th>
                            </tr>
                        </thead>
                        <tbody>
                            <For
                                each=move || live.users.keys()
                                key=Clone::clone
                                children=move |key| view! { <Row key barred /> }
                            />
                        </tbody>
                    </table>
                </div>
            </Until>
        </div>
        <Dialog open=adding title="Add a user">
            <UserForm existing=None close=adding />
        </Dialog>
    }
}

#[component]
fn Row(key: String, barred: Signal<String>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let Some(row) = live.users.row(&key) else {
        return ().into_any();
    };
    let user = Memo::new(move |_| row.get());
    let editing = RwSignal::new(false);
    let password = RwSignal::new(false);
    let deleting = RwSignal::new(false);
    let work = Work::new();
    let name = Signal::derive(move || user.with(|user| user.spec.name.to_string()));
    let sessions = Sessions::get();
    let own = Memo::new(move |_| {
        sessions
            .current()
            .is_some_and(|session| user.with(|user| user.id == session.user_id))
    });
    let remove = move |()| {
        let id = user.with_untracked(|user| user.id.to_string());
        let path = format!("{}/{id}", endpoint::USERS);
        work.run(async move { client::delete(&path).await }, move |()| {
            deleting.set(false);
            toasts.done(format!("{} is removed", name.get_untracked()));
            live.users.touch(&id);
        });
    };
    let not_oneself = Signal::derive(move || {
        if own.get() {
            "This is you".to_owned()
        } else {
            barred.get()
        }
    });
    view! {
        <tr>
            <td>
                <b>{name}</b>
                <div class="under">
                    {move || {
                        let full = user.with(|user| user.spec.full_name.clone());
                        match (full.is_empty(), own.get()) {
                            (true, true) => "you".to_owned(),
                            (true, false) => String::new(),
                            (false, true) => format!("{full}, you"),
                            (false, false) => full,
                        }
                    }}
                </div>
            </td>
            <td>{move || user.with(|user| words::role(user.spec.role).0)}</td>
            <td class="num opt3">{move || user.with(|user| user.status.sessions)}</td>
            <td class="num">
                <Menu label=Signal::derive(move || format!("Acts for {}", name.get()))>
                    <Item label="Change" icon=Icon::Edit barred on_press=move |()| editing.set(true) />
                    <Item
                        label="Set a new password"
                        icon=Icon::Key
                        barred=Signal::derive(move || {
                            if own.get() { "Under Sessions and password".to_owned() } else { barred.get() }
                        })
                        on_press=move |()| password.set(true)
                    />
                    <Item
                        label="Remove"
                        icon=Icon::Trash
                        bad=true
                        barred=not_oneself
                        on_press=move |()| deleting.set(true)
                    />
                </Menu>
                <Dialog open=editing title=Signal::derive(move || format!("Change {}", name.get()))>
                    <UserForm existing=Some(user.get_untracked()) close=editing />
                </Dialog>
                <Dialog open=password title=Signal::derive(move || format!("New password for {}", name.get()))>
                    <NewPassword user close=password />
                </Dialog>
                <Confirm
                    open=deleting
                    title=Signal::derive(move || format!("Remove {}", name.get()))
                    text="The user can not sign in any more; open sessions and API tokens of the user end at once."
                    name
                    verb="Remove the user"
                    busy=work.busy()
                    problem=work.problem()
                    on_confirm=Callback::new(remove)
                />
            </td>
        </tr>
    }
    .into_any()
}

#[component]
fn UserForm(existing: Option<User>, close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let spec = existing.as_ref().map(|user| user.spec.clone());
    let name = RwSignal::new(
        spec.as_ref()
            .map(|s| s.name.to_string())
            .unwrap_or_default(),
    );
    let full = RwSignal::new(
        spec.as_ref()
            .map(|s| s.full_name.clone())
            .unwrap_or_default(),
    );
    let role = RwSignal::new(words::role_key(spec.map_or(Role::Operator, |s| s.role)).to_owned());
    let password = RwSignal::new(String::new());
    let new = existing.is_none();
    // A new user's fields are one level deeper in the request.
    let at = move |field: &str| {
        if new {
            format!("spec.{field}")
        } else {
            field.to_owned()
        }
    };
    let existing = StoredValue::new(existing);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse(&at("name"), &name.get());
        let spec = name.map(|name| UserSpec {
            name,
            full_name: full.get().trim().to_owned(),
            role: words::role_of(&role.get()),
        });
        let create = spec.map(|spec| UserCreate {
            spec,
            password: password.get(),
        });
        match &create {
            Some(create) if new => reader.check(create),
            Some(create) => reader.check(&create.spec),
            None => {}
        }
        reader.done(create)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(create) = built.get_untracked() else {
                return Ok(());
            };
            match existing.get_value() {
                None => client::act(endpoint::USERS, &create).await,
                Some(user) => {
                    let path = format!("{}/{}", endpoint::USERS, user.id);
                    client::put(&path, Some(user.revision), &create.spec).await
                }
            }
        };
        form.send(request, move |()| {
            close.set(false);
            toasts.done(if new {
                "The user is added"
            } else {
                "The user is changed"
            });
            live.users.touch("*");
        });
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <TextField
                    label="Name"
                    value=name
                    path=at("name")
                    hint="To sign in with."
                    wide=true
                    autofocus=true
                />
                <TextField label="Full name" value=full path=at("full_name") optional=true wide=true />
                <Picks label="Role" value=role choices=roles() />
                {new
                    .then(|| {
                        view! {
                            <TextField
                                label="First password"
                                value=password
                                path="password"
                                kind="password"
                                autocomplete="new-password"
                                hint="At least 10 characters. The user can change it."
                                wide=true
                            />
                        }
                    })}
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button
                    label=if new { "Add the user" } else { "Save" }
                    look=Look::Primary
                    submit=true
                    busy=form.busy()
                />
            </div>
        </form>
    }
}

#[component]
fn NewPassword(user: Memo<User>, close: RwSignal<bool>) -> impl IntoView {
    let toasts = Toasts::get();
    let password = RwSignal::new(String::new());
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let change = PasswordChange {
            current: None,
            new: password.get(),
        };
        reader.check(&change);
        reader.done(Some(change))
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let path = format!(
            "{}/{}/password",
            endpoint::USERS,
            user.with_untracked(|user| user.id)
        );
        let request = async move {
            let Ok(change) = built.get_untracked() else {
                return Ok(());
            };
            client::act(&path, &change).await
        };
        form.send(request, move |()| {
            close.set(false);
            let name = format::capital(
                user.with_untracked(|user| user.spec.name.to_string())
                    .as_str(),
            );
            toasts.done(format!(
                "{name} has a new password, and is signed out everywhere"
            ));
        });
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <TextField
                    label="New password"
                    value=password
                    path="new"
                    kind="password"
                    autocomplete="new-password"
                    hint="At least 10 characters. Open sessions of the user end."
                    wide=true
                    autofocus=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Set the password" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

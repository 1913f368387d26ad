//! API tokens: for programs, each with a role and an end.

use ashlar_api::user::{Token, TokenCreated, TokenSpec};
use ashlar_api::{Name, Timestamp, endpoint};
use leptos::prelude::*;

use super::users::roles;
use crate::address;
use crate::client;
use crate::components::{
    Button, Confirm, Copy, Dialog, Empty, Form, Icon, Look, Notice, Picks, Reader, SelectField,
    TextField, Toasts, Tone, Trouble, Until, Work,
};
use crate::live::Live;
use crate::session::Sessions;
use crate::time::{self, Clock};
use crate::words;

/// The tokens.
#[component]
pub fn Tokens() -> impl IntoView {
    let live = Live::get();
    let adding = address::flag("do", "token");
    view! {
        <div class="card flush">
            <div class="bar">
                <h2>"API tokens"</h2>
                <span class="push">
                    <Button
                        label="New token"
                        small=true
                        icon=Icon::Plus
                        on_press=move |()| adding.set(true)
                    />
                </span>
            </div>
            <Until collection=live.tokens>
                {move || {
                    if live.tokens.count() == 0 {
                        return view! {
                            <Empty
                                icon=Icon::Key
                                title="No tokens"
                                text="A token lets a program use the API without a password: a backup, a script, the command line on another computer. It has a role of its own and can end by itself."
                            />
                        }
                            .into_any();
                    }
                    view! {
                        <div class="wide">
                            <table>
                                <thead>
                                    <tr>
                                        <th scope="col">"For"</th>
                                        <th scope="col">"Role"</th>
                                        <th scope="col" class="opt2">"Made by"</th>
                                        <th scope="col" class="opt2">"Made"</th>
                                        <th scope="col">"Ends"</th>
                                        <th scope="col"><span class="sr">"Acts"</span></th>
                                    </tr>
                                </thead>
                                <tbody>
                                    <For
                                        each=move || live.tokens.all()
                                        key=|token| token.id
                                        children=|token| view! { <Row token /> }
                                    />
                                </tbody>
                            </table>
                        </div>
                    }
                        .into_any()
                }}
            </Until>
        </div>
        <Dialog open=adding title="New API token">
            <NewToken close=adding />
        </Dialog>
    }
}

#[component]
fn Row(token: Token) -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let open = RwSignal::new(false);
    let name = token.spec.name.to_string();
    let path = format!("{}/{}", endpoint::TOKENS, token.id);
    let title = format!("Revoke {name}");
    let remove = {
        let name = name.clone();
        move |()| {
            let (path, name) = (path.clone(), name.clone());
            work.run(async move { client::delete(&path).await }, move |()| {
                open.set(false);
                toasts.done(format!("{name} is revoked"));
                live.tokens.touch("*");
            });
        }
    };
    let over = token
        .spec
        .expires_at
        .is_some_and(|end| time::since(end) > 0);
    view! {
        <tr>
            <td>
                <b>{name}</b>
            </td>
            <td>{words::role(token.spec.role).0}</td>
            <td class="opt2 dim">{token.user.to_string()}</td>
            <td class="opt2 dim">
                <time title=move || clock.exact(token.created_at)>{move || clock.brief(token.created_at)}</time>
            </td>
            <td class:t-warn=over>
                {match token.spec.expires_at {
                    None => "never".to_owned(),
                    Some(_) if over => "has ended".to_owned(),
                    Some(end) => untrack(|| clock.exact(end)),
                }}
            </td>
            <td class="num">
                <Button label="Revoke" small=true look=Look::Bad on_press=move |()| open.set(true) />
                <Confirm
                    open
                    title
                    text="Programs that use it are refused from now on."
                    verb="Revoke the token"
                    busy=work.busy()
                    problem=work.problem()
                    on_confirm=Callback::new(remove)
                />
            </td>
        </tr>
    }
}

#[component]
fn NewToken(close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let name = RwSignal::new(String::new());
    let role = RwSignal::new("operator".to_owned());
    let days = RwSignal::new("90".to_owned());
    let secret: RwSignal<Option<String>> = RwSignal::new(None);
    // At most what its maker may.
    let own = Sessions::get().current().map(|session| session.role);
    let mut choices = roles();
    choices.retain(|choice| own.is_some_and(|own| words::role_of(&choice.key) <= own));
    if let Some(first) = choices.first()
        && !choices.iter().any(|choice| choice.key == "operator")
    {
        role.set(first.key.clone());
    }
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let days: Option<i64> = days.get().parse().ok();
        let end = days
            .and_then(|days| Timestamp::from_second(time::now().as_second() + days * 86_400).ok());
        let spec = name.map(|name| TokenSpec {
            name,
            role: words::role_of(&role.get()),
            expires_at: end,
        });
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            client::post::<_, TokenCreated>(endpoint::TOKENS, &spec)
                .await
                .map(Some)
        };
        form.send(request, move |created| {
            if let Some(created) = created {
                secret.set(Some(created.secret));
                live.tokens.touch("*");
            }
        });
    };
    let ends = [
        ("30", "in 30 days"),
        ("90", "in 90 days"),
        ("365", "in a year"),
        ("never", "never"),
    ];
    let ends: Vec<(String, String)> = ends
        .iter()
        .map(|(k, w)| ((*k).to_owned(), (*w).to_owned()))
        .collect();
    let ends = StoredValue::new(ends);
    let choices = StoredValue::new(choices);
    move || {
        match secret.get() {
        Some(secret) => view! {
            <div class="dialog-body">
                <Notice
                    tone=Tone::Info
                    title="Copy it now"
                    text="It is shown this once. The appliance keeps only a hash of it."
                />
                <div class="secret">{secret.clone()}</div>
                <div class="row">
                    <Copy text=secret label="the token" />
                    <span class="dim small">"Programs send it as Authorization: Bearer …"</span>
                </div>
            </div>
            <div class="dialog-foot">
                <Button label="Done" look=Look::Primary on_press=move |()| close.set(false) />
            </div>
        }
        .into_any(),
        None => view! {
            <form on:submit=move |event| {
                event.prevent_default();
                send();
            }>
                <div class="dialog-body">
                    <Trouble problem=form.problem() />
                    <TextField
                        label="What it is for"
                        value=name
                        path="name"
                        placeholder="backup"
                        wide=true
                        autofocus=true
                    />
                    <Picks label="Role" value=role choices=choices.get_value() />
                    <SelectField label="Ends" value=days options=ends.get_value() />
                </div>
                <div class="dialog-foot">
                    <Button label="Cancel" on_press=move |()| close.set(false) />
                    <Button label="Make the token" look=Look::Primary submit=true busy=form.busy() />
                </div>
            </form>
        }
        .into_any(),
    }
    }
}

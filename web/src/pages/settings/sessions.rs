//! Where somebody is signed in, and the reader's own password.

use ashlar_api::endpoint;
use ashlar_api::user::{PasswordChange, Session};
use leptos::prelude::*;

use crate::client;
use crate::components::{
    Button, Form, Look, Pill, Reader, TextField, Toasts, Tone, Trouble, Until, Work,
};
use crate::live::Live;
use crate::session::Sessions;
use crate::time::Clock;

/// Sessions and password.
#[component]
pub fn MySessions() -> impl IntoView {
    let live = Live::get();
    view! {
        <div class="stack">
            <div class="card flush">
                <h2>"Open sessions"</h2>
                <Until collection=live.sessions>
                    <div class="wide">
                        <table>
                            <thead>
                                <tr>
                                    <th scope="col">"User"</th>
                                    <th scope="col">"From"</th>
                                    <th scope="col" class="opt2">"With"</th>
                                    <th scope="col" class="opt2">"Since"</th>
                                    <th scope="col" class="opt">"Ends"</th>
                                    <th scope="col"><span class="sr">"Acts"</span></th>
                                </tr>
                            </thead>
                            <tbody>
                                <For
                                    each=move || live.sessions.all()
                                    key=|session| session.id
                                    children=|session| view! { <Row session /> }
                                />
                            </tbody>
                        </table>
                    </div>
                </Until>
            </div>
            <OwnPassword />
        </div>
    }
}

/// The program and system of a browser, as far as it says.
fn program(agent: &str) -> String {
    let browser = ["Firefox", "Edg", "Chrome", "Safari"]
        .into_iter()
        .find(|name| agent.contains(name));
    let system = ["Windows", "Android", "iPhone", "iPad", "Mac OS X", "Linux"]
        .into_iter()
        .find(|name| agent.contains(name));
    match (browser, system) {
        (Some("Edg"), Some(system)) => format!("Edge on {system}"),
        (Some(browser), Some("Mac OS X")) => format!("{browser} on macOS"),
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        _ => agent.chars().take(60).collect(),
    }
}

#[component]
fn Row(session: Session) -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let path = format!("{}/{}", endpoint::SESSIONS, session.id);
    let end = move |()| {
        let path = path.clone();
        work.run(async move { client::delete(&path).await }, move |()| {
            toasts.done("The session is ended");
            live.sessions.touch("*");
        });
    };
    Effect::new(move |_| {
        if let Some(problem) = work.problem().get() {
            toasts.bad(problem.title, problem.remedy);
        }
    });
    let agent = session.agent.clone();
    let own = session.current
        || untrack(|| Sessions::get().current()).is_some_and(|current| current.id == session.id);
    view! {
        <tr>
            <td>
                <b>{session.user.to_string()}</b>
            </td>
            <td class="mono dim">{session.address}</td>
            <td class="opt2 dim" title=agent>
                {program(&session.agent)}
            </td>
            <td class="opt2 dim">
                <time title=move || clock.exact(session.created_at)>{move || clock.brief(session.created_at)}</time>
            </td>
            <td class="opt dim">{move || clock.exact(session.expires_at)}</td>
            <td class="num">
                {if own {
                    view! { <Pill tone=Tone::Ok word="This one" /> }.into_any()
                } else {
                    view! { <Button label="End" small=true busy=work.busy() on_press=Callback::new(end) /> }
                        .into_any()
                }}
            </td>
        </tr>
    }
}

#[component]
fn OwnPassword() -> impl IntoView {
    let live = Live::get();
    let sessions = Sessions::get();
    let toasts = Toasts::get();
    let current = RwSignal::new(String::new());
    let new = RwSignal::new(String::new());
    let again = RwSignal::new(String::new());
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let change = PasswordChange {
            current: Some(current.get()),
            new: new.get(),
        };
        if current.with(String::is_empty) {
            reader.note("current", "type the password you have now");
        }
        reader.check(&change);
        if new.get() != again.get() {
            reader.note("again", "the two passwords differ");
        }
        reader.done(Some(change))
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let user = untrack(|| sessions.current()).map(|session| session.user_id);
        let request = async move {
            let (Ok(change), Some(user)) = (built.get_untracked(), user) else {
                return Ok(());
            };
            client::act(&format!("{}/{user}/password", endpoint::USERS), &change).await
        };
        form.send(request, move |()| {
            for field in [current, new, again] {
                field.set(String::new());
            }
            toasts.done("The password is changed; other sessions of yours have ended");
            live.sessions.touch("*");
        });
    };
    view! {
        <form
            class="form card"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <h2>"Change your password"</h2>
            <Trouble problem=form.problem() />
            <TextField
                label="Password now"
                value=current
                path="current"
                kind="password"
                autocomplete="current-password"
            />
            <div class="fields">
                <TextField
                    label="New password"
                    value=new
                    path="new"
                    kind="password"
                    autocomplete="new-password"
                    hint="At least 10 characters. A few words are better than symbols."
                />
                <TextField
                    label="New password again"
                    value=again
                    path="again"
                    kind="password"
                    autocomplete="new-password"
                />
            </div>
            <div class="actions">
                <Button label="Change the password" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::program;

    #[test]
    fn programs_are_named() {
        assert_eq!(
            program(
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36"
            ),
            "Chrome on Linux"
        );
        assert_eq!(program("curl/8.5.0"), "curl/8.5.0");
    }
}

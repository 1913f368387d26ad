//! Signing in.

use ashlar_api::error::Code;
use leptos::prelude::*;

use crate::client::Failure;
use crate::components::{Button, Look, Notice, TextField, Tone, Trouble, Work, logo};
use crate::session::{Access, Sessions};

/// The sign-in page.
#[component]
pub fn SignIn() -> impl IntoView {
    let sessions = Sessions::get();
    let user = RwSignal::new(String::new());
    let password = RwSignal::new(String::new());
    let work = Work::new();
    let wrong = RwSignal::new(false);
    document().set_title("Sign in · Ashlar");
    let send = move || {
        wrong.set(false);
        let request = async move {
            let answer = sessions
                .sign_in(
                    user.get_untracked().trim().to_owned(),
                    password.get_untracked(),
                )
                .await;
            if let Err(Failure::Refused(problem)) = &answer
                && problem.code == Code::Unauthenticated
            {
                wrong.try_set(true);
                return Ok(());
            }
            answer
        };
        work.run(request, |()| ());
    };
    let ended = move || sessions.access() == Access::SignedOut { ended: true };
    view! {
        <main class="signin">
            <div class="brand">{logo()} "Ashlar"</div>
            <div>
                {move || {
                    ended()
                        .then(|| {
                            view! {
                                <Notice
                                    tone=Tone::Info
                                    title="The session has ended"
                                    text="Sign in again to go on where you were."
                                />
                            }
                        })
                }}
                {move || {
                    wrong
                        .get()
                        .then(|| {
                            view! {
                                <Notice
                                    tone=Tone::Bad
                                    title="Name or password is wrong"
                                    text="Passwords tell capital and small letters apart."
                                />
                            }
                        })
                }} <Trouble problem=work.problem() />
                <form
                    class="card form tight"
                    on:submit=move |event| {
                        event.prevent_default();
                        send();
                    }
                >
                    <h1>"Sign in"</h1>
                    <TextField
                        label="Name"
                        value=user
                        autocomplete="username"
                        wide=true
                        autofocus=true
                    />
                    <TextField
                        label="Password"
                        value=password
                        kind="password"
                        autocomplete="current-password"
                        wide=true
                    />
                    <Button label="Sign in" look=Look::Primary submit=true busy=work.busy() />
                </form>
            </div>
            <p class="foot">
                {move || {
                    let version = sessions.version();
                    if version.is_empty() { String::new() } else { format!("Ashlar {version}") }
                }}
            </p>
        </main>
    }
}

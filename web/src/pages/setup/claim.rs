//! Steps one and two: the code on the machine's screen, then names and the first
//! administrator. Both are sent together; the code is tried first, so that
//! nobody fills in the rest for nothing. Who came by the picture on the screen
//! brings the code behind the `#` of the address, where it is neither sent nor
//! logged; it leaves the address at once, so that nobody passes it on with a link.

use ashlar_api::error::Code;
use ashlar_api::site::{ClaimCheck, ClaimRequest, SiteSpec};
use ashlar_api::user::Session;
use ashlar_api::{FieldError, Name, endpoint};
use leptos::prelude::*;
use leptos_router::hooks::{use_location, use_navigate};
use wasm_bindgen::JsValue;

use super::Frame;
use crate::client;
use crate::components::{Button, Form, Look, Reader, TextField, Trouble};
use crate::session::Sessions;
use crate::time;

/// Claiming an appliance that has no owner.
#[component]
pub fn Claim() -> impl IntoView {
    let code = RwSignal::new(take_code());
    let checked = RwSignal::new(false);
    let navigate = use_navigate();
    let path = use_location().pathname;
    // The second step needs the code of the first: without it the first shows.
    let second = Memo::new(move |_| path.get().starts_with("/setup/name") && checked.get());
    let now = Signal::derive(move || usize::from(second.get()));
    let forward = {
        let navigate = navigate.clone();
        Callback::new(move |()| {
            checked.set(true);
            navigate("/setup/name", Default::default());
        })
    };
    let back = Callback::new(move |()| navigate("/setup", Default::default()));
    view! {
        <Frame now>
            {move || {
                if second.get() {
                    view! { <Names code back /> }.into_any()
                } else {
                    view! { <TheCode code forward /> }.into_any()
                }
            }}
        </Frame>
    }
}

// The code behind the `#` of the address, which loses it; empty when none is there.
fn take_code() -> String {
    let window = window();
    let location = window.location();
    let Some(code) = location.hash().ok().and_then(|hash| code_in(&hash)) else {
        return String::new();
    };
    let bare = location
        .pathname()
        .and_then(|path| Ok(path + &location.search()?));
    if let (Ok(bare), Ok(history)) = (bare, window.history()) {
        // Should the browser refuse, the code only stays in sight.
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&bare));
    }
    code
}

fn code_in(hash: &str) -> Option<String> {
    let code = tidy(hash);
    // Eight characters and the dash.
    (code.len() == 9).then_some(code)
}

// The same characters whatever a person typed between them.
fn tidy(code: &str) -> String {
    let plain: String = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .collect();
    match plain.split_at_checked(4) {
        Some((a, b)) if !b.is_empty() => format!("{a}-{b}"),
        _ => plain,
    }
}

#[component]
fn TheCode(code: RwSignal<String>, forward: Callback<()>) -> impl IntoView {
    let form = Form::provide(move || {
        let length = tidy(&code.get()).len();
        if length < 8 {
            vec![FieldError {
                field: "code".to_owned(),
                message: "the code has eight letters and digits, such as 7KXQ-M2PD".to_owned(),
            }]
        } else {
            Vec::new()
        }
    });
    let send = move || {
        let request = async move {
            let code = tidy(&code.get_untracked());
            client::act(&format!("{}/check", endpoint::CLAIM), &ClaimCheck { code }).await
        };
        form.send(request, move |()| {
            code.update(|code| *code = tidy(code));
            forward.run(());
        });
    };
    view! {
        <h1>"Claim this machine"</h1>
        <p class="lead">
            "The screen of the machine, and its serial line, show a code. Whoever can read it becomes the owner."
        </p>
        <form
            class="form"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <Trouble problem=form.problem() />
            <TextField
                label="Claim code"
                value=code
                path="code"
                placeholder="XXXX-XXXX"
                hint="Capital and small letters and the dash do not matter."
                class="code-field"
                autofocus=true
            />
            <div class="actions">
                <Button label="Continue" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

#[component]
fn Names(code: RwSignal<String>, back: Callback<()>) -> impl IntoView {
    let sessions = Sessions::get();
    let navigate = use_navigate();
    let site = RwSignal::new("ashlar".to_owned());
    let node = RwSignal::new("node-1".to_owned());
    let zone = RwSignal::new(time::own_zone());
    let user = RwSignal::new("admin".to_owned());
    let password = RwSignal::new(String::new());
    let again = RwSignal::new(String::new());
    let build = move || {
        let mut reader = Reader::new();
        let site_name: Option<Name> = reader.parse("site.name", &site.get());
        let node_name: Option<Name> = reader.parse("node_name", &node.get());
        let user_name: Option<Name> = reader.parse("user", &user.get());
        let zone = zone.get().trim().to_owned();
        if !zone.is_empty() && !time::known(&zone) {
            reader.note("site.time_zone", "choose a zone such as Europe/Berlin");
        }
        if password.get() != again.get() {
            reader.note("again", "the two passwords differ");
        }
        let request = || {
            Some(ClaimRequest {
                code: code.get(),
                site: SiteSpec {
                    name: site_name?,
                    description: String::new(),
                    time_zone: zone,
                    ntp_servers: Vec::new(),
                },
                node_name: node_name?,
                user: user_name?,
                password: password.get(),
            })
        };
        let request = request();
        if let Some(request) = &request {
            reader.check(request);
        }
        reader.done(request)
    };
    let built = Memo::new(move |_| build());
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let navigate = navigate.clone();
        let request = async move {
            let Ok(request) = built.get_untracked() else {
                return Ok(());
            };
            let (user, password) = (request.user.to_string(), request.password.clone());
            match client::post::<_, Session>(endpoint::CLAIM, &request).await {
                Ok(session) => {
                    sessions.open(session);
                    Ok(())
                }
                // Claimed a moment ago by this browser, whose answer was lost: signing in shows it.
                Err(failure) if failure.code() == Some(Code::Claimed) => {
                    sessions.sign_in(user, password).await
                }
                Err(failure) => Err(failure),
            }
        };
        form.send(request, move |()| {
            navigate("/setup/network", Default::default())
        });
    };
    view! {
        <h1>"Name and administrator"</h1>
        <p class="lead">"What this place and this machine are called, and who may do everything."</p>
        <form
            class="form"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <Trouble problem=form.problem() />
            <div class="fields">
                <TextField
                    label="Site"
                    value=site
                    path="site.name"
                    hint="The whole installation, such as Branch-7."
                    autofocus=true
                />
                <TextField
                    label="This machine"
                    value=node
                    path="node_name"
                    hint="Its host name on the network."
                />
            </div>
            <TextField
                label="Time zone"
                value=zone
                path="site.time_zone"
                list=time::zones()
                hint="In which times are shown."
            />
            <TextField
                label="Administrator"
                value=user
                path="user"
                autocomplete="username"
                hint="The name to sign in with."
            />
            <div class="fields">
                <TextField
                    label="Password"
                    value=password
                    path="password"
                    kind="password"
                    autocomplete="new-password"
                    hint="At least 10 characters. A few words are better than symbols."
                />
                <TextField
                    label="Password again"
                    value=again
                    path="again"
                    kind="password"
                    autocomplete="new-password"
                />
            </div>
            <div class="actions">
                <Button label="Back" on_press=back />
                <Button label="Claim this machine" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::{code_in, tidy};

    #[test]
    fn codes_are_found_in_addresses() {
        assert_eq!(code_in("#7KXQ-M2PD").as_deref(), Some("7KXQ-M2PD"));
        assert_eq!(code_in("#7kxqm2pd").as_deref(), Some("7KXQ-M2PD"));
        assert_eq!(code_in(""), None);
        assert_eq!(code_in("#drives"), None);
    }

    #[test]
    fn codes_are_tidied() {
        assert_eq!(tidy(" 7kxq m2pd"), "7KXQ-M2PD");
        assert_eq!(tidy("7KXQ-M2PD"), "7KXQ-M2PD");
        assert_eq!(tidy("7kx"), "7KX");
        assert_eq!(tidy("7kxq"), "7KXQ");
    }
}

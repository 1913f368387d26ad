//! The site: its name, its time.

use ashlar_api::site::{Site, SiteSpec};
use ashlar_api::user::Role;
use ashlar_api::{Name, endpoint};
use leptos::prelude::*;

use crate::client;
use crate::components::{AreaField, Bone, Button, Form, Look, Reader, TextField, Toasts, Trouble};
use crate::live::Live;
use crate::session::Sessions;
use crate::time;

/// The settings of the site.
#[component]
pub fn SiteSettings() -> impl IntoView {
    let live = Live::get();
    let known = Memo::new(move |_| live.site.with(Option::is_some));
    move || match live.site.get_untracked().filter(|_| known.get()) {
        Some(site) => view! { <Fields site /> }.into_any(),
        None => view! { <Bone width="100%" height="240px" /> }.into_any(),
    }
}

#[component]
fn Fields(site: Site) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let before = RwSignal::new(site.clone());
    let name = RwSignal::new(site.spec.name.to_string());
    let note = RwSignal::new(site.spec.description);
    let zone = RwSignal::new(site.spec.time_zone);
    let servers = RwSignal::new(site.spec.ntp_servers.join(", "));
    // The revision follows other changes of the site; what is typed stays.
    Effect::new(move |_| {
        if let Some(now) = live.site.get() {
            before.set(now);
        }
    });
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let zone = zone.get().trim().to_owned();
        if !zone.is_empty() && !time::known(&zone) {
            reader.note("time_zone", "choose a zone such as Europe/Berlin");
        }
        let spec = name.map(|name| SiteSpec {
            name,
            description: note.get().trim().to_owned(),
            time_zone: zone,
            ntp_servers: servers
                .get()
                .split([',', ' ', ';'])
                .filter(|server| !server.is_empty())
                .map(str::to_owned)
                .collect(),
        });
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let dirty = Memo::new(move |_| {
        built.with(|built| {
            built
                .as_ref()
                .map_or(true, |spec| before.with(|site| *spec != site.spec))
        })
    });
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(());
            };
            let revision = before.with_untracked(|site| site.revision);
            client::put(endpoint::SITE, Some(revision), &spec).await
        };
        form.send(request, move |()| {
            toasts.done("The settings are saved");
            live.read_site();
        });
    };
    let sessions = Sessions::get();
    let barred = Signal::derive(move || {
        if !sessions.may(Role::Administrator) {
            "Your role does not allow it".to_owned()
        } else if !dirty.get() {
            "Nothing was changed".to_owned()
        } else {
            String::new()
        }
    });
    view! {
        <form
            class="form card"
            on:submit=move |event| {
                event.prevent_default();
                send();
            }
        >
            <Trouble problem=form.problem() />
            <TextField label="Name of the site" value=name path="name" />
            <AreaField
                label="Description"
                value=note
                path="description"
                hint="Where it is, and whom to call."
                optional=true
            />
            <TextField
                label="Time zone"
                value=zone
                path="time_zone"
                list=time::zones()
                placeholder="UTC"
                hint="In which times are shown. The node itself counts in UTC."
                optional=true
            />
            <TextField
                label="Time servers"
                value=servers
                path="ntp_servers"
                placeholder="ntp.example.org"
                hint="With commas between. When empty: those that DHCP gives, else pool.ntp.org."
                optional=true
                wide=true
            />
            <div class="actions">
                <Button label="Save" look=Look::Primary submit=true busy=form.busy() barred />
                <span class="why">{barred}</span>
            </div>
        </form>
    }
}

//! A network, new or changed.

use ashlar_api::network::{Network, NetworkMode, NetworkSpec};
use ashlar_api::{Name, endpoint};
use leptos::prelude::*;

use crate::client;
use crate::components::pick::Choice;
use crate::components::{Button, Form, Look, Picks, Reader, TextField, Trouble};
use crate::live::Live;
use crate::words;

const fn key(mode: &NetworkMode) -> &'static str {
    match mode {
        NetworkMode::Bridged {} => "bridged",
        NetworkMode::Nat { .. } => "nat",
        NetworkMode::Isolated {} => "isolated",
    }
}

/// A subnet that no network has: 10.77.0.0/24, or the next free one.
fn free_subnet(networks: &[Network]) -> String {
    let taken = |subnet: &str| {
        networks.iter().any(|network| {
            matches!(&network.spec.mode, NetworkMode::Nat { subnet: other } if other.to_string() == subnet)
        })
    };
    (77..255)
        .map(|n| format!("10.{n}.0.0/24"))
        .find(|subnet| !taken(subnet))
        .unwrap_or_default()
}

/// The fields of a network.
#[component]
pub fn NetworkForm(
    /// The network that is changed; a new one when absent.
    existing: Option<Network>,
    /// Called with the network as it is then.
    on_done: Callback<Network>,
    /// Closes the dialog.
    close: RwSignal<bool>,
) -> impl IntoView {
    let live = Live::get();
    let (name, description, mode, subnet) = match &existing {
        Some(network) => (
            network.spec.name.to_string(),
            network.spec.description.clone(),
            key(&network.spec.mode),
            match &network.spec.mode {
                NetworkMode::Nat { subnet } => subnet.to_string(),
                _ => free_subnet(&live.networks.all_untracked()),
            },
        ),
        None => (
            String::new(),
            String::new(),
            "nat",
            free_subnet(&live.networks.all_untracked()),
        ),
    };
    let name = RwSignal::new(name);
    let description = RwSignal::new(description);
    let mode = RwSignal::new(mode.to_owned());
    let subnet = RwSignal::new(subnet);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let mode = match mode.get().as_str() {
            "bridged" => Some(NetworkMode::Bridged {}),
            "isolated" => Some(NetworkMode::Isolated {}),
            _ => reader
                .parse_or(
                    "mode.subnet",
                    &subnet.get(),
                    "a network with prefix length, such as 10.77.0.0/24",
                )
                .map(|subnet| NetworkMode::Nat { subnet }),
        };
        let spec = name.zip(mode).map(|(name, mode)| NetworkSpec {
            name,
            description: description.get().trim().to_owned(),
            mode,
        });
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let verb = if existing.is_some() {
        "Save"
    } else {
        "Make the network"
    };
    let existing = StoredValue::new(existing);
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            match existing.get_value() {
                None => client::post::<_, Network>(endpoint::NETWORKS, &spec)
                    .await
                    .map(Some),
                Some(mut network) => {
                    let path = format!("{}/{}", endpoint::NETWORKS, network.id);
                    client::put(&path, Some(network.revision), &spec).await?;
                    network.spec = spec;
                    Ok(Some(network))
                }
            }
        };
        form.send(request, move |network| {
            if let Some(network) = network {
                live.networks.touch(&network.id.to_string());
                on_done.run(network);
            }
        });
    };
    let modes: Vec<Choice> = [
        NetworkMode::Nat {
            subnet: Default::default(),
        },
        NetworkMode::Bridged {},
        NetworkMode::Isolated {},
    ]
    .iter()
    .map(|mode| {
        let (name, text) = words::network_mode(mode);
        Choice::new(key(mode), name, text)
    })
    .collect();
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <TextField label="Name" value=name path="name" wide=true autofocus=true />
                <Picks label="Kind" value=mode choices=modes />
                <Show when=move || mode.with(|mode| mode == "nat")>
                    <TextField
                        label="Addresses"
                        value=subnet
                        path="mode.subnet"
                        hint="A private network. The node takes the first address, machines get the others."
                        wide=true
                    />
                </Show>
                <TextField
                    label="What it is for"
                    value=description
                    path="description"
                    optional=true
                    wide=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label=verb look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

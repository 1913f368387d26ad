//! The five steps.

use ashlar_api::Bytes;
use ashlar_api::vm::RunPolicy;
use leptos::prelude::*;

use super::draft::{Draft, Origin, SIZES};
use crate::components::pick::Choice;
use crate::components::{
    AreaField, Fact, Facts, LinkButton, Notice, Picks, SelectField, TextField, Tick, Tone,
};
use crate::format;
use crate::live::Live;
use crate::pages::images::choice::{options, usable};
use crate::pages::networks::subnet;
use crate::pages::storage::volume::pool_options;
use crate::pages::vms::cloud_init::CloudFields;
use crate::words;

/// Step one.
#[component]
pub fn What(draft: Draft) -> impl IntoView {
    let live = Live::get();
    let origins = vec![
        Choice::new(
            "image",
            "A ready disk",
            "A cloud image: starts in seconds, set up by cloud-init.",
        ),
        Choice::new(
            "cd",
            "An installation CD",
            "An ISO image, and an empty disk to install on.",
        ),
        Choice::new(
            "empty",
            "An empty disk",
            "For a system that comes over the network, or later.",
        ),
    ];
    let none = move |cds: bool| live.images.here() && usable(live, cds).is_empty();
    view! {
        <TextField
            label="Name"
            value=draft.name
            path="name"
            hint="Also its host name, unless cloud-init is told another."
            autofocus=true
        />
        <Picks label="Starts from" value=draft.origin choices=origins />
        {move || match draft.origin() {
            Origin::Image if none(false) => {
                view! {
                    <Notice
                        tone=Tone::Info
                        title="There is no disk image yet"
                        text="Add one, such as the cloud image of a Linux distribution, and come back."
                    >
                        <LinkButton href="/images?do=add" label="Add an image" small=true />
                    </Notice>
                }
                    .into_any()
            }
            Origin::Image => {
                view! {
                    <SelectField
                        label="Image"
                        value=draft.image
                        path="disks[0].image"
                        options=Signal::derive(move || options(usable(live, false), "Choose an image"))
                    />
                }
                    .into_any()
            }
            Origin::Cd if none(true) => {
                view! {
                    <Notice
                        tone=Tone::Info
                        title="There is no ISO image yet"
                        text="Add the installation CD of a system, and come back."
                    >
                        <LinkButton href="/images?do=add" label="Add an image" small=true />
                    </Notice>
                }
                    .into_any()
            }
            Origin::Cd => {
                view! {
                    <SelectField
                        label="CD"
                        value=draft.cd
                        path="cdrom"
                        options=Signal::derive(move || options(usable(live, true), "Choose a CD"))
                    />
                }
                    .into_any()
            }
            Origin::Empty => ().into_any(),
        }}
        <AreaField label="What it is for" value=draft.note path="description" optional=true />
    }
}

/// Step two.
#[component]
pub fn Size(draft: Draft) -> impl IntoView {
    let live = Live::get();
    let sizes: Vec<Choice> = SIZES
        .iter()
        .map(|(key, name, cpus, memory)| {
            let cpus = format::count(usize::from(*cpus), "processor", "processors");
            Choice::new(*key, *name, format!("{cpus}, {}", format::bytes(*memory)))
        })
        .chain(std::iter::once(Choice::new(
            "own",
            "Own size",
            "As written below",
        )))
        .collect();
    Effect::new(move |before: Option<String>| {
        let size = draft.size.get();
        if before.is_some_and(|before| before != size)
            && let Some((_, _, cpus, memory)) = SIZES.iter().find(|(key, ..)| *key == size)
        {
            draft.cpus.set(cpus.to_string());
            draft.memory.set(memory.to_string());
        }
        size
    });
    let least = Memo::new(move |_| draft.least_disk(live));
    view! {
        <Picks label="Size" value=draft.size choices=sizes across=true />
        <Show when=move || draft.size.with(|size| size == "own")>
            <div class="fields">
                <TextField
                    label="Processors"
                    value=draft.cpus
                    path="cpus"
                    inputmode="numeric"
                    hint=Signal::derive(move || {
                        live.node()
                            .map(|node| format!("The node has {}.", node.status.cpus))
                            .unwrap_or_default()
                    })
                />
                <TextField
                    label="Memory"
                    value=draft.memory
                    path="memory"
                    hint=Signal::derive(move || free_memory(live))
                />
            </div>
        </Show>
        <div class="fields">
            <TextField
                label="Disk"
                value=draft.disk
                path="disks[0].size"
                hint=Signal::derive(move || match least.get().0 {
                    0 => "It takes room only as it fills, and can grow later.".to_owned(),
                    _ => format!("The image needs at least {}. It can grow later.", least.get()),
                })
            />
            <SelectField
                label="Pool"
                value=draft.pool
                path="disks[0].pool"
                options=Signal::derive(move || pool_options(live))
            />
        </div>
    }
}

/// How much memory machines can still be given, in a sentence.
fn free_memory(live: Live) -> String {
    live.node()
        .map(|node| {
            let status = node.status;
            let free = status
                .memory
                .0
                .saturating_sub(status.memory_system.0 + status.memory_vms.0);
            format!("{} are free for machines.", format::bytes(Bytes(free)))
        })
        .unwrap_or_default()
}

/// Step three.
#[component]
pub fn Network(draft: Draft) -> impl IntoView {
    let live = Live::get();
    let choices = Signal::derive(move || {
        let mut choices: Vec<Choice> = live
            .networks
            .all()
            .into_iter()
            .map(|network| {
                let (mode, text) = words::network_mode(&network.spec.mode);
                let name = format!("{} · {mode}", network.spec.name);
                Choice::new(
                    network.id.to_string(),
                    name,
                    format!("{text} Addresses: {}.", subnet(&network.spec.mode)),
                )
            })
            .collect();
        choices.push(Choice::new("", "None", "It can be connected later."));
        choices
    });
    view! {
        {move || {
            (live.networks.here() && live.networks.count() == 0)
                .then(|| {
                    view! {
                        <Notice
                            tone=Tone::Info
                            title="There is no network for machines yet"
                            text="Without one the machine has no network. It can be connected later."
                        >
                            <LinkButton href="/networks?do=new" label="New network" small=true />
                        </Notice>
                    }
                })
        }}
        <Picks label="Network" value=draft.network choices />
    }
}

/// Step four.
#[component]
pub fn FirstStart(draft: Draft) -> impl IntoView {
    let policies: Vec<Choice> = [RunPolicy::Always, RunPolicy::Manual, RunPolicy::Stopped]
        .into_iter()
        .map(|policy| {
            let (name, text) = words::run_policy(policy);
            Choice::new(words::run_policy_key(policy), name, text)
        })
        .collect();
    view! {
        {move || match draft.origin() {
            Origin::Image => view! { <Cloud draft /> }.into_any(),
            Origin::Cd | Origin::Empty => {
                view! {
                    <p class="dim">
                        "The system is installed on its screen: it opens from the machine's page once it runs."
                    </p>
                }
                    .into_any()
            }
        }}
        <Picks label="It runs" value=draft.policy choices=policies />
        <Show when=move || draft.policy.with(|policy| policy == "manual")>
            <Tick label="Start it now" value=draft.start />
        </Show>
        <Tick
            label="Protect it from deletion"
            value=draft.protected
            hint="Deleting is refused until this is taken back."
        />
    }
}

#[component]
fn Cloud(draft: Draft) -> impl IntoView {
    view! {
        <Tick
            label="Set the guest up with cloud-init"
            value=draft.cloud.on
            hint="Most cloud images can do this. Without it nobody can sign in to them."
        />
        <Show when=move || draft.cloud.on.get()>
            <CloudFields
                typed=draft.cloud
                password_hint="For its screen and serial line. Kept as a hash only."
            />
        </Show>
    }
}

/// Step five: what will come of it.
#[component]
pub fn Check(draft: Draft) -> impl IntoView {
    let live = Live::get();
    let built = Memo::new(move |_| draft.build(live));
    let origin = move || match draft.origin() {
        Origin::Image => draft
            .image(live)
            .map_or_else(|| "–".to_owned(), |image| image.spec.name.to_string()),
        Origin::Cd => live.images.one(&draft.cd.get()).map_or_else(
            || "–".to_owned(),
            |image| format!("{} (CD)", image.spec.name),
        ),
        Origin::Empty => "an empty disk".to_owned(),
    };
    let network = move || {
        live.networks.one(&draft.network.get()).map_or_else(
            || "none".to_owned(),
            |network| network.spec.name.to_string(),
        )
    };
    let pool = move || {
        live.pools
            .one(&draft.pool.get())
            .map_or_else(|| "–".to_owned(), |pool| pool.spec.name.to_string())
    };
    let access = move || {
        if !draft.with_cloud() {
            return "as the image or installation says".to_owned();
        }
        let cloud = draft.cloud.texts().read().unwrap_or_default();
        let (user, keys) = (cloud.user, cloud.ssh_keys.len());
        match (user.is_empty(), cloud.password.is_none(), keys) {
            _ if !cloud.user_data.is_empty() => "as your user-data says".to_owned(),
            (true, _, _) => "nobody is made: the image's own users".to_owned(),
            (false, true, 0) => {
                format!("{user}, who can not sign in yet: neither password nor key")
            }
            (false, false, 0) => format!("{user}, with the password"),
            (false, true, n) => format!("{user}, with {}", format::count(n, "key", "keys")),
            (false, false, n) => format!(
                "{user}, with the password or {}",
                format::count(n, "key", "keys")
            ),
        }
    };
    let room = move || {
        let spec = built.get().ok()?;
        let node = live.node()?.status;
        let free = node
            .memory
            .0
            .saturating_sub(node.memory_system.0 + node.memory_vms.0);
        let after = i128::from(free) - i128::from(spec.memory.0);
        Some(if after < 0 {
            (
                Tone::Warn,
                format!(
                    "It wants {} of memory, and {} are free now: it can not start until another machine gives some back.",
                    spec.memory,
                    format::bytes(Bytes(free))
                ),
            )
        } else {
            (
                Tone::Ok,
                format!(
                    "It fits: {} of memory stay free for other machines.",
                    format::bytes(Bytes(u64::try_from(after).unwrap_or(0)))
                ),
            )
        })
    };
    view! {
        <div class="outcome">
            <Facts>
                <Fact name="Name">
                    <b>{draft.name}</b>
                </Fact>
                <Fact name="Starts from">{origin}</Fact>
                <Fact name="Processors">{draft.cpus}</Fact>
                <Fact name="Memory">{draft.memory}</Fact>
                <Fact name="Disk">{move || format!("{} in {}", draft.disk.get(), pool())}</Fact>
                <Fact name="Network">{network}</Fact>
                <Fact name="Signs in">{access}</Fact>
                <Fact name="It runs">
                    {move || words::run_policy(words::run_policy_of(&draft.policy.get())).1}
                </Fact>
            </Facts>
        </div>
        {move || room().map(|(tone, text)| view! { <Notice tone title=text /> })}
        {move || {
            built
                .get()
                .err()
                .map(|errors| {
                    let first = errors.first().map(|e| e.message.clone()).unwrap_or_default();
                    view! { <Notice tone=Tone::Warn title="Something is missing" text=format::capital(&first) /> }
                })
        }}
    }
}

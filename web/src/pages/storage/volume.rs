//! Volumes: the disks of machines.

use ashlar_api::user::Role;
use ashlar_api::volume::{Volume, VolumePhase, VolumeSpec};
use ashlar_api::{Bytes, Name, PoolId, endpoint};
use leptos::prelude::*;
use leptos_router::components::A;

use crate::address;
use crate::client;
use crate::components::table::matches;
use crate::components::{
    Button, Confirm, Dialog, Empty, Filter, Form, Icon, Item, Look, Menu, Pill, Reader,
    SelectField, SmallMeter, SortHead, Sorting, TextField, Toasts, Trouble, Until, Work,
};
use crate::format;
use crate::live::Live;
use crate::pages::images::choice::{FilledFrom, Filling};
use crate::session::Sessions;
use crate::words;

/// The list of volumes.
#[component]
pub fn Volumes(creating: RwSignal<bool>, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let filter = address::query("filter", true);
    let sorting = Sorting::by("name");
    let keys = Memo::new(move |_| {
        let filter = filter.get();
        let mut volumes = live.volumes.all();
        volumes.retain(|volume| {
            matches(
                &filter,
                &[volume.spec.name.as_str(), &volume.spec.description],
            )
        });
        let (by, descending) = sorting.get();
        match by {
            "size" => volumes.sort_by_key(|volume| volume.spec.size),
            "used" => volumes.sort_by_key(|volume| volume.status.used),
            _ => {}
        }
        if descending {
            volumes.reverse();
        }
        volumes
            .iter()
            .map(|volume| volume.id.to_string())
            .collect::<Vec<_>>()
    });
    let body = move || {
        if live.volumes.count() == 0 {
            return view! {
                <Empty
                    icon=Icon::Storage
                    title="No volumes yet"
                    text="A volume is the disk of a virtual machine. Creating a machine makes its disks; a volume made here can be given to a machine later."
                >
                    {(may.get() && live.pools.count() > 0)
                        .then(|| {
                            view! {
                                <Button label="New volume" icon=Icon::Plus on_press=move |()| creating.set(true) />
                            }
                        })}
                </Empty>
            }
            .into_any();
        }
        view! {
            <div class="wide">
                <table>
                    <thead>
                        <tr>
                            <SortHead label="Name" column="name" sorting />
                            <th scope="col">"State"</th>
                            <th scope="col" class="opt2">"Machine"</th>
                            <SortHead label="Size" column="size" sorting class="num opt3" />
                            <SortHead label="Filled" column="used" sorting class="opt2" />
                            <th scope="col"><span class="sr">"Acts"</span></th>
                        </tr>
                    </thead>
                    <tbody>
                        <For each=move || keys.get() key=Clone::clone children=move |key| view! { <Row key may /> } />
                    </tbody>
                </table>
            </div>
            {move || {
                keys.with(Vec::is_empty)
                    .then(|| view! { <p class="table-end">"No volume has these words."</p> })
            }}
        }
        .into_any()
    };
    view! {
        <div class="card flush">
            <div class="bar">
                <h2>"Volumes"</h2>
                <Filter value=filter label="Filter by name or note" />
            </div>
            <Until collection=live.volumes>{body}</Until>
        </div>
    }
}

#[component]
fn Row(key: String, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let Some(row) = live.volumes.row(&key) else {
        return ().into_any();
    };
    let volume = Memo::new(move |_| row.get());
    let growing = RwSignal::new(false);
    let deleting = RwSignal::new(false);
    let name = Signal::derive(move || volume.with(|v| v.spec.name.to_string()));
    let owner = Memo::new(move |_| {
        let vm = volume.with(|v| v.status.vm)?;
        live.vms
            .one(&vm.to_string())
            .map(|vm| (vm.id.to_string(), vm.spec.name.to_string()))
    });
    let state = move || {
        volume.with(|volume| {
            let (tone, word, icon) = if volume.deleting {
                words::volume_phase(VolumePhase::Deleting)
            } else {
                words::volume_phase(volume.status.phase)
            };
            let message = volume.status.condition.message.clone();
            view! {
                <Pill tone word icon=icon />
                {(!message.is_empty()).then(|| view! { <div class="under">{message}</div> })}
            }
        })
    };
    view! {
        <tr>
            <td>
                <b>{name}</b>
                {move || {
                    let note = volume.with(|v| v.spec.description.clone());
                    (!note.is_empty()).then(|| view! { <div class="under">{note}</div> })
                }}
            </td>
            <td class="fill">{state}</td>
            <td class="opt2">
                {move || match owner.get() {
                    Some((id, name)) => {
                        view! { <A href=format!("/vms/{id}") attr:class="name">{name}</A> }.into_any()
                    }
                    None => view! { <span class="dimmer">"none"</span> }.into_any(),
                }}
            </td>
            <td class="num opt3">{move || volume.with(|v| format::bytes(v.spec.size))}</td>
            <td class="opt2">
                <SmallMeter share=Signal::derive(move || {
                    volume.with(|v| format::ratio(v.status.used, v.status.size))
                }) />
            </td>
            <td class="num">
                {move || {
                    may.get()
                        .then(|| {
                            view! {
                                <Menu label=Signal::derive(move || format!("Acts for {}", name.get()))>
                                    <Item
                                        label="Make larger"
                                        icon=Icon::Up
                                        on_press=move |()| growing.set(true)
                                    />
                                    <Item
                                        label="Delete"
                                        icon=Icon::Trash
                                        bad=true
                                        barred=Signal::derive(move || {
                                            owner
                                                .get()
                                                .map(|(_, name)| format!("It is a disk of {name}"))
                                                .unwrap_or_default()
                                        })
                                        on_press=move |()| deleting.set(true)
                                    />
                                </Menu>
                            }
                        })
                }} <Dialog open=growing title=Signal::derive(move || format!("Make {} larger", name.get()))>
                    <Grow volume close=growing />
                </Dialog> <Remove volume open=deleting />
            </td>
        </tr>
    }
    .into_any()
}

#[component]
fn Remove(volume: Memo<Volume>, open: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let name = Signal::derive(move || volume.with(|v| v.spec.name.to_string()));
    let remove = move |()| {
        let id = volume.with_untracked(|v| v.id.to_string());
        let path = format!("{}/{id}", endpoint::VOLUMES);
        work.run(async move { client::delete(&path).await }, move |()| {
            open.set(false);
            toasts.begun(
                format!("Volume {} is being deleted", name.get_untracked()),
                String::new(),
            );
            live.volumes.touch(&id);
        });
    };
    view! {
        <Confirm
            open
            title=Signal::derive(move || format!("Delete volume {}", name.get()))
            text="All data on it is lost and can not be brought back."
            name
            verb="Delete the volume"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        />
    }
}

/// Makes a volume larger.
#[component]
pub fn Grow(
    /// The volume.
    volume: Memo<Volume>,
    /// Closes the dialog.
    close: RwSignal<bool>,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let now = volume.get_untracked();
    let size = RwSignal::new(now.spec.size.to_string());
    let before = now.spec.size;
    let now = StoredValue::new(now);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let size: Option<Bytes> = reader.parse("size", &size.get());
        if size.is_some_and(|size| size <= before) {
            reader.note(
                "size",
                format!("more than the {before} it has; a volume can not shrink"),
            );
        }
        let spec = size.map(|size| VolumeSpec {
            size,
            ..now.with_value(|volume| volume.spec.clone())
        });
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(());
            };
            let (id, revision) = now.with_value(|volume| (volume.id, volume.revision));
            client::put(
                &format!("{}/{id}", endpoint::VOLUMES),
                Some(revision),
                &spec,
            )
            .await
        };
        form.send(request, move |()| {
            close.set(false);
            now.with_value(|volume| {
                toasts.begun(format!("Volume {} grows", volume.spec.name), "The guest sees the new size at once; its file system is grown inside the guest.");
                live.volumes.touch(&volume.id.to_string());
            });
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
                    label="New size"
                    value=size
                    path="size"
                    hint=format!("It has {before} now. A volume can grow while its machine runs, and never shrinks.")
                    autofocus=true
                    wide=true
                />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Make larger" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

/// The pools as choices, each with its free room.
pub fn pool_options(live: Live) -> Vec<(String, String)> {
    live.pools
        .all()
        .into_iter()
        .map(|pool| {
            let free = Bytes(pool.status.size.0.saturating_sub(pool.status.used.0));
            (
                pool.id.to_string(),
                format!("{} · {} free", pool.spec.name, format::bytes(free)),
            )
        })
        .collect()
}

/// Makes a volume.
#[component]
pub fn NewVolume(
    /// Closes the dialog.
    close: RwSignal<bool>,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let name = RwSignal::new(String::new());
    let size = RwSignal::new("20 GiB".to_owned());
    let note = RwSignal::new(String::new());
    let pool = RwSignal::new(
        live.pools
            .all_untracked()
            .first()
            .map(|pool| pool.id.to_string())
            .unwrap_or_default(),
    );
    let filling = Filling::new(live, size);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let size: Option<Bytes> = reader.parse("size", &size.get());
        let image = filling.read(&mut reader, "", size);
        let pool: Option<PoolId> = reader.parse_or("pool", &pool.get(), "choose a pool");
        let spec = || {
            Some(VolumeSpec {
                name: name?,
                description: note.get().trim().to_owned(),
                pool: pool?,
                size: size?,
                image: image?,
            })
        };
        let spec = spec();
        if let Some(spec) = &spec {
            reader.check(spec);
        }
        reader.done(spec)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(spec) = built.get_untracked() else {
                return Ok(None);
            };
            client::post::<_, Volume>(endpoint::VOLUMES, &spec)
                .await
                .map(Some)
        };
        form.send(request, move |volume| {
            close.set(false);
            if let Some(volume) = volume {
                toasts.begun(
                    format!("Volume {} is being made", volume.spec.name),
                    String::new(),
                );
                live.volumes.put(volume);
            }
        });
    };
    let may = Sessions::get().may(Role::Administrator);
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            if may {
                send();
            }
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <TextField label="Name" value=name path="name" autofocus=true wide=true />
                <FilledFrom filling />
                <TextField
                    label="Size"
                    value=size
                    path="size"
                    hint=filling.hint("Such as 20 GiB or 1.5 TiB. It takes room only as it fills, and can grow later.")
                    wide=true
                />
                <SelectField
                    label="Pool"
                    value=pool
                    path="pool"
                    options=Signal::derive(move || pool_options(live))
                />
                <TextField label="What it is for" value=note path="description" optional=true wide=true />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Make the volume" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

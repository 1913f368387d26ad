//! The disks of a machine, and its CD drive.

use ashlar_api::image::ImageFormat;
use ashlar_api::vm::{Vm, VmDisk};
use ashlar_api::{Bytes, ImageId, PoolId, VolumeId};
use leptos::prelude::*;

use super::edit::{barred, changed, replace};
use crate::address;
use crate::components::{
    Button, Confirm, Dialog, Empty, Form, Icon, Item, Look, Menu, Pill, Reader, Segments,
    SelectField, SmallMeter, TextField, Toasts, Trouble, Work,
};
use crate::format;
use crate::live::Live;
use crate::pages::images::choice::{FilledFrom, Filling};
use crate::pages::storage::volume::{Grow, pool_options};
use crate::words;

/// The disks.
#[component]
pub fn Disks(vm: Memo<Vm>) -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    let adding = address::flag("do", "disk");
    let barred = barred(vm);
    let disks = Memo::new(move |_| vm.with(|vm| vm.spec.disks.clone()));
    view! {
        <div class="stack">
            <div class="card flush">
                <div class="bar">
                    <h2>"Disks"</h2>
                    <span class="push">
                        <Button
                            label="Add a disk"
                            small=true
                            icon=Icon::Plus
                            barred
                            on_press=move |()| adding.set(true)
                        />
                    </span>
                </div>
                {move || {
                    let disks = disks.get();
                    if disks.is_empty() {
                        return view! {
                            <Empty
                                icon=Icon::Storage
                                title="No disks"
                                text="A machine without a disk can only run from a CD or the network, and keeps nothing."
                            />
                        }
                            .into_any();
                    }
                    let rows = disks
                        .into_iter()
                        .enumerate()
                        .filter_map(|(n, disk)| match disk {
                            VmDisk::Volume { volume } => Some(view! { <Row vm n volume barred /> }),
                            VmDisk::New { .. } => None,
                        })
                        .collect_view();
                    view! {
                        <div class="wide">
                            <table>
                                <thead>
                                    <tr>
                                        <th scope="col">"Disk"</th>
                                        <th scope="col">"State"</th>
                                        <th scope="col" class="num">"Size"</th>
                                        <th scope="col" class="opt2">"Filled"</th>
                                        <th scope="col"><span class="sr">"Acts"</span></th>
                                    </tr>
                                </thead>
                                <tbody>{rows}</tbody>
                            </table>
                        </div>
                    }
                        .into_any()
                }}
            </div>
            <Cd vm barred />
        </div>
        <Dialog open=adding title="Add a disk">
            <AddDisk vm close=adding />
        </Dialog>
    }
}

#[component]
fn Row(vm: Memo<Vm>, n: usize, volume: VolumeId, barred: Signal<String>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let growing = RwSignal::new(false);
    let removing = RwSignal::new(false);
    let work = Work::new();
    let found = Memo::new(move |_| live.volumes.one(&volume.to_string()));
    let name = Signal::derive(move || {
        found.with(|v| {
            v.as_ref()
                .map_or_else(|| "a volume".to_owned(), |v| v.spec.name.to_string())
        })
    });
    let remove = move |()| {
        let before = vm.get_untracked();
        let id = before.id.to_string();
        let request = replace(before, move |spec| {
            spec.disks.retain(|disk| *disk != VmDisk::Volume { volume });
        });
        work.run(request, move |()| {
            removing.set(false);
            toasts.done(format!(
                "{} is taken out; it stays as a volume",
                name.get_untracked()
            ));
            changed(live, &id);
        });
    };
    view! {
        <tr>
            <td>
                <b>{name}</b>
                <div class="under">{if n == 0 { "starts from it" } else { "" }}</div>
            </td>
            <td>
                {move || {
                    found
                        .get()
                        .map(|volume| {
                            let (tone, word, icon) = words::volume_phase(volume.status.phase);
                            let message = volume.status.condition.message;
                            view! {
                                <Pill tone word icon=icon />
                                {(!message.is_empty()).then(|| view! { <div class="under">{message}</div> })}
                            }
                        })
                }}
            </td>
            <td class="num">{move || found.with(|v| v.as_ref().map(|v| format::bytes(v.spec.size)))}</td>
            <td class="opt2">
                <SmallMeter share=Signal::derive(move || {
                    found.with(|v| v.as_ref().map_or(0.0, |v| format::ratio(v.status.used, v.status.size)))
                }) />
            </td>
            <td class="num">
                <Menu label=Signal::derive(move || format!("Acts for {}", name.get()))>
                    <Item
                        label="Make larger"
                        icon=Icon::Up
                        barred
                        on_press=move |()| growing.set(true)
                    />
                    <Item
                        label="Take out"
                        icon=Icon::Close
                        barred
                        on_press=move |()| removing.set(true)
                    />
                </Menu>
                <Dialog open=growing title=Signal::derive(move || format!("Make {} larger", name.get()))>
                    {move || {
                        found
                            .get_untracked()
                            .map(|volume| {
                                let volume = Memo::new(move |_| found.get().unwrap_or_else(|| volume.clone()));
                                view! { <Grow volume close=growing /> }
                            })
                    }}
                </Dialog>
                <Confirm
                    open=removing
                    title=Signal::derive(move || format!("Take {} out", name.get()))
                    text="The machine loses this disk; the data on it stay, as a volume that can be given to a machine again. A running machine keeps it until it is shut down."
                    verb="Take it out"
                    busy=work.busy()
                    problem=work.problem()
                    on_confirm=Callback::new(remove)
                />
            </td>
        </tr>
    }
}

#[component]
fn Cd(vm: Memo<Vm>, barred: Signal<String>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let work = Work::new();
    let now = Memo::new(move |_| {
        vm.with(|vm| vm.spec.cdrom.map(|cd| cd.to_string()).unwrap_or_default())
    });
    let chosen = RwSignal::new(now.get_untracked());
    Effect::new(move |_| chosen.set(now.get()));
    let options = Signal::derive(move || {
        std::iter::once((String::new(), "Empty".to_owned()))
            .chain(
                live.images
                    .all()
                    .into_iter()
                    .filter(|image| {
                        image.status.format == Some(ImageFormat::Iso) && !image.deleting
                    })
                    .map(|image| (image.id.to_string(), image.spec.name.to_string())),
            )
            .collect::<Vec<_>>()
    });
    let save = move |()| {
        let before = vm.get_untracked();
        let id = before.id.to_string();
        let cd: Option<ImageId> = chosen.get_untracked().parse().ok();
        let request = replace(before, move |spec| spec.cdrom = cd);
        work.run(request, move |()| {
            toasts.done(if cd.is_some() {
                "The CD is in the drive"
            } else {
                "The drive is empty"
            });
            changed(live, &id);
        });
    };
    view! {
        <div class="card">
            <h2>"CD drive"</h2>
            <Trouble problem=work.problem() />
            <div class="row">
                <SelectField label="" name="CD in the drive" value=chosen options />
                <Button
                    label="Change"
                    busy=work.busy()
                    barred=Signal::derive(move || {
                        let why = barred.get();
                        if why.is_empty() && chosen.get() == now.get() { "It is in the drive already".to_owned() } else { why }
                    })
                    on_press=Callback::new(save)
                />
            </div>
        </div>
    }
}

#[component]
fn AddDisk(vm: Memo<Vm>, close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let from = RwSignal::new("new".to_owned());
    let size = RwSignal::new("20 GiB".to_owned());
    let pool = RwSignal::new(
        live.pools
            .all_untracked()
            .first()
            .map(|pool| pool.id.to_string())
            .unwrap_or_default(),
    );
    let volume = RwSignal::new(String::new());
    let free = Signal::derive(move || {
        let free = live
            .volumes
            .all()
            .into_iter()
            .filter(|v| v.status.vm.is_none() && !v.deleting);
        std::iter::once((String::new(), "Choose a volume".to_owned()))
            .chain(free.map(|v| {
                (
                    v.id.to_string(),
                    format!("{} · {}", v.spec.name, format::bytes(v.spec.size)),
                )
            }))
            .collect::<Vec<_>>()
    });
    let filling = Filling::new(live, size);
    let next = vm.with_untracked(|vm| vm.spec.disks.len());
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let disk = if from.with(|from| from == "new") {
            let pool: Option<PoolId> =
                reader.parse_or(&format!("disks[{next}].pool"), &pool.get(), "choose a pool");
            let size: Option<Bytes> = reader.parse(&format!("disks[{next}].size"), &size.get());
            let image = filling.read(&mut reader, &format!("disks[{next}]."), size);
            let disk = || {
                Some(VmDisk::New {
                    pool: pool?,
                    size: size?,
                    image: image?,
                })
            };
            disk()
        } else {
            let volume: Option<VolumeId> = reader.parse_or(
                &format!("disks[{next}].volume"),
                &volume.get(),
                "choose a volume",
            );
            volume.map(|volume| VmDisk::Volume { volume })
        };
        if let Some(disk) = &disk {
            let mut spec = vm.with(|vm| vm.spec.clone());
            spec.disks.push(disk.clone());
            reader.check(&spec);
        }
        reader.done(disk)
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(disk) = built.get_untracked() else {
                return Ok(());
            };
            replace(vm.get_untracked(), move |spec| spec.disks.push(disk)).await
        };
        form.send(request, move |()| {
            close.set(false);
            toasts.done("The disk is added");
            changed(live, &vm.with_untracked(|vm| vm.id.to_string()));
        });
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <Segments
                    label="Which disk"
                    value=from
                    choices=vec![("new", "A new one"), ("volume", "A volume that exists")]
                />
                {move || {
                    if from.with(|from| from == "new") {
                        view! {
                            <FilledFrom filling prefix=format!("disks[{next}].") />
                            <TextField
                                label="Size"
                                value=size
                                path=format!("disks[{next}].size")
                                hint=filling.hint("It takes room only as it fills, and can grow later.")
                                wide=true
                                autofocus=true
                            />
                            <SelectField
                                label="Pool"
                                value=pool
                                path=format!("disks[{next}].pool")
                                options=Signal::derive(move || pool_options(live))
                            />
                        }
                            .into_any()
                    } else {
                        view! {
                            <SelectField
                                label="Volume"
                                value=volume
                                path=format!("disks[{next}].volume")
                                options=free
                                hint="Volumes that no machine has."
                            />
                        }
                            .into_any()
                    }
                }}
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Add the disk" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

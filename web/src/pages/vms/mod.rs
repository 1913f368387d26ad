//! Virtual machines: the list, with live state, and what can be done to several
//! at once.

pub mod actions;
pub mod cloud_init;
pub mod create;
pub mod detail;
pub mod history;

use std::collections::HashSet;

use ashlar_api::Bytes;
use ashlar_api::user::Role;
use ashlar_api::vm::{Vm, VmAction, VmDisk, VmPhase};
use leptos::prelude::*;
use leptos_router::components::A;

use crate::address;
use crate::components::table::matches;
use crate::components::{
    Button, Empty, Filter, Icon, LinkButton, Look, Pill, SmallMeter, SortHead, Sorting, Spark,
    Until,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::words;
use actions::{Actions, VmMenu};
use history::Histories;

/// The list of machines.
#[component]
pub fn Vms() -> impl IntoView {
    let live = Live::get();
    live.volumes.want();
    provide_context(Histories::start(live));
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let lead = Signal::derive(move || {
        if !live.vms.here() {
            return String::new();
        }
        let vms = live.vms.all();
        let running = vms
            .iter()
            .filter(|vm| vm.status.phase == VmPhase::Running)
            .count();
        match vms.len() {
            0 => "Computers inside this one".to_owned(),
            n => format!(
                "{}, {running} running",
                format::count(n, "machine", "machines")
            ),
        }
    });
    view! {
        <Head title="Virtual machines" lead>
            {move || {
                may.get()
                    .then(|| {
                        view! {
                            <LinkButton
                                href="/vms/new"
                                label="New virtual machine"
                                icon=Icon::Plus
                                look=Look::Primary
                            />
                        }
                    })
            }}
        </Head>
        <div class="card flush">
            <Until collection=live.vms rows=5>
                {move || {
                    if live.vms.count() == 0 { view! { <NoMachines may /> }.into_any() } else { view! { <List /> }.into_any() }
                }}
            </Until>
        </div>
    }
}

#[component]
fn NoMachines(may: Memo<bool>) -> impl IntoView {
    view! {
        <Empty
            icon=Icon::Vm
            title="No virtual machines yet"
            text="A virtual machine is a computer of its own, with processors, memory, disks and network. It starts from an image, and its screen opens here in the browser."
        >
            {may
                .get()
                .then(|| {
                    view! {
                        <LinkButton href="/vms/new" label="New virtual machine" look=Look::Primary icon=Icon::Plus />
                        <LinkButton href="/images?do=add" label="Add an image first" />
                    }
                })}
        </Empty>
    }
}

/// True if somebody should look at the machine.
fn wants_looking_at(vm: &Vm) -> bool {
    vm.status.phase == VmPhase::Failed
        || !vm.status.pending.is_empty()
        || (vm.status.phase == VmPhase::Running && vm.status.kvm == Some(false))
}

fn of_state(vm: &Vm, state: &str) -> bool {
    match state {
        "running" => vm.status.phase == VmPhase::Running,
        "stopped" => vm.status.phase == VmPhase::Stopped,
        "attention" => wants_looking_at(vm),
        _ => true,
    }
}

/// The addresses of a machine.
pub fn addresses(vm: &Vm) -> Vec<String> {
    vm.status
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// The room of a machine's disks together.
fn disk_size(live: Live, vm: &Vm) -> Bytes {
    let size = |disk: &VmDisk| match disk {
        VmDisk::Volume { volume } => live
            .volumes
            .one(&volume.to_string())
            .map_or(0, |v| v.spec.size.0),
        VmDisk::New { size, .. } => size.0,
    };
    Bytes(vm.spec.disks.iter().map(size).sum())
}

#[component]
fn List() -> impl IntoView {
    let live = Live::get();
    let filter = address::query("filter", true);
    let state = address::query("state", true);
    let sorting = Sorting::by("name");
    let selected: RwSignal<HashSet<String>> = RwSignal::default();
    let keys = Memo::new(move |_| {
        let (filter, state) = (filter.get(), state.get());
        let mut vms = live.vms.all();
        vms.retain(|vm| {
            let addresses = addresses(vm).join(" ");
            of_state(vm, &state)
                && matches(
                    &filter,
                    &[vm.spec.name.as_str(), &vm.spec.description, &addresses],
                )
        });
        let (by, descending) = sorting.get();
        match by {
            "state" => vms.sort_by_key(|vm| words::vm_phase(vm.status.phase).1),
            "memory" => vms.sort_by_key(|vm| vm.spec.memory),
            "processor" => vms.sort_by(|a, b| {
                let cpu = |vm: &Vm| vm.status.load.map_or(-1.0, |load| load.cpu);
                cpu(a).total_cmp(&cpu(b))
            }),
            _ => {}
        }
        if descending {
            vms.reverse();
        }
        vms.iter().map(|vm| vm.id.to_string()).collect::<Vec<_>>()
    });
    // What is not shown is not chosen: no act ever meets a machine out of sight.
    let chosen = Memo::new(move |_| {
        let keys = keys.get();
        selected.with(|selected| {
            keys.iter()
                .filter(|key| selected.contains(*key))
                .cloned()
                .collect::<Vec<_>>()
        })
    });
    let all_chosen =
        move || !chosen.with(Vec::is_empty) && chosen.with(Vec::len) == keys.with(Vec::len);
    view! {
        <div class="bar">
            {move || {
                if chosen.with(Vec::is_empty) {
                    view! { <Chips state /> }.into_any()
                } else {
                    view! { <Together chosen selected /> }.into_any()
                }
            }} <Filter value=filter label="Filter by name, address, note" />
        </div>
        <div class="wide">
            <table>
                <thead>
                    <tr>
                        <th scope="col" class="check">
                            <input
                                type="checkbox"
                                aria-label="Choose all"
                                prop:checked=all_chosen
                                prop:indeterminate=move || !chosen.with(Vec::is_empty) && !all_chosen()
                                on:change=move |event| {
                                    let on = event_target_checked(&event);
                                    selected
                                        .set(if on { keys.get_untracked().into_iter().collect() } else { HashSet::new() });
                                }
                            />
                        </th>
                        <SortHead label="Name" column="name" sorting />
                        <SortHead label="State" column="state" sorting />
                        <th scope="col" class="opt2">"Address"</th>
                        <SortHead label="Processor" column="processor" sorting class="opt2" />
                        <SortHead label="Memory" column="memory" sorting class="opt" />
                        <th scope="col" class="num opt">"Disk"</th>
                        <th scope="col"><span class="sr">"Acts"</span></th>
                    </tr>
                </thead>
                <tbody>
                    <For each=move || keys.get() key=Clone::clone children=move |key| view! { <Row key selected /> } />
                </tbody>
            </table>
        </div>
        {move || {
            keys.with(Vec::is_empty)
                .then(|| {
                    view! {
                        <p class="table-end">
                            "No machine is like that. "
                            <button
                                type="button"
                                class="btn s"
                                on:click=move |_| {
                                    filter.set(String::new());
                                    state.set(String::new());
                                }
                            >
                                "Show all"
                            </button>
                        </p>
                    }
                })
        }}
    }
}

#[component]
fn Chips(state: RwSignal<String>) -> impl IntoView {
    let live = Live::get();
    let counts = Memo::new(move |_| {
        let vms = live.vms.all();
        ["", "running", "stopped", "attention"]
            .map(|state| vms.iter().filter(|vm| of_state(vm, state)).count())
    });
    let chip = move |n: usize, key: &'static str, words: &'static str| {
        // The attention of nobody is not worth a word.
        let shown = move || {
            key != "attention" || counts.with(|counts| counts[n] > 0) || state.with(|s| s == key)
        };
        move || {
            shown().then(|| {
                view! {
                    <button
                        type="button"
                        class="chip"
                        aria-pressed=move || state.with(|now| now == key).to_string()
                        on:click=move |_| state.set(key.to_owned())
                    >
                        {move || format!("{words} {}", counts.with(|counts| counts[n]))}
                    </button>
                }
            })
        }
    };
    view! {
        {chip(0, "", "All")}
        {chip(1, "running", "Running")}
        {chip(2, "stopped", "Stopped")}
        {chip(3, "attention", "Needs attention")}
    }
}

/// Acts for the chosen machines.
#[component]
fn Together(chosen: Memo<Vec<String>>, selected: RwSignal<HashSet<String>>) -> impl IntoView {
    let live = Live::get();
    let actions = Actions::get();
    let may = Memo::new(|_| Sessions::get().may(Role::Operator));
    let of = move |action: VmAction| {
        let mut vms: Vec<Vm> = chosen
            .get()
            .iter()
            .filter_map(|key| live.vms.one(key))
            .collect();
        vms.retain(|vm| words::vm_allows(vm.status.phase, action));
        vms
    };
    let button = move |action: VmAction| {
        let (label, _, icon) = words::vm_action(action);
        let barred = Signal::derive(move || {
            if !may.get() {
                "Your role does not allow it".to_owned()
            } else if of(action).is_empty() {
                "None of the chosen machines is in a state for it".to_owned()
            } else {
                String::new()
            }
        });
        view! {
            <Button
                label
                icon
                small=true
                barred
                on_press=move |()| {
                    for vm in untrack(|| of(action)) {
                        actions.run(&vm, action);
                    }
                }
            />
        }
    };
    view! {
        <b>{move || format!("{} chosen", chosen.with(Vec::len))}</b>
        {button(VmAction::Start)}
        {button(VmAction::Shutdown)}
        {button(VmAction::Restart)}
        <Button
            label="Choose none"
            small=true
            look=Look::Quiet
            on_press=move |()| selected.set(HashSet::new())
        />
    }
}

#[component]
fn Row(key: String, selected: RwSignal<HashSet<String>>) -> impl IntoView {
    let live = Live::get();
    let Some(row) = live.vms.row(&key) else {
        return ().into_any();
    };
    let vm = Memo::new(move |_| row.get());
    let key = StoredValue::new(key);
    let chosen = move || key.with_value(|key| selected.with(|selected| selected.contains(key)));
    let name = Signal::derive(move || vm.with(|vm| vm.spec.name.to_string()));
    let phase =
        Memo::new(move |_| vm.with(|vm| (vm.status.phase, vm.deleting, vm.status.message.clone())));
    let state = move || {
        let (phase, deleting, message) = phase.get();
        let (tone, word, icon) = words::vm_phase(if deleting { VmPhase::Deleting } else { phase });
        view! {
            <span title=message>
                <Pill tone word icon=icon />
            </span>
        }
    };
    let address = move || {
        let all = vm.with(addresses);
        let more = all.len().saturating_sub(1);
        match all.into_iter().next() {
            Some(first) if more > 0 => format!("{first} +{more}"),
            Some(first) => first,
            None => "–".to_owned(),
        }
    };
    let load = Memo::new(move |_| {
        vm.with(|vm| {
            vm.status
                .load
                .filter(|_| vm.status.phase == VmPhase::Running)
        })
    });
    let runs = Memo::new(move |_| load.with(Option::is_some));
    let history = Histories::of(key.get_value());
    let processor = move || {
        if runs.get() {
            view! {
                <div class="row nowrap">
                    <Spark values=history top=1.0 />
                    <span class="dim">
                        {move || load.get().map(|load| format::percent(f64::from(load.cpu)))}
                    </span>
                </div>
            }
            .into_any()
        } else {
            "–".into_any()
        }
    };
    let memory = move || {
        if runs.get() {
            let share = Signal::derive(move || {
                load.get().map_or(0.0, |load| {
                    format::ratio(load.memory, vm.with(|vm| vm.spec.memory))
                })
            });
            view! { <SmallMeter share /> }.into_any()
        } else {
            view! { <span class="dim">{move || vm.with(|vm| format::bytes(vm.spec.memory))}</span> }
                .into_any()
        }
    };
    view! {
        <tr aria-selected=move || chosen().to_string()>
            <td class="check">
                <input
                    type="checkbox"
                    aria-label=move || format!("Choose {}", name.get())
                    prop:checked=chosen
                    on:change=move |event| {
                        let on = event_target_checked(&event);
                        selected
                            .update(|selected| {
                                key.with_value(|key| {
                                    if on {
                                        selected.insert(key.clone());
                                    } else {
                                        selected.remove(key);
                                    }
                                });
                            });
                    }
                />
            </td>
            <td>
                <A href=format!("/vms/{}", key.get_value()) attr:class="name">
                    {name}
                </A>
            </td>
            <td>{state}</td>
            <td class="opt2 mono dim">{address}</td>
            <td class="opt2">{processor}</td>
            <td class="opt">{memory}</td>
            <td class="num opt">{move || vm.with(|vm| format::bytes(disk_size(live, vm)))}</td>
            <td class="num">
                <VmMenu vm />
            </td>
        </tr>
    }
    .into_any()
}

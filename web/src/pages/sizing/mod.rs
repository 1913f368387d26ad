//! Sizing: what planned nodes and drives come to. It is reckoned here while one types, by the same code as on the
//! command line and behind the API; nothing is sent.

mod draft;
mod outcome;

use ashlar_api::FieldError;
use ashlar_api::sizing::{Resiliency, Sizing, SizingSpec, size};
use leptos::prelude::*;

use crate::address;
use crate::components::{Button, Form, Icon, PAUSE_MS, Segments, SelectField, TextField, Toasts};
use crate::format::{self, capital};
use crate::live::Live;
use crate::shell::Head;
use draft::{Draft, Field};
use outcome::Outcome;

/// A plan that can be reckoned, and what it comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Reckoned {
    /// The plan.
    pub plan: SizingSpec,
    /// What it comes to.
    pub sizing: Sizing,
}

/// The sizing tool.
#[component]
pub fn SizingPage() -> impl IntoView {
    Live::get().drives.want();
    let link = address::query("plan", true);
    let draft = Draft::new(&link.get_untracked());
    // What is typed is in the address, and what comes into the address is typed.
    Effect::new(move |_| {
        let typed = draft.link();
        if link.with_untracked(|shown| *shown != typed) {
            link.set(typed);
        }
    });
    Effect::new(move |before: Option<()>| {
        let shown = link.get();
        if before.is_some() && untrack(|| draft.link()) != shown {
            draft.follow(&shown);
        }
    });
    let built = Memo::new(move |_| {
        draft.build().and_then(|plan| {
            let sizing = size(&plan)?;
            Ok(Reckoned { plan, sizing })
        })
    });
    // While something can not be read, the figures stay those of the plan before.
    let reckoned = Memo::new(move |before: Option<&Option<Reckoned>>| match built.get() {
        Ok(reckoned) => Some(reckoned),
        Err(_) => before.cloned().flatten(),
    });
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    // A link can bring values that nobody typed here.
    if built.with_untracked(Result::is_err) {
        form.show();
    }
    let answer = Memo::new(move |_| match built.get() {
        Ok(reckoned) => reckoned.sizing.summary,
        Err(errors) => {
            let first = errors.first().map(told).unwrap_or_default();
            if reckoned.with(Option::is_some) {
                format!("{first}. The figures are of the plan before.")
            } else {
                format!("{first}.")
            }
        }
    });
    // Read aloud once the reader pauses: at each key it would drown what is typed.
    let spoken = RwSignal::new(String::new());
    let edits = StoredValue::new(0_u32);
    Effect::new(move |_| {
        let text = answer.get();
        let edit = edits.get_value().wrapping_add(1);
        edits.set_value(edit);
        gloo_timers::callback::Timeout::new(PAUSE_MS, move || {
            if edits.try_get_value() == Some(edit) {
                let _ = spoken.try_set(text);
            }
        })
        .forget();
    });
    view! {
        <Head
            title="Sizing"
            under=move || {
                view! {
                    <span>{move || answer.get()}</span>
                    <span class="sr" role="status">
                        {move || spoken.get()}
                    </span>
                }
            }
        />
        <div class="sizing">
            <form class="stack" on:submit=|event| event.prevent_default()>
                <Nodes draft />
                <Drives draft reckoned />
                <Machine draft />
            </form>
            <div class="stack">
                {move || reckoned.with(Option::is_some).then(|| view! { <Outcome reckoned /> })}
            </div>
        </div>
    }
}

#[component]
fn Nodes(draft: Draft) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let take = move |()| {
        if let Some(node) = live.nodes.all_untracked().into_iter().next() {
            let (memory, threads) = (node.status.memory, node.status.cpus);
            let taken = draft.take(
                live.nodes.count(),
                memory,
                threads,
                &live.drives.all_untracked(),
            );
            toasts.done(taken);
        }
    };
    let known = Memo::new(move |_| live.nodes.count() > 0 && live.drives.here());
    view! {
        <div class="card">
            <h2>
                "Nodes" <span class="r">
                    <Button
                        label="As this node"
                        icon=Icon::Node
                        small=true
                        barred=Signal::derive(move || {
                            if known.get() { String::new() } else { "The node was not read yet".to_owned() }
                        })
                        on_press=take
                    />
                </span>
            </h2>
            <div class="fields">
                <TextField label="Nodes" value=draft.text(Field::Nodes) path="nodes" inputmode="numeric" />
                <TextField
                    label="Memory of each"
                    value=draft.text(Field::Memory)
                    path="memory_per_node"
                    optional=true
                />
                <TextField
                    label="Processor threads"
                    value=draft.text(Field::Threads)
                    path="threads_per_node"
                    inputmode="numeric"
                    optional=true
                />
                <TextField
                    label="Nodes that may fail"
                    value=draft.text(Field::Spare)
                    path="spare_nodes"
                    inputmode="numeric"
                    hint="All machines still run then. Usual is one of two or more."
                    optional=true
                />
            </div>
        </div>
    }
}

#[component]
fn Drives(draft: Draft, reckoned: Memo<Option<Reckoned>>) -> impl IntoView {
    let numbers = Memo::new(move |_| {
        let number = |field| {
            draft
                .text(field)
                .with(|text| text.trim().parse::<u16>().ok())
        };
        (number(Field::Nodes), number(Field::Drives))
    });
    let options = Signal::derive(move || {
        let (nodes, drives) = numbers.get();
        choices(nodes, drives)
    });
    let nested = Memo::new(move |_| {
        draft
            .text(Field::Resiliency)
            .with(|key| key == Resiliency::NestedParity.key())
    });
    let usual_reserve = Signal::derive(move || {
        reckoned.with(|reckoned| {
            reckoned.as_ref().map_or_else(String::new, |reckoned| {
                let plan = &reckoned.plan;
                let usual = reckoned
                    .sizing
                    .resiliency
                    .usual_reserve(plan.nodes, plan.drives_per_node);
                format!(
                    "Of all nodes together, so that a repair can begin at once. Usual here: {usual}."
                )
            })
        })
    });
    view! {
        <div class="card">
            <h2>"Drives for data"</h2>
            <div class="form tight">
                <div class="fields">
                    <TextField
                        label="Drives of each node"
                        value=draft.text(Field::Drives)
                        path="drives_per_node"
                        inputmode="numeric"
                        hint="Without the one that it starts from, and without a cache."
                    />
                    <TextField
                        label="Size of a drive"
                        value=draft.text(Field::Size)
                        path="drive_size"
                        hint="As on its label, such as 3.84 TB."
                    />
                </div>
                <div class="field">
                    <span class="label">"Kind"</span>
                    <Segments
                        label="Kind of drives"
                        value=draft.text(Field::Kind)
                        choices=vec![("flash", "All flash"), ("hybrid", "Disks with a flash cache")]
                    />
                </div>
                <SelectField
                    label="Resiliency"
                    value=draft.text(Field::Resiliency)
                    options
                    path="resiliency"
                />
                <div class="fields">
                    <Show when=move || nested.get()>
                        <TextField
                            label="Mirrored part, in percent"
                            value=draft.text(Field::Mirrored)
                            path="mirror_share"
                            inputmode="numeric"
                            hint="It takes the writes; the rest is kept with parity."
                        />
                    </Show>
                    <TextField
                        label="Drives in reserve"
                        value=draft.text(Field::Reserve)
                        path="reserve_drives"
                        inputmode="numeric"
                        hint=usual_reserve
                        optional=true
                    />
                </div>
            </div>
        </div>
    }
}

#[component]
fn Machine(draft: Draft) -> impl IntoView {
    view! {
        <div class="card">
            <h2>"One virtual machine"</h2>
            <div class="fields">
                <TextField
                    label="Processors"
                    value=draft.text(Field::VmCpus)
                    path="vm.cpus"
                    inputmode="numeric"
                />
                <TextField label="Memory" value=draft.text(Field::VmMemory) path="vm.memory" />
                <TextField
                    label="Disks together"
                    value=draft.text(Field::VmDisk)
                    path="vm.disk"
                    hint="Counted as if they were full."
                />
                <TextField
                    label="Virtual processors to a thread"
                    value=draft.text(Field::Vcpus)
                    path="vcpus_per_thread"
                    inputmode="numeric"
                    hint="1 gives each its own. Machines seldom use all of theirs at once."
                />
            </div>
        </div>
    }
}

/// What is wrong, with the label of its field: here it stands far from it.
fn told(error: &FieldError) -> String {
    let label = match error.field.as_str() {
        "nodes" => "Nodes",
        "memory_per_node" => "Memory of each",
        "threads_per_node" => "Processor threads",
        "spare_nodes" => "Nodes that may fail",
        "drives_per_node" => "Drives of each node",
        "drive_size" => "Size of a drive",
        "resiliency" => "Resiliency",
        "mirror_share" => "Mirrored part",
        "reserve_drives" => "Drives in reserve",
        "vm.cpus" => "Processors of a machine",
        "vm.memory" => "Memory of a machine",
        "vm.disk" => "Disks of a machine",
        "vcpus_per_thread" => "Virtual processors to a thread",
        _ => return capital(&error.message),
    };
    format!("{label}: {}", error.message)
}

/// What can be chosen, and what the rest would need.
fn choices(nodes: Option<u16>, drives: Option<u16>) -> Vec<(String, String)> {
    let usual = match (nodes, drives) {
        (Some(nodes), Some(drives)) => {
            format!("Usual: {}", Resiliency::usual(nodes, drives).name())
        }
        _ => "What is usual".to_owned(),
    };
    let named = |one: Resiliency| {
        let name = capital(one.name());
        let range = one.nodes();
        let text = match nodes {
            Some(nodes) if !range.contains(&nodes) => {
                let need = usize::from(*range.start());
                format!("{name}: needs {}", format::count(need, "node", "nodes"))
            }
            _ => name,
        };
        (one.key().to_owned(), text)
    };
    std::iter::once((String::new(), usual))
        .chain(Resiliency::ALL.map(named))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_names_the_field() {
        let plan = SizingSpec::new(17, 4, ashlar_api::Bytes::gib(500));
        let errors = size(&plan).unwrap_err();
        assert_eq!(told(&errors[0]), "Nodes: between 1 and 16 nodes");
        let unknown = FieldError {
            field: "racks".to_owned(),
            message: "no such field".to_owned(),
        };
        assert_eq!(told(&unknown), "No such field");
    }

    #[test]
    fn choices_say_what_they_need() {
        let two = choices(Some(2), Some(4));
        assert_eq!(two.len(), Resiliency::ALL.len() + 1);
        assert_eq!(two[0], (String::new(), "Usual: two-way mirror".to_owned()));
        let text = |key: &str| {
            let found = two.iter().find(|(one, _)| one == key);
            found.unwrap().1.replace('\u{a0}', " ")
        };
        assert_eq!(text("three-way"), "Three-way mirror: needs 3 nodes");
        assert_eq!(text("nested-mirror"), "Nested two-way mirror");
        assert_eq!(choices(None, Some(4))[0].1, "What is usual");
    }
}

//! The hardware of the node: what failed first, each with what to do; then all
//! that was checked; then the machine itself. A warning can be overridden here by
//! whoever knows of it, and that be taken back.

use ashlar_api::endpoint;
use ashlar_api::error::Code;
use ashlar_api::event::Severity;
use ashlar_api::hardware::{Check, KnownModel, Machine, Module, OverrideRequest, Report};
use ashlar_api::user::Role;
use leptos::prelude::*;
use serde::Serialize;

use crate::client;
use crate::components::notice::sentence;
use crate::components::{
    Bone, Button, Confirm, Empty, Fact, Facts, Icon, Notice, Pill, Toasts, Tone, Trouble, Work,
};
use crate::format::{self, capital};
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::time::Clock;
use crate::words;

/// What can be done on this page.
#[derive(Clone, Copy)]
struct Acts {
    live: Live,
    work: Work,
    /// The check that is to be overridden, while it is asked.
    chosen: RwSignal<Option<Check>>,
    asking: RwSignal<bool>,
}

impl Acts {
    fn ask(self, check: Check) {
        self.chosen.set(Some(check));
        self.asking.set(true);
    }

    // Every act answers with the report as it is then.
    fn run(self, path: &str, body: impl Serialize + 'static, done: impl FnOnce(&Report) + 'static) {
        let path = format!("{}/{path}", endpoint::HARDWARE);
        let request = async move { client::post::<_, Report>(&path, &body).await };
        self.work.run(request, move |report| {
            done(&report);
            self.live.hardware.set(Some(Ok(report)));
        });
    }
}

/// Hardware.
#[component]
pub fn Hardware() -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let acts = Acts {
        live,
        work: Work::new(),
        chosen: RwSignal::new(None),
        asking: RwSignal::new(false),
    };
    let lead = Signal::derive(move || {
        live.hardware.with(|hardware| match hardware {
            Some(Ok(report)) => report.summary.clone(),
            _ => String::new(),
        })
    });
    let may_check = Memo::new(|_| Sessions::get().may(Role::Operator));
    let check_now = move |()| {
        acts.run("check", (), move |report| {
            toasts.done(report.summary.clone())
        });
    };
    view! {
        <Head title="Hardware" lead>
            <Show when=move || may_check.get()>
                <Button
                    label="Check now"
                    icon=Icon::Restart
                    busy=acts.work.busy()
                    on_press=check_now
                />
            </Show>
        </Head>
        <Trouble problem=Signal::derive(move || {
            acts.work.problem().get().filter(|_| !acts.asking.get())
        }) />
        {move || match live.hardware.get() {
            Some(Ok(report)) => view! { <Found report acts /> }.into_any(),
            Some(Err(problem)) if problem.code == Code::Unavailable => {
                view! {
                    <div class="card">
                        <Empty
                            icon=Icon::Chip
                            title="The hardware has not been checked yet"
                            text="It is checked once the machine has all its drivers, some seconds after the start, and then each day: processor, memory, firmware, drives, network and clock."
                        />
                    </div>
                }
                    .into_any()
            }
            Some(Err(problem)) => {
                view! {
                    <Notice
                        tone=Tone::Bad
                        title=capital(&problem.title)
                        text=sentence(&[&problem.detail, &problem.remedy])
                    >
                        <Button
                            label="Try again"
                            small=true
                            on_press=move |()| live.read_hardware()
                        />
                    </Notice>
                }
                    .into_any()
            }
            None => {
                view! {
                    <div class="card stack" aria-busy="true">
                        <span class="sr">"Reading"</span>
                        <Bone width="100%" height="60px" />
                        <Bone width="100%" height="240px" />
                    </div>
                }
                    .into_any()
            }
        }}
        <OverrideDialog acts />
    }
}

#[component]
fn Found(report: Report, acts: Acts) -> impl IntoView {
    let clock = Clock::get();
    let may = Sessions::get().may(Role::Administrator);
    // What must be read stands above, the rest in the table.
    let (urgent, rest): (Vec<Check>, Vec<Check>) = report
        .in_order()
        .into_iter()
        .cloned()
        .partition(|check| check.is_open() && check.severity > Severity::Info);
    let well = urgent.is_empty().then(|| {
        view! {
            <Notice
                tone=Tone::Ok
                title="This machine will do"
                text="The hardware is checked at each start, each day, and whenever you ask. What fails appears here with what to do."
            />
        }
    });
    let at = report.at;
    view! {
        {well}
        {urgent.into_iter().map(|check| view! { <Story check acts may /> }).collect_view()}
        <div class="stack">
            <div class="card flush">
                <h2>
                    "Checks"
                    <span class="r">
                        <time title=move || clock.exact(at)>
                            {move || format!("{} ago", format::duration(clock.since(at)))}
                        </time>
                    </span>
                </h2>
                <div class="wide">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">"Check"</th>
                                <th scope="col">"Result"</th>
                                <th scope="col">"What was found"</th>
                                <th scope="col"><span class="sr">"Acts"</span></th>
                            </tr>
                        </thead>
                        <tbody>
                            {rest
                                .into_iter()
                                .map(|check| view! { <Row check acts may /> })
                                .collect_view()}
                        </tbody>
                    </table>
                </div>
            </div>
            <div class="grid g2">
                <TheMachine machine=report.machine.clone() />
                <Catalogue known=report.known />
            </div>
            {(!report.machine.modules.is_empty())
                .then(|| view! { <Modules modules=report.machine.modules /> })}
        </div>
    }
}

#[component]
fn Story(check: Check, acts: Acts, may: bool) -> impl IntoView {
    let text = sentence(&[&check.finding, &check.remedy]);
    let tone = words::severity(check.severity);
    let title = check.title.clone();
    let button = (may && check.can_be_overridden()).then(|| {
        let check = check.clone();
        view! {
            <Button
                label="Override"
                small=true
                on_press=move |()| acts.ask(check.clone())
            />
        }
    });
    view! {
        <Notice tone title text>
            {button}
        </Notice>
    }
}

#[component]
fn Row(check: Check, acts: Acts, may: bool) -> impl IntoView {
    let clock = Clock::get();
    let toasts = Toasts::get();
    let (tone, word, icon) = words::hardware_check(&check);
    let since = check.since;
    let by = check.overridden.clone().map(|said| {
        view! {
            <p class="dim small">
                {format!("Overridden by {}, ", said.by)}
                <time>{move || clock.exact(said.at)}</time>
                "."
            </p>
        }
    });
    let again = (may && check.overridden.is_some()).then(|| {
        let (id, title) = (check.id.clone(), check.title.clone());
        let go = move |()| {
            let title = title.clone();
            acts.run(&format!("{id}/withdraw"), (), move |_| {
                toasts.done(format!("The warning about {title} is shown again"));
            });
        };
        view! { <Button label="Tell it again" small=true busy=acts.work.busy() on_press=go /> }
    });
    let remedy = (!check.remedy.is_empty())
        .then(|| view! { <p class="dim small">{check.remedy.clone()}</p> });
    view! {
        <tr>
            <td>
                <b>{check.title.clone()}</b>
                <p class="dim small">{check.target.clone()}</p>
            </td>
            <td title=move || format!("since {}", clock.exact(since))>
                <Pill tone word icon />
            </td>
            <td class="fill break">{check.finding.clone()} {remedy} {by}</td>
            <td>{again}</td>
        </tr>
    }
}

#[component]
fn OverrideDialog(acts: Acts) -> impl IntoView {
    let toasts = Toasts::get();
    let of = move |what: fn(&Check) -> String| {
        acts.chosen
            .with(|check| check.as_ref().map(what).unwrap_or_default())
    };
    let go = move |()| {
        let Some(check) = acts.chosen.get_untracked() else {
            return;
        };
        let seen = OverrideRequest {
            identity: check.identity.clone(),
        };
        acts.run(&format!("{}/override", check.id), seen, move |_| {
            acts.asking.set(false);
            toasts.done(format!("The warning about {} is hidden", check.title));
        });
    };
    view! {
        <Confirm
            open=acts.asking
            title=Signal::derive(move || format!("Override: {}", of(|check| check.title.clone())))
            text=Signal::derive(move || {
                format!(
                    "You know of it and live with it: it is told no more, here and in the menu. Nothing about the machine changes. When the check passes, or fails about something else than {}, this ends by itself.",
                    of(|check| check.target.clone()),
                )
            })
            verb="Override"
            busy=acts.work.busy()
            problem=acts.work.problem()
            on_confirm=Callback::new(go)
        >
            <p class="dim small">{move || of(|check| check.finding.clone())}</p>
        </Confirm>
    }
}

/// The parts that are not empty, with blanks between them; a dash for none.
fn joined(parts: &[&str]) -> String {
    let told: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    match told.is_empty() {
        true => "–".to_owned(),
        false => told.join(" "),
    }
}

#[component]
fn TheMachine(machine: Machine) -> impl IntoView {
    let date = machine.firmware_date.map(|date| date.to_string());
    let kind = if machine.is_virtual {
        "a virtual machine"
    } else {
        "a physical machine"
    };
    let processors = format!(
        "{} logical, {}",
        machine.processors,
        format::count(
            usize::try_from(machine.sockets).unwrap_or(usize::MAX),
            "socket",
            "sockets"
        )
    );
    view! {
        <div class="card">
            <h2>"Machine"</h2>
            <Facts>
                <Fact name="Model">{joined(&[&machine.vendor, &machine.model])}</Fact>
                <Fact name="Serial number">
                    <span class="mono">{joined(&[&machine.serial])}</span>
                </Fact>
                <Fact name="Firmware">
                    {joined(&[
                        &machine.firmware_vendor,
                        &machine.firmware_version,
                        date.as_deref().unwrap_or_default(),
                    ])}
                </Fact>
                <Fact name="Processor">{joined(&[&machine.processor])}</Fact>
                <Fact name="Processors">{processors}</Fact>
                <Fact name="Memory">{format::bytes(machine.memory)}</Fact>
                <Fact name="It is">{kind}</Fact>
            </Facts>
        </div>
    }
}

#[component]
fn Modules(modules: Vec<Module>) -> impl IntoView {
    let row = |module: Module| {
        let speed = module.speed.map(|speed| format!("{speed} MT/s"));
        view! {
            <tr>
                <td>
                    <b>{joined(&[&module.slot])}</b>
                </td>
                <td class="num">{format::bytes(module.size)}</td>
                <td>{joined(&[&module.kind, speed.as_deref().unwrap_or_default()])}</td>
                <td class="opt">{joined(&[&module.maker, &module.part])}</td>
                <td class="mono opt2">{joined(&[&module.serial])}</td>
            </tr>
        }
    };
    view! {
        <div class="card flush">
            <h2>
                "Modules of memory" <span class="r">"as the firmware tells"</span>
            </h2>
            <div class="wide">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">"Slot"</th>
                            <th scope="col" class="num">"Size"</th>
                            <th scope="col">"Kind"</th>
                            <th scope="col" class="opt">"Part"</th>
                            <th scope="col" class="opt2">"Serial number"</th>
                        </tr>
                    </thead>
                    <tbody>{modules.into_iter().map(row).collect_view()}</tbody>
                </table>
            </div>
        </div>
    }
}

#[component]
fn Catalogue(known: Option<KnownModel>) -> impl IntoView {
    let content = match known {
        None => view! {
            <p class="dim small">
                "Nobody has measured this model yet. It is no worse for that: the checks are the same for every machine."
            </p>
        }
        .into_any(),
        Some(known) => view! {
            <p class="dim small">{known.note}</p>
            <Facts>
                {known
                    .measured
                    .into_iter()
                    .map(|measured| {
                        let how = format!(
                            "{}; version {}, {}",
                            measured.how,
                            measured.version,
                            measured.when,
                        );
                        view! {
                            <Fact name=measured.what>
                                {measured.result} " " <span class="dim small">{how}</span>
                            </Fact>
                        }
                    })
                    .collect_view()}
            </Facts>
            <p class="dim small">{format!("Known as {}.", known.title)}</p>
        }
        .into_any(),
    };
    view! {
        <div class="card">
            <h2>"Measured on this model"</h2>
            {content}
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn what_is_not_told_is_a_dash() {
        assert_eq!(joined(&["QEMU", "", "Q35"]), "QEMU Q35");
        assert_eq!(joined(&["", ""]), "–");
    }
}

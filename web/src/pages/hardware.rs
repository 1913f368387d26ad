//! The hardware of the node: what failed first, each with what to do; then all
//! that was checked; then the machine itself. A warning can be overridden here by
//! whoever knows of it, and that be taken back.

use ashlar_api::endpoint;
use ashlar_api::error::{Code, Problem};
use ashlar_api::event::Severity;
use ashlar_api::hardware::{Check, KnownModel, Machine, Module, OverrideRequest, Report};
use ashlar_api::user::Role;
use leptos::prelude::*;
use serde::Serialize;
use wasm_bindgen::JsCast;
use web_sys::HtmlElement;

use crate::client;
use crate::components::notice::sentence;
use crate::components::{
    Bone, Button, Confirm, Empty, Fact, Facts, Icon, Look, Notice, Pill, Toasts, Tone, Trouble,
    Work,
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
        self.work.forget();
        self.chosen.set(Some(check));
        self.asking.set(true);
    }

    // Every act answers with the report as it is then.
    fn run(self, path: &str, body: impl Serialize + 'static, done: impl FnOnce(&Report) + 'static) {
        let path = format!("{}/{path}", endpoint::HARDWARE);
        let request = async move { client::post::<_, Report>(&path, &body).await };
        self.work.run(request, move |report| {
            self.live.hardware.set(Some(Ok(report.clone())));
            done(&report);
        });
    }
}

/// What the page shows; a new report of the same kind changes only what differs.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Reading,
    Report,
    Problem(Problem),
}

/// The place of a check on the page.
fn place(id: &str) -> String {
    format!("check-{id}")
}

/// Once the page is as it is then: whoever decided about a check goes on where it stands now.
fn focus(id: &str) {
    let place = place(id);
    gloo_timers::callback::Timeout::new(0, move || {
        let element = document().get_element_by_id(&place);
        if let Some(element) = element.and_then(|found| found.dyn_into::<HtmlElement>().ok()) {
            let _ = element.focus();
        }
    })
    .forget();
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
    let shown = Memo::new(move |_| {
        live.hardware.with(|hardware| match hardware {
            Some(Ok(_)) => Shown::Report,
            Some(Err(problem)) => Shown::Problem(problem.clone()),
            None => Shown::Reading,
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
        {move || match shown.get() {
            Shown::Report => view! { <Found acts /> }.into_any(),
            Shown::Problem(problem) if problem.code == Code::Unavailable => {
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
            Shown::Problem(problem) => {
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
            Shown::Reading => {
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

/// What must be read stands above, the rest in the table.
fn is_urgent(check: &Check) -> bool {
    check.is_open() && check.severity > Severity::Info
}

/// The checks that are urgent, or the others, by id, as a person reads them.
fn ids(report: &Report, urgent: bool) -> Vec<String> {
    let checks = report.in_order().into_iter();
    checks
        .filter(|check| is_urgent(check) == urgent)
        .map(|check| check.id.clone())
        .collect()
}

#[component]
fn Found(acts: Acts) -> impl IntoView {
    let clock = Clock::get();
    let may = Sessions::get().may(Role::Administrator);
    let report = Memo::new(move |_| {
        acts.live.hardware.with(|hardware| match hardware {
            Some(Ok(report)) => Some(report.clone()),
            _ => None,
        })
    });
    let urgent = Memo::new(move |_| {
        report.with(|report| {
            report
                .as_ref()
                .map(|report| ids(report, true))
                .unwrap_or_default()
        })
    });
    let rest = Memo::new(move |_| {
        report.with(|report| {
            report
                .as_ref()
                .map(|report| ids(report, false))
                .unwrap_or_default()
        })
    });
    let at = Memo::new(move |_| report.with(|report| report.as_ref().map(|report| report.at)));
    let machine = Memo::new(move |_| {
        report.with(|report| report.as_ref().map(|report| report.machine.clone()))
    });
    let known = Memo::new(move |_| {
        report.with(|report| report.as_ref().and_then(|report| report.known.clone()))
    });
    let well = move || {
        urgent.with(Vec::is_empty).then(|| {
            view! {
                <Notice
                    tone=Tone::Ok
                    title="This machine will do"
                    text="The hardware is checked at each start, each day, and whenever you ask. What fails appears here with what to do."
                />
            }
        })
    };
    view! {
        {well}
        <For
            each=move || urgent.get()
            key=Clone::clone
            children=move |id| view! { <Story id report acts may /> }
        />
        <div class="stack">
            <div class="card flush">
                <h2>
                    "Checks"
                    <span class="r">
                        {move || {
                            at.get()
                                .map(|at| {
                                    view! {
                                        <time title=move || clock.exact(at)>
                                            {move || {
                                                format!("{} ago", format::duration(clock.since(at)))
                                            }}
                                        </time>
                                    }
                                })
                        }}
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
                            <For
                                each=move || rest.get()
                                key=Clone::clone
                                children=move |id| view! { <Row id report acts may /> }
                            />
                        </tbody>
                    </table>
                </div>
            </div>
            <div class="grid g2">
                {move || machine.get().map(|machine| view! { <TheMachine machine /> })}
                {move || view! { <Catalogue known=known.get() /> }}
            </div>
            {move || {
                let modules = machine.get().map(|machine| machine.modules).unwrap_or_default();
                (!modules.is_empty()).then(|| view! { <Modules modules /> })
            }}
        </div>
    }
}

/// A check in the newest report: what shows it is made anew only when it changed.
fn one(report: Memo<Option<Report>>, id: String) -> Memo<Option<Check>> {
    Memo::new(move |_| report.with(|report| report.as_ref()?.check(&id).cloned()))
}

#[component]
fn Story(id: String, report: Memo<Option<Report>>, acts: Acts, may: bool) -> impl IntoView {
    let check = one(report, id.clone());
    let story = move |check: Check| {
        let text = sentence(&[&check.finding, &check.remedy]);
        let tone = words::severity(check.severity);
        let title = check.title.clone();
        let button = (may && check.can_be_overridden()).then(|| {
            let of = check.title.clone();
            view! {
                <Button
                    label="Override"
                    of
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
    };
    view! {
        <div id=place(&id) tabindex="-1">
            {move || check.get().map(story)}
        </div>
    }
}

#[component]
fn Row(id: String, report: Memo<Option<Report>>, acts: Acts, may: bool) -> impl IntoView {
    let check = one(report, id.clone());
    view! {
        <tr id=place(&id) tabindex="-1">
            {move || check.get().map(|check| cells(check, acts, may))}
        </tr>
    }
}

fn cells(check: Check, acts: Acts, may: bool) -> impl IntoView {
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
        let (id, of) = (check.id.clone(), check.title.clone());
        let title = of.clone();
        let go = move |()| {
            let (title, id) = (title.clone(), id.clone());
            acts.run(&format!("{id}/withdraw"), (), move |_| {
                toasts.done(format!("The warning about {title} is shown again"));
                focus(&id);
            });
        };
        view! { <Button label="Show again" of small=true busy=acts.work.busy() on_press=go /> }
    });
    let remedy = (!check.remedy.is_empty())
        .then(|| view! { <p class="dim small">{check.remedy.clone()}</p> });
    view! {
        <th scope="row">
            <b>{check.title.clone()}</b>
            <p class="dim small">{check.target.clone()}</p>
        </th>
        <td>
            <Pill tone word icon />
            <p class="dim small">"since " <time>{move || clock.exact(since)}</time></p>
        </td>
        <td class="fill break">{check.finding.clone()} {remedy} {by}</td>
        <td>{again}</td>
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
            focus(&check.id);
            toasts.done(format!("The warning about {} is hidden", check.title));
        });
    };
    view! {
        <Confirm
            open=acts.asking
            title=Signal::derive(move || format!("Override: {}", of(|check| check.title.clone())))
            text=Signal::derive(move || {
                format!(
                    "You know of it and live with it: the warning is hidden, here and in the menu. Nothing about the machine changes. When the check passes, or fails about something else than {}, this ends by itself.",
                    of(|check| check.target.clone()),
                )
            })
            verb="Override"
            look=Look::Primary
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

//! Updates: which releases are on the disk, receiving another one, changing to it, and how the newest change went.

use ashlar_api::endpoint;
use ashlar_api::update::{
    Attempt, Ended, Outcome, Receiving, Release, Standing, TrialCheck, Update, UpdateApply,
    UpdateFetch, UpdateRemove, Version,
};
use ashlar_api::user::Role;
use leptos::prelude::*;
use web_sys::File;

use crate::address;
use crate::client;
use crate::components::{
    Bone, Button, Confirm, Dialog, DropZone, Empty, Fact, Facts, Form, Icon, Look, Notice, Pill,
    Progress, Reader, Segments, TextField, Tick, Toasts, Tone, Trouble, Work,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::time::Clock;
use crate::upload::size_of;

/// Updates.
#[component]
pub fn Updates() -> impl IntoView {
    let live = Live::get();
    live.read_update();
    let receiving = address::flag("do", "receive");
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    let lead = Signal::derive(move || {
        live.update
            .with(|update| update.as_ref().map(lead).unwrap_or_default())
    });
    view! {
        <Head title="Updates" lead>
            <Show when=move || may.get()>
                <Button
                    label="Receive a release"
                    icon=Icon::Upload
                    look=Look::Primary
                    on_press=move |()| receiving.set(true)
                />
            </Show>
        </Head>
        <Dialog open=receiving title="Receive a release">
            <Receive close=receiving />
        </Dialog>
        {move || match live.update.get() {
            None => view! { <div class="card"><Bone width="100%" height="180px" /></div> }.into_any(),
            Some(update) => view! { <Told update may /> }.into_any(),
        }}
    }
}

/// How things are, in a sentence.
fn lead(update: &Update) -> String {
    let version = &update.version;
    if !update.problem.is_empty() {
        return format!("Version {version} runs; nothing can be changed now");
    }
    if update.on_trial {
        return format!("Version {version} is on trial: it stays once it has passed its checks");
    }
    let ready = update
        .releases
        .iter()
        .filter(|release| release.standing == Standing::Ready)
        .max_by_key(|release| release.version.clone());
    match ready {
        Some(ready) if ready.version > *version => {
            format!(
                "Version {version} runs; {} is ready to be started",
                ready.version
            )
        }
        _ => format!("Version {version} runs"),
    }
}

#[component]
fn Told(update: Update, may: Memo<bool>) -> impl IntoView {
    let attempt = update.attempt.clone();
    let returned = attempt
        .clone()
        .and_then(|attempt| match attempt.ended.clone() {
            Some(Ended::Returned { reason, kernel, .. }) => Some((attempt, reason, kernel)),
            _ => None,
        });
    view! {
        {(!update.problem.is_empty())
            .then(|| {
                view! {
                    <Notice
                        tone=Tone::Bad
                        title="The releases can not be read"
                        text=format!("{}. Look at the health of the system drive.", format::capital(&update.problem))
                    />
                }
            })}
        {returned
            .map(|(attempt, reason, kernel)| {
                view! {
                    <Notice
                        tone=Tone::Warn
                        title=format!("Version {} did not stay", attempt.to)
                        text=format!("{reason} Version {} is back.", attempt.from)
                    />
                    {(!kernel.is_empty())
                        .then(|| {
                            view! {
                                <details class="more">
                                    <summary>{Icon::Next.view()} "The last lines of the kernel"</summary>
                                    <pre class="log">{kernel.join("\n")}</pre>
                                </details>
                            }
                        })}
                }
            })}
        {(!update.refused.is_empty())
            .then(|| view! { <Notice tone=Tone::Bad title="The last bundle was not taken" text=format::capital(&update.refused) /> })}
        <div class="stack">
            {update.receiving.clone().map(|receiving| view! { <Coming receiving /> })}
            <Releases update=update.clone() may />
            {attempt.map(|attempt| view! { <Change attempt /> })}
        </div>
    }
}

#[component]
fn Coming(receiving: Receiving) -> impl IntoView {
    let share = receiving
        .size
        .map(|size| format::ratio(receiving.received, size));
    let what = match &receiving.version {
        Some(version) => format!("Version {version} is being received"),
        None => "A release is being received".to_owned(),
    };
    let amount = match receiving.size {
        Some(size) => format!(
            "{} of {}",
            format::bytes(receiving.received),
            format::bytes(size)
        ),
        None => format::bytes(receiving.received),
    };
    view! {
        <div class="card stack">
            <h2>{what.clone()} <span class="r">{amount}</span></h2>
            <Progress share=Signal::derive(move || share) label=what />
            <p class="dim small">
                {format!("From {}. It is verified while it comes; what runs is not touched.", receiving.source)}
            </p>
        </div>
    }
}

/// The release that was tried last and did not stay.
fn failed(update: &Update) -> Option<&Version> {
    let attempt = update.attempt.as_ref()?;
    matches!(attempt.ended, Some(Ended::Returned { .. })).then_some(&attempt.to)
}

/// What a person calls a standing.
fn pill(release: &Release, failed: Option<&Version>) -> (Tone, &'static str) {
    match (release.running, release.standing) {
        (true, Standing::Good) => (Tone::Ok, "Runs"),
        (true, _) => (Tone::Info, "On trial"),
        (false, Standing::Ready) => (Tone::Info, "Ready"),
        (false, Standing::Good) => (Tone::Off, "Kept to go back to"),
        (false, Standing::Trial) if release.next => (Tone::Info, "Starts next"),
        (false, Standing::Trial) => (Tone::Off, "Not kept yet"),
        (false, Standing::Aside) if failed == Some(&release.version) => {
            (Tone::Warn, "Did not work")
        }
        (false, Standing::Aside) => (Tone::Off, "Put aside"),
    }
}

#[component]
fn Releases(update: Update, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let running = update.version.clone();
    let can_change = !update.on_trial && update.problem.is_empty();
    let chosen: RwSignal<Option<Version>> = RwSignal::new(None);
    let doomed: RwSignal<Option<Version>> = RwSignal::new(None);
    let starting = RwSignal::new(false);
    let removing = RwSignal::new(false);
    let work = Work::new();
    let name = Signal::derive(move || {
        live.node()
            .map(|node| node.spec.name.to_string())
            .unwrap_or_default()
    });
    let start = move |()| {
        let Some(version) = chosen.get_untracked() else {
            return;
        };
        let confirm = name.get_untracked();
        let wish = UpdateApply {
            version: version.clone(),
            confirm,
        };
        let path = format!("{}/apply", endpoint::UPDATE);
        work.run(async move { client::act(&path, &wish).await }, move |()| {
            starting.set(false);
            toasts.begun(
                format!("The node restarts into version {version}"),
                "The console reconnects by itself.",
            );
        });
    };
    let remove = move |()| {
        let Some(version) = doomed.get_untracked() else {
            return;
        };
        let wish = UpdateRemove {
            version: version.clone(),
        };
        let path = format!("{}/remove", endpoint::UPDATE);
        work.run(async move { client::act(&path, &wish).await }, move |()| {
            removing.set(false);
            toasts.done(format!("Version {version} is removed"));
            live.read_update();
        });
    };
    let version_of = |signal: RwSignal<Option<Version>>| {
        move || {
            signal
                .get()
                .map(|version| version.to_string())
                .unwrap_or_default()
        }
    };
    let older = {
        let running = running.clone();
        move || chosen.get().is_some_and(|version| version < running)
    };
    let did_not_work = failed(&update).cloned();
    let row = move |release: Release| {
        let (tone, word) = pill(&release, did_not_work.as_ref());
        let (for_start, for_removal) = (release.version.clone(), release.version.clone());
        let label = if release.version < running {
            "Go back to it"
        } else {
            "Start it"
        };
        let look = if release.version > running && release.standing == Standing::Ready {
            Look::Primary
        } else {
            Look::Plain
        };
        let acts = !release.running && can_change;
        view! {
            <tr>
                <td>
                    <b>{release.version.to_string()}</b>
                </td>
                <td>
                    <Pill tone word />
                </td>
                <td class="num dim">{format::bytes(release.size)}</td>
                <td class="fill dim opt2">{release.notes.lines().next().unwrap_or_default().to_owned()}</td>
                <td class="num">
                    <Show when=move || may.get() && acts>
                        <div class="actions end">
                            <Button
                                label=label
                                small=true
                                look
                                on_press={
                                    let version = for_start.clone();
                                    move |()| {
                                        chosen.set(Some(version.clone()));
                                        starting.set(true);
                                    }
                                }
                            />
                            <Button
                                label="Remove"
                                small=true
                                look=Look::Bad
                                on_press={
                                    let version = for_removal.clone();
                                    move |()| {
                                        doomed.set(Some(version.clone()));
                                        removing.set(true);
                                    }
                                }
                            />
                        </div>
                    </Show>
                </td>
            </tr>
        }
    };
    let rows: Vec<_> = update.releases.clone().into_iter().map(row).collect();
    let is_empty = rows.is_empty();
    view! {
        <div class="card flush">
            <h2>
                "Releases on this node"
                <span class="r">{format!("{} free for another", format::bytes(update.free))}</span>
            </h2>
            {if is_empty {
                view! {
                    <Empty
                        icon=Icon::Download
                        title="No release was found"
                        text="The system partition holds none that this node knows. Receive one to have it there."
                    />
                }
                    .into_any()
            } else {
                view! {
                    <div class="wide">
                        <table>
                            <thead>
                                <tr>
                                    <th scope="col">"Version"</th>
                                    <th scope="col">"State"</th>
                                    <th scope="col" class="num">"Size"</th>
                                    <th scope="col" class="opt2">"What is new"</th>
                                    <th scope="col"><span class="sr">"Actions"</span></th>
                                </tr>
                            </thead>
                            <tbody>{rows}</tbody>
                        </table>
                    </div>
                }
                    .into_any()
            }}
        </div>
        <Confirm
            open=starting
            title=Signal::derive({
                let version = version_of(chosen);
                move || format!("Restart into version {}", version())
            })
            text=Signal::derive(move || {
                let back = if older() {
                    " Settings that only the version that runs knows may be lost."
                } else {
                    ""
                };
                format!("Machines that run are shut down first, and those that always run start again afterwards. The release is on trial then: it has three attempts to start and to pass its checks, else the one that runs now comes back by itself.{back}")
            })
            name
            verb="Restart into it"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(start)
        />
        <Confirm
            open=removing
            title=Signal::derive({
                let version = version_of(doomed);
                move || format!("Remove version {}", version())
            })
            text="It is removed from the disk of this node. To have it again it must be received again."
            verb="Remove it"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        />
    }
}

#[component]
fn Change(attempt: Attempt) -> impl IntoView {
    let clock = Clock::get();
    let (tone, word, until) = match &attempt.ended {
        None => (Tone::Info, "Goes on", None),
        Some(Ended::Kept { at }) => (Tone::Ok, "Kept", Some(*at)),
        Some(Ended::Returned { at, .. }) => (Tone::Warn, "Came back", Some(*at)),
    };
    let began = attempt.at;
    view! {
        <div class="card stack">
            <h2>"The newest change" <span class="r"><Pill tone word /></span></h2>
            <Facts>
                <Fact name="From">{attempt.from.to_string()}</Fact>
                <Fact name="To">{attempt.to.to_string()}</Fact>
                <Fact name="Asked for by">{attempt.by.clone()}</Fact>
                <Fact name="Began">{move || clock.exact(began)}</Fact>
                {until.map(|at| view! { <Fact name="Ended">{move || clock.exact(at)}</Fact> })}
            </Facts>
            {(!attempt.checks.is_empty())
                .then(|| {
                    view! {
                        <ul class="checks" aria-label="Checks">
                            {attempt.checks.into_iter().map(|check| view! { <CheckLine check /> }).collect_view()}
                        </ul>
                    }
                })}
        </div>
    }
}

#[component]
fn CheckLine(check: TrialCheck) -> impl IntoView {
    let (tone, word) = match check.outcome {
        Outcome::Passed => (Tone::Ok, "Holds"),
        Outcome::Waiting => (Tone::Info, "Waiting"),
        Outcome::Failed => (Tone::Bad, "Does not hold"),
        Outcome::Excused => (Tone::Off, "Did not hold before either"),
    };
    view! {
        <li>
            <Pill tone word />
            <span>
                {check.title}
                {(!check.finding.is_empty())
                    .then(|| view! { <span class="dim">{format!(" {}.", format::capital(&check.finding))}</span> })}
            </span>
        </li>
    }
}

#[component]
fn Receive(close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let from = RwSignal::new("file".to_owned());
    let file: RwSignal<Option<File>, LocalStorage> = RwSignal::new_local(None);
    let url = RwSignal::new(String::new());
    let downgrade = RwSignal::new(false);
    let by_url = move || from.with(|from| from == "url");
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let wish = UpdateFetch {
            url: url.get().trim().to_owned(),
            downgrade: downgrade.get(),
        };
        if by_url() {
            reader.check(&wish);
        }
        reader.done(Some(wish))
    });
    let has_file = Memo::new(move |_| file.with(Option::is_some));
    let form = Form::provide(move || built.get().err().unwrap_or_default());
    let send = move || {
        let request = async move {
            let Ok(wish) = built.get_untracked() else {
                return Ok(None);
            };
            if from.with_untracked(|from| from == "url") {
                let path = format!("{}/fetch", endpoint::UPDATE);
                client::act(&path, &wish).await?;
                return Ok(Some("The node fetches the release by itself"));
            }
            let Some(file) = file.get_untracked() else {
                return Ok(None);
            };
            let path = format!("{}/bundle", endpoint::UPDATE);
            let path = client::with_query(&path, "downgrade", &wish.downgrade.to_string());
            let size = size_of(&file);
            client::put_piece(&path, &file, 0, size, size, None).await?;
            Ok(Some("The release is on the disk and can be started"))
        };
        form.send(request, move |told| {
            if let Some(told) = told {
                close.set(false);
                toasts.done(told);
            }
            live.read_update();
        });
    };
    let share = Signal::derive(move || {
        live.update.with(|update| {
            let receiving = update.as_ref()?.receiving.as_ref()?;
            Some(format::ratio(receiving.received, receiving.size?))
        })
    });
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <Segments
                    label="Where it comes from"
                    value=from
                    choices=vec![("file", "From this computer"), ("url", "From an address")]
                />
                {move || {
                    if by_url() {
                        view! {
                            <TextField
                                label="Address"
                                value=url
                                path="url"
                                placeholder="https://"
                                inputmode="url"
                                hint="The node fetches it, not this computer."
                                wide=true
                                autofocus=true
                            />
                        }
                            .into_any()
                    } else {
                        view! {
                            <DropZone
                                file
                                hint="A bundle: its name ends in .ashlar"
                                choose=Callback::new(move |chosen| file.set(Some(chosen)))
                            />
                        }
                            .into_any()
                    }
                }}
                <details class="more">
                    <summary>{Icon::Next.view()} "More"</summary>
                    <Tick
                        label="Take it even if it is older than what runs"
                        value=downgrade
                        hint="Settings that only the newer version knows may be lost once it is started."
                    />
                </details>
                {move || {
                    form.busy()
                        .get()
                        .then(|| view! { <Progress share label="How much of the release has come" /> })
                }}
                <p class="dim small">
                    "Only what was signed for this appliance is taken. What runs is not touched: the release waits until it is started."
                </p>
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button
                    label=Signal::derive(move || if by_url() { "Fetch".to_owned() } else { "Send".to_owned() })
                    look=Look::Primary
                    submit=true
                    busy=form.busy()
                    barred=Signal::derive(move || {
                        if !by_url() && !has_file.get() { "Choose a file first".to_owned() } else { String::new() }
                    })
                />
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ashlar_api::Bytes;

    fn release(version: &str, standing: Standing, running: bool) -> Release {
        Release {
            version: version.parse().unwrap(),
            standing,
            tries_left: None,
            running,
            next: running,
            seen: true,
            size: Bytes(1),
            notes: String::new(),
        }
    }

    #[test]
    fn the_first_line_says_what_runs_and_what_waits() {
        let mut update = Update {
            version: "0.1.0".parse().unwrap(),
            on_trial: false,
            releases: vec![release("0.1.0", Standing::Good, true)],
            free: Bytes(0),
            receiving: None,
            refused: String::new(),
            attempt: None,
            problem: String::new(),
        };
        assert_eq!(lead(&update), "Version 0.1.0 runs");
        update
            .releases
            .push(release("0.2.0", Standing::Ready, false));
        assert_eq!(
            lead(&update),
            "Version 0.1.0 runs; 0.2.0 is ready to be started"
        );
        update.on_trial = true;
        assert!(lead(&update).contains("is on trial"));
        assert_eq!(pill(&update.releases[1], None).1, "Ready");
        let aside = release("0.3.0", Standing::Aside, false);
        assert_eq!(pill(&aside, None).1, "Put aside");
        assert_eq!(pill(&aside, Some(&aside.version)).1, "Did not work");
    }
}

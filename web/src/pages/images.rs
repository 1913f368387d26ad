//! Images: files that new disks are filled from and machines are installed from.
//! They come from this computer, by choosing or by dropping them anywhere on the
//! page, or from a web address.

mod add;
pub mod choice;

use ashlar_api::image::{Image, ImagePhase, ImageSource};
use ashlar_api::user::Role;
use ashlar_api::{Name, endpoint};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{DragEvent, File, HtmlInputElement};

use crate::address;
use crate::client;
use crate::components::notice::sentence;
use crate::components::table::matches;
use crate::components::{
    AreaField, Button, Confirm, Dialog, Empty, Filter, Form, Icon, Item, Look, Menu, Pill,
    Progress, Reader, SortHead, Sorting, TextField, Toasts, Tone, Trouble, Until, Work, copy::copy,
};
use crate::format;
use crate::live::Live;
use crate::session::Sessions;
use crate::shell::Head;
use crate::time::Clock;
use crate::upload::{Stage, Uploads, size_of};
use crate::words;

/// The images.
#[component]
pub fn Images() -> impl IntoView {
    let live = Live::get();
    live.pools.want();
    let adding = address::flag("do", "add");
    let filter = address::query("filter", true);
    let sorting = Sorting::by("name");
    let may = Memo::new(|_| Sessions::get().may(Role::Administrator));
    // Files dropped on the page go into the dialog.
    let dropped: RwSignal<Option<File>, LocalStorage> = RwSignal::new_local(None);
    let lead = Signal::derive(move || {
        if !live.images.here() {
            return String::new();
        }
        let images = live.images.all();
        let room: u64 = images.iter().map(|image| image.status.size.0).sum();
        match images.len() {
            0 => "What machines start from".to_owned(),
            n => format!(
                "{}, {} together",
                format::count(n, "image", "images"),
                format::bytes(ashlar_api::Bytes(room))
            ),
        }
    });
    let drop = move |event: DragEvent| {
        event.prevent_default();
        let file = event
            .data_transfer()
            .and_then(|data| data.files())
            .and_then(|files| files.get(0));
        if let Some(file) = file.filter(|_| may.get_untracked()) {
            dropped.set(Some(file));
            adding.set(true);
        }
    };
    view! {
        <div on:dragover=|event| event.prevent_default() on:drop=drop>
            <Head title="Images" lead>
                {move || {
                    may.get()
                        .then(|| {
                            view! {
                                <Button
                                    label="Add an image"
                                    icon=Icon::Plus
                                    look=Look::Primary
                                    on_press=move |()| adding.set(true)
                                />
                            }
                        })
                }}
            </Head>
            <div class="card flush">
                <Until collection=live.images>
                    <List filter sorting adding may />
                </Until>
            </div>
        </div>
        <Dialog open=adding title="Add an image">
            <add::AddImage close=adding dropped />
        </Dialog>
    }
}

#[component]
fn List(
    filter: RwSignal<String>,
    sorting: Sorting,
    adding: RwSignal<bool>,
    may: Memo<bool>,
) -> impl IntoView {
    let live = Live::get();
    let keys = Memo::new(move |_| {
        let filter = filter.get();
        let mut images = live.images.all();
        images.retain(|image| {
            matches(
                &filter,
                &[image.spec.name.as_str(), &image.spec.description],
            )
        });
        let (by, descending) = sorting.get();
        match by {
            "size" => images.sort_by_key(|image| image.status.size),
            "added" => images.sort_by_key(|image| image.created_at),
            _ => {}
        }
        if descending {
            images.reverse();
        }
        images
            .iter()
            .map(|image| image.id.to_string())
            .collect::<Vec<_>>()
    });
    move || {
        if live.images.count() == 0 {
            return view! {
                <Empty
                    icon=Icon::Image
                    title="No images yet"
                    text="A cloud image (qcow2 or raw) is a ready disk that starts in seconds; an ISO installs a system as from a CD. Disks of VMware and Hyper-V are understood too. Drop a file here, or give its address."
                >
                    {may
                        .get()
                        .then(|| {
                            view! {
                                <Button
                                    label="Add an image"
                                    look=Look::Primary
                                    icon=Icon::Plus
                                    on_press=move |()| adding.set(true)
                                />
                            }
                        })}
                </Empty>
            }
            .into_any();
        }
        view! {
            <div class="bar">
                <Filter value=filter label="Filter by name or note" />
            </div>
            <div class="wide">
                <table>
                    <thead>
                        <tr>
                            <SortHead label="Name" column="name" sorting />
                            <th scope="col">"State"</th>
                            <th scope="col" class="opt2">"Kind"</th>
                            <SortHead label="File" column="size" sorting class="num opt3" />
                            <th scope="col" class="num opt2">"Disk at least"</th>
                            <SortHead label="Added" column="added" sorting class="opt" />
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
                    .then(|| view! { <p class="table-end">"No image has these words."</p> })
            }}
        }
        .into_any()
    }
}

#[component]
fn Row(key: String, may: Memo<bool>) -> impl IntoView {
    let live = Live::get();
    let clock = Clock::get();
    let toasts = Toasts::get();
    let Some(row) = live.images.row(&key) else {
        return ().into_any();
    };
    let image = Memo::new(move |_| row.get());
    let editing = RwSignal::new(false);
    let deleting = RwSignal::new(false);
    let name = Signal::derive(move || image.with(|i| i.spec.name.to_string()));
    let from_url = move || {
        image.with(|i| match &i.spec.source {
            ImageSource::Url { url } => Some(url.clone()),
            ImageSource::Upload { .. } => None,
        })
    };
    view! {
        <tr>
            <td class="fill">
                <b>{name}</b>
                {move || {
                    let note = image.with(|i| i.spec.description.clone());
                    (!note.is_empty()).then(|| view! { <div class="under">{note}</div> })
                }}
            </td>
            <td class="fill">
                <State image may />
            </td>
            <td class="opt2 dim">
                {move || image.with(|i| i.status.format.map_or("–", words::image_format))}
            </td>
            <td class="num opt3">{move || image.with(|i| format::bytes(i.status.size))}</td>
            <td class="num opt2">
                {move || {
                    image.with(|i| match i.status.virtual_size.0 {
                        0 => "–".to_owned(),
                        _ => format::bytes(i.status.virtual_size),
                    })
                }}
            </td>
            <td class="opt dim">
                {move || {
                    let at = image.with(|i| i.created_at);
                    view! { <time title=move || clock.exact(at)>{move || clock.brief(at)}</time> }
                }}
            </td>
            <td class="num">
                <Menu label=Signal::derive(move || format!("Acts for {}", name.get()))>
                    {move || {
                        image
                            .with(|i| i.status.sha256.clone())
                            .map(|sum| {
                                view! {
                                    <Item
                                        label="Copy its SHA-256"
                                        icon=Icon::Copy
                                        on_press=move |()| copy(sum.clone(), toasts)
                                    />
                                }
                            })
                    }}
                    {move || {
                        from_url()
                            .map(|url| {
                                view! {
                                    <Item
                                        label="Copy its address"
                                        icon=Icon::Copy
                                        on_press=move |()| copy(url.clone(), toasts)
                                    />
                                }
                            })
                    }}
                    {move || {
                        may.get()
                            .then(|| {
                                view! {
                                    <Item
                                        label="Rename"
                                        icon=Icon::Edit
                                        on_press=move |()| editing.set(true)
                                    />
                                    <Item
                                        label="Delete"
                                        icon=Icon::Trash
                                        bad=true
                                        on_press=move |()| deleting.set(true)
                                    />
                                }
                            })
                    }}
                </Menu>
                <Dialog open=editing title=Signal::derive(move || format!("Rename {}", name.get()))>
                    <Edit image close=editing />
                </Dialog>
                <Remove image open=deleting />
            </td>
        </tr>
    }
    .into_any()
}

/// How an image stands; while its bytes come, how many are here.
#[component]
fn State(image: Memo<Image>, may: Memo<bool>) -> impl IntoView {
    let uploads = Uploads::get();
    move || {
        let now = image.get();
        let upload = uploads.of(&now.id.to_string());
        if now.deleting {
            let (tone, word, icon) = words::image_phase(ImagePhase::Deleting);
            return view! { <Pill tone word icon=icon /> }.into_any();
        }
        if now.status.phase == ImagePhase::Receiving {
            return view! { <Receiving image may /> }.into_any();
        }
        let (mut tone, mut word, mut icon) = words::image_phase(now.status.phase);
        let mut message = now.status.condition.message.clone();
        // What this console sent must be what the appliance has.
        let sent = upload.and_then(|upload| upload.sum.get());
        match (&now.status.sha256, sent) {
            (Some(there), Some(sent)) if !there.eq_ignore_ascii_case(&sent) => {
                (tone, word, icon) = (Tone::Bad, "Damaged", Icon::Alert);
                message = "Its checksum is not that of the file that was sent. Delete it and send it again.".to_owned();
            }
            (Some(_), Some(_)) if now.status.phase == ImagePhase::Ready => {
                message = "Its checksum is that of the file.".to_owned();
            }
            _ => {}
        }
        let remedy = now.status.condition.remedy;
        view! {
            <Pill tone word icon=icon />
            {(!message.is_empty()).then(|| view! { <div class="under">{sentence(&[&message, &remedy])}</div> })}
        }
        .into_any()
    }
}

#[component]
fn Receiving(image: Memo<Image>, may: Memo<bool>) -> impl IntoView {
    let uploads = Uploads::get();
    let id = image.with_untracked(|image| image.id.to_string());
    let upload = Memo::new_with_compare(move |_| uploads.of(&id), |_, _| true);
    let progress = move || {
        image.with(|image| {
            let here = upload
                .get()
                .map_or(image.status.received.0, |upload| upload.sent.get());
            let size = match image.spec.source {
                ImageSource::Upload { size } => size.0,
                ImageSource::Url { .. } => image.status.size.0,
            };
            (here, size)
        })
    };
    let share = Signal::derive(move || {
        let (here, size) = progress();
        (size > 0).then(|| here as f64 / size as f64)
    });
    let words = move || {
        let (here, size) = progress();
        let amount = if size > 0 {
            let (part, whole) = format::share_of(ashlar_api::Bytes(here), ashlar_api::Bytes(size));
            format!("{part} of {whole}")
        } else {
            format::bytes(ashlar_api::Bytes(here))
        };
        match upload.get().map(|upload| upload.stage.get()) {
            Some(Stage::Sending) => format!("Uploading: {amount}"),
            Some(Stage::Waiting) => format!("Waiting for the appliance: {amount}"),
            Some(Stage::Sent) => "All is here".to_owned(),
            Some(Stage::Stopped) => format!("Stopped: {amount}"),
            Some(Stage::Failed(problem)) => problem.to_string(),
            None => format!("Receiving: {amount}"),
        }
    };
    let sending = move || {
        upload
            .get()
            .filter(|upload| matches!(upload.stage.get(), Stage::Sending | Stage::Waiting))
    };
    let uploaded =
        move || image.with(|image| matches!(image.spec.source, ImageSource::Upload { .. }));
    view! {
        <div class="rowline">
            <Progress share label="Received" />
            <span class="under">{words}</span>
            {move || match sending() {
                Some(upload) => {
                    view! { <div><Button label="Stop" small=true on_press=move |()| upload.stop() /></div> }
                        .into_any()
                }
                None if uploaded() && may.get() => view! { <GoOn image /> }.into_any(),
                None => ().into_any(),
            }}
        </div>
    }
}

/// Goes on with an upload that was interrupted: the same file, chosen again.
#[component]
fn GoOn(image: Memo<Image>) -> impl IntoView {
    let uploads = Uploads::get();
    let toasts = Toasts::get();
    let input: NodeRef<leptos::html::Input> = NodeRef::new();
    let chosen = move |event: web_sys::Event| {
        let file = event
            .target()
            .and_then(|target| target.dyn_into::<HtmlInputElement>().ok())
            .and_then(|input| input.files())
            .and_then(|files| files.get(0));
        let Some(file) = file else { return };
        let image = image.get_untracked();
        let wanted = match image.spec.source {
            ImageSource::Upload { size } => size.0,
            ImageSource::Url { .. } => 0,
        };
        if size_of(&file) == wanted {
            uploads.go_on(file, &image);
        } else {
            toasts.bad(
                "This is another file",
                format!(
                    "The upload began with a file of {}. Choose that one.",
                    format::bytes(ashlar_api::Bytes(wanted))
                ),
            );
        }
    };
    view! {
        <div>
            <input type="file" hidden node_ref=input on:change=chosen />
            <Button
                label="Choose the file to go on"
                small=true
                on_press=move |()| {
                    if let Some(input) = input.get_untracked() {
                        input.click();
                    }
                }
            />
        </div>
    }
}

#[component]
fn Edit(image: Memo<Image>, close: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let before = image.get_untracked();
    let name = RwSignal::new(before.spec.name.to_string());
    let note = RwSignal::new(before.spec.description.clone());
    let before = StoredValue::new(before);
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let spec = name.map(|name| {
            let mut spec = before.with_value(|image| image.spec.clone());
            spec.name = name;
            spec.description = note.get().trim().to_owned();
            spec
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
            let (id, revision) = before.with_value(|image| (image.id, image.revision));
            client::put(&format!("{}/{id}", endpoint::IMAGES), Some(revision), &spec).await
        };
        form.send(request, move |()| {
            close.set(false);
            live.images
                .touch(&before.with_value(|image| image.id.to_string()));
        });
    };
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                <Trouble problem=form.problem() />
                <TextField label="Name" value=name path="name" wide=true autofocus=true />
                <AreaField label="What is in it" value=note path="description" optional=true />
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button label="Save" look=Look::Primary submit=true busy=form.busy() />
            </div>
        </form>
    }
}

#[component]
fn Remove(image: Memo<Image>, open: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let uploads = Uploads::get();
    let work = Work::new();
    let name = Signal::derive(move || image.with(|i| i.spec.name.to_string()));
    let remove = move |()| {
        let id = image.with_untracked(|i| i.id.to_string());
        if let Some(upload) = untrack(|| uploads.of(&id)) {
            upload.stop();
        }
        let path = format!("{}/{id}", endpoint::IMAGES);
        work.run(async move { client::delete(&path).await }, move |()| {
            open.set(false);
            toasts.done(format!("Image {} is deleted", name.get_untracked()));
            live.images.touch(&id);
        });
    };
    view! {
        <Confirm
            open
            title=Signal::derive(move || format!("Delete image {}", name.get()))
            text="Machines that were made from it keep their disks. An image that is in a machine's CD drive is not deleted: take it out first."
            name
            verb="Delete the image"
            busy=work.busy()
            problem=work.problem()
            on_confirm=Callback::new(remove)
        />
    }
}

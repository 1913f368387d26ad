//! Adding an image: a file of this computer, or a web address.

use ashlar_api::image::{Image, ImageSource, ImageSpec};
use ashlar_api::{Bytes, Name, endpoint};
use leptos::prelude::*;
use leptos_router::components::A;
use web_sys::File;

use crate::client;
use crate::components::{
    Button, DropZone, Form, Icon, Look, Notice, Reader, Segments, TextField, Toasts, Tone, Trouble,
};
use crate::format;
use crate::live::Live;
use crate::upload::{Uploads, size_of};

/// The last part of an address, as the name of what is there.
fn name_of_url(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    match path.rsplit_once('/') {
        Some((_, last)) => format::name_from(last),
        None => String::new(),
    }
}

/// The fields of a new image.
#[component]
pub fn AddImage(
    /// Closes the dialog.
    close: RwSignal<bool>,
    /// A file that was dropped on the page.
    dropped: RwSignal<Option<File>, LocalStorage>,
) -> impl IntoView {
    let live = Live::get();
    let toasts = Toasts::get();
    let uploads = Uploads::get();
    let from = RwSignal::new("file".to_owned());
    let file: RwSignal<Option<File>, LocalStorage> = RwSignal::new_local(None);
    let url = RwSignal::new(String::new());
    let name = RwSignal::new(String::new());
    let note = RwSignal::new(String::new());
    let sum = RwSignal::new(String::new());
    // The name follows the file until somebody types another.
    let proposed = RwSignal::new(String::new());
    let propose = move |text: String| {
        if name.with_untracked(|name| name.is_empty() || proposed.with_untracked(|p| p == name)) {
            name.set(text.clone());
        }
        proposed.set(text);
    };
    let choose = move |chosen: File| {
        propose(format::name_from(&chosen.name()));
        file.set(Some(chosen));
        from.set("file".to_owned());
    };
    Effect::new(move |_| {
        if let Some(chosen) = dropped.get() {
            dropped.set(None);
            choose(chosen);
        }
    });
    Effect::new(move |_| {
        let url = url.get();
        if from.with_untracked(|from| from == "url") {
            propose(name_of_url(url.trim()));
        }
    });
    let size = Memo::new(move |_| file.with(|file| file.as_ref().map(size_of)));
    let built = Memo::new(move |_| {
        let mut reader = Reader::new();
        let name: Option<Name> = reader.parse("name", &name.get());
        let source = if from.with(|from| from == "url") {
            Some(ImageSource::Url {
                url: url.get().trim().to_owned(),
            })
        } else {
            let size = size.get();
            if size.is_none() {
                reader.note("source", "choose a file");
            }
            size.map(|size| ImageSource::Upload { size: Bytes(size) })
        };
        let sum = sum.get().trim().to_ascii_lowercase();
        let spec = name.zip(source).map(|(name, source)| ImageSpec {
            name,
            description: note.get().trim().to_owned(),
            source,
            sha256: (!sum.is_empty()).then_some(sum),
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
            let name = spec.name.clone();
            match file
                .get_untracked()
                .filter(|_| from.with_untracked(|from| from != "url"))
            {
                Some(file) => {
                    uploads.begin(file, spec).await?;
                    toasts.begun(
                        format!("{name} is being uploaded"),
                        "It goes on while you use other pages of the console.",
                    );
                }
                None => {
                    let image: Image = client::post(endpoint::IMAGES, &spec).await?;
                    live.images.put(image);
                    toasts.begun(
                        format!("{name} is being fetched"),
                        "The appliance fetches it by itself; the browser can be closed.",
                    );
                }
            }
            Ok(())
        };
        form.send(request, move |()| close.set(false));
    };
    let no_pool = Memo::new(move |_| live.pools.here() && live.pools.count() == 0);
    view! {
        <form on:submit=move |event| {
            event.prevent_default();
            send();
        }>
            <div class="dialog-body">
                {move || {
                    no_pool
                        .get()
                        .then(|| {
                            view! {
                                <Notice
                                    tone=Tone::Warn
                                    title="There is no pool yet"
                                    text="Images live in a pool of drives. Make one first."
                                >
                                    <A href="/storage?do=pool" attr:class="btn s">
                                        "New pool"
                                    </A>
                                </Notice>
                            }
                        })
                }} <Trouble problem=form.problem() />
                <Segments
                    label="Where it comes from"
                    value=from
                    choices=vec![("file", "From this computer"), ("url", "From an address")]
                />
                {move || {
                    if from.with(|from| from == "url") {
                        view! {
                            <TextField
                                label="Address"
                                value=url
                                path="source.url"
                                placeholder="https://"
                                inputmode="url"
                                hint="The appliance fetches it, not this computer."
                                wide=true
                                autofocus=true
                            />
                        }
                            .into_any()
                    } else {
                        view! {
                            <DropZone
                                file
                                hint="qcow2, raw, vmdk, vhdx, vhd or ISO; its content tells which"
                                choose=Callback::new(choose)
                            />
                        }
                            .into_any()
                    }
                }} <TextField label="Name" value=name path="name" wide=true />
                <details class="more">
                    <summary>{Icon::Next.view()} "More"</summary>
                    <div class="form tight">
                        <TextField
                            label="SHA-256 that it must have"
                            value=sum
                            path="sha256"
                            optional=true
                            wide=true
                            hint="As its publisher gives it. What has another is refused."
                        />
                        <TextField
                            label="What is in it"
                            value=note
                            path="description"
                            optional=true
                            wide=true
                        />
                    </div>
                </details>
            </div>
            <div class="dialog-foot">
                <Button label="Cancel" on_press=move |()| close.set(false) />
                <Button
                    label=Signal::derive(move || {
                        if from.with(|from| from == "url") { "Fetch".to_owned() } else { "Upload".to_owned() }
                    })
                    look=Look::Primary
                    submit=true
                    busy=form.busy()
                    barred=Signal::derive(move || {
                        if from.with(|from| from != "url") && size.get().is_none() {
                            "Choose a file first".to_owned()
                        } else {
                            String::new()
                        }
                    })
                />
            </div>
        </form>
    }
}

#[cfg(test)]
mod tests {
    use super::name_of_url;

    #[test]
    fn names_come_from_addresses() {
        assert_eq!(
            name_of_url("https://example.org/a/debian-13.qcow2?x=/y"),
            "debian-13.qcow2"
        );
        assert_eq!(name_of_url("https://example.org"), "");
        assert_eq!(name_of_url("https://example.org/"), "");
    }
}

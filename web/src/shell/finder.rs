//! The finder (Ctrl K): pages, settings and acts by their words, objects by name
//! and address. Works by keyboard alone: type, arrows, Enter.

use std::collections::HashSet;

use ashlar_api::job::Kind;
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDialogElement, HtmlElement};

use crate::components::{Icon, table::matches};
use crate::format;
use crate::live::Live;
use crate::words;

/// At most so many results of one group.
const MOST: usize = 8;

#[derive(Clone, PartialEq)]
struct Hit {
    group: &'static str,
    icon: Icon,
    name: String,
    more: String,
    to: String,
}

/// Pages and acts: name, further words to find it by, picture, address.
const PLACES: [(&str, &str, &str, Icon, &str); 24] = [
    (
        "Go to",
        "Overview",
        "home load processor memory",
        Icon::Home,
        "/",
    ),
    (
        "Go to",
        "Virtual machines",
        "vm guests list",
        Icon::Vm,
        "/vms",
    ),
    (
        "Go to",
        "Images",
        "iso qcow2 library",
        Icon::Image,
        "/images",
    ),
    (
        "Go to",
        "Node",
        "processor services log restart control plane supervisor power off",
        Icon::Node,
        "/nodes",
    ),
    (
        "Go to",
        "Hardware",
        "check tpm secure boot ecc memory modules firmware bios serial number model processor iommu watchdog clock",
        Icon::Chip,
        "/hardware",
    ),
    (
        "Go to",
        "Storage",
        "pools drives volumes disks lvm",
        Icon::Storage,
        "/storage",
    ),
    (
        "Go to",
        "Networks",
        "interfaces bridge nat dhcp leases",
        Icon::Network,
        "/networks",
    ),
    (
        "Go to",
        "Health and history",
        "faults events log warnings",
        Icon::Pulse,
        "/health",
    ),
    ("Go to", "Jobs", "progress tasks", Icon::Jobs, "/jobs"),
    (
        "Go to",
        "Updates",
        "release version upgrade rollback bundle",
        Icon::Download,
        "/updates",
    ),
    (
        "Go to",
        "Sizing",
        "capacity planner plan usable room resiliency efficiency calculator hardware",
        Icon::Ruler,
        "/sizing",
    ),
    ("Go to", "About", "version licence", Icon::Info, "/about"),
    (
        "Settings",
        "Site",
        "name time zone ntp description",
        Icon::Gear,
        "/settings",
    ),
    (
        "Settings",
        "Node settings",
        "host name restart control plane power off",
        Icon::Node,
        "/settings/node",
    ),
    (
        "Settings",
        "Certificate",
        "tls https fingerprint",
        Icon::Shield,
        "/settings/certificate",
    ),
    (
        "Settings",
        "Users",
        "people roles password accounts",
        Icon::User,
        "/settings/users",
    ),
    (
        "Settings",
        "API tokens",
        "automation secret bearer",
        Icon::Key,
        "/settings/tokens",
    ),
    (
        "Settings",
        "Sessions",
        "signed in devices password",
        Icon::Lock,
        "/settings/sessions",
    ),
    (
        "Settings",
        "Management network",
        "address dhcp static gateway dns",
        Icon::Network,
        "/networks?do=management",
    ),
    (
        "Do",
        "New virtual machine",
        "create add vm",
        Icon::Plus,
        "/vms/new",
    ),
    (
        "Do",
        "Add an image",
        "upload download url iso qcow2",
        Icon::Upload,
        "/images?do=add",
    ),
    (
        "Do",
        "New pool",
        "create storage drives",
        Icon::Plus,
        "/storage?do=pool",
    ),
    (
        "Do",
        "New volume",
        "create disk",
        Icon::Plus,
        "/storage?do=volume",
    ),
    (
        "Do",
        "New network",
        "create nat bridged isolated",
        Icon::Plus,
        "/networks?do=new",
    ),
];

fn places(words: &str) -> Vec<Hit> {
    PLACES
        .iter()
        .filter(|(_, name, more, _, _)| matches(words, &[name, more]))
        .map(|(group, name, _, icon, to)| Hit {
            group,
            icon: *icon,
            name: (*name).to_owned(),
            more: String::new(),
            to: (*to).to_owned(),
        })
        .collect()
}

fn objects(live: Live, words: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let vms = live.vms.all().into_iter().filter_map(|vm| {
        let addresses: Vec<String> = vm
            .status
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect();
        let macs: Vec<String> = vm
            .spec
            .nics
            .iter()
            .filter_map(|n| n.mac)
            .map(|m| m.to_string())
            .collect();
        let id = vm.id.to_string();
        let found = matches(
            words,
            &[
                vm.spec.name.as_str(),
                &vm.spec.description,
                &addresses.join(" "),
                &macs.join(" "),
                &id,
            ],
        );
        found.then(|| Hit {
            group: "Virtual machines",
            icon: Icon::Vm,
            name: vm.spec.name.to_string(),
            more: addresses
                .first()
                .cloned()
                .unwrap_or_else(|| words::vm_phase(vm.status.phase).1.to_owned()),
            to: format!("/vms/{id}"),
        })
    });
    hits.extend(vms.take(MOST));
    let images = live.images.all().into_iter().filter_map(|image| {
        matches(words, &[image.spec.name.as_str(), &image.spec.description]).then(|| Hit {
            group: "Images",
            icon: Icon::Image,
            name: image.spec.name.to_string(),
            more: format::bytes(image.status.size),
            to: format!("/images?filter={}", image.spec.name),
        })
    });
    hits.extend(images.take(MOST));
    let volumes = live.volumes.all().into_iter().filter_map(|volume| {
        matches(
            words,
            &[
                volume.spec.name.as_str(),
                &volume.spec.description,
                &volume.id.to_string(),
            ],
        )
        .then(|| Hit {
            group: "Volumes",
            icon: Icon::Storage,
            name: volume.spec.name.to_string(),
            more: format::bytes(volume.spec.size),
            to: format!("/storage?filter={}", volume.spec.name),
        })
    });
    hits.extend(volumes.take(MOST));
    let networks = live.networks.all().into_iter().filter_map(|network| {
        matches(
            words,
            &[network.spec.name.as_str(), &network.spec.description],
        )
        .then(|| Hit {
            group: "Networks",
            icon: Icon::Network,
            name: network.spec.name.to_string(),
            more: words::network_mode(&network.spec.mode).0.to_owned(),
            to: format!("/networks/{}", network.id),
        })
    });
    hits.extend(networks.take(MOST));
    let drives = live.drives.all().into_iter().filter_map(|drive| {
        matches(
            words,
            &[&drive.name, &drive.model, &drive.serial, &drive.id],
        )
        .then(|| Hit {
            group: "Drives",
            icon: words::kind_icon(Kind::Drive),
            name: format!("{} ({})", drive.model, drive.name),
            more: format::drive(drive.size),
            to: "/storage".to_owned(),
        })
    });
    hits.extend(drives.take(MOST));
    hits
}

/// The finder.
#[component]
pub fn Finder(open: RwSignal<bool>) -> impl IntoView {
    view! {
        <Show when=move || open.get()>
            <Window open />
        </Show>
    }
}

#[component]
fn Window(open: RwSignal<bool>) -> impl IntoView {
    let live = Live::get();
    live.images.want();
    live.volumes.want();
    live.networks.want();
    live.drives.want();
    let words = RwSignal::new(String::new());
    let chosen = RwSignal::new(0usize);
    let hits = Memo::new(move |_| {
        words.with(|words| {
            if words.trim().is_empty() {
                return places("");
            }
            let mut hits = objects(live, words);
            hits.extend(places(words));
            hits
        })
    });
    Effect::new(move |_| {
        words.track();
        chosen.set(0);
    });
    let navigate = use_navigate();
    let go = move |n: usize| {
        if let Some(hit) = hits.with_untracked(|hits| hits.get(n).cloned()) {
            open.set(false);
            navigate(&hit.to, Default::default());
        }
    };
    let go = StoredValue::new_local(go);
    let element: NodeRef<leptos::html::Dialog> = NodeRef::new();
    Effect::new(move |_| {
        if let Some(element) = element.get() {
            let element: &HtmlDialogElement = &element;
            if !element.open() {
                let _ = element.show_modal();
            }
        }
    });
    let before = document()
        .active_element()
        .and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let before = StoredValue::new_local(before);
    on_cleanup(move || {
        if let Some(before) = before.try_update_value(Option::take).flatten() {
            let _ = before.focus();
        }
    });
    let step = move |by: isize| {
        let count = hits.with_untracked(Vec::len);
        if count > 0 {
            chosen.update(|n| *n = n.saturating_add_signed(by).min(count - 1));
            if let Some(option) =
                document().get_element_by_id(&format!("hit-{}", chosen.get_untracked()))
            {
                option.scroll_into_view_with_bool(false);
            }
        }
    };
    let keys = move |event: web_sys::KeyboardEvent| match event.key().as_str() {
        "ArrowDown" => {
            event.prevent_default();
            step(1);
        }
        "ArrowUp" => {
            event.prevent_default();
            step(-1);
        }
        "Enter" => {
            event.prevent_default();
            go.with_value(|go| go(chosen.get_untracked()));
        }
        _ => {}
    };
    let list = move || {
        let hits = hits.get();
        if hits.is_empty() {
            return view! { <p class="panel-none">"Nothing has these words. Try a part of the name or address."</p> }
                .into_any();
        }
        let mut groups = HashSet::new();
        hits.into_iter()
            .enumerate()
            .map(|(n, hit)| {
                let head = groups
                    .insert(hit.group)
                    .then(|| view! { <div class="sec" role="presentation">{hit.group}</div> });
                view! {
                    {head}
                    <div
                        role="option"
                        id=format!("hit-{n}")
                        aria-selected=move || (chosen.get() == n).to_string()
                        on:mousemove=move |_| {
                            if chosen.get_untracked() != n {
                                chosen.set(n);
                            }
                        }
                        on:click=move |_| go.with_value(|go| go(n))
                    >
                        {hit.icon.view()}
                        <span class="cut">{hit.name}</span>
                        <span class="r">{hit.more}</span>
                    </div>
                }
            })
            .collect_view()
            .into_any()
    };
    view! {
        <dialog
            class="finder"
            node_ref=element
            aria-label="Find"
            on:close=move |_| open.set(false)
            on:mousedown=move |event| {
                // A press on the veil reaches the dialog itself.
                if event.target().is_some_and(|t| t.is_instance_of::<HtmlDialogElement>()) {
                    open.set(false);
                }
            }
        >
            <div class="finder-field">
                {Icon::Find.view()}
                <input
                    type="text"
                    role="combobox"
                    aria-label="Find"
                    aria-expanded="true"
                    aria-controls="hits"
                    aria-autocomplete="list"
                    aria-activedescendant=move || format!("hit-{}", chosen.get())
                    autocomplete="off"
                    spellcheck="false"
                    autofocus
                    placeholder="A name, address, page or act"
                    prop:value=words
                    on:input=move |event| words.set(event_target_value(&event))
                    on:keydown=keys
                />
                <kbd>"Esc"</kbd>
            </div>
            <div class="finder-list" id="hits" role="listbox" aria-label="Found">
                {list}
            </div>
        </dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn places_are_found_by_further_words() {
        assert!(
            places("tls")
                .iter()
                .any(|hit| hit.to == "/settings/certificate")
        );
        assert!(
            places("serial number")
                .iter()
                .any(|hit| hit.to == "/hardware")
        );
        assert!(places("create vm").iter().any(|hit| hit.to == "/vms/new"));
        assert!(places("no such thing").is_empty());
    }
}

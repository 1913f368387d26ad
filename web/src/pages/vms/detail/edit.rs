//! Changing a machine: the whole spec is sent, at the revision it was read at.

use ashlar_api::endpoint;
use ashlar_api::user::Role;
use ashlar_api::vm::{Vm, VmSpec};
use leptos::prelude::*;

use crate::client::{self, Answer};
use crate::live::Live;
use crate::session::Sessions;

/// Sends a changed spec.
pub async fn replace(vm: Vm, change: impl FnOnce(&mut VmSpec)) -> Answer<()> {
    let mut spec = vm.spec;
    change(&mut spec);
    client::put(
        &format!("{}/{}", endpoint::VMS, vm.id),
        Some(vm.revision),
        &spec,
    )
    .await
}

/// The machine was changed: its page and its volumes are read again.
pub fn changed(live: Live, id: &str) {
    live.vms.touch(id);
    live.volumes.touch("*");
    live.networks.touch("*");
}

/// Keeps the machine that a form began with up to date. While nothing is typed
/// every change of others is shown; else one that leaves the `part` of this form
/// alone only moves the revision, so that saving does not fail for it, and one
/// that does not is left for the appliance to refuse.
pub fn follow<T: PartialEq + 'static>(
    vm: Memo<Vm>,
    before: RwSignal<Vm>,
    dirty: Memo<bool>,
    part: fn(&VmSpec) -> T,
    show: impl Fn(&VmSpec) + 'static,
) {
    Effect::new(move |_| {
        let now = vm.get();
        // Also when a form was saved or taken back after the change was told.
        let typed = dirty.get();
        if before.with_untracked(|before| before.revision == now.revision) {
            return;
        }
        let same = before.with_untracked(|before| part(&before.spec) == part(&now.spec));
        if !typed {
            show(&now.spec);
        }
        if !typed || same {
            before.set(now);
        }
    });
}

/// Why the machine can not be changed by the reader; empty when it can.
pub fn barred(vm: Memo<Vm>) -> Signal<String> {
    let sessions = Sessions::get();
    Signal::derive(move || {
        if !sessions.may(Role::Administrator) {
            "Your role does not allow it".to_owned()
        } else if vm.with(|vm| vm.deleting) {
            "It is being deleted".to_owned()
        } else {
            String::new()
        }
    })
}

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

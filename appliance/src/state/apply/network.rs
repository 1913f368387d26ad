//! Networks for virtual machines.

use ashlar_api::NetworkId;
use ashlar_api::network::{NetworkMode, NetworkSpec};
use ashlar_api::node::Addressing;
use ipnet::{IpNet, Ipv4Net};

use super::link::Role;
use super::tables::{Tables, called_all};
use super::{Step, invalid, wrong_state};
use crate::state::command::Refusal;
use crate::state::schema::{NetworkRecord, NodeRecord, VmRecord};

/// Makes a network.
pub fn create(t: &mut Tables<'_>, network: &NetworkRecord) -> Step {
    let network = NetworkRecord {
        deleting: false,
        ..network.clone()
    };
    t.free_name(&network)?;
    free_subnet(t, &network)?;
    t.insert(network)
}

/// Refuses a subnet that overlaps another one of the site.
fn free_subnet(t: &Tables<'_>, network: &NetworkRecord) -> Step {
    let NetworkMode::Nat { subnet } = network.spec.mode else {
        return Ok(());
    };
    let taken = |whose: String, by: Ipv4Net| {
        Err(invalid(
            "mode.subnet",
            format!("{subnet} overlaps {by} of {whose}; choose another private network"),
        ))
    };
    for other in t.all::<NetworkRecord>()? {
        if let NetworkMode::Nat { subnet: by } = other.spec.mode
            && other.id != network.id
            && overlap(subnet, by)
        {
            return taken(format!("the network `{}`", other.spec.name), by);
        }
    }
    for node in t.all::<NodeRecord>()? {
        if let Addressing::Static {
            address: IpNet::V4(address),
            ..
        } = node.spec.management.ipv4
            && overlap(subnet, address.trunc())
        {
            let whose = format!("the management network of `{}`", node.spec.name);
            return taken(whose, address.trunc());
        }
    }
    Ok(())
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Changes a network. How it reaches the world can only change while nobody is on it.
pub fn replace(
    t: &mut Tables<'_>,
    id: NetworkId,
    spec: &NetworkSpec,
    revision: Option<u64>,
) -> Step {
    let mut network: NetworkRecord = t.need_revision(id, revision)?;
    if network.deleting {
        return Err(being_deleted());
    }
    if network.spec == *spec {
        return Ok(());
    }
    if std::mem::discriminant(&network.spec.mode) != std::mem::discriminant(&spec.mode) {
        unused(t, id)?;
    }
    network.spec = spec.clone();
    t.free_name(&network)?;
    free_subnet(t, &network)?;
    Ok(t.put(network)?)
}

fn being_deleted() -> super::Stop {
    wrong_state("the network is being deleted", "make another network")
}

fn unused(t: &Tables<'_>, id: NetworkId) -> Step {
    let users = t.linked(Role::Network, id)?;
    if users.is_empty() {
        return Ok(());
    }
    let by = called_all::<VmRecord>(t, &users)?;
    Err(Refusal::InUse { by }.into())
}

/// Wants a network gone.
pub fn delete(t: &mut Tables<'_>, id: NetworkId, revision: Option<u64>) -> Step {
    let mut network: NetworkRecord = t.need_revision(id, revision)?;
    if network.deleting {
        return Ok(());
    }
    unused(t, id)?;
    network.deleting = true;
    Ok(t.put(network)?)
}

/// A network is gone.
pub fn forget(t: &mut Tables<'_>, id: NetworkId) -> Step {
    match t.get::<NetworkRecord>(id)? {
        Some(network) if !network.deleting => Err(wrong_state(
            "the network is wanted",
            "delete it before it is forgotten",
        )),
        _ => Ok(t.remove::<NetworkRecord>(&id.to_string())?),
    }
}

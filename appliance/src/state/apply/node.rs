//! The site and its nodes.

use ashlar_api::node::NodeSpec;
use ashlar_api::site::SiteSpec;
use ashlar_api::user::Role;
use ashlar_api::{NodeId, Timestamp};

use super::tables::{Tables, unchanged};
use super::{Step, invalid};
use crate::state::command::Refusal;
use crate::state::schema::{NodeRecord, SiteRecord, Unconfirmed, UserRecord};

/// Gives the appliance its owner.
pub fn claim(
    t: &mut Tables<'_>,
    site: &SiteSpec,
    node: NodeId,
    node_spec: &NodeSpec,
    user: &UserRecord,
) -> Step {
    if t.site()?.is_some() {
        return Err(Refusal::Claimed.into());
    }
    if user.spec.role != Role::Administrator {
        let message = "the first user is an administrator";
        return Err(invalid("user.role", message));
    }
    let mut node: NodeRecord = t.need(node)?;
    node.spec = node_spec.clone();
    node.unconfirmed = None;
    t.free_name(&node)?;
    t.put(node)?;
    t.insert(user.clone())?;
    Ok(t.put_site(SiteRecord {
        revision: 0,
        claimed_at: t.at,
        spec: site.clone(),
    })?)
}

/// Changes the site.
pub fn replace_site(t: &mut Tables<'_>, spec: &SiteSpec, revision: Option<u64>) -> Step {
    let mut site = t.site()?.ok_or(Refusal::Unclaimed)?;
    unchanged(revision, site.revision)?;
    if site.spec != *spec {
        site.spec = spec.clone();
        t.put_site(site)?;
    }
    Ok(())
}

/// Makes a node known.
pub fn register(t: &mut Tables<'_>, node: &NodeRecord) -> Step {
    if t.get::<NodeRecord>(node.id)?.is_some() {
        return Ok(());
    }
    t.insert(node.clone())
}

/// Changes a node, for good or until it is confirmed.
pub fn replace(
    t: &mut Tables<'_>,
    id: NodeId,
    spec: &NodeSpec,
    revision: Option<u64>,
    confirm_until: Option<Timestamp>,
) -> Step {
    let mut node: NodeRecord = t.need_revision(id, revision)?;
    let before = node.clone();
    let waiting = node.unconfirmed.take();
    node.unconfirmed = match (confirm_until, waiting) {
        // What to go back to is what was confirmed last, however often it was changed since.
        (Some(until), waiting) => Some(Unconfirmed {
            previous: waiting.map_or_else(|| before.spec.clone(), |waiting| waiting.previous),
            until,
        }),
        // A new name is no reason to keep a management network that nobody has confirmed.
        (None, Some(mut waiting)) if before.spec.management == spec.management => {
            waiting.previous.name = spec.name.clone();
            Some(waiting)
        }
        (None, _) => None,
    };
    node.spec = spec.clone();
    t.free_name(&node)?;
    if node != before {
        t.put(node)?;
    }
    Ok(())
}

/// Keeps an unconfirmed change.
pub fn confirm(t: &mut Tables<'_>, id: NodeId) -> Step {
    let mut node: NodeRecord = t.need(id)?;
    if node.unconfirmed.take().is_some() {
        t.put(node)?;
    }
    Ok(())
}

/// Goes back to what was confirmed last.
pub fn revert(t: &mut Tables<'_>, id: NodeId) -> Step {
    let mut node: NodeRecord = t.need(id)?;
    let Some(waiting) = node.unconfirmed.take() else {
        return Ok(());
    };
    let name = std::mem::replace(&mut node.spec, waiting.previous).name;
    // The network must come back even when the name can not.
    if t.free_name(&node).is_err() {
        node.spec.name = name;
    }
    Ok(t.put(node)?)
}

//! The power cord is pulled at random moments while machines and volumes change. Every boot comes up by itself, what
//! was accepted is there, what was half made is finished or gone, and machines that always run do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_api::volume::{Volume, VolumePhase};
use ashlar_tests::chance::Chance;
use ashlar_tests::{Node, for_guests, options, vm, wait};
use serde_json::json;

const PULLS: usize = 10;
const SMALL: u64 = 32 << 20;
const GROWN: u64 = 64 << 20;

/// What must be there after the power comes back, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// A volume of at least this size.
    Volume(u64),
    /// A machine with its disk.
    Machine,
    /// Neither a volume nor a machine of that name.
    Gone,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_power_cord() -> Result<()> {
    let mut node = Node::ready(for_guests(options("power"))?).await?;
    let pool = pool_id(&node).await?;
    let always: Vm = node
        .api()
        .post("/api/v1/vms", &vm::empty("always", &pool, "always"))
        .await?;
    vm::phase(node.api(), &always.id.to_string(), VmPhase::Running).await?;
    let mut accepted: BTreeMap<String, Wanted> = BTreeMap::new();
    let mut chance = Chance::new(0x5eed);
    for round in 0..PULLS {
        let until_pull = Duration::from_millis(chance.below(4000));
        let changes = async {
            for n in 0.. {
                let name = format!("v{round}-{n}");
                // A change that is refused while another goes on is none.
                let _ = change(&node, &pool, name, n, &mut accepted).await;
            }
        };
        // The power goes while a change is on its way: that one may be there or not, all answered ones must be.
        let _ = tokio::time::timeout(until_pull, changes).await;
        node.pull_power()?;
        node.plug_power()?;
        node.answers()
            .await
            .with_context(|| format!("after pull {round}"))?;
        settled(&node, &accepted)
            .await
            .with_context(|| format!("after pull {round}"))?;
        vm::phase(node.api(), &always.id.to_string(), VmPhase::Running)
            .await
            .with_context(|| format!("after pull {round}"))?;
    }
    ensure!(
        accepted.len() > PULLS,
        "hardly anything was accepted: {accepted:?}"
    );
    Ok(())
}

/// One object made, and most of them changed: what was answered is written down. While a deletion or a growth is not
/// answered, it may have happened or not.
async fn change(
    node: &Node,
    pool: &str,
    name: String,
    n: usize,
    accepted: &mut BTreeMap<String, Wanted>,
) -> Result<()> {
    let api = node.api();
    if n % 5 >= 3 {
        let machine: Vm = api
            .post("/api/v1/vms", &vm::empty(&name, pool, "stopped"))
            .await?;
        accepted.insert(name.clone(), Wanted::Machine);
        if n % 5 == 4 {
            accepted.remove(&name);
            api.delete(&format!("/api/v1/vms/{}?volumes=all", machine.id))
                .await?;
            accepted.insert(name, Wanted::Gone);
        }
        return Ok(());
    }
    let body = json!({ "name": name, "pool": pool, "size": SMALL });
    let volume: Volume = api.post("/api/v1/volumes", &body).await?;
    accepted.insert(name.clone(), Wanted::Volume(SMALL));
    let path = format!("/api/v1/volumes/{}", volume.id);
    match n % 5 {
        1 => {
            let body = json!({ "name": name, "pool": pool, "size": GROWN });
            api.put::<Volume>(&path, &body).await?;
            accepted.insert(name, Wanted::Volume(GROWN));
        }
        2 => {
            accepted.remove(&name);
            api.delete(&path).await?;
            accepted.insert(name, Wanted::Gone);
        }
        _ => {}
    }
    Ok(())
}

async fn settled(node: &Node, accepted: &BTreeMap<String, Wanted>) -> Result<()> {
    wait::until("everything as it was accepted", vm::SLOW, || async {
        let volumes: Page<Volume> = node.api().get("/api/v1/volumes?limit=500").await?;
        let machines: Page<Vm> = node.api().get("/api/v1/vms?limit=500").await?;
        let volume = |name: &str| volumes.items.iter().find(|v| v.spec.name.as_str() == name);
        for (name, wanted) in accepted {
            let machine = machines.items.iter().find(|m| m.spec.name.as_str() == name);
            let disk = volume(&format!("{name}-disk0"));
            match wanted {
                Wanted::Volume(size) => is_ready(name, volume(name), *size)?,
                Wanted::Machine => {
                    ensure!(
                        machine.is_some(),
                        "the machine {name} was accepted and is gone"
                    );
                    is_ready(name, disk, GROWN)?;
                }
                Wanted::Gone => ensure!(
                    volume(name).is_none() && machine.is_none() && disk.is_none(),
                    "{name} was deleted and is there"
                ),
            }
        }
        Ok(Some(()))
    })
    .await
}

fn is_ready(name: &str, volume: Option<&Volume>, size: u64) -> Result<()> {
    let volume = volume.with_context(|| format!("a volume of {name} was accepted and is gone"))?;
    ensure!(
        volume.status.phase == VolumePhase::Ready && volume.status.size.0 >= size,
        "a volume of {name} is {:?} with {}",
        volume.status.phase,
        volume.status.size
    );
    Ok(())
}

async fn pool_id(node: &Node) -> Result<String> {
    let page: Page<ashlar_api::pool::Pool> = node.api().get("/api/v1/pools").await?;
    Ok(page.items.first().context("no pool")?.id.to_string())
}

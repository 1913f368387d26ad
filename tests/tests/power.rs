//! The power cord is pulled at random moments while machines and volumes change. Every boot comes up by itself, what
//! was accepted is there, what was half made is finished or gone, and machines that always run do.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_api::volume::{Volume, VolumePhase};
use ashlar_tests::chance::Chance;
use ashlar_tests::{Node, options, vm, wait};
use serde_json::json;

const PULLS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_survives_the_power_cord() -> Result<()> {
    let mut node = Node::ready(options("power")).await?;
    let pool = pool_id(&node).await?;
    let always: Vm = node
        .api()
        .post("/api/v1/vms", &vm::empty("always", &pool, "always"))
        .await?;
    vm::phase(node.api(), &always.id.to_string(), VmPhase::Running).await?;
    let mut accepted: BTreeMap<String, bool> = BTreeMap::new();
    let mut chance = Chance::new(0x5eed);
    for round in 0..PULLS {
        let until_pull = Duration::from_millis(chance.below(4000));
        let changes = async {
            for n in 0.. {
                let name = format!("v{round}-{n}");
                let body = json!({ "name": name, "pool": pool, "size": 32u64 << 20 });
                if let Ok(volume) = node.api().post::<Volume>("/api/v1/volumes", &body).await {
                    accepted.insert(name.clone(), true);
                    // Every third one is deleted again: a deletion that was accepted stays one. While it is not
                    // answered, the volume may be there or not.
                    if n % 3 == 2 {
                        accepted.remove(&name);
                        let path = format!("/api/v1/volumes/{}", volume.id);
                        if node.api().delete(&path).await.is_ok() {
                            accepted.insert(name, false);
                        }
                    }
                }
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

async fn settled(node: &Node, accepted: &BTreeMap<String, bool>) -> Result<()> {
    wait::until("every volume as it was accepted", vm::SLOW, || async {
        let page: Page<Volume> = node.api().get("/api/v1/volumes?limit=500").await?;
        for (name, there) in accepted {
            let found = page.items.iter().find(|v| v.spec.name.as_str() == name);
            match (there, found) {
                (true, None) => anyhow::bail!("the volume {name} was accepted and is gone"),
                (true, Some(volume)) if volume.status.phase != VolumePhase::Ready => {
                    anyhow::bail!("{name} is {:?}", volume.status.phase)
                }
                (false, Some(volume)) => {
                    anyhow::bail!("{name} was deleted and is {:?}", volume.status.phase)
                }
                _ => {}
            }
        }
        Ok(Some(()))
    })
    .await
}

async fn pool_id(node: &Node) -> Result<String> {
    let page: Page<ashlar_api::pool::Pool> = node.api().get("/api/v1/pools").await?;
    Ok(page.items.first().context("no pool")?.id.to_string())
}

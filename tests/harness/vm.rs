//! Virtual machines, as most tests want them.

use std::time::Duration;

use anyhow::{Result, bail};
use ashlar_api::Page;
use ashlar_api::image::{Image, ImagePhase};
use ashlar_api::network::Network;
use ashlar_api::vm::{Vm, VmPhase};
use serde_json::{Value, json};

use crate::api::{Api, sha256};
use crate::wait;

/// How long a machine may take from one phase to another under emulation.
pub const SLOW: Duration = Duration::from_secs(300);

/// Uploads an image and waits until it can be used.
pub async fn upload(api: &Api, name: &str, content: &[u8]) -> Result<Image> {
    let body = json!({ "name": name, "source": { "from": "upload", "size": content.len() }, "sha256": sha256(content) });
    let image: Image = api.post("/api/v1/images", &body).await?;
    // The library is made a moment after the first pool; until then no byte is taken.
    wait::until("the upload", SLOW, || async {
        api.upload(&image.id.to_string(), content).await.map(Some)
    })
    .await?;
    image_settles(api, &image.id.to_string()).await
}

/// Waits until an image can be used, or can not.
pub async fn image_settles(api: &Api, id: &str) -> Result<Image> {
    let path = format!("/api/v1/images/{id}");
    wait::until("the image", SLOW, || async {
        let image: Image = api.get(&path).await?;
        Ok::<_, anyhow::Error>(
            matches!(image.status.phase, ImagePhase::Ready | ImagePhase::Failed).then_some(image),
        )
    })
    .await
}

/// The NAT network; made if there is none.
pub async fn nat(api: &Api) -> Result<Network> {
    let networks: Page<Network> = api.get("/api/v1/networks").await?;
    if let Some(network) = networks
        .items
        .into_iter()
        .find(|n| n.spec.name.as_str() == "nat")
    {
        return Ok(network);
    }
    api.post(
        "/api/v1/networks",
        &json!({ "name": "nat", "mode": { "type": "nat", "subnet": "10.77.0.0/24" } }),
    )
    .await
}

/// A small machine without anything to start from: its firmware runs, which is all that many tests need.
pub fn empty(name: &str, pool: &str, policy: &str) -> Value {
    json!({
        "name": name, "cpus": 1, "memory": 256u64 << 20, "run_policy": policy,
        "disks": [{ "type": "new", "pool": pool, "size": 64u64 << 20 }],
    })
}

/// Waits until a machine is in a phase.
pub async fn phase(api: &Api, id: &str, wanted: VmPhase) -> Result<Vm> {
    let path = format!("/api/v1/vms/{id}");
    wait::until(&format!("the machine to be {wanted:?}"), SLOW, || async {
        let vm: Vm = api.get(&path).await?;
        if vm.status.phase == wanted {
            return Ok(Some(vm));
        }
        bail!(
            "it is {:?}: {} {}",
            vm.status.phase,
            vm.status.message,
            vm.status.remedy
        )
    })
    .await
}

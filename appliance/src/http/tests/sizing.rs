//! The sizing tool over the API: it answers what the planner itself does, to whoever may read.

use ashlar_api::Bytes;
use ashlar_api::sizing::{Resiliency, Sizing, SizingSpec, size};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Rig, problem};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sizes_a_plan() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    let viewer = json!({ "name": "robot", "role": "viewer" });
    let made = session.sign(rig.ask(Method::POST, "/tokens")).json(&viewer);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let secret = made["secret"].as_str().unwrap();
    let ask = |body: &Value| {
        let request = rig.ask(Method::POST, "/sizing").bearer_auth(secret);
        request.json(body).send()
    };

    let plan = json!({
        "nodes": 4, "drives_per_node": 16, "drive_size": 2_000_000_000_000u64,
        "resiliency": "three-way", "memory_per_node": Bytes::gib(256), "threads_per_node": 32,
    });
    let answer = ask(&plan).await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Sizing = answer.json().await.unwrap();
    let plan: SizingSpec = serde_json::from_value(plan).unwrap();
    assert_eq!(answer, size(&plan).unwrap());
    assert_eq!(answer.resiliency, Resiliency::ThreeWay);
    assert_eq!(answer.usable, Bytes(40_000_000_000_000));

    for (change, field) in [
        (json!({ "nodes": 2 }), "resiliency"),
        (json!({ "nodes": 17 }), "nodes"),
        (json!({ "drive_size": 1 }), "drive_size"),
        (json!({ "spare_nodes": 4 }), "spare_nodes"),
        (
            json!({ "vm": { "cpus": 0, "memory": Bytes::gib(1), "disk": Bytes::gib(1) } }),
            "vm.cpus",
        ),
        (json!({ "resiliency": "raid0" }), "resiliency"),
        (json!({ "racks": 2 }), "racks"),
    ] {
        let mut wrong = serde_json::to_value(&plan).unwrap();
        let parts = change.as_object().unwrap().clone();
        wrong.as_object_mut().unwrap().extend(parts);
        let refused = problem(ask(&wrong).await.unwrap(), field).await;
        assert_eq!(refused["fields"][0]["field"], field, "{refused}");
    }

    let unguarded = rig.ask(Method::POST, "/sizing");
    let unguarded = unguarded.header("cookie", &session.cookie).json(&plan);
    let forged = problem(unguarded.send().await.unwrap(), "no CSRF token").await;
    assert_eq!(forged["code"], "forged");
    let signed = session.sign(rig.ask(Method::POST, "/sizing")).json(&plan);
    assert_eq!(signed.send().await.unwrap().status(), 200);
    rig.end().await;
}

//! What a list costs on this machine, over TLS: `cargo test --release --package ashlar -- --ignored --nocapture
//! list_figures`.

use std::time::Instant;

use ashlar_api::Page;
use reqwest::Method;
use serde_json::{Value, json};

use super::Rig;

const MACHINES: usize = 1000;
const LISTS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, tests nothing"]
async fn list_figures() {
    let rig = Rig::start().await;
    let session = rig.claim().await;
    for n in 0..MACHINES {
        let body = json!({ "name": format!("vm-{n}"), "cpus": 1, "memory": 256u64 << 20, "run_policy": "stopped" });
        let request = session.sign(rig.ask(Method::POST, "/vms")).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{:?}", answer.text().await);
    }
    let mut times = Vec::with_capacity(LISTS);
    for _ in 0..LISTS {
        let (mut count, mut path) = (0, "/vms?limit=500".to_owned());
        let since = Instant::now();
        loop {
            let request = session.sign(rig.ask(Method::GET, &path));
            let page: Page<Value> = request.send().await.unwrap().json().await.unwrap();
            count += page.items.len();
            let Some(next) = page.next else { break };
            path = format!("/vms?limit=500&after={next}");
        }
        times.push(since.elapsed());
        assert_eq!(count, MACHINES);
    }
    times.sort_unstable();
    println!(
        "list of {MACHINES} machines, on two pages: median {:?}, p99 {:?}, worst {:?} ({LISTS} times)",
        times[LISTS / 2],
        times[LISTS * 99 / 100],
        times[LISTS - 1]
    );
    rig.end().await;
}

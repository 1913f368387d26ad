//! What a change and a list cost. `cargo test --release … -- --ignored --nocapture figures`.

use std::time::{Duration, Instant};

use ashlar_api::Bytes;
use ashlar_api::job::Verb;
use ashlar_api::vm::RunPolicy;

use super::sample::*;
use crate::state::Store;
use crate::state::command::Command;
use crate::state::schema::*;

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{what}: median {:?}, p99 {:?}, worst {:?} ({} times)",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures, tests nothing"]
async fn figures() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let store = Store::open(folder.path(), id(1)).await.expect("opens");
    for command in furnished() {
        store.propose("admin", command).await.expect("accepted");
    }
    let mut times = Vec::new();
    for n in 0..1000u64 {
        let disk = volume(10_000 + n, &format!("disk-{n}"), 3, Bytes::gib(4), Some(4));
        let mut record = vm(
            20_000 + n,
            &format!("vm-{n}"),
            RunPolicy::Always,
            &[10_000 + n],
            &[(6, 0)],
        );
        let [high, low] = u16::try_from(n).expect("small").to_be_bytes();
        record.spec.nics[0].mac = Some(ashlar_api::vm::Mac([0x52, 0x54, 0, 1, high, low]));
        let create = Command::CreateVm {
            vm: Box::new(record),
            volumes: vec![(disk, job(30_000 + n, Verb::Fill))],
        };
        let since = Instant::now();
        store.propose("admin", create).await.expect("accepted");
        times.push(since.elapsed());
    }
    show("propose, one after the other", times);

    let since = Instant::now();
    let mut tasks = Vec::new();
    for lane in 0..32u64 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            for n in 0..100 {
                let command = Command::SettleVolume {
                    id: id(10_000 + (lane * 100 + n) % 1000),
                    outcome: crate::state::command::Outcome::Done,
                };
                store.propose("ashlar", command).await.expect("accepted");
            }
        }));
    }
    for task in tasks {
        task.await.expect("done");
    }
    println!(
        "propose, 32 at once: {:.0} a second",
        3200.0 / since.elapsed().as_secs_f64()
    );

    let mut times = Vec::new();
    for _ in 0..200 {
        let since = Instant::now();
        let vms: Vec<VmRecord> = store.list().expect("reads");
        times.push(since.elapsed());
        assert_eq!(vms.len(), 1000);
    }
    show("list 1000 machines", times);
    let mut times = Vec::new();
    for _ in 0..200 {
        let since = Instant::now();
        let (vms, total) = store
            .page::<VmRecord>(Some("vm-5"), 50, None)
            .expect("reads");
        times.push(since.elapsed());
        assert_eq!((vms.len(), total), (50, 1000));
    }
    show("page of 50 of 1000 machines", times);
    let mut times = Vec::new();
    for n in 0..1000u64 {
        let since = Instant::now();
        let found: Option<VmRecord> = store.get(id(20_000 + n)).expect("reads");
        times.push(since.elapsed());
        assert!(found.is_some());
    }
    show("get one machine", times);
    store.close().await;
    drop(store);
    for file in ["raft.db", "state.db"] {
        let size = std::fs::metadata(folder.path().join(file)).map_or(0, |m| m.len());
        println!("{file}: {}", Bytes(size));
    }
    let since = Instant::now();
    let store = Store::open(folder.path(), id(1)).await.expect("opens");
    println!("open again with 1000 machines: {:?}", since.elapsed());
    store.close().await;
}

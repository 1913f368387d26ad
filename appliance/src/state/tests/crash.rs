//! A process that is killed at any moment loses nothing that it was told is in
//! force; neither does one whose power goes, which also loses the end of
//! `state.db`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use ashlar_api::{Bytes, JobId, VolumeId};

use super::sample::*;
use crate::state::Store;
use crate::state::command::{Command, Outcome};
use crate::state::schema::*;

const FOLDER: &str = "ASHLAR_STATE_CRASH_FOLDER";
const FIRST: &str = "ASHLAR_STATE_CRASH_FIRST";

async fn open(folder: &Path) -> Store {
    Store::open(folder, id(1)).await.expect("opens")
}

/// The process that is killed: makes volumes as fast as it can, several at
/// once, and says which ones it was told are in force.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let first: u64 = std::env::var(FIRST)
        .expect("a number")
        .parse()
        .expect("a number");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(Path::new(&folder)).await;
        let mut tasks = Vec::new();
        for lane in 0..4 {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                for n in 0.. {
                    let number = first + lane + 4 * n;
                    let create = Command::CreateVolume {
                        volume: Box::new(volume(
                            number,
                            &format!("v{number}"),
                            3,
                            Bytes::gib(1),
                            None,
                        )),
                        job: job(number + 1_000_000, ashlar_api::job::Verb::Create),
                    };
                    store.propose("admin", create).await.expect("accepted");
                    println!("made {number}");
                    let settle = Command::SettleVolume {
                        id: id(number),
                        outcome: Outcome::Done,
                    };
                    store.propose("ashlar", settle).await.expect("accepted");
                    println!("settled {number}");
                }
            }));
        }
        for task in tasks {
            task.await.expect("never ends");
        }
    });
}

/// Runs the victim for a while, kills it, and returns what it said.
fn run_and_kill(folder: &Path, first: u64, life: Duration) -> Vec<String> {
    let mut victim = Process::new(std::env::current_exe().expect("this program"))
        .args([
            "state::tests::crash::victim",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let output = BufReader::new(victim.stdout.take().expect("its output"));
    let mut lines = output.lines().map_while(Result::ok);
    // Its life begins once it is at work.
    let begun = lines.find(|line| line.starts_with("made"));
    let reader = std::thread::spawn(move || lines.collect::<Vec<_>>());
    std::thread::sleep(life);
    victim.kill().expect("killed");
    victim.wait().expect("gone");
    let mut said: Vec<String> = begun.into_iter().collect();
    // The last line may be half.
    let mut rest = reader.join().expect("read");
    rest.retain(|line| line.starts_with("made ") || line.starts_with("settled "));
    rest.pop();
    said.append(&mut rest);
    said
}

/// Everything that was said is so, and each job is where its volume is.
fn assert_kept(store: &Store, said: &[String]) {
    for line in said {
        let (what, number) = line.split_once(' ').expect("two words");
        let number: u64 = number.parse().expect("a number");
        let volume: VolumeRecord = store
            .get(id::<VolumeId>(number))
            .expect("reads")
            .unwrap_or_else(|| panic!("{line}, and it is gone"));
        if what == "settled" {
            assert_eq!(volume.phase, Phase::Ready, "{line}");
        }
    }
    for volume in store.list::<VolumeRecord>().expect("reads") {
        let Some(number) = volume.spec.name.as_str().strip_prefix('v') else {
            continue;
        };
        let number: u64 = number.parse().expect("a number");
        let job: Option<JobRecord> = store.get(id::<JobId>(number + 1_000_000)).expect("reads");
        match (volume.phase, job) {
            (Phase::Preparing, Some(job)) => assert!(!job.state.is_over(), "{number}"),
            (Phase::Ready, Some(job)) => assert!(job.state.is_over(), "{number}"),
            // Jobs that were over long ago are forgotten.
            (Phase::Ready, None) => {}
            (phase, job) => panic!("{number} is {phase:?} with {job:?}"),
        }
    }
}

#[test]
fn nothing_that_was_acknowledged_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let old = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(folder.path()).await;
        for command in furnished() {
            store.propose("admin", command).await.expect("accepted");
        }
        store.close().await;
    });
    let mut said = Vec::new();
    for round in 0..15u64 {
        // What a power cut leaves of state.db, at worst: an older state of it.
        let state = folder.path().join("state.db");
        let earlier = old.path().join("state.db");
        std::fs::copy(&state, &earlier).expect("copied");
        let life = Duration::from_millis(20 + (round * 97) % 400);
        said.extend(run_and_kill(folder.path(), 10_000 * (round + 1), life));
        if round % 3 == 2 {
            std::fs::copy(&earlier, &state).expect("put back");
            for part in ["state.db-wal", "state.db-shm"] {
                let _ = std::fs::remove_file(folder.path().join(part));
            }
        }
        runtime.block_on(async {
            let store = open(folder.path()).await;
            assert_kept(&store, &said);
            store.close().await;
        });
    }
    assert!(
        said.len() > 200,
        "the victims did something: {}",
        said.len()
    );
}

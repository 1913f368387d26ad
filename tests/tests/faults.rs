//! What is wrong with a machine is told, on its screen and by its API, with what to do about it: the image boots into
//! every fault that an administrator meets at night, several at once where one does not hide another.
//!
//! ```text
//!   bare       no data disk, no network card, no DHCP, wrong clock, 1 GiB
//!   strange    a foreign partition table, a second disk with our labels, no KVM
//!   state      full; then unreadable, and set aside on the serial screen
//!   metadata   LVM's, of a pool: the newest version lost, which the node mends; then all of it
//! ```

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ashlar_api::Page;
use ashlar_api::error::Problem;
use ashlar_api::event::{Event, Severity};
use ashlar_api::fault::Fault;
use ashlar_api::hardware::{Outcome, Report};
use ashlar_api::pool::{Drive, DriveUsage, Pool};
use ashlar_api::site::HealthState;
use ashlar_api::user::User;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_api::volume::{Volume, VolumePhase};
use ashlar_image::qemu::{DataDisk, Nic, RunOptions};
use ashlar_tests::api::Api;
use ashlar_tests::disk::{self, Loss, State};
use ashlar_tests::{Node, node, options, vm, wait};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Mutex;

const GIB: u64 = 1 << 30;
/// A processor without hardware virtualisation.
const NO_KVM: &str = "qemu64,-svm";
/// Orderly ends wait for guests and flush; emulated ones slowly.
const OFF: Duration = Duration::from_secs(240);
/// How long a command may take in the node.
const COMMAND: Duration = Duration::from_secs(120);
/// One machine at a time: the hosts of these tests have two processors.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_machine_says_what_it_lacks() -> Result<()> {
    let _turn = TURN.lock().await;
    let mut node = Node::power_on(RunOptions {
        data: Vec::new(),
        nics: Vec::new(),
        memory_mib: 1024,
        clock: Some("2001-02-03T04:05:06".to_owned()),
        ..options("faults-bare")
    })?;
    no_data_disk(&node).await.context("no data disk")?;
    no_network_card(&node).await.context("no network card")?;
    wrong_clock(&node).await.context("wrong clock")?;
    little_memory(&node).await.context("1 GiB of memory")?;
    no_dhcp(&mut node).await.context("no DHCP")?;

    // With a network the same is told by the API.
    node.plug_network(1)?;
    node.answers().await?;
    node.claim().await?;
    fault(node.api(), "no-data-drive", "Put in a drive").await?;
    fault(node.api(), "low-memory", "Add memory").await?;
    // A time server that is reached from here takes this fault away; that there was one stays.
    let events: Page<Event> = node.api().get("/api/v1/history?name=clock").await?;
    ensure!(
        events
            .items
            .iter()
            .any(|event| event.message.contains("was wrong")),
        "{events:?}"
    );
    for over in ["no-interface", "no-carrier", "no-dhcp"] {
        gone(node.api(), over).await?;
    }
    ensure!(node.health().await? == HealthState::Degraded);
    bare_hardware(node.api()).await.context("its hardware")
}

/// The check at the start found what lacks; a new one sees the card that was plugged in since.
async fn bare_hardware(api: &Api) -> Result<()> {
    let failed = |report: &Report, id: &str| -> Result<Severity> {
        let check = report.check(id).with_context(|| format!("no {id}"))?;
        ensure!(check.outcome == Outcome::Failed, "{check:?}");
        ensure!(!check.remedy.is_empty(), "{check:?}");
        Ok(check.severity)
    };
    let first: Report = api.get("/api/v1/hardware").await?;
    ensure!(first.blocks(), "{}", first.summary);
    for (id, severity) in [
        ("network-card", Severity::Critical),
        ("memory-size", Severity::Warning),
        ("data-drive", Severity::Warning),
        ("clock", Severity::Warning),
    ] {
        ensure!(failed(&first, id)? == severity, "{id}");
    }
    let now: Report = api.post("/api/v1/hardware/check", &json!(null)).await?;
    let card = now.check("network-card").context("no network-card")?;
    ensure!(card.outcome == Outcome::Passed, "{card:?}");
    failed(&now, "data-drive")?;
    // What another part tells in its own words is told once.
    gone(api, "hardware-unfit").await
}

async fn no_data_disk(node: &Node) -> Result<()> {
    node.tells(
        "There is no empty drive for virtual machines and images",
        &["vda", "holds the system", "What to do: Put in a drive"],
    )
    .await
    .map(drop)
}

async fn no_network_card(node: &Node) -> Result<()> {
    let words = ["What to do: Put in a network card"];
    node.tells("The node has no network interface", &words)
        .await?;
    ensure!(node.screen().contains("Console: no address yet"));
    Ok(())
}

async fn wrong_clock(node: &Node) -> Result<()> {
    let words = [
        "2001-02-03",
        "was set to 20",
        "time server",
        "replace the battery",
    ];
    let story = node
        .tells("The clock of the machine was wrong", &words)
        .await?;
    ensure!(!story.contains("was set to 2001"), "{story}");
    Ok(())
}

async fn little_memory(node: &Node) -> Result<()> {
    let words = ["MiB", "What to do: Add memory: 4 GiB or more"];
    node.tells("The machine has little memory", &words)
        .await
        .map(drop)
}

/// A card on a network where nobody answers.
async fn no_dhcp(node: &mut Node) -> Result<()> {
    let card = node.machine().plug_nic(0, Nic::Silent)?;
    let words = [
        "Meanwhile",
        "169.254.",
        "What to do: Give the node a fixed address",
    ];
    node.tells("No DHCP server answers on", &words).await?;
    node.machine().unplug_nic(&card)
}

#[tokio::test(flavor = "multi_thread")]
async fn strange_disks_are_told_and_not_touched_and_machines_are_emulated() -> Result<()> {
    let _turn = TURN.lock().await;
    let folder = tempfile::tempdir()?;
    let (foreign, second) = (folder.path().join("foreign"), folder.path().join("second"));
    disk::partitioned(&foreign, 12 * GIB, &["photos", "letters"])?;
    disk::partitioned(&second, 4 * GIB, &["ashlar-esp", "ashlar-state"])?;
    let mut node = Node::boot(RunOptions {
        data: vec![DataDisk::Over(foreign), DataDisk::Over(second)],
        cpu: Some(NO_KVM.to_owned()),
        ..options("faults-strange")
    })
    .await?;
    node.claim().await?;
    two_systems(&node)
        .await
        .context("two disks with our labels")?;
    let pool = foreign_table(&node)
        .await
        .context("foreign partition table")?;
    no_kvm(&node, &pool).await.context("no KVM")
}

/// It runs from the disk that the firmware started, and says that there is another.
async fn two_systems(node: &Node) -> Result<()> {
    let words = [
        "runs from vda",
        "vdc is not touched",
        "What to do: Switch off and take out",
    ];
    node.tells("The drive vdc holds another installation of Ashlar", &words)
        .await?;
    fault(node.api(), "second-system", "take out the drive").await?;
    ensure!(node.health().await? == HealthState::Critical);
    let second = drive(node.api(), "data1").await?;
    ensure!(second.usage == DriveUsage::Foreign, "{second:?}");
    Ok(())
}

/// What is on it is told; it becomes a pool only when that is asked for by name.
async fn foreign_table(node: &Node) -> Result<String> {
    let words = [
        "vdb (12 GiB) holds",
        "GPT partition table with 2 partitions",
        "confirm that it is erased",
    ];
    node.tells(
        "There is no empty drive for virtual machines and images",
        &words,
    )
    .await?;
    fault(node.api(), "no-data-drive", "make a pool of it").await?;
    let foreign = drive(node.api(), "data0").await?;
    ensure!(foreign.usage == DriveUsage::Foreign, "{foreign:?}");
    ensure!(foreign.content.contains("2 partitions"), "{foreign:?}");

    let mut body = json!({ "spec": { "name": "main", "drives": ["data0"] } });
    let problem = refused(node.api(), "/api/v1/pools", &body, StatusCode::CONFLICT).await?;
    ensure!(problem.to_string().contains("vdb"), "{problem:?}");
    ensure!(problem.remedy.contains("erase"), "{problem:?}");
    let foreign = drive(node.api(), "data0").await?;
    ensure!(
        foreign.content.contains("2 partitions"),
        "touched: {foreign:?}"
    );

    body["erase"] = json!(["data0"]);
    let pool: Pool = node.api().post("/api/v1/pools", &body).await?;
    let pool = pool.id.to_string();
    node.pool_is_ready(&pool).await?;
    gone(node.api(), "no-data-drive").await?;
    Ok(pool)
}

/// It is told, and a machine starts all the same, emulated.
async fn no_kvm(node: &Node, pool: &str) -> Result<()> {
    let words = [
        "by emulation",
        "What to do: Switch on virtualisation in the firmware",
    ];
    node.tells("The node has no hardware virtualisation", &words)
        .await?;
    fault(node.api(), "no-kvm", "Intel VT-x, AMD SVM").await?;
    let report: Report = node.api().get("/api/v1/hardware").await?;
    let check = report.check("cpu-virtualisation").context("no check")?;
    ensure!(
        check.can_be_overridden() && check.remedy.contains("nested"),
        "{check:?}"
    );
    gone(node.api(), "hardware-unfit").await?;
    let made: Vm = node
        .api()
        .post("/api/v1/vms", &vm::empty("slow", pool, "always"))
        .await?;
    let running = vm::phase(node.api(), &made.id.to_string(), VmPhase::Running).await?;
    ensure!(running.status.kvm == Some(false), "{:?}", running.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_and_a_damaged_state_leave_a_way_on() -> Result<()> {
    let _turn = TURN.lock().await;
    let mut node = Node::boot(options("faults-state")).await?;
    node.claim().await?;
    for name in ["mason", "carter"] {
        node.api()
            .post::<User>("/api/v1/users", &user(name))
            .await?;
    }
    node.machine().stop(OFF)?;

    let state = State::open(node.machine())?;
    state.fill("filler")?;
    state.put_back()?;
    node.plug_power()?;
    node.answers().await?;
    full_drive(&mut node).await.context("full system drive")?;
    node.machine().stop(OFF)?;

    let state = State::open(node.machine())?;
    state.remove("filler")?;
    state.spoil("raft.db")?;
    state.put_back()?;
    node.plug_power()?;
    unreadable_state(&mut node)
        .await
        .context("unreadable state")?;
    room_again(&mut node).await.context("room again")?;
    node.machine().stop(OFF)?;
    let names = State::open(node.machine())?.names()?;
    ensure!(
        names.iter().any(|name| name.starts_with("raft.db.aside-")),
        "what was set aside is kept: {names:?}"
    );
    Ok(())
}

/// It says so, can be read and signed in to, deletes, and makes nothing new.
async fn full_drive(node: &mut Node) -> Result<()> {
    let words = [
        "filler (",
        "Nothing new can be made",
        "What to do: Restart the node",
    ];
    node.tells("The system drive is full", &words).await?;
    node.api_mut().sign_in().await?;
    fault(node.api(), "system-drive-full", "remove the largest files").await?;
    ensure!(node.health().await? == HealthState::Critical);
    ensure!(users(node.api()).await?.len() == 3);
    let problem = refused(
        node.api(),
        "/api/v1/users",
        &user("late"),
        StatusCode::SERVICE_UNAVAILABLE,
    )
    .await?;
    ensure!(
        problem.to_string().contains("the system drive is full"),
        "{problem:?}"
    );
    ensure!(problem.remedy.contains("Delete"), "{problem:?}");
    let all = users(node.api()).await?;
    let carter = all.iter().find(|user| user.spec.name.as_str() == "carter");
    let carter = carter.context("no such user")?.id;
    node.api().delete(&format!("/api/v1/users/{carter}")).await
}

/// The screen names the file, what is lost without it, and sets it aside when its name is typed.
async fn unreadable_state(node: &mut Node) -> Result<()> {
    let words = [
        "raft.db is damaged",
        "not a database",
        "Nothing was changed",
        "What to do: Set raft.db aside",
        "goes on with the settings in state.db",
        "press F8",
    ];
    node.tells("The configuration of this node can not be opened", &words)
        .await?;
    node.press("\r")?;
    node.shows("F8 Set raft.db aside").await?;
    node.press("\u{1b}[19~")?;
    node.shows("Type raft.db and press Enter").await?;
    node.press("yes\r")?;
    node.shows("That was not raft.db; nothing was done").await?;
    node.press("raft.db\r")?;
    node.answers().await?;
    node.api_mut().sign_in().await?;
    let names: Vec<String> = users(node.api())
        .await?
        .iter()
        .map(|user| user.spec.name.to_string())
        .collect();
    ensure!(
        names.len() == 2 && names.contains(&"mason".to_owned()),
        "{names:?}"
    );
    Ok(())
}

async fn room_again(node: &mut Node) -> Result<()> {
    gone(node.api(), "system-drive-full").await?;
    node.api()
        .post::<User>("/api/v1/users", &user("late"))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_whose_metadata_is_lost_comes_back() -> Result<()> {
    let _turn = TURN.lock().await;
    let mut node = Node::boot(RunOptions {
        shell: true,
        ..options("faults-metadata")
    })
    .await?;
    node.claim().await?;
    let pool = node.pool("main").await?;
    let kept = volume(node.api(), &pool, "kept").await?;
    let device = format!("$(echo /dev/ashlar-*/vol-{kept})");
    let sum = format!("dd if={device} bs=1M count=8 iflag=direct 2>/dev/null | md5sum");
    let write = format!("dd if=/dev/urandom of={device} bs=1M count=8 oflag=direct 2>/dev/null");
    let said = node
        .machine()
        .shell()?
        .run(&format!("{write} && {sum}"), COMMAND)?;
    // The last version of the metadata is from the end of this.
    volume(node.api(), &pool, "last").await?;

    node.pull_power()?;
    disk::lose_metadata(node.machine(), Loss::Newest)?;
    node.plug_power()?;
    node.answers().await?;
    restored(&mut node, &pool).await.context("restored")?;
    volume(node.api(), &pool, "next").await.context("usable")?;
    renewed(&mut node, &pool).await.context("renewed")?;
    let now = node.machine().shell()?.run(&sum, COMMAND)?;
    ensure!(now == said, "the volume held {said}, and holds {now}");

    node.pull_power()?;
    disk::lose_metadata(node.machine(), Loss::All)?;
    node.plug_power()?;
    node.answers().await?;
    let words = ["vdb", "no complete copy", "What to do: Restart"];
    node.tells("The storage pool main can not be read", &words)
        .await?;
    node.api_mut().sign_in().await?;
    gone(node.api(), "pool-restored").await?;
    // It may yet be mended by a person: nothing else gets the drive.
    let drive = drive(node.api(), "data0").await?;
    ensure!(matches!(drive.usage, DriveUsage::Pool { .. }), "{drive:?}");
    Ok(())
}

/// The pool is there without anybody's doing, and it is told what was done.
async fn restored(node: &mut Node, pool: &str) -> Result<()> {
    node.api_mut().sign_in().await?;
    node.pool_is_ready(pool).await?;
    fault(
        node.api(),
        "pool-restored",
        "made, changed or removed just before",
    )
    .await?;
    gone(node.api(), "pool-damaged").await?;
    gone(node.api(), "volume-without-pool").await?;
    let events: Page<Event> = node.api().get("/api/v1/history?name=restored").await?;
    let told = |event: &&Event| event.message.contains("metadata of the storage pool main");
    ensure!(events.items.iter().any(|event| told(&event)), "{events:?}");
    Ok(())
}

/// One of the two copies is spoiled while the pool is in use: it is written anew, and nobody has to do anything.
async fn renewed(node: &mut Node, pool: &str) -> Result<()> {
    let look = "lvm pvck --dump headers /dev/vdb 2>&1 | grep";
    let place = format!("$({look} -m1 'metadata text at' | cut -d' ' -f6)");
    let spoil = format!(
        "at={place}; dd if=/dev/zero of=/dev/vdb bs=512 seek=$((at / 512)) count=2 oflag=direct 2>/dev/null"
    );
    let count = format!("{look} -c 'crc does not match' || true");
    let mut shell = node.machine().shell()?;
    shell.run(&spoil, COMMAND)?;
    let bad = shell.run(&count, COMMAND)?;
    ensure!(bad.trim() == "1", "{bad} bad copies");
    volume(node.api(), pool, "another").await?;
    let bad = shell.run(&count, COMMAND)?;
    ensure!(bad.trim() == "0", "{bad} bad copies are left");
    Ok(())
}

/// Makes a volume and waits until it is ready; gives its id.
async fn volume(api: &Api, pool: &str, name: &str) -> Result<String> {
    let body = json!({ "name": name, "pool": pool, "size": 64 << 20 });
    let made: Volume = api.post("/api/v1/volumes", &body).await?;
    let path = format!("/api/v1/volumes/{}", made.id);
    wait::until(&format!("the volume {name}"), node::BOOT, || async {
        let volume: Volume = api.get(&path).await?;
        let status = volume.status;
        let is_ready = status.phase == VolumePhase::Ready && status.condition.ready;
        ensure!(is_ready, "{status:?}");
        Ok(Some(()))
    })
    .await?;
    Ok(made.id.to_string())
}

fn user(name: &str) -> Value {
    json!({ "spec": { "name": name, "role": "viewer" }, "password": "a quarry of blue stone" })
}

async fn users(api: &Api) -> Result<Vec<User>> {
    let page: Page<User> = api.get("/api/v1/users").await?;
    Ok(page.items)
}

async fn drive(api: &Api, id: &str) -> Result<Drive> {
    let page: Page<Drive> = api.get("/api/v1/drives").await?;
    let found = page.items.into_iter().find(|drive| drive.id == id);
    found.with_context(|| format!("there is no drive {id}"))
}

/// Waits until the API tells of a fault; its remedy must hold these words.
async fn fault(api: &Api, code: &str, remedy: &str) -> Result<()> {
    wait::until(&format!("the fault {code}"), node::BOOT, || async {
        let page: Page<Fault> = api.get("/api/v1/faults").await?;
        let Some(fault) = page.items.iter().find(|fault| fault.code == code) else {
            anyhow::bail!("there are {:?}", page.items);
        };
        ensure!(fault.severity > Severity::Info, "{fault:?}");
        ensure!(fault.remedy.contains(remedy), "{fault:?}");
        Ok(Some(()))
    })
    .await
}

/// Waits until the API tells of a fault no more.
async fn gone(api: &Api, code: &str) -> Result<()> {
    wait::until(&format!("the fault {code} to go"), node::BOOT, || async {
        let page: Page<Fault> = api.get("/api/v1/faults").await?;
        let stays = page.items.iter().any(|fault| fault.code == code);
        Ok::<_, anyhow::Error>((!stays).then_some(()))
    })
    .await
}

/// The problem with which a request is refused.
async fn refused(api: &Api, path: &str, body: &Value, status: StatusCode) -> Result<Problem> {
    let answer = api.request(Method::POST, path, Some(body)).await?;
    ensure!(answer.status == status, "{}", answer.status);
    answer.problem()
}

//! The supervisor is killed again and again while a machine runs that was started from a CD, its serial line and its
//! screen are looked at, and calls of the API go on. The machine keeps its process, nothing of what it said is lost, the
//! console comes back by itself, and no job is lost, half done or failed. `ASHLAR_KILLS` says how often.
//!
//! The kill is a real one: `restart-supervisor` makes process 1 send SIGKILL, half a second after the answer. The other
//! calls do not know of it, so it falls at any point of theirs, and of what the domains do at that time. That the kill
//! came is seen at the stream of changes, which breaks with the process; the next stream says that it is another one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ashlar_api::Page;
use ashlar_api::image::{Image, ImageFormat};
use ashlar_api::job::{Job, JobState};
use ashlar_api::node::Node as NodeObject;
use ashlar_api::pool::Pool;
use ashlar_api::vm::{Vm, VmPhase};
use ashlar_api::volume::{Volume, VolumePhase};
use ashlar_tests::api::{Answer, Api, Events};
use ashlar_tests::browser::Browser;
use ashlar_tests::console::{Consoles, Opened};
use ashlar_tests::picture::Picture;
use ashlar_tests::serial::Serial;
use ashlar_tests::{Node, cd, chance::Chance, for_guests, options, vm, wait, walk};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

const KILLS: usize = 10;
const MIB: u64 = 1 << 20;
/// Of finished jobs the node keeps 500; all of this test's must be among them.
const MOST_JOBS: usize = 440;
const LAST: &str = "after-the-last-kill";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_the_supervisor_is_killed() -> Result<()> {
    let kills = match std::env::var("ASHLAR_KILLS") {
        Ok(number) => number.parse().context("ASHLAR_KILLS is no number")?,
        Err(_) => KILLS,
    };
    ensure!(kills > 0, "ASHLAR_KILLS is 0");
    let mut node = Node::boot(for_guests(options("supervisor"))?).await?;
    let mut browser = Browser::start("supervisor", 1440, 900).await?;
    walk::claim(&node, &mut browser).await?;
    node.api_mut().sign_in().await?;
    let pool = pool(node.api()).await?;
    let image = vm::upload(node.api(), "noise", &noise(24 << 20)).await?;
    let (started, cd) = start_from_cd(node.api(), &pool).await?;
    browser.sees("1 virtual machine, all running").await?;
    browser.picture("before").await?;
    watch_page(&browser).await?;

    let (stop, stopped) = watch::channel(false);
    let work = Work {
        api: node.api().clone(),
        pool,
        image,
        vm: started.id.to_string(),
        ledger: Mutex::default(),
        stopped,
    };
    let consoles = Consoles::new(node.api(), &work.vm);
    let killing = async {
        let result = kill_often(node.api(), &started, kills, consoles.opened()).await;
        stop.send_replace(true);
        result
    };
    let (mut times, (), (), (), (), ()) = tokio::try_join!(
        killing,
        work.volumes(),
        work.settings(),
        work.reads(),
        consoles.serial(&work.stopped),
        consoles.screen(&work.stopped),
    )?;
    times.sort();
    let ledger = work.ledger.lock().expect("nobody panicked").clone();
    eprintln!(
        "{kills} kills; from the kill to the API: {} ms at best, {} ms in the middle, {} ms at worst",
        times[0].as_millis(),
        times[kills / 2].as_millis(),
        times[kills - 1].as_millis()
    );
    eprintln!(
        "the consoles could be used so often: {:?}",
        *consoles.opened().borrow()
    );
    eprintln!(
        "meanwhile {} calls were answered, {} were cut off; {} volumes, {} jobs, {} settings",
        ledger.answered,
        ledger.cut,
        ledger.volumes.len(),
        ledger.jobs.len(),
        ledger.setting
    );
    ensure!(!ledger.jobs.is_empty(), "no work went on");

    settled(node.api(), &ledger).await?;
    jobs_ended(node.api(), &ledger).await?;
    let vm: Vm = node.api().get(&format!("/api/v1/vms/{}", work.vm)).await?;
    let setting: usize = vm.spec.description.parse()?;
    ensure!(
        setting >= ledger.setting && setting <= ledger.tried,
        "setting {} was accepted, {} tried, it is {setting}",
        ledger.setting,
        ledger.tried
    );
    console_is_live(&node, &mut browser, &work.pool).await?;
    open_serial_line_comes_back(&node, &mut browser, &work.vm)
        .await
        .context("the serial line in the browser")?;
    open_screen_comes_back(&node, &mut browser, &work.vm)
        .await
        .context("the screen in the browser")?;
    let errors = browser.script_errors().await?;
    ensure!(errors.is_empty(), "the console threw: {errors:?}");
    eject(node.api(), &work.vm, &cd).await.context("eject")?;
    browser.close().await
}

/// Starts a machine from a CD, and waits until its program talks.
async fn start_from_cd(api: &Api, pool: &str) -> Result<(Vm, Image)> {
    let cd = vm::upload(api, "talker", &std::fs::read(cd::talker()?)?).await?;
    // Without it, a guest in an emulated node takes minutes to its first line.
    wait::until("hardware virtualisation", vm::SLOW, || async {
        let nodes: Page<NodeObject> = api.get("/api/v1/nodes").await?;
        let can = nodes.items.iter().any(|node| node.status.virtualisation);
        Ok::<_, anyhow::Error>(can.then_some(()))
    })
    .await?;
    ensure!(
        cd.status.format == Some(ImageFormat::Iso),
        "it is taken for something else: {:?}",
        cd.status
    );
    // The disk comes first and has nothing to start from, as when a system is installed.
    let mut body = vm::empty("always", pool, "always");
    body["cdrom"] = json!(cd.id);
    let made: Vm = api.post("/api/v1/vms", &body).await?;
    let id = made.id.to_string();
    let started = vm::phase(api, &id, VmPhase::Running).await?;
    let mut line = Serial::open(api, &id).await?;
    line.expect(cd::FIRST_WORDS, vm::SLOW).await?;
    line.expect("line 0", vm::SLOW).await?;
    Ok((started, cd))
}

/// Takes the CD out while the machine runs: then nobody uses it any more, and the machine goes on.
async fn eject(api: &Api, vm: &str, cd: &Image) -> Result<()> {
    let path = format!("/api/v1/vms/{vm}");
    let image = format!("/api/v1/images/{}", cd.id);
    let refused = api.request(Method::DELETE, &image, None::<&()>).await?;
    ensure!(
        refused.status == StatusCode::CONFLICT,
        "it can be deleted while it is in the drive: {}",
        refused.status
    );
    let mut spec = api.get::<Value>(&path).await?["spec"].take();
    spec["cdrom"] = Value::Null;
    api.put::<Vm>(&path, &spec).await?;
    wait::until("an empty drive", vm::SLOW, || async {
        let vm: Vm = api.get(&path).await?;
        ensure!(vm.spec.cdrom.is_none(), "{:?}", vm.spec);
        ensure!(vm.status.pending.is_empty(), "{:?}", vm.status);
        Ok::<_, anyhow::Error>(Some(()))
    })
    .await?;
    api.delete(&image).await?;
    wait::until("the image to be gone", vm::SLOW, || async {
        let answer = api.request(Method::GET, &image, None::<&()>).await?;
        Ok::<_, anyhow::Error>((answer.status == StatusCode::NOT_FOUND).then_some(()))
    })
    .await?;
    let mut line = Serial::open(api, vm).await?;
    line.send("still there\n").await?;
    line.expect("heard still there", vm::SLOW).await.map(drop)
}

/// Kills the supervisor again and again; gives how long each time the API was away.
async fn kill_often(
    api: &Api,
    started: &Vm,
    kills: usize,
    mut opened: watch::Receiver<Opened>,
) -> Result<Vec<Duration>> {
    let nodes: Page<NodeObject> = api.get("/api/v1/nodes").await?;
    let first = nodes.items.first().context("no node")?;
    let path = format!("/api/v1/nodes/{}/restart-supervisor", first.id);
    let vm_path = format!("/api/v1/vms/{}", started.id);
    let mut chance = Chance::new(0x5eed);
    let mut times = Vec::new();
    let mut since = None;
    let (mut events, mut instance) = api.events().await?;
    for n in 0..kills {
        // As long as a start takes, at most, and a little more: some lives end in the first work, some get through.
        let longest = times.last().map_or(0, Duration::as_millis);
        let longest = u64::try_from(longest).unwrap_or_default() + 1500;
        tokio::time::sleep(Duration::from_millis(chance.below(longest))).await;
        let asked = wait::until("the kill to be taken", vm::SLOW, || async {
            api.act(&path).await.map(Some)
        });
        asked.await.with_context(|| format!("kill {n}"))?;
        tokio::time::timeout(vm::SLOW, events.over())
            .await
            .with_context(|| format!("kill {n} did not come"))?;
        let killed = Instant::now();
        let before = *opened.borrow();
        (events, instance) = next_supervisor(api, &instance).await?;
        times.push(killed.elapsed());
        eprintln!("kill {n}: {} ms to the API", killed.elapsed().as_millis());
        let vm = wait::until("the machine to be found", vm::SLOW, || async {
            let vm: Vm = api.get(&vm_path).await?;
            Ok::<_, anyhow::Error>(vm.status.pid.is_some().then_some(vm))
        })
        .await
        .with_context(|| format!("after kill {n}"))?;
        ensure!(
            vm.status.pid == started.status.pid && vm.status.phase == VmPhase::Running,
            "after kill {n} the machine is another: {:?}, it was {:?}",
            vm.status,
            started.status
        );
        // From the first time it is adopted, this is when its process was started.
        let began = *since.get_or_insert(vm.status.since);
        ensure!(
            vm.status.since == began,
            "after kill {n} its process runs since {:?}, not {began:?}",
            vm.status.since
        );
        let both = |now: &Opened| now.serial > before.serial && now.screen > before.screen;
        let again = tokio::time::timeout(vm::SLOW, opened.wait_for(both)).await;
        again.with_context(|| format!("after kill {n} its consoles can not be used"))??;
    }
    let nodes: Page<NodeObject> = api.get("/api/v1/nodes").await?;
    let after = nodes.items.first().context("no node")?;
    ensure!(
        first.status.boot_id == after.status.boot_id,
        "the node was started anew"
    );
    Ok(times)
}

/// Waits for a stream of another supervisor.
async fn next_supervisor(api: &Api, before: &str) -> Result<(Events, String)> {
    let start = Instant::now();
    loop {
        let last = match tokio::time::timeout(vm::SLOW, api.events()).await {
            Ok(Ok((events, instance))) if instance != before => return Ok((events, instance)),
            Ok(Ok(_)) => "it is the same one".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "no answer".to_owned(),
        };
        if start.elapsed() > vm::SLOW {
            bail!("no new supervisor: {last}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was promised to us.
#[derive(Clone, Default)]
struct Ledger {
    volumes: BTreeMap<String, Fate>,
    /// Jobs that were named in an answer.
    jobs: Vec<String>,
    /// The newest setting that was accepted, and that was tried.
    setting: usize,
    tried: usize,
    answered: usize,
    cut: usize,
}

/// What must be found of a volume in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    There,
    Gone,
    /// The answer was lost: there and whole, or not there.
    Either,
}

struct Work {
    api: Api,
    pool: String,
    image: Image,
    vm: String,
    ledger: Mutex<Ledger>,
    stopped: watch::Receiver<bool>,
}

impl Work {
    fn goes_on(&self) -> bool {
        !*self.stopped.borrow()
    }

    fn note(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.ledger.lock().expect("nobody panicked"));
    }

    fn promise(&self, volume: &str, fate: Fate) {
        self.note(|ledger| {
            ledger.volumes.insert(volume.to_owned(), fate);
        });
    }

    /// One call. No answer is part of this test; one that the API may not give is not.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<Answer>> {
        let what = format!("{method} {path}");
        let Ok(answer) = self.api.request(method, path, body).await else {
            self.note(|ledger| ledger.cut += 1);
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Ok(None);
        };
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            // A part that has only just been started; nothing was done, unless it says that it took too long.
            tokio::time::sleep(Duration::from_millis(200)).await;
            return Ok(None);
        }
        ensure!(
            answer.status.is_success(),
            "{what}: {} {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        self.note(|ledger| {
            ledger.answered += 1;
            ledger.jobs.extend(answer.jobs());
        });
        Ok(Some(answer))
    }

    /// Makes volumes, every third filled from an image; deletes half of them, some while they are made.
    async fn volumes(&self) -> Result<()> {
        let mut chance = Chance::new(0xd15c);
        for n in 0.. {
            let full = self.ledger.lock().expect("nobody panicked").jobs.len() > MOST_JOBS;
            if !self.goes_on() || full {
                break;
            }
            let name = format!("v{n}");
            let mut body = json!({ "name": name, "pool": self.pool, "size": 32 * MIB });
            if n % 3 == 0 {
                body["image"] = json!(self.image.id);
            }
            self.promise(&name, Fate::Either);
            let Some(answer) = self
                .ask(Method::POST, "/api/v1/volumes", Some(&body))
                .await?
            else {
                continue;
            };
            let volume: Volume = answer.value()?;
            self.promise(&name, Fate::There);
            let path = format!("/api/v1/volumes/{}", volume.id);
            if n % 2 == 0 {
                self.ready(&path).await?;
            }
            if n % 4 < 2 {
                self.promise(&name, Fate::Either);
                if self.ask(Method::DELETE, &path, None).await?.is_some() {
                    self.promise(&name, Fate::Gone);
                }
            }
            tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
        }
        Ok(())
    }

    /// Waits until a volume is ready, or the killing is over: then it is asked for among all the others.
    async fn ready(&self, path: &str) -> Result<()> {
        while self.goes_on() {
            if let Some(answer) = self.ask(Method::GET, path, None).await? {
                let volume: Volume = answer.value()?;
                match volume.status.phase {
                    VolumePhase::Ready => break,
                    VolumePhase::Failed => bail!("it failed: {:?}", volume.status),
                    VolumePhase::Preparing | VolumePhase::Deleting => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(())
    }

    /// Changes the machine's description to a number that grows.
    async fn settings(&self) -> Result<()> {
        let path = format!("/api/v1/vms/{}", self.vm);
        for n in 1.. {
            if !self.goes_on() {
                break;
            }
            let Some(answer) = self.ask(Method::GET, &path, None).await? else {
                continue;
            };
            let mut spec = answer.value::<Value>()?["spec"].take();
            spec["description"] = json!(n.to_string());
            self.note(|ledger| ledger.tried = n);
            if self.ask(Method::PUT, &path, Some(&spec)).await?.is_some() {
                self.note(|ledger| ledger.setting = n);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Reads what consoles read.
    async fn reads(&self) -> Result<()> {
        while self.goes_on() {
            for path in ["vms", "volumes", "jobs", "pools", "faults"] {
                self.ask(Method::GET, &format!("/api/v1/{path}"), None)
                    .await?;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

/// Every volume is as it was promised, and those that were filled are full.
async fn settled(api: &Api, ledger: &Ledger) -> Result<()> {
    wait::until("every volume as it was promised", vm::SLOW, || async {
        let page: Page<Volume> = api.get("/api/v1/volumes?limit=500").await?;
        for (name, fate) in &ledger.volumes {
            let found = page.items.iter().find(|v| v.spec.name.as_str() == name);
            match (fate, found) {
                (Fate::There, None) => bail!("{name} was accepted and is gone"),
                (Fate::Gone, Some(volume)) => bail!("{name} was deleted and is {volume:?}"),
                (_, Some(volume)) if volume.status.phase != VolumePhase::Ready => {
                    bail!("{name} is {:?}", volume.status)
                }
                // The image has no zeros, so a volume that was filled from it holds all of it.
                (_, Some(volume)) if volume.spec.image.is_some() => {
                    let used = volume.status.used.0;
                    ensure!(used >= 24 * MIB, "{name} is ready, with {used} bytes");
                }
                _ => {}
            }
        }
        Ok(Some(()))
    })
    .await
}

/// No job still runs, none failed, each that was named to us is there.
async fn jobs_ended(api: &Api, ledger: &Ledger) -> Result<()> {
    let page = wait::until("every job to end", vm::SLOW, || async {
        let page: Page<Job> = api.get("/api/v1/jobs?limit=500").await?;
        let running = page.items.iter().find(|job| !job.state.is_over());
        match running {
            Some(job) => bail!("{job:?}"),
            None => Ok(Some(page)),
        }
    })
    .await?;
    for job in &page.items {
        let deleted = || {
            let fate = ledger.volumes.get(&job.subject.name);
            fate.is_some_and(|fate| *fate != Fate::There)
        };
        let well = match job.state {
            JobState::Succeeded => true,
            // Making it ended because it was to go.
            JobState::Cancelled => deleted(),
            _ => false,
        };
        ensure!(well, "a job did not end well: {job:?}");
    }
    for id in &ledger.jobs {
        ensure!(
            page.items.iter().any(|job| job.id.to_string() == *id),
            "the job {id} is lost"
        );
    }
    Ok(())
}

/// Counts how often the page says that it lost the appliance, and marks it so that a new page would be noticed.
async fn watch_page(browser: &Browser) -> Result<()> {
    const WATCH: &str = "window.ashlarLost = 0; let was = false; setInterval(() => {
        const is = document.body.innerText.includes('Reconnecting');
        if (is && !was) window.ashlarLost += 1;
        was = is;
    }, 100);";
    browser.client().execute(WATCH, Vec::new()).await?;
    Ok(())
}

/// The page that was open all the time shows what happens now.
async fn console_is_live(node: &Node, browser: &mut Browser, pool: &str) -> Result<()> {
    let body = json!({ "name": LAST, "pool": pool, "size": 4 * MIB });
    let volume: Volume = node.api().post("/api/v1/volumes", &body).await?;
    let path = format!("/api/v1/volumes/{}", volume.id);
    let body = json!({ "name": LAST, "pool": pool, "size": 8 * MIB });
    wait::until("the volume to grow", vm::SLOW, || async {
        node.api().put::<Volume>(&path, &body).await.map(Some)
    })
    .await?;
    browser.sees_within(LAST, vm::SLOW).await?;
    browser
        .sees_within("1 virtual machine, all running", vm::SLOW)
        .await?;
    browser.picture("after").await?;
    let lost = browser
        .client()
        .execute("return window.ashlarLost", Vec::new())
        .await?;
    let lost = lost.as_u64().context("the page was loaded anew")?;
    eprintln!("the console lost the appliance {lost} times and came back");
    ensure!(lost > 0, "the console noticed nothing");
    let text = browser
        .client()
        .execute("return document.body.innerText", Vec::new())
        .await?;
    ensure!(
        !text.as_str().unwrap_or_default().contains("Reconnecting"),
        "the console is still reconnecting"
    );
    Ok(())
}

/// Counts how often the open console says that it was cut off, and marks the page.
const WATCH_CONSOLE: &str = "window.ashlarCut = 0; window.ashlarWrong = ''; let was = false; setInterval(() => {
    const text = document.querySelector('.console-stage')?.innerText ?? 'no console';
    const is = text.includes('Connecting again');
    if (is && !was) window.ashlarCut += 1;
    was = is;
    for (const wrong of ['does not run', 'no console']) if (text.includes(wrong)) window.ashlarWrong = text;
}, 50);";

/// Kills the supervisor while a console is open in the page, and waits until the page says that it is connected again.
async fn cut_off_and_connected_again(node: &Node, browser: &Browser) -> Result<()> {
    let nodes: Page<NodeObject> = node.api().get("/api/v1/nodes").await?;
    let id = nodes.items.first().context("no node")?.id;
    browser.client().execute(WATCH_CONSOLE, Vec::new()).await?;
    let (events, instance) = node.api().events().await?;
    let path = format!("/api/v1/nodes/{id}/restart-supervisor");
    node.api().act(&path).await?;
    tokio::time::timeout(vm::SLOW, events.over())
        .await
        .context("the kill did not come")?;
    next_supervisor(node.api(), &instance).await?;
    const LOOK: &str = "const stage = document.querySelector('.console-stage');
        return { cut: window.ashlarCut, wrong: window.ashlarWrong, over: !!stage?.querySelector('.console-over') }";
    wait::until("the console to connect again", vm::SLOW, || async {
        let now = browser.client().execute(LOOK, Vec::new()).await?;
        ensure!(now["cut"].is_u64(), "the page was loaded anew: {now}");
        ensure!(now["cut"] != 0 && now["over"] == false, "{now}");
        Ok(Some(now))
    })
    .await
    .and_then(|now| {
        ensure!(
            now["wrong"] == "",
            "meanwhile it said something wrong: {now}"
        );
        Ok(())
    })
}

/// The serial line in a page that is left open: nothing of it is lost, and the guest hears what is typed.
async fn open_serial_line_comes_back(node: &Node, browser: &mut Browser, vm: &str) -> Result<()> {
    browser
        .open(&format!("{}/vms/{vm}/serial", node.url()))
        .await?;
    let before = shown_lines(browser, 1).await?;
    browser.picture("serial-line").await?;
    cut_off_and_connected_again(node, browser).await?;
    shown_lines(browser, before + 2).await?;
    browser.picture("serial-line-again").await?;
    const TYPE: &str = "document.querySelector('ashlar-serial').send('from the page\\n')";
    browser.client().execute(TYPE, Vec::new()).await?;
    let mut line = Serial::open(node.api(), vm).await?;
    line.expect("heard from the page", vm::SLOW).await.map(drop)
}

/// Waits until the terminal in the page has so many lines of the guest; each must be there once.
async fn shown_lines(browser: &Browser, least: usize) -> Result<usize> {
    const TEXT: &str = "return document.querySelector('ashlar-serial')?.text?.()";
    let text = wait::until("the guest's lines in the page", vm::SLOW, || async {
        let text = browser.client().execute(TEXT, Vec::new()).await?;
        let text = text.as_str().unwrap_or_default().to_owned();
        let enough = text.matches("\nline ").count() > least;
        Ok::<_, anyhow::Error>(enough.then_some(text))
    });
    cd::lines(&text.await?)
}

/// The screen in a page that is left open: afterwards it shows what QEMU says it does.
async fn open_screen_comes_back(node: &Node, browser: &mut Browser, vm: &str) -> Result<()> {
    browser.click("Screen").await?;
    let path = format!("/api/v1/vms/{vm}/screenshot");
    for name in ["screen", "screen-again"] {
        if name == "screen-again" {
            cut_off_and_connected_again(node, browser).await?;
        }
        wait::until("the same picture in the browser", vm::SLOW, || async {
            let shown = browser.guest_screen().await?;
            let answer = node.api().request(Method::GET, &path, None::<&()>).await?;
            ensure!(answer.status.is_success(), "no picture: {}", answer.status);
            let same = shown.same_as(&Picture::png(&answer.body)?)?;
            ensure!(same > 0.99, "only {same:.3} of the screen is the same");
            Ok(Some(()))
        })
        .await?;
        browser.picture(name).await?;
    }
    Ok(())
}

async fn pool(api: &Api) -> Result<String> {
    wait::until("the pool", vm::SLOW, || async {
        let page: Page<Pool> = api.get("/api/v1/pools").await?;
        let ready = page.items.iter().find(|pool| pool.status.condition.ready);
        Ok::<_, anyhow::Error>(ready.map(|pool| pool.id.to_string()))
    })
    .await
}

/// An image without a block of zeros in it, the same in every run: it is taken for a file system of its own.
fn noise(length: usize) -> Vec<u8> {
    let mut chance = Chance::new(0xb10b);
    let mut bytes = b"XFSB".to_vec();
    while bytes.len() < length {
        bytes.extend_from_slice(&chance.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

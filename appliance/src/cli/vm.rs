//! `ashlar vm`: virtual machines.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ashlar_api::endpoint;
use ashlar_api::metrics::VmSample;
use ashlar_api::vm::{Vm, VmAction, VmDisk, VmPhase, VmSpec};
use ashlar_api::volume::Volume;
use clap::{Args, Subcommand};
use reqwest::Method;

use super::client::at;
use super::error::{Error, Result};
use super::metrics::{self, RangeArgs};
use super::noun::{
    self, ChangeArgs, Cx, DeleteArgs, ListArgs, NameArgs, Noun, ReplaceArgs, object_noun,
};
use super::output::{self, Look, list, share, word, yes};
use super::vm_spec::{CreateArgs, SetArgs};
use super::{ask, console, wait};

/// How long an action is waited for, unless it is said.
const PATIENCE: u64 = 180;

/// What can be done with virtual machines.
#[derive(Subcommand, Debug)]
pub enum VmCommand {
    /// List virtual machines
    List(ListArgs),
    /// Show a virtual machine
    Show(NameArgs),
    /// Make a virtual machine
    Create(Box<CreateArgs>),
    /// Change a virtual machine
    Set(Box<SetArgs>),
    /// Replace all settings of a virtual machine
    Replace(ReplaceArgs),
    /// Delete a virtual machine
    Delete(VmDeleteArgs),
    /// Start it
    Start(ActArgs),
    /// Ask the guest to end
    Shutdown(ActArgs),
    /// Cut its power; what the guest has not written is lost
    Stop(ForceArgs),
    /// Ask the guest to end, then start it
    Restart(ActArgs),
    /// Press its reset button; what the guest has not written is lost
    Reset(ForceArgs),
    /// Hold it
    Pause(ActArgs),
    /// Let it go on
    Resume(ActArgs),
    /// Its load: now, and over time
    Metrics {
        /// Its name or id
        name: String,
        /// How far back
        #[command(flatten)]
        range: RangeArgs,
    },
    /// Its serial line, in this terminal; Ctrl-] leaves
    Console(NameArgs),
    /// A picture of its screen
    Screenshot {
        /// Its name or id
        name: String,
        /// The PNG file to write; `-` is the output
        file: PathBuf,
    },
}

/// Which machine is removed.
#[derive(Args, Debug)]
pub struct VmDeleteArgs {
    /// Which
    #[command(flatten)]
    delete: DeleteArgs,
    /// Delete all its volumes too
    #[arg(long, conflicts_with = "volumes")]
    all_volumes: bool,
    /// Delete this volume of it too; repeat for several
    #[arg(long = "volume", value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Which machine is meant, and how long it is waited for.
#[derive(Args, Debug)]
pub struct ActArgs {
    /// Its name or id
    name: String,
    /// How long to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE)]
    timeout: u64,
    /// How
    #[command(flatten)]
    change: ChangeArgs,
}

/// The same for what can lose data.
#[derive(Args, Debug)]
pub struct ForceArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Which
    #[command(flatten)]
    act: ActArgs,
}

object_noun!(Vm, VmSpec);

impl Noun for Vm {
    const WORD: &'static str = "virtual machine";
    const PATH: &'static str = endpoint::VMS;
    const RELATED: &'static [&'static str] =
        &[endpoint::VOLUMES, endpoint::NETWORKS, endpoint::IMAGES];
    const IN_TABLE: &'static [&'static str] = &[];
    const COLUMNS: &'static [&'static str] =
        &["name", "state", "cpus", "memory", "load", "addresses"];

    fn id(&self) -> String {
        self.id.to_string()
    }
    fn name(&self) -> String {
        self.spec.name.to_string()
    }
    fn row(&self, _: &Look) -> Vec<String> {
        vec![
            self.spec.name.to_string(),
            word(&self.status.phase),
            self.spec.cpus.to_string(),
            self.spec.memory.to_string(),
            self.load(),
            list(&self.status.addresses),
        ]
    }
    fn details(&self, look: &Look) -> Vec<(&'static str, String)> {
        let (spec, status) = (&self.spec, &self.status);
        let disks = spec.disks.iter().map(|disk| match disk {
            VmDisk::Volume { volume } => look.name(volume),
            VmDisk::New { size, .. } => format!("new, {size}"),
        });
        let nics = spec.nics.iter().map(|nic| {
            let mac = nic.mac.map(|mac| format!("  {mac}")).unwrap_or_default();
            format!("{}{mac}", look.name(nic.network))
        });
        let user = spec
            .cloud_init
            .as_ref()
            .map(|first| match first.user_data.is_empty() {
                true => format!("user {}, {} SSH keys", first.user, first.ssh_keys.len()),
                false => "own user-data".to_owned(),
            });
        let running = status.phase != VmPhase::Stopped;
        vec![
            ("name", spec.name.to_string()),
            ("id", self.id.to_string()),
            ("description", spec.description.clone()),
            ("state", word(&status.phase)),
            ("message", status.message.clone()),
            ("remedy", status.remedy.clone()),
            ("since", look.maybe_time(status.since)),
            ("cpus", spec.cpus.to_string()),
            ("memory", spec.memory.to_string()),
            ("load", self.load()),
            ("run policy", word(&spec.run_policy)),
            ("disks", disks.collect::<Vec<_>>().join("\n")),
            ("CD", look.maybe_name(spec.cdrom)),
            ("networks", nics.collect::<Vec<_>>().join("\n")),
            ("addresses", list(&status.addresses)),
            ("first start", user.unwrap_or_default()),
            ("KVM", status.kvm.map(yes).unwrap_or_default()),
            (
                "agent",
                if running {
                    yes(status.agent)
                } else {
                    String::new()
                },
            ),
            ("protected", yes(spec.protected)),
            ("at next start", list(&status.pending)),
            ("created", look.time(self.created_at)),
        ]
    }
}

/// What a person wants to know of a load.
trait Load {
    fn load(&self) -> String;
}

impl Load for Vm {
    fn load(&self) -> String {
        let load = self.status.load.as_ref();
        load.map(|load| share(load.cpu)).unwrap_or_default()
    }
}

impl VmCommand {
    /// Does it.
    pub async fn run(self, cx: &Cx) -> Result {
        match self {
            VmCommand::List(args) => noun::list::<Vm>(cx, &args).await,
            VmCommand::Show(args) => noun::show::<Vm>(cx, &args).await,
            VmCommand::Create(args) => args.run(cx).await,
            VmCommand::Set(args) => args.run(cx).await,
            VmCommand::Replace(args) => noun::replace::<Vm>(cx, &args).await,
            VmCommand::Delete(args) => delete(cx, args).await,
            VmCommand::Start(args) => act(cx, args, VmAction::Start).await,
            VmCommand::Shutdown(args) => act(cx, args, VmAction::Shutdown).await,
            VmCommand::Stop(args) => force(cx, args, VmAction::Stop, "Cut the power of").await,
            VmCommand::Restart(args) => act(cx, args, VmAction::Restart).await,
            VmCommand::Reset(args) => force(cx, args, VmAction::Reset, "Reset").await,
            VmCommand::Pause(args) => act(cx, args, VmAction::Pause).await,
            VmCommand::Resume(args) => act(cx, args, VmAction::Resume).await,
            VmCommand::Metrics { name, range } => {
                let id = noun::id_of::<Vm>(&cx.client, &name).await?;
                metrics::show::<VmSample>(cx, &at(Vm::PATH, &id), &range).await
            }
            VmCommand::Console(args) => console::run(cx, &args.name).await,
            VmCommand::Screenshot { name, file } => screenshot(cx, &name, file).await,
        }
    }
}

async fn delete(cx: &Cx, args: VmDeleteArgs) -> Result {
    let mut query = Vec::new();
    let warning = if args.all_volumes {
        query.push(("volumes", "all".to_owned()));
        "Its volumes and what is on them are lost."
    } else if args.volumes.is_empty() {
        "Its power is cut; its volumes stay."
    } else {
        let mut ids = Vec::new();
        for volume in &args.volumes {
            ids.push(noun::id_of::<Volume>(&cx.client, volume).await?);
        }
        query.push(("volumes", ids.join(",")));
        "The volumes that you named and what is on them are lost."
    };
    noun::delete_with::<Vm>(cx, &args.delete, &query, warning).await
}

async fn force(cx: &Cx, args: ForceArgs, action: VmAction, question: &str) -> Result {
    if !args.act.change.dry_run {
        let name = &args.act.name;
        let question = format!("{question} {name}? What the guest has not written is lost.");
        ask::unless_said(args.yes, &question)?;
    }
    act(cx, args.act, action).await
}

/// Where an action leads, if it leads anywhere else.
fn goal(action: VmAction) -> Option<VmPhase> {
    match action {
        VmAction::Start | VmAction::Restart | VmAction::Resume => Some(VmPhase::Running),
        VmAction::Shutdown | VmAction::Stop => Some(VmPhase::Stopped),
        VmAction::Pause => Some(VmPhase::Paused),
        VmAction::Reset => None,
    }
}

/// Whether an action has done what it is for. A machine that restarts runs
/// before it ends, so it has to have become another process.
fn is_done(action: VmAction, before: &Vm, now: &Vm) -> bool {
    goal(action).is_none_or(|goal| goal == now.status.phase)
        && (action != VmAction::Restart || before.status.pid != now.status.pid)
}

async fn act(cx: &Cx, args: ActArgs, action: VmAction) -> Result {
    let (path, before) = noun::find::<Vm>(&cx.client, &args.name).await?;
    let mut request = cx
        .client
        .request(Method::POST, &format!("{path}/{}", action.verb()));
    if args.change.dry_run {
        request = request.query(&[("dry_run", "true")]);
    }
    let mut answer = cx.client.send(request).await?;
    if args.change.dry_run {
        output::note("It would be accepted; nothing was changed.");
    } else if !args.change.no_wait && goal(action).is_some() {
        let spinner = wait::spinner(format!("{} {}", action.verb(), before.spec.name));
        let start = Instant::now();
        let mut looker = wait::Looker::default();
        loop {
            // The first look is after a moment: what is seen may lag behind what is wanted.
            looker.pause().await;
            if let Some(found) = looker.bear(cx.client.get(&path).await)? {
                answer = found;
            }
            let now: Vm = answer.read()?;
            if is_done(action, &before, &now) {
                break;
            }
            if now.status.phase == VmPhase::Failed {
                spinner.finish_and_clear();
                return Err(Error::failed(
                    format!("{}: {}", now.spec.name, output::plain(&now.status.message)),
                    now.status.remedy,
                ));
            }
            if start.elapsed() >= Duration::from_secs(args.timeout) {
                spinner.finish_and_clear();
                return Err(late(action, &now, args.timeout));
            }
        }
        spinner.finish_and_clear();
    }
    let now: Vm = answer.read()?;
    cx.tell(
        &answer,
        &format!("{}: {}", now.spec.name, word(&now.status.phase)),
    )
}

fn late(action: VmAction, now: &Vm, seconds: u64) -> Error {
    let name = &now.spec.name;
    let remedy = match action {
        VmAction::Shutdown | VmAction::Restart => {
            format!(
                "The guest may not answer to the request; `ashlar vm stop {name}` cuts its power."
            )
        }
        _ => format!("It goes on; `ashlar vm show {name}` tells how far it is."),
    };
    let state = word(&now.status.phase);
    Error::failed(format!("{name} is still {state} after {seconds} s"), remedy)
}

async fn screenshot(cx: &Cx, name: &str, file: PathBuf) -> Result {
    let id = noun::id_of::<Vm>(&cx.client, name).await?;
    let path = format!("{}/screenshot", super::client::at(Vm::PATH, &id));
    let answer = cx.client.get(&path).await?;
    if file == std::path::Path::new("-") {
        return output::write(&answer.body);
    }
    std::fs::write(&file, &answer.body).map_err(|error| Error::file("write", file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm(phase: &str, pid: Option<u32>) -> Vm {
        serde_json::from_value(serde_json::json!({
            "id": "0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d", "revision": 3, "created_at": "2026-11-22T08:04:52Z",
            "spec": { "name": "web-1", "cpus": 2, "memory": 2147483648u64,
                "disks": [{ "type": "volume", "volume": "0192f0c1-2d3e-7a4b-8c5d-000000000001" }],
                "nics": [{ "network": "0192f0c1-2d3e-7a4b-8c5d-000000000002", "mac": "52:54:00:01:02:03" }] },
            "status": { "phase": phase, "pid": pid, "wanted": true, "agent": false, "kvm": true, "addresses": ["10.77.0.2"],
                "since": "2026-11-22T08:05:00Z" }
        }))
        .unwrap()
    }

    #[test]
    fn an_action_is_done_when_its_goal_is_seen() {
        let before = vm("running", Some(7));
        assert!(!is_done(VmAction::Restart, &before, &before));
        assert!(is_done(VmAction::Restart, &before, &vm("running", Some(8))));
        assert!(!is_done(VmAction::Restart, &before, &vm("stopping", None)));
        assert!(is_done(VmAction::Shutdown, &before, &vm("stopped", None)));
        assert!(is_done(VmAction::Reset, &before, &before));
        let stopped = vm("stopped", None);
        assert!(!is_done(
            VmAction::Start,
            &stopped,
            &vm("starting", Some(9))
        ));
        assert!(is_done(VmAction::Start, &stopped, &vm("running", Some(9))));
    }

    #[test]
    fn a_machine_is_shown_whole() {
        let mut look = Look {
            zone: jiff::tz::TimeZone::UTC,
            ..Look::new(output::Format::Table)
        };
        look.names.insert(
            "0192f0c1-2d3e-7a4b-8c5d-000000000001".into(),
            "web-1-disk0".into(),
        );
        insta::assert_snapshot!(output::details(&vm("running", Some(7)).details(&look)), @r"
        name         web-1
        id           0192f0c1-2d3e-7a4b-8c5d-6e7f8a9b0c1d
        state        running
        since        2026-11-22 08:05:00
        cpus         2
        memory       2 GiB
        run policy   always
        disks        web-1-disk0
        networks     0192f0c1-2d3e-7a4b-8c5d-000000000002  52:54:00:01:02:03
        addresses    10.77.0.2
        KVM          yes
        agent        no
        protected    no
        created      2026-11-22 08:04:52
        ");
        let rows = vec![
            vm("running", None).row(&look),
            vm("stopped", None).row(&look),
        ];
        insta::assert_snapshot!(output::table(Vm::COLUMNS, rows), @r"
        NAME    STATE     CPUS   MEMORY   LOAD   ADDRESSES
        web-1   running   2      2 GiB    -      10.77.0.2
        web-1   stopped   2      2 GiB    -      10.77.0.2
        ");
    }
}

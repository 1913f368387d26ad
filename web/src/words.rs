//! The words for the states of the nouns, the same on every page, and where each
//! object has its page.

use ashlar_api::event::Severity;
use ashlar_api::hardware::{Check, Outcome};
use ashlar_api::image::{ImageFormat, ImagePhase};
use ashlar_api::job::{Job, JobState, Kind, Subject, Verb};
use ashlar_api::network::NetworkMode;
use ashlar_api::pool::{DriveUsage, Media};
use ashlar_api::user::Role;
use ashlar_api::vm::{RunPolicy, VmAction, VmPhase};
use ashlar_api::volume::VolumePhase;

use crate::components::{Icon, Tone};

/// A machine's state.
pub const fn vm_phase(phase: VmPhase) -> (Tone, &'static str, Icon) {
    match phase {
        VmPhase::Preparing => (Tone::Info, "Preparing", Icon::Clock),
        VmPhase::Stopped => (Tone::Off, "Stopped", Icon::Stop),
        VmPhase::Starting => (Tone::Info, "Starting", Icon::Play),
        VmPhase::Running => (Tone::Ok, "Running", Icon::Check),
        VmPhase::Paused => (Tone::Warn, "Paused", Icon::Pause),
        VmPhase::Stopping => (Tone::Info, "Shutting down", Icon::Stop),
        VmPhase::Failed => (Tone::Bad, "Failed", Icon::Alert),
        VmPhase::Deleting => (Tone::Info, "Deleting", Icon::Trash),
    }
}

/// A setting of a machine that waits for its next start.
pub fn vm_setting(name: &str) -> &str {
    match name {
        "cpus" => "processors",
        "cdrom" => "the CD",
        "nics" => "network interfaces",
        "cloud_init" => "what its first start does",
        // Memory and disks are called so, and what a newer appliance names is better than nothing.
        name => name,
    }
}

/// What an action is called, what it was called once begun, and its picture.
pub const fn vm_action(action: VmAction) -> (&'static str, &'static str, Icon) {
    match action {
        VmAction::Start => ("Start", "Starting", Icon::Play),
        VmAction::Shutdown => ("Shut down", "Shutting down", Icon::Power),
        VmAction::Restart => ("Restart", "Restarting", Icon::Restart),
        VmAction::Stop => ("Cut power", "Power is cut for", Icon::Stop),
        VmAction::Reset => ("Reset", "Resetting", Icon::Restart),
        VmAction::Pause => ("Pause", "Pausing", Icon::Pause),
        VmAction::Resume => ("Resume", "Resuming", Icon::Play),
    }
}

/// True if the action can be asked for in this state.
pub const fn vm_allows(phase: VmPhase, action: VmAction) -> bool {
    match action {
        VmAction::Start => matches!(phase, VmPhase::Stopped | VmPhase::Failed),
        VmAction::Shutdown | VmAction::Restart | VmAction::Pause => {
            matches!(phase, VmPhase::Running)
        }
        VmAction::Stop => matches!(
            phase,
            VmPhase::Running | VmPhase::Paused | VmPhase::Stopping | VmPhase::Starting
        ),
        VmAction::Reset => matches!(phase, VmPhase::Running | VmPhase::Stopping),
        VmAction::Resume => matches!(phase, VmPhase::Paused),
    }
}

/// When a machine runs: its name and what it means.
pub const fn run_policy(policy: RunPolicy) -> (&'static str, &'static str) {
    match policy {
        RunPolicy::Always => (
            "Always",
            "Starts with the node, and again when it ends by itself.",
        ),
        RunPolicy::Manual => ("By hand", "Runs when somebody starts it, until it ends."),
        RunPolicy::Stopped => ("Never", "Can not be started."),
    }
}

/// The key of a policy in a form.
pub const fn run_policy_key(policy: RunPolicy) -> &'static str {
    match policy {
        RunPolicy::Always => "always",
        RunPolicy::Manual => "manual",
        RunPolicy::Stopped => "stopped",
    }
}

/// The policy of a key.
pub fn run_policy_of(key: &str) -> RunPolicy {
    match key {
        "manual" => RunPolicy::Manual,
        "stopped" => RunPolicy::Stopped,
        _ => RunPolicy::Always,
    }
}

/// A volume's state.
pub const fn volume_phase(phase: VolumePhase) -> (Tone, &'static str, Icon) {
    match phase {
        VolumePhase::Preparing => (Tone::Info, "Preparing", Icon::Clock),
        VolumePhase::Ready => (Tone::Ok, "Ready", Icon::Check),
        VolumePhase::Failed => (Tone::Bad, "Failed", Icon::Alert),
        VolumePhase::Deleting => (Tone::Info, "Deleting", Icon::Trash),
    }
}

/// An image's state.
pub const fn image_phase(phase: ImagePhase) -> (Tone, &'static str, Icon) {
    match phase {
        ImagePhase::Receiving => (Tone::Info, "Receiving", Icon::Upload),
        ImagePhase::Checking => (Tone::Info, "Checking", Icon::Clock),
        ImagePhase::Ready => (Tone::Ok, "Ready", Icon::Check),
        ImagePhase::Failed => (Tone::Bad, "Can not be used", Icon::Alert),
        ImagePhase::Deleting => (Tone::Info, "Deleting", Icon::Trash),
    }
}

/// A kind of image file.
pub const fn image_format(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Raw => "Plain disk",
        ImageFormat::Qcow2 => "QCOW2 disk",
        ImageFormat::Vmdk => "VMware disk",
        ImageFormat::Vhdx => "Hyper-V disk",
        ImageFormat::Vhd => "Hyper-V disk (VHD)",
        ImageFormat::Iso => "CD or DVD (ISO)",
    }
}

/// How machines on a network reach the world: its name and what it means.
pub const fn network_mode(mode: &NetworkMode) -> (&'static str, &'static str) {
    match mode {
        NetworkMode::Bridged {} => ("Bridged", "Machines are on the same network as the node."),
        NetworkMode::Nat { .. } => (
            "NAT",
            "Machines are behind the node: it gives addresses and names, and translates outward.",
        ),
        NetworkMode::Isolated {} => ("Isolated", "Machines reach one another and nothing else."),
    }
}

/// What a drive is made of.
pub const fn media(media: Media) -> &'static str {
    match media {
        Media::Nvme => "NVMe",
        Media::Ssd => "SSD",
        Media::Hdd => "HDD",
        Media::Virtual => "Virtual",
    }
}

/// What a drive is used for, in a few words.
pub fn drive_usage(usage: &DriveUsage, content: &str) -> String {
    match usage {
        DriveUsage::Free => "empty".to_owned(),
        DriveUsage::System => "Ashlar starts from it".to_owned(),
        DriveUsage::Pool { .. } => "in the pool".to_owned(),
        DriveUsage::Foreign if content.is_empty() => "holds other data".to_owned(),
        DriveUsage::Foreign => format!("holds {content}"),
        DriveUsage::ForeignPool { volume_group } => {
            format!("holds the pool of another appliance ({volume_group})")
        }
        DriveUsage::Unusable { reason } => format!("can not be used: {reason}"),
    }
}

/// What a role may do.
pub const fn role(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Viewer => ("Viewer", "Sees everything, changes nothing."),
        Role::Operator => (
            "Operator",
            "Also starts and stops machines and opens their screens.",
        ),
        Role::Administrator => ("Administrator", "May do everything."),
    }
}

/// The key of a role in a form.
pub const fn role_key(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Administrator => "administrator",
    }
}

/// The role of a key.
pub fn role_of(key: &str) -> Role {
    match key {
        "administrator" => Role::Administrator,
        "operator" => Role::Operator,
        _ => Role::Viewer,
    }
}

/// The colour of a severity.
pub const fn severity(severity: Severity) -> Tone {
    match severity {
        Severity::Info => Tone::Info,
        Severity::Warning => Tone::Warn,
        Severity::Critical => Tone::Bad,
    }
}

/// How a check of the hardware ended.
pub const fn hardware_check(check: &Check) -> (Tone, &'static str, Icon) {
    match (check.outcome, &check.overridden, check.severity) {
        (Outcome::Passed, ..) => (Tone::Ok, "As it should be", Icon::Check),
        (Outcome::Unknown, ..) => (Tone::Off, "Not known", Icon::Info),
        (Outcome::Failed, Some(_), _) => (Tone::Off, "Overridden", Icon::Check),
        (Outcome::Failed, None, Severity::Critical) => (Tone::Bad, "Not fit", Icon::Alert),
        (Outcome::Failed, None, Severity::Warning) => (Tone::Warn, "Wants looking at", Icon::Alert),
        (Outcome::Failed, None, Severity::Info) => (Tone::Info, "Good to know", Icon::Info),
    }
}

/// The class of a severity in lists of events.
pub const fn severity_class(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// The picture of a noun.
pub const fn kind_icon(kind: Kind) -> Icon {
    match kind {
        Kind::Site => Icon::Gear,
        Kind::Node => Icon::Node,
        Kind::Vm => Icon::Vm,
        Kind::Volume | Kind::Pool | Kind::Drive => Icon::Storage,
        Kind::Image => Icon::Image,
        Kind::Network | Kind::Link => Icon::Network,
        Kind::User | Kind::Session => Icon::User,
        Kind::Token => Icon::Key,
        Kind::Job => Icon::Jobs,
        Kind::Fault => Icon::Alert,
        Kind::Service => Icon::Pulse,
        Kind::Update => Icon::Download,
        Kind::Hardware => Icon::Chip,
    }
}

/// What an object of the noun is called.
pub const fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Site => "site",
        Kind::Node => "node",
        Kind::Vm => "virtual machine",
        Kind::Volume => "volume",
        Kind::Pool => "pool",
        Kind::Drive => "drive",
        Kind::Image => "image",
        Kind::Network => "network",
        Kind::Link => "interface",
        Kind::User => "user",
        Kind::Token => "token",
        Kind::Session => "session",
        Kind::Job => "job",
        Kind::Fault => "fault",
        Kind::Service => "service",
        Kind::Update => "update",
        Kind::Hardware => "hardware check",
    }
}

/// The page of an object.
pub fn address(subject: &Subject) -> String {
    match subject.kind {
        Kind::Site => "/settings".to_owned(),
        Kind::Node | Kind::Service => "/nodes".to_owned(),
        Kind::Hardware => "/hardware".to_owned(),
        Kind::Vm => format!("/vms/{}", subject.id),
        Kind::Volume | Kind::Pool | Kind::Drive => "/storage".to_owned(),
        Kind::Image => "/images".to_owned(),
        Kind::Network | Kind::Link => "/networks".to_owned(),
        Kind::User => "/settings/users".to_owned(),
        Kind::Token => "/settings/tokens".to_owned(),
        Kind::Session => "/settings/sessions".to_owned(),
        Kind::Job => "/jobs".to_owned(),
        Kind::Fault => "/health".to_owned(),
        Kind::Update => "/updates".to_owned(),
    }
}

/// What a job does or did, as words before its subject: `Uploading`.
pub const fn job_verb(verb: Verb, state: JobState) -> &'static str {
    match (verb, state) {
        (Verb::Create, JobState::Running | JobState::Cancelling) => "Making",
        (Verb::Create, JobState::Succeeded) => "Made",
        (Verb::Create, JobState::Failed) => "Could not make",
        (Verb::Create, JobState::Cancelled) => "Stopped making",
        (Verb::Upload, JobState::Running | JobState::Cancelling) => "Uploading",
        (Verb::Upload, JobState::Succeeded) => "Uploaded",
        (Verb::Upload, JobState::Failed) => "Could not upload",
        (Verb::Upload, JobState::Cancelled) => "Stopped uploading",
        (Verb::Download, JobState::Running | JobState::Cancelling) => "Fetching",
        (Verb::Download, JobState::Succeeded) => "Fetched",
        (Verb::Download, JobState::Failed) => "Could not fetch",
        (Verb::Download, JobState::Cancelled) => "Stopped fetching",
        (Verb::Fill, JobState::Running | JobState::Cancelling) => "Filling",
        (Verb::Fill, JobState::Succeeded) => "Filled",
        (Verb::Fill, JobState::Failed) => "Could not fill",
        (Verb::Fill, JobState::Cancelled) => "Stopped filling",
        (Verb::Delete, JobState::Running | JobState::Cancelling) => "Deleting",
        (Verb::Delete, JobState::Succeeded) => "Deleted",
        (Verb::Delete, JobState::Failed) => "Could not delete",
        (Verb::Delete, JobState::Cancelled) => "Stopped deleting",
    }
}

/// A job in a sentence: `Uploading debian-13`.
pub fn job(job: &Job) -> String {
    format!("{} {}", job_verb(job.verb, job.state), job.subject.name)
}

/// A job's state.
pub const fn job_state(state: JobState) -> (Tone, &'static str, Icon) {
    match state {
        JobState::Running => (Tone::Info, "At work", Icon::Play),
        JobState::Cancelling => (Tone::Info, "Being stopped", Icon::Stop),
        JobState::Succeeded => (Tone::Ok, "Done", Icon::Check),
        JobState::Failed => (Tone::Bad, "Failed", Icon::Alert),
        JobState::Cancelled => (Tone::Off, "Stopped", Icon::Stop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_allowed_somewhere_and_barred_somewhere() {
        let phases = [
            VmPhase::Preparing,
            VmPhase::Stopped,
            VmPhase::Starting,
            VmPhase::Running,
            VmPhase::Paused,
            VmPhase::Stopping,
            VmPhase::Failed,
            VmPhase::Deleting,
        ];
        for action in VmAction::ALL {
            assert!(phases.iter().any(|p| vm_allows(*p, action)), "{action:?}");
            assert!(!vm_allows(VmPhase::Deleting, action), "{action:?}");
            assert!(!vm_allows(VmPhase::Preparing, action), "{action:?}");
        }
    }

    #[test]
    fn keys_lead_back() {
        for policy in [RunPolicy::Always, RunPolicy::Manual, RunPolicy::Stopped] {
            assert_eq!(run_policy_of(run_policy_key(policy)), policy);
        }
        for one in [Role::Viewer, Role::Operator, Role::Administrator] {
            assert_eq!(role_of(role_key(one)), one);
        }
    }
}

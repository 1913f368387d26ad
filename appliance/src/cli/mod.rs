//! The command line: `ashlar <noun> <verb>`, on the appliance and anywhere else.
//!
//! ```text
//!   mod    which command            place, saved, trust    which appliance, as whom
//!   noun   what all nouns share     client                 the API: HTTP, WebSocket
//!   vm …   one file a noun          output, wait, ask      tables and JSON, bars, questions
//! ```
//!
//! It uses the API and nothing else, so whatever it can do the console and a
//! program can do too. It decides nothing: what is right and what is refused is
//! the appliance's to say, and its words are shown as they are. Only `sizing`
//! asks no appliance: it reckons what the API would answer.

mod ask;
mod certificate;
mod client;
mod console;
mod drive;
mod error;
mod event;
mod fault;
mod hardware;
mod image;
mod job;
mod link;
#[cfg(test)]
mod live;
mod login;
mod metrics;
mod network;
mod node;
mod noun;
mod output;
mod place;
mod pool;
mod raw;
mod saved;
mod service;
mod session;
mod site;
mod sizing;
mod token;
mod trust;
mod update;
mod upload;
mod user;
mod vm;
mod vm_spec;
mod volume;
mod wait;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use error::{Error, Result};
use noun::{Cx, NameArgs};
use output::{Format, Look};
use place::PlaceArgs;

/// What follows the list of commands.
const AFTER: &str = "\
On the appliance itself root needs no login. From elsewhere: `ashlar login --url https://node-1`,
or a token in ASHLAR_TOKEN. `ashlar <noun> --help` lists what can be done with a noun.

Ends with 0 done, 1 refused or failed, 2 wrong usage, 3 not reached, 4 not found.";

/// The command line of an Ashlar appliance
#[derive(Parser, Debug)]
#[command(name = "ashlar", version, after_help = AFTER, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How answers are shown
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    /// The same as --output json
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The installation as a whole
    #[command(subcommand)]
    Site(site::SiteCommand),
    /// The machines of the site
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Network interfaces of the nodes
    #[command(subcommand)]
    Link(link::LinkCommand),
    /// Drives of the nodes
    #[command(subcommand)]
    Drive(drive::DriveCommand),
    /// What a node is made of, and whether that will do
    #[command(subcommand)]
    Hardware(hardware::HardwareCommand),
    /// Programs that the appliance runs for itself
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Storage pools
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// Disks of virtual machines
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// What new disks are filled from, and installation CDs
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Networks for virtual machines
    #[command(subcommand)]
    Network(network::NetworkCommand),
    /// Virtual machines
    #[command(subcommand)]
    Vm(vm::VmCommand),
    /// Long work
    #[command(subcommand)]
    Job(job::JobCommand),
    /// What is wrong now
    #[command(subcommand)]
    Fault(fault::FaultCommand),
    /// What happened, and what happens now
    #[command(subcommand, visible_alias = "history")]
    Event(event::EventCommand),
    /// Who may sign in
    #[command(subcommand)]
    User(user::UserCommand),
    /// Credentials for programs
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Who is signed in
    #[command(subcommand)]
    Session(session::SessionCommand),
    /// What the appliance proves itself with
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Become the owner of an appliance that has none
    Claim(login::ClaimArgs),
    /// Sign in to an appliance, and mean it from now on
    Login(login::LoginArgs),
    /// Sign out
    Logout(login::LogoutArgs),
    /// The serial line of a virtual machine; Ctrl-] leaves
    Console(NameArgs),
    /// What planned nodes and drives come to; needs no appliance
    Sizing(sizing::SizingArgs),
    /// Releases of the appliance, and changing between them
    #[command(subcommand)]
    Update(update::UpdateCommand),
    /// Any request of the API
    Api(raw::ApiArgs),
    /// Completion for a shell: `source <(ashlar completion bash)`
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// The role of the command line.
pub fn main() -> ExitCode {
    if std::env::args_os().len() <= 1 {
        return match output::print(&Cli::command().render_help().to_string()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.exit_code(),
        };
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody can be told that nobody can be told.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let format = if cli.json { Format::Json } else { cli.output };
    match run(cli, format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error, format);
            error.exit_code()
        }
    }
}

fn tell(error: &Error, format: Format) {
    let text = match (error, format) {
        (Error::Unheard, _) => return,
        (Error::Refused(problem), Format::Json) => {
            serde_json::to_string(problem).map_or_else(|_| error.story(), |text| text + "\n")
        }
        _ => error.story(),
    };
    // Nobody can be told that nobody can be told.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn run(cli: Cli, format: Format) -> Result {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Prepare("start the runtime", error.into()))?
        .block_on(act(cli, format))
}

async fn act(cli: Cli, format: Format) -> Result {
    let look = Look::new(format);
    let place = cli.place;
    match cli.command {
        Command::Completion { shell } => return completion(shell),
        Command::Sizing(args) => return args.run(&look),
        Command::Login(args) => return args.run(&place, &look).await,
        Command::Logout(args) => return args.run(&place).await,
        Command::Claim(args) => return args.run(&place, &look).await,
        Command::Hardware(command) if command.is_local() => return hardware::check_local(&look),
        _ => {}
    }
    let cx = Cx {
        client: place.client()?,
        look,
    };
    match cli.command {
        Command::Site(command) => command.run(&cx).await,
        Command::Node(command) => command.run(&cx).await,
        Command::Link(command) => command.run(&cx).await,
        Command::Drive(command) => command.run(&cx).await,
        Command::Hardware(command) => command.run(&cx).await,
        Command::Service(command) => command.run(&cx).await,
        Command::Pool(command) => command.run(&cx).await,
        Command::Volume(command) => command.run(&cx).await,
        Command::Image(command) => command.run(&cx).await,
        Command::Network(command) => command.run(&cx).await,
        Command::Vm(command) => command.run(&cx).await,
        Command::Job(command) => command.run(&cx).await,
        Command::Fault(command) => command.run(&cx).await,
        Command::Event(command) => command.run(&cx).await,
        Command::User(command) => command.run(&cx).await,
        Command::Token(command) => command.run(&cx).await,
        Command::Session(command) => command.run(&cx).await,
        Command::Certificate(command) => command.run(&cx).await,
        Command::Update(command) => command.run(&cx).await,
        Command::Console(args) => console::run(&cx, &args.name).await,
        Command::Api(args) => args.run(&cx).await,
        Command::Completion { .. }
        | Command::Sizing(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Claim(_) => Ok(()),
    }
}

fn completion(shell: Shell) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ashlar", &mut script);
    output::write(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_are_read_as_the_manual_writes_them() {
        for line in [
            "vm list",
            "vm create web-1 --cpus 2 --memory 2G --disk size=20G,image=debian-13 --nic default --user ann --ssh-key key.pub",
            "vm set web-1 --memory 4G --add-disk 10G --remove-nic 52:54:00:12:34:56 --protected true",
            "vm delete web-1 --all-volumes --yes",
            "vm shutdown web-1 --timeout 30 --no-wait",
            "pool create data --drive sdb --erase sdb -y",
            "image upload debian.qcow2 --name debian-13 --json",
            "image fetch debian-13 --from https://example.org/x.qcow2",
            "network create lab --nat 10.77.0.0/24",
            "node set node-1 --address 192.0.2.10/24 --gateway 192.0.2.1 --dns 192.0.2.1",
            "history list --severity warning",
            "event follow --all",
            "token create backup --role viewer --days 30",
            "api get /vms?limit=1 -o json",
            "site set --ntp-server a --ntp-server b",
            "--url node-1 claim --site lab --node node-1 --user ann",
            "node metrics",
            "node metrics node-1 --range day",
            "vm metrics web-1 --json",
            "node log --lines 50",
            "node log node-1",
            "hardware list",
            "hardware show memory-ecc -o json",
            "hardware check --local",
            "hardware override tpm",
            "console web-1",
            "sizing --nodes 3 --drives 4 --drive-size 3.84TB",
            "sizing --nodes 2 --drives 6 --drive-size 8TB --hybrid --resiliency nested-parity --mirror-share 10 --json",
            "completion fish",
        ] {
            let words = std::iter::once("ashlar").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in [
            "vm explode web-1",
            "pool create data",
            "network create lab --bridged --isolated",
            "vm delete web-1 --all-volumes --volume x",
            "--url http://node-1 vm list",
            "node set node-1 --dhcp --address 192.0.2.1/24",
            "vm create web-1 --ssh-key key.pub",
            "vm metrics",
            "vm metrics web-1 --range week",
            "node log --lines 0",
            "sizing --nodes 3",
            "sizing --nodes 3 --drives 4 --drive-size 3X",
            "sizing --nodes 3 --drives 4 --drive-size 4TB --resiliency raid10",
            "hardware override",
            "hardware list --local",
        ] {
            let words = std::iter::once("ashlar").chain(line.split(' '));
            let error = Cli::try_parse_from(words).map(drop).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}

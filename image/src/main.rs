//! The command line of the builder: `cargo image ...`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use ashlar_image::build::{self, Program};
use ashlar_image::bundle::{self, BundleArguments};
use ashlar_image::place::Place;
use ashlar_image::run::{self, RunArguments};
use ashlar_image::{base, bench, disk, web};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo image",
    about = "From sources to a bootable disk, and that disk in QEMU"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the base alone: kernel and root tree from Debian packages
    Base,
    /// Make the console alone, in web/dist
    Web {
        /// Quickly and large, for work on the console
        #[arg(long)]
        dev: bool,
    },
    /// Make the bootable disk image, and its compressed form
    Build {
        /// Boot this program as PID 1 instead of building ashlar
        #[arg(long, value_name = "FILE")]
        program: Option<PathBuf>,
    },
    /// Make a bundle: a release to which an appliance can be updated
    Bundle(BundleArguments),
    /// Measure the image: sizes, times, memory, load
    Bench {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Measure this alone, after the boot; may be given again
        #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(bench::names()))]
        only: Vec<String>,
    },
    /// Boot the image in QEMU
    Run(RunArguments),
    /// Power a machine off
    Stop {
        /// The machine's name
        #[arg(long, default_value = "ashlar")]
        name: String,
    },
    /// Show the machines there are
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command as root in a machine that was started with --shell, or connect the terminal to that shell
    Shell {
        /// The machine's name
        #[arg(long, default_value = "ashlar")]
        name: String,
        /// What to run
        command: Vec<String>,
    },
    /// Connect the terminal to a machine's serial line
    Serial {
        /// The machine's name
        #[arg(long, default_value = "ashlar")]
        name: String,
    },
}

fn main() -> ExitCode {
    match execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain in one line; a backtrace would only hide it.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute() -> Result<()> {
    let place = Place::find()?;
    match Arguments::parse().command {
        Command::Base => {
            let _lock = place.lock()?;
            println!("{}", base::make(&place)?.tree().display());
        }
        Command::Web { dev } => {
            let _lock = place.lock()?;
            web::make(
                &place,
                if dev {
                    web::Profile::Dev
                } else {
                    web::Profile::Console
                },
            )?;
        }
        Command::Build { program } => {
            let built = build::build(&place, &program.map_or(Program::Ashlar, Program::Given))?;
            disk::compress(&built.disk)?;
            println!("{}", built.disk.display());
        }
        Command::Bundle(arguments) => println!("{}", bundle::run(&place, &arguments)?.display()),
        Command::Bench { json, only } => {
            bench::run(&place, build::build(&place, &Program::Ashlar)?, &only, json)?;
        }
        Command::Run(arguments) => run::run(&place, arguments)?,
        Command::Stop { name } => run::stop(&place, &name)?,
        Command::List { json } => run::print_list(&place, json)?,
        Command::Shell { name, command } => run::shell(&place, &name, &command)?,
        Command::Serial { name } => run::serial(&place, &name)?,
    }
    Ok(())
}

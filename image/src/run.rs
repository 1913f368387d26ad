//! The commands for machines by hand: `run`, `stop`, `list`, `serial`.

use std::io::{self, IsTerminal, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::boot::{Watch, plain};
use crate::build::{self, Program};
use crate::place::Place;
use crate::progress::Step;
use crate::qemu::{
    Accelerator, DataDisk, Machine, Nic, Record, RunOptions, accelerator, emulation, list,
};

/// The port tried first, so that the address is the same from one run to the next.
const USUAL_PORT: u16 = 8443;
const BOOT: Duration = Duration::from_secs(180);
const POWER_OFF: Duration = Duration::from_secs(130);
/// A press that comes before the machine has the driver of its button is lost: a person presses again.
const PRESS_AGAIN: Duration = Duration::from_secs(10);
/// How long a command in the debug shell may take.
const COMMAND: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(100);
/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// What `run` can be asked for.
#[derive(Args)]
pub struct RunArguments {
    /// Return once the machine is up, and print one line of JSON about it
    #[arg(long)]
    detach: bool,
    /// With --detach: do not wait for the console to answer
    #[arg(long, requires = "detach")]
    no_wait: bool,
    /// The machine's name; several run at once under different names
    #[arg(long, default_value = "ashlar")]
    name: String,
    /// The port on this host that leads to the console [default: 8443, or a free one]
    #[arg(long, value_name = "PORT")]
    https_port: Option<u16>,
    /// Size of the disk it boots from, like 32G
    #[arg(long, value_name = "SIZE", default_value = "2304M", value_parser = size)]
    system: u64,
    /// Sizes of data disks, like 20G; none for a machine without any [default: one of 20G]
    #[arg(long, value_name = "SIZE", num_args = 0.., value_parser = size)]
    data: Option<Vec<u64>>,
    /// Number of network cards
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    nics: usize,
    /// Memory, like 4G
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = size)]
    memory: u64,
    /// Processors [default: 2, or 1 where the machine is emulated: with more, its guests may end it]
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<u32>,
    /// A file with settings for the first boot; the machine gets it as firmware configuration, but this version does not
    /// read it yet
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// A word added to the kernel's command line; can be given several times
    #[arg(long = "kernel-argument", value_name = "WORD")]
    kernel_arguments: Vec<String>,
    /// Give it a root shell on a second serial port, for `cargo image shell`
    #[arg(long)]
    shell: bool,
    /// Boot this disk image instead of building one
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,
    /// Boot the disks an earlier run of this name left, instead of fresh ones
    #[arg(long)]
    again: bool,
}

/// Builds what is missing, boots, and stays until Ctrl-C or the machine's end; with `--detach` returns once it is up.
pub fn run(place: &Place, arguments: RunArguments) -> Result<()> {
    let image = match &arguments.disk {
        Some(disk) => disk.clone(),
        None => build::build(place, &Program::Ashlar)?.disk,
    };
    let accelerator = accelerator(place)?;
    let mut machine = if arguments.again {
        Machine::open(place, accelerator, &arguments.name)?
    } else {
        Machine::create(place, &image, accelerator, options(&arguments, accelerator))?
    };
    // From here on Ctrl-C is for the machine.
    let stop = (!arguments.detach).then(take_signals).transpose()?;
    machine.start()?;
    if arguments.no_wait {
        return print_record(machine.record());
    }
    let mut watch = Watch::new(&machine)?;
    let step = Step::start("Booting");
    let ready = watch.until_ready(
        &machine,
        BOOT,
        |line| step.say(&plain(line)),
        || asked_to_stop(stop.as_deref()),
    );
    machine.note(
        watch.facts.certificate.clone(),
        watch.facts.claim_code.clone(),
    )?;
    if arguments.detach {
        // A machine that does not come up is left for a look at it.
        ready?;
        step.done(&moments(&watch));
        return print_record(machine.record());
    }
    match ready {
        Ok(true) => {
            step.done(&moments(&watch));
            greet(machine.record());
        }
        Ok(false) => {
            drop(step);
            return power_off(&mut machine, stop.as_deref());
        }
        Err(error) => {
            drop(step);
            eprintln!(
                "{error:#}\nThe machine stays on for a look: cargo image serial --name {}",
                arguments.name
            );
        }
    }
    stay(&mut machine, stop.as_deref())
}

/// Presses the power button of a machine, and pulls its power when that does not help.
pub fn stop(place: &Place, name: &str) -> Result<()> {
    let mut machine = Machine::open(place, crate::qemu::Accelerator::Tcg, name)?;
    if !machine.running() {
        println!("{name} is off already");
        return Ok(());
    }
    let step = Step::start(format!("Powering off {name}"));
    ensure!(
        press_until_off(&mut machine, None)?,
        "the machine {name} did not go off within {} s of its power button; it was killed",
        POWER_OFF.as_secs()
    );
    step.done("");
    Ok(())
}

/// Prints the machines there are.
pub fn print_list(place: &Place, json: bool) -> Result<()> {
    let records = list(place)?;
    if json {
        println!(
            "{}",
            serde_json::to_string_pretty(&records).context("cannot write the list")?
        );
        return Ok(());
    }
    if records.is_empty() {
        println!("There are no machines; `cargo image run` makes one.");
    }
    for record in records {
        let state = if record.running() { "running" } else { "off" };
        let code = record.claim_code.as_deref().unwrap_or("-");
        println!(
            "{:<16} {state:<8} {:<26} claim code {code}",
            record.name, record.console
        );
    }
    Ok(())
}

/// Connects the terminal to a machine's serial line until Ctrl-].
pub fn serial(place: &Place, name: &str) -> Result<()> {
    let machine = Machine::open(place, crate::qemu::Accelerator::Tcg, name)?;
    connect(name, &machine.serial()?)
}

/// Runs a command in a machine's debug shell and prints what it says; without one, connects the terminal to the shell.
pub fn shell(place: &Place, name: &str, command: &[String]) -> Result<()> {
    let machine = Machine::open(place, crate::qemu::Accelerator::Tcg, name)?;
    if command.is_empty() {
        return connect(name, &machine.shell_line()?);
    }
    print!("{}", machine.shell()?.run(&command.join(" "), COMMAND)?);
    Ok(())
}

fn connect(name: &str, line: &UnixStream) -> Result<()> {
    eprintln!("Connected to {name}; Ctrl-] leaves.");
    let stdin = io::stdin();
    let before = stdin
        .is_terminal()
        .then(|| tcgetattr(&stdin))
        .transpose()
        .context("cannot read the terminal's mode")?;
    if let Some(before) = &before {
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSANOW, &raw).context("cannot set the terminal's mode")?;
    }
    let result = relay(line);
    if let Some(before) = &before {
        tcsetattr(&stdin, SetArg::TCSANOW, before)
            .context("cannot set the terminal's mode back")?;
    }
    eprintln!();
    result
}

fn relay(line: &UnixStream) -> Result<()> {
    let mut from_line = line.try_clone().context("cannot share the serial line")?;
    let mut to_line = line.try_clone().context("cannot share the serial line")?;
    let mut keys = io::stdin().lock();
    let mut buffer = [0; 4096];
    loop {
        let stdin = io::stdin();
        let mut waiting = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut waiting, PollTimeout::NONE).context("cannot wait for the serial line")?;
        let ready = |fd: &PollFd| fd.any().unwrap_or(false);
        let (key, output) = (ready(&waiting[0]), ready(&waiting[1]));
        if key {
            let count = keys.read(&mut buffer).context("cannot read the keyboard")?;
            if count == 0 || buffer[..count].contains(&LEAVE) {
                let _ = line.shutdown(Shutdown::Both);
                return Ok(());
            }
            to_line
                .write_all(&buffer[..count])
                .context("the serial line is gone")?;
        }
        if output {
            let count = from_line
                .read(&mut buffer)
                .context("the serial line is gone")?;
            if count == 0 {
                return Ok(());
            }
            let mut screen = io::stdout().lock();
            screen
                .write_all(&buffer[..count])
                .context("cannot write to the terminal")?;
            screen.flush().context("cannot write to the terminal")?;
        }
    }
}

fn options(arguments: &RunArguments, accelerator: Accelerator) -> RunOptions {
    let port = arguments.https_port.unwrap_or_else(|| {
        let free = std::net::TcpListener::bind(("127.0.0.1", USUAL_PORT)).is_ok();
        if free { USUAL_PORT } else { 0 }
    });
    let data = arguments.data.clone().unwrap_or_else(|| vec![20 << 30]);
    RunOptions {
        name: arguments.name.clone(),
        https_port: port,
        system: arguments.system,
        data: data.into_iter().map(DataDisk::Empty).collect(),
        nics: vec![Nic::User; arguments.nics],
        memory_mib: arguments.memory >> 20,
        cpus: arguments
            .cpus
            .unwrap_or_else(|| emulation::cpus_for_guests(accelerator)),
        seed: arguments.seed.clone(),
        kernel_arguments: arguments.kernel_arguments.clone(),
        shell: arguments.shell,
        ..RunOptions::default()
    }
}

fn print_record(record: &Record) -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(record).context("cannot write the machine's record")?
    );
    Ok(())
}

fn moments(watch: &Watch) -> String {
    let (Some(api), Some(kernel)) = (watch.moments.api, watch.moments.kernel) else {
        return String::new();
    };
    let after = api.saturating_sub(kernel);
    format!(
        "the console answers {:.1} s after power-on, {:.1} s after the kernel",
        api.as_secs_f64(),
        after.as_secs_f64()
    )
}

fn greet(record: &Record) {
    println!();
    println!("  Console       {}", record.console);
    if let Some(code) = &record.claim_code {
        println!("  Claim code    {code}");
    }
    if let Some(certificate) = &record.certificate {
        println!("  Certificate   SHA-256 {certificate}");
    }
    println!("  Serial line   cargo image serial --name {}", record.name);
    println!();
    println!(
        "The certificate is the machine's own: the browser will warn, once. Ctrl-C powers the machine off."
    );
}

/// Takes the signals that end a program, from now on: any of them sets the flag.
fn take_signals() -> Result<Arc<AtomicBool>> {
    let flag = Arc::default();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("cannot take signals")?;
    }
    Ok(flag)
}

fn asked_to_stop(signals: Option<&AtomicBool>) -> bool {
    signals.is_some_and(|flag| flag.swap(false, Ordering::Relaxed))
}

/// Waits for the machine's end or a signal; the first signal presses the power button, the second pulls the power.
fn stay(machine: &mut Machine, signals: Option<&AtomicBool>) -> Result<()> {
    while machine.running() {
        if asked_to_stop(signals) {
            return power_off(machine, signals);
        }
        std::thread::sleep(LOOK);
    }
    println!("The machine went off.");
    Ok(())
}

fn power_off(machine: &mut Machine, signals: Option<&AtomicBool>) -> Result<()> {
    let step = Step::start("Powering off (Ctrl-C again pulls the power)");
    let off = press_until_off(machine, signals)?;
    step.done(if off { "" } else { "pulled the power" });
    Ok(())
}

/// Presses the power button, again from time to time, until the machine is off. False when it took too long or was asked
/// to stop once more: then its power was pulled.
fn press_until_off(machine: &mut Machine, signals: Option<&AtomicBool>) -> Result<bool> {
    machine.press_power()?;
    let mut pressed = Instant::now();
    let end = pressed + POWER_OFF;
    while machine.running() {
        if asked_to_stop(signals) || Instant::now() > end {
            machine.kill()?;
            return Ok(false);
        }
        if pressed.elapsed() > PRESS_AGAIN {
            machine.press_power()?;
            pressed = Instant::now();
        }
        std::thread::sleep(LOOK);
    }
    Ok(true)
}

/// A size as people write it: `20G`, `512M`; a number alone is bytes.
fn size(text: &str) -> Result<u64> {
    let short = text.trim_end_matches(['i', 'B', 'b']);
    let (digits, shift) = match short.split_at_checked(short.len().saturating_sub(1)) {
        Some((digits, "k" | "K")) => (digits, 10),
        Some((digits, "m" | "M")) => (digits, 20),
        Some((digits, "g" | "G")) => (digits, 30),
        Some((digits, "t" | "T")) => (digits, 40),
        _ => (text, 0),
    };
    let number: u64 = digits
        .parse()
        .with_context(|| format!("`{text}` is not a size; write one like 20G"))?;
    number
        .checked_mul(1 << shift)
        .with_context(|| format!("`{text}` is larger than any disk"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("20G").unwrap(), 20 << 30);
        assert_eq!(size("512MiB").unwrap(), 512 << 20);
        assert_eq!(size("4096").unwrap(), 4096);
        assert!(size("G").is_err());
        assert!(size("").is_err());
        assert!(size("99999999999T").is_err());
    }
}

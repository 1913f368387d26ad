//! How long a virtual machine takes from the order to its kernel's first word, against QEMU started by hand: the same
//! arguments, the same disk, the same boot of the node, by a shell in it and without anything of ours in between.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ashlar_api::Page;
use ashlar_api::pool::{Drive, DriveUsage};
use serde_json::{Value, json};

use super::{Figure, Subject, figure};
use crate::progress::Step;
use crate::qemu::Shell;
use crate::tool::Tool;
use crate::{base, uki};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(200);
const COMMAND: Duration = Duration::from_secs(30);
/// How often each way is measured, in turn: on a host that does something else, too, one is no more than a guess.
const ROUNDS: usize = 3;
/// The kernel's first line.
const FIRST_WORD: &str = "Linux version";
const MIB: u64 = 1 << 20;

/// Measures both, one after the other.
pub fn start(subject: &mut Subject) -> Result<Vec<Figure>> {
    let work = tempfile::tempdir().context("cannot make a work folder")?;
    let disk = guest(subject, work.path())?;
    let mut shell = subject.machine.shell()?;
    let pool = pool(subject)?;
    let image = upload(subject, &disk)?;
    let body = json!({
        "name": "bench-start", "cpus": 1, "memory": 512 * MIB, "run_policy": "manual",
        "disks": [{ "type": "new", "pool": pool, "size": 128 * MIB, "image": image }],
    });

    let began = Instant::now();
    let vm = subject.api.post("/vms", &body)?;
    let path = format!("/vms/{}", id(&vm)?);
    ready(subject, &path, |vm| vm["status"]["phase"] == "stopped")?;
    // It is there before its disk is filled.
    ready(subject, "/volumes", |volumes| {
        let items = volumes["items"].as_array();
        items.is_some_and(|items| {
            !items.is_empty()
                && items
                    .iter()
                    .all(|volume| volume["status"]["condition"]["ready"] == true)
        })
    })?;
    let created = began.elapsed();

    // The first one reads QEMU and firmware from the root image, which is compressed; the others find them in memory.
    let log = format!("/run/ashlar/vm/{}/serial.log", id(&vm)?);
    let (first, command) = ours(subject, &mut shell, &path, &log, by_hand)?;
    let command = command?;
    let (mut by_us, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        by_hand.push(plainly(&mut shell, &command)?);
        by_us.push(ours(subject, &mut shell, &path, &log, |_, _| ())?.0);
    }
    shell.run("rm -rf /tmp/plain /dev/plain-*", COMMAND)?;
    let (ours, plain) = (median(by_us), median(by_hand));
    Ok(vec![
        figure(
            "create a machine from an image",
            created.as_secs_f64(),
            "s",
            None,
        ),
        figure(
            "first start to the guest's kernel",
            first.as_secs_f64(),
            "s",
            None,
        ),
        figure("start to the guest's kernel", ours.as_secs_f64(), "s", None),
        figure(
            "plain QEMU to the guest's kernel",
            plain.as_secs_f64(),
            "s",
            None,
        ),
        figure(
            "start against plain QEMU",
            ours.as_secs_f64() / plain.as_secs_f64(),
            "×",
            Some(1.1),
        ),
    ])
}

/// The one in the middle; nothing measured is nothing.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// How long the machine takes from the order to its kernel. Looks at it while it runs, then stops it.
fn ours<T>(
    subject: &Subject,
    shell: &mut Shell,
    path: &str,
    log: &str,
    look: impl FnOnce(&mut Shell, &Value) -> T,
) -> Result<(Duration, T)> {
    shell.run(&format!("rm -f {log}"), COMMAND)?;
    let began = Instant::now();
    subject.api.act(&format!("{path}/start"))?;
    let spoke = first_word(shell, log, "false");
    let took = began.elapsed();
    let vm = ready(subject, path, |vm| vm["status"]["pid"].is_u64())?;
    let seen = look(shell, &vm["status"]["pid"]);
    // Before anything else: a guest without a root file system keeps its processor busy.
    subject.api.act(&format!("{path}/stop"))?;
    ready(subject, path, |vm| vm["status"]["phase"] == "stopped")?;
    spoke?;
    Ok((took, seen))
}

/// How long QEMU started by this command takes.
fn plainly(shell: &mut Shell, command: &str) -> Result<Duration> {
    let began = Instant::now();
    shell.run(command, COMMAND)?;
    let spoke = first_word(shell, "/tmp/plain/serial.log", "! kill -0 $plain");
    let took = began.elapsed();
    let said = shell.run(
        "grep -E '^(State|Threads)' /proc/$plain/status; tail -n 5 /tmp/plain/qemu.log /tmp/plain/serial.log; \
         kill -9 $plain; rm -f /tmp/plain/*.log /tmp/plain/*.sock",
        COMMAND,
    );
    spoke.with_context(|| format!("QEMU by hand is and said: {said:?}"))?;
    said?;
    Ok(took)
}

/// A disk that starts our kernel and nothing after it.
fn guest(subject: &Subject, work: &Path) -> Result<std::path::PathBuf> {
    let step = Step::start("A guest's disk");
    let base = base::make(&subject.place)?;
    let words = work.join("cmdline");
    fs::write(&words, "console=ttyS0 panic=0").context("cannot write the command line")?;
    let kernel = base.kernel();
    let program = work.join("guest.efi");
    let sections: [(&str, &Path); 2] = [(".cmdline", &words), (".linux", &kernel)];
    uki::assemble(&base.stub(), &sections, &program, &step)?;
    let disk = work.join("guest.img");
    Tool::new("mkfs.vfat")
        .args(["-F", "32", "-C"])
        .arg(&disk)
        .arg((64 * MIB / 1024).to_string())
        .show(&step)?;
    for folder in ["::/EFI", "::/EFI/BOOT"] {
        Tool::new("mmd")
            .arg("-i")
            .arg(&disk)
            .arg(folder)
            .show(&step)?;
    }
    Tool::new("mcopy")
        .arg("-i")
        .arg(&disk)
        .arg(&program)
        .arg("::/EFI/BOOT/BOOTX64.EFI")
        .show(&step)?;
    step.done("");
    Ok(disk)
}

fn id(object: &Value) -> Result<&str> {
    object["id"].as_str().context("an object without an id")
}

/// Asks for an object until it is as it should be.
fn ready(subject: &Subject, path: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let began = Instant::now();
    loop {
        let object: Value = subject.api.get(path)?;
        if is(&object) {
            return Ok(object);
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "{path} is not as it should be: {}",
            object["status"]
        );
        std::thread::sleep(PAUSE);
    }
}

fn pool(subject: &Subject) -> Result<String> {
    let drives: Page<Drive> = subject.api.get("/drives")?;
    let free = drives
        .items
        .iter()
        .find(|drive| drive.usage == DriveUsage::Free)
        .context("the node has no free drive")?;
    let body = json!({ "spec": { "name": "main", "drives": [free.id] } });
    let pool = subject.api.post("/pools", &body)?;
    let path = format!("/pools/{}", id(&pool)?);
    ready(subject, &path, |pool| {
        pool["status"]["condition"]["ready"] == true
    })?;
    Ok(id(&pool)?.to_owned())
}

fn upload(subject: &Subject, disk: &Path) -> Result<String> {
    let content = fs::read(disk).context("cannot read the guest's disk")?;
    let body = json!({ "name": "kernel", "source": { "from": "upload", "size": content.len() } });
    let image = subject.api.post("/images", &body)?;
    let path = format!("/images/{}", id(&image)?);
    let began = Instant::now();
    // The library is made a moment after the first pool; until then no byte is taken.
    while let Err(error) = subject.api.upload(&format!("{path}/content"), &content) {
        if began.elapsed() > PATIENCE {
            return Err(error);
        }
        std::thread::sleep(PAUSE);
    }
    ready(subject, &path, |image| image["status"]["phase"] == "ready")?;
    Ok(id(&image)?.to_owned())
}

/// Waits until a guest's kernel has spoken, or the command `is_over` says that it will not.
fn first_word(shell: &mut Shell, log: &str, is_over: &str) -> Result<()> {
    // By the clock, and not by counting: on a busy machine a look takes as long as a nap.
    let wait = format!(
        "up() {{ cut -d . -f 1 /proc/uptime; }}; end=$(($(up) + {})); \
         until grep -q '{FIRST_WORD}' {log} 2>/dev/null || {is_over} || [ $(up) -ge $end ]; do sleep 0.1; done; \
         grep -q '{FIRST_WORD}' {log}",
        PATIENCE.as_secs()
    );
    shell.run(&wait, PATIENCE + COMMAND).map(drop)
}

/// The command that starts the same machine by hand: what the supervisor handed over open is named by its path, and
/// the guest does not wait for anybody.
fn by_hand(shell: &mut Shell, pid: &Value) -> Result<String> {
    let pid = pid.as_u64().context("the machine has no process")?;
    let words = shell.run(&format!("tr '\\0' '\\n' < /proc/{pid}/cmdline"), COMMAND)?;
    let words: Vec<&str> = words.lines().map(str::trim_end).collect();
    let sets = sets(&words)?;
    let open = open_files(shell, pid, &sets)?;
    shell.run("mkdir -p /tmp/plain", COMMAND)?;
    let mut line = String::new();
    let mut skip = false;
    for word in words.into_iter().filter(|word| !word.is_empty()) {
        if std::mem::take(&mut skip) || word == "-S" {
            continue;
        }
        if word == "-add-fd" {
            skip = true;
            continue;
        }
        let word = match word.strip_prefix("socket,id=") {
            Some(rest) => socket(rest)?,
            None => word.to_owned(),
        };
        let word = named(shell, pid, &open, word)?;
        // A word a line: a terminal takes lines of 4096 bytes and drops the rest of longer ones (termios(3)).
        line.push_str(&format!("'{word}' \\\n"));
    }
    Ok(format!(
        "{line} < /dev/null > /tmp/plain/qemu.log 2>&1 &\nplain=$!"
    ))
}

/// The numbers of what was handed over open, in order, which are those of the sets, too.
fn sets(words: &[&str]) -> Result<Vec<u64>> {
    let values = words.windows(2).filter(|pair| pair[0] == "-add-fd");
    let numbers = values.map(|pair| {
        let number = pair[1]
            .split_once("set=")
            .and_then(|(_, set)| set.parse().ok());
        number.with_context(|| format!("a set without a number: {}", pair[1]))
    });
    numbers.collect()
}

/// Under which number QEMU has each set open. It copies them all, one after the other, to the lowest numbers that are
/// free, before it opens any other file, and closes the originals.
fn open_files(shell: &mut Shell, pid: u64, sets: &[u64]) -> Result<Vec<(u64, u64)>> {
    let from = sets.iter().max().map_or(3, |highest| highest + 1);
    let list = format!(
        "for n in $(seq {from} 255); do f=/proc/{pid}/fd/$n; if [ -f $f ] || [ -b $f ]; then echo $n; fi; done"
    );
    let said = shell.run(&list, COMMAND)?;
    let open: Vec<u64> = said
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect();
    ensure!(
        open.len() >= sets.len(),
        "of {} sets only {} files are seen",
        sets.len(),
        open.len()
    );
    Ok(sets.iter().copied().zip(open).collect())
}

/// A socket that it opens itself. What goes on the serial line is kept in a file, as ours is.
fn socket(rest: &str) -> Result<String> {
    let Some((id, _)) = rest.split_once(',') else {
        bail!("a socket with nothing but a name: {rest}");
    };
    let log = match rest.contains("logfile=") {
        true => ",logfile=/tmp/plain/serial.log,logappend=on",
        false => "",
    };
    Ok(format!(
        "socket,id={id},path=/tmp/plain/{id}.sock,server=on,wait=off{log}"
    ))
}

/// Puts a path for each `/dev/fdset/<number>`: a node for the same device, or a copy of the same file.
fn named(shell: &mut Shell, pid: u64, open: &[(u64, u64)], word: String) -> Result<String> {
    const SET: &str = "/dev/fdset/";
    let Some((before, rest)) = word.split_once(SET) else {
        return Ok(word);
    };
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let (number, after) = rest.split_at(digits);
    let set: u64 = number
        .parse()
        .with_context(|| format!("a set without a number: {word}"))?;
    let known = open.iter().find(|(other, _)| *other == set);
    let (_, fd) = known.with_context(|| format!("the set {set} was not handed over"))?;
    let (open, path) = (format!("/proc/{pid}/fd/{fd}"), format!("/tmp/plain/{set}"));
    // No device can be opened under /tmp.
    let node = format!("/dev/plain-{set}");
    shell.run(
        &format!(
            "if [ -b {open} ]; then set -- $(stat -L -c '%t %T' {open}); mknod {node} b $((0x$1)) $((0x$2)); \
             ln -s {node} {path}; else cp {open} {path}; fi"
        ),
        COMMAND,
    )?;
    Ok(format!("{before}{path}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_handed_over() {
        let words = ["-S", "-add-fd", "fd=3,set=3", "-add-fd", "fd=10,set=10"];
        assert_eq!(sets(&words).unwrap(), [3, 10]);
        assert!(sets(&["-add-fd", "fd=3"]).is_err());
    }

    #[test]
    fn sockets_get_paths() {
        let monitor = socket("monitor,fd=3,server=on,wait=off").unwrap();
        assert_eq!(
            monitor,
            "socket,id=monitor,path=/tmp/plain/monitor.sock,server=on,wait=off"
        );
        let serial = "serial,fd=6,server=on,wait=off,logfile=/dev/fdset/5,logappend=on";
        assert!(socket(serial).unwrap().ends_with("serial.log,logappend=on"));
    }
}

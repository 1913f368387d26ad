//! Programs that read files of strangers: `qemu-img`, as nobody.
//!
//! A disk format is read by a large program in C that was written for trusted
//! files. Invariant: it runs where a mistake of its own gains nothing: under a
//! user id that owns nothing, with two descriptors (the image to read, perhaps
//! a volume to write) and no network, in a cgroup that bounds its memory and
//! processes. It ends with us: its output is a pipe, its end is waited for,
//! and what an earlier supervisor left running is killed at the start.
//!
//! ```text
//!   image ──fd 3, read──► qemu-img (uid 29999, no network) ──fd 4, write──► volume
//!                              └── pipe: progress, result ──► us
//! ```
//!
//! The program opens its descriptors again by `/proc/self/fd`, because
//! `qemu-img` takes only names. So the image's file is readable for its group,
//! and the volume gets a device node of its own, which is removed from `/dev`
//! as soon as it is open ([`open_device`]).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, SFlag};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::sys::cgroup::{Cgroup, CgroupError, Limits};
use crate::sys::child::{Child, ChildError, Launch};
use crate::sys::pidfd::Exit;

/// User and group id of the readers; machines begin above it.
pub const READER: u32 = 29999;
/// The descriptor of the image.
pub const IMAGE_FD: i32 = 3;
/// The descriptor of the volume.
pub const VOLUME_FD: i32 = 4;

/// Their cgroups are in here.
const GROUP: &str = "service/image-reader";
const MEMORY: u64 = 512 << 20;
const PROCESSES: u64 = 64;
/// More than any result; a program that says more is broken.
const MOST_OUTPUT: usize = 1 << 20;
/// How long the end of a killed program is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// Why a reader gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// Its cgroup could not be made.
    #[error("prepare the cgroup of {program}")]
    Cgroup {
        /// The program.
        program: String,
        /// What happened.
        source: CgroupError,
    },
    /// It could not be started.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// What happened.
        source: ChildError,
    },
    /// Its output could not be read, or its end not be seen.
    #[error("lost track of {program}")]
    Lost {
        /// The program.
        program: String,
        /// What happened.
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{program} failed ({exit}): {message}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        exit: Exit,
        /// The last it said.
        message: String,
    },
    /// It took too long.
    #[error("{program} did not end within {after:?} and was stopped")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        after: Duration,
    },
    /// The device of a volume could not be opened for it.
    #[error("open {} for the reader", .path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What a reader is to do.
#[derive(Debug)]
pub struct Reading {
    /// Name of its cgroup: the id of the image or volume.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The image, open for reading.
    pub image: OwnedFd,
    /// The volume, open for writing.
    pub volume: Option<OwnedFd>,
    /// How much time it may take.
    pub limit: Duration,
    /// How much time of a processor it may take.
    pub cpu: Duration,
}

/// Runs a reader to its end and returns what it said. `on_piece` gets what it
/// says while it comes, in pieces that end with a line feed or carriage return.
/// Dropping the future kills it.
pub async fn read(
    reading: Reading,
    mut on_piece: impl FnMut(&str) + Send,
) -> Result<String, ReaderError> {
    let program = reading.program.display().to_string();
    let lost = |source: io::Error| ReaderError::Lost {
        program: program.clone(),
        source,
    };
    let (theirs, ours) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
        .map(|(read, write)| (write, read))
        .map_err(|errno| lost(errno.into()))?;
    let group = cgroup(&reading.name).map_err(|source| ReaderError::Cgroup {
        program: program.clone(),
        source,
    })?;
    let mut launch = Launch::new(&reading.program)
        .args(&reading.args)
        .user(READER, READER)
        .cgroup(group.path())
        .output(theirs)
        .fd(reading.image, IMAGE_FD)
        .limit(Resource::RLIMIT_CORE, 0)
        .limit(Resource::RLIMIT_NOFILE, 64)
        .limit(Resource::RLIMIT_CPU, reading.cpu.as_secs().max(1))
        .oom_score_adj(500)
        .no_network()
        .no_new_privs();
    if let Some(volume) = reading.volume {
        launch = launch.fd(volume, VOLUME_FD);
    }
    let child = launch.spawn().map_err(|source| ReaderError::Start {
        program: program.clone(),
        source,
    })?;
    let mut running = Running {
        child: Some(child),
        group,
    };
    let mut said = String::new();
    let ended = tokio::time::timeout(reading.limit, async {
        listen(ours, &mut said, &mut on_piece).await?;
        running.wait().await
    })
    .await;
    match ended {
        Ok(Ok(Exit::Code(0))) => Ok(said),
        Ok(Ok(exit)) => Err(ReaderError::Failed {
            program,
            exit,
            message: last_words(&said),
        }),
        Ok(Err(source)) => Err(lost(source)),
        Err(_) => Err(ReaderError::TimedOut {
            program,
            after: reading.limit,
        }),
    }
}

fn cgroup(name: &str) -> Result<Cgroup, CgroupError> {
    let group = Cgroup::named(GROUP)?.child(name);
    group.create()?;
    let limits = Limits {
        memory_max: Some(Some(MEMORY)),
        pids_max: Some(Some(PROCESSES)),
        cpu_weight: Some(50),
        ..Limits::default()
    };
    // A kernel without these controllers is no reason not to read the image.
    if let Err(error) = group.limit(&limits) {
        tracing::warn!(
            error = crate::reconcile::chain(&error),
            "a reader runs without limits"
        );
    }
    Ok(group)
}

/// Kills the readers that an earlier supervisor left behind, and waits for their end.
pub async fn kill_all() -> Result<(), CgroupError> {
    let all = Cgroup::named(GROUP)?;
    if !all.exists() {
        return Ok(());
    }
    all.kill()?;
    remove_when_empty(&all).await
}

/// Waits for the end of what was killed and removes its group. Bounded: what
/// hangs in the kernel does not write any more, and is left to it.
async fn remove_when_empty(group: &Cgroup) -> Result<(), CgroupError> {
    for _ in 0..50 {
        if !group.is_populated() {
            return group.remove();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// A reader that is killed and reaped when nobody waits for it any more.
struct Running {
    child: Option<Child>,
    group: Cgroup,
}

impl Running {
    async fn wait(&mut self) -> io::Result<Exit> {
        let Some(child) = &self.child else {
            return Ok(Exit::Unknown);
        };
        let exit = child.pidfd.wait().await?;
        self.child = None;
        Ok(exit)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.group.clone();
        let Some(child) = self.child.take() else {
            // It may stay behind, empty: the next start removes it.
            let _ = group.remove();
            return;
        };
        if let Err(error) = group
            .kill()
            .map_err(|error| error.to_string())
            .or_else(|_| {
                child
                    .pidfd
                    .signal(Signal::SIGKILL)
                    .map_err(|error| error.to_string())
            })
        {
            tracing::warn!(pid = child.pid, error, "could not stop a reader");
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = tokio::time::timeout(GRACE, child.pidfd.wait()).await;
                // It may stay behind, empty: the next start removes it.
                let _ = remove_when_empty(&group).await;
            });
        }
    }
}

/// Reads what a program says until it closes its output.
async fn listen(
    ours: OwnedFd,
    said: &mut String,
    on_piece: &mut (impl FnMut(&str) + Send),
) -> io::Result<()> {
    nix::fcntl::fcntl(
        &ours,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
    )?;
    let mut pipe = pipe::Receiver::from_owned_fd(ours)?;
    let mut buffer = [0; 4096];
    let mut rest = String::new();
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&buffer[..count]);
        if said.len() + text.len() <= MOST_OUTPUT {
            said.push_str(&text);
        }
        rest.push_str(&text);
        while let Some(end) = rest.find(['\n', '\r']) {
            let piece: String = rest.drain(..=end).collect();
            on_piece(piece.trim());
        }
        if rest.len() > 64 << 10 {
            rest.clear();
        }
    }
    Ok(())
}

/// The last line that is not progress, without the name of the program.
fn last_words(said: &str) -> String {
    let line = said
        .split(['\n', '\r'])
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.ends_with("/100%)"))
        .unwrap_or("it said nothing");
    let line = line.strip_prefix("qemu-img: ").unwrap_or(line);
    line.chars().take(400).collect()
}

/// Opens a volume for a reader: a block device by a node of its own that the
/// reader may open again and nobody else finds; a plain file (in tests) as it is.
pub fn open_device(path: &Path, node: &Path) -> Result<File, ReaderError> {
    let failed = |source: io::Error| ReaderError::Open {
        path: path.to_owned(),
        source,
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let is_block = metadata.mode() & nix::libc::S_IFMT == nix::libc::S_IFBLK;
    if !is_block {
        std::os::unix::fs::chown(path, Some(READER), Some(READER)).map_err(failed)?;
        return options.open(path).map_err(failed);
    }
    let _ = std::fs::remove_file(node);
    nix::sys::stat::mknod(
        node,
        SFlag::S_IFBLK,
        Mode::S_IRUSR | Mode::S_IWUSR,
        metadata.rdev(),
    )
    .map_err(|errno| failed(errno.into()))?;
    let opened = std::os::unix::fs::chown(node, Some(READER), Some(READER))
        .and_then(|()| options.custom_flags(nix::libc::O_NOFOLLOW).open(node));
    let removed = std::fs::remove_file(node);
    let file = opened.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Reading {
        Reading {
            name: format!("test-{}", uuid::Uuid::new_v4()),
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), text.to_owned()],
            image: File::open("/dev/null").unwrap().into(),
            volume: None,
            limit: Duration::from_secs(20),
            cpu: Duration::from_secs(20),
        }
    }

    #[tokio::test]
    async fn has_nothing_but_its_image() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, "content").unwrap();
        std::os::unix::fs::chown(&path, None, Some(READER)).unwrap();
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o640);
        std::fs::set_permissions(&path, permissions).unwrap();
        let mut pieces = Vec::new();
        let text = "id -u; id -G; cat /proc/self/fd/3; echo; tail -n +3 /proc/net/dev | cut -d: -f1; cat /etc/shadow || echo denied; \
                    echo x 2>/dev/null > /proc/self/fd/3 || echo read-only; grep NoNewPrivs /proc/self/status; ls /proc/self/fd";
        let reading = Reading {
            image: File::open(&path).unwrap().into(),
            ..script(text)
        };
        let said = read(reading, |piece| pieces.push(piece.to_owned()))
            .await
            .unwrap();
        let said: Vec<&str> = said.lines().map(str::trim).collect();
        assert_eq!(
            said,
            [
                "29999",
                "29999",
                "content",
                "lo",
                "cat: /etc/shadow: Permission denied",
                "denied",
                "read-only",
                "NoNewPrivs:\t1",
                "0",
                "1",
                "2",
                "3",
                "4"
            ]
        );
        assert_eq!(pieces.len(), said.len());
    }

    #[tokio::test]
    async fn tells_why_it_failed() {
        let error = read(
            script("echo '    (10.00/100%)'; echo 'qemu-img: no such format' >&2; printf '    (11.00/100%%)\\r'; exit 1"),
            |_| {},
        )
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "/bin/sh failed (exit code 1): no such format"
        );
        let error = read(
            Reading {
                limit: Duration::from_millis(200),
                ..script("sleep 60")
            },
            |_| {},
        )
        .await
        .unwrap_err();
        assert!(matches!(error, ReaderError::TimedOut { .. }));
        let error = read(
            Reading {
                cpu: Duration::from_secs(1),
                ..script("while :; do :; done")
            },
            |_| {},
        )
        .await
        .unwrap_err();
        assert!(matches!(error, ReaderError::Failed { .. }), "{error}");
    }

    #[tokio::test]
    async fn ends_when_nobody_waits_any_more() {
        let name = format!("test-{}", uuid::Uuid::new_v4());
        let reading = Reading {
            name: name.clone(),
            ..script("sleep 60 & sleep 60")
        };
        let reader = tokio::spawn(read(reading, |_| {}));
        let group = Cgroup::named(GROUP).unwrap().child(&name);
        for _ in 0..200 {
            if group.is_populated() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(group.is_populated());
        reader.abort();
        for _ in 0..500 {
            if !group.exists() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it still runs");
    }
}

//! Starts programs that outlive us: virtual machines and services go on when the supervisor dies.
//!
//! Invariant: between fork and exec only async-signal-safe calls are made and nothing is allocated. The supervisor
//! has many threads; one of them may hold the allocator's lock in the moment of the fork, and in the child nobody
//! would ever release it. So everything is prepared before, and the child only walks through [`Prepared`].
//!
//! Why not `std::process::Command` with `pre_exec`: it changes the user before the hook runs (we must join the
//! cgroup and open things as root first), and the descriptor by which it reports errors can sit on a number that
//! we want to give to the program. Here the child reports which step failed and why.
//!
//! ```text
//! parent                      child (own session, own cgroup)
//! open log, cgroup.procs      signals -> setsid -> cgroup -> oom -> fds -> stdio -> rlimits -> groups, gid, uid
//! fork, pidfd                 -> no_new_privs -> exec
//! read report  <------------- step, errno        (end of file: exec succeeded)
//! ```

mod exec;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::libc;
use nix::sys::resource::Resource;

use self::exec::{Prepared, STEPS};
use super::pidfd::PidFd;

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// A name or argument holds a zero byte.
    #[error("an argument of {} holds a zero byte", .program.display())]
    ZeroByte {
        /// The program.
        program: PathBuf,
    },
    /// Something could not be prepared.
    #[error("cannot {step} for {}", .program.display())]
    Prepare {
        /// The program.
        program: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step between fork and exec failed.
    #[error("cannot start {}: {step} failed", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A running program. Dropping this does not end it.
#[derive(Debug)]
pub struct Child {
    /// Its process id; also the id of its session and process group.
    pub pid: u32,
    /// Stays bound to it. Somebody must wait on it, or the program stays a zombie after its end.
    pub pidfd: PidFd,
}

/// A program to start.
#[derive(Debug)]
#[must_use = "nothing starts before `spawn`"]
pub struct Launch {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: PathBuf,
    user: Option<(u32, u32)>,
    groups: Vec<u32>,
    cgroup: Option<PathBuf>,
    log: Option<PathBuf>,
    output: Option<OwnedFd>,
    limits: Vec<(Resource, u64)>,
    no_network: bool,
    no_new_privs: bool,
    oom_score_adj: i32,
    nice: i32,
    fds: Vec<(OwnedFd, RawFd)>,
}

impl Launch {
    /// A program by absolute path, with no arguments, as root, in our cgroup, its output to `/dev/null`.
    pub fn new(program: impl Into<PathBuf>) -> Launch {
        Launch {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            directory: PathBuf::from("/"),
            user: None,
            groups: Vec::new(),
            cgroup: None,
            log: None,
            output: None,
            limits: Vec::new(),
            no_network: false,
            no_new_privs: false,
            oom_score_adj: 0,
            nice: 0,
            fds: Vec::new(),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Launch {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    pub fn args<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(mut self, args: I) -> Launch {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable; beside those set here the program sees `LC_ALL=C` and `PATH` only.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Launch {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The working directory; `/` unless told.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Launch {
        self.directory = directory.into();
        self
    }

    /// The user and group it runs as, without any supplementary group (see [`Self::group`]).
    pub fn user(mut self, uid: u32, gid: u32) -> Launch {
        self.user = Some((uid, gid));
        self
    }

    /// Adds a supplementary group; only together with [`Self::user`].
    pub fn group(mut self, gid: u32) -> Launch {
        self.groups.push(gid);
        self
    }

    /// The directory of the cgroup it runs in from its first instruction on. It must exist.
    pub fn cgroup(mut self, directory: impl Into<PathBuf>) -> Launch {
        self.cgroup = Some(directory.into());
        self
    }

    /// The file its standard output and error are appended to; made with mode 0600 when absent.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Launch {
        self.log = Some(file.into());
        self
    }

    /// Where its standard output and error go instead of a log, as the end of a pipe; for a program that shall not
    /// outlive us.
    pub fn output(mut self, output: impl Into<OwnedFd>) -> Launch {
        self.output = Some(output.into());
        self
    }

    /// Sets a resource limit, soft and hard.
    pub fn limit(mut self, resource: Resource, most: u64) -> Launch {
        self.limits.push((resource, most));
        self
    }

    /// It gets a network namespace of its own, in which there is nothing.
    pub fn no_network(mut self) -> Launch {
        self.no_network = true;
        self
    }

    /// Neither it nor what it starts can gain rights by set-uid programs.
    pub fn no_new_privs(mut self) -> Launch {
        self.no_new_privs = true;
        self
    }

    /// How soon the kernel kills it when memory is short, -1000 (never) to 1000; 0 unless told, whatever ours is.
    pub fn oom_score_adj(mut self, value: i32) -> Launch {
        self.oom_score_adj = value;
        self
    }

    /// How much it stands back when processors are short: 0 to 19 (setpriority(2)).
    pub fn nice(mut self, value: i32) -> Launch {
        self.nice = value;
        self
    }

    /// Hands over a descriptor under a given number, 3 or more. Ours is closed after the start.
    pub fn fd(mut self, fd: impl Into<OwnedFd>, number: RawFd) -> Launch {
        self.fds.push((fd.into(), number));
        self
    }

    /// Starts it. Returns when the program itself runs (after exec), so a missing program is an error here.
    pub fn spawn(self) -> Result<Child, ChildError> {
        let program = self.program.clone();
        let failed = |step: &'static str| {
            let program = program.clone();
            move |source: io::Error| ChildError::Prepare {
                program,
                step,
                source,
            }
        };
        let prepared = Prepared::new(&self)?;
        let (report_in, report_out) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)
            .map_err(|errno| failed("make a pipe")(errno.into()))?;

        // SAFETY: the child calls nothing but `Prepared::become_program`, which keeps to async-signal-safe calls
        // on memory made before the fork, and never returns.
        let pid = match unsafe { libc::fork() } {
            -1 => return Err(failed("fork")(io::Error::last_os_error())),
            0 => prepared.become_program(report_out.as_raw_fd()),
            pid => pid.unsigned_abs(),
        };
        drop(report_out);
        // We are its parent and nobody waits for it yet: the id cannot have been given to another process.
        let pidfd = PidFd::open(pid).map_err(failed("watch the new process"));
        let mut report = [0; 8];
        let told = File::from(report_in).read(&mut report);
        let pidfd = pidfd?;
        match told {
            Ok(8) => {
                let _ = pidfd.wait_blocking(std::time::Duration::from_secs(1));
                let [step, errno] = [&report[..4], &report[4..]].map(|half| {
                    let mut word = [0; 4];
                    word.copy_from_slice(half);
                    i32::from_ne_bytes(word)
                });
                let step = usize::try_from(step)
                    .ok()
                    .and_then(|step| STEPS.get(step))
                    .copied()
                    .unwrap_or("start");
                Err(ChildError::Start {
                    program,
                    step,
                    source: io::Error::from_raw_os_error(errno),
                })
            }
            Ok(_) => Ok(Child { pid, pidfd }),
            Err(source) => Err(failed("read the report of the new process")(source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::command::PATH;
    use crate::sys::pidfd::Exit;
    use std::io::Write;
    use std::time::Duration;

    fn shell(script: &str) -> Launch {
        Launch::new("/bin/sh").args(["-c", script])
    }

    fn end(child: &Child) -> Exit {
        child
            .pidfd
            .wait_blocking(Duration::from_secs(10))
            .unwrap()
            .unwrap()
    }

    #[test]
    fn gives_a_session_a_log_and_a_clean_environment() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "echo out; echo err >&2; env | sort; pwd; cut -d' ' -f6 /proc/$$/stat; cat; \
                      grep -E 'SigIgn|SigBlk' /proc/self/status | sed 's/[08]0000000$/-/'; cat /proc/self/oom_score_adj; ls /proc/self/fd";
        let child = shell(script)
            .env("A", "b")
            .directory("/tmp")
            .log(&log)
            .oom_score_adj(300)
            .spawn()
            .unwrap();
        assert_eq!(end(&child), Exit::Code(0));
        let text = std::fs::read_to_string(&log).unwrap();
        let expected = format!(
            "out\nerr\nA=b\nLC_ALL=C\nPATH={PATH}\nPWD=/tmp\n/tmp\n{}\nSigBlk:\t00000000-\n\
             SigIgn:\t00000000-\n300\n0\n1\n2\n3\n",
            child.pid
        );
        assert_eq!(text, expected);
        end(&shell("echo again").log(&log).spawn().unwrap());
        assert!(std::fs::read_to_string(&log).unwrap().ends_with("again\n"));
    }

    #[test]
    fn gives_up_root_and_groups() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let script = "id -u; id -g; id -G; grep -E 'CapEff|NoNewPrivs' /proc/self/status | cut -f2; ulimit -n";
        let launch = shell(script)
            .user(30001, 30001)
            .group(30555)
            .no_new_privs()
            .limit(Resource::RLIMIT_NOFILE, 99);
        assert_eq!(end(&launch.log(&log).spawn().unwrap()), Exit::Code(0));
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text, "30001\n30001\n30001 30555\n0000000000000000\n1\n99\n");
    }

    #[test]
    fn passes_descriptors_under_the_numbers_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let pipes: Vec<_> = (0..6)
            .map(|number| {
                let (read, write) = nix::unistd::pipe().unwrap();
                File::from(write)
                    .write_all(format!("pipe {number}\n").as_bytes())
                    .unwrap();
                read
            })
            .collect();
        let mut launch =
            shell("for n in 3 4 5 6 7 8; do cat <&$n; done; ls /proc/self/fd | wc -l").log(&log);
        // Backwards, so that every number is also the source of another.
        for (index, pipe) in pipes.into_iter().enumerate() {
            launch = launch.fd(pipe, 8 - RawFd::try_from(index).unwrap());
        }
        assert_eq!(end(&launch.spawn().unwrap()), Exit::Code(0));
        let text = std::fs::read_to_string(&log).unwrap();
        assert_eq!(text, "pipe 5\npipe 4\npipe 3\npipe 2\npipe 1\npipe 0\n10\n");
    }

    #[test]
    fn tells_which_step_failed() {
        let error = Launch::new("/no/such/program").spawn().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot start /no/such/program: executing it failed"
        );
        let error = shell("true")
            .directory("/no/such/place")
            .spawn()
            .unwrap_err();
        assert!(matches!(
            error,
            ChildError::Start {
                step: "changing the directory",
                ..
            }
        ));
        let error = shell("true").cgroup("/no/such/cgroup").spawn().unwrap_err();
        assert!(matches!(
            error,
            ChildError::Prepare {
                step: "open the cgroup",
                ..
            }
        ));
        let error = shell("a\0b").spawn().unwrap_err();
        assert!(matches!(error, ChildError::ZeroByte { .. }));
        let null = File::open("/dev/null").unwrap();
        let error = shell("true").fd(null, 2).spawn().unwrap_err();
        assert!(matches!(
            error,
            ChildError::Start {
                step: "passing a descriptor",
                ..
            }
        ));
    }

    #[test]
    fn starts_inside_its_cgroup() {
        let group = crate::sys::cgroup::tests::scratch("child");
        let child = shell("exec sleep 100")
            .cgroup(group.path())
            .spawn()
            .unwrap();
        assert_eq!(group.procs().unwrap(), [child.pid]);
        group.kill().unwrap();
        assert_eq!(end(&child), Exit::Signal(9));
        group.remove().unwrap();
    }
}

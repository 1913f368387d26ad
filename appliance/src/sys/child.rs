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

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::Resource;

use super::command::PATH;
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
    terminal: Option<File>,
    limits: Vec<(Resource, u64)>,
    no_new_privs: bool,
    oom_score_adj: i32,
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
            terminal: None,
            limits: Vec::new(),
            no_new_privs: false,
            oom_score_adj: 0,
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

    /// A terminal for standard input, output and error, which becomes the terminal of its session.
    pub fn terminal(mut self, terminal: File) -> Launch {
        self.terminal = Some(terminal);
        self
    }

    /// Sets a resource limit, soft and hard.
    pub fn limit(mut self, resource: Resource, most: u64) -> Launch {
        self.limits.push((resource, most));
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

    /// Hands over a descriptor under a given number, 3 or more. Ours is closed after the start.
    pub fn fd(mut self, fd: impl Into<OwnedFd>, number: RawFd) -> Launch {
        self.fds.push((fd.into(), number));
        self
    }

    /// The program and its arguments, for logs.
    pub fn command_line(&self) -> String {
        let words = std::iter::once(self.program.as_os_str())
            .chain(self.args.iter().map(OsString::as_os_str));
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
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

/// What each step of the child is called in errors; the index is what the child reports.
const STEPS: [&str; 12] = [
    "preparing signals",
    "making a session",
    "joining the cgroup",
    "setting oom_score_adj",
    "setting a resource limit",
    "redirecting input and output",
    "changing the directory",
    "passing a descriptor",
    "setting the groups",
    "setting the user",
    "setting no_new_privs",
    "executing it",
];

/// Everything the child needs, in the shape the system calls want it.
struct Prepared {
    program: CString,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    directory: CString,
    user: Option<(u32, u32)>,
    groups: Vec<libc::gid_t>,
    cgroup: Option<File>,
    input: File,
    output: File,
    is_terminal: bool,
    limits: Vec<(libc::__rlimit_resource_t, libc::rlimit)>,
    no_new_privs: bool,
    oom_score: Vec<u8>,
    fds: Vec<(RawFd, RawFd)>,
    /// Above every number the program gets: scratch copies go here.
    above: RawFd,
    /// Owns what `argv` and `envp` point to.
    _strings: Vec<CString>,
}

impl Prepared {
    fn new(launch: &Launch) -> Result<Prepared, ChildError> {
        let text = |text: &OsStr| {
            CString::new(text.as_bytes()).map_err(|_| ChildError::ZeroByte {
                program: launch.program.clone(),
            })
        };
        let open = |step: &'static str, path: &Path, options: &OpenOptions| {
            options.open(path).map_err(|source| ChildError::Prepare {
                program: launch.program.clone(),
                step,
                source,
            })
        };

        let program = text(launch.program.as_os_str())?;
        let mut args = vec![program.clone()];
        for arg in &launch.args {
            args.push(text(arg)?);
        }
        let mut env = Vec::new();
        let fixed = [("LC_ALL", "C"), ("PATH", PATH)]
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let overridden = |name: &OsStr| launch.env.iter().any(|(other, _)| other == name);
        for (name, value) in fixed
            .iter()
            .filter(|(name, _)| !overridden(name))
            .chain(&launch.env)
        {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            env.push(text(&pair)?);
        }
        let pointers = |strings: &[CString]| {
            let ends = std::iter::once(std::ptr::null());
            strings
                .iter()
                .map(|string| string.as_ptr())
                .chain(ends)
                .collect::<Vec<_>>()
        };
        // Moving a CString moves the pointer to its bytes, not the bytes.
        let (argv, envp) = (pointers(&args), pointers(&env));
        args.append(&mut env);

        let null =
            |options: &mut OpenOptions| open("open /dev/null", Path::new("/dev/null"), options);
        let terminal = |terminal: &File| {
            terminal.try_clone().map_err(|source| ChildError::Prepare {
                program: launch.program.clone(),
                step: "pass the terminal on",
                source,
            })
        };
        let input = match &launch.terminal {
            Some(file) => terminal(file)?,
            None => null(OpenOptions::new().read(true))?,
        };
        let output = match (&launch.terminal, &launch.log) {
            (Some(file), _) => terminal(file)?,
            (None, Some(log)) => open(
                "open the log",
                log,
                OpenOptions::new().append(true).create(true).mode(0o600),
            )?,
            (None, None) => null(OpenOptions::new().write(true))?,
        };
        let cgroup = match &launch.cgroup {
            Some(directory) => Some(open(
                "open the cgroup",
                &directory.join("cgroup.procs"),
                OpenOptions::new().write(true),
            )?),
            None => None,
        };
        let highest = launch
            .fds
            .iter()
            .map(|&(_, number)| number)
            .max()
            .unwrap_or(2);
        Ok(Prepared {
            program,
            argv,
            envp,
            directory: text(launch.directory.as_os_str())?,
            user: launch.user,
            groups: launch.groups.clone(),
            cgroup,
            input,
            output,
            is_terminal: launch.terminal.is_some(),
            limits: launch
                .limits
                .iter()
                .map(|&(resource, most)| {
                    (
                        resource as libc::__rlimit_resource_t,
                        libc::rlimit {
                            rlim_cur: most,
                            rlim_max: most,
                        },
                    )
                })
                .collect(),
            no_new_privs: launch.no_new_privs,
            oom_score: launch.oom_score_adj.to_string().into_bytes(),
            fds: launch
                .fds
                .iter()
                .map(|(fd, number)| (fd.as_raw_fd(), *number))
                .collect(),
            above: highest.max(2) + 1,
            _strings: args,
        })
    }

    /// Runs in the child. Reports the first failing step and ends, or becomes the program.
    fn become_program(&self, report: RawFd) -> ! {
        let mut report = report;
        // Index into STEPS of what is being done.
        let mut step: i32 = 0;
        let errno = self.run_steps(&mut report, &mut step);
        let mut words = [0; 8];
        words[..4].copy_from_slice(&step.to_ne_bytes());
        words[4..].copy_from_slice(&(errno as i32).to_ne_bytes());
        // SAFETY: writes eight bytes of our stack to a descriptor, then ends without running any exit handler,
        // which would act on state shared with the parent.
        unsafe {
            libc::write(report, words.as_ptr().cast(), words.len());
            libc::_exit(127)
        }
    }

    fn run_steps(&self, report: &mut RawFd, step: &mut i32) -> Errno {
        match self.try_steps(report, step) {
            Err(errno) => errno,
            Ok(never) => match never {},
        }
    }

    fn try_steps(
        &self,
        report: &mut RawFd,
        step: &mut i32,
    ) -> nix::Result<std::convert::Infallible> {
        // SAFETY: this and the blocks below are system calls on integers and on memory prepared before the fork.
        // `Errno::result` only reads errno. Nothing allocates, locks or unwinds.
        unsafe {
            *step = 0;
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            Errno::result(libc::sigprocmask(
                libc::SIG_SETMASK,
                &none,
                std::ptr::null_mut(),
            ))?;
            // Handlers fall away at exec, an ignored signal would stay ignored: the runtime ignores SIGPIPE.
            for signal in 1..32 {
                libc::signal(signal, libc::SIG_DFL);
            }

            *step = 1;
            Errno::result(libc::setsid())?;

            *step = 2;
            if let Some(procs) = &self.cgroup {
                Errno::result(libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1))?;
            }

            *step = 3;
            let oom = Errno::result(libc::open(
                c"/proc/self/oom_score_adj".as_ptr(),
                libc::O_WRONLY | libc::O_CLOEXEC,
            ))?;
            Errno::result(libc::write(
                oom,
                self.oom_score.as_ptr().cast(),
                self.oom_score.len(),
            ))?;

            *step = 7;
            // Whatever number the report has, the program may want it.
            *report = Errno::result(libc::fcntl(*report, libc::F_DUPFD_CLOEXEC, self.above))?;
            Errno::result(libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            ))?;

            *step = 5;
            // Copies above all targets first: a source may sit on a number that is about to be overwritten.
            let input = Errno::result(libc::fcntl(
                self.input.as_raw_fd(),
                libc::F_DUPFD_CLOEXEC,
                self.above,
            ))?;
            let output = Errno::result(libc::fcntl(
                self.output.as_raw_fd(),
                libc::F_DUPFD_CLOEXEC,
                self.above,
            ))?;

            *step = 7;
            let mut sources = [0 as RawFd; MOST_FDS];
            if self.fds.len() > MOST_FDS || self.fds.iter().any(|&(_, number)| number < 3) {
                return Err(Errno::EINVAL);
            }
            for (copy, &(fd, _)) in sources.iter_mut().zip(&self.fds) {
                *copy = Errno::result(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, self.above))?;
            }
            for (&copy, &(_, number)) in sources.iter().zip(&self.fds) {
                Errno::result(libc::dup2(copy, number))?;
            }

            *step = 5;
            for (fd, number) in [(input, 0), (output, 1), (output, 2)] {
                Errno::result(libc::dup2(fd, number))?;
            }
            if self.is_terminal {
                Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 1))?;
            }

            // After the copies: a low limit on descriptors would forbid them.
            *step = 4;
            for (resource, limit) in &self.limits {
                Errno::result(libc::setrlimit(*resource, limit))?;
            }

            *step = 6;
            Errno::result(libc::chdir(self.directory.as_ptr()))?;

            if let Some((uid, gid)) = self.user {
                *step = 8;
                Errno::result(libc::setgroups(self.groups.len(), self.groups.as_ptr()))?;
                Errno::result(libc::setresgid(gid, gid, gid))?;
                *step = 9;
                Errno::result(libc::setresuid(uid, uid, uid))?;
            }

            *step = 10;
            if self.no_new_privs {
                Errno::result(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            }

            *step = 11;
            libc::execve(
                self.program.as_ptr(),
                self.argv.as_ptr(),
                self.envp.as_ptr(),
            );
            Err(Errno::last())
        }
    }
}

/// As many descriptors as a child may be given (the child cannot allocate): 8 network cards of 8 queues.
const MOST_FDS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
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

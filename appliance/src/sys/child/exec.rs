//! From fork to exec: what a new process does before it is the program it was made for.
//!
//! Everything is prepared by the parent in the shape the system calls want it; see [`super`] for why nothing may
//! be allocated here.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use super::{ChildError, Launch};
use crate::sys::command::PATH;

/// What each step of the child is called in errors; the index is what the child reports.
pub(super) const STEPS: [&str; 14] = [
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
    "leaving the network",
    "setting the priority",
];

/// Everything the child needs, in the shape the system calls want it.
pub(super) struct Prepared {
    program: CString,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    directory: CString,
    user: Option<(u32, u32)>,
    groups: Vec<libc::gid_t>,
    cgroup: Option<File>,
    input: File,
    output: File,
    limits: Vec<(libc::__rlimit_resource_t, libc::rlimit)>,
    no_network: bool,
    no_new_privs: bool,
    oom_score: Vec<u8>,
    nice: i32,
    fds: Vec<(RawFd, RawFd)>,
    /// Above every number the program gets: scratch copies go here.
    above: RawFd,
    /// Owns what `argv` and `envp` point to.
    _strings: Vec<CString>,
}

impl Prepared {
    pub(super) fn new(launch: &Launch) -> Result<Prepared, ChildError> {
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
        let input = null(OpenOptions::new().read(true))?;
        let output = match (&launch.output, &launch.log) {
            (Some(fd), _) => {
                let copy = fd.try_clone().map_err(|source| ChildError::Prepare {
                    program: launch.program.clone(),
                    step: "pass the output on",
                    source,
                })?;
                File::from(copy)
            }
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
            no_network: launch.no_network,
            no_new_privs: launch.no_new_privs,
            oom_score: launch.oom_score_adj.to_string().into_bytes(),
            nice: launch.nice,
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
    pub(super) fn become_program(&self, report: RawFd) -> ! {
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

            if self.nice != 0 {
                *step = 13;
                Errno::result(libc::setpriority(libc::PRIO_PROCESS, 0, self.nice))?;
            }

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

            // After the copies: a low limit on descriptors would forbid them.
            *step = 4;
            for (resource, limit) in &self.limits {
                Errno::result(libc::setrlimit(*resource, limit))?;
            }

            *step = 6;
            Errno::result(libc::chdir(self.directory.as_ptr()))?;

            if self.no_network {
                *step = 12;
                Errno::result(libc::unshare(libc::CLONE_NEWNET))?;
            }

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

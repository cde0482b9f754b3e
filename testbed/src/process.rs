//! A server as a child process: started in a namespace with few rights, watched, ended by pid.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{Gid, PidfdFlags, Uid, pidfd_open, pidfd_send_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Step as _, WiringError};
use crate::netns::Netns;

mod vitals;

/// Lines of standard error that are kept; older ones go.
pub const STDERR_LINES_MAX: usize = 1000;

/// How long a server that was asked to end may take before it is killed.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The rights a server starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Those of this process.
    Inherited,
    /// `CAP_NET_RAW` and nothing else, as this user and group; in a user namespace that maps only
    /// one user, as that one.
    NetRawOnly {
        /// User and group id.
        id: u32,
    },
    /// Nothing, as this user and group; but the program's file may give it `CAP_NET_RAW`.
    ByFile {
        /// User and group id.
        id: u32,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    ready: Receiver<String>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    follower: Option<JoinHandle<()>>,
}

/// Why a server did not become ready.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadyError {
    /// It ended.
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its standard error.
        stderr: String,
    },
    /// It runs but did not say `ready:` in time.
    TimedOut {
        /// How long was waited.
        waited: Duration,
        /// The end of its standard error.
        stderr: String,
    },
    /// It cannot be watched.
    Lost(io::Error),
}

impl fmt::Display for ReadyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { status, stderr } => {
                write!(f, "the server ended before it was ready ({status})")?;
                said(f, stderr)
            }
            Self::TimedOut { waited, stderr } => {
                write!(f, "the server was not ready within {waited:?}")?;
                said(f, stderr)
            }
            Self::Lost(_) => f.write_str("the server cannot be watched"),
        }
    }
}

fn said(f: &mut fmt::Formatter<'_>, stderr: &str) -> fmt::Result {
    if stderr.is_empty() {
        Ok(())
    } else {
        write!(f, "; it said:\n{stderr}")
    }
}

impl std::error::Error for ReadyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Lost(error) => Some(error),
            _ => None,
        }
    }
}

impl Server {
    /// Starts `command` in `namespace`. Its output is read here.
    ///
    /// # Errors
    /// The program cannot be started, or the rights cannot be given up.
    pub fn start(
        namespace: &Netns,
        mut command: Command,
        rights: Rights,
    ) -> Result<Self, WiringError> {
        let program = command.get_program().to_string_lossy().into_owned();
        // Held until the child has it: see `by_descriptor`.
        let mut executable = None;
        if rights != Rights::Inherited {
            command =
                by_descriptor(&command, &mut executable).step(|| format!("opening {program}"))?;
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Credentials belong to threads; the child inherits those of the thread that starts it.
        let mut child = namespace
            .run(|| {
                match rights {
                    Rights::Inherited => {}
                    Rights::NetRawOnly { id } => keep_only(CapabilitySet::NET_RAW, id)?,
                    Rights::ByFile { id } => keep_only(CapabilitySet::empty(), id)?,
                }
                command.spawn()
            })
            .and_then(|child| child)
            .step(|| format!("starting {program}"))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, ready) = channel();
        // From here on a failure ends the child.
        let mut server = Self {
            child,
            ready,
            stderr: Arc::default(),
            follower: None,
        };
        follow(stdout, move |line| {
            if line.starts_with("ready:") {
                drop(sender.send(line)); // an error: nobody waits for it any more
            }
        })?;
        let kept = Arc::clone(&server.stderr);
        server.follower = Some(follow(stderr, move |line| {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == STDERR_LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(line);
        })?);
        Ok(server)
    }

    /// Waits for the line that begins `ready:` on standard output, and returns it.
    ///
    /// # Errors
    /// It ended instead, or took longer than `timeout`.
    pub fn wait_until_ready(&mut self, timeout: Duration) -> Result<String, ReadyError> {
        match self.ready.recv_timeout(timeout) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                let stderr = self.stderr_tail(TAIL_LINES);
                Err(ReadyError::TimedOut {
                    waited: timeout,
                    stderr,
                })
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.terminate().map_err(ReadyError::Lost)?;
                self.hear_last_words();
                Err(ReadyError::Ended {
                    status,
                    stderr: self.stderr_tail(TAIL_LINES),
                })
            }
        }
    }

    /// Waits for the end of its standard error, unless a child of its own holds it open.
    fn hear_last_words(&self) {
        let start = Instant::now();
        while start.elapsed() < LAST_WORDS
            && !self.follower.as_ref().is_none_or(JoinHandle::is_finished)
        {
            thread::sleep(POLL);
        }
    }

    /// The last `lines` of its standard error.
    pub fn stderr_tail(&self, lines: usize) -> String {
        let kept = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept.len().saturating_sub(lines);
        kept.iter()
            .skip(skip)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.child.id()).map_err(io::Error::other)?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Asks it to end with SIGTERM, kills it and its children after five seconds; returns how it
    /// ended.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn terminate(&mut self) -> io::Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::SIGTERM)?;
        }
        if let Some(status) = self.wait(GRACE)? {
            return Ok(status);
        }
        // Taken before it is gone, and held: an id may become somebody else's.
        let children = self.children().unwrap_or_default();
        let held: Vec<_> = children
            .into_iter()
            .filter_map(|child| {
                let id = rustix::process::Pid::from_raw(child.as_raw())?;
                let held = pidfd_open(id, PidfdFlags::empty()).ok()?;
                self.is_parent_of(child).then_some(held)
            })
            .collect();
        self.child.kill()?;
        let status = self.child.wait();
        for child in held {
            let _ = pidfd_send_signal(child, rustix::process::Signal::KILL); // it may have ended
        }
        status
    }

    /// Waits for its end; `None` when it still runs after `timeout`.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            let status = self.child.try_wait()?;
            if status.is_some() || start.elapsed() >= timeout {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// Its capability sets, as in `CapEff: 0000000000002000`.
    ///
    /// # Errors
    /// It has ended.
    pub fn capabilities(&self) -> io::Result<Vec<String>> {
        let status = self.proc("status")?;
        let lines = status.lines().filter(|line| line.starts_with("Cap"));
        Ok(lines.map(|line| line.replace('\t', " ")).collect())
    }

    fn proc(&self, file: &str) -> io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid()))
    }
}

/// Lines of standard error in an error message.
const TAIL_LINES: usize = 20;

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.terminate(); // an error means it has ended
    }
}

/// Hands on each line, on a thread of its own, until the pipe ends.
fn follow(
    pipe: Option<impl Read + Send + 'static>,
    mut each: impl FnMut(String) + Send + 'static,
) -> Result<JoinHandle<()>, WiringError> {
    let work = move || {
        let lines = pipe.map(|pipe| BufReader::new(pipe).split(b'\n'));
        for line in lines.into_iter().flatten().map_while(Result::ok) {
            each(String::from_utf8_lossy(&line).into_owned());
        }
    };
    thread::Builder::new()
        .name("output".into())
        .spawn(work)
        .step(|| "starting a thread".into())
}

/// The same command, its program named by a descriptor: the user it will run as may lack the
/// right to walk to it, as with a build directory below `/root`.
fn by_descriptor(command: &Command, held: &mut Option<File>) -> io::Result<Command> {
    let program = command.get_program();
    if !Path::new(program).is_absolute() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an absolute path is needed",
        ));
    }
    let file = held.insert(File::open(program)?);
    let mut same = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    same.arg0(program).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => same.env(name, value),
            None => same.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        same.current_dir(directory);
    }
    Ok(same)
}

/// Leaves the calling thread, and what it starts, with the capabilities `keep`. `CAP_NET_RAW` stays
/// in the bounding set, so that a file may give it.
fn keep_only(keep: CapabilitySet, id: u32) -> io::Result<()> {
    for capability in CapabilitySet::all()
        .difference(CapabilitySet::NET_RAW)
        .iter()
    {
        // Kernels know different numbers of capabilities: EINVAL is one it does not know.
        match remove_capability_from_bounding_set(capability) {
            Err(error) if error != rustix::io::Errno::INVAL => return Err(error.into()),
            _ => {}
        }
    }
    set_keep_capabilities(true)?;
    if many_users_are_mapped()? {
        let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    set_capabilities(
        None,
        CapabilitySets {
            effective: keep,
            permitted: keep,
            inheritable: keep,
        },
    )?;
    for capability in keep.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// False in a user namespace made by [`enter_user_namespace`](crate::netns::enter_user_namespace).
fn many_users_are_mapped() -> io::Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().nth(2) != Some("1"))
}

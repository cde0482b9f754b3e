//! The handle by which other threads ask and tell the supervisor.

use std::io;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use crate::config::Config;
use crate::notify::Notify;
use crate::snapshot::Snapshot;
use crate::supervisor::StartError;

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run this from now on; the answer says why not.
    Configure(Box<Config>, Sender<Result<(), StartError>>),
    /// The desired state.
    Config(Sender<Config>),
    /// How everything is.
    Snapshot(Sender<Snapshot>),
    /// Drain until then, and end.
    Shutdown(Instant),
}

/// Asks and tells a running dataplane, from any thread. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Controller {
    commands: Sender<Command>,
    supervisor: Notify,
}

impl Controller {
    pub(crate) fn new(commands: Sender<Command>, supervisor: Notify) -> Self {
        Self {
            commands,
            supervisor,
        }
    }

    pub(crate) fn send(&self, command: Command) {
        if self.commands.send(command).is_ok() {
            self.supervisor.ring();
        }
    }

    /// Makes `config` the desired state: what differs from what runs is changed, the rest goes on
    /// undisturbed. Host interfaces themselves cannot be added or taken away, because their
    /// sockets need a capability that is gone.
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub fn configure(&self, config: Config) -> Result<(), StartError> {
        let (reply, answer) = unbounded();
        self.send(Command::Configure(Box::new(config), reply));
        answer.recv().unwrap_or_else(|_| {
            Err(StartError::System(io::Error::other(
                "the dataplane has ended",
            )))
        })
    }

    /// The desired state; `None` when the dataplane has ended.
    pub fn config(&self) -> Option<Config> {
        let (reply, answer) = unbounded();
        self.send(Command::Config(reply));
        answer.recv().ok()
    }

    /// How everything is; a worker that does not answer within a second is left out. `None` when
    /// the dataplane has ended.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = unbounded();
        self.send(Command::Snapshot(reply));
        answer.recv().ok()
    }
}

//! The handle by which other threads ask and tell the supervisor.

use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use crate::capture;
use crate::config::Config;
use crate::error::{CaptureError, StartError};
use crate::notify::Notify;
use crate::snapshot::Snapshot;
use crate::trace::Step;

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run this from now on; the answer says why not.
    Configure(Box<Config>, Sender<Result<(), StartError>>),
    /// The desired state.
    Config(Sender<Config>),
    /// How everything is.
    Snapshot(Sender<Snapshot>),
    /// Ping somebody; the answer says whether there are workers for it.
    Ping(Ping),
    /// Wait no longer for the answers to this ping.
    PingEnd(u16),
    /// Trace the next packets that come to this node, in every worker; the answer says that they
    /// do.
    TraceAdd(&'static str, u32, Sender<()>),
    /// Forget the traced packets; the answer says that they are forgotten.
    TraceClear(Sender<()>),
    /// The first so many traced packets of each worker.
    Trace(u32, Sender<Vec<WorkerTrace>>),
    /// Begin a capture; the answer says why not.
    Capture(Box<capture::Order>, Sender<Result<(), CaptureError>>),
    /// End the capture and say how it went; `None`: there is none.
    CaptureEnd(Sender<Option<capture::Status>>),
    /// How the capture is, or how the last one went.
    CaptureStatus(Sender<Option<capture::Status>>),
    /// Drain until then, and end.
    Shutdown(Instant),
}

/// A worker's number and name, and what it traced.
pub type WorkerTrace = (usize, String, Vec<Step>);

/// An echo request to have sent.
#[derive(Clone, Debug)]
pub struct Ping {
    /// What to send.
    pub order: ipstack::ping::Order,
    /// Where what happens is told, with the time.
    pub events: Sender<(Instant, ipstack::ping::Event)>,
    /// Is rung then.
    pub listener: Notify,
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
    /// undisturbed. Host interfaces can be added as long as there are sockets that were opened
    /// for it at the start.
    ///
    /// # Errors
    /// Why not; nothing is changed then.
    pub fn configure(&self, config: Config) -> Result<(), StartError> {
        let (reply, answer) = unbounded();
        self.send(Command::Configure(Box::new(config), reply));
        answer.recv().unwrap_or(Err(StartError::Ended))
    }

    /// The desired state; `None` when the dataplane has ended.
    pub fn config(&self) -> Option<Config> {
        let (reply, answer) = unbounded();
        self.send(Command::Config(reply));
        answer.recv().ok()
    }

    /// Sends an echo request from every port that has a route to its destination.
    pub fn ping(&self, ping: Ping) {
        self.send(Command::Ping(ping));
    }

    /// Forgets the pings with `identifier`.
    pub fn end_ping(&self, identifier: u16) {
        self.send(Command::PingEnd(identifier));
    }

    /// Traces the next `count` packets of each worker that come to `node`: those that come after
    /// this has returned are the next.
    pub fn trace(&self, node: &'static str, count: u32) {
        let (reply, answer) = unbounded();
        self.send(Command::TraceAdd(node, count, reply));
        let _ = answer.recv(); // nothing is traced when the dataplane has ended
    }

    /// Forgets the traced packets.
    pub fn clear_trace(&self) {
        let (reply, answer) = unbounded();
        self.send(Command::TraceClear(reply));
        let _ = answer.recv(); // as above
    }

    /// The first `packets` traced packets of each worker that answers within a second; `None` when
    /// the dataplane has ended.
    pub fn traced(&self, packets: u32) -> Option<Vec<WorkerTrace>> {
        let (reply, answer) = unbounded();
        self.send(Command::Trace(packets, reply));
        answer.recv().ok()
    }

    /// Begins to capture packets into a file.
    ///
    /// # Errors
    /// Why not; nothing is begun then.
    pub fn capture(&self, order: capture::Order) -> Result<(), CaptureError> {
        let (reply, answer) = unbounded();
        self.send(Command::Capture(Box::new(order), reply));
        answer.recv().unwrap_or(Err(CaptureError::Ended))
    }

    /// Ends the capture, waits until its file is whole, and says how it went; `None` when there is
    /// none.
    pub fn end_capture(&self) -> Option<capture::Status> {
        let (reply, answer) = unbounded();
        self.send(Command::CaptureEnd(reply));
        answer.recv().ok().flatten()
    }

    /// How the capture is, or how the last one went; `None` when there was none.
    pub fn capture_status(&self) -> Option<capture::Status> {
        let (reply, answer) = unbounded();
        self.send(Command::CaptureStatus(reply));
        answer.recv().ok().flatten()
    }

    /// How everything is; a worker that does not answer within a second is left out. `None` when
    /// the dataplane has ended.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let (reply, answer) = unbounded();
        self.send(Command::Snapshot(reply));
        answer.recv().ok()
    }
}

//! A worker: one thread, one pair of rings, one graph, run to completion turn by turn.
//!
//! It sleeps when there is nothing to do, until a frame, a message or its next deadline, and wakes
//! for nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use af_packet::{AttachError, Device, Fanout, FanoutGroup, LinkInfo};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use dataplane::{Batch, IfIndex};
use ipstack::heard::{HEARD_MAX, Heard};
use ipstack::tcp::{SmallerMtu, TcpConfig};
use nix::unistd::{SysconfVar, sysconf};

use crate::assemble::Assembly;
use crate::capture::Tap;
use crate::http::HttpService;
use crate::notify::Notify;
use crate::plan::Plan;
use crate::rehearsal::Rehearsal;
use crate::rhythm::Rhythm;
use crate::snapshot::WorkerSnapshot;
use crate::spin::Spin;
use crate::thrift::Thrift;
use crate::timers::Timers;
use crate::trace::Step;
use crate::watch::Watch;

mod rest;

use rest::Until;

/// A port to listen on, and who serves it.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address; unspecified: all of ours.
    pub address: std::net::Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The server, shared by all workers.
    pub server: http_static::Server,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Control {
    /// What to run from now on.
    Plan(Box<Plan>),
    /// Answer: everything told before is done.
    Barrier(Sender<()>),
    /// Who serves which port from now on.
    Listen(Vec<Listen>),
    /// Attach the rings to this interface; say [`WorkerEvent::Attached`].
    Attach {
        /// The interface.
        link: LinkInfo,
        /// The group to make or to join, when there are several workers.
        fanout: Option<Fanout>,
    },
    /// Receive as a member of the group that was joined; say [`WorkerEvent::Hears`].
    Hear,
    /// The kernel's interface as it is now; `None`: there is none.
    Link(Option<LinkInfo>),
    /// The other workers of the port, who want to know what is heard of neighbours; whether this is
    /// the one that announces the port's addresses.
    Siblings(Vec<Sibling>, bool),
    /// What another worker of the port heard of a neighbour.
    Heard(Heard),
    /// What another worker of the port heard of a path.
    SmallerMtu(SmallerMtu),
    /// Trace the next packets that come to this node.
    TraceAdd(&'static str, u32),
    /// Forget the packets that were traced.
    TraceClear,
    /// Tell what of the first so many packets was traced.
    Trace(u32, Sender<Vec<Step>>),
    /// Capture packets by this tap; `None`: no more, and what was captured is handed over.
    Capture(Option<Box<Tap>>),
    /// Ping somebody, or wait for the answers to somebody else's ping.
    Ping(PingOrder),
    /// Wait no longer for the answers to this ping.
    PingEnd(u16),
    /// Tell how you are.
    Snapshot(Sender<WorkerSnapshot>),
    /// Finish what is being served and take nothing new; say [`WorkerEvent::Drained`].
    Drain,
    /// End now.
    Stop,
}

/// Another worker of the same port.
#[derive(Clone, Debug)]
pub struct Sibling {
    control: Sender<Control>,
    notify: Notify,
}

impl Sibling {
    /// Passes on what was heard, unless the other is far behind with what it was told.
    fn tell(&self, heard: Control) {
        if self.control.len() < HEARD_MAX && self.control.send(heard).is_ok() {
            self.notify.ring();
        }
    }
}

/// An echo request, of which every worker of the port is told: the answer may reach any.
#[derive(Clone, Debug)]
pub struct PingOrder {
    /// What to send, if this worker is to send it.
    pub order: Option<ipstack::ping::Order>,
    /// The ping's identifier.
    pub identifier: u16,
    /// Where to tell what happens, by the clock on the wall.
    pub events: Sender<(Instant, ipstack::ping::Event)>,
    /// Rings whoever listens.
    pub listener: Notify,
}

/// What a worker tells.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The rings are attached to the interface of this index. Frames flow, or will when it is told
    /// to hear as a member of this group.
    Attached(u32, Option<FanoutGroup>),
    /// The rings cannot be attached to it; whether it is worth another try.
    AttachFailed(u32, String, bool),
    /// Frames of the interface of this index flow.
    Hears(u32),
    /// A change was refused.
    Refused(String),
    /// The last connection is gone.
    Drained,
    /// The thread ended without being told to.
    Died(String),
}

/// What a worker is made from.
#[derive(Debug)]
pub struct WorkerSetup {
    /// Its number among all workers.
    pub number: usize,
    /// The port, by the host's name.
    pub host_name: String,
    /// The port's number.
    pub port: IfIndex,
    /// The rings, attached when the interface is there.
    pub device: Device,
    /// TCP's limits.
    pub tcp: TcpConfig,
    /// Where it tells, by its number.
    pub events: Sender<(usize, WorkerEvent)>,
    /// Rings whoever listens to `events`.
    pub supervisor: Notify,
}

/// A running worker, as the supervisor holds it.
#[derive(Debug)]
pub struct WorkerHandle {
    control: Sender<Control>,
    notify: Notify,
    thread: Option<JoinHandle<Option<Device>>>,
}

impl WorkerHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread or no descriptor left.
    pub fn start(setup: WorkerSetup) -> std::io::Result<Self> {
        // Bounded by the supervisor, which sends a few messages per change and per query, and by
        // `Sibling::tell`.
        let (control, messages) = unbounded();
        let notify = Notify::new()?;
        let bell = notify.clone();
        let name = format!("{}-{}", setup.host_name, setup.number);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let (number, events) = (setup.number, setup.events.clone());
            let supervisor = setup.supervisor.clone();
            match ended(|| run(setup, messages, bell)) {
                Ok(device) => Some(device),
                Err(died) => {
                    let _ = events.send((number, WorkerEvent::Died(died)));
                    supervisor.ring();
                    None
                }
            }
        })?;
        Ok(Self {
            control,
            notify,
            thread: Some(thread),
        })
    }

    /// Tells the worker something; a worker that has ended hears nothing.
    pub fn tell(&self, control: Control) {
        if self.control.send(control).is_ok() {
            self.notify.ring();
        }
    }

    /// This worker, as others of the port see it.
    pub fn sibling(&self) -> Sibling {
        Sibling {
            control: self.control.clone(),
            notify: self.notify.clone(),
        }
    }

    /// Tells it to stop, waits until it has, and takes its device, if it did not die.
    pub fn stop(&mut self) -> Option<Device> {
        self.tell(Control::Stop);
        // A panic was caught inside; nothing is left to learn here.
        self.thread.take()?.join().ok().flatten()
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What `work` ended with, or why it ended without being told to.
fn ended<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("it panicked; the message is above".to_owned()))
}

fn run(setup: WorkerSetup, messages: Receiver<Control>, notify: Notify) -> Result<Device, String> {
    let mut worker = Worker::new(setup, messages, notify)?;
    while worker.hear() {
        let idle_until = worker.turn();
        if let Some(until) = idle_until {
            worker.rest(until);
            worker.rested = true;
        }
    }
    Ok(worker.device)
}

struct Worker {
    number: usize,
    host_name: String,
    messages: Receiver<Control>,
    notify: Notify,
    events: Sender<(usize, WorkerEvent)>,
    supervisor: Notify,
    assembly: Assembly,
    timers: Timers,
    device: Device,
    listening: Vec<Listen>,
    batch: Batch<'static>,
    /// The origin of every time the graph is given.
    origin: Instant,
    draining: bool,
    /// Turns taken.
    turns: u64,
    spin: Spin,
    rhythm: Rhythm,
    thrift: Thrift,
    /// Whether the worker has rested since the last turn.
    rested: bool,
    /// What to do while a frame is awaited; there from the first rhythm on.
    rehearsal: Option<Rehearsal>,
    siblings: Vec<Sibling>,
    watch: Watch,
    /// Whether the graph has an observer.
    observed: bool,
    /// Who waits for echoes; as many as [`ipstack::ping::IDENTIFIERS_MAX`].
    pings: Vec<PingOrder>,
}

/// Frames taken in a turn. With whole batches answers leave later, and what they touch does not
/// stay in the processor's cache.
const RECEIVED_MAX: usize = 64;

/// How long a worker with frames waiting for a full transmit ring sleeps: the kernel gives no
/// sign when slots come free.
const TX_RETRY: Duration = Duration::from_micros(200);

/// Processors of the machine; who sends frames need not be kept to ours. The first call, before
/// the process is confined, reads it from a file.
pub(crate) fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        online
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(1)
    })
}

/// Turns a change may wait for resets of connections it ends. What is left then ends without one.
const RESET_TURNS_MAX: usize = 1024;

impl Worker {
    fn new(
        setup: WorkerSetup,
        messages: Receiver<Control>,
        notify: Notify,
    ) -> Result<Self, String> {
        let bell = notify.clone();
        let wake = Arc::new(move || bell.ring());
        let assembly =
            Assembly::new(setup.port, setup.tcp, wake).map_err(|error| error.to_string())?;
        let origin = Instant::now();
        let watch = Watch::new(origin, assembly.sub_interfaces().clone());
        Ok(Self {
            number: setup.number,
            host_name: setup.host_name,
            messages,
            notify,
            events: setup.events,
            supervisor: setup.supervisor,
            assembly,
            timers: Timers::new(),
            device: setup.device,
            listening: Vec::new(),
            batch: Batch::limited(RECEIVED_MAX),
            origin,
            draining: false,
            spin: Spin::new(processors()),
            rhythm: Rhythm::new(processors()),
            thrift: Thrift::default(),
            rested: false,
            rehearsal: None,
            turns: 0,
            siblings: Vec::new(),
            watch,
            observed: false,
            pings: Vec::new(),
        })
    }

    fn say(&self, event: WorkerEvent) {
        if self.events.send((self.number, event)).is_ok() {
            self.supervisor.ring();
        }
    }

    /// Takes every message; `false` when told to stop.
    fn hear(&mut self) -> bool {
        loop {
            match self.messages.try_recv() {
                Ok(Control::Plan(plan)) => {
                    self.assembly.reset_removed(&plan);
                    for _ in 0..RESET_TURNS_MAX {
                        if !self.assembly.tcp.is_resetting() {
                            break;
                        }
                        self.turn();
                    }
                    if let Err(error) = self.assembly.apply(*plan) {
                        self.say(WorkerEvent::Refused(error.to_string()));
                    }
                }
                Ok(Control::Barrier(reply)) => {
                    let _ = reply.send(()); // whoever asked may wait no longer
                }
                Ok(Control::Listen(listen)) => self.listen(listen),
                Ok(Control::Attach { link, fanout }) => self.attach(&link, fanout),
                Ok(Control::Hear) => self.hear_frames(),
                Ok(Control::Link(link)) => {
                    if let Some(link) = &link {
                        self.device.set_mtu(link.mtu);
                    }
                    self.assembly.follow_link(link);
                }
                Ok(Control::Snapshot(reply)) => {
                    let now = self.origin.elapsed();
                    let snapshot = WorkerSnapshot::of(
                        self.number,
                        self.turns,
                        &self.assembly,
                        &mut self.device,
                        now,
                    );
                    let _ = reply.send(snapshot); // whoever asked may have gone
                }
                Ok(Control::Siblings(siblings, announces)) => {
                    self.siblings = siblings;
                    self.assembly.tables.keep_heard();
                    self.assembly.tcp.keep_smaller_mtus();
                    if !announces {
                        self.assembly.tables.leave_announcing();
                    }
                }
                Ok(Control::Heard(heard)) => {
                    self.assembly.tables.hear(self.origin.elapsed(), heard);
                }
                Ok(Control::SmallerMtu(smaller)) => {
                    let now = self.origin.elapsed();
                    self.assembly.tcp.hear_smaller_mtu(now, &smaller);
                }
                Ok(Control::TraceAdd(node, count)) => {
                    self.watch.trace.add(node, count);
                    self.observe();
                }
                Ok(Control::TraceClear) => {
                    self.watch.trace.clear();
                    self.observe();
                }
                Ok(Control::Trace(packets, reply)) => {
                    let _ = reply.send(self.watch.trace.steps(packets)); // may have gone
                }
                Ok(Control::Capture(tap)) => {
                    self.watch.capture(tap);
                    self.observe();
                }
                Ok(Control::Ping(order)) => self.ping(order),
                Ok(Control::PingEnd(identifier)) => {
                    self.assembly.pinger.forget(identifier);
                    self.pings.retain(|ping| ping.identifier != identifier);
                }
                Ok(Control::Drain) => {
                    self.draining = true;
                    self.assembly.tcp.shutdown();
                }
                Ok(Control::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    /// Gives the graph who watches it now, if anybody does.
    fn observe(&mut self) {
        let observer = self.watch.observer();
        self.observed = observer.is_some();
        self.assembly.graph.observe(observer);
    }

    fn ping(&mut self, order: PingOrder) {
        if !self.assembly.pinger.expect(order.identifier) {
            return; // whoever asked hears nothing, as from a peer that is silent
        }
        if let Some(order) = order.order {
            self.assembly.pinger.order(order);
        }
        if !self
            .pings
            .iter()
            .any(|ping| ping.identifier == order.identifier)
        {
            self.pings.push(order);
        }
    }

    fn tell_pings(&mut self) {
        for event in self.assembly.pinger.events() {
            let mut pings = self.pings.iter();
            if let Some(ping) = pings.find(|ping| ping.identifier == event.identifier) {
                let _ = ping.events.send((self.origin + event.at, event)); // may have gone
                ping.listener.ring();
            }
        }
    }

    fn listen(&mut self, wanted: Vec<Listen>) {
        let same = |a: &Listen, b: &Listen| {
            (a.address, a.port) == (b.address, b.port) && a.server.is_same(&b.server)
        };
        for old in &self.listening {
            if !wanted.iter().any(|new| same(old, new)) {
                self.assembly.tcp.unlisten(old.address, old.port);
            }
        }
        for new in &wanted {
            if !self.listening.iter().any(|old| same(old, new)) {
                let service = HttpService::new(new.server.clone(), self.timers.clone());
                if let Err(error) = self.assembly.listen(new.address, new.port, service) {
                    self.say(WorkerEvent::Refused(error.to_string()));
                }
            }
        }
        self.listening = wanted;
    }

    /// Attaches the rings to the interface, or again to one of the same name that came later.
    fn attach(&mut self, link: &LinkInfo, fanout: Option<Fanout>) {
        let attached = match fanout {
            None => self.device.attach(link).map(|()| None),
            Some(fanout) => self.device.attach_fanout(link, fanout).map(Some),
        };
        self.say(match attached {
            Ok(group) => WorkerEvent::Attached(link.index, group),
            Err(error) => Self::attach_failed(link.index, &error),
        });
    }

    fn attach_failed(index: u32, error: &AttachError) -> WorkerEvent {
        let again = !matches!(error, AttachError::NoSpares { .. });
        WorkerEvent::AttachFailed(index, error.to_string(), again)
    }

    /// Receives, as a member of a group that is complete.
    fn hear_frames(&mut self) {
        let Some(index) = self.device.link().map(|link| link.index) else {
            return;
        };
        self.say(match self.device.hear() {
            Ok(()) => WorkerEvent::Hears(index),
            Err(error) => Self::attach_failed(index, &error),
        });
    }

    /// Passes on what other workers of the port may need and did not hear.
    fn tell_siblings(&self) {
        let Assembly { tables, tcp, .. } = &self.assembly;
        tables.take_heard(|heard| {
            for other in &self.siblings {
                other.tell(Control::Heard(heard));
            }
        });
        tcp.take_smaller_mtus(|smaller| {
            for other in &self.siblings {
                other.tell(Control::SmallerMtu(smaller));
            }
        });
    }

    /// One turn: frames in, timers, frames out. `None` when there is more to do at once.
    fn turn(&mut self) -> Option<Until> {
        let now = self.origin.elapsed();
        self.turns += 1;
        if self
            .timers
            .deadline()
            .is_some_and(|at| at <= self.origin + now)
        {
            self.timers.fire(self.origin + now);
        }
        let mut batch = std::mem::take(&mut self.batch).recycle();
        let entry = self.assembly.entry;
        let (mut rx, mut port) = self.device.turn();
        let received = rx.fill(&mut batch);
        if std::mem::take(&mut self.rested) && received > 0 {
            self.rhythm.heard(self.origin + now);
        }
        let turn = self.assembly.graph.turn(now, entry, &mut batch, &mut port);
        port.flush();
        let blocked = port.pending();
        self.batch = batch.recycle();
        drop(port);
        drop(rx);
        if !self.siblings.is_empty() {
            self.tell_siblings();
        }
        if self.observed && !self.watch.settle() {
            self.observe();
        }
        if self.assembly.pinger.has_events() {
            self.tell_pings();
        }
        if self.draining && self.assembly.tcp.is_drained() {
            self.draining = false;
            self.say(WorkerEvent::Drained);
        }
        self.thrift.uses(self.assembly.tcp.memory(), now);
        if received > 0 || turn.deadline.is_some_and(|at| at <= now) {
            return None;
        }
        if self.thrift.due().is_some_and(|at| at <= now) {
            af_packet::heap::give_back();
            self.thrift.given(self.assembly.tcp.memory(), now);
        }
        let thrift = self.thrift.due().map(|at| self.origin + at);
        let graph = turn.deadline.map(|at| self.origin + at);
        // On a link that is down nothing moves until the supervisor tells that it is up.
        let blocked = blocked && self.assembly.link_runs();
        let blocked = blocked.then(|| self.origin + now + TX_RETRY);
        let until = [graph, self.timers.deadline(), blocked, thrift]
            .into_iter()
            .flatten()
            .min();
        Some(until.map_or(Until::Woken, Until::Time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_panics_or_fails_died_and_one_that_was_told_to_end_did_not() {
        assert_eq!(ended(|| Ok(())), Ok(()));
        let failed: Result<(), _> = ended(|| Err("no rings".to_owned()));
        assert_eq!(failed.unwrap_err(), "no rings");
        let died: Result<(), _> = ended(|| panic!("on purpose"));
        assert_eq!(died.unwrap_err(), "it panicked; the message is above");
    }
}

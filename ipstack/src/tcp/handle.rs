//! The handle to one worker's TCP.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use dataplane::{IfIndex, SharedInterfaces};
use zeroize::Zeroizing;

use super::config::TcpConfig;
use super::conn::{Shared, State};
use super::core::Core;
use super::counters::TcpCounters;
use super::hash_key::HashKey;
use super::listen::{ListenError, Listener, Service};
use super::smaller_mtu::SmallerMtu;
use super::wake::{Notify, WakeQueue};

/// The system gave no random octets.
#[derive(Debug)]
pub struct RandomError(getrandom::Error);

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random octets for sequence numbers (getrandom)")
    }
}

impl std::error::Error for RandomError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// One connection, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Our end.
    pub local: SocketAddrV4,
    /// The peer's.
    pub remote: SocketAddrV4,
    /// The sub-interface.
    pub interface: IfIndex,
    /// The state; records half open or in TIME-WAIT have no numbers below.
    pub state: State,
    /// Since it was opened.
    pub age: Duration,
    /// Octets read by the application.
    pub octets_in: u64,
    /// Octets written by the application.
    pub octets_out: u64,
    /// Octets in flight.
    pub flight: usize,
    /// The congestion window in octets.
    pub congestion_window: usize,
    /// The peer's receive window in octets.
    pub send_window: usize,
    /// The smoothed round-trip time, once measured.
    pub round_trip: Option<Duration>,
    /// Times something was sent again.
    pub retransmissions: u64,
    /// Whether it has buffers now.
    pub buffered: bool,
}

/// What is in use, and what is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections, and their maximum.
    pub connections: (usize, usize),
    /// Half-open connections, and their maximum.
    pub half_open: (usize, usize),
    /// TIME-WAIT records, and their maximum.
    pub time_wait: (usize, usize),
    /// Octets of buffers, and their maximum.
    pub buffers: (usize, usize),
    /// The most memory all of it takes, in octets: buffers, records, tables, and what a connection
    /// takes besides its buffers and the future that serves it.
    pub memory_max: usize,
}

/// The handle to one worker's TCP: shared by its nodes and by whoever configures it, on the
/// worker's thread.
#[derive(Clone)]
pub struct Tcp {
    pub(crate) core: Rc<RefCell<Core>>,
    shared: Rc<Shared>,
}

impl Tcp {
    /// TCP without listeners. To be made on the worker's thread; `notify` is called when a
    /// connection is woken from another one, and has to make the worker take a turn.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn new(
        config: TcpConfig,
        interfaces: SharedInterfaces,
        notify: Notify,
    ) -> Result<Self, RandomError> {
        let mut octets = Zeroizing::new([[0u8; 16]; 4]);
        getrandom::fill(octets.as_flattened_mut()).map_err(RandomError)?;
        Ok(Self::with_keys(config, interfaces, notify, &octets))
    }

    /// TCP whose secrets are known.
    pub(crate) fn with_keys(
        config: TcpConfig,
        interfaces: SharedInterfaces,
        notify: Notify,
        octets: &[[u8; 16]; 4],
    ) -> Self {
        let shared = Rc::new(Shared {
            config: config.clamped(),
            counters: RefCell::default(),
            buffers: Cell::new(0),
            spares: RefCell::default(),
            wakes: WakeQueue::new(notify),
        });
        let core = Core::new(Rc::clone(&shared), interfaces, HashKey::split(octets));
        Self {
            core: Rc::new(RefCell::new(core)),
            shared,
        }
    }

    /// Gives connections to `address` (unspecified: any of ours) and `port` to `service`.
    ///
    /// # Errors
    /// Port 0; somebody listens there already; as many listeners as allowed.
    pub fn listen(
        &self,
        address: Ipv4Addr,
        port: u16,
        service: impl Service + 'static,
    ) -> Result<(), ListenError> {
        let listener = Listener {
            address,
            port,
            service: Rc::new(RefCell::new(service)),
        };
        let max = self.shared.config.listeners_max;
        self.core.borrow_mut().listeners.add(listener, max)
    }

    /// Stops giving out connections; those open go on. `false` when nobody listened there.
    pub fn unlisten(&self, address: Ipv4Addr, port: u16) -> bool {
        let removed = self.core.borrow_mut().listeners.remove(address, port);
        removed.is_some()
    }

    /// What happened so far.
    pub fn counters(&self) -> TcpCounters {
        *self.shared.counters.borrow()
    }

    /// The configuration, as it is used.
    pub fn config(&self) -> &TcpConfig {
        &self.shared.config
    }

    /// Octets connections take now, about: their buffers, and what each takes besides.
    pub fn memory(&self) -> usize {
        let (flows, ..) = self.core.borrow().lens();
        self.shared.buffers.get() + flows * super::report::CONNECTION
    }

    /// What is in use, and what is allowed.
    pub fn limits(&self) -> Limits {
        let config = &self.shared.config;
        let (flows, half_open, time_wait) = self.core.borrow().lens();
        Limits {
            connections: (flows, config.connections_max),
            half_open: (half_open, config.half_open_max),
            time_wait: (time_wait, config.time_wait_max),
            buffers: (self.shared.buffers.get(), config.buffers_max),
            memory_max: super::report::memory_max(config),
        }
    }

    /// Every connection as it is at `now`, the time given to the nodes; half-open ones and
    /// TIME-WAIT records last.
    pub fn connections(&self, now: Duration) -> Vec<ConnectionInfo> {
        self.core.borrow().connections(now, usize::MAX)
    }

    /// The first `max` of [`Self::connections`], so that looking takes bounded time.
    pub fn connections_up_to(&self, now: Duration, max: usize) -> Vec<ConnectionInfo> {
        self.core.borrow().connections(now, max)
    }

    /// Resets every connection of `address` on `interface` in the turns that follow, until
    /// [`Self::is_resetting`] says no. To be called, and waited for, before the address and its
    /// routes are taken away: the resets go by them.
    pub fn reset_address(&self, interface: IfIndex, address: Ipv4Addr) {
        self.core.borrow_mut().doom(interface, address);
    }

    /// Whether connections are still to be reset.
    pub fn is_resetting(&self) -> bool {
        !self.core.borrow().doomed.is_empty()
    }

    /// Begins to shut down: new connections are reset, services are told
    /// ([`Service::drain`]), idle connections are closed. [`Self::is_drained`] tells when all
    /// are gone; those that last longer can be ended by dropping the nodes.
    pub fn shutdown(&self) {
        let services = {
            let mut core = self.core.borrow_mut();
            core.draining = true;
            core.listeners.services()
        };
        for service in services {
            service.borrow_mut().drain();
        }
        self.core.borrow_mut().wake_all();
    }

    /// From now on keeps the smaller path MTUs it hears of about connections it does not have, for
    /// [`Self::take_smaller_mtus`].
    pub fn keep_smaller_mtus(&self) {
        self.core.borrow_mut().smaller_mtus.keep();
    }

    /// Hands out what was kept since the last call.
    pub fn take_smaller_mtus(&self, tell: impl FnMut(SmallerMtu)) {
        let mut core = self.core.borrow_mut();
        core.smaller_mtus.drain().for_each(tell);
    }

    /// Believes what another worker heard about a connection's path, as if it had been heard here.
    pub fn hear_smaller_mtu(&self, now: Duration, smaller: &SmallerMtu) {
        self.core.borrow_mut().lower_mtu(smaller, now);
    }

    /// Whether a connection asked to be polled: look before sleeping, for no bell is rung on the
    /// worker's own thread.
    pub fn is_woken(&self) -> bool {
        !self.shared.wakes.is_empty()
    }

    /// Whether no connection is left.
    pub fn is_drained(&self) -> bool {
        self.core.borrow().lens().0 == 0
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("limits", &self.limits())
            .finish_non_exhaustive()
    }
}

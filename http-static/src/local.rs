//! What the connections of one thread share without locks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;

use crate::cache::{Age, Entry};
use crate::date::Dates;
use crate::http1::Spares;
use crate::io::READ_MAX;
use crate::server::Shared;
use crate::stats::Counters;

/// Paths one thread remembers. When full it forgets all and asks the shared cache again.
pub(crate) const HOT_MAX: usize = 4096;

/// The side of a thread that other threads may look at.
#[derive(Debug, Default)]
pub(crate) struct Thread {
    pub(crate) counters: Counters,
    /// Who polls each connection; for [`Server::drain`](crate::Server::drain).
    wakers: Mutex<HashMap<u64, Waker>>,
}

impl Thread {
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<_> = {
            let wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            wakers.values().cloned().collect()
        };
        for waker in wakers {
            waker.wake();
        }
    }

    pub(crate) fn enlist(&self, connection: u64, waker: Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.insert(connection, waker);
    }

    pub(crate) fn strike(&self, connection: u64) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        wakers.remove(&connection);
    }
}

/// One server's things of one thread.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) thread: Arc<Thread>,
    /// Entries by the path requests name them with. Weak, so that evicting one frees it. The
    /// paths come from peers, hence the keyed hash of the standard library.
    hot: RefCell<HashMap<Box<[u8]>, Weak<Entry>>>,
    scratch: RefCell<Vec<u8>>,
    connections: Cell<u64>,
    pub(crate) dates: Dates,
    pub(crate) spares: Spares,
}

thread_local! {
    static LOCALS: RefCell<Vec<(Weak<Shared>, Rc<Local>)>> = const { RefCell::new(Vec::new()) };
}

impl Local {
    /// This thread's part of `shared`.
    pub(crate) fn of(shared: &Arc<Shared>) -> Rc<Self> {
        LOCALS.with_borrow_mut(|locals| {
            let here = |server: &Weak<Shared>| server.as_ptr() == Arc::as_ptr(shared);
            if let Some((_, local)) = locals.iter().find(|(server, _)| here(server)) {
                return Rc::clone(local);
            }
            locals.retain(|(server, _)| server.strong_count() > 0);
            let local = Rc::new(Self {
                thread: shared.enlist_thread(),
                hot: RefCell::default(),
                scratch: RefCell::default(),
                connections: Cell::new(0),
                dates: Dates::default(),
                spares: Spares::default(),
            });
            locals.push((Arc::downgrade(shared), Rc::clone(&local)));
            local
        })
    }

    /// A number for a new connection.
    pub(crate) fn number(&self) -> u64 {
        self.connections.set(self.connections.get().wrapping_add(1));
        self.connections.get()
    }

    /// The fresh entry that `path` named before.
    pub(crate) fn recall(&self, path: &[u8], now_ms: u64) -> Option<(Arc<Entry>, Age)> {
        let entry = self.hot.borrow().get(path)?.upgrade()?;
        match entry.age(now_ms) {
            Age::Stale => None,
            age => Some((entry, age)),
        }
    }

    pub(crate) fn remember(&self, path: &[u8], entry: &Arc<Entry>) {
        let mut hot = self.hot.borrow_mut();
        if hot.len() >= HOT_MAX {
            hot.clear();
        }
        hot.insert(path.into(), Arc::downgrade(entry));
    }

    /// A buffer to read into, lent; one does for all connections of a thread.
    pub(crate) fn scratch(&self) -> Vec<u8> {
        let mut scratch = self.scratch.take();
        scratch.resize(READ_MAX, 0);
        scratch
    }

    pub(crate) fn return_scratch(&self, scratch: Vec<u8>) {
        self.scratch.replace(scratch);
    }
}

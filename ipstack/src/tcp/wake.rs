//! Wake-ups of connections, from this thread or another.

use crossbeam_queue::SegQueue;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};

use super::slab::Id;

/// Rings the worker's bell, so that it stops sleeping; called on other threads only.
pub type Notify = Arc<dyn Fn() + Send + Sync>;

/// Connections that asked to be polled. Bounded by the wakers in existence: each is in the queue at
/// most once.
pub(crate) struct WakeQueue {
    queue: SegQueue<Arc<FlowWaker>>,
    notify: Notify,
    /// The worker's thread needs no bell: it looks at the queue before it sleeps.
    worker: ThreadId,
}

impl WakeQueue {
    pub(crate) fn new(notify: Notify) -> Arc<Self> {
        Arc::new(Self {
            queue: SegQueue::new(),
            notify,
            worker: thread::current().id(),
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next connection to poll; possibly one that is gone.
    pub(crate) fn pop(&self) -> Option<Id> {
        let waker = self.queue.pop()?;
        // Cleared before the poll, so that a wake-up during it is not lost.
        waker.queued.store(false, Ordering::Release);
        Some(waker.id)
    }
}

impl fmt::Debug for WakeQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeQueue")
            .field("len", &self.queue.len())
            .finish_non_exhaustive()
    }
}

/// Wakes one connection.
struct FlowWaker {
    id: Id,
    queued: AtomicBool,
    wakes: Arc<WakeQueue>,
}

impl Wake for FlowWaker {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, Ordering::AcqRel) {
            return;
        }
        self.wakes.queue.push(Arc::clone(self));
        if thread::current().id() != self.wakes.worker {
            (self.wakes.notify)();
        }
    }
}

/// A waker for the connection `id`.
pub(crate) fn waker(id: Id, wakes: &Arc<WakeQueue>) -> Waker {
    Waker::from(Arc::new(FlowWaker {
        id,
        queued: AtomicBool::new(false),
        wakes: Arc::clone(wakes),
    }))
}

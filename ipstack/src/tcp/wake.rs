//! Wake-ups of connections, from this thread or another.

use std::fmt;
use std::sync::Arc;
use std::task::{Wake, Waker};

use super::slab::Id;
use crate::sync::{AtomicBool, Ordering, SegQueue, ThreadId, thread};

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
        // Cleared before the poll, so that a wake-up during it is not lost. Not a mere store: the
        // poll has to see what a wake-up did that came before and found it queued already.
        waker.queued.swap(false, Ordering::AcqRel);
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

#[cfg(all(test, feature = "loom"))]
mod every_order {
    use super::*;
    use loom::sync::atomic::AtomicUsize;

    /// What a wake-up is about, and the bell.
    #[derive(Default)]
    struct World {
        news: [AtomicUsize; 2],
        bell: AtomicUsize,
    }

    /// The worker's part: whatever is queued is polled; what the polls saw.
    fn poll_all(wakes: &WakeQueue, world: &World, seen: &mut [usize; 2]) {
        while let Some(id) = wakes.pop() {
            let index = usize::try_from(id.index).unwrap();
            seen[index] = world.news[index].load(Ordering::Relaxed);
        }
    }

    fn id(index: u32) -> Id {
        Id {
            index,
            generation: 0,
        }
    }

    #[test]
    fn no_wake_up_of_another_thread_is_lost() {
        loom::model(|| {
            let world = Arc::new(World::default());
            let bell = Arc::clone(&world);
            let wakes = WakeQueue::new(Arc::new(move || {
                bell.bell.fetch_add(1, Ordering::Relaxed);
            }));
            let waker = waker(id(0), &wakes);
            let other = {
                let (world, waker) = (Arc::clone(&world), waker.clone());
                thread::spawn(move || {
                    for news in 1..=2 {
                        world.news[0].store(news, Ordering::Relaxed);
                        waker.wake_by_ref();
                    }
                })
            };
            let mut seen = [0; 2];
            poll_all(&wakes, &world, &mut seen);
            poll_all(&wakes, &world, &mut seen);
            other.join().unwrap();
            poll_all(&wakes, &world, &mut seen);
            assert_eq!(seen[0], 2, "the last poll came before the last news");
            assert!(world.bell.load(Ordering::Relaxed) >= 1, "nobody rang");
        });
    }

    #[test]
    fn wakers_of_two_threads_are_each_queued_once_and_each_polled() {
        loom::model(|| {
            let world = Arc::new(World::default());
            let wakes = WakeQueue::new(Arc::new(|| ()));
            let others: Vec<_> = (0..2)
                .map(|index| {
                    let waker = waker(id(index), &wakes);
                    let world = Arc::clone(&world);
                    thread::spawn(move || {
                        let news = &world.news[usize::try_from(index).unwrap()];
                        news.store(1, Ordering::Relaxed);
                        waker.wake_by_ref();
                        waker.wake();
                    })
                })
                .collect();
            let mut seen = [0; 2];
            poll_all(&wakes, &world, &mut seen);
            for other in others {
                other.join().unwrap();
            }
            assert!(wakes.queue.len() <= 2);
            poll_all(&wakes, &world, &mut seen);
            assert_eq!((seen, wakes.is_empty()), ([1; 2], true));
        });
    }
}

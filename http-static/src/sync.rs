//! What threads share: as the standard library and crossbeam have it, or, for the models
//! (feature `loom`), as loom has it, which runs every order that the memory model allows.

#[cfg(not(all(test, feature = "loom")))]
pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};

/// crossbeam's channel is its own matter: here it is one that does what it promises.
#[cfg(all(test, feature = "loom"))]
mod channel {
    use std::collections::VecDeque;
    use std::sync::{Arc, PoisonError};

    use loom::sync::{Condvar, Mutex};

    #[derive(Debug)]
    struct Channel<T> {
        /// What was sent, and whether more can come.
        queue: Mutex<(VecDeque<T>, bool)>,
        sent: Condvar,
    }

    #[derive(Debug)]
    pub(crate) struct Sender<T>(Arc<Channel<T>>);

    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Channel<T>>);

    pub(crate) fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
        let channel = Arc::new(Channel {
            queue: Mutex::new((VecDeque::new(), true)),
            sent: Condvar::new(),
        });
        (Sender(Arc::clone(&channel)), Receiver(channel))
    }

    impl<T> Sender<T> {
        pub(crate) fn send(&self, item: T) -> Result<(), T> {
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.0.push_back(item);
            self.0.sent.notify_one();
            Ok(())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.1 = false;
            self.0.sent.notify_all();
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    impl<T> Iterator for &Receiver<T> {
        type Item = T;

        fn next(&mut self) -> Option<T> {
            let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(item) = queue.0.pop_front() {
                    return Some(item);
                }
                if !queue.1 {
                    return None;
                }
                queue = self
                    .0
                    .sent
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

#[cfg(all(test, feature = "loom"))]
pub(crate) use channel::{Receiver, Sender, unbounded};

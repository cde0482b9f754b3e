//! What threads share: as the standard library and crossbeam have it, or, for the models
//! (feature `loom`), as loom has it, which runs every order that the memory model allows.

#[cfg(not(all(test, feature = "loom")))]
pub(crate) use crossbeam_queue::SegQueue;
#[cfg(not(all(test, feature = "loom")))]
pub(crate) use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ThreadId},
};

#[cfg(all(test, feature = "loom"))]
pub(crate) use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, ThreadId},
};

/// crossbeam's queue is its own matter: here it is one that does what it promises.
#[cfg(all(test, feature = "loom"))]
pub(crate) struct SegQueue<T>(loom::sync::Mutex<std::collections::VecDeque<T>>);

#[cfg(all(test, feature = "loom"))]
impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Mutex::new(std::collections::VecDeque::new()))
    }

    fn queue(&self) -> loom::sync::MutexGuard<'_, std::collections::VecDeque<T>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn push(&self, item: T) {
        self.queue().push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().len()
    }
}

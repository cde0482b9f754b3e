//! Trace and capture as the graph's one observer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use af_packet::AfPacketInput;
use dataplane::{Frame, Node as _, Observer};
use vlan::SharedSubInterfaces;

use crate::capture::Tap;
use crate::trace::Trace;

/// Who watches the packets of one worker. Clones share it: the worker has one, and gives the graph
/// one while there is something to see.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Packets node by node.
    pub trace: Trace,
    tap: Rc<RefCell<Option<Box<Tap>>>>,
    sub_interfaces: SharedSubInterfaces,
    /// Whether [`Self::trace`] follows or picks packets.
    tracing: bool,
}

impl Watch {
    /// Nobody yet; traced times count from `origin`.
    pub fn new(origin: Instant, sub_interfaces: SharedSubInterfaces) -> Self {
        Self {
            trace: Trace::new(origin),
            tap: Rc::default(),
            sub_interfaces,
            tracing: false,
        }
    }

    /// What the graph is to be given now; `None`: nobody watches.
    pub fn observer(&self) -> Option<Box<dyn Observer>> {
        let tracing = self.trace.is_wanted();
        let wanted = tracing || self.tap.borrow().is_some();
        wanted.then(|| {
            let mut watch = self.clone();
            watch.tracing = tracing;
            Box::new(watch) as Box<dyn Observer>
        })
    }

    /// Captures by `tap` from now on, in place of the one before.
    pub fn capture(&self, tap: Option<Box<Tap>>) {
        self.settle();
        *self.tap.borrow_mut() = tap;
    }

    /// To be called after each turn: hands over what was captured. `false` when the observer the
    /// graph has sees nothing any more.
    pub fn settle(&self) -> bool {
        let mut tap = self.tap.borrow_mut();
        if let Some(tap) = tap.as_deref_mut() {
            tap.settle();
        }
        if tap.as_deref().is_some_and(|tap| !tap.is_wanted()) {
            *tap = None;
        }
        tap.is_some() || self.trace.is_wanted()
    }
}

impl Observer for Watch {
    fn arrive(&mut self, node: &'static str, now: Duration, frame: &mut Frame<'_>) {
        if self.tracing {
            self.trace.arrive(node, now, frame);
        }
        if node == AfPacketInput::NAME
            && let Some(tap) = self.tap.borrow_mut().as_deref_mut()
        {
            tap.received(frame, &self.sub_interfaces.borrow());
        }
    }

    fn dropped(
        &mut self,
        node: &'static str,
        reason: &'static str,
        now: Duration,
        frame: &Frame<'_>,
    ) {
        if self.tracing {
            self.trace.dropped(node, reason, now, frame);
        }
        if let Some(tap) = self.tap.borrow_mut().as_deref_mut() {
            tap.dropped(node, reason, frame);
        }
    }

    fn transmitted(&mut self, now: Duration, frame: &Frame<'_>) {
        if self.tracing {
            self.trace.transmitted(now, frame);
        }
        if let Some(tap) = self.tap.borrow_mut().as_deref_mut() {
            tap.transmitted(frame);
        }
    }

    fn refused(&mut self) {
        if self.tracing {
            self.trace.refused();
        }
        if let Some(tap) = self.tap.borrow_mut().as_deref_mut() {
            tap.refused();
        }
    }
}

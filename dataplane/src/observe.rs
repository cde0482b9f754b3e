//! The seam for packet trace and capture: sees frames where the graph moves them.
//!
//! A graph without an observer pays one untaken branch per batch and none per frame.

use std::time::Duration;

use crate::frame::Frame;

/// Sees every frame at every node. Runs on the packet path: no locks, no system calls.
pub trait Observer {
    /// `frame` is about to be given to `node` (its name) at `now`. Setting `frame.meta.trace`
    /// marks it for later calls.
    fn arrive(&mut self, node: &'static str, now: Duration, frame: &mut Frame<'_>);

    /// `node` drops `frame` for `reason`.
    fn dropped(
        &mut self,
        node: &'static str,
        reason: &'static str,
        now: Duration,
        frame: &Frame<'_>,
    );

    /// `frame`, as it will be on the wire, is handed to the port.
    fn transmitted(&mut self, now: Duration, frame: &Frame<'_>);

    /// The port had no room for the frame shown to [`Self::transmitted`] last: it was not
    /// transmitted after all.
    fn refused(&mut self) {}
}

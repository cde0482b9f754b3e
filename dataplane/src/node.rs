//! A node: one step on a packet's way.

use std::time::Duration;

use crate::batch::Batch;
use crate::label::Label;
use crate::outlets::Outlets;

/// One step on a packet's way.
///
/// A packet never yields an error: it is sent along an arc, dropped for a reason, transmitted, or
/// consumed. `process` and `on_timer` do not allocate per frame, lock, log, make system calls or
/// read a clock.
pub trait Node {
    /// The node's name, in counters, drawings, traces and its file's name: `dot1q-demux`.
    const NAME: &'static str;
    /// Where frames can go.
    type Next: Label;
    /// Why frames can die here.
    type Drop: Label;

    /// Empties `batch`. `now` is monotonic, from an origin of the caller's choice.
    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Self::Next, Self::Drop>,
    );

    /// When [`Self::on_timer`] has work; at or before `now` means at once, `None` never. Read
    /// after every turn, so it must be cheap.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Work no frame triggers: retransmission, announcement, ageing. Bounded: what is left over
    /// stays due.
    fn on_timer(&mut self, now: Duration, out: &mut Outlets<'_, '_, Self::Next, Self::Drop>) {
        let _ = (now, out);
    }
}

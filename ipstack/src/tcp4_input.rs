//! `tcp4-input`: TCP, from segments to byte streams and back.
//!
//! - Takes: IPv4 packets for us that carry TCP, checked by `ip4-input`, also super-segments up to
//!   64 KB; the checksum is verified here when nobody has vouched for it.
//! - Sends: `ip4-lookup`: segments, acknowledgements, resets; as super-segments when the port
//!   splits them.
//! - Drops: `truncated`, `nonsense`, `not-unicast`, `bad-checksum`, `no-listener`,
//!   `no-connection`, `refused`, `no-memory`, `blind-reset`, `syn-on-connection`,
//!   `unacceptable-ack`, `out-of-window`, `old-duplicate`.
//! - Spec: RFC 9293; RFC 5961 (blind attacks), RFC 6528 (sequence numbers), RFC 4987 (SYN floods),
//!   RFC 6191 (TIME-WAIT).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use dataplane::{BATCH_MAX, Batch, Node, Outlets};

use crate::tcp::{Core, Staged, Tcp, serve};

/// TCP, from segments to byte streams and back.
#[derive(Debug)]
pub struct Tcp4Input {
    core: Rc<RefCell<Core>>,
    /// The batch, read; kept for its memory.
    staged: Vec<Result<Staged, Tcp4InputDrop>>,
}

dataplane::labels! {
    /// Where `tcp4-input` sends.
    pub enum Tcp4InputNext {
        /// Packets of ours, to be routed.
        Ip4Lookup = "ip4-lookup",
    }
}

dataplane::labels! {
    /// Why `tcp4-input` drops.
    pub enum Tcp4InputDrop {
        /// Shorter than its headers.
        Truncated = "truncated",
        /// Contradicting flags, no ACK where there must be one, or port 0.
        Nonsense = "nonsense",
        /// From or to a group, or sent to one by Ethernet.
        NotUnicast = "not-unicast",
        /// The checksum is wrong.
        BadChecksum = "bad-checksum",
        /// Nobody listens there; answered with a reset.
        NoListener = "no-listener",
        /// Of no connection; answered with a reset unless it is one.
        NoConnection = "no-connection",
        /// Too many connections; answered with a reset.
        Refused = "refused",
        /// No memory for the connection's buffers; the peer will send again.
        NoMemory = "no-memory",
        /// A reset beside the expected sequence number.
        BlindReset = "blind-reset",
        /// A SYN where there is a connection.
        SynOnConnection = "syn-on-connection",
        /// Acknowledges what was never sent, or long ago.
        UnacceptableAck = "unacceptable-ack",
        /// Outside of the window of a connection that is being opened.
        OutOfWindow = "out-of-window",
        /// An old empty segment.
        OldDuplicate = "old-duplicate",
    }
}

impl Tcp4Input {
    /// The node of `tcp`; there is one.
    pub fn new(tcp: &Tcp) -> Self {
        Self {
            core: Rc::clone(&tcp.core),
            staged: Vec::with_capacity(BATCH_MAX),
        }
    }
}

impl Node for Tcp4Input {
    const NAME: &'static str = "tcp4-input";
    type Next = Tcp4InputNext;
    type Drop = Tcp4InputDrop;

    fn process<'block>(
        &mut self,
        now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Tcp4InputNext, Tcp4InputDrop>,
    ) {
        {
            let mut core = self.core.borrow_mut();
            core.begin_turn(now);
            self.staged.clear();
            self.staged
                .extend(batch.iter().map(|frame| core.stage(frame)));
            let version = core.look_up(&mut self.staged);
            for (frame, staged) in batch.drain().zip(&self.staged) {
                core.input(staged, frame, version, now, out);
            }
        }
        serve(&self.core, now, out);
    }

    fn deadline(&self) -> Option<Duration> {
        self.core.borrow().deadline()
    }

    fn on_timer(&mut self, now: Duration, out: &mut Outlets<'_, '_, Tcp4InputNext, Tcp4InputDrop>) {
        {
            let mut core = self.core.borrow_mut();
            core.begin_turn(now);
            core.timers(now, out);
        }
        serve(&self.core, now, out);
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! `ping`: a command that takes its time, so it is looked at again and again between others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ipstack::ping::{Event, Happened, Order};

use super::operator::Reply;
use crate::controller::{self, Controller};
use crate::notify::Notify;

/// Requests one command sends at most.
pub const REPEAT_MAX: u16 = 10_000;

/// Octets of data, VPP's default.
pub const SIZE_DEFAULT: usize = 60;

/// How long the last answers are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom to ask.
    pub destination: Ipv4Addr,
    /// How often, 1 to [`REPEAT_MAX`].
    pub repeat: u16,
    /// Octets of data.
    pub size: usize,
    /// Between two requests.
    pub interval: Duration,
}

/// A ping under way. Ends when dropped.
#[derive(Debug)]
pub struct Ping {
    request: Request,
    identifier: u16,
    controller: Controller,
    events: Receiver<(Instant, Event)>,
    tell: Sender<(Instant, Event)>,
    listener: Notify,
    /// Requests ordered.
    asked: u16,
    /// When the next is due, or when waiting is over.
    next: Instant,
    /// When each was sent, until it is answered.
    sent_at: BTreeMap<u16, Instant>,
    sent: u16,
    received: u16,
}

impl Ping {
    /// Begins now; `listener` is rung when there is something to look at.
    pub fn begin(
        request: Request,
        identifier: u16,
        controller: Controller,
        listener: Notify,
    ) -> Self {
        let (tell, events) = unbounded();
        Self {
            request,
            identifier,
            controller,
            events,
            tell,
            listener,
            asked: 0,
            next: Instant::now(),
            sent_at: BTreeMap::new(),
            sent: 0,
            received: 0,
        }
    }

    /// When to look again at the latest.
    pub fn deadline(&self) -> Instant {
        self.next
    }

    /// What there is to print at `now`, and the end of the answer once it is over.
    pub fn look(&mut self, now: Instant) -> (String, Option<Reply>) {
        let mut text = String::new();
        while let Ok((at, event)) = self.events.try_recv() {
            self.happened(at, event, &mut text);
        }
        if self.asked == self.request.repeat && (self.received == self.asked || self.next <= now) {
            return (text, Some(self.summary()));
        }
        if self.asked < self.request.repeat && self.next <= now {
            self.asked += 1;
            self.controller.ping(controller::Ping {
                order: Order {
                    destination: self.request.destination,
                    identifier: self.identifier,
                    sequence: self.asked,
                    data_len: self.request.size,
                },
                events: self.tell.clone(),
                listener: self.listener.clone(),
            });
            let last = self.asked == self.request.repeat;
            self.next = now
                + if last {
                    LAST_WAIT
                } else {
                    self.request.interval
                };
        }
        (text, None)
    }

    fn happened(&mut self, at: Instant, event: Event, text: &mut String) {
        match event.what {
            Happened::Sent => {
                self.sent = self.sent.saturating_add(1);
                self.sent_at.insert(event.sequence, at);
            }
            Happened::NoRoute => {
                let _ = writeln!(text, "Failed: no route to {}", self.request.destination);
            }
            Happened::NoRoom => text.push_str("Failed: the transmit ring is full\n"),
            Happened::Answered {
                source,
                ttl,
                octets,
            } => {
                // A second answer to the same request is not counted.
                let Some(sent) = self.sent_at.remove(&event.sequence) else {
                    return;
                };
                self.received = self.received.saturating_add(1);
                let time = at.saturating_duration_since(sent).as_secs_f64() * 1e3;
                let _ = writeln!(
                    text,
                    "{octets} bytes from {source}: icmp_seq={} ttl={ttl} time={time:.4} ms",
                    event.sequence
                );
            }
        }
    }

    /// How it went; to be said when it is over or interrupted.
    pub fn summary(&self) -> Reply {
        let lost = f64::from(self.sent - self.received.min(self.sent)) * 100.0;
        let percent = if self.sent == 0 {
            100.0
        } else {
            lost / f64::from(self.sent)
        };
        Reply {
            text: format!(
                "\nStatistics: {} sent, {} received, {percent:.0}% packet loss\n",
                self.sent, self.received
            ),
            failed: self.received == 0,
            quit: false,
        }
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        self.controller.end_ping(self.identifier);
    }
}

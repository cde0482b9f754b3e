//! What peers tell of themselves in ARP, for the neighbour tables of other workers.
//!
//! The kernel hands an ARP packet to one of the workers that share an interface, most often the
//! same one, while packets for the neighbour it tells about may leave by any. So whoever hears it
//! tells the others, who learn from it what they would have learned themselves: a request makes a
//! neighbour, an announcement changes a known one, an answer counts only where it was asked for.
//!
//! At most [`HEARD_MAX`] wait to be told; past that they are not told, and the others ask for the
//! neighbour themselves when they need it.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use dataplane::{IfIndex, MacAddr};

use crate::neighbors::Neighbors;

/// How many wait to be told to other workers at most.
pub const HEARD_MAX: usize = 256;

/// A peer's address, as it told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The interface it was heard on.
    pub interface: IfIndex,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// In which kind of packet.
    pub told: Told,
}

/// The kinds of ARP packet in which a peer tells its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A request for an address of ours.
    Request,
    /// A gratuitous packet: an announcement to everybody.
    Announcement,
    /// A reply to us.
    Answer,
}

impl Heard {
    /// Lets `neighbors` learn from it. `false` when there is no room for it, or when it is no news
    /// to a table that neither knows nor asked.
    pub(crate) fn teach(self, now: Duration, neighbors: &mut Neighbors) -> bool {
        let Self {
            interface,
            address,
            mac,
            told,
        } = self;
        match told {
            Told::Request => neighbors.learn_from_request(now, interface, address, mac),
            Told::Announcement => neighbors.update_known(now, interface, address, mac),
            Told::Answer => neighbors.learn_from_answer(now, interface, address, mac),
        }
    }
}

/// What waits to be told to other workers, at most `MAX`.
pub(crate) struct News<T, const MAX: usize> {
    /// `None` while nobody else wants to know.
    kept: Option<Vec<T>>,
}

impl<T, const MAX: usize> News<T, MAX> {
    pub(crate) fn keep(&mut self) {
        self.kept.get_or_insert_with(|| Vec::with_capacity(MAX));
    }

    pub(crate) fn note(&mut self, news: T) {
        if let Some(kept) = &mut self.kept
            && kept.len() < MAX
        {
            kept.push(news);
        }
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.kept.iter_mut().flat_map(|kept| kept.drain(..))
    }
}

impl<T, const MAX: usize> Default for News<T, MAX> {
    fn default() -> Self {
        Self { kept: None }
    }
}

impl<T, const MAX: usize> fmt::Debug for News<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.kept.as_ref().map(Vec::len);
        f.debug_struct("News").field("waiting", &waiting).finish()
    }
}

/// What peers told of themselves.
pub(crate) type HeardLog = News<Heard, HEARD_MAX>;

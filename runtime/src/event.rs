//! What a running dataplane tells its owner.

use std::fmt;
use std::net::Ipv4Addr;

use dataplane::MacAddr;

/// What a caller may want to know while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The interface does not exist or is down; it is waited for. A sentence.
    Waiting(String),
    /// Everything that is configured serves. Said once.
    Ready(Vec<Endpoint>),
    /// Something an operator should know. A sentence.
    Notice(String),
    /// A worker died, and everything with it. A sentence.
    Died(String),
}

/// Where a server can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// The TCP port.
    pub port: u16,
    /// The interface that has the address: `host-macvlan0.123`.
    pub interface: String,
    /// Its Ethernet address.
    pub mac: MacAddr,
}

impl fmt::Display for Endpoint {
    /// `http://192.168.123.150/ on host-macvlan0.123 (c6:b4:b5:74:11:88)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.address)?;
        if self.port != 80 {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/ on {} ({})", self.interface, self.mac)
    }
}

//! Why sockets cannot be opened or a link not be attached; each a sentence with its fix.

use std::{error, fmt, io};

/// Sockets that cannot be opened, or rings that cannot be mapped.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// `socket()` was refused.
    NoCapability {
        /// For which interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel has no packet sockets.
    NoPacketSockets {
        /// For which interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A descriptor handed over is not what it should be.
    NotPacketSocket {
        /// For which interface.
        interface: String,
    },
    /// The options ask for what cannot be.
    Options(&'static str),
    /// A ring needs more memory than there is in pieces of the block's size.
    NoMemory {
        /// For which interface.
        interface: String,
        /// Octets asked for.
        octets: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another step failed.
    Step {
        /// For which interface.
        interface: String,
        /// Which.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapability { interface, .. } => {
                write!(f, "{interface}: opening the ring needs CAP_NET_RAW")
            }
            Self::NoPacketSockets { interface, .. } => write!(
                f,
                "{interface}: this kernel has no packet sockets; use one with CONFIG_PACKET"
            ),
            Self::NotPacketSocket { interface } => write!(
                f,
                "{interface}: a descriptor handed over is no raw AF_PACKET socket; \
                 open it as socket(AF_PACKET, SOCK_RAW, 0)"
            ),
            Self::Options(why) => write!(f, "ring options: {why}"),
            Self::NoMemory {
                interface, octets, ..
            } => write!(
                f,
                "{interface}: no memory for a ring of {octets} octets; ask for fewer or smaller \
                 blocks"
            ),
            Self::Step {
                interface,
                step,
                source,
            } => write!(f, "{interface}: {step} failed: {source}"),
        }
    }
}

impl error::Error for OpenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::NoCapability { source, .. }
            | Self::NoPacketSockets { source, .. }
            | Self::NoMemory { source, .. }
            | Self::Step { source, .. } => Some(source),
            Self::NotPacketSocket { .. } | Self::Options(_) => None,
        }
    }
}

/// A link that cannot be attached. The device stays as it was, or unattached; trying again is
/// allowed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// It went away since its index was read.
    Gone {
        /// The interface.
        interface: String,
    },
    /// Its frames have no Ethernet header.
    NotEthernet {
        /// The interface.
        interface: String,
    },
    /// The fanout group cannot be joined.
    Fanout {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A fanout member cannot be bound again, and no spare sockets are left.
    NoSpares {
        /// The interface.
        interface: String,
    },
    /// The spare's ring cannot be mapped.
    Open(OpenError),
    /// Another step failed.
    Step {
        /// The interface.
        interface: String,
        /// Which.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { interface } => {
                write!(
                    f,
                    "{interface}: no such interface any more; wait for it to come back"
                )
            }
            Self::NotEthernet { interface } => {
                write!(f, "{interface}: not an Ethernet interface; use one that is")
            }
            Self::Fanout { interface, source } => write!(
                f,
                "{interface}: joining the fanout group failed: {source}; set the interface up \
                 first"
            ),
            Self::NoSpares { interface } => write!(
                f,
                "{interface}: no spare sockets left for the fanout group; restart, or open more \
                 spares"
            ),
            Self::Open(source) => source.fmt(f),
            Self::Step {
                interface,
                step,
                source,
            } => write!(f, "{interface}: {step} failed: {source}"),
        }
    }
}

impl error::Error for AttachError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Fanout { source, .. } | Self::Step { source, .. } => Some(source),
            Self::Open(source) => source.source(),
            Self::Gone { .. } | Self::NotEthernet { .. } | Self::NoSpares { .. } => None,
        }
    }
}

/// A link whose state cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// There is none of this name.
    NoSuchInterface {
        /// The name.
        interface: String,
    },
    /// The name is empty or longer than 15 octets.
    BadName {
        /// The name.
        interface: String,
    },
    /// The kernel did not answer, or nothing that makes sense.
    Netlink {
        /// What was being done.
        step: &'static str,
        /// What went wrong.
        source: io::Error,
    },
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchInterface { interface } => write!(
                f,
                "{interface}: no such interface here; create it or correct the name"
            ),
            Self::BadName { interface } => write!(
                f,
                "`{interface}`: an interface name has 1 to 15 octets, none of them `/` or blank"
            ),
            Self::Netlink { step, source } => write!(f, "netlink: {step} failed: {source}"),
        }
    }
}

impl error::Error for LinkError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Netlink { source, .. } => Some(source),
            Self::NoSuchInterface { .. } | Self::BadName { .. } => None,
        }
    }
}

//! Who takes new connections.

use std::cell::RefCell;
use std::fmt;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::rc::Rc;

use crate::stream::TcpStream;

/// What becomes of one connection: polled by its worker until it is done. When it ends, a stream
/// it still holds is closed; when it panics, the connection is reset.
pub type Connection = Pin<Box<dyn Future<Output = ()>>>;

/// Takes the connections of a listening port.
pub trait Service {
    /// A connection was opened. Returns the future that serves it; work belongs there, not here.
    fn accept(&mut self, stream: TcpStream) -> Connection;

    /// The worker shuts down: finish what is being served and take nothing new on connections
    /// that live. Each of them is polled once afterwards.
    fn drain(&mut self) {}
}

/// A service as the worker keeps it.
pub(crate) type SharedService = Rc<RefCell<dyn Service>>;

/// Why a port cannot be listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// Port 0 stands for no port.
    PortZero,
    /// Somebody listens there, on this address or on all.
    InUse {
        /// The address; unspecified for all.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// As many ports as the configuration allows are listened on.
    TooMany {
        /// That number.
        max: usize,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortZero => f.write_str("port 0 cannot be listened on; choose 1 to 65535"),
            Self::InUse { address, port } => {
                write!(
                    f,
                    "{address}:{port} is listened on already; choose another port"
                )
            }
            Self::TooMany { max } => {
                write!(f, "{max} ports are listened on already, the most allowed")
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// A listening port.
pub(crate) struct Listener {
    /// Unspecified: any of ours.
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) service: SharedService,
}

/// All listening ports; few, so a list.
#[derive(Default)]
pub(crate) struct Listeners {
    list: Vec<Listener>,
}

impl Listeners {
    pub(crate) fn add(&mut self, listener: Listener, max: usize) -> Result<(), ListenError> {
        let Listener { address, port, .. } = listener;
        if port == 0 {
            return Err(ListenError::PortZero);
        }
        if self
            .list
            .iter()
            .any(|other| other.port == port && other.address == address)
        {
            return Err(ListenError::InUse { address, port });
        }
        if self.list.len() >= max {
            return Err(ListenError::TooMany { max });
        }
        self.list.push(listener);
        Ok(())
    }

    pub(crate) fn remove(&mut self, address: Ipv4Addr, port: u16) -> Option<Listener> {
        let at = self
            .list
            .iter()
            .position(|listener| listener.address == address && listener.port == port)?;
        Some(self.list.swap_remove(at))
    }

    /// The service for `address` and `port`: the one of that address before that of all.
    pub(crate) fn find(&self, address: Ipv4Addr, port: u16) -> Option<&SharedService> {
        let on_port = || self.list.iter().filter(|listener| listener.port == port);
        on_port()
            .find(|listener| listener.address == address)
            .or_else(|| on_port().find(|listener| listener.address.is_unspecified()))
            .map(|listener| &listener.service)
    }

    pub(crate) fn services(&self) -> Vec<SharedService> {
        self.list
            .iter()
            .map(|listener| Rc::clone(&listener.service))
            .collect()
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.list.iter().map(|l| (l.address, l.port)))
            .finish()
    }
}

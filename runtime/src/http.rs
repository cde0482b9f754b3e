//! Joins TCP's connections to the HTTP server.

use ipstack::stream::TcpStream;
use ipstack::tcp::{Connection, Service};

use crate::timers::Timers;

/// Serves each connection of a listening port with a shared [`http_static::Server`].
#[derive(Debug)]
pub struct HttpService {
    server: http_static::Server,
    timers: Timers,
}

impl HttpService {
    /// Connections are served by `server`, with the worker's `timers`.
    pub fn new(server: http_static::Server, timers: Timers) -> Self {
        Self { server, timers }
    }
}

impl Service for HttpService {
    fn accept(&mut self, stream: TcpStream) -> Connection {
        let peer = stream.peer_addr().into();
        Box::pin(self.server.serve(stream, peer, self.timers.clone()))
    }

    fn drain(&mut self) {
        self.server.drain();
    }
}

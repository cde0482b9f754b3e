//! Metrics for Prometheus, served as text on a socket of the kernel's.
//!
//! [`Listener::bind`] takes the address, [`Server::start`] serves it on a thread of its own. It asks
//! the workers what `show` commands ask them, at most once in [`PAGE_AGE_MAX`], and shares nothing
//! else with them, so that no client of it delays a packet.

mod exchange;
mod families;
mod server;

pub use families::{Family, Sources};
pub use server::{
    CONNECTIONS_MAX, EXCHANGE_MAX, HEAD_MAX, Listener, MetricsError, PAGE_AGE_MAX, Server,
};

#[cfg(test)]
mod tests;

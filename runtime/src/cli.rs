//! The operator's side: VPP's commands on a socket.
//!
//! - [`command`]: the words, by [`crate::words`]; [`operator`]: what each command does.
//! - `interfaces`, `hardware`, `nodes`, `ip`, `session`, `http`, `system`, `trace`: one family of `show`
//!   commands each. A family collects rows from a [`Snapshot`](crate::snapshot::Snapshot); rows
//!   print themselves as VPP does ([`std::fmt::Display`]) or as JSON ([`serde::Serialize`]).
//! - [`listen`]: where the socket is; [`server`]: the one thread that serves it; [`client`]: one
//!   connection, as octets in and octets out; [`telnet`], [`editor`]: its two layers.

pub mod client;
pub mod command;
pub mod editor;
pub mod hardware;
pub mod http;
pub mod interfaces;
pub mod ip;
pub mod listen;
pub mod nodes;
pub mod operator;
pub mod pcap;
pub mod ping;
pub mod server;
pub mod session;
pub mod system;
pub mod table;
pub mod telnet;
pub mod trace;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod golden;

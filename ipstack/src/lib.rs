//! ARP, IPv4, ICMP and TCP as graph nodes, with byte streams on top.
//!
//! Files are in the order a packet meets them.
#![forbid(unsafe_code)]

mod smoltcp;
pub mod stream;
pub mod tcp;
pub mod tcp4_error;
pub mod tcp4_input;

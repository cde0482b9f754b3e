//! ARP, IPv4, ICMP and TCP as graph nodes, with byte streams on top.
//!
//! Files are in the order a packet meets them.
#![forbid(unsafe_code)]

//! ARP, IPv4, ICMP and TCP as graph nodes, with byte streams on top.
//!
//! Files are in the order a packet meets them. Frames that arrive begin at the ARP or IPv4 header;
//! frames on their way out begin at the IPv4 header until `ip4-rewrite` puts the Ethernet header in
//! front.
//!
//! ```text
//! ethernet-input-type -> arp-input ------------------------------------------> dot1q-push
//!                     -> ip4-input -> ip4-full-reassembly
//!                          -> ip4-icmp-input [-> ping], tcp4-input, udp4-input, ip4-icmp-error
//!                               -> ip4-lookup [-> ip4-frag] -> ip4-rewrite --> dot1q-push
//! ```
//!
//! ```
//! use dataplane::testing::Harness;
//! use dataplane::{IfIndex, Interface, Interfaces, MacAddr};
//! use ipstack::{ArpInput, Tables};
//!
//! let vlan = IfIndex(1);
//! let interfaces = Interfaces::shared();
//! let mac = MacAddr([2, 0, 0, 0, 0, 1]);
//! let name = "host-macvlan0.123".to_owned();
//! interfaces.borrow_mut().set(vlan, Interface { name, mac, mtu: 1500, up: true });
//! let tables = Tables::new(interfaces);
//! tables.add_address(vlan, "192.168.123.150/24".parse()?)?;
//!
//! // 192.168.123.1 asks who has 192.168.123.150.
//! let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
//! request.extend([2, 0, 0, 0, 0, 2, 192, 168, 123, 1]);
//! request.extend([0, 0, 0, 0, 0, 0, 192, 168, 123, 150]);
//! let mut harness = Harness::new(ArpInput::new(&tables));
//! harness.input(&request, |meta| {
//!     meta.interface = vlan;
//!     meta.source = MacAddr([2, 0, 0, 0, 0, 2]);
//! });
//! let answer = harness.run().sent.swap_remove(0).frame; // an announcement of the address follows
//! assert_eq!(answer.octets[..6], [2, 0, 0, 0, 0, 2]); // to who asked
//! assert_eq!(answer.octets[20..32], [0, 2, 2, 0, 0, 0, 0, 1, 192, 168, 123, 150]); // we have it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The nodes share [`Tables`]: addresses, routes, neighbours, changed while they run.
#![forbid(unsafe_code)]

pub mod addresses;
pub(crate) mod arp;
pub mod arp_input;
pub mod fib;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod heard;
pub mod ip4;
pub mod ip4_frag;
pub mod ip4_full_reassembly;
pub mod ip4_icmp_error;
pub mod ip4_icmp_input;
pub mod ip4_input;
pub mod ip4_lookup;
pub mod ip4_rewrite;
pub mod neighbors;
pub mod ping;
mod smoltcp;
pub mod stream;
pub mod tables;
pub mod tcp;
pub mod tcp4_error;
pub mod tcp4_input;
pub mod token_bucket;
pub mod udp4_input;

#[cfg(test)]
mod testing;

pub use addresses::{Addresses, InterfaceAddress, Prefix, PrefixError};
pub use arp_input::ArpInput;
pub use fib::{Fib, Hop, Route};
pub use ip4_frag::Ip4Frag;
pub use ip4_full_reassembly::Ip4FullReassembly;
pub use ip4_icmp_error::Ip4IcmpError;
pub use ip4_icmp_input::Ip4IcmpInput;
pub use ip4_input::Ip4Input;
pub use ip4_lookup::Ip4Lookup;
pub use ip4_rewrite::Ip4Rewrite;
pub use neighbors::{Neighbor, NeighborState, Neighbors};
pub use ping::{Ping, Pinger};
pub use tables::{TableError, Tables};
pub use udp4_input::Udp4Input;

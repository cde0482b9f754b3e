//! 802.1Q and 802.1ad sub-interfaces as graph nodes.
//!
//! ```text
//! ethernet-input --tagged/untagged--> dot1q-demux --> the stack, interface = sub-interface
//!                 the stack --> dot1q-push --> af-packet-output, tags inline again
//! ```
//!
//! ```
//! use dataplane::testing::Harness;
//! use dataplane::{EtherType, IfIndex, Interface, Interfaces, MacAddr, Tag};
//! use vlan::{Dot1qDemux, Match, SubInterfaces, VlanId};
//!
//! let (port, sub) = (IfIndex(0), IfIndex(1)); // host-macvlan0 and host-macvlan0.123
//! let (interfaces, table) = (Interfaces::shared(), SubInterfaces::shared());
//! for (index, name) in [(port, "host-macvlan0"), (sub, "host-macvlan0.123")] {
//!     let mac = MacAddr([2, 0, 0, 0, 0, 1]);
//!     interfaces.borrow_mut().set(index, Interface { name: name.into(), mac, mtu: 1500, up: true });
//! }
//! table.borrow_mut().add_port(port)?;
//! table.borrow_mut().add(port, sub, Match::dot1q(VlanId::new(123)?))?;
//!
//! let mut harness = Harness::new(Dot1qDemux::new(interfaces, table));
//! for vid in [123, 124] {
//!     let tag = Tag { tpid: EtherType::CTAG, tci: vid };
//!     harness.input(&[0; 46], |meta| assert!(meta.tags.push(tag)));
//! }
//! let outcome = harness.run();
//! assert_eq!(outcome.sent[0].frame.meta.interface, sub);
//! assert_eq!(outcome.drops(), [("unknown-vid", 1)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`tag`]: VLAN identifiers and what a sub-interface matches.
//! - [`sub_interfaces`]: the table both nodes share, changed while they run.
//! - [`dot1q_demux`], [`dot1q_push`]: the nodes.
#![forbid(unsafe_code)]

pub mod dot1q_demux;
pub mod dot1q_push;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod sub_interfaces;
pub mod tag;

pub use dot1q_demux::Dot1qDemux;
pub use dot1q_push::Dot1qPush;
pub use sub_interfaces::{SharedSubInterfaces, SubInterfaceError, SubInterfaces};
pub use tag::{Match, OuterTag, Tpid, VlanId, VlanIdError};

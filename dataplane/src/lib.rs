//! The contract of the packet graph: what a frame is, what a node may do with it, and how nodes
//! are wired.
//!
//! A driver hands batches of [`Frame`]s to a [`Graph`]; the graph carries them from node to node
//! along typed arcs until every frame is transmitted, dropped for a named reason, or consumed.
//! This crate does no I/O and reads no clock: time, memory and the wire come from outside, through
//! [`Graph::turn`] and the [`Port`] trait, so every node can be tested with octets alone.
//!
//! A node is tested alone, octets in, arcs and counters out, and wired by its arcs:
//!
//! ```
//! use dataplane::ethernet_input_type::EthernetInputTypeNext;
//! use dataplane::testing::Harness;
//! use dataplane::{BuildError, ErrorDrop, EtherType, EthernetInputType, GraphBuilder};
//!
//! let mut harness = Harness::new(EthernetInputType);
//! harness.input(&[0; 46], |meta| meta.ether_type = EtherType::ARP);
//! harness.input(&[0; 46], |meta| meta.ether_type = EtherType(0x1234));
//! let outcome = harness.run();
//! assert_eq!(outcome.arcs(), ["arp"]);
//! assert_eq!(outcome.drops(), [("unknown-type", 1)]);
//!
//! let mut builder = GraphBuilder::new();
//! let types = builder.add(EthernetInputType);
//! let end = builder.add(ErrorDrop);
//! builder.connect(types, EthernetInputTypeNext::Arp, end);
//! // An arc that leads nowhere is refused by name.
//! assert!(matches!(
//!     builder.build(),
//!     Err(BuildError::Unconnected { node: "ethernet-input-type", arc: "ip4" })
//! ));
//! ```
//!
//! - [`frame`]: octets borrowed from a ring, and what is known about them.
//! - [`batch`]: up to [`BATCH_MAX`] frames on their way to one node.
//! - [`node`]: the [`Node`] trait; [`outlets`]: the only way out of a node.
//! - [`label`]: closed sets of names for arcs and drop reasons.
//! - [`graph`]: wiring, dispatch, counting, drawing.
//! - [`port`]: where outgoing frames get their memory and leave.
//! - [`checksum`]: the Internet checksum, in software.
//! - [`interface`]: the interfaces of one worker, by index.
//! - [`counters`], [`observe`]: what happened, as numbers and as a trace.
//! - [`ethernet_input`], [`ethernet_input_type`], [`error_drop`]: the nodes every graph needs.
#![forbid(unsafe_code)]

pub mod batch;
pub mod checksum;
pub mod counters;
pub mod error_drop;
pub mod ethernet_input;
pub mod ethernet_input_type;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod graph;
pub mod interface;
pub mod label;
pub mod node;
pub mod observe;
pub mod outlets;
pub mod port;
#[cfg(feature = "testing")]
pub mod testing;

pub use batch::{BATCH_MAX, Batch};
pub use error_drop::ErrorDrop;
pub use ethernet_input::EthernetInput;
pub use ethernet_input_type::EthernetInputType;
pub use frame::{Checksum, EtherType, Frame, HEADROOM, MacAddr, Meta, Segmentation, Tag, Tags};
pub use graph::{BuildError, Graph, GraphBuilder, NodeId, Turn};
pub use interface::{IfIndex, Interface, Interfaces, SharedInterfaces};
pub use label::{Label, Never};
pub use node::Node;
pub use observe::Observer;
pub use outlets::Outlets;
pub use port::{Offload, Port};

//! 802.1Q and 802.1ad sub-interfaces as graph nodes.
//!
//! ```text
//! ethernet-input --tagged/untagged--> dot1q-demux --> the stack, interface = sub-interface
//!                 the stack --> dot1q-push --> af-packet-output, tags inline again
//! ```
//!
//! - [`tag`]: VLAN identifiers and what a sub-interface matches.
//! - [`sub_interfaces`]: the table both nodes share, changed while they run.
//! - [`dot1q_demux`], [`dot1q_push`]: the nodes.
#![forbid(unsafe_code)]

pub mod dot1q_demux;
pub mod dot1q_push;
pub mod sub_interfaces;
pub mod tag;

pub use dot1q_demux::Dot1qDemux;
pub use dot1q_push::Dot1qPush;
pub use sub_interfaces::{SharedSubInterfaces, SubInterfaceError, SubInterfaces};
pub use tag::{Match, OuterTag, Tpid, VlanId, VlanIdError};

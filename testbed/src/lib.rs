//! Real network wiring for tests, benches and the demo: namespaces, veth, macvlan and VLAN
//! clients, made over netlink, with no `ip`, `tc` or other tool and no unsafe code.
//!
//! Never in the packet path. [`wiring::Wiring::poc`] is the place to start:
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::{client, wiring::{Options, SERVER_ADDRESS, VLAN, Wiring}};
//!
//! let mut wiring = Wiring::poc(Options::default())?;
//! wiring.add_kernel_pod(&[VLAN], SERVER_ADDRESS)?; // or start a server in `wiring.pod()`
//! let times = client::ping(
//!     wiring.client().namespace(), SERVER_ADDRESS.0, 3, 56, Duration::from_secs(1),
//! )?;
//! # Ok::<(), testbed::WiringError>(())
//! ```
//!
//! It needs root, or a user namespace ([`netns::enter_user_namespace`]). Namespaces have no
//! names: any number of wirings stand side by side, and nothing outlives the process.

#![forbid(unsafe_code)]

pub mod attack;
pub mod build;
pub mod client;
pub mod demo;
mod error;
pub mod link;
pub mod netns;
pub mod offload;
pub mod packet_socket;
pub mod process;
pub mod race;
pub mod random;
pub mod relay;
pub mod soak;
pub mod tag;
pub mod vlan_client;
mod vlan_program;
pub mod wiring;

pub use error::WiringError;

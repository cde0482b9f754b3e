#![doc = "placeholder"]
#![forbid(unsafe_code)]
mod error;
pub mod link;
pub mod netns;
pub mod offload;
pub mod packet_socket;
pub mod relay;
pub mod tag;
pub mod vlan_client;
mod vlan_program;
pub mod wiring;
pub use error::WiringError;

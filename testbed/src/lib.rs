#![doc = "placeholder"]
#![forbid(unsafe_code)]
mod error;
pub mod link;
pub mod netns;
pub mod offload;
pub mod packet_socket;
pub mod tag;
mod vlan_program;
pub use error::WiringError;

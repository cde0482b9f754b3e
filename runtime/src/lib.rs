//! The desired state, the ways to write it down, and what turns it into running workers.
#![forbid(unsafe_code)]

pub mod args;
pub mod config;
pub mod error;
pub mod startup_conf;
pub mod vpp_conf;
pub mod words;

//! The desired state, the ways to write it down, and what turns it into running workers.
#![forbid(unsafe_code)]

pub mod args;
pub mod assemble;
pub mod capture;
pub mod cli;
pub mod config;
pub mod controller;
pub mod ctl;
pub mod error;
pub mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod notify;
pub mod plan;
pub mod privileges;
pub mod ready;
pub mod snapshot;
pub mod spin;
pub mod start;
pub mod startup_conf;
mod supervisor;
pub mod timers;
pub mod trace;
pub mod vpp_conf;
pub mod watch;
pub mod words;
pub mod worker;

pub use config::Config;
pub use controller::Controller;
pub use error::StartError;
pub use event::Event;
pub use start::{Prepared, Runtime};

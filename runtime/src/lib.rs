//! The desired state, the ways to write it down, and what turns it into running workers.
//!
//! A [`Config`] comes from flags, TOML or VPP's commands, and says the same in each:
//!
//! ```
//! use runtime::{Config, startup_conf};
//!
//! let (config, _notes) = startup_conf::parse(
//!     "create host-interface name macvlan0\n\
//!      set interface state host-macvlan0 up\n\
//!      create sub-interfaces host-macvlan0 123\n\
//!      set interface state host-macvlan0.123 up\n\
//!      set interface ip address host-macvlan0.123 192.168.123.150/24\n\
//!      http static server www-root /www uri tcp://0.0.0.0/80\n",
//!     "startup.conf",
//! )?;
//! let same = r#"
//!     [[interface]]
//!     name = "macvlan0"
//!
//!     [[interface.sub-interface]]
//!     id = 123
//!     addresses = ["192.168.123.150/24"]
//!
//!     [[http]]
//!     www-root = "/www"
//! "#;
//! assert_eq!(config, Config::from_toml(same, "dataplane.toml")?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Then it is run; opening is the one moment that needs CAP_NET_RAW:
//!
//! ```no_run
//! use runtime::{Config, Prepared, privileges};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let config = Config::default();
//! let prepared = Prepared::open(config)?;
//! privileges::give_up()?;
//! let runtime = prepared.start()?;
//! for event in runtime.events() {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod access_log;
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
pub mod launch;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod plan;
pub mod privileges;
pub mod ready;
mod rehearsal;
mod rhythm;
pub mod sandbox;
mod service;
pub mod snapshot;
pub mod sockets;
pub mod spin;
pub mod start;
pub mod startup_conf;
mod supervisor;
mod sync;
mod thrift;
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

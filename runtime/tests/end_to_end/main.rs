//! The `dataplane` binary in the pod of the proof of concept's wiring, with the kernel's TCP/IP
//! stack as its client. Needs root; without it the tests say so and are skipped, with `CI=true`
//! they must run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests are tests"
)]

mod bad_input;
mod bed;
mod capture;
mod counters;
mod demo;
mod host_interfaces;
mod http;
mod limits;
mod links;
mod load;
mod metrics;
mod network;
mod operate;
mod operator;
mod privileges;
mod start;
mod stop;
mod vlans;

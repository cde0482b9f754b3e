//! Attacks and accidents against the `dataplane` binary in the pod of the proof of concept's
//! wiring. Frames are made in `testbed::attack`; the victims are clients on the kernel's stack.
//! Needs root; without it the tests say so and are skipped, with `CI=true` they must run.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests are tests"
)]

#[path = "../end_to_end/bed.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod bed;
mod clock;
mod host;
mod http;
mod l2l3;
mod limits;
mod readme;
mod soak;
mod target;
mod tcp;
mod www_root;

//! From the desired state to running workers.
#![forbid(unsafe_code)]

pub mod notify;
pub mod privileges;
pub mod timers;

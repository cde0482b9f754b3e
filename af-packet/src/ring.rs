//! Walking the rings. Nothing here knows of sockets: a ring is a [`Region`](crate::region::Region)
//! and, for transmission, somebody to [`Kick`].

mod header;
pub(crate) mod rx;
pub(crate) mod tx;
mod v2;
mod v3;
pub(crate) mod vnet;

#[cfg(any(test, feature = "testing"))]
pub(crate) use header::halves;
pub use rx::{RxCounters, RxRing, RxTurn};
pub use tx::{Kick, KickError, TxCounters, TxRing, TxTurn};

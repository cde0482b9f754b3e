//! `error-drop`: where arcs lead that an assembly has no use for.
//!
//! - Takes: frames from any node.
//! - Sends: nothing.
//! - Drops: `not-wanted`.

use std::time::Duration;

use crate::batch::Batch;
use crate::label::Never;
use crate::node::Node;
use crate::outlets::Outlets;

/// Drops all it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorDrop;

crate::labels! {
    /// Why `error-drop` drops.
    pub enum ErrorDropDrop {
        /// The assembly has no use for it.
        NotWanted = "not-wanted",
    }
}

impl Node for ErrorDrop {
    const NAME: &'static str = "error-drop";
    type Next = Never;
    type Drop = ErrorDropDrop;

    fn process<'block>(
        &mut self,
        _now: Duration,
        batch: &mut Batch<'block>,
        out: &mut Outlets<'_, 'block, Never, ErrorDropDrop>,
    ) {
        for frame in batch.drain() {
            out.drop(ErrorDropDrop::NotWanted, frame);
        }
    }
}

//! Records leave the packet path through a bounded [`Queue`] and are written by a thread of their own.

mod queue;

pub use queue::{FrameCopy, Queue, Refused, SNAP_LEN};

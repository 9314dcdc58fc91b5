//! Records leave the packet path through a bounded [`Queue`] and are written by a thread of their own.
//!
//! The [`Recorder`] empties the queue, pairs answers with commands and counts repeats ([`Settler`]), and writes two
//! files into one folder: [`EVENT_FILE`], one line an event, rendered by the [`Render`](crate::event::Render) it was
//! given, and [`FRAME_FILE`], the refused frames, with interfaces `plant.dropped` and `robot.dropped`, the reason as
//! verdict, the event's id as packet id and a sentence as comment. Files are turned over and the oldest removed, so that
//! all of them keep to a budget.

pub mod pcapng;
mod queue;
mod recorder;
mod repeats;
mod settler;
mod store;

pub use queue::{FrameCopy, Queue, Refused, SNAP_LEN};
pub use recorder::{RecordCounters, RecordError, RecordOptions, Recorder, is_store};
pub use settler::{Settler, Settling};
pub use store::{EVENT_FILE, FRAME_FILE, event_files, next_event_id};

#[cfg(test)]
mod tests;

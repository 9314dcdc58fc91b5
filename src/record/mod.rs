//! Records leave the packet path through a bounded [`Queue`] and are written by a thread of their own.
//!
//! The [`Recorder`] empties the queue, pairs answers with commands and counts repeats ([`Settler`]), and writes into one
//! folder: the [`evidence`] store, which holds every event, rendered by the [`Render`](crate::event::Render) it was given,
//! and every refused frame with the reason as verdict, the event's id as packet id and a sentence as comment; and
//! [`EVENT_FILE`], the same events as lines for those who ship logs. Files are turned over and the oldest removed, so that
//! all of them keep to a budget.

pub mod evidence;
mod files;
mod long_units;
pub mod pcapng;
mod queue;
mod recorder;
mod repeats;
mod settler;
mod store;
mod writer;

pub use files::{Batch, Cursor, EVENT_FILE, LONGEST_LINE, event_files, read_after};
pub use queue::{FrameCopy, Queue, Refused, SNAP_LEN};
pub use recorder::{RecordCounters, RecordError, RecordOptions, Recorder, is_store};
pub use settler::{Settler, Settling};
pub use store::next_event_id;

#[cfg(test)]
mod tests;

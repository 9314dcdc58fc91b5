//! Records leave the packet path through a bounded [`Queue`] and are written by a thread of their own.
//!
//! The [`Recorder`] empties the queue, pairs answers with commands and counts repeats ([`Settler`]), and writes into one
//! folder: the [`evidence`] store, which holds every event, rendered by the [`Render`](crate::event::Render) it was given,
//! and every refused frame with the reason as verdict, the event's id as packet id and a sentence as comment; and
//! [`EVENT_FILE`], the same events as lines for those who ship logs. Files are turned over and the oldest removed, so that
//! all of them keep to a budget. Around refusals, frames of both directions go into the evidence as well, out of a
//! [`FrameRing`] that the worker fills.

mod around;
pub mod evidence;
mod files;
mod ledger;
mod long_units;
pub mod pcapng;
mod queue;
mod recorder;
mod repeats;
mod ring;
mod settler;
mod store;
mod writer;

pub use around::KeepOptions;
pub use files::{Batch, Cursor, EVENT_FILE, LONGEST_LINE, event_files, read_after};
pub use ledger::Ledger;
pub use queue::{FrameCopy, Queue, Refused, SNAP_LEN, Writer as QueueWriter};
pub use recorder::{RecordCounters, RecordError, RecordOptions, Recorder, is_store};
pub use ring::{Became, FrameRing, LEAST_RING, Passing};
pub use settler::{Settler, Settling};
pub use store::next_event_id;

#[cfg(test)]
mod around_tests;
#[cfg(test)]
mod tests;

//! The packet path without its wires: frames and times go in, actions come out.
//!
//! [`Pipeline::handle`] takes one frame through link-layer rules, the flow table, the gate with its dissectors and the
//! policy; [`Pipeline::poll`] does what time asks for. Neither does I/O nor reads a clock, so a capture that is replayed
//! gets the verdicts that the wire got.

mod actions;
mod adopt;
pub mod again;
mod arena;
mod connection;
mod conversation;
mod counters;
mod datagram;
mod detail;
mod fast;
mod flux;
mod guard;
mod handshake;
mod judge;
mod lines;
mod load;
mod loops;
mod newcomers;
pub mod offline;
mod pipeline;
mod quarantine;
mod recent;
mod renew;
mod repair;
mod reset;
mod rules;
mod scene;
mod segment;
mod sending;
mod spliced;
pub mod trial;
mod worker;

#[cfg(test)]
mod tests;

pub use actions::{Actions, Kept, Out};
pub use adopt::Adoption;
pub use arena::{Arena, BINDINGS, Binding, LAYOUT, Shared, WATCHED, Watched};
pub use conversation::Conversation;
pub use counters::Counters;
pub use flux::{Flux, Torn};
pub use judge::{Observer, Who};
pub use pipeline::{Fate, Pipeline};
pub use quarantine::{Held, Quarantine};
pub use rules::{Checksums, Device, Mode, Rules};
pub use worker::{Clock, Shared as WorkerShared, Shown, Shows, Snapshot, Tap, Worker, WorkerError};

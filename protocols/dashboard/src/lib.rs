//! Dashboard server: one command a line, one reply a line, and the command table with classes.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]

mod verb;
mod wire;

pub use verb::{Argument, Class, Verb};
pub use wire::{GrammarError, Line};

/// TCP port of the Dashboard server.
pub const PORT: u16 = 29999;

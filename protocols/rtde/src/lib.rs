//! Real-Time Data Exchange (RTDE), protocol versions 1 and 2: framing, packages, recipe tables.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]

mod session;
mod variable;
mod wire;

pub use session::{Recipe, Session};
pub use variable::{DataType, Value, Variable};
pub use wire::{Field, InputData, Names, Package, PackageType, Reply, Request};

/// TCP port of the RTDE server.
pub const PORT: u16 = 30004;

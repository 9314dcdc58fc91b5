//! TOML files that people write: read by key with the place of everything, so that every mistake is told at once, each
//! as one line `file:line:column: what; what to do`.
//!
//! The configuration and the policy share it. A `Table` hands out the `Value`s of the keys that it is asked for;
//! what nobody asked for is an unknown key, reported with the nearest key that was asked for.

mod address;
mod hex;
mod problem;
mod reader;

pub use address::{host_of, with_port};
pub use hex::{hex, unhex};
pub use problem::{Problem, Problems, has_place};
pub(crate) use reader::{Source, Table, Value, nearest};

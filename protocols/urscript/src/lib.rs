//! URScript: lexer, unit boundaries, functions called, index assignments, and the bare commands of 30001-30003.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]

mod catalogue;
mod scanner;
mod unit;

pub use catalogue::Category;
pub use scanner::{Dialect, Scanner};
pub use unit::{Fact, Kind, Unit};

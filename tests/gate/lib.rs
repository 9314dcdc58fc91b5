//! The gate of the product, by itself: the same source files, without the rest of the program.

pub mod event;
#[path = "../../src/gate/mod.rs"]
pub mod gate;

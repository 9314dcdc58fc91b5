//! The manual: chapters that stand beside the code they describe.
//!
#![doc = include_str!("gate.md")]
//!
#![doc = include_str!("threat-model.md")]

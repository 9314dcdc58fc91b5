//! Real-Time Data Exchange (RTDE), protocol versions 1 and 2: framing, packages, recipes, types.
//!
//! [`Package::step`] cuts a byte stream into packages. [`Session`] follows one connection: which version is in force,
//! which recipes were set up, whether data flows. [`Request::read`] and [`Reply::read`] read a package with what the
//! session knows, so that a data package, which is packed values without names, comes out as typed [`Field`]s of named
//! [`Variable`]s. [`Request::emit`], [`Reply::emit`] and [`emit`] write packages into a caller's buffer.
//!
//! ```text
//! toward the robot                                  toward the plant
//!   Package::step                                     Package::step
//!   Request::read(&package, &session)                 Reply::read(&package, &session)
//!   (the caller decides)                              (the caller looks)
//!   session.request(&package)   if it is let through  session.reply(&package)
//! ```
//!
//! Sources: Universal Robots' RTDE guide ("the guide" below), and what its public clients do
//! (RTDE_Python_Client_Library, Universal_Robots_Client_Library). The table of what was checked where, and of what is
//! hearsay, is in this crate's README.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]

pub mod emit;
mod message;
mod recipe;
mod reply;
mod request;
mod session;
mod table;
mod value;
mod variable;
mod wire;

pub use message::{Message, MessageLevel};
pub use recipe::{Field, Fields, Recipe};
pub use reply::{OutputData, Reply};
pub use request::{InputData, Request};
pub use session::{Outcome, Session, SetUp};
pub use value::{DataType, ReplyType, Value};
pub use variable::{Risk, Variable};
pub use wire::{MAX_NAMES, MAX_TOWARD_ROBOT, Names, Package, PackageType, Version, probe};

/// TCP port of the RTDE server.
/// Source: the guide, section "Real-Time Data Exchange (RTDE)".
pub const PORT: u16 = 30004;

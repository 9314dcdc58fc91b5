//! URScript: lexer, unit boundaries, what a unit does, and the bare commands of 30001-30003.
//!
//! Source: Universal Robots, "The URScript Programming Language" and "Remote Control Via TCP/IP". README.md beside this
//! file says which facts could not be confirmed and why each reading of them is safe.
//!
//! [`Scanner`] finds the units, [`Unit`] names them, [`Unit::facts`] tells what they do, [`Tokens`] is the lexer.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

mod argument;
mod bare;
mod catalogue;
mod class;
mod doubts;
mod facts;
mod interpreter;
mod reading;
mod scanner;
mod signature;
mod table;
mod token;
mod unit;

pub use argument::{Argument, Arguments, Value};
pub use bare::{BARE_COMMANDS, INTERPRETER_CONTROLS};
pub use catalogue::Category;
pub use doubts::Doubts;
pub use facts::{Fact, Facts};
pub use interpreter::{InterpreterReply, InterpreterReplyKind, MAX_DISCARD_LINE, MAX_INTERPRETER_REPLY, discard_line};
pub use scanner::{Dialect, Scanner};
pub use signature::{MAX_PARAMETERS, Overridden, Parameter, Signature, Takes};
pub use token::{Token, TokenKind, Tokens};
pub use unit::{Kind, Unit};

/// Deepest nesting of blocks, and of brackets.
pub const MAX_DEPTH: usize = 64;

/// Longest token, strings and comments included, in bytes.
pub const MAX_TOKEN: usize = 64 << 10;

/// Longest unit, in bytes with its line ends.
pub const MAX_UNIT: usize = 1 << 20;

//! Modbus/TCP: framing (MBAP), every public function code, request and response matched.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.

#![forbid(unsafe_code)]

mod session;
mod wire;

pub use session::{Matched, Session};
pub use wire::{Adu, FunctionCode, Request, Response, Span, Table, UnitId, Values, Write};

/// Longest ADU on TCP: 7 bytes MBAP header (unit included) and 253 bytes PDU.
/// Source: Modbus Messaging on TCP/IP Implementation Guide 1.0b, section 4.1.
pub const MAX_ADU: usize = 260;

/// TCP port of a Modbus server.
pub const PORT: u16 = 502;

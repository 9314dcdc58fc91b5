//! Modbus/TCP: framing (MBAP), every public function code, request and response matched.
//!
//! [`Adu::step`] cuts a byte stream into units, [`Request::read`] and [`Response::read`] check a unit against every
//! limit of its function and normalise it: what it reads, what it writes, which values. A policy therefore judges
//! addresses, quantities and values without knowing function codes. [`Session`] pairs responses with requests in plain
//! data, [`Mbap`] writes units into a caller's buffer, [`ur`] names the registers of a Universal Robots controller.
//!
//! Sources: Modbus Application Protocol Specification V1.1b3 ("application protocol" below) and Modbus Messaging on
//! TCP/IP Implementation Guide V1.0b ("messaging guide"). The table of what was checked where is in this crate's
//! README.
//!
//! Zero-copy, no I/O, no clock, no allocation, never panics.
//!
//! ```
//! use dissect::Step;
//! use modbus::{Adu, Request};
//!
//! // Transaction 1, unit 255, write_single_register, address 130, value 75.
//! let bytes = [0, 1, 0, 0, 0, 6, 255, 6, 0, 130, 0, 75];
//! let Step::Whole { unit, len } = Adu::step(&bytes)? else { panic!("not whole") };
//! let request = Request::read(&unit)?;
//! let write = request.write.expect("06 writes");
//! assert_eq!((len, request.name()), (12, "write_single_register"));
//! assert_eq!((write.span.addresses(), write.value_bounds()), (130..=130, (75, 75)));
//! # Ok::<(), dissect::DissectError>(())
//! ```

#![forbid(unsafe_code)]

mod emit;
mod file;
mod function;
mod identification;
mod request;
mod response;
mod session;
mod sub_function;
pub mod ur;
mod values;
mod wire;

pub use emit::{EmitError, FileWrite, Mbap, exception};
pub use file::{FileData, FileRecord, FileRecords};
pub use function::{Assignment, ExceptionCode, FunctionCode, Preset};
pub use identification::{DeviceObject, DeviceObjects};
pub use request::Request;
pub use response::Response;
pub use session::{Answer, Full, Matched, Session};
pub use sub_function::{Diagnostic, MeiType, UmasCode};
pub use values::{Bits, Registers, Values, Write};
pub use wire::{Adu, Span, Table, UnitId, probe};

/// Longest ADU on TCP: 7 bytes MBAP header (unit included) and 253 bytes PDU.
/// Source: application protocol, section 4.1.
pub const MAX_ADU: usize = 260;

/// Longest PDU: function code and 252 bytes of data.
/// Source: application protocol, section 4.1.
pub const MAX_PDU: usize = 253;

/// TCP port of a Modbus server.
pub const PORT: u16 = 502;

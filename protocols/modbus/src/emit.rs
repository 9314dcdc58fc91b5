//! Units into a caller's buffer.

use core::fmt;

use dissect::{DissectError, Step};

use crate::file::REFERENCE_TYPE;
use crate::response::EXCEPTION;
use crate::{Adu, Diagnostic, ExceptionCode, FileRecord, FunctionCode, MAX_ADU, MeiType, Request, Response, UnitId};

/// Why a unit could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The buffer has `have` bytes, the unit takes `needed`.
    Room {
        /// Bytes of the unit.
        needed: usize,
        /// Bytes of the buffer.
        have: usize,
    },
    /// The unit would break a limit of its function, so that nobody could read it back.
    Illegal(DissectError),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room { needed, have } => write!(f, "the unit takes {needed} bytes, the buffer has {have}"),
            Self::Illegal(error) => write!(f, "no legal Modbus unit: {error}"),
        }
    }
}

impl core::error::Error for EmitError {}

impl From<DissectError> for EmitError {
    fn from(error: DissectError) -> Self {
        Self::Illegal(error)
    }
}

/// An exception response, a whole ADU: always 9 bytes.
///
/// Source: application protocol, section 7; messaging guide, section 3.1.3.
#[must_use]
pub const fn exception(transaction: u16, unit: UnitId, function: FunctionCode, code: ExceptionCode) -> [u8; 9] {
    let [t0, t1] = transaction.to_be_bytes();
    [t0, t1, 0, 0, 0, 3, unit.0, function.0 | EXCEPTION, code.0]
}

/// The header of units to write: builders for requests and responses.
///
/// Each builder writes one whole ADU at the start of the buffer and returns it. What it wrote was read back, so it is
/// legal; [`Mbap::pdu`] alone writes anything that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mbap {
    /// Transaction identifier.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: UnitId,
}

/// A part of a file to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileWrite<'a> {
    /// File number, at least 1.
    pub file: u16,
    /// Number of the first record, 0 to 9999.
    pub record: u16,
    /// The registers.
    pub registers: &'a [u16],
}

/// Which check an emitted unit has to stand.
#[derive(Clone, Copy)]
enum Check {
    Request,
    Response,
    Framing,
}

impl Mbap {
    /// A header.
    #[must_use]
    pub const fn new(transaction: u16, unit: UnitId) -> Self {
        Self { transaction, unit }
    }

    /// Any PDU of 1 to 253 bytes, function code first, unchecked.
    ///
    /// # Errors
    /// No room, or a PDU of another length.
    pub fn pdu<'b>(self, buffer: &'b mut [u8], pdu: &[u8]) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Framing, |sink| sink.put(pdu))
    }

    /// Request of a function that has no data: 07, 0B, 0C, 11.
    ///
    /// # Errors
    /// No room, or the function has data.
    pub fn bare(self, buffer: &mut [u8], function: FunctionCode) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| sink.put(&[function.0]))
    }

    /// Request of 01 to 04: reads `quantity` items from `address` on.
    ///
    /// # Errors
    /// No room, or a quantity or address outside the limits of the function.
    pub fn read(
        self,
        buffer: &mut [u8],
        function: FunctionCode,
        address: u16,
        quantity: u16,
    ) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| sink.head(function, &[address, quantity]))
    }

    /// Request of 05, and its response, which is the same.
    ///
    /// # Errors
    /// No room.
    pub fn write_single_coil(self, buffer: &mut [u8], address: u16, on: bool) -> Result<&[u8], EmitError> {
        let value = if on { 0xff00 } else { 0 };
        self.emit(buffer, Check::Request, |sink| sink.head(FunctionCode::WRITE_SINGLE_COIL, &[address, value]))
    }

    /// Request of 06, and its response, which is the same.
    ///
    /// # Errors
    /// No room.
    pub fn write_single_register(self, buffer: &mut [u8], address: u16, value: u16) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| sink.head(FunctionCode::WRITE_SINGLE_REGISTER, &[address, value]))
    }

    /// Request of 0F: writes 1 to 1968 coils from `address` on.
    ///
    /// # Errors
    /// No room, or a number of coils or an address outside the limits.
    pub fn write_multiple_coils<'b>(
        self,
        buffer: &'b mut [u8],
        address: u16,
        coils: &[bool],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            sink.head(FunctionCode::WRITE_MULTIPLE_COILS, &[address, saturated(coils.len())]);
            sink.bits(coils);
        })
    }

    /// Request of 10: writes 1 to 123 holding registers from `address` on.
    ///
    /// # Errors
    /// No room, or a number of registers or an address outside the limits.
    pub fn write_multiple_registers<'b>(
        self,
        buffer: &'b mut [u8],
        address: u16,
        registers: &[u16],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            sink.head(FunctionCode::WRITE_MULTIPLE_REGISTERS, &[address, saturated(registers.len())]);
            sink.registers(registers);
        })
    }

    /// Request of 16, and its response, which is the same: new = (current & and) | (or & !and).
    ///
    /// # Errors
    /// No room.
    pub fn mask_write_register(self, buffer: &mut [u8], address: u16, and: u16, or: u16) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| sink.head(FunctionCode::MASK_WRITE_REGISTER, &[address, and, or]))
    }

    /// Request of 17: writes 1 to 121 registers, then reads `quantity` of them; `read` is address and quantity.
    ///
    /// # Errors
    /// No room, or a number of registers or an address outside the limits.
    pub fn read_write_multiple_registers<'b>(
        self,
        buffer: &'b mut [u8],
        read: (u16, u16),
        write_address: u16,
        registers: &[u16],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            let head = [read.0, read.1, write_address, saturated(registers.len())];
            sink.head(FunctionCode::READ_WRITE_MULTIPLE_REGISTERS, &head);
            sink.registers(registers);
        })
    }

    /// Request of 18: reads the queue at `pointer`.
    ///
    /// # Errors
    /// No room.
    pub fn read_fifo_queue(self, buffer: &mut [u8], pointer: u16) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| sink.head(FunctionCode::READ_FIFO_QUEUE, &[pointer]))
    }

    /// Request of 08, and the response of the sub-functions that echo.
    ///
    /// # Errors
    /// No room, or data that the sub-function may not have.
    pub fn diagnostics<'b>(
        self,
        buffer: &'b mut [u8],
        sub_function: Diagnostic,
        data: &[u8],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            sink.head(FunctionCode::DIAGNOSTICS, &[sub_function.0]);
            sink.put(data);
        })
    }

    /// Request of 14; the `data` of the records is not looked at.
    ///
    /// # Errors
    /// No room, records outside their limits, or a reply that would not fit.
    pub fn read_file_record<'b>(self, buffer: &'b mut [u8], records: &[FileRecord<'_>]) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            let bytes = records.len().saturating_mul(7);
            sink.put(&[FunctionCode::READ_FILE_RECORD.0, saturated_byte(bytes)]);
            for record in records {
                sink.put(&[REFERENCE_TYPE]);
                sink.words(&[record.file, record.record, record.length]);
            }
        })
    }

    /// Request of 15, and its response, which is the same.
    ///
    /// # Errors
    /// No room, or records outside their limits.
    pub fn write_file_record<'b>(self, buffer: &'b mut [u8], records: &[FileWrite<'_>]) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Request, |sink| {
            let bytes = records
                .iter()
                .map(|record| record.registers.len().saturating_mul(2).saturating_add(7))
                .fold(0, usize::saturating_add);
            sink.put(&[FunctionCode::WRITE_FILE_RECORD.0, saturated_byte(bytes)]);
            for record in records {
                sink.put(&[REFERENCE_TYPE]);
                sink.words(&[record.file, record.record, saturated(record.registers.len())]);
                sink.words(record.registers);
            }
        })
    }

    /// Request of 2B/0E: `code` 1 basic, 2 regular, 3 extended, from `object` on; 4 the one `object`.
    ///
    /// # Errors
    /// No room, or another code.
    pub fn read_device_identification(self, buffer: &mut [u8], code: u8, object: u8) -> Result<&[u8], EmitError> {
        let mei_type = MeiType::READ_DEVICE_IDENTIFICATION.0;
        let pdu = [FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT.0, mei_type, code, object];
        self.emit(buffer, Check::Request, |sink| sink.put(&pdu))
    }

    /// Response of 01 and 02.
    ///
    /// # Errors
    /// No room, or not 1 to 2000 bits.
    pub fn bits<'b>(self, buffer: &'b mut [u8], function: FunctionCode, bits: &[bool]) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Response, |sink| {
            sink.put(&[function.0]);
            sink.bits(bits);
        })
    }

    /// Response of 03, 04 and 17.
    ///
    /// # Errors
    /// No room, or not 1 to 125 registers.
    pub fn registers<'b>(
        self,
        buffer: &'b mut [u8],
        function: FunctionCode,
        registers: &[u16],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Response, |sink| {
            sink.put(&[function.0]);
            sink.registers(registers);
        })
    }

    /// Response of 0F and 10: what was written.
    ///
    /// # Errors
    /// No room, or a quantity or address outside the limits of the function.
    pub fn written(
        self,
        buffer: &mut [u8],
        function: FunctionCode,
        address: u16,
        quantity: u16,
    ) -> Result<&[u8], EmitError> {
        self.emit(buffer, Check::Response, |sink| sink.head(function, &[address, quantity]))
    }

    /// Response of 18.
    ///
    /// # Errors
    /// No room, or more than 31 registers.
    pub fn fifo_queue<'b>(self, buffer: &'b mut [u8], registers: &[u16]) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Response, |sink| {
            let count = registers.len();
            let bytes = count.saturating_mul(2).saturating_add(2);
            sink.head(FunctionCode::READ_FIFO_QUEUE, &[saturated(bytes), saturated(count)]);
            sink.words(registers);
        })
    }

    /// Any response: `data` follows the function code.
    ///
    /// # Errors
    /// No room, or data that a response of the function may not have.
    pub fn response<'b>(
        self,
        buffer: &'b mut [u8],
        function: FunctionCode,
        data: &[u8],
    ) -> Result<&'b [u8], EmitError> {
        self.emit(buffer, Check::Response, |sink| {
            sink.put(&[function.0]);
            sink.put(data);
        })
    }

    fn emit(self, buffer: &mut [u8], check: Check, fill: impl FnOnce(&mut Sink<'_>)) -> Result<&[u8], EmitError> {
        let have = buffer.len();
        let mut sink = Sink { buffer, len: 0 };
        let [t0, t1] = self.transaction.to_be_bytes();
        sink.put(&[t0, t1, 0, 0, 0, 0, self.unit.0]);
        fill(&mut sink);
        let Sink { buffer, len: needed } = sink;
        if needed > MAX_ADU {
            return Err(EmitError::Illegal(DissectError::malformed("MBAP length", 4)));
        }
        let Some(unit) = buffer.get_mut(..needed) else { return Err(EmitError::Room { needed, have }) };
        if let (Some(length), Ok(bytes)) = (unit.get_mut(4..6), u16::try_from(needed.saturating_sub(6))) {
            length.copy_from_slice(&bytes.to_be_bytes());
        }
        let unit = &*unit;
        match Adu::step(unit)? {
            Step::Whole { unit: adu, .. } => match check {
                Check::Request => {
                    Request::read(&adu)?;
                }
                Check::Response => {
                    Response::read(&adu)?;
                }
                Check::Framing => {}
            },
            Step::Partial { needed } => return Err(EmitError::Room { needed, have }),
        }
        Ok(unit)
    }
}

impl Adu<'_> {
    /// Writes the unit as it stands at the start of `buffer` and returns it.
    ///
    /// # Errors
    /// No room, or a PDU that is not 1 to 253 bytes long.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EmitError> {
        Mbap::new(self.transaction, self.unit).pdu(buffer, self.pdu)
    }
}

impl Request<'_> {
    /// Writes the request, whose `function` and `data` say it all, at the start of `buffer` and returns the ADU.
    ///
    /// # Errors
    /// No room, or `function` and `data` are no legal request.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EmitError> {
        Mbap::new(self.transaction, self.unit).emit(buffer, Check::Request, |sink| {
            sink.put(&[self.function.0]);
            sink.put(self.data);
        })
    }
}

impl Response<'_> {
    /// Writes the response, exception bit included, at the start of `buffer` and returns the ADU.
    ///
    /// # Errors
    /// No room, or `function` and `data` are no legal response.
    pub fn emit<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EmitError> {
        let bit = if self.exception.is_some() { EXCEPTION } else { 0 };
        Mbap::new(self.transaction, self.unit).emit(buffer, Check::Response, |sink| {
            sink.put(&[self.function.0 | bit]);
            sink.put(self.data);
        })
    }
}

/// Counts what it is given and keeps what fits: one check at the end instead of one a field.
struct Sink<'b> {
    buffer: &'b mut [u8],
    len: usize,
}

impl Sink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }

    fn words(&mut self, words: &[u16]) {
        for word in words {
            self.put(&word.to_be_bytes());
        }
    }

    fn head(&mut self, function: FunctionCode, words: &[u16]) {
        self.put(&[function.0]);
        self.words(words);
    }

    /// Byte count and registers.
    fn registers(&mut self, registers: &[u16]) {
        self.put(&[saturated_byte(registers.len().saturating_mul(2))]);
        self.words(registers);
    }

    /// Byte count and bits, least significant first, padded with 0.
    fn bits(&mut self, bits: &[bool]) {
        self.put(&[saturated_byte(bits.len().div_ceil(8))]);
        for eight in bits.chunks(8) {
            self.put(&[eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))]);
        }
    }
}

/// Too many items become a count that no limit allows, so that the check refuses the unit.
fn saturated(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn saturated_byte(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;

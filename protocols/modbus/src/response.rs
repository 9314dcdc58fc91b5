use dissect::DissectError;

use crate::file::{self, FileData, FileRecords};
use crate::identification::{self, DeviceObjects};
use crate::request::{DATA, WRITE_COILS, WRITE_REGISTERS, fields, span};
use crate::wire::HEADER;
use crate::{Adu, FunctionCode, MeiType, Span, Table, UnitId, Values};

/// Set in the function code byte of an exception response.
pub(crate) const EXCEPTION: u8 = 0x80;

/// A response, matched to nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// Function code without the exception bit.
    pub function: FunctionCode,
    /// Unit identifier.
    pub unit: UnitId,
    /// Transaction identifier.
    pub transaction: u16,
    /// Exception code, where the exception bit was set.
    pub exception: Option<u8>,
    /// Values carried by read responses; those of 18 (FIFO queue) start with the queue's count, as the registers do.
    pub values: Option<Values<'a>>,
    /// PDU bytes after the function code.
    pub data: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads and checks the PDU of a response.
    ///
    /// Function codes that are not [public](FunctionCode::is_public) and the data of diagnostics, server
    /// identification and CANopen come back unread. An exception with function code 0 (byte 80) is taken, as a real
    /// server answers malformed requests with it.
    ///
    /// Source: application protocol, sections 6 and 7.
    ///
    /// # Errors
    /// A function code byte 0; a PDU shorter or longer than its fields say; a byte count, quantity, value, address
    /// range or identification code outside its limits. Offsets count from the start of the ADU.
    pub fn read(adu: &Adu<'a>) -> Result<Self, DissectError> {
        let Some((&byte, data)) = adu.pdu.split_first() else {
            return Err(DissectError::truncated("function code", HEADER, 1, 0));
        };
        let mut response = Self {
            function: FunctionCode(byte & !EXCEPTION),
            unit: adu.unit,
            transaction: adu.transaction,
            exception: None,
            values: None,
            data,
        };
        match byte {
            0x01 | 0x02 => response.values = Some(Values::Bits(counted(data, 1, 250)?)),
            0x03 | 0x04 | 0x17 => response.values = Some(Values::Registers(words(counted(data, 2, 250)?)?)),
            0x05 => {
                let &[_, _, high, low] = fields::<4>(data)?;
                if !matches!((high, low), (0x00 | 0xff, 0x00)) {
                    return Err(DissectError::malformed("coil value", DATA + 2));
                }
            }
            0x06 => {
                fields::<4>(data)?;
            }
            0x07 => {
                fields::<1>(data)?;
            }
            0x08 if data.len() < 2 => return Err(DissectError::truncated("sub-function", DATA, 2, data.len())),
            0x0b => {
                let &[s0, s1, _, _] = fields::<4>(data)?;
                if !matches!((s0, s1), (0, 0) | (0xff, 0xff)) {
                    return Err(DissectError::malformed("status word", DATA));
                }
            }
            // Status, event count and message count, then up to 64 events.
            0x0c => {
                counted(data, 6, 70)?;
            }
            0x0f => {
                let &[a0, a1, q0, q1] = fields::<4>(data)?;
                span(Table::Coils, [a0, a1], [q0, q1], WRITE_COILS, DATA)?;
            }
            0x10 => {
                let &[a0, a1, q0, q1] = fields::<4>(data)?;
                span(Table::HoldingRegisters, [a0, a1], [q0, q1], WRITE_REGISTERS, DATA)?;
            }
            0x11 => {
                counted(data, 0, 251)?;
            }
            0x14 => file::check_read_response(data)?,
            0x15 => file::check_write(data)?,
            0x16 => {
                fields::<6>(data)?;
            }
            0x18 => response.values = Some(Values::Registers(queue(data)?)),
            0x2b => match data.first() {
                None => return Err(DissectError::truncated("MEI type", DATA, 1, 0)),
                Some(&mei_type) if MeiType(mei_type) == MeiType::READ_DEVICE_IDENTIFICATION => {
                    identification::check_response(data)?;
                }
                Some(_) => {}
            },
            EXCEPTION..=0xff => response.exception = Some(exception_code(data)?),
            0 => return Err(DissectError::malformed("function code", HEADER)),
            _ => {}
        }
        Ok(response)
    }

    /// The span that the response says was written: 05, 06, 0F, 10 and 16 echo it.
    #[must_use]
    pub fn written(&self) -> Option<Span> {
        let (&[a0, a1, q0, q1], _) = self.data.split_first_chunk::<4>()?;
        let (table, quantity) = match (self.function, self.exception) {
            (_, Some(_)) => return None,
            (FunctionCode::WRITE_SINGLE_COIL, _) => (Table::Coils, 1),
            (FunctionCode::WRITE_MULTIPLE_COILS, _) => (Table::Coils, u16::from_be_bytes([q0, q1])),
            (FunctionCode::WRITE_SINGLE_REGISTER | FunctionCode::MASK_WRITE_REGISTER, _) => {
                (Table::HoldingRegisters, 1)
            }
            (FunctionCode::WRITE_MULTIPLE_REGISTERS, _) => (Table::HoldingRegisters, u16::from_be_bytes([q0, q1])),
            _ => return None,
        };
        Some(Span { table, address: u16::from_be_bytes([a0, a1]), quantity })
    }

    /// The registers of each file record that a response of 20 carries; none for other functions.
    #[must_use]
    pub fn file_data(&self) -> FileData<'a> {
        let carries = self.function == FunctionCode::READ_FILE_RECORD && self.exception.is_none();
        FileData::new(if carries { self.data } else { &[] })
    }

    /// The file records that a response of 21 repeats; none for other functions.
    #[must_use]
    pub fn file_records(&self) -> FileRecords<'a> {
        match (self.function, self.exception) {
            (FunctionCode::WRITE_FILE_RECORD, None) => FileRecords::write(self.data),
            _ => FileRecords::none(),
        }
    }

    /// The objects of a device identification; none for other functions.
    #[must_use]
    pub fn device_objects(&self) -> DeviceObjects<'a> {
        let carries = self.function == FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT
            && self.exception.is_none()
            && self.data.first() == Some(&MeiType::READ_DEVICE_IDENTIFICATION.0);
        DeviceObjects::new(if carries { self.data } else { &[] })
    }
}

/// What follows a byte count that says exactly how much that is, `low` to `high` bytes.
fn counted(data: &[u8], low: usize, high: usize) -> Result<&[u8], DissectError> {
    let Some((&count, rest)) = data.split_first() else {
        return Err(DissectError::truncated("byte count", DATA, 1, 0));
    };
    let count = usize::from(count);
    if count < low || count > high {
        return Err(DissectError::malformed("byte count", DATA));
    }
    match rest.len() {
        len if len < count => Err(DissectError::truncated("values", DATA + 1, count, len)),
        len if len > count => Err(DissectError::malformed("PDU length", DATA.saturating_add(1).saturating_add(count))),
        _ => Ok(rest),
    }
}

/// The same bytes, if they are whole registers.
fn words(bytes: &[u8]) -> Result<&[u8], DissectError> {
    if bytes.len() & 1 == 0 { Ok(bytes) } else { Err(DissectError::malformed("byte count", DATA)) }
}

/// The registers of a FIFO queue, its count first: 16-bit byte count, 16-bit register count up to 31, registers.
fn queue(data: &[u8]) -> Result<&[u8], DissectError> {
    let Some((&[b0, b1, c0, c1], registers)) = data.split_first_chunk::<4>() else {
        return Err(DissectError::truncated("PDU", DATA, 4, data.len()));
    };
    let (bytes, count) = (usize::from(u16::from_be_bytes([b0, b1])), usize::from(u16::from_be_bytes([c0, c1])));
    if count > 31 {
        return Err(DissectError::malformed("FIFO count", DATA + 2));
    }
    let values = count.saturating_mul(2);
    if bytes != values.saturating_add(2) {
        return Err(DissectError::malformed("byte count", DATA));
    }
    match registers.len() {
        len if len < values => Err(DissectError::truncated("values", DATA + 4, values, len)),
        len if len > values => {
            Err(DissectError::malformed("PDU length", DATA.saturating_add(4).saturating_add(values)))
        }
        _ => Ok(data.get(2..).unwrap_or_default()),
    }
}

fn exception_code(data: &[u8]) -> Result<u8, DissectError> {
    let &[code] = fields::<1>(data)?;
    Ok(code)
}

#[cfg(test)]
mod tests;

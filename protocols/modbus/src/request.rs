use dissect::{DissectError, Reader};

use crate::file::{self, FileRecords};
use crate::wire::HEADER;
use crate::{
    Adu, Diagnostic, ExceptionCode, FunctionCode, MeiType, Span, Table, UmasCode, UnitId, Values, Write, emit,
};

/// Where the data after the function code starts, from the start of the ADU: errors count from there.
pub(crate) const DATA: usize = HEADER + 1;

/// Most coils or discrete inputs of one read. Source: application protocol, sections 6.1 and 6.2.
const READ_BITS: u16 = 2000;
/// Most registers of one read. Source: sections 6.3, 6.4 and 6.17.
const READ_REGISTERS: u16 = 125;
/// Most coils of one write. Source: section 6.11.
pub(crate) const WRITE_COILS: u16 = 0x7b0;
/// Most registers of one write. Source: section 6.12.
pub(crate) const WRITE_REGISTERS: u16 = 0x7b;
/// Most registers of the write half of function 23. Source: section 6.17.
const READ_WRITE_REGISTERS: u16 = 0x79;

/// Most registers of a FIFO queue, its count included. Source: section 6.18.
const FIFO_REGISTERS: u16 = 32;

const ADDRESS_AND_QUANTITY: &str = "address and quantity";

/// A request, normalised: whatever the function code, what it reads and what it writes.
///
/// File records (20, 21) are no table: `read` and `write` stay `None`, [`Request::file_records`] has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Function code.
    pub function: FunctionCode,
    /// Unit identifier.
    pub unit: UnitId,
    /// Transaction identifier.
    pub transaction: u16,
    /// Sub-function of 08 (diagnostics), MEI type of 2B, request code of 5A (UMAS).
    pub sub_function: Option<u16>,
    /// What is read, if anything. For 18 (FIFO queue): all that it may read, the count at the pointer's address and up
    /// to 31 registers after it, as only the response says how many there are.
    pub read: Option<Span>,
    /// What is written, if anything.
    pub write: Option<Write<'a>>,
    /// PDU bytes after the function code.
    pub data: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads and checks the PDU of a request.
    ///
    /// Function codes that are not [public](FunctionCode::is_public), reserved sub-functions and reserved MEI types
    /// come back with `data` unread and [`known`](Self::known) false.
    ///
    /// Source: application protocol, section 6. Cost: constant, but for file records one step each.
    ///
    /// # Errors
    /// A function code 0 or above 127; a PDU shorter or longer than its fields say; a quantity, byte count, value,
    /// address range, file record or device identification code outside its limits. Offsets count from the start of
    /// the ADU. [`Request::exception_for`] gives the answer that fits.
    pub fn read(adu: &Adu<'a>) -> Result<Self, DissectError> {
        let Some((&code, data)) = adu.pdu.split_first() else {
            return Err(DissectError::truncated("function code", HEADER, 1, 0));
        };
        let mut request = Self {
            function: FunctionCode(code),
            unit: adu.unit,
            transaction: adu.transaction,
            sub_function: None,
            read: None,
            write: None,
            data,
        };
        match code {
            0x01 => request.read = Some(read_span(Table::Coils, data, READ_BITS)?),
            0x02 => request.read = Some(read_span(Table::DiscreteInputs, data, READ_BITS)?),
            0x03 => request.read = Some(read_span(Table::HoldingRegisters, data, READ_REGISTERS)?),
            0x04 => request.read = Some(read_span(Table::InputRegisters, data, READ_REGISTERS)?),
            0x05 => request.write = Some(single_coil(data)?),
            0x06 => request.write = Some(single_register(data)?),
            0x07 | 0x0b | 0x0c | 0x11 => {
                fields::<0>(data)?;
            }
            0x08 => request.sub_function = Some(diagnostics(data)?),
            0x0f => request.write = Some(write_span(Table::Coils, data, WRITE_COILS, DATA)?),
            0x10 => request.write = Some(write_span(Table::HoldingRegisters, data, WRITE_REGISTERS, DATA)?),
            0x14 => file::check_read(data)?,
            0x15 => file::check_write(data)?,
            0x16 => request.write = Some(mask_write(data)?),
            0x17 => {
                let Some((read, write)) = data.split_at_checked(4) else { return Err(short(4, data)) };
                request.read = Some(read_span(Table::HoldingRegisters, read, READ_REGISTERS)?);
                let offset = DATA + 4;
                request.write = Some(write_span(Table::HoldingRegisters, write, READ_WRITE_REGISTERS, offset)?);
            }
            0x18 => {
                let address = u16::from_be_bytes(*fields::<2>(data)?);
                let quantity = FIFO_REGISTERS.min(u16::MAX.saturating_sub(address).saturating_add(1));
                request.read = Some(Span { table: Table::HoldingRegisters, address, quantity });
            }
            0x2b => request.sub_function = Some(encapsulated(data)?),
            0x5a => request.sub_function = data.get(1).copied().map(u16::from),
            0 | 0x80..=0xff => return Err(DissectError::malformed("function code", HEADER)),
            _ => {}
        }
        Ok(request)
    }

    /// Whether the specification defines the function and its sub-function, so that `read`, `write` and
    /// [`file_records`](Self::file_records) say all that the request does. A policy refuses the others by default.
    #[must_use]
    pub fn known(&self) -> bool {
        self.function.is_public()
            && match self.function {
                FunctionCode::DIAGNOSTICS | FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT => {
                    self.sub_function_name().is_some()
                }
                _ => true,
            }
    }

    /// The function's name, see [`FunctionCode::name`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.function.name()
    }

    /// The name of the diagnostics sub-function, MEI type or UMAS code, if it has one.
    #[must_use]
    pub fn sub_function_name(&self) -> Option<&'static str> {
        let code = self.sub_function?;
        let low = || u8::try_from(code).ok();
        match self.function {
            FunctionCode::DIAGNOSTICS => Diagnostic(code).name(),
            FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT => MeiType(low()?).name(),
            FunctionCode::UMAS => UmasCode(low()?).name(),
            _ => None,
        }
    }

    /// Whether the request may change anything in the device: writes, state-changing diagnostics, CANopen, and
    /// everything that is not [`known`](Self::known).
    #[must_use]
    pub fn changes_state(&self) -> bool {
        match self.function {
            FunctionCode::DIAGNOSTICS => self.sub_function.is_none_or(|code| Diagnostic(code).changes_state()),
            FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT => {
                self.sub_function != Some(u16::from(MeiType::READ_DEVICE_IDENTIFICATION.0))
            }
            function => function.is_write() || !function.is_public(),
        }
    }

    /// The file records that 20 reads or 21 writes; none for other functions.
    #[must_use]
    pub fn file_records(&self) -> FileRecords<'a> {
        match self.function {
            FunctionCode::READ_FILE_RECORD => FileRecords::read(self.data),
            FunctionCode::WRITE_FILE_RECORD => FileRecords::write(self.data),
            _ => FileRecords::none(),
        }
    }

    /// The exception response to this request, a whole ADU.
    #[must_use]
    pub const fn exception(&self, code: ExceptionCode) -> [u8; 9] {
        emit::exception(self.transaction, self.unit, self.function, code)
    }

    /// The exception code with which a server answers a request that [`Request::read`] does not take: 01 for the
    /// function code, 02 for address and quantity together and for where a file record lies, 03 for anything else.
    ///
    /// Source: application protocol, state diagrams of section 6.
    #[must_use]
    pub fn exception_for(error: &DissectError) -> ExceptionCode {
        match error.field {
            "function code" => ExceptionCode::ILLEGAL_FUNCTION,
            ADDRESS_AND_QUANTITY
            | "file reference type"
            | "file number"
            | "file record number"
            | "file record length" => ExceptionCode::ILLEGAL_DATA_ADDRESS,
            _ => ExceptionCode::ILLEGAL_DATA_VALUE,
        }
    }
}

/// The error for data that ends before `needed` bytes.
fn short(needed: usize, data: &[u8]) -> DissectError {
    DissectError::truncated("PDU", DATA, needed, data.len())
}

/// Exactly `N` bytes of data, neither fewer nor more.
pub(crate) fn fields<const N: usize>(data: &[u8]) -> Result<&[u8; N], DissectError> {
    match data.split_first_chunk::<N>() {
        Some((fields, [])) => Ok(fields),
        Some(_) => Err(DissectError::malformed("PDU length", DATA.saturating_add(N))),
        None => Err(short(N, data)),
    }
}

/// A span whose quantity is 1 to `limit` and which ends inside the table; `offset` is where the address stands.
pub(crate) fn span(
    table: Table,
    address: [u8; 2],
    quantity: [u8; 2],
    limit: u16,
    offset: usize,
) -> Result<Span, DissectError> {
    let (address, quantity) = (u16::from_be_bytes(address), u16::from_be_bytes(quantity));
    if quantity == 0 || quantity > limit {
        return Err(DissectError::malformed("quantity", offset.saturating_add(2)));
    }
    if u32::from(address).saturating_add(u32::from(quantity)) > 0x1_0000 {
        return Err(DissectError::malformed(ADDRESS_AND_QUANTITY, offset));
    }
    Ok(Span { table, address, quantity })
}

fn read_span(table: Table, data: &[u8], limit: u16) -> Result<Span, DissectError> {
    let &[a0, a1, q0, q1] = fields::<4>(data)?;
    span(table, [a0, a1], [q0, q1], limit, DATA)
}

/// Address, quantity, byte count and exactly the values that the quantity needs.
fn write_span(table: Table, data: &[u8], limit: u16, offset: usize) -> Result<Write<'_>, DissectError> {
    let Some((&[a0, a1, q0, q1, count], values)) = data.split_first_chunk::<5>() else {
        return Err(DissectError::truncated("PDU", offset, 5, data.len()));
    };
    let span = span(table, [a0, a1], [q0, q1], limit, offset)?;
    let quantity = usize::from(span.quantity);
    let (bytes, values_of) = if table.is_bits() {
        (quantity.div_ceil(8), Values::Bits as fn(_) -> _)
    } else {
        (quantity.saturating_mul(2), Values::Registers as fn(_) -> _)
    };
    if usize::from(count) != bytes {
        return Err(DissectError::malformed("byte count", offset.saturating_add(4)));
    }
    let start = offset.saturating_add(5);
    match values.len() {
        len if len < bytes => Err(DissectError::truncated("values", start, bytes, len)),
        len if len > bytes => Err(DissectError::malformed("PDU length", start.saturating_add(bytes))),
        _ => Ok(Write { span, values: values_of(values) }),
    }
}

fn single_coil(data: &[u8]) -> Result<Write<'_>, DissectError> {
    let &[a0, a1, high, low] = fields::<4>(data)?;
    if !matches!((high, low), (0x00 | 0xff, 0x00)) {
        return Err(DissectError::malformed("coil value", DATA + 2));
    }
    let span = span(Table::Coils, [a0, a1], [0, 1], 1, DATA)?;
    // FF00 is on and 0000 off, so the lowest bit of the high byte is the coil.
    Ok(Write { span, values: Values::Bits(data.get(2..3).unwrap_or_default()) })
}

fn single_register(data: &[u8]) -> Result<Write<'_>, DissectError> {
    let &[a0, a1, _, _] = fields::<4>(data)?;
    let span = span(Table::HoldingRegisters, [a0, a1], [0, 1], 1, DATA)?;
    Ok(Write { span, values: Values::Registers(data.get(2..4).unwrap_or_default()) })
}

fn mask_write(data: &[u8]) -> Result<Write<'_>, DissectError> {
    let &[a0, a1, and0, and1, or0, or1] = fields::<6>(data)?;
    let span = span(Table::HoldingRegisters, [a0, a1], [0, 1], 1, DATA)?;
    let values = Values::Mask { and: u16::from_be_bytes([and0, and1]), or: u16::from_be_bytes([or0, or1]) };
    Ok(Write { span, values })
}

/// Sub-function and its data; loopback takes any data, reserved sub-functions are left unread.
fn diagnostics(data: &[u8]) -> Result<u16, DissectError> {
    let mut reader = Reader::new(data);
    let code = reader.u16("sub-function").map_err(|_| short(2, data))?;
    let sub_function = Diagnostic(code);
    if sub_function == Diagnostic::RETURN_QUERY_DATA || sub_function.name().is_none() {
        return Ok(code);
    }
    let &[_, _, high, low] = fields::<4>(data)?;
    let legal = match sub_function {
        Diagnostic::RESTART_COMMUNICATIONS_OPTION => matches!((high, low), (0x00 | 0xff, 0x00)),
        Diagnostic::CHANGE_ASCII_INPUT_DELIMITER => low == 0,
        // Clients send the operation codes 0003 and 0004, but also 0000; no public text fixes the set.
        Diagnostic::GET_CLEAR_MODBUS_PLUS_STATISTICS => true,
        _ => (high, low) == (0, 0),
    };
    if legal { Ok(code) } else { Err(DissectError::malformed("diagnostics data", DATA + 2)) }
}

/// MEI type; CANopen and reserved types are left unread.
fn encapsulated(data: &[u8]) -> Result<u16, DissectError> {
    let Some(&mei_type) = data.first() else { return Err(short(1, data)) };
    if MeiType(mei_type) == MeiType::READ_DEVICE_IDENTIFICATION {
        let &[_, code, _object] = fields::<3>(data)?;
        if !matches!(code, 1..=4) {
            return Err(DissectError::malformed("read device identification code", DATA + 1));
        }
    }
    Ok(u16::from(mei_type))
}

#[cfg(test)]
mod tests;

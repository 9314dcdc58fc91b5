use dissect::{DissectError, Step};

/// Unit identifier of the MBAP header: 0 and 255 name the device itself, 1 to 247 a serial unit behind a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub u8);

/// Function code of a request, 1 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionCode(pub u8);

/// The four data tables of the Modbus data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Single bits, read and write.
    Coils,
    /// Single bits, read only.
    DiscreteInputs,
    /// 16-bit words, read and write.
    HoldingRegisters,
    /// 16-bit words, read only.
    InputRegisters,
}

/// A range of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which table.
    pub table: Table,
    /// Zero-based address of the first item.
    pub address: u16,
    /// Number of items, at least 1; `address + quantity` is at most 65536.
    pub quantity: u16,
}

/// Values that a request writes or a response carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// Bits, least significant first, `quantity` of them.
    Bits(&'a [u8]),
    /// Big-endian words.
    Registers(&'a [u8]),
    /// Mask write: new = (current & and) | (or & !and).
    Mask {
        /// Bits kept.
        and: u16,
        /// Bits set where `and` has none.
        or: u16,
    },
}

/// The write half of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Where.
    pub span: Span,
    /// What.
    pub values: Values<'a>,
}

/// One framed unit: MBAP header and PDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adu<'a> {
    /// Transaction identifier, chosen by the client, echoed by the server.
    pub transaction: u16,
    /// Unit identifier.
    pub unit: UnitId,
    /// Function code byte and data; 1 to 253 bytes.
    pub pdu: &'a [u8],
}

impl<'a> Adu<'a> {
    /// Looks for one ADU at the start of `bytes`.
    ///
    /// # Errors
    /// Protocol id not 0, or a length outside 2..=254: final for the connection, as no later header can be trusted.
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let _ = bytes;
        Err(DissectError::unsupported("skeleton", 0))
    }
}

/// A request, normalised: whatever the function code, what it reads and what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Function code.
    pub function: FunctionCode,
    /// Unit identifier.
    pub unit: UnitId,
    /// Transaction identifier.
    pub transaction: u16,
    /// Sub-function of 08 (diagnostics) or MEI type of 2B.
    pub sub_function: Option<u16>,
    /// What is read, if anything.
    pub read: Option<Span>,
    /// What is written, if anything.
    pub write: Option<Write<'a>>,
    /// PDU bytes after the function code.
    pub data: &'a [u8],
}

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
    /// Values carried by read responses.
    pub values: Option<Values<'a>>,
    /// PDU bytes after the function code.
    pub data: &'a [u8],
}

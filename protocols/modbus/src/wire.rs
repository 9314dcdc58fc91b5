use core::ops::RangeInclusive;

use dissect::{Confidence, DissectError, Step};

use crate::{FunctionCode, Request, Response};

/// Bytes before the PDU: transaction, protocol, length, unit.
pub(crate) const HEADER: usize = 7;

/// Bytes before what the length field counts: it includes the unit identifier.
const PREFIX: usize = 6;

/// Unit identifier of the MBAP header: 0 and 255 name the device itself, 1 to 247 a serial unit behind a gateway.
///
/// Source: messaging guide, sections 3.1.3 and 4.4.1. 248 to 254 are reserved; they are framed like the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitId(pub u8);

/// The four data tables of the Modbus data model.
///
/// Source: application protocol, section 4.3.
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

impl Table {
    /// Whether an item is a single bit.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }

    /// The table's name, in snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coils => "coils",
            Self::DiscreteInputs => "discrete_inputs",
            Self::HoldingRegisters => "holding_registers",
            Self::InputRegisters => "input_registers",
        }
    }
}

/// A range of one table.
///
/// Invariant of every span that [`Request::read`] or [`Response::read`] returns: `quantity` is at least 1 and
/// `address + quantity` at most 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which table.
    pub table: Table,
    /// Zero-based address of the first item.
    pub address: u16,
    /// Number of items, at least 1; `address + quantity` is at most 65536.
    pub quantity: u16,
}

impl Span {
    /// Zero-based address of the last item.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.address.saturating_add(self.quantity.saturating_sub(1))
    }

    /// The addresses of all items.
    #[must_use]
    pub const fn addresses(&self) -> RangeInclusive<u16> {
        self.address..=self.last()
    }

    /// Whether the item at `address` is in the span.
    #[must_use]
    pub const fn contains(&self, address: u16) -> bool {
        self.address <= address && address <= self.last()
    }
}

/// One framed unit: MBAP header and PDU.
///
/// Source: messaging guide, section 3.1.3. Shape, big-endian: transaction u16, protocol u16 = 0, length u16 (bytes that
/// follow: unit and PDU), unit u8, PDU.
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
    /// While the length field is not complete, `needed` is the shortest ADU, 8 bytes; after that it is exact. A wrong
    /// protocol identifier or length is found as soon as one of its bytes proves it.
    ///
    /// # Errors
    /// Protocol id not 0, or a length outside 2..=254: final for the connection, as no later header can be trusted.
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let Some((&header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return Self::step_short(bytes);
        };
        let [t0, t1, p0, p1, l0, l1, unit] = header;
        let length = usize::from(check_length(check_protocol(p0, p1)?, l0, l1)?);
        let len = PREFIX.saturating_add(length);
        Ok(match bytes.get(HEADER..len) {
            Some(pdu) => {
                Step::Whole { unit: Self { transaction: u16::from_be_bytes([t0, t1]), unit: UnitId(unit), pdu }, len }
            }
            None => Step::Partial { needed: len },
        })
    }

    /// The same for fewer bytes than a header: says what is known so far.
    #[cold]
    fn step_short(bytes: &[u8]) -> Result<Step<Self>, DissectError> {
        let protocol = match *bytes {
            [] | [_] | [_, _] => None,
            [_, _, p0] => Some(check_protocol(p0, 0)?),
            [_, _, p0, p1, ..] => Some(check_protocol(p0, p1)?),
        };
        let needed = match (protocol, bytes.get(4..)) {
            // The high byte alone decides that a length is above 255; 2 stands for any low byte that would be right.
            (Some(proof), Some(&[l0])) => {
                check_length(proof, l0, 2)?;
                HEADER.saturating_add(1)
            }
            (Some(proof), Some(&[l0, l1, ..])) => PREFIX.saturating_add(usize::from(check_length(proof, l0, l1)?)),
            _ => HEADER.saturating_add(1),
        };
        Ok(Step::Partial { needed })
    }

    /// Reads a datagram as exactly one ADU (Modbus over UDP has the same header and one unit a datagram).
    ///
    /// # Errors
    /// Those of [`Adu::step`]; a datagram that ends before its ADU does, or goes on after it.
    pub fn datagram(bytes: &'a [u8]) -> Result<Self, DissectError> {
        match Self::step(bytes)? {
            Step::Whole { unit, len } if len == bytes.len() => Ok(unit),
            Step::Whole { len, .. } => Err(DissectError::malformed("datagram length", len)),
            Step::Partial { needed } => Err(DissectError::truncated("ADU", 0, needed, bytes.len())),
        }
    }

    /// The function code byte, exception bit included; 0 where the PDU is empty, which no framed ADU has.
    #[must_use]
    pub const fn function_byte(&self) -> u8 {
        match self.pdu.first() {
            Some(&byte) => byte,
            None => 0,
        }
    }

    /// The function code without the exception bit.
    #[must_use]
    pub const fn function(&self) -> FunctionCode {
        FunctionCode(self.function_byte() & 0x7f)
    }
}

/// Shows that the protocol identifier was looked at before the length is believed.
#[derive(Clone, Copy)]
struct ProtocolIsModbus;

fn check_protocol(high: u8, low: u8) -> Result<ProtocolIsModbus, DissectError> {
    match (high, low) {
        (0, 0) => Ok(ProtocolIsModbus),
        _ => Err(DissectError::malformed("MBAP protocol identifier", 2)),
    }
}

fn check_length(_: ProtocolIsModbus, high: u8, low: u8) -> Result<u8, DissectError> {
    match (high, low) {
        (0, 2..=254) => Ok(low),
        _ => Err(DissectError::malformed("MBAP length", 4)),
    }
}

/// How sure it is that a stream that starts with `bytes` is Modbus/TCP, in either direction.
#[must_use]
pub fn probe(bytes: &[u8]) -> Confidence {
    match Adu::step(bytes) {
        Err(_) => Confidence::No,
        Ok(Step::Partial { .. }) => Confidence::Possible,
        Ok(Step::Whole { unit, .. }) => {
            let request = Request::read(&unit).is_ok_and(|request| request.known());
            let response = Response::read(&unit).is_ok_and(|response| response.function.is_public());
            if request || response { Confidence::Certain } else { Confidence::Possible }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: [u8; 12] = [0x12, 0x34, 0, 0, 0, 6, 0xff, 3, 0, 107, 0, 3];

    #[test]
    fn whole_unit_and_what_follows() {
        let mut two = READ.to_vec();
        two.extend_from_slice(&READ);
        let Ok(Step::Whole { unit, len }) = Adu::step(&two) else { panic!("not whole") };
        assert_eq!((unit.transaction, unit.unit, unit.pdu, len), (0x1234, UnitId(255), &READ[7..], 12));
    }

    #[test]
    fn every_cut_asks_for_what_is_missing() {
        for cut in 0..READ.len() {
            let needed = if cut < 6 { 8 } else { 12 };
            assert_eq!(Adu::step(&READ[..cut]), Ok(Step::Partial { needed }), "{cut} bytes");
        }
    }

    #[test]
    fn a_bad_header_is_found_at_its_first_wrong_byte() {
        let protocol = Err(DissectError::malformed("MBAP protocol identifier", 2));
        let length = Err(DissectError::malformed("MBAP length", 4));
        assert_eq!(Adu::step(&[0, 1, 1]), protocol);
        assert_eq!(Adu::step(&[0, 1, 0]), Ok(Step::Partial { needed: 8 }));
        assert_eq!(Adu::step(&[0, 1, 0, 1]), protocol);
        assert_eq!(Adu::step(&[0, 1, 0, 0, 1]), length);
        assert_eq!(Adu::step(&[0, 1, 0, 0, 0]), Ok(Step::Partial { needed: 8 }));
        for low in [0, 1, 255] {
            assert_eq!(Adu::step(&[0, 1, 0, 0, 0, low]), length, "length {low}");
        }
        assert_eq!(Adu::step(&[0, 1, 0, 0, 0, 254]), Ok(Step::Partial { needed: 260 }));
        assert_eq!(Adu::step(&[0, 1, 0, 0, 0, 2]), Ok(Step::Partial { needed: 8 }));
    }

    #[test]
    fn rtu_over_tcp_is_not_modbus_tcp() {
        // Unit, function 3, address 0x6b, quantity 3, CRC.
        assert!(Adu::step(&[0x11, 3, 0, 0x6b, 0, 3, 0x76, 0x87]).is_err());
    }

    #[test]
    fn a_datagram_is_one_unit() {
        assert_eq!(Adu::datagram(&READ).map(|adu| adu.transaction), Ok(0x1234));
        assert_eq!(Adu::datagram(&READ[..11]), Err(DissectError::truncated("ADU", 0, 12, 11)));
        let mut long = READ.to_vec();
        long.push(0);
        assert_eq!(Adu::datagram(&long), Err(DissectError::malformed("datagram length", 12)));
    }

    #[test]
    fn probe_is_certain_only_of_a_whole_known_unit() {
        assert_eq!(probe(&READ), Confidence::Certain);
        assert_eq!(probe(&READ[..9]), Confidence::Possible);
        assert_eq!(probe(b"GET / HTTP/1.1\r\n"), Confidence::No);
        assert_eq!(probe(&[0, 1, 0, 0, 0, 3, 1, 0x42, 0]), Confidence::Possible);
    }

    #[test]
    fn span_ends() {
        let span = Span { table: Table::Coils, address: 65535, quantity: 1 };
        assert_eq!((span.last(), span.contains(65535), span.contains(65534)), (65535, true, false));
        assert_eq!(Span { table: Table::Coils, address: 128, quantity: 4 }.addresses(), 128..=131);
    }
}

//! Differential test against `sawp-modbus`, the parser inside Suricata: the same units, the same fields, and the same
//! verdict but for the differences listed in `Difference`, each of which must really occur.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail loudly"
)]

mod common;

use std::collections::BTreeMap;

use dissect::{DissectError, Step};
use modbus::{Adu, Request, Response, Table, Values};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sawp::parser::{Direction, Parse};
use sawp_modbus::{Data, ErrorFlags, Flags, Message, Modbus, Read, Write};

/// Why the two verdicts may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// sawp does not compare address and quantity with the end of the table.
    AddressRange,
    /// sawp takes up to 2000 coils in a write, the specification 1968 (section 6.11).
    WriteQuantity,
    /// sawp leaves the records of 14 and 15, requests and responses, unread.
    FileRecords,
    /// sawp leaves the data of 2B unread.
    Identification,
    /// sawp leaves the responses of 0C, 11 and 18 unread, and the status word of 0B.
    ResponseData,
    /// sawp does not check the data of force listen only mode (08/0004), the specification wants 0000.
    ListenOnlyData,
    /// sawp wants exactly two bytes of data with each diagnostics request; the specification lets loopback (08/0000)
    /// have any number, and what a reserved sub-function has is not known.
    DiagnosticsLength,
    /// sawp wants 0000 with Modbus Plus statistics (08/0015), where the reference guide has operation codes.
    StatisticsOperation,
    /// sawp takes a response of registers with an odd byte count.
    OddRegisters,
    /// sawp does not check the value in the response of 05.
    CoilEcho,
    /// sawp's limits for the responses of 0F and 10 are exchanged: coils up to 125, registers up to 2000.
    WrittenQuantity,
    /// sawp flags exception codes that the specification does not list for the function; the code is the server's.
    ExceptionCode,
    /// sawp takes function code byte 0 in a response.
    FunctionZero,
    /// sawp takes 88 and AB, exception bit and all, as requests of 08 and 2B.
    ExceptionRequest,
}

type Seen = BTreeMap<Difference, u32>;

fn sawp(bytes: &[u8], direction: Direction) -> Option<Message> {
    match Modbus::default().parse(bytes, direction) {
        Ok(([], Some(message))) => Some(message),
        _ => None,
    }
}

fn clean(message: &Message) -> bool {
    message.error_flags == Flags::<ErrorFlags>::from_bits(0)
}

/// The difference that explains why this crate refuses a request that sawp takes.
fn stricter_request(adu: &Adu<'_>, error: DissectError) -> Option<Difference> {
    Some(match (adu.pdu[0], error.field) {
        (1..=6 | 0x0f | 0x10 | 0x17, "address and quantity") => Difference::AddressRange,
        (0x0f, "quantity") => Difference::WriteQuantity,
        (0x14 | 0x15, _) => Difference::FileRecords,
        (0x2b, _) => Difference::Identification,
        (0x08, "diagnostics data") if adu.pdu[1..3] == [0, 4] => Difference::ListenOnlyData,
        (0x88 | 0xab, "function code") => Difference::ExceptionRequest,
        _ => return None,
    })
}

/// The difference that explains why sawp refuses a request that this crate takes.
fn laxer_request(adu: &Adu<'_>) -> Option<Difference> {
    match adu.pdu {
        [0x08, 0, 0x15, _, _] => Some(Difference::StatisticsOperation),
        [0x08, 0, 0, ..] => Some(Difference::DiagnosticsLength),
        [0x08, ..] if !Request::read(adu).is_ok_and(|request| request.known()) => Some(Difference::DiagnosticsLength),
        _ => None,
    }
}

fn stricter_response(adu: &Adu<'_>, error: DissectError) -> Option<Difference> {
    Some(match (adu.pdu[0], error.field) {
        (0, _) => Difference::FunctionZero,
        (3 | 4 | 0x17, "byte count") => Difference::OddRegisters,
        (5, "coil value") => Difference::CoilEcho,
        (0x0f | 0x10, "address and quantity") => Difference::AddressRange,
        (0x10, "quantity") => Difference::WrittenQuantity,
        (0x14 | 0x15, _) => Difference::FileRecords,
        (0x2b, _) => Difference::Identification,
        (0x0b, "status word") | (0x0c | 0x11 | 0x18, _) => Difference::ResponseData,
        _ => return None,
    })
}

fn laxer_response(adu: &Adu<'_>) -> Option<Difference> {
    match adu.pdu {
        [0x80..=0xff, _] => Some(Difference::ExceptionCode),
        [0x0f, _, _, high, low] if u16::from_be_bytes([*high, *low]) > 125 => Some(Difference::WrittenQuantity),
        _ => None,
    }
}

fn allowed(seen: &mut Seen, difference: Option<Difference>, what: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    match difference {
        Some(difference) => *seen.entry(difference).or_default() += 1,
        None => return Err(TestCaseError::fail(format!("{what}: {bytes:02x?}"))),
    }
    Ok(())
}

fn request(seen: &mut Seen, bytes: &[u8]) -> Result<(), TestCaseError> {
    let adu = Adu::datagram(bytes).unwrap();
    let theirs = sawp(bytes, Direction::ToServer).filter(clean);
    match (Request::read(&adu), theirs) {
        (Ok(ours), Some(theirs)) => same_request(&ours, &theirs)?,
        (Err(_), None) => {}
        (Err(error), Some(_)) => {
            allowed(seen, stricter_request(&adu, error), &format!("only sawp takes the request, here {error}"), bytes)?;
        }
        (Ok(_), None) => allowed(seen, laxer_request(&adu), "sawp refuses the request", bytes)?,
    }
    Ok(())
}

fn same_request(ours: &Request<'_>, theirs: &Message) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.transaction, theirs.transaction_id);
    prop_assert_eq!((ours.unit.0, ours.function.0), (theirs.unit_id, theirs.function.raw));
    let read = ours.read.map(|span| (span.address, span.quantity));
    let write = ours.write.map(|write| (write.span.address, write.span.quantity));
    let bytes = |values: Values<'_>| match values {
        Values::Bits(bytes) | Values::Registers(bytes) => bytes.to_vec(),
        Values::Mask { and, or } => [and.to_be_bytes(), or.to_be_bytes()].concat(),
    };
    match &theirs.data {
        Data::Read(Read::Request { address, quantity }) => {
            prop_assert_eq!((read, write), (Some((*address, *quantity)), None));
        }
        Data::Write(Write::MultReq { address, quantity, data }) => {
            prop_assert_eq!((read, write), (None, Some((*address, *quantity))));
            prop_assert_eq!(&bytes(ours.write.unwrap().values), data);
        }
        Data::ReadWrite {
            read: Read::Request { address, quantity },
            write: Write::MultReq { address: to, quantity: words, data },
        } => {
            prop_assert_eq!((read, write), (Some((*address, *quantity)), Some((*to, *words))));
            prop_assert_eq!(&bytes(ours.write.unwrap().values), data);
        }
        Data::Write(Write::Other { address, data }) => {
            prop_assert_eq!((read, write), (None, Some((*address, 1))));
            let ours = ours.write.unwrap();
            let value = match ours.span.table {
                Table::Coils => ours.bits().next().map(|on| if on { 0xff00 } else { 0 }),
                _ => ours.registers().next(),
            };
            prop_assert_eq!(value, Some(*data));
        }
        Data::Write(Write::Mask { address, and_mask, or_mask }) => {
            prop_assert_eq!((read, write), (None, Some((*address, 1))));
            prop_assert_eq!(ours.write.unwrap().values, Values::Mask { and: *and_mask, or: *or_mask });
        }
        Data::Diagnostic { func, data } => {
            prop_assert_eq!(ours.sub_function, Some(func.raw));
            prop_assert_eq!(&ours.data[2..], &data[..]);
        }
        Data::MEI { mei_type, data } => {
            prop_assert_eq!(ours.sub_function, Some(u16::from(mei_type.raw)));
            prop_assert_eq!(&ours.data[1..], &data[..]);
        }
        Data::ByteVec(data) => prop_assert_eq!(ours.data, &data[..]),
        other => prop_assert!(false, "no request: {other:?}"),
    }
    Ok(())
}

fn response(seen: &mut Seen, bytes: &[u8]) -> Result<(), TestCaseError> {
    let adu = Adu::datagram(bytes).unwrap();
    let theirs = sawp(bytes, Direction::ToClient).filter(clean);
    match (Response::read(&adu), theirs) {
        (Ok(ours), Some(theirs)) => same_response(&ours, &theirs)?,
        (Err(_), None) => {}
        (Err(error), Some(_)) => {
            let what = format!("only sawp takes the response, here {error}");
            allowed(seen, stricter_response(&adu, error), &what, bytes)?;
        }
        (Ok(_), None) => allowed(seen, laxer_response(&adu), "sawp refuses the response", bytes)?,
    }
    Ok(())
}

fn same_response(ours: &Response<'_>, theirs: &Message) -> Result<(), TestCaseError> {
    prop_assert_eq!(ours.transaction, theirs.transaction_id);
    prop_assert_eq!((ours.unit.0, ours.function.0), (theirs.unit_id, theirs.function.raw & 0x7f));
    match &theirs.data {
        Data::Exception(exception) => prop_assert_eq!(ours.exception, Some(exception.raw)),
        Data::Read(Read::Response(data)) => match ours.values {
            Some(Values::Bits(bytes) | Values::Registers(bytes)) => prop_assert_eq!(bytes, &data[..]),
            other => prop_assert!(false, "no values: {other:?}"),
        },
        Data::Write(Write::Other { address, .. } | Write::Mask { address, .. }) => {
            prop_assert_eq!(ours.written().map(|span| span.address), Some(*address));
        }
        Data::ByteVec(data) => prop_assert_eq!(ours.data, &data[..]),
        Data::Diagnostic { data, .. } => prop_assert_eq!(&ours.data[2..], &data[..]),
        Data::MEI { data, .. } => prop_assert_eq!(&ours.data[1..], &data[..]),
        other => prop_assert!(false, "no response: {other:?}"),
    }
    Ok(())
}

fn run(
    units: impl Strategy<Value = Vec<u8>>,
    check: fn(&mut Seen, &[u8]) -> Result<(), TestCaseError>,
    seen: &mut Seen,
) {
    let seen = std::cell::RefCell::new(seen);
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(10_000) });
    runner.run(&units, |bytes| check(&mut seen.borrow_mut(), &bytes)).unwrap_or_else(|error| panic!("{error}"));
}

/// A unit with transaction 1, unit 1 and this PDU.
fn unit(pdu: &[u8]) -> Vec<u8> {
    [&[0, 1, 0, 0, 0, pdu.len() as u8 + 1, 1][..], pdu].concat()
}

#[test]
fn requests() {
    let mut seen = Seen::new();
    run(common::request(), request, &mut seen);
    run(common::damaged(common::request()), request, &mut seen);
}

#[test]
fn responses() {
    let mut seen = Seen::new();
    run(common::response(), response, &mut seen);
    run(common::damaged(common::response()), response, &mut seen);
}

/// Each difference is shown by one unit at least, so that none stays in the list that a later version of either has
/// removed.
#[test]
fn every_difference_is_real() {
    let mut seen = Seen::new();
    let coils_1969 = [&[0x0f, 0, 0, 0x07, 0xb1, 247][..], &[0; 247]].concat();
    for pdu in [
        &[3, 0xff, 0xff, 0, 2][..],
        &coils_1969,
        &[0x14, 7, 6, 0, 0, 0, 0, 0, 1],
        &[0x2b, 0x0e, 9, 0],
        &[8, 0, 4, 0, 1],
        &[8, 0, 0, 1, 2, 3],
        &[8, 0, 5],
        &[8, 0, 0x15, 0, 3],
        &[0x88, 0, 0, 0, 0],
    ] {
        request(&mut seen, &unit(pdu)).unwrap();
    }
    for pdu in [
        &[0, 1][..],
        &[3, 1, 0],
        &[5, 0, 0, 0, 1],
        &[0x10, 0, 0, 0, 124],
        &[0x0f, 0, 0, 0, 126],
        &[0x0b, 0, 1, 0, 0],
        &[0x18, 0, 2, 0, 9],
        &[0x83, 0x55],
    ] {
        response(&mut seen, &unit(pdu)).unwrap();
    }
    eprintln!("{seen:?}");
    assert_eq!(seen.len(), 14, "{seen:?}");
}

#[test]
fn the_same_framing() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(1024) });
    let header = (
        any::<u16>(),
        prop_oneof![9 => Just(0u16), 1 => any::<u16>()],
        0u16..=270,
        prop::collection::vec(any::<u8>(), 0..=280),
    );
    runner
        .run(&header, |(transaction, protocol, length, rest)| {
            let bytes = [&[transaction, protocol, length].map(u16::to_be_bytes).concat()[..], &rest].concat();
            let theirs = Modbus::default().parse(&bytes, Direction::Unknown);
            match (Adu::step(&bytes), theirs) {
                (Ok(Step::Whole { unit, len }), Ok((left, Some(message)))) => {
                    prop_assert_eq!(bytes.len() - len, left.len());
                    prop_assert_eq!((unit.transaction, unit.unit.0), (message.transaction_id, message.unit_id));
                    prop_assert_eq!(usize::from(message.length), len - 6);
                }
                (Ok(Step::Partial { .. }), Err(_)) => {}
                (Err(_), Ok((_, Some(message)))) => {
                    let header = ErrorFlags::PROTO_ID | ErrorFlags::DATA_LENGTH;
                    prop_assert!(message.error_flags.intersects(header));
                }
                // sawp wants the whole unit before it says that the protocol is wrong.
                (Err(error), Err(_)) => prop_assert_eq!(error.field, "MBAP protocol identifier"),
                (ours, theirs) => prop_assert!(false, "{ours:?} against {theirs:?}"),
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

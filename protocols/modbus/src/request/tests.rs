#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
use dissect::ErrorKind;

use super::*;

fn read(pdu: &[u8]) -> Result<Request<'_>, DissectError> {
    Request::read(&Adu { transaction: 7, unit: UnitId(1), pdu })
}

/// The field that a request is refused for.
fn refused(pdu: &[u8]) -> &'static str {
    match read(pdu) {
        Err(error) => error.field,
        Ok(request) => panic!("taken: {request:02x?}"),
    }
}

fn pdu(head: &[u8], values: usize) -> Vec<u8> {
    let mut pdu = head.to_vec();
    pdu.resize(head.len() + values, 0);
    pdu
}

#[test]
fn reads() {
    let tables = [
        (1, Table::Coils, 2000u16),
        (2, Table::DiscreteInputs, 2000),
        (3, Table::HoldingRegisters, 125),
        (4, Table::InputRegisters, 125),
    ];
    for (code, table, limit) in tables {
        let with = |address: u16, quantity: u16| {
            let ([a0, a1], [q0, q1]) = (address.to_be_bytes(), quantity.to_be_bytes());
            [code, a0, a1, q0, q1]
        };
        for (address, quantity) in [(0, 1), (0x1234, limit), (65535, 1), (65535 - limit + 1, limit)] {
            let pdu = with(address, quantity);
            let request = read(&pdu).unwrap();
            assert_eq!(request.read, Some(Span { table, address, quantity }));
            assert_eq!((request.write, request.sub_function, request.data), (None, None, &pdu[1..]));
            assert_eq!((request.function.0, request.unit, request.transaction), (code, UnitId(1), 7));
            assert!(request.known() && !request.changes_state());
        }
        for quantity in [0, limit + 1, 65535] {
            assert_eq!(refused(&with(0, quantity)), "quantity");
        }
        for (address, quantity) in [(65535, 2), (65535 - limit + 2, limit)] {
            let error = read(&with(address, quantity)).unwrap_err();
            assert_eq!((error.field, error.offset), ("address and quantity", 8));
            assert_eq!(Request::exception_for(&error), ExceptionCode::ILLEGAL_DATA_ADDRESS);
        }
        let error = read(&with(0, 1)[..4]).unwrap_err();
        assert_eq!(error, DissectError::truncated("PDU", 8, 4, 3));
        assert_eq!(refused(&[code, 0, 0, 0, 1, 0]), "PDU length");
    }
}

#[test]
fn single_writes() {
    let request = read(&[5, 0, 16, 0xff, 0]).unwrap();
    let write = request.write.unwrap();
    assert_eq!(write.span, Span { table: Table::Coils, address: 16, quantity: 1 });
    assert_eq!(write.bits().collect::<Vec<_>>(), [true]);
    assert_eq!(read(&[5, 0, 16, 0, 0]).unwrap().write.unwrap().bits().collect::<Vec<_>>(), [false]);
    for value in [[0, 1], [0xff, 1], [0xff, 0xff], [1, 0], [0, 0xff]] {
        assert_eq!(refused(&[5, 0, 16, value[0], value[1]]), "coil value");
    }

    let write = read(&[6, 0xff, 0xff, 0x12, 0x34]).unwrap().write.unwrap();
    assert_eq!(write.span, Span { table: Table::HoldingRegisters, address: 65535, quantity: 1 });
    assert_eq!(write.registers().collect::<Vec<_>>(), [0x1234]);
    for code in [5, 6] {
        assert_eq!(refused(&[code, 0, 0, 0]), "PDU");
        assert_eq!(refused(&[code, 0, 0, 0, 0, 0]), "PDU length");
    }
}

#[test]
fn multiple_coils() {
    let pdu_of = |quantity: u16, count: u8, values: usize| {
        let [q0, q1] = quantity.to_be_bytes();
        pdu(&[15, 0, 19, q0, q1, count], values)
    };
    let request = [15, 0, 19, 0, 10, 2, 0xcd, 0x01];
    let write = read(&request).unwrap().write.unwrap();
    assert_eq!(write.span, Span { table: Table::Coils, address: 19, quantity: 10 });
    assert_eq!(write.bits().filter(|on| *on).count(), 6);
    assert!(read(&pdu_of(1968, 246, 246)).is_ok());
    assert_eq!(refused(&pdu_of(1969, 247, 247)), "quantity");
    assert_eq!(refused(&pdu_of(0, 0, 0)), "quantity");
    assert_eq!(refused(&pdu_of(10, 1, 2)), "byte count");
    assert_eq!(refused(&pdu_of(10, 3, 3)), "byte count");
    assert_eq!(refused(&pdu_of(10, 2, 1)), "values");
    assert_eq!(refused(&pdu_of(10, 2, 3)), "PDU length");
    assert_eq!(refused(&[15, 0xff, 0xff, 0, 2, 1, 0]), "address and quantity");
}

#[test]
fn multiple_registers() {
    let pdu_of = |quantity: u16, count: u8, values: usize| {
        let [q0, q1] = quantity.to_be_bytes();
        pdu(&[16, 0, 128, q0, q1, count], values)
    };
    let request = [16, 0, 128, 0, 2, 4, 0, 10, 1, 2];
    let write = read(&request).unwrap().write.unwrap();
    assert_eq!(write.span, Span { table: Table::HoldingRegisters, address: 128, quantity: 2 });
    assert_eq!(write.registers().collect::<Vec<_>>(), [10, 0x102]);
    assert!(read(&pdu_of(123, 246, 246)).is_ok());
    assert_eq!(refused(&pdu_of(124, 248, 248)), "quantity");
    assert_eq!(refused(&pdu_of(0, 0, 0)), "quantity");
    assert_eq!(refused(&pdu_of(2, 3, 3)), "byte count");
    // 128 registers are 256 bytes: a count that wrapped to 0 must not pass.
    assert_eq!(refused(&pdu_of(128, 0, 0)), "quantity");
    let error = read(&pdu_of(2, 4, 3)).unwrap_err();
    assert_eq!(error, DissectError::truncated("values", 13, 4, 3));
    assert_eq!(refused(&pdu_of(2, 4, 5)), "PDU length");
    assert_eq!(refused(&[16, 0xff, 0xff, 0, 2, 4, 0, 0, 0, 0]), "address and quantity");
}

#[test]
fn mask_write() {
    let write = read(&[0x16, 0, 4, 0, 0xf2, 0, 0x25]).unwrap().write.unwrap();
    assert_eq!(write.span, Span { table: Table::HoldingRegisters, address: 4, quantity: 1 });
    assert_eq!(write.values, Values::Mask { and: 0xf2, or: 0x25 });
    assert_eq!(refused(&[0x16, 0, 4, 0, 0xf2, 0]), "PDU");
    assert_eq!(refused(&[0x16, 0, 4, 0, 0xf2, 0, 0x25, 0]), "PDU length");
}

#[test]
fn read_write_multiple_registers() {
    let request = [0x17, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 255, 0, 255, 0, 254];
    let parsed = read(&request).unwrap();
    assert_eq!(parsed.read, Some(Span { table: Table::HoldingRegisters, address: 3, quantity: 6 }));
    let write = parsed.write.unwrap();
    assert_eq!(write.span, Span { table: Table::HoldingRegisters, address: 14, quantity: 3 });
    assert_eq!(write.registers().collect::<Vec<_>>(), [255, 255, 254]);
    assert!(parsed.changes_state());

    let pdu_of =
        |reads: u8, writes: u8, count: u8| pdu(&[0x17, 0, 0, 0, reads, 0, 0, 0, writes, count], usize::from(count));
    assert!(read(&pdu_of(125, 121, 242)).is_ok());
    assert_eq!(read(&pdu_of(126, 121, 242)).unwrap_err().offset, 10);
    assert_eq!(read(&pdu_of(125, 122, 244)).unwrap_err().offset, 14);
    assert_eq!(refused(&pdu_of(0, 1, 2)), "quantity");
    assert_eq!(refused(&pdu_of(1, 0, 0)), "quantity");
    assert_eq!(refused(&pdu_of(1, 2, 2)), "byte count");
    for len in 1..request.len() {
        assert_eq!(read(&request[..len]).unwrap_err().kind, ErrorKind::Truncated, "{len}");
    }
    assert_eq!(refused(&[&request[..], &[0]].concat()), "PDU length");
    assert_eq!(refused(&[0x17, 0xff, 0xff, 0, 2, 0, 0, 0, 1, 2, 0, 0]), "address and quantity");
    assert_eq!(refused(&[0x17, 0, 0, 0, 2, 0xff, 0xff, 0, 2, 4, 0, 0, 0, 0]), "address and quantity");
}

#[test]
fn functions_without_data() {
    for code in [0x07, 0x0b, 0x0c, 0x11] {
        let pdu = [code];
        let request = read(&pdu).unwrap();
        assert!(request.known() && !request.changes_state());
        assert_eq!(refused(&[code, 0]), "PDU length");
    }
}

#[test]
fn fifo_queue() {
    let request = read(&[0x18, 0x04, 0xde]).unwrap();
    assert_eq!(request.read, Some(Span { table: Table::HoldingRegisters, address: 0x4de, quantity: 32 }));
    // The queue ends with the table.
    for (low, quantity) in [(0xe0, 32), (0xe1, 31), (0xff, 1)] {
        let span = read(&[0x18, 0xff, low]).unwrap().read.unwrap();
        assert_eq!((span.quantity, span.last()), (quantity, 65535));
    }
    assert_eq!(refused(&[0x18, 0]), "PDU");
    assert_eq!(refused(&[0x18, 0, 0, 0]), "PDU length");
}

#[test]
fn diagnostics() {
    for (data, changes) in [
        (&[0, 0][..], false),
        (&[0, 0, 0xa5, 0x37, 1], false),
        (&[0, 1, 0, 0], true),
        (&[0, 1, 0xff, 0], true),
        (&[0, 2, 0, 0], false),
        (&[0, 3, b'\n', 0], true),
        (&[0, 4, 0, 0], true),
        (&[0, 0x0a, 0, 0], true),
        (&[0, 0x13, 0, 0], false),
        (&[0, 0x14, 0, 0], true),
        (&[0, 0x15, 0, 3], true),
    ] {
        let pdu = [&[8], data].concat();
        let request = read(&pdu).unwrap();
        assert_eq!(request.sub_function, Some(u16::from(data[1])));
        assert!(request.known() && request.sub_function_name().is_some());
        assert_eq!(request.changes_state(), changes, "{data:02x?}");
    }
    for data in [[0, 1, 1, 0], [0, 1, 0xff, 1], [0, 2, 0, 1], [0, 3, 10, 1], [0, 4, 1, 0], [0, 0x0a, 0, 1]] {
        assert_eq!(refused(&[&[8][..], &data].concat()), "diagnostics data");
    }
    assert_eq!(refused(&[8, 0]), "PDU");
    assert_eq!(refused(&[8, 0, 4]), "PDU");
    assert_eq!(refused(&[8, 0, 4, 0, 0, 0, 0]), "PDU length");
    for reserved in [[0, 5], [0, 9], [0, 0x16], [1, 0]] {
        let pdu = [&[8][..], &reserved, &[1, 2, 3]].concat();
        let request = read(&pdu).unwrap();
        assert!(!request.known() && request.changes_state());
    }
}

#[test]
fn encapsulated_interface_transport() {
    for code in 1..=4 {
        let pdu = [0x2b, 0x0e, code, 0];
        let request = read(&pdu).unwrap();
        assert_eq!(request.sub_function, Some(14));
        assert_eq!(request.sub_function_name(), Some("read_device_identification"));
        assert!(request.known() && !request.changes_state());
    }
    for code in [0, 5, 255] {
        assert_eq!(refused(&[0x2b, 0x0e, code, 0]), "read device identification code");
    }
    assert_eq!(refused(&[0x2b, 0x0e, 1]), "PDU");
    assert_eq!(refused(&[0x2b, 0x0e, 1, 0, 0]), "PDU length");
    assert_eq!(refused(&[0x2b]), "PDU");
    let canopen = read(&[0x2b, 0x0d, 1, 2, 3]).unwrap();
    assert!(canopen.known() && canopen.changes_state());
    let reserved = read(&[0x2b, 0x0f]).unwrap();
    assert!(!reserved.known() && reserved.changes_state());
}

#[test]
fn file_records_of_a_read() {
    let request = [0x14, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2];
    let parsed = read(&request).unwrap();
    assert_eq!((parsed.read, parsed.write), (None, None));
    let records: Vec<_> = parsed.file_records().collect();
    assert_eq!(records, [FileRecordOf(4, 1, 2, &[]), FileRecordOf(3, 9, 2, &[])].map(FileRecordOf::build));
    assert!(parsed.known() && !parsed.changes_state());

    let one = |file: u16, record: u16, length: u16| {
        let words = [file, record, length].map(u16::to_be_bytes).concat();
        [&[0x14, 7, 6][..], &words].concat()
    };
    assert!(read(&one(1, 9999, 1)).is_ok());
    assert!(read(&one(65535, 9876, 124)).is_ok());
    assert_eq!(refused(&one(0, 0, 1)), "file number");
    assert_eq!(refused(&one(1, 10000, 1)), "file record number");
    assert_eq!(refused(&one(1, 9999, 2)), "file record length");
    assert_eq!(refused(&one(1, 0, 0)), "file record length");
    // 2 + 2 + 2 * 124 = 252 fits a PDU, one register more does not.
    assert_eq!(refused(&one(1, 0, 125)), "file reply length");
    assert_eq!(refused(&[0x14, 7, 5, 0, 1, 0, 0, 0, 1]), "file reference type");
    assert_eq!(refused(&[0x14]), "byte count");
    assert_eq!(refused(&[0x14, 0]), "byte count");
    assert_eq!(refused(&[0x14, 8, 6, 0, 1, 0, 0, 0, 1]), "byte count");
    assert_eq!(refused(&[0x14, 6, 6, 0, 1, 0, 0, 0]), "file sub-request");
    let error = read(&[0x14, 14, 6, 0, 4, 0, 1, 0, 2, 9, 0, 3, 0, 9, 0, 2]).unwrap_err();
    assert_eq!((error.field, error.offset), ("file reference type", 16));
    assert_eq!(Request::exception_for(&error), ExceptionCode::ILLEGAL_DATA_ADDRESS);
}

#[test]
fn as_many_file_records_as_fit() {
    let group = [6, 0, 1, 0, 0, 0, 1];
    let of = |count: usize| [&[0x14, (7 * count) as u8][..], &group.repeat(count)].concat();
    assert_eq!(read(&of(35)).unwrap().file_records().count(), 35);
    // 36 would be a PDU of 254 bytes, which framing never lets through; the reply limit does not mind.
    let error = Adu::datagram(&[&[0, 1, 0, 0, 0, 255, 1][..], &of(36)].concat()).unwrap_err();
    assert_eq!(error.field, "MBAP length");
}

#[test]
fn file_records_of_a_write() {
    let request = [0x15, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xaf, 4, 0xbe, 16, 13];
    let parsed = read(&request).unwrap();
    let records: Vec<_> = parsed.file_records().collect();
    assert_eq!(records, [FileRecordOf(4, 7, 3, &[6, 0xaf, 4, 0xbe, 16, 13]).build()]);
    assert!(parsed.known() && parsed.changes_state());
    assert_eq!(refused(&[0x15, 7, 6, 0, 4, 0, 7, 0, 0]), "file record length");
    assert_eq!(refused(&[0x15, 8, 6, 0, 4, 0, 7, 0, 1, 9]), "file record data");
    assert_eq!(refused(&[0x15, 10, 6, 0, 4, 0, 7, 0, 1, 9, 9, 9]), "file sub-request");
    assert_eq!(refused(&[0x15, 9, 6, 0, 4, 0, 7, 0, 1, 9]), "byte count");
}

/// File, record, length, data.
struct FileRecordOf(u16, u16, u16, &'static [u8]);

impl FileRecordOf {
    fn build(self) -> file::FileRecord<'static> {
        file::FileRecord { file: self.0, record: self.1, length: self.2, data: self.3 }
    }
}

#[test]
fn codes_that_are_not_public() {
    for code in (1..=127).map(FunctionCode).filter(|code| !code.is_public()) {
        let pdu = [code.0, 1, 0x41, 3];
        let request = read(&pdu).unwrap();
        assert!(!request.known() && request.changes_state());
        assert_eq!((request.read, request.write, request.name()), (None, None, code.name()));
        assert_eq!(request.file_records().count(), 0);
    }
    let umas = read(&[0x5a, 1, 0x41, 3]).unwrap();
    assert_eq!((umas.name(), umas.sub_function_name()), ("umas", Some("stop_plc")));
    assert_eq!(read(&[0x5a]).unwrap().sub_function, None);
}

#[test]
fn codes_that_no_request_has() {
    for code in [0, 0x80, 0x83, 0xff] {
        let error = read(&[code, 0, 0, 0, 1]).unwrap_err();
        assert_eq!((error.field, error.offset), ("function code", 7));
        assert_eq!(Request::exception_for(&error), ExceptionCode::ILLEGAL_FUNCTION);
    }
    assert_eq!(refused(&[]), "function code");
}

#[test]
fn exception_for_a_request() {
    let request = read(&[6, 0, 1, 0, 1]).unwrap();
    assert_eq!(request.exception(ExceptionCode::ILLEGAL_DATA_ADDRESS), [0, 7, 0, 0, 0, 3, 1, 0x86, 2]);
    let error = read(&[3, 0, 0, 0, 0]).unwrap_err();
    assert_eq!(Request::exception_for(&error), ExceptionCode::ILLEGAL_DATA_VALUE);
}

use super::*;

fn read(pdu: &[u8]) -> Result<Response<'_>, DissectError> {
    Response::read(&Adu { transaction: 9, unit: UnitId(255), pdu })
}

fn refused(pdu: &[u8]) -> &'static str {
    match read(pdu) {
        Err(error) => error.field,
        Ok(response) => panic!("taken: {response:02x?}"),
    }
}

#[test]
fn bits_and_registers() {
    for code in [1, 2] {
        let pdu = [code, 2, 0xcd, 1];
        assert_eq!(read(&pdu).unwrap().values, Some(Values::Bits(&[0xcd, 1])));
        assert_eq!(refused(&[code, 0]), "byte count");
        assert_eq!(refused(&[code, 251]), "byte count");
    }
    for code in [3, 4, 0x17] {
        let pdu = [code, 4, 0, 1, 0, 2];
        let response = read(&pdu).unwrap();
        assert_eq!(response.values.unwrap().registers().collect::<Vec<_>>(), [1, 2]);
        assert_eq!((response.exception, response.written()), (None, None));
        assert_eq!(refused(&[code, 3, 0, 1, 0]), "byte count");
        assert_eq!(refused(&[code, 4, 0, 1, 0]), "values");
        assert_eq!(refused(&[code, 4, 0, 1, 0, 2, 3]), "PDU length");
        assert_eq!(refused(&[code]), "byte count");
    }
}

#[test]
fn echoes() {
    let span = |table, address, quantity| Some(Span { table, address, quantity });
    for (pdu, written) in [
        (&[5, 0, 16, 0xff, 0][..], span(Table::Coils, 16, 1)),
        (&[6, 0, 128, 1, 2], span(Table::HoldingRegisters, 128, 1)),
        (&[15, 0, 19, 0, 10], span(Table::Coils, 19, 10)),
        (&[16, 0, 1, 0, 2], span(Table::HoldingRegisters, 1, 2)),
        (&[0x16, 0, 4, 0, 0xf2, 0, 0x25], span(Table::HoldingRegisters, 4, 1)),
    ] {
        assert_eq!(read(pdu).unwrap().written(), written);
        assert_eq!(refused(&pdu[..pdu.len().saturating_sub(1)]), "PDU");
        assert_eq!(refused(&[pdu, &[0]].concat()), "PDU length");
    }
    assert_eq!(refused(&[5, 0, 16, 1, 0]), "coil value");
    assert_eq!(refused(&[15, 0, 0, 0, 0]), "quantity");
    assert_eq!(refused(&[16, 0, 0, 0, 124]), "quantity");
    assert_eq!(refused(&[16, 0xff, 0xff, 0, 2]), "address and quantity");
}

#[test]
fn serial_line_functions() {
    assert!(read(&[7, 0x6d]).is_ok());
    assert_eq!(refused(&[7]), "PDU");
    assert!(read(&[8, 0, 0, 0xa5, 0x37]).is_ok());
    assert_eq!(refused(&[8, 0]), "sub-function");
    assert!(read(&[0x0b, 0xff, 0xff, 1, 8]).is_ok());
    assert_eq!(refused(&[0x0b, 0, 1, 1, 8]), "status word");
    assert!(read(&[0x0c, 8, 0, 0, 1, 8, 1, 0x21, 0x20, 0]).is_ok());
    assert_eq!(refused(&[0x0c, 5, 0, 0, 1, 8, 1]), "byte count");
    assert_eq!(refused(&[[0x0c, 71].as_slice(), &[0; 71]].concat()), "byte count");
    assert!(read(&[0x11, 2, 1, 0xff]).is_ok());
    assert_eq!(refused(&[0x11, 2, 1]), "values");
}

#[test]
fn fifo_queue() {
    let pdu = [0x18, 0, 6, 0, 2, 1, 0xb8, 0x12, 0x84];
    let values = read(&pdu).unwrap().values.unwrap();
    assert_eq!(values.registers().collect::<Vec<_>>(), [2, 0x1b8, 0x1284]);
    assert!(read(&[0x18, 0, 2, 0, 0]).is_ok());
    assert_eq!(refused(&[0x18, 0, 6, 0, 1, 1, 0xb8, 0x12, 0x84]), "byte count");
    assert_eq!(refused(&[0x18, 0, 6, 0, 2, 1, 0xb8, 0x12]), "values");
    assert_eq!(refused(&[0x18, 0, 6, 0, 2, 1, 0xb8, 0x12, 0, 0]), "PDU length");
    assert_eq!(refused(&[[0x18, 0, 66, 0, 32].as_slice(), &[0; 64]].concat()), "FIFO count");
}

#[test]
fn files() {
    let pdu = [0x14, 12, 5, 6, 13, 0xfe, 0, 0x20, 5, 6, 0x33, 0xcd, 0, 0x40];
    let data: Vec<_> = read(&pdu).unwrap().file_data().collect();
    assert_eq!(data, [[13, 0xfe, 0, 0x20], [0x33, 0xcd, 0, 0x40]]);
    assert_eq!(refused(&[0x14, 3, 2, 6, 13]), "file response length");
    assert_eq!(refused(&[0x14, 4, 3, 7, 13, 0]), "file reference type");
    assert_eq!(refused(&[0x14, 4, 5, 6, 13, 0]), "file record data");
    assert_eq!(refused(&[0x14, 2, 0, 6]), "file response length");
    let pdu = [0x15, 9, 6, 0, 4, 0, 7, 0, 1, 6, 0xaf];
    assert_eq!(read(&pdu).unwrap().file_records().count(), 1);
    assert_eq!(read(&pdu).unwrap().file_data().count(), 0);
}

#[test]
fn device_identification() {
    let pdu = [&[0x2b, 0x0e, 1, 1, 0, 0, 2, 0, 3][..], b"abc", &[1, 0]].concat();
    let objects: Vec<_> = read(&pdu).unwrap().device_objects().map(|object| (object.id, object.value)).collect();
    assert_eq!(objects, [(0, &b"abc"[..]), (1, &b""[..])]);
    let broken = |at: usize, value: u8| {
        let mut pdu = pdu.clone();
        pdu[at] = value;
        refused(&pdu)
    };
    assert_eq!(broken(2, 5), "read device identification code");
    assert_eq!(broken(3, 4), "conformity level");
    assert_eq!(broken(4, 1), "more follows");
    assert_eq!(broken(6, 1), "number of objects");
    assert_eq!(broken(6, 3), "device object id");
    assert_eq!(broken(8, 9), "device object value");
    assert_eq!(refused(&pdu[..6]), "PDU");
    assert!(read(&[0x2b, 0x0d, 1]).is_ok());
    assert_eq!(refused(&[0x2b]), "MEI type");
}

#[test]
fn exceptions() {
    for code in 0..=255 {
        let pdu = [0x83, code];
        let response = read(&pdu).unwrap();
        assert_eq!((response.function, response.exception), (FunctionCode::READ_HOLDING_REGISTERS, Some(code)));
        assert_eq!((response.values, response.written()), (None, None));
    }
    assert_eq!(refused(&[0x83]), "PDU");
    assert_eq!(refused(&[0x83, 2, 0]), "PDU length");
    // pymodbus answers a malformed request so.
    assert_eq!(read(&[0x80, 1]).unwrap().function, FunctionCode(0));
    assert_eq!(refused(&[0, 1]), "function code");
    assert_eq!(refused(&[]), "function code");
}

#[test]
fn codes_that_are_not_public_are_left_unread() {
    assert_eq!(read(&[0x5a, 0, 0xfe, 1]).unwrap().data, [0, 0xfe, 1]);
    assert!(read(&[0x42]).is_ok());
}

use super::*;

const HEAD: Mbap = Mbap::new(0x0102, UnitId(255));

#[test]
fn bytes_of_a_read() {
    let mut buffer = [0xee; 20];
    let unit = HEAD.read(&mut buffer, FunctionCode::READ_HOLDING_REGISTERS, 258, 8).unwrap();
    assert_eq!(unit, [1, 2, 0, 0, 0, 6, 255, 3, 1, 2, 0, 8]);
}

#[test]
fn bytes_of_writes() {
    let mut buffer = [0; 32];
    assert_eq!(HEAD.write_single_coil(&mut buffer, 16, true).unwrap()[7..], [5, 0, 16, 0xff, 0]);
    let coils = [true, false, true, true, false, false, true, true, true, false];
    assert_eq!(HEAD.write_multiple_coils(&mut buffer, 19, &coils).unwrap()[7..], [15, 0, 19, 0, 10, 2, 0xcd, 1]);
    let unit = HEAD.write_multiple_registers(&mut buffer, 1, &[10, 0x102]).unwrap();
    assert_eq!(unit, [1, 2, 0, 0, 0, 11, 255, 16, 0, 1, 0, 2, 4, 0, 10, 1, 2]);
    let unit = HEAD.read_write_multiple_registers(&mut buffer, (3, 6), 14, &[255]).unwrap();
    assert_eq!(unit[7..], [0x17, 0, 3, 0, 6, 0, 14, 0, 1, 2, 0, 255]);
    let record = FileWrite { file: 4, record: 7, registers: &[0x6af] };
    assert_eq!(HEAD.write_file_record(&mut buffer, &[record]).unwrap()[7..], [0x15, 9, 6, 0, 4, 0, 7, 0, 1, 6, 0xaf]);
}

#[test]
fn no_room() {
    let mut buffer = [0; 11];
    let error = HEAD.write_single_register(&mut buffer, 1, 2).unwrap_err();
    assert_eq!(error, EmitError::Room { needed: 12, have: 11 });
    assert_eq!(HEAD.bare(&mut [], FunctionCode(7)).unwrap_err(), EmitError::Room { needed: 8, have: 0 });
}

#[test]
fn what_breaks_a_limit_is_not_written() {
    let mut buffer = [0; 2 * MAX_ADU];
    let field = |result: Result<&[u8], EmitError>| match result {
        Err(EmitError::Illegal(error)) => error.field,
        other => panic!("{other:02x?}"),
    };
    assert_eq!(field(HEAD.write_multiple_registers(&mut buffer, 0, &[0; 124])), "MBAP length");
    assert_eq!(field(HEAD.write_multiple_coils(&mut buffer, 0, &[false; 1969])), "quantity");
    assert_eq!(field(HEAD.write_multiple_coils(&mut buffer, 0, &[])), "quantity");
    assert_eq!(field(HEAD.read(&mut buffer, FunctionCode::READ_COILS, 65535, 2)), "address and quantity");
    assert_eq!(field(HEAD.bare(&mut buffer, FunctionCode::READ_COILS)), "PDU");
    assert_eq!(field(HEAD.fifo_queue(&mut buffer, &[0; 32])), "FIFO count");
    assert_eq!(
        field(HEAD.diagnostics(&mut buffer, Diagnostic::RESTART_COMMUNICATIONS_OPTION, &[1, 1])),
        "diagnostics data"
    );
    assert_eq!(field(HEAD.pdu(&mut buffer, &[])), "MBAP length");
    assert_eq!(field(HEAD.pdu(&mut buffer, &[3; 254])), "MBAP length");
    assert_eq!(HEAD.pdu(&mut buffer, &[3; 253]).unwrap().len(), MAX_ADU);
}

#[test]
fn exception_is_a_response() {
    let bytes = exception(5, UnitId(1), FunctionCode::WRITE_SINGLE_COIL, ExceptionCode::ILLEGAL_DATA_VALUE);
    assert_eq!(bytes, [0, 5, 0, 0, 0, 3, 1, 0x85, 3]);
    let adu = Adu::datagram(&bytes).unwrap();
    let response = Response::read(&adu).unwrap();
    assert_eq!(response.exception, Some(3));
    let mut buffer = [0; 9];
    assert_eq!(response.emit(&mut buffer).unwrap(), bytes);
}

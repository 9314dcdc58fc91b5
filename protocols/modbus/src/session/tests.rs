use dissect::Step;
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::{Adu, ExceptionCode, Mbap, UnitId};

fn adu(bytes: &[u8]) -> Adu<'_> {
    match Adu::step(bytes) {
        Ok(Step::Whole { unit, .. }) => unit,
        other => panic!("{other:?}"),
    }
}

fn read_request(transaction: u16, unit: u8, address: u16, quantity: u16) -> Vec<u8> {
    let mut buffer = [0; 260];
    let head = Mbap::new(transaction, UnitId(unit));
    head.read(&mut buffer, FunctionCode::READ_HOLDING_REGISTERS, address, quantity).unwrap().to_vec()
}

fn read_response(transaction: u16, unit: u8, registers: &[u16]) -> Vec<u8> {
    let mut buffer = [0; 260];
    let head = Mbap::new(transaction, UnitId(unit));
    head.registers(&mut buffer, FunctionCode::READ_HOLDING_REGISTERS, registers).unwrap().to_vec()
}

fn ask(session: &mut Session, bytes: &[u8], tag: u64) -> Result<(), Full> {
    session.request(&Request::read(&adu(bytes)).unwrap(), tag)
}

fn answer(session: &mut Session, bytes: &[u8]) -> Option<Answer> {
    session.answer(&Response::read(&adu(bytes)).unwrap())
}

#[test]
fn out_of_order_and_by_all_of_the_key() {
    let mut session = Session::new();
    ask(&mut session, &read_request(1, 1, 258, 1), 10).unwrap();
    ask(&mut session, &read_request(2, 1, 0, 2), 20).unwrap();
    ask(&mut session, &read_request(2, 2, 0, 3), 30).unwrap();
    assert_eq!(session.tags().collect::<Vec<_>>(), [10, 20, 30]);
    assert_eq!(answer(&mut session, &read_response(3, 1, &[0])), None);
    assert_eq!(answer(&mut session, &read_response(1, 2, &[0])), None);
    let other_function = Mbap::new(1, UnitId(1));
    let mut buffer = [0; 16];
    let other_function = other_function.registers(&mut buffer, FunctionCode::READ_INPUT_REGISTERS, &[0]).unwrap();
    assert_eq!(answer(&mut session, other_function), None);

    let second = answer(&mut session, &read_response(2, 2, &[1, 2, 3])).unwrap();
    let span = Span { table: Table::HoldingRegisters, address: 0, quantity: 3 };
    assert_eq!(second, Answer { tag: 30, span: Some(span), fits: true });
    let response = read_response(1, 1, &[7]);
    assert_eq!(session.response(&Response::read(&adu(&response)).unwrap()), Matched::To(10));
    assert_eq!(session.response(&Response::read(&adu(&response)).unwrap()), Matched::Unsolicited);
    assert_eq!(session.len(), 1);
}

#[test]
fn first_in_first_out_among_equals() {
    let mut session = Session::new();
    for tag in 1..=3 {
        ask(&mut session, &read_request(0, 255, 0, 1), tag).unwrap();
    }
    let response = read_response(0, 255, &[0]);
    let tags: Vec<_> = (0..4).map(|_| answer(&mut session, &response).map(|answer| answer.tag)).collect();
    assert_eq!(tags, [Some(1), Some(2), Some(3), None]);
    assert!(session.is_empty());
}

#[test]
fn full_is_said_and_nothing_is_lost() {
    let mut session = Session::new();
    for transaction in 0..16 {
        ask(&mut session, &read_request(transaction, 1, 0, 1), u64::from(transaction)).unwrap();
    }
    assert_eq!(ask(&mut session, &read_request(16, 1, 0, 1), 16), Err(Full));
    assert_eq!(answer(&mut session, &read_response(16, 1, &[0])), None);
    assert_eq!(answer(&mut session, &read_response(5, 1, &[0])).map(|answer| answer.tag), Some(5));
    assert_eq!(ask(&mut session, &read_request(17, 1, 0, 1), 17), Ok(()));
    assert!(session.forget(8) && !session.forget(8));
    assert_eq!(session.forget_oldest(), Some(0));
    assert_eq!(session.tags().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17]);
}

#[test]
fn exceptions_answer_too() {
    let mut session = Session::new();
    let bytes = read_request(4, 1, 0, 1);
    ask(&mut session, &bytes, 1).unwrap();
    let exception = Request::read(&adu(&bytes)).unwrap().exception(ExceptionCode::SERVER_DEVICE_BUSY);
    let answer = answer(&mut session, &exception).unwrap();
    assert_eq!((answer.tag, answer.fits), (1, true));
}

#[test]
fn a_response_that_contradicts_its_request() {
    let mut session = Session::new();
    ask(&mut session, &read_request(1, 1, 0, 2), 1).unwrap();
    assert!(!answer(&mut session, &read_response(1, 1, &[0])).unwrap().fits);

    let mut buffer = [0; 32];
    let write = Mbap::new(2, UnitId(1)).write_multiple_registers(&mut buffer, 128, &[1, 2]).unwrap();
    for (address, quantity, fits) in [(128, 2, true), (128, 1, false), (129, 2, false)] {
        ask(&mut session, write, 2).unwrap();
        let mut buffer = [0; 32];
        let function = FunctionCode::WRITE_MULTIPLE_REGISTERS;
        let echo = Mbap::new(2, UnitId(1)).written(&mut buffer, function, address, quantity).unwrap();
        assert_eq!(answer(&mut session, echo).unwrap().fits, fits, "{address} {quantity}");
    }

    let mut buffer = [0; 32];
    let both = Mbap::new(3, UnitId(1)).read_write_multiple_registers(&mut buffer, (0, 3), 9, &[1]).unwrap();
    ask(&mut session, both, 3).unwrap();
    let mut buffer = [0; 32];
    let function = FunctionCode::READ_WRITE_MULTIPLE_REGISTERS;
    let values = Mbap::new(3, UnitId(1)).registers(&mut buffer, function, &[1, 2, 3]).unwrap();
    assert!(answer(&mut session, values).unwrap().fits);
}

#[test]
fn a_queue_may_have_any_length_up_to_the_end_of_the_table() {
    let mut session = Session::new();
    for (pointer, fits) in [(1246, true), (0xfffd, true), (0xfffe, false)] {
        let mut buffer = [0; 12];
        ask(&mut session, Mbap::new(1, UnitId(1)).read_fifo_queue(&mut buffer, pointer).unwrap(), 1).unwrap();
        let mut buffer = [0; 32];
        let queue = Mbap::new(1, UnitId(1)).fifo_queue(&mut buffer, &[440, 4740]).unwrap();
        assert_eq!(answer(&mut session, queue).unwrap().fits, fits, "{pointer:04x}");
    }
}

#[test]
fn any_bytes_are_a_session() {
    assert_eq!(size_of::<Session>(), 264);
    assert_eq!(Session::new_zeroed(), Session::new());
    let mut session = Session::new();
    session.as_mut_bytes().fill(0xff);
    assert_eq!(session.len(), 16);
    assert_eq!(ask(&mut session, &read_request(1, 1, 0, 1), 1), Err(Full));
    assert_eq!(session.forget_oldest(), Some(u64::MAX));
    assert_eq!(session.len(), 15);
    assert_eq!(ask(&mut session, &read_request(1, 1, 0, 1), 1), Ok(()));
    assert_eq!(answer(&mut session, &read_response(1, 1, &[0])).map(|answer| answer.tag), Some(1));
}

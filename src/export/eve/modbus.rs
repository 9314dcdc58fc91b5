//! A Modbus transaction in the words of Suricata's schema, and in ours.

use super::super::json::{Object, hex};
use super::{function_name, taken};
use crate::event::{Answer, ModbusDetail};

/// The `modbus` object: request and response. Words as the Modbus parser of Suricata has them.
pub(super) fn transaction(object: &mut Object<'_>, id: u64, detail: &ModbusDetail, answer: Option<&Answer>) {
    object.number("id", id);
    object.object("request", |request| {
        message(request, detail);
        if let Some(code) = detail.sub_function {
            let key = if detail.function == 8 { "diagnostic" } else { "mei" };
            request.object(key, |object| {
                object.number("raw", code);
                object.text("code", if detail.function == 8 { diagnostic(code) } else { mei(code) });
            });
        }
        if let Some((address, quantity)) = detail.read {
            request.object("read", |read| {
                read.number("address", address);
                read.number("quantity", quantity);
            });
        }
        let values = taken(&detail.values, detail.values_len);
        match (detail.function, detail.write, values) {
            (5 | 6, Some((address, _)), [value, ..]) => request.object("write", |write| {
                write.number("address", address);
                write.number("data", if detail.function == 5 && *value != 0 { 0xff00 } else { *value });
            }),
            (_, Some((address, _)), values) => {
                request.object("write", |write| write.number("address", address));
                request.text("data", &data(detail.function, values));
            }
            _ => {}
        }
    });
    let Some(answer) = answer else { return };
    object.object("response", |response| {
        message(response, detail);
        if answer.exception != 0 {
            response.object("exception", |exception| {
                exception.number("raw", answer.exception);
                exception.text("code", exception_code(answer.exception));
            });
        } else if answer.values_len > 0 {
            let values = taken(&answer.values, answer.values_len);
            response.object("read", |read| read.text("data", &data(detail.function, values)));
        }
    });
}

fn message(object: &mut Object<'_>, detail: &ModbusDetail) {
    object.number("transaction_id", detail.transaction);
    object.number("protocol_id", 0u64);
    object.number("unit_id", detail.unit);
    object.number("function_raw", detail.function);
    object.text("function_code", function_code(detail.function));
    object.text("access_type", access_type(detail.function));
    object.text("category", category(detail.function));
    object.text("error_flags", "NONE");
}

/// The values as they stand on the wire, in hexadecimal digits.
fn data(function: u8, values: &[u16]) -> String {
    if matches!(function, 1 | 2 | 15) {
        let pack = |bits: &[u16]| {
            bits.iter().enumerate().fold(0u8, |byte, (place, bit)| if *bit == 0 { byte } else { byte | 1 << place })
        };
        return hex(&values.chunks(8).map(pack).collect::<Vec<_>>());
    }
    hex(&values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<_>>())
}

/// The request in the policy's words.
pub(super) fn fields(object: &mut Object<'_>, detail: &ModbusDetail) {
    object.number("transaction", detail.transaction);
    object.number("unit", detail.unit);
    object.text("function", function_name(detail.function));
    object.number("function_code", detail.function);
    if let Some(code) = detail.sub_function {
        object.number("sub_function", code);
    }
    for (key, span) in [("read", detail.read), ("write", detail.write)] {
        if let Some((address, quantity)) = span {
            object.object(key, |object| {
                object.number("address", address);
                object.number("quantity", quantity);
            });
        }
    }
    if detail.values_len > 0 {
        object.numbers("values", taken(&detail.values, detail.values_len));
        let written = detail.write.map_or(0, |(_, quantity)| quantity);
        if u16::from(detail.values_len) < written {
            object.flag("values_cut", true);
        }
    }
}

const fn function_code(function: u8) -> &'static str {
    match function {
        1 => "RdCoils",
        2 => "RdDiscreteInputs",
        3 => "RdHoldRegs",
        4 => "RdInputRegs",
        5 => "WrSingleCoil",
        6 => "WrSingleReg",
        7 => "RdExcStatus",
        8 => "Diagnostic",
        9 => "Program484",
        10 => "Poll484",
        11 => "GetCommEventCtr",
        12 => "GetCommEventLog",
        13 => "ProgramController",
        14 => "PollController",
        15 => "WrMultCoils",
        16 => "WrMultRegs",
        17 => "ReportServerID",
        18 => "Program884",
        19 => "ResetCommLink",
        20 => "RdFileRec",
        21 => "WrFileRec",
        22 => "MaskWrReg",
        23 => "RdWrMultRegs",
        24 => "RdFIFOQueue",
        43 => "MEI",
        _ => "Unknown",
    }
}

const fn access_type(function: u8) -> &'static str {
    match function {
        1 => "READ | COILS",
        2 => "READ | DISCRETES",
        3 => "READ | HOLDING",
        4 => "READ | INPUT",
        5 => "WRITE | COILS | SINGLE | WRITE_SINGLE",
        6 => "WRITE | HOLDING | SINGLE | WRITE_SINGLE",
        15 => "WRITE | COILS | MULTIPLE | WRITE_MULTIPLE",
        16 => "WRITE | HOLDING | MULTIPLE | WRITE_MULTIPLE",
        22 => "WRITE | HOLDING",
        23 => "READ | WRITE | HOLDING | MULTIPLE | WRITE_MULTIPLE",
        _ => "NONE",
    }
}

const fn category(function: u8) -> &'static str {
    match function {
        1..=24 | 43 => "PUBLIC_ASSIGNED",
        41 | 42 | 90 | 91 | 125..=127 => "RESERVED",
        65..=72 | 100..=110 => "USER_DEFINED",
        25..=124 => "PUBLIC_UNASSIGNED",
        _ => "NONE",
    }
}

const fn diagnostic(code: u16) -> &'static str {
    match code {
        0x00 => "RetQueryData",
        0x01 => "RestartCommOpt",
        0x02 => "RetDiagReg",
        0x03 => "ChangeInputDelimiter",
        0x04 => "ForceListenOnlyMode",
        0x0a => "ClearCtrDiagReg",
        0x0b => "RetBusMsgCount",
        0x0c => "RetBusCommErrCount",
        0x0d => "RetBusExcErrCount",
        0x0e => "RetServerMsgCount",
        0x0f => "RetServerNoRespCount",
        0x10 => "RetServerNAKCount",
        0x11 => "RetServerBusyCount",
        0x12 => "RetBusCharOverrunCount",
        0x13 => "RetOverrunErrCount",
        0x14 => "ClearOverrunCounterFlag",
        0x15 => "GetClearPlusStats",
        _ => "Reserved",
    }
}

const fn mei(code: u16) -> &'static str {
    match code {
        13 => "CANOpen",
        14 => "ReadDevId",
        _ => "Unknown",
    }
}

const fn exception_code(code: u8) -> &'static str {
    match code {
        1 => "IllegalFunction",
        2 => "IllegalDataAddr",
        3 => "IllegalDataValue",
        4 => "ServerDeviceFail",
        5 => "Ack",
        6 => "ServerDeviceBusy",
        7 => "NegAck",
        8 => "MemParityErr",
        10 => "GatewayPathUnavailable",
        11 => "GatewayTargetFailToResp",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sawp::parser::{Direction, Parse};

    /// Each function's words against the parser that Suricata itself is built with.
    #[test]
    fn words_are_those_of_suricatas_parser() {
        let requests: [&[u8]; 13] = [
            &[1, 0, 0, 0, 1],
            &[2, 0, 0, 0, 1],
            &[3, 0, 0, 0, 1],
            &[4, 0, 0, 0, 1],
            &[5, 0, 0, 0xff, 0],
            &[6, 0, 0, 0, 1],
            &[7],
            &[8, 0, 4, 0, 0],
            &[15, 0, 0, 0, 1, 1, 1],
            &[16, 0, 0, 0, 1, 2, 0, 1],
            &[22, 0, 0, 0, 1, 0, 1],
            &[23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 1],
            &[43, 14, 1, 0],
        ];
        for pdu in requests {
            let length = u8::try_from(pdu.len()).unwrap().saturating_add(1);
            let adu: Vec<u8> = [&[0, 9, 0, 0, 0, length, 1], pdu].concat();
            let (_, message) = sawp_modbus::Modbus::default().parse(&adu, Direction::ToServer).unwrap();
            let message = message.unwrap();
            let function = pdu[0];
            assert_eq!(function_code(function), message.function.code.to_string());
            assert_eq!(access_type(function), message.access_type.to_string(), "{function}");
            assert_eq!(category(function), message.category.to_string(), "{function}");
        }
        for code in 0..=0x20u16 {
            let theirs = sawp_modbus::DiagnosticSubfunction::try_from(code);
            assert_eq!(diagnostic(code), theirs.map_or("Reserved".into(), |code| code.to_string()));
        }
    }
}

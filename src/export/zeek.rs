//! Zeek's JSON: connections as `conn`, Modbus transactions as `modbus_detailed` of ICSNPP, one line each.
//!
//! Source: Zeek's `conn.log` (scripts/base/protocols/conn/main.zeek) and function and exception names
//! (scripts/base/protocols/modbus/consts.zeek); fields of `modbus_detailed.log` as in cisagov/icsnpp-modbus, README, with a
//! request and its response in one line. `_path` says which log a line is of, as the package json-streaming-logs writes it.
//! What is absent is left out, as Zeek does.

use link::FlowKey;

use super::community;
use super::json::Object;
use crate::event::{Answer, CommandRecord, Detail, Event, EventId, FlowEnd, FlowRecord, ModbusDetail, Record, Settled};

/// Appends the line of an event, without line end; says whether Zeek has a log for it. Verdicts are in none of them: what
/// was refused is a request without response.
pub fn render(settled: &Settled, out: &mut String) -> bool {
    match &settled.event.record {
        Record::Flow(flow) => conn(flow, out),
        Record::Command(command) => match &command.detail {
            Detail::Modbus(detail) => modbus(&settled.event, command, detail, settled.answer.as_ref(), out),
            _ => return false,
        },
        _ => return false,
    }
    true
}

/// Seconds since 1970 with six decimals.
fn seconds(object: &mut Object<'_>, key: &str, ns: u64) {
    let micros = ns / 1000;
    object.decimal(key, micros / 1_000_000, micros % 1_000_000);
}

/// Which connection: `uid`, and the ends, who opened it first.
fn ends(object: &mut Object<'_>, key: &FlowKey, opened: dissect::Toward) {
    object.text("uid", &uid(key));
    let (source, destination) = (key.source(opened), key.destination(opened));
    object.text("id.orig_h", &source.ip().to_string());
    object.number("id.orig_p", source.port);
    object.text("id.resp_h", &destination.ip().to_string());
    object.number("id.resp_p", destination.port);
}

/// As Zeek's ids look, and the same in every log; made of the ends, so that a connection between the same ports has it
/// again.
fn uid(key: &FlowKey) -> String {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digest = community::digest(key);
    let mut number = digest.iter().take(12).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    let mut text = String::from("C");
    for _ in 0..16 {
        let letter = usize::try_from(number % 62).ok().and_then(|at| ALPHABET.get(at)).copied().unwrap_or(b'0');
        text.push(char::from(letter));
        number /= 62;
    }
    text
}

fn conn(flow: &FlowRecord, out: &mut String) {
    let of = |pair: [u64; 2]| {
        let [robot, plant] = pair;
        if flow.opened == dissect::Toward::Robot { [robot, plant] } else { [plant, robot] }
    };
    let ([orig_pkts, resp_pkts], [orig_bytes, resp_bytes]) = (of(flow.frames), of(flow.bytes));
    Object::write(out, |line| {
        line.text("_path", "conn");
        seconds(line, "ts", flow.start_ns);
        ends(line, &flow.key, flow.opened);
        line.text(
            "proto",
            match flow.key.protocol {
                6 => "tcp",
                17 => "udp",
                1 | 58 => "icmp",
                _ => "unknown_transport",
            },
        );
        if flow.service.is_dissected() {
            line.text("service", &flow.service.to_string());
        }
        seconds(line, "duration", flow.end_ns.saturating_sub(flow.start_ns));
        // Which end reset a connection is not recorded; then there is no state to tell.
        let state = match flow.end {
            FlowEnd::Closed => Some("SF"),
            FlowEnd::TimedOut | FlowEnd::Lasting if resp_pkts > 0 => Some("S1"),
            FlowEnd::TimedOut | FlowEnd::Lasting => Some("S0"),
            FlowEnd::Reset | FlowEnd::Refused => None,
        };
        if let Some(state) = state.filter(|_| flow.key.protocol == 6) {
            line.text("conn_state", state);
        }
        line.number("orig_pkts", orig_pkts);
        line.number("orig_ip_bytes", ip_bytes(orig_bytes, orig_pkts));
        line.number("resp_pkts", resp_pkts);
        line.number("resp_ip_bytes", ip_bytes(resp_bytes, resp_pkts));
        line.text("community_id", &super::community_id(&flow.key));
    });
}

/// Bytes without the Ethernet header; tags and padding are counted with the packet.
fn ip_bytes(wire: u64, frames: u64) -> u64 {
    wire.saturating_sub(frames.saturating_mul(14))
}

fn modbus(event: &Event, command: &CommandRecord, detail: &ModbusDetail, answer: Option<&Answer>, out: &mut String) {
    Object::write(out, |line| {
        line.text("_path", "modbus_detailed");
        seconds(line, "ts", event.wall_ns);
        ends(line, &command.key, command.opened);
        line.number("tid", detail.transaction);
        line.number("unit", detail.unit);
        line.text("func", &function(detail.function));
        if let Some((address, quantity)) = detail.read.or(detail.write) {
            line.number("address", address);
            line.number("quantity", quantity);
        }
        if detail.values_len > 0 {
            line.numbers("request_values", taken(&detail.values, detail.values_len));
        }
        if let Some(answer) = answer.filter(|answer| answer.values_len > 0) {
            line.numbers("response_values", taken(&answer.values, answer.values_len));
        }
        line.text("modbus_detailed_link_id", &link_id(&command.key, event.id));
        line.flag("matched", answer.is_some());
        if let Some(code) = detail.sub_function {
            if detail.function == 8 {
                line.text("request_subfunction_code", &code.to_string());
            } else {
                line.text("mei_type", if code == 14 { "READ-DEVICE-IDENTIFICATION" } else { "CANOPEN" });
            }
        }
        if let Some(answer) = answer.filter(|answer| answer.exception != 0) {
            line.text("error_code", &exception(answer.exception));
        }
    });
}

fn link_id(key: &FlowKey, event: EventId) -> String {
    format!("{}-{}", uid(key), event.0)
}

fn taken(values: &[u16; 16], len: u8) -> &[u16] {
    values.get(..usize::from(len)).unwrap_or(values)
}

/// Zeek's name of a function.
fn function(code: u8) -> String {
    let name = match code {
        0x01 => "READ_COILS",
        0x02 => "READ_DISCRETE_INPUTS",
        0x03 => "READ_HOLDING_REGISTERS",
        0x04 => "READ_INPUT_REGISTERS",
        0x05 => "WRITE_SINGLE_COIL",
        0x06 => "WRITE_SINGLE_REGISTER",
        0x07 => "READ_EXCEPTION_STATUS",
        0x08 => "DIAGNOSTICS",
        0x0b => "GET_COMM_EVENT_COUNTER",
        0x0c => "GET_COMM_EVENT_LOG",
        0x0f => "WRITE_MULTIPLE_COILS",
        0x10 => "WRITE_MULTIPLE_REGISTERS",
        0x11 => "REPORT_SLAVE_ID",
        0x14 => "READ_FILE_RECORD",
        0x15 => "WRITE_FILE_RECORD",
        0x16 => "MASK_WRITE_REGISTER",
        0x17 => "READ_WRITE_MULTIPLE_REGISTERS",
        0x18 => "READ_FIFO_QUEUE",
        0x2b => "ENCAP_INTERFACE_TRANSPORT",
        other => return format!("unknown-{other}"),
    };
    name.to_owned()
}

/// Zeek's name of an exception.
fn exception(code: u8) -> String {
    let name = match code {
        0x01 => "ILLEGAL_FUNCTION",
        0x02 => "ILLEGAL_DATA_ADDRESS",
        0x03 => "ILLEGAL_DATA_VALUE",
        0x04 => "SLAVE_DEVICE_FAILURE",
        0x05 => "ACKNOWLEDGE",
        0x06 => "SLAVE_DEVICE_BUSY",
        0x08 => "MEMORY_PARITY_ERROR",
        0x0a => "GATEWAY_PATH_UNAVAILABLE",
        0x0b => "GATEWAY_TARGET_DEVICE_FAILED_TO_RESPOND",
        other => return format!("unknown-{other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use dissect::Toward;
    use link::Endpoint;
    use serde_json::{Value, json};

    use super::*;
    use crate::command::{Class, Service};
    use crate::event::{Action, Reason, RobotContext, RuleId, Text, Verdict};

    /// Fields of Zeek's conn.log, and of modbus_detailed.log of ICSNPP; `_path` of the streaming package.
    const CONN: [&str; 23] = [
        "_path",
        "ts",
        "uid",
        "id.orig_h",
        "id.orig_p",
        "id.resp_h",
        "id.resp_p",
        "proto",
        "service",
        "duration",
        "orig_bytes",
        "resp_bytes",
        "conn_state",
        "local_orig",
        "local_resp",
        "missed_bytes",
        "history",
        "orig_pkts",
        "orig_ip_bytes",
        "resp_pkts",
        "resp_ip_bytes",
        "tunnel_parents",
        "community_id",
    ];
    const MODBUS: [&str; 21] = [
        "_path",
        "ts",
        "uid",
        "id.orig_h",
        "id.orig_p",
        "id.resp_h",
        "id.resp_p",
        "tid",
        "unit",
        "func",
        "address",
        "quantity",
        "request_values",
        "response_values",
        "modbus_detailed_link_id",
        "matched",
        "request_subfunction_code",
        "response_subfunction_code",
        "request_data",
        "error_code",
        "mei_type",
    ];

    fn key() -> FlowKey {
        let address = |last| IpAddr::from([10, 20, 0, last]);
        FlowKey::new(Endpoint::new(address(21), 49152), Endpoint::new(address(40), 502), 6, 4)
    }

    fn line(record: Record, answer: Option<Answer>) -> Value {
        let event = Event { id: EventId(77), monotonic_ns: 5, wall_ns: 1_795_442_282_114_209_987, frame: 9, record };
        let mut out = String::new();
        assert!(render(&Settled { event, answer, repeats: None, unit_hash: None, events: 1 }, &mut out));
        let value: Value = serde_json::from_str(&out).unwrap();
        let known: &[&str] = if value["_path"] == "conn" { &CONN } else { &MODBUS };
        for key in value.as_object().unwrap().keys() {
            assert!(known.contains(&key.as_str()), "{key} is no field of {}", value["_path"]);
        }
        value
    }

    fn command(detail: Detail) -> Record {
        let verdict = Verdict { action: Action::Forward, reason: Reason::Allowed, rule: RuleId(1), generation: 1 };
        Record::Command(CommandRecord {
            key: key(),
            opened: Toward::Robot,
            service: Service::Modbus,
            class: Class::Read,
            verdict,
            enforced: true,
            len: 12,
            unit: Text::EMPTY,
            robot: RobotContext::default(),
            detail,
        })
    }

    fn modbus(function: u8, read: Option<(u16, u16)>, write: Option<(u16, u16)>, values: &[u16]) -> Detail {
        let mut all = [0; 16];
        all[..values.len()].copy_from_slice(values);
        let values_len = u8::try_from(values.len()).unwrap();
        let sub_function = (function == 8).then_some(4);
        Detail::Modbus(ModbusDetail {
            transaction: 4660,
            unit: 1,
            function,
            sub_function,
            read,
            write,
            values: all,
            values_len,
        })
    }

    fn answer(exception: u8, values: &[u16]) -> Answer {
        let mut all = [0; 16];
        all[..values.len()].copy_from_slice(values);
        let values_len = u8::try_from(values.len()).unwrap();
        let (key, service, text) = (key(), Service::Modbus, Text::EMPTY);
        Answer { to: EventId(77), key, service, exception, values: all, values_len, text, recipe: 0, in_use: None }
    }

    #[test]
    fn a_transaction_is_one_line_of_modbus_detailed() {
        let read = line(command(modbus(3, Some((128, 3)), None, &[])), Some(answer(0, &[1, 2, 700])));
        let uid = read["uid"].as_str().unwrap().to_owned();
        assert!(uid.starts_with('C') && uid.len() == 17 && uid.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(
            read,
            json!({
                "_path": "modbus_detailed", "ts": 1_795_442_282.114_209, "uid": uid, "id.orig_h": "10.20.0.21",
                "id.orig_p": 49152, "id.resp_h": "10.20.0.40", "id.resp_p": 502, "tid": 4660, "unit": 1,
                "func": "READ_HOLDING_REGISTERS", "address": 128, "quantity": 3, "response_values": [1, 2, 700],
                "modbus_detailed_link_id": format!("{uid}-77"), "matched": true,
            })
        );
        let refused = line(command(modbus(16, None, Some((3, 2)), &[5, 6])), None);
        assert_eq!((&refused["request_values"], &refused["matched"]), (&json!([5, 6]), &json!(false)));
        let failed = line(command(modbus(6, None, Some((3, 1)), &[5])), Some(answer(2, &[])));
        assert_eq!(failed["error_code"], "ILLEGAL_DATA_ADDRESS");
        assert_eq!(line(command(modbus(8, None, None, &[])), None)["request_subfunction_code"], "4");
        assert_eq!(line(command(modbus(99, None, None, &[])), None)["func"], "unknown-99");
    }

    #[test]
    fn a_connection_is_one_line_of_conn() {
        let flow = FlowRecord {
            key: key(),
            opened: Toward::Robot,
            service: Service::Modbus,
            start_ns: 1_795_442_282_114_209_987,
            end_ns: 1_795_442_283_614_209_987,
            frames: [10, 8],
            bytes: [1000, 800],
            commands: [3, 0],
            end: FlowEnd::Closed,
            reason: Reason::Allowed,
        };
        let value = line(Record::Flow(flow), None);
        assert_eq!((&value["ts"], &value["duration"]), (&json!(1_795_442_282.114_209), &json!(1.5)));
        assert_eq!((&value["orig_pkts"], &value["orig_ip_bytes"]), (&json!(10), &json!(860)));
        assert_eq!(
            (&value["conn_state"], &value["proto"], &value["service"]),
            (&json!("SF"), &json!("tcp"), &json!("modbus"))
        );
        // Opened by the robot: it is the originator.
        let value = line(Record::Flow(FlowRecord { opened: Toward::Plant, end: FlowEnd::Reset, ..flow }), None);
        assert_eq!((&value["id.orig_h"], &value["orig_pkts"]), (&json!("10.20.0.40"), &json!(8)));
        assert!(value.get("conn_state").is_none());
        // Both logs name the connection alike.
        let transaction = line(command(modbus(3, Some((1, 1)), None, &[])), None);
        assert_eq!(value["uid"], transaction["uid"]);
    }

    #[test]
    fn what_zeek_has_no_log_for_is_left_out() {
        let record = command(Detail::Transport);
        let event = Event { id: EventId(1), monotonic_ns: 5, wall_ns: 5, frame: 0, record };
        let mut out = String::new();
        assert!(!render(&event.into(), &mut out) && out.is_empty());
    }
}

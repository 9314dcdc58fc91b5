//! What a robot makes of what left the box: streams put together by sequence number, the first copy of a byte or the last
//! one winning, units told apart without the product's dissectors.

use link::{Packet, Tcp};

use super::ROBOT;
use super::script::HANDED;

/// Registers that no policy lets anyone write.
pub(crate) const MARKED: std::ops::Range<u32> = 0x300..0x310;

/// A line that no policy lets through.
pub(crate) const MARKED_LINE: &[u8] = b"unlock protective stop";

/// Ports of the computer that moves the robot: set-points, and the text that it hands over.
pub(crate) const REVERSE: u16 = 50_001;
pub(crate) const SCRIPT: u16 = 50_002;

/// Millionths of a radian that no policy lets a joint be sent beyond.
const FARTHEST: i32 = 2_000_000;

/// Bytes of a stream that are looked at.
const MOST: usize = 1 << 16;

struct Stream {
    client: (std::net::IpAddr, u16),
    port: u16,
    first: u32,
    /// As kept by who believes the first copy, and by who believes the last.
    copies: [Vec<Option<u8>>; 2],
}

/// Every connection to the robot that was opened while everything was enforced.
#[derive(Default)]
pub(crate) struct Reader(Vec<Stream>);

impl Reader {
    pub(crate) fn take(&mut self, packet: &Packet<'_>, tcp: &Tcp<'_>, enforces: bool) {
        let Some((source, destination)) = packet.addresses().filter(|_| enforces) else { return };
        let handed = [(REVERSE, 50_006), (SCRIPT, 50_007)].contains(&(tcp.source_port, tcp.destination_port));
        if destination != ROBOT || !(handed || [502, 29_999].contains(&tcp.destination_port)) {
            return;
        }
        let (client, port) = ((source, tcp.source_port), tcp.destination_port);
        let first = tcp.seq.wrapping_add(u32::from(tcp.flags.syn()));
        let same = |stream: &Stream| stream.client == client && stream.port == port && stream.first == first;
        if tcp.flags.syn() && !self.0.iter().any(same) {
            self.0.push(Stream { client, port, first, copies: <[Vec<Option<u8>>; 2]>::default() });
        }
        if tcp.payload.is_empty() {
            return;
        }
        for stream in self.0.iter_mut().filter(|stream| stream.client == client && stream.port == port) {
            let at = first.wrapping_sub(stream.first).cast_signed();
            let skip = usize::try_from(-i64::from(at)).unwrap_or(0).min(tcp.payload.len());
            let (at, payload) = (at.max(0) as usize, &tcp.payload[skip..]);
            if at + payload.len() > MOST {
                continue;
            }
            for (last_wins, copy) in [false, true].into_iter().zip(&mut stream.copies) {
                copy.resize(copy.len().max(at + payload.len()), None);
                for (place, byte) in copy[at..].iter_mut().zip(payload) {
                    assert!(place.is_none_or(|had| had == *byte), "two copies of a byte differ toward the robot");
                    if last_wins || place.is_none() {
                        *place = Some(*byte);
                    }
                }
                let in_order: Vec<u8> = copy.iter().map_while(|byte| *byte).collect();
                match port {
                    502 => check_modbus(&in_order),
                    50_006 => check_set_points(&in_order),
                    50_007 => check_text(&in_order),
                    _ => check_lines(&in_order),
                }
            }
        }
    }
}

/// No unit writes a marked register, nor begins to: its header commits a robot to what comes next.
fn check_modbus(mut rest: &[u8]) {
    let word = |bytes: &[u8], at: usize| u32::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    while rest.len() >= 12 {
        let len = 6 + word(rest, 4) as usize;
        if word(rest, 2) != 0 || !(8..=260).contains(&len) {
            return;
        }
        let unit = &rest[..len.min(rest.len())];
        let written = match unit[7] {
            5 | 6 | 22 => word(unit, 8)..word(unit, 8) + 1,
            15 | 16 => word(unit, 8)..word(unit, 8) + word(unit, 10),
            23 if unit.len() >= 16 => word(unit, 12)..word(unit, 12) + word(unit, 14),
            _ => 0..0,
        };
        let clear = written.is_empty() || written.end <= MARKED.start || MARKED.end <= written.start;
        assert!(clear || len < 12, "I1: a write of a marked register reached the robot: {unit:02x?}");
        assert!(rest.len() >= len, "I9: a part of a unit reached the robot: {unit:02x?}");
        rest = &rest[len..];
    }
}

/// Records of modes that a policy names, with joints inside; of the last the segments that have come.
fn check_set_points(bytes: &[u8]) {
    for record in bytes.chunks_exact(32) {
        let word = |at: usize| i32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        match word(28) {
            // The program ends; the arm rests.
            -2 | 0 => {}
            1 => assert!((1..7).all(|at| word(4 * at).abs() <= FARTHEST), "I1: a set-point far out: {record:02x?}"),
            // What cancels a trajectory, and what ends freedrive.
            3 | 6 => assert_eq!(word(4), -1, "I1: a mode that no policy names: {record:02x?}"),
            mode => panic!("I1: mode {mode} reached the robot"),
        }
        assert!(!matches!(word(28), 0 | 1) || (10..=200).contains(&word(0)), "I1: a time-out: {record:02x?}");
    }
}

/// The one known text, again and again; of the last the segments that have come.
fn check_text(bytes: &[u8]) {
    let whole = bytes.chunks(HANDED.len()).all(|text| HANDED.starts_with(text));
    assert!(whole, "I1, I9: not the known text: {}", String::from_utf8_lossy(bytes));
}

fn check_lines(bytes: &[u8]) {
    let marked = bytes.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == MARKED_LINE);
    assert!(!marked, "I1: a marked line reached the robot");
}

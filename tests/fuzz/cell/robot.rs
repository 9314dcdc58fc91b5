//! What a robot makes of what left the box: streams put together by sequence number, the first copy of a byte or the last
//! one winning, units told apart without the product's dissectors.

use link::{Packet, Tcp};

use super::ROBOT;

/// Registers that no policy lets anyone write.
pub(crate) const MARKED: std::ops::Range<u32> = 0x300..0x310;

/// A line that no policy lets through.
pub(crate) const MARKED_LINE: &[u8] = b"unlock protective stop";

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
        if destination != ROBOT || ![502, 29_999].contains(&tcp.destination_port) {
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

fn check_lines(bytes: &[u8]) {
    let marked = bytes.split(|byte| *byte == b'\n').any(|line| line.trim_ascii() == MARKED_LINE);
    assert!(!marked, "I1: a marked line reached the robot");
}

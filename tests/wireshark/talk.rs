//! Conversations over TCP, as captures with segments of any size, and out of captures.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use vambrace::record::pcapng::{self, PacketNotes};

use crate::support::reader;

/// One connection: what its two ends say, in order.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    /// Who opened it.
    pub(crate) opener: SocketAddrV4,
    /// Who listened.
    pub(crate) listener: SocketAddrV4,
    /// Bytes, and whether they travel toward the one who listened.
    pub(crate) pieces: Vec<(bool, Vec<u8>)>,
}

/// The robot of made conversations.
pub(crate) const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
/// The computer of made conversations.
pub(crate) const COMPUTER: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);

impl Talk {
    /// A client's with the robot, or, on the ports of external control, the robot's with the computer.
    pub(crate) fn on(port: u16, opener_port: u16) -> Self {
        let (opener, listener) = if port >= 50_000 { (ROBOT, COMPUTER) } else { (COMPUTER, ROBOT) };
        Self {
            opener: SocketAddrV4::new(opener, opener_port),
            listener: SocketAddrV4::new(listener, port),
            pieces: Vec::new(),
        }
    }

    /// Bytes toward the one who listens.
    pub(crate) fn ask(&mut self, bytes: impl Into<Vec<u8>>) {
        self.pieces.push((true, bytes.into()));
    }

    /// Bytes toward the one who opened.
    pub(crate) fn answer(&mut self, bytes: impl Into<Vec<u8>>) {
        self.pieces.push((false, bytes.into()));
    }

    /// The same with what follows in one direction joined, then cut into pieces of `size` bytes.
    pub(crate) fn cut(&self, size: usize) -> Self {
        let mut joined: Vec<(bool, Vec<u8>)> = Vec::new();
        for (ask, bytes) in &self.pieces {
            match joined.last_mut() {
                Some((last, all)) if last == ask => all.extend(bytes),
                _ => joined.push((*ask, bytes.clone())),
            }
        }
        let pieces = joined.iter().flat_map(|(ask, all)| all.chunks(size).map(|part| (*ask, part.to_vec()))).collect();
        Self { pieces, ..self.clone() }
    }
}

/// Writes a capture: each piece a segment (the IP length is the limit), connections one after the other.
pub(crate) fn write(path: &Path, talks: &[Talk]) {
    write_short(path, talks, usize::MAX);
}

/// The same with at most `snap_len` bytes kept of each packet.
pub(crate) fn write_short(path: &Path, talks: &[Talk], snap_len: usize) {
    let mut file = Vec::new();
    pcapng::start(&mut file, "tests/wireshark.rs", &["wire"], 262_144);
    let mut time_ns = 1_700_000_000_000_000_000;
    let mut put = |from: SocketAddrV4, to: SocketAddrV4, (seq, ack): (u32, u32), flags: u8, data: &[u8]| {
        time_ns += 1_000_000;
        let frame = frame(from, to, seq, ack, flags, data);
        let len = u32::try_from(frame.len()).unwrap();
        let kept = &frame[..frame.len().min(snap_len)];
        pcapng::packet(&mut file, 0, time_ns, len, kept, &PacketNotes::default());
    };
    for Talk { opener, listener, pieces } in talks {
        let (opener, listener) = (*opener, *listener);
        // Sequence numbers that pass their end soon.
        let (mut mine, mut theirs) = (u32::MAX - 5000, 77_u32);
        put(opener, listener, (mine.wrapping_sub(1), 0), 0x02, b"");
        put(listener, opener, (theirs.wrapping_sub(1), mine), 0x12, b"");
        put(opener, listener, (mine, theirs), 0x10, b"");
        for (ask, bytes) in pieces {
            let len = u32::try_from(bytes.len()).unwrap();
            if *ask {
                put(opener, listener, (mine, theirs), 0x18, bytes);
                mine = mine.wrapping_add(len);
            } else {
                put(listener, opener, (theirs, mine), 0x18, bytes);
                theirs = theirs.wrapping_add(len);
            }
        }
        put(opener, listener, (mine, theirs), 0x11, b"");
        put(listener, opener, (theirs, mine.wrapping_add(1)), 0x11, b"");
    }
    std::fs::write(path, file).unwrap();
}

fn frame(from: SocketAddrV4, to: SocketAddrV4, seq: u32, ack: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let total = u16::try_from(40 + data.len()).expect("a segment that IPv4 can carry");
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend(total.to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(from.ip().octets());
    frame.extend(to.ip().octets());
    frame.extend(from.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(seq.to_be_bytes());
    frame.extend(ack.to_be_bytes());
    frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(data);
    frame
}

/// Next sequence number of each direction of a connection.
struct Known {
    place: usize,
    next: [u32; 2],
}

/// The connections of a capture that were opened in it, by who opened them, without what was sent twice.
///
/// What was lost and came later is not put in order, as Wireshark does not either: such a connection ends there.
pub(crate) fn read(path: &Path) -> Vec<Talk> {
    let mut talks: Vec<Talk> = Vec::new();
    let mut known: BTreeMap<(SocketAddrV4, SocketAddrV4), Known> = BTreeMap::new();
    for (link, packet) in reader::packets(path) {
        let Some((from, to, seq, flags, data)) = segment(link, &packet) else { continue };
        if flags & 0x02 != 0 && flags & 0x10 == 0 {
            known.insert((from, to), Known { place: talks.len(), next: [seq.wrapping_add(1), 0] });
            talks.push(Talk { opener: from, listener: to, pieces: Vec::new() });
            continue;
        }
        let (ask, between) = if known.contains_key(&(from, to)) { (true, (from, to)) } else { (false, (to, from)) };
        let Some(Known { place, next }) = known.get_mut(&between) else { continue };
        let next = &mut next[usize::from(!ask)];
        if flags & 0x02 != 0 {
            *next = seq.wrapping_add(1);
        } else if !data.is_empty() && *next == seq {
            *next = seq.wrapping_add(u32::try_from(data.len()).unwrap());
            talks[*place].pieces.push((ask, data));
        }
    }
    talks
}

type Segment = (SocketAddrV4, SocketAddrV4, u32, u8, Vec<u8>);

fn segment(link: i32, packet: &[u8]) -> Option<Segment> {
    let (ethertype, header) = match link {
        1 => (12, 14),
        113 => (14, 16),
        276 => (0, 20),
        other => panic!("link type {other}"),
    };
    let ip = packet.get(header..)?;
    // No IPv4, a fragment, no TCP.
    if packet[ethertype..ethertype + 2] != [8, 0] || ip.len() < 40 || (ip[6] & 0x3f, ip[7], ip[9]) != (0, 0, 6) {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = ip.get(usize::from(ip[0] & 15) * 4..total)?;
    let data = tcp.get(usize::from(*tcp.get(12)? >> 4) * 4..)?.to_vec();
    let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let (from, to) = (SocketAddrV4::new(address(12), port(0)), SocketAddrV4::new(address(16), port(2)));
    Some((from, to, u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]), tcp[13], data))
}

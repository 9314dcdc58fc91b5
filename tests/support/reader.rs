//! Counts commands in a capture without any code of the product: an oracle for "none was missed".
//!
//! Written from the protocols' descriptions alone, with the least that captures of real clients need: IPv4, whole
//! connections, one kind of URScript layout. What it can't read it panics on, rather than counting less. Only
//! `pcap-parser`, which the product does not use, is between it and the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};

/// Services whose commands are counted, by the port that the robot listens on.
fn service(port: u16) -> Option<&'static str> {
    match port {
        502 => Some("modbus"),
        29999 => Some("dashboard"),
        30004 => Some("rtde"),
        30001..=30003 | 30020 => Some("urscript"),
        _ => None,
    }
}

/// What one client sent over one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Who sent it.
    pub client: SocketAddrV4,
    /// To whom.
    pub robot: SocketAddrV4,
    /// All of it, in order.
    pub bytes: Vec<u8>,
}

impl Stream {
    /// The service, by the robot's port.
    pub fn service(&self) -> &'static str {
        service(self.robot.port()).unwrap()
    }

    /// The commands in it.
    pub fn units(&self) -> Vec<Vec<u8>> {
        match self.service() {
            // MBAP: transaction, protocol, then the length of what follows.
            "modbus" => by_length(&self.bytes, |rest| 6 + usize::from(u16::from_be_bytes([rest[4], rest[5]])), 6),
            // The length comes first and counts itself and the type.
            "rtde" => by_length(&self.bytes, |rest| usize::from(u16::from_be_bytes([rest[0], rest[1]])), 3),
            "dashboard" => lines(&self.bytes).into_iter().map(<[u8]>::to_vec).collect(),
            _ => programs(&self.bytes),
        }
    }
}

/// Commands by service.
pub fn count(streams: &[Stream]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for stream in streams {
        *counts.entry(stream.service().to_owned()).or_default() += stream.units().len() as u64;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// Commands by the client's and the robot's port.
pub fn count_by_connection(streams: &[Stream]) -> BTreeMap<(u64, u64), u64> {
    let mut counts = BTreeMap::new();
    for stream in streams {
        let ports = (stream.client.port().into(), stream.robot.port().into());
        *counts.entry(ports).or_default() += stream.units().len() as u64;
    }
    counts.retain(|_, count| *count > 0);
    counts
}

fn by_length(bytes: &[u8], length: impl Fn(&[u8]) -> usize, header: usize) -> Vec<Vec<u8>> {
    let (mut units, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        assert!(rest.len() >= header, "{} bytes are left, fewer than a header: {rest:02x?}", rest.len());
        let length = length(rest);
        assert!((header..=rest.len()).contains(&length), "a unit of {length} bytes where {} are left", rest.len());
        let (unit, after) = rest.split_at(length);
        units.push(unit.to_vec());
        rest = after;
    }
    units
}

/// Whole lines; the last one has to be whole too.
fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    let Some(whole) = bytes.strip_suffix(b"\n") else {
        assert!(bytes.is_empty(), "the last line has no end: {:?}", String::from_utf8_lossy(bytes));
        return Vec::new();
    };
    whole.split(|byte| *byte == b'\n').collect()
}

/// A program is `def` or `sec` at the begin of a line, to the next `end` at the begin of a line; clients indent what is
/// within. Every other line is a statement, but for blank ones and comments.
fn programs(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut units, mut program) = (Vec::new(), None::<Vec<u8>>);
    for line in lines(bytes) {
        if let Some(mut text) = program.take() {
            text.extend_from_slice(line);
            text.push(b'\n');
            if line.trim_ascii_end() == b"end" { units.push(text) } else { program = Some(text) }
        } else if line.starts_with(b"def ") || line.starts_with(b"sec ") {
            program = Some([line, b"\n"].concat());
        } else if !line.trim_ascii().is_empty() && !line.starts_with(b"#") {
            units.push([line, b"\n"].concat());
        }
    }
    assert!(program.is_none(), "a program without its end");
    units
}

/// Every connection to a counted port of `robot` in a capture: pcap or pcapng, Ethernet or what `tcpdump -i any` writes.
pub fn streams(path: &Path, robot: Ipv4Addr) -> Vec<Stream> {
    let mut connections: Vec<Connection> = Vec::new();
    for segment in packets(path).iter().filter_map(|(link, bytes)| Segment::read(*link, bytes)) {
        if *segment.to.ip() != robot || service(segment.to.port()).is_none() {
            continue;
        }
        let between = (segment.from, segment.to);
        let known = connections.iter_mut().rev().find(|known| known.between == between);
        match known {
            // A first segment again is the same one sent again, or a new connection between the same ports.
            Some(known) if !segment.opens || known.begin == segment.data_begin() => known.pieces.push(segment),
            _ => {
                assert!(segment.opens, "{} to {} begins before the capture", segment.from, segment.to);
                connections.push(Connection { between, begin: segment.data_begin(), pieces: vec![segment] });
            }
        }
    }
    connections.into_iter().map(Connection::join).collect()
}

struct Connection {
    between: (SocketAddrV4, SocketAddrV4),
    begin: u32,
    pieces: Vec<Segment>,
}

impl Connection {
    /// Puts the pieces in order; what came twice counts once.
    fn join(mut self) -> Stream {
        let (client, robot) = self.between;
        let place = |piece: &Segment| piece.data_begin().wrapping_sub(self.begin) as usize;
        self.pieces.retain(|piece| !piece.payload.is_empty());
        self.pieces.sort_by_key(place);
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            let (at, have) = (place(piece), bytes.len());
            // A keep-alive repeats one byte before the begin: its place is then far behind.
            assert!(at <= have, "{client} to {robot}: bytes {have} to {at} are not in the capture");
            bytes.extend_from_slice(piece.payload.get(have - at..).unwrap_or_default());
        }
        Stream { client, robot, bytes }
    }
}

struct Segment {
    from: SocketAddrV4,
    to: SocketAddrV4,
    sequence: u32,
    opens: bool,
    payload: Vec<u8>,
}

impl Segment {
    /// Sequence number of its first byte of data; opening a connection takes one number itself.
    fn data_begin(&self) -> u32 {
        self.sequence.wrapping_add(u32::from(self.opens))
    }

    fn read(link: i32, packet: &[u8]) -> Option<Self> {
        // Where the EtherType stands and how long the header is.
        let (ethertype, header) = match link {
            1 => (12, 14),
            113 => (14, 16),
            276 => (0, 20),
            other => panic!("link type {other}"),
        };
        if packet[ethertype..ethertype + 2] != [0x08, 0x00] {
            return None;
        }
        let ip = &packet[header..];
        let (ip_header, total) = (usize::from(ip[0] & 15) * 4, usize::from(u16::from_be_bytes([ip[2], ip[3]])));
        if ip[9] != 6 {
            return None;
        }
        assert_eq!(u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff, 0, "a fragment");
        let tcp = &ip[ip_header..total];
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let flags = tcp[13];
        Some(Self {
            from: SocketAddrV4::new(address(12), port(0)),
            to: SocketAddrV4::new(address(16), port(2)),
            sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
            opens: flags & 0x02 != 0,
            payload: tcp[usize::from(tcp[12] >> 4) * 4..].to_vec(),
        })
    }
}

/// Link type and bytes of every packet.
pub fn packets(path: &Path) -> Vec<(i32, Vec<u8>)> {
    const BUFFER: usize = 1 << 20;
    let begin = std::fs::read(path).unwrap();
    let file = File::open(path).unwrap();
    if begin.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        collect(PcapNGReader::new(BUFFER, file).unwrap())
    } else {
        collect(LegacyPcapReader::new(BUFFER, file).unwrap())
    }
}

fn collect(mut reader: impl PcapReaderIterator) -> Vec<(i32, Vec<u8>)> {
    let (mut packets, mut links) = (Vec::new(), Vec::new());
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => links.push(header.network.0),
                    PcapBlockOwned::Legacy(packet) => {
                        assert_eq!(packet.caplen, packet.origlen, "a packet was cut");
                        packets.push((links[0], packet.data.to_vec()));
                    }
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => links.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => links.push(interface.linktype.0),
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        assert_eq!(packet.caplen, packet.origlen, "a packet was cut");
                        // Without the padding that the block brings along.
                        let bytes = packet.data[..packet.caplen as usize].to_vec();
                        packets.push((links[packet.if_id as usize], bytes));
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return packets,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

//! Writing pcapng, with the packet options that other writers leave out.
//!
//! Source: draft-ietf-opsawg-pcapng (PCAP Next Generation), sections 4.1 to 4.7; option codes 1 comment, 2 flags,
//! 5 packet id, 7 verdict of section 4.3.

use std::io::{self, Read};
use std::net::IpAddr;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const NAMES: u32 = 4;
const STATISTICS: u32 = 5;
pub(super) const PACKET: u32 = 6;
/// A custom block that may be copied by those who don't know it.
pub(super) const CUSTOM: u32 = 0x0bad;
const MAGIC: u32 = 0x1a2b_3c4d;

/// Longest block that is taken for sound when a file is read again: a frame, its options, and room.
pub(super) const MAX_BLOCK: u32 = 1 << 20;

/// What is said of a packet beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketNotes<'a> {
    /// A sentence for people; cut to 64 KiB.
    pub comment: &'a str,
    /// A number by which the same packet is found in other files; 0 = none.
    pub packet_id: u64,
    /// What was decided; kind 0 (hardware) of the verdict option, whose content is the maker's.
    pub verdict: &'a str,
}

/// Appends the start of a section: its header, and one interface (Ethernet, nanoseconds) for each name.
pub fn start(out: &mut Vec<u8>, application: &str, interfaces: &[&str], snap_len: u32) {
    block(out, SECTION_HEADER, |body| {
        body.extend(MAGIC.to_le_bytes());
        body.extend(1u16.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        // Length of the section: not known yet.
        body.extend(u64::MAX.to_le_bytes());
        option(body, 4, application.as_bytes());
        end_of_options(body);
    });
    for name in interfaces {
        block(out, INTERFACE, |body| {
            body.extend(1u16.to_le_bytes());
            body.extend(0u16.to_le_bytes());
            body.extend(snap_len.to_le_bytes());
            option(body, 2, name.as_bytes());
            // Resolution 10^-9 s.
            option(body, 9, &[9]);
            end_of_options(body);
        });
    }
}

/// Which way a packet went through its interface; the lowest two bits of the flags option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Not said.
    Unknown = 0,
    /// It was received.
    Inbound = 1,
    /// It was sent.
    Outbound = 2,
}

/// Appends a packet that interface `interface` received at `wall_ns`, `wire_len` bytes long on the wire.
pub fn packet(out: &mut Vec<u8>, interface: u32, wall_ns: u64, wire_len: u32, bytes: &[u8], notes: &PacketNotes<'_>) {
    directed_packet(out, interface, wall_ns, wire_len, bytes, notes, Flow::Unknown);
}

/// Appends a packet with the direction that it went.
pub fn directed_packet(
    out: &mut Vec<u8>,
    interface: u32,
    wall_ns: u64,
    wire_len: u32,
    bytes: &[u8],
    notes: &PacketNotes<'_>,
    flow: Flow,
) {
    block(out, PACKET, |body| {
        body.extend(interface.to_le_bytes());
        time(body, wall_ns);
        let kept = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        body.extend(kept.to_le_bytes());
        body.extend(wire_len.max(kept).to_le_bytes());
        padded(body, bytes);
        if !notes.comment.is_empty() {
            option(body, 1, notes.comment.as_bytes());
        }
        if flow != Flow::Unknown {
            option(body, 2, &(flow as u32).to_le_bytes());
        }
        if notes.packet_id != 0 {
            option(body, 5, &notes.packet_id.to_le_bytes());
        }
        if !notes.verdict.is_empty() {
            let mut verdict = vec![0];
            verdict.extend(notes.verdict.as_bytes());
            option(body, 7, &verdict);
        }
        end_of_options(body);
    });
}

/// Appends a name resolution block: the name of each address.
pub fn names<'n>(out: &mut Vec<u8>, names: impl IntoIterator<Item = (IpAddr, &'n str)>) {
    block(out, NAMES, |body| {
        for (address, name) in names {
            let (kind, mut value) = match address {
                IpAddr::V4(address) => (1u16, address.octets().to_vec()),
                IpAddr::V6(address) => (2, address.octets().to_vec()),
            };
            value.extend(name.bytes().filter(|byte| *byte != 0).take(1024));
            value.push(0);
            option(body, kind, &value);
        }
        end_of_options(body);
    });
}

/// Appends a custom block of the maker with the private enterprise number `enterprise`; a length that is no multiple of
/// four is padded with zeros, and `data` has to say where it ends.
pub fn custom(out: &mut Vec<u8>, enterprise: u32, data: &[&[u8]]) {
    block(out, CUSTOM, |body| {
        body.extend(enterprise.to_le_bytes());
        for piece in data {
            body.extend(*piece);
        }
        padded(body, &[]);
    });
}

/// Appends how many packets an interface received and lost since the section's start.
pub fn statistics(out: &mut Vec<u8>, interface: u32, wall_ns: u64, received: u64, dropped: u64) {
    block(out, STATISTICS, |body| {
        body.extend(interface.to_le_bytes());
        time(body, wall_ns);
        option(body, 4, &received.to_le_bytes());
        option(body, 5, &dropped.to_le_bytes());
        end_of_options(body);
    });
}

fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    let length = u32::try_from(body.len().saturating_add(12)).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

fn time(body: &mut Vec<u8>, wall_ns: u64) {
    let [a, b, c, d, high @ ..] = wall_ns.to_le_bytes();
    body.extend(high);
    body.extend([a, b, c, d]);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    body.extend(code.to_le_bytes());
    body.extend(length.to_le_bytes());
    padded(body, value.get(..usize::from(length)).unwrap_or_default());
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn padded(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(bytes);
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }
}

/// The bytes of the packets that bear `id` as packet id, in files that this module wrote.
///
/// # Errors
/// The file can't be read. A cut last block ends the search without error.
pub fn packets_with_id(file: impl Read, id: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut reader = io::BufReader::new(file);
    let mut found = Vec::new();
    loop {
        let mut head = [0; 8];
        match reader.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(found),
            Err(error) => return Err(error),
        }
        let [a, b, c, d, length @ ..] = head;
        let (kind, length) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(length));
        if !(12..=MAX_BLOCK).contains(&length) {
            return Ok(found);
        }
        let mut body = vec![0; usize::try_from(length.saturating_sub(8)).unwrap_or(0)];
        match reader.read_exact(&mut body) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(found),
            Err(error) => return Err(error),
        }
        if kind == PACKET
            && let Some((bytes, options)) = split_packet(&body)
            && option_value(options, 5) == Some(&id.to_le_bytes())
        {
            found.push(bytes.to_vec());
        }
    }
}

/// Bytes and options of a packet block's body.
fn split_packet(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let kept = usize::try_from(u32::from_le_bytes(*body.get(12..)?.first_chunk()?)).ok()?;
    let data = body.get(20..)?;
    Some((data.get(..kept)?, data.get(kept.checked_next_multiple_of(4)?..)?))
}

fn option_value(mut options: &[u8], code: u16) -> Option<&[u8]> {
    loop {
        let (head, rest) = options.split_first_chunk::<4>()?;
        let [a, b, c, d] = *head;
        let length = usize::from(u16::from_le_bytes([c, d]));
        match u16::from_le_bytes([a, b]) {
            0 => return None,
            found if found == code => return rest.get(..length),
            _ => options = rest.get(length.checked_next_multiple_of(4)?..)?,
        }
    }
}

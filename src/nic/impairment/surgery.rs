//! Cutting and joining frames so that every piece is valid by itself.

use link::checksum::{self, combine};
use link::{Ipv4, Ipv4Options, Network, Tcp, TcpFlags};

use super::random::Random;

/// Shortest frame on Ethernet without its check sequence (IEEE 802.3-2018, 3.2.8).
const MIN_FRAME: usize = 60;

/// Where the parts of a TCP segment in IPv4 lie in its frame.
#[derive(Clone, Copy)]
struct Plain {
    ip: usize,
    tcp: usize,
    data: usize,
}

/// A segment with data that may be cut or joined: no SYN, RST or URG, no IP options, checksums valid.
fn plain(frame: &[u8]) -> Option<(Plain, Ipv4<'_>, Tcp<'_>)> {
    let packet = link::parse(frame).ok()?;
    let (Network::Ipv4(ip), Some(tcp)) = (packet.network, packet.tcp().copied()) else { return None };
    let odd = TcpFlags(TcpFlags::SYN.0 | TcpFlags::RST.0 | TcpFlags::URG.0);
    let is_plain = !tcp.payload.is_empty()
        && tcp.flags.0 & odd.0 == 0
        && ip.options == Ipv4Options::None
        && ip.header_len() == 20
        && packet.checksums_ok();
    let places = Plain { ip: packet.network_offset, tcp: tcp.header_offset, data: tcp.payload_offset };
    is_plain.then_some((places, ip, tcp))
}

/// Whether a frame is a segment that [`merge`] can join with the next.
pub(super) fn is_plain_segment(frame: &[u8]) -> bool {
    plain(frame).is_some_and(|(_, _, tcp)| !tcp.flags.fin())
}

/// Makes two segments of one at a random byte of its data; says whether it could be done.
pub(super) fn split(frame: &[u8], random: &mut Random, first: &mut Vec<u8>, second: &mut Vec<u8>) -> bool {
    let Some((at, ip, tcp)) = plain(frame) else { return false };
    let Some(places) = tcp.payload.len().checked_sub(1).filter(|places| *places > 0) else { return false };
    let len = random.place(places).saturating_add(1);
    let (Some(headers), Some((head, tail))) = (frame.get(..at.data), tcp.payload.split_at_checked(len)) else {
        return false;
    };
    for (piece, data) in [(&mut *first, head), (&mut *second, tail)] {
        piece.clear();
        piece.extend_from_slice(headers);
        piece.extend_from_slice(data);
    }
    let last = TcpFlags(TcpFlags::FIN.0 | TcpFlags::PSH.0).0;
    put(first, at.tcp.saturating_add(13), &[tcp.flags.0 & !last]);
    let seq = tcp.seq.wrapping_add(u32::try_from(len).unwrap_or_default());
    put(second, at.tcp.saturating_add(4), &seq.to_be_bytes());
    put(second, at.ip.saturating_add(4), &ip.identification.wrapping_add(1).to_be_bytes());
    for piece in [first, second] {
        mend(piece, at, frame.len());
    }
    true
}

/// Makes one segment of two that follow each other, if the packet is at most `most` bytes long then.
pub(super) fn merge(first: &[u8], second: &[u8], most: usize, joined: &mut Vec<u8>) -> bool {
    let (Some((a, ip_a, tcp_a)), Some((b, ip_b, tcp_b))) = (plain(first), plain(second)) else { return false };
    let end_a = tcp_a.seq.wrapping_add(u32::try_from(tcp_a.payload.len()).unwrap_or_default());
    let same_flow = first.get(..a.ip) == second.get(..b.ip)
        && (ip_a.source, ip_a.destination) == (ip_b.source, ip_b.destination)
        && (tcp_a.source_port, tcp_a.destination_port) == (tcp_b.source_port, tcp_b.destination_port);
    let fits = ip_b.total_len().saturating_add(tcp_a.payload.len()) <= most;
    let (true, true, true, Some(headers)) = (same_flow, fits, end_a == tcp_b.seq, second.get(..b.data)) else {
        return false;
    };
    joined.clear();
    joined.extend_from_slice(headers);
    joined.extend_from_slice(tcp_a.payload);
    joined.extend_from_slice(tcp_b.payload);
    put(joined, b.tcp.saturating_add(4), &tcp_a.seq.to_be_bytes());
    put(joined, b.tcp.saturating_add(13), &[tcp_b.flags.0 | tcp_a.flags.0 & TcpFlags::PSH.0]);
    mend(joined, b, second.len());
    true
}

/// Makes two fragments of an IPv4 packet at a random multiple of 8 bytes; says whether it could be done.
pub(super) fn fragment(frame: &[u8], random: &mut Random, first: &mut Vec<u8>, second: &mut Vec<u8>) -> bool {
    let Ok(packet) = link::parse(frame) else { return false };
    let Network::Ipv4(ip) = packet.network else { return false };
    let places = ip.payload.len().saturating_sub(1) / 8;
    if ip.fragment || ip.header_len() != 20 || places == 0 || !ip.header_checksum_ok() {
        return false;
    }
    let units = random.place(places).saturating_add(1);
    let data = packet.network_offset.saturating_add(20);
    let (Some(headers), Some((head, tail))) = (frame.get(..data), ip.payload.split_at_checked(units.saturating_mul(8)))
    else {
        return false;
    };
    // With the don't-fragment flag set the number may be the same in every packet (RFC 6864, 4.1).
    let identification = u16::try_from(random.below(1 << 16)).unwrap_or_default();
    let more = 0x2000;
    let offset = u16::try_from(units).unwrap_or_default();
    for (piece, data, flags) in [(first, head, more), (second, tail, offset)] {
        piece.clear();
        piece.extend_from_slice(headers);
        piece.extend_from_slice(data);
        put(piece, packet.network_offset.saturating_add(4), &identification.to_be_bytes());
        put(piece, packet.network_offset.saturating_add(6), &flags.to_be_bytes());
        mend_ip(piece, packet.network_offset);
        pad(piece, frame.len());
    }
    true
}

/// Turns over one bit of an IPv4 packet; says whether the frame has one.
pub(super) fn corrupt(frame: &mut [u8], random: &mut Random) -> bool {
    let Ok(packet) = link::parse(frame) else { return false };
    let Network::Ipv4(ip) = packet.network else { return false };
    let (start, len) = (packet.network_offset, ip.total_len());
    let at = start.saturating_add(random.place(len));
    let bit = 1_u8.checked_shl(u32::try_from(random.below(8)).unwrap_or_default()).unwrap_or(1);
    frame.get_mut(at).is_some_and(|byte| {
        *byte ^= bit;
        true
    })
}

/// Sets lengths and checksums of a segment that ends where `frame` ends, and pads it as the frame it came from.
fn mend(frame: &mut Vec<u8>, at: Plain, whole_len: usize) {
    mend_ip(frame, at.ip);
    put(frame, at.tcp.saturating_add(16), &[0, 0]);
    let address = |offset: usize| {
        let from = at.ip.saturating_add(offset);
        let bytes = frame.get(from..from.saturating_add(4)).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.unwrap_or_default().into()
    };
    let segment = frame.get(at.tcp..).unwrap_or_default();
    let len = u16::try_from(segment.len()).unwrap_or_default();
    let pseudo = checksum::pseudo_header_v4(address(12), address(16), link::protocol::TCP, len);
    let sum = combine(pseudo, checksum::sum(segment));
    put(frame, at.tcp.saturating_add(16), &(!sum).to_be_bytes());
    pad(frame, whole_len);
}

/// Sets length and checksum of an IPv4 header of 20 bytes whose packet ends where the frame ends.
fn mend_ip(frame: &mut [u8], ip: usize) {
    let total = u16::try_from(frame.len().saturating_sub(ip)).unwrap_or_default();
    put(frame, ip.saturating_add(2), &total.to_be_bytes());
    put(frame, ip.saturating_add(10), &[0, 0]);
    let sum = checksum::sum(frame.get(ip..ip.saturating_add(20)).unwrap_or_default());
    put(frame, ip.saturating_add(10), &(!sum).to_be_bytes());
}

/// What comes from a frame that keeps the shortest length of Ethernet keeps it too.
fn pad(frame: &mut Vec<u8>, whole_len: usize) {
    if frame.len() < MIN_FRAME && whole_len >= MIN_FRAME {
        frame.resize(MIN_FRAME, 0);
    }
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(at..at.saturating_add(bytes.len())) {
        place.copy_from_slice(bytes);
    }
}

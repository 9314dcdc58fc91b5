//! Frames of our own: segments that end or answer a connection, and whatever a laboratory has to say.
//!
//! Nothing is allocated; the caller brings the buffer. Every frame comes out with correct lengths and checksums and is
//! padded with zeros to 60 bytes, the shortest frame without its check sequence (IEEE 802.3-2018, 3.2.8).

use crate::arp::{self, Arp};
use crate::ether::{EtherType, Mac};
use crate::flow::Endpoint;
use crate::packet::{self, Packet};
use crate::tags::Tags;
use crate::tcp::TcpFlags;
use crate::transport::{Addresses, protocol};
use crate::{ipv4, ipv6, tcp, udp};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber, UdpPacket};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the shortest frame, frame check sequence left out.
pub const MIN_FRAME_LEN: usize = 60;

/// Hops that a crafted packet gets: the default of RFC 1700, and of Linux.
pub const DEFAULT_TTL: u8 = 64;

/// Why a frame can't be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmitError {
    /// The buffer is too small.
    Buffer {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The packet is longer than an IP or UDP length field can say.
    TooLong,
    /// The TCP options take more than 40 bytes.
    Options,
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffer { needed, have } => write!(f, "the frame needs {needed} bytes, the buffer has {have}"),
            Self::TooLong => f.write_str("the packet is longer than its length field can say"),
            Self::Options => f.write_str("the TCP options take more than 40 bytes"),
        }
    }
}

impl core::error::Error for EmitError {}

/// The headers that all frames of one direction of a conversation share; plain data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Template {
    /// Destination MAC address.
    pub destination_mac: Mac,
    /// Source MAC address.
    pub source_mac: Mac,
    /// VLAN tags, priorities included.
    pub tags: Tags,
    /// Source address and port.
    pub source: Endpoint,
    /// Destination address and port.
    pub destination: Endpoint,
    /// 4 or 6; anything but 6 is taken for 4.
    pub ip_version: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Differentiated services field and ECN.
    pub traffic_class: u8,
    /// Always 0.
    padding: u8,
}

impl Template {
    /// A template between two endpoints, with [`DEFAULT_TTL`] and traffic class 0.
    ///
    /// `None` unless both addresses are of the same IP version.
    #[must_use]
    pub fn new(
        (source_mac, destination_mac): (Mac, Mac),
        tags: Tags,
        (source, source_port): (IpAddr, u16),
        (destination, destination_port): (IpAddr, u16),
    ) -> Option<Self> {
        (source.is_ipv4() == destination.is_ipv4()).then(|| Self {
            destination_mac,
            source_mac,
            tags,
            source: Endpoint::new(source, source_port),
            destination: Endpoint::new(destination, destination_port),
            ip_version: if source.is_ipv4() { 4 } else { 6 },
            ttl: DEFAULT_TTL,
            traffic_class: 0,
            padding: 0,
        })
    }

    /// For more frames in the direction of `packet`: its addresses, ports and tags; `None` unless it is TCP or UDP.
    #[must_use]
    pub fn along(packet: &Packet<'_>) -> Option<Self> {
        let (source, destination) = packet.addresses()?;
        let (source_port, destination_port) = match (packet.tcp(), packet.udp()) {
            (Some(tcp), _) => (tcp.source_port, tcp.destination_port),
            (_, Some(udp)) => (udp.source_port, udp.destination_port),
            (None, None) => return None,
        };
        let macs = (packet.source, packet.destination);
        Self::new(macs, packet.tags, (source, source_port), (destination, destination_port))
    }

    /// For frames that answer `packet`: everything the other way round; `None` unless it is TCP or UDP.
    #[must_use]
    pub fn answering(packet: &Packet<'_>) -> Option<Self> {
        Self::along(packet).map(Self::reversed)
    }

    /// The same template for the other direction.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            destination_mac: self.source_mac,
            source_mac: self.destination_mac,
            source: self.destination,
            destination: self.source,
            ..self
        }
    }

    /// Bytes of Ethernet, tag and IP headers.
    #[must_use]
    pub fn header_len(&self) -> usize {
        let ip = if self.ip_version == 6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        packet::HEADER_LEN.saturating_add(self.tags.wire_len()).saturating_add(ip)
    }

    fn addresses(&self) -> Addresses {
        if self.ip_version == 6 {
            Addresses::V6(self.source.address.into(), self.destination.address.into())
        } else {
            let v4 = |[.., a, b, c, d]: [u8; 16]| Ipv4Addr::new(a, b, c, d);
            Addresses::V4(v4(self.source.address), v4(self.destination.address))
        }
    }
}

/// What one TCP segment says; [`Segment::default`] is an empty one without flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Sequence number of the first data byte, or of SYN.
    pub seq: u32,
    /// Acknowledgment number; written as it is, whether or not ACK is set.
    pub ack: u32,
    /// The control bits.
    pub flags: TcpFlags,
    /// The window field, already scaled.
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// Maximum segment size option, in bytes.
    pub maximum_segment_size: Option<u16>,
    /// SACK-permitted option.
    pub sack_permitted: bool,
    /// Timestamps option: value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// Window scale option: shift count.
    pub window_scale: Option<u8>,
    /// SACK option, left out when empty: at most four blocks, three beside timestamps.
    pub sack: &'a [(u32, u32)],
    /// Further options as bytes, after the others, filled up with zeros to a multiple of four.
    pub other_options: &'a [u8],
    /// The data.
    pub payload: &'a [u8],
}

/// Up to 40 bytes of TCP options under construction.
struct OptionBytes {
    bytes: [u8; 40],
    len: usize,
}

impl OptionBytes {
    fn push(&mut self, bytes: &[u8]) -> Result<(), EmitError> {
        let end = self.len.saturating_add(bytes.len());
        self.bytes.get_mut(self.len..end).ok_or(EmitError::Options)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    /// Writes the options that `segment` asks for, each aligned to four bytes, as receivers' fast paths expect.
    fn of(segment: &Segment<'_>) -> Result<Self, EmitError> {
        let mut all = Self { bytes: [0; 40], len: 0 };
        if let Some(size) = segment.maximum_segment_size {
            let [a, b] = size.to_be_bytes();
            all.push(&[2, 4, a, b])?;
        }
        if segment.sack_permitted {
            all.push(&[1, 1, 4, 2])?;
        }
        if let Some((value, echo_reply)) = segment.timestamps {
            all.push(&[1, 1, 8, 10])?;
            all.push(&value.to_be_bytes())?;
            all.push(&echo_reply.to_be_bytes())?;
        }
        if let Some(shift) = segment.window_scale {
            all.push(&[1, 3, 3, shift])?;
        }
        if !segment.sack.is_empty() {
            let len = segment.sack.len().saturating_mul(8).saturating_add(2);
            all.push(&[1, 1, 5, u8::try_from(len).map_err(|_| EmitError::Options)?])?;
            for (first, end) in segment.sack {
                all.push(&first.to_be_bytes())?;
                all.push(&end.to_be_bytes())?;
            }
        }
        all.push(segment.other_options)?;
        all.len = all.len.next_multiple_of(4);
        Ok(all)
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// Writes a TCP segment as a whole frame to the start of `out`; returns the frame's length.
///
/// # Errors
/// [`EmitError`]: the buffer is too small, the packet too long, or the options don't fit.
pub fn emit_tcp(template: &Template, segment: &Segment<'_>, out: &mut [u8]) -> Result<usize, EmitError> {
    let options = OptionBytes::of(segment)?;
    let options = options.as_slice();
    let header_len = tcp::HEADER_LEN.saturating_add(options.len());
    let total_len = header_len.saturating_add(segment.payload.len());
    let (frame_len, bytes) = emit_ip_headers(template, protocol::TCP, total_len, out)?;
    let (header, payload) = bytes.split_at_mut(header_len);
    payload.copy_from_slice(segment.payload);
    header.fill(0);
    if let Some(place) = header.get_mut(tcp::HEADER_LEN..) {
        place.copy_from_slice(options);
    }
    // The setters stay inside the header, which is at least 20 bytes long.
    let mut packet = TcpPacket::new_unchecked(bytes);
    packet.set_src_port(template.source.port);
    packet.set_dst_port(template.destination.port);
    packet.set_seq_number(TcpSeqNumber(segment.seq.cast_signed()));
    packet.set_ack_number(TcpSeqNumber(segment.ack.cast_signed()));
    packet.set_header_len(u8::try_from(header_len).unwrap_or(60));
    packet.set_fin(segment.flags.fin());
    packet.set_syn(segment.flags.syn());
    packet.set_rst(segment.flags.rst());
    packet.set_psh(segment.flags.psh());
    packet.set_ack(segment.flags.ack());
    packet.set_urg(segment.flags.urg());
    packet.set_ece(segment.flags.contains(TcpFlags::ECE));
    packet.set_cwr(segment.flags.contains(TcpFlags::CWR));
    packet.set_window_len(segment.window);
    packet.set_urgent_at(segment.urgent);
    let addresses = template.addresses();
    packet.fill_checksum(&addresses.source().into(), &addresses.destination().into());
    Ok(frame_len)
}

/// Writes a UDP datagram as a whole frame to the start of `out`; returns the frame's length.
///
/// # Errors
/// [`EmitError`]: the buffer is too small or the datagram too long.
pub fn emit_udp(template: &Template, payload: &[u8], out: &mut [u8]) -> Result<usize, EmitError> {
    let len = udp::HEADER_LEN.saturating_add(payload.len());
    let len_field = u16::try_from(len).map_err(|_| EmitError::TooLong)?;
    let (frame_len, bytes) = emit_ip_headers(template, protocol::UDP, len, out)?;
    let (_, place) = bytes.split_at_mut(udp::HEADER_LEN);
    place.copy_from_slice(payload);
    let mut packet = UdpPacket::new_unchecked(bytes);
    packet.set_src_port(template.source.port);
    packet.set_dst_port(template.destination.port);
    packet.set_len(len_field);
    let addresses = template.addresses();
    packet.fill_checksum(&addresses.source().into(), &addresses.destination().into());
    Ok(frame_len)
}

/// Writes an IP packet of any protocol as a whole frame to the start of `out`; returns the frame's length.
///
/// Ports of the template are not used, and `payload` is written as it is, its checksum included.
///
/// # Errors
/// [`EmitError`]: the buffer is too small or the packet too long.
pub fn emit_ip(template: &Template, protocol: u8, payload: &[u8], out: &mut [u8]) -> Result<usize, EmitError> {
    let (frame_len, bytes) = emit_ip_headers(template, protocol, payload.len(), out)?;
    bytes.copy_from_slice(payload);
    Ok(frame_len)
}

/// Writes an ARP packet as a whole frame to the start of `out`; returns the frame's length.
///
/// # Errors
/// [`EmitError::Buffer`]: the buffer is too small.
pub fn emit_arp(destination: Mac, source: Mac, tags: &Tags, arp: &Arp, out: &mut [u8]) -> Result<usize, EmitError> {
    let mut packet = [0; arp::LEN];
    let Mac([s0, s1, s2, s3, s4, s5]) = arp.sender_mac;
    let Mac([t0, t1, t2, t3, t4, t5]) = arp.target_mac;
    let [a, b, c, d] = arp.sender_ip.octets();
    let [e, f, g, h] = arp.target_ip.octets();
    let [o0, o1] = arp.operation.to_be_bytes();
    packet.copy_from_slice(&[
        0, 1, 8, 0, 6, 4, o0, o1, s0, s1, s2, s3, s4, s5, a, b, c, d, t0, t1, t2, t3, t4, t5, e, f, g, h,
    ]);
    emit_ethernet(destination, source, tags, EtherType::ARP, &packet, out)
}

/// Writes a frame with any payload to the start of `out`; returns its length.
///
/// For [`EtherType::LLC`] the field is the length of the payload.
///
/// # Errors
/// [`EmitError`]: the buffer is too small, or an LLC payload longer than 1500 bytes.
pub fn emit_ethernet(
    destination: Mac,
    source: Mac,
    tags: &Tags,
    ether_type: EtherType,
    payload: &[u8],
    out: &mut [u8],
) -> Result<usize, EmitError> {
    let ether_type = if ether_type == EtherType::LLC {
        u16::try_from(payload.len()).ok().filter(|len| *len <= 1500).ok_or(EmitError::TooLong)?
    } else {
        ether_type.0
    };
    let (frame_len, bytes) = emit_link_header(destination, source, tags, ether_type, payload.len(), out)?;
    bytes.copy_from_slice(payload);
    Ok(frame_len)
}

/// Writes addresses, tags, EtherType and padding; returns the frame's length and the place of the payload.
fn emit_link_header<'a>(
    destination: Mac,
    source: Mac,
    tags: &Tags,
    ether_type: u16,
    payload_len: usize,
    out: &'a mut [u8],
) -> Result<(usize, &'a mut [u8]), EmitError> {
    let header_len = packet::HEADER_LEN.saturating_add(tags.wire_len());
    let unpadded = header_len.saturating_add(payload_len);
    let needed = unpadded.max(MIN_FRAME_LEN);
    let have = out.len();
    let frame = out.get_mut(..needed).ok_or(EmitError::Buffer { needed, have })?;
    let (frame, padding) = frame.split_at_mut(unpadded);
    padding.fill(0);
    let (header, payload) = frame.split_at_mut(header_len);
    let fields = destination.0.into_iter().chain(source.0);
    let tag_bytes = tags.as_slice().iter().flat_map(|tag| [tag.tpid.to_be_bytes(), tag.tci.to_be_bytes()]).flatten();
    for (to, from) in header.iter_mut().zip(fields.chain(tag_bytes).chain(ether_type.to_be_bytes())) {
        *to = from;
    }
    Ok((needed, payload))
}

/// Writes everything before the transport header; returns the frame's length and the place of the transport segment.
fn emit_ip_headers<'a>(
    template: &Template,
    protocol: u8,
    transport_len: usize,
    out: &'a mut [u8],
) -> Result<(usize, &'a mut [u8]), EmitError> {
    let v6 = template.ip_version == 6;
    let (ether_type, ip_len) =
        if v6 { (EtherType::IPV6, ipv6::HEADER_LEN) } else { (EtherType::IPV4, ipv4::HEADER_LEN) };
    let total_len = ip_len.saturating_add(transport_len);
    let len_field = if v6 { transport_len } else { total_len };
    let len_field = u16::try_from(len_field).map_err(|_| EmitError::TooLong)?;
    let Template { destination_mac, source_mac, tags, .. } = template;
    let (frame_len, packet) = emit_link_header(*destination_mac, *source_mac, tags, ether_type.0, total_len, out)?;
    let (header, transport) = packet.split_at_mut(ip_len);
    header.fill(0);
    match template.addresses() {
        Addresses::V6(source, destination) => {
            let mut ip = Ipv6Packet::new_unchecked(header);
            ip.set_version(6);
            ip.set_traffic_class(template.traffic_class);
            ip.set_payload_len(len_field);
            ip.set_next_header(IpProtocol::from(protocol));
            ip.set_hop_limit(template.ttl);
            ip.set_src_addr(source);
            ip.set_dst_addr(destination);
        }
        Addresses::V4(source, destination) => {
            let mut ip = Ipv4Packet::new_unchecked(header);
            ip.set_version(4);
            ip.set_header_len(20);
            ip.set_dscp(template.traffic_class >> 2);
            ip.set_ecn(template.traffic_class & 3);
            ip.set_total_len(len_field);
            // Atomic: never fragmented, so the identification says nothing and is 0 (RFC 6864, 4.1).
            ip.set_dont_frag(true);
            ip.set_hop_limit(template.ttl);
            ip.set_next_header(IpProtocol::from(protocol));
            ip.set_src_addr(source);
            ip.set_dst_addr(destination);
            ip.fill_checksum();
        }
    }
    Ok((frame_len, transport))
}

/// The ARP packet that answers `request`: `mac` has the address asked for.
#[must_use]
pub fn arp_reply(request: &Arp, mac: Mac) -> Arp {
    Arp {
        operation: Arp::REPLY,
        sender_mac: mac,
        sender_ip: request.target_ip,
        target_mac: request.sender_mac,
        target_ip: request.sender_ip,
    }
}

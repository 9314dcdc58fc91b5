//! The same frames read by etherparse, pnet and smoltcp: what all can read must read the same.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod frames;

use etherparse::{LinkExtSlice, NetSlice, SlicedPacket, TransportSlice};
use link::{Checksum, Ipv4, Ipv6, Network, Packet, Tcp, Transport, Udp, parse};
use pnet_packet::Packet as _;
use proptest::prelude::*;
use smoltcp::wire;
use std::net::IpAddr;

fn same_tcp(tcp: &Tcp<'_>, theirs: &etherparse::TcpSlice<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(tcp.source_port, theirs.source_port());
    prop_assert_eq!(tcp.destination_port, theirs.destination_port());
    prop_assert_eq!(tcp.seq, theirs.sequence_number());
    prop_assert_eq!(tcp.ack, theirs.acknowledgment_number());
    let flags = [
        theirs.fin(),
        theirs.syn(),
        theirs.rst(),
        theirs.psh(),
        theirs.ack(),
        theirs.urg(),
        theirs.ece(),
        theirs.cwr(),
    ];
    let bits = flags.iter().enumerate().fold(0, |bits, (bit, set)| bits | u8::from(*set) << bit);
    prop_assert_eq!(tcp.flags.0, bits);
    prop_assert_eq!(tcp.window, theirs.window_size());
    prop_assert_eq!(tcp.urgent, theirs.urgent_pointer());
    prop_assert_eq!(tcp.checksum, theirs.checksum());
    prop_assert_eq!(tcp.option_bytes, theirs.options());
    prop_assert_eq!(tcp.payload, theirs.payload());
    Ok(())
}

fn same_as_etherparse(frame: &[u8]) -> Result<(), TestCaseError> {
    let ours = parse(frame);
    let theirs = SlicedPacket::from_ethernet(frame);
    let (packet, theirs) = match (&ours, &theirs) {
        (Ok(packet), Ok(theirs)) => (packet, theirs),
        (Err(_), Err(_)) => return Ok(()),
        (Ok(packet), Err(error)) => {
            // What it reads and we pass over: deeper tags, MACsec, authentication headers in IPv4, IGMP and ICMP of
            // the other IP version, lengths of ICMP timestamps, an order of IPv6 extension headers.
            let explained = match packet.network {
                Network::TooManyTags | Network::Other => true,
                Network::Ipv4(Ipv4 { transport, .. }) => {
                    matches!(transport, Transport::Other(_) | Transport::Icmp(_) | Transport::Fragment)
                }
                Network::Ipv6(Ipv6 { transport, extensions, .. }) => {
                    matches!(transport, Transport::Other(_) | Transport::Icmp(_)) || !extensions.is_empty()
                }
                Network::Arp(_) | Network::IpInLlc => false,
            };
            prop_assert!(explained, "etherparse refuses {:?}: {}", packet, error);
            return Ok(());
        }
        (Err(error), Ok(theirs)) => {
            // What we refuse and it takes: it does not look into IPv4 options, and it reads a UDP length or an IPv6
            // payload length of 0 as "up to the end".
            let zero_payload_len = matches!(&theirs.net, Some(NetSlice::Ipv6(ip)) if ip.header().payload_length() == 0);
            let extensions =
                matches!(&theirs.net, Some(NetSlice::Ipv6(ip)) if !matches!(ip.header().next_header().0, 6 | 17));
            let explained = matches!(
                error.field,
                "IPv4 option length"
                    | "ARP hardware or protocol type"
                    | "ARP address length"
                    | "UDP length"
                    | "ICMP header"
            ) || zero_payload_len
                || extensions;
            prop_assert!(explained, "we refuse with {}: {:?}", error, theirs);
            return Ok(());
        }
    };
    if matches!(packet.network, Network::TooManyTags | Network::Other | Network::IpInLlc) {
        return Ok(());
    }
    let tags: Vec<_> = theirs
        .link_exts
        .iter()
        .map(|tag| match tag {
            LinkExtSlice::Vlan(vlan) => u16::from_be_bytes([vlan.slice()[0], vlan.slice()[1]]),
            LinkExtSlice::Macsec(_) => unreachable!("not read here, so Network::Other"),
        })
        .collect();
    prop_assert_eq!(packet.tags.as_slice().iter().map(|tag| tag.tci).collect::<Vec<_>>(), tags);
    let transport = match (&packet.network, &theirs.net) {
        (Network::Ipv4(ip), Some(NetSlice::Ipv4(theirs))) => {
            let header = theirs.header();
            prop_assert_eq!(ip.source, header.source_addr());
            prop_assert_eq!(ip.destination, header.destination_addr());
            prop_assert_eq!(ip.ttl, header.ttl());
            prop_assert_eq!(ip.protocol, header.protocol().0);
            prop_assert_eq!(ip.identification, header.identification());
            prop_assert_eq!(ip.dont_fragment, header.dont_fragment());
            prop_assert_eq!(ip.fragment, header.is_fragmenting_payload());
            prop_assert_eq!(ip.traffic_class >> 2, header.dcp().value());
            prop_assert_eq!(ip.header, header.slice());
            prop_assert_eq!(ip.total_len(), usize::from(header.total_len()));
            if ip.protocol != 51 {
                prop_assert_eq!(ip.payload, theirs.payload().payload);
            }
            let right = header.to_header().calc_header_checksum() == header.header_checksum();
            // It forgets the reserved flag; and an all-ones field where zero belongs sums up the same.
            let odd = ip.header[6] & 0x80 != 0 || header.header_checksum() == 0xffff;
            prop_assert!(ip.header_checksum_ok() == right || odd);
            &ip.transport
        }
        (Network::Ipv6(ip), Some(NetSlice::Ipv6(theirs))) => {
            let header = theirs.header();
            prop_assert_eq!(ip.source, header.source_addr());
            prop_assert_eq!(ip.destination, header.destination_addr());
            prop_assert_eq!(ip.hop_limit, header.hop_limit());
            prop_assert_eq!(ip.traffic_class, header.traffic_class());
            prop_assert_eq!(ip.flow_label, header.flow_label().value());
            if header.payload_length() == 0 || ip.extensions.contains(link::Ipv6Extensions::OTHER) {
                return Ok(());
            }
            if ip.transport != Transport::Fragment {
                prop_assert_eq!(ip.extensions.is_empty(), theirs.extensions().is_empty());
                prop_assert_eq!(ip.protocol, theirs.payload().ip_number.0);
                prop_assert_eq!(ip.payload, theirs.payload().payload);
            }
            &ip.transport
        }
        (Network::Arp(arp), Some(NetSlice::Arp(theirs))) => {
            prop_assert_eq!(arp.operation, theirs.operation().0);
            prop_assert_eq!(&arp.sender_mac.0[..], theirs.sender_hw_addr());
            prop_assert_eq!(&arp.sender_ip.octets()[..], theirs.sender_protocol_addr());
            prop_assert_eq!(&arp.target_mac.0[..], theirs.target_hw_addr());
            prop_assert_eq!(&arp.target_ip.octets()[..], theirs.target_protocol_addr());
            return Ok(());
        }
        (ours, theirs) => return Err(TestCaseError::fail(format!("{ours:?} against {theirs:?}"))),
    };
    match (transport, &theirs.transport) {
        (Transport::Tcp(tcp), Some(TransportSlice::Tcp(theirs))) => same_tcp(tcp, theirs)?,
        (Transport::Udp(udp), Some(TransportSlice::Udp(theirs))) => {
            prop_assert_eq!(udp.source_port, theirs.source_port());
            prop_assert_eq!(udp.destination_port, theirs.destination_port());
            prop_assert_eq!(udp.payload, theirs.payload());
        }
        (Transport::Icmp(icmp), Some(TransportSlice::Icmpv4(theirs))) => {
            prop_assert_eq!((icmp.kind, icmp.code), (theirs.type_u8(), theirs.code_u8()));
        }
        (Transport::Icmp(icmp), Some(TransportSlice::Icmpv6(theirs))) => {
            prop_assert_eq!((icmp.kind, icmp.code), (theirs.type_u8(), theirs.code_u8()));
        }
        (Transport::Fragment, _) | (Transport::Other(_), None) => {}
        // It reads IGMP, either ICMP in either IP version, and looks behind authentication headers in IPv4.
        (Transport::Other(1 | 2 | 51 | 58), Some(_)) => {}
        (ours, theirs) => return Err(TestCaseError::fail(format!("{ours:?} against {theirs:?}"))),
    }
    Ok(())
}

/// The bytes of the transport layer as pnet sees them.
fn same_as_pnet(packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let bytes = packet.link_payload();
    let (tcp, udp) = (packet.tcp(), packet.udp());
    let v4;
    let v6;
    let payload = match packet.network {
        Network::Ipv4(ip) => {
            v4 = pnet_packet::ipv4::Ipv4Packet::new(bytes).unwrap();
            prop_assert_eq!((ip.source, ip.destination), (v4.get_source(), v4.get_destination()));
            prop_assert_eq!(ip.header_len(), usize::from(v4.get_header_length()) * 4);
            prop_assert_eq!(ip.total_len(), usize::from(v4.get_total_length()));
            prop_assert_eq!(ip.identification, v4.get_identification());
            prop_assert_eq!(ip.fragment, v4.get_fragment_offset() != 0 || v4.get_flags() & 1 == 1);
            prop_assert_eq!(ip.header_checksum_ok(), pnet_packet::util::checksum(ip.header, usize::MAX) == 0);
            v4.payload()
        }
        Network::Ipv6(ip) if ip.extensions.is_empty() => {
            v6 = pnet_packet::ipv6::Ipv6Packet::new(bytes).unwrap();
            prop_assert_eq!((ip.source, ip.destination), (v6.get_source(), v6.get_destination()));
            prop_assert_eq!(ip.flow_label, v6.get_flow_label());
            v6.payload()
        }
        _ => return Ok(()),
    };
    if let Some(tcp) = tcp {
        let theirs = pnet_packet::tcp::TcpPacket::new(payload).unwrap();
        prop_assert_eq!((tcp.source_port, tcp.destination_port), (theirs.get_source(), theirs.get_destination()));
        prop_assert_eq!((tcp.seq, tcp.ack), (theirs.get_sequence(), theirs.get_acknowledgement()));
        prop_assert_eq!((tcp.flags.0, tcp.window), (theirs.get_flags(), theirs.get_window()));
        prop_assert_eq!(tcp.option_bytes, theirs.get_options_raw());
        prop_assert_eq!(tcp.payload, theirs.payload());
    }
    if let Some(udp) = udp {
        let theirs = pnet_packet::udp::UdpPacket::new(payload).unwrap();
        prop_assert_eq!((udp.source_port, udp.destination_port), (theirs.get_source(), theirs.get_destination()));
        // pnet takes all that IP carries; the datagram's own length may be less.
        let len = usize::from(theirs.get_length()) - 8;
        prop_assert_eq!(udp.payload, &theirs.payload()[..len]);
    }
    Ok(())
}

/// Lengths, offsets and checksums as smoltcp sees them.
fn same_as_smoltcp(packet: &Packet<'_>) -> Result<(), TestCaseError> {
    let (payload, source, destination) = match packet.network {
        Network::Ipv4(ip) => {
            let theirs = wire::Ipv4Packet::new_checked(packet.link_payload()).unwrap();
            prop_assert_eq!(ip.header_checksum_ok(), theirs.verify_checksum());
            prop_assert_eq!(ip.payload, theirs.payload());
            prop_assert_eq!(ip.dont_fragment, theirs.dont_frag());
            prop_assert_eq!(ip.fragment, theirs.more_frags() || theirs.frag_offset() != 0);
            (theirs.payload(), IpAddr::from(theirs.src_addr()), IpAddr::from(theirs.dst_addr()))
        }
        Network::Ipv6(ip) if ip.extensions.is_empty() => {
            let theirs = wire::Ipv6Packet::new_checked(packet.link_payload()).unwrap();
            prop_assert_eq!(ip.payload, theirs.payload());
            prop_assert_eq!(ip.traffic_class, theirs.traffic_class());
            (theirs.payload(), IpAddr::from(theirs.src_addr()), IpAddr::from(theirs.dst_addr()))
        }
        _ => return Ok(()),
    };
    let (source, destination) = (source.into(), destination.into());
    let checksum = packet.transport_checksum();
    if let Some(tcp) = packet.tcp() {
        let theirs = wire::TcpPacket::new_checked(payload).unwrap();
        prop_assert_eq!(tcp.payload, theirs.payload());
        prop_assert_eq!(tcp.payload, &packet.frame[tcp.payload_offset..][..tcp.payload.len()]);
        prop_assert_eq!(&payload[..20], &packet.frame[tcp.header_offset..][..20]);
        prop_assert_eq!(
            tcp.sequence_len() as usize,
            theirs.payload().len() + usize::from(theirs.syn()) + usize::from(theirs.fin())
        );
        prop_assert_eq!(checksum == Some(Checksum::Valid), theirs.verify_checksum(&source, &destination));
    }
    if let Some(Udp { payload: ours, payload_offset, .. }) = packet.udp() {
        let theirs = wire::UdpPacket::new_checked(payload).unwrap();
        prop_assert_eq!(*ours, theirs.payload());
        prop_assert_eq!(*ours, &packet.frame[*payload_offset..][..ours.len()]);
        match checksum {
            Some(Checksum::Absent) => prop_assert!(theirs.checksum() == 0 && source.version() == wire::IpVersion::Ipv4),
            // smoltcp lets a missing checksum pass over IPv6 too.
            _ if theirs.checksum() == 0 => prop_assert_eq!(checksum, Some(Checksum::Invalid)),
            _ => prop_assert_eq!(checksum == Some(Checksum::Valid), theirs.verify_checksum(&source, &destination)),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn whole_frames_read_the_same(frame in frames::frame()) {
        same_as_etherparse(&frame)?;
        let packet = parse(&frame).map_err(|error| TestCaseError::fail(format!("{error}")))?;
        same_as_pnet(&packet)?;
        same_as_smoltcp(&packet)?;
    }

    #[test]
    fn damaged_frames_read_the_same(frame in frames::damaged()) {
        same_as_etherparse(&frame)?;
        if let Ok(packet) = parse(&frame) {
            same_as_pnet(&packet)?;
            same_as_smoltcp(&packet)?;
        }
    }
}

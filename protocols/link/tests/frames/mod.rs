//! Generated frames, built field by field with no help from the code under test.

#![allow(dead_code, reason = "each test file uses its own part")]

use pnet_packet::{tcp, udp};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// IP protocol number and segment.
type Carried = (u8, Vec<u8>);

fn tcp_options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        any::<[u8; 2]>().prop_map(|mss| [&[2, 4][..], &mss].concat()),
        any::<u8>().prop_map(|shift| vec![3, 3, shift]),
        Just(vec![4, 2]),
        vec(any::<[u8; 8]>(), 1..3)
            .prop_map(|blocks| [&[5, 2 + 8 * blocks.len() as u8][..], &blocks.concat()].concat()),
        any::<[u8; 8]>().prop_map(|clocks| [&[8, 10][..], &clocks].concat()),
        (9u8..255, vec(any::<u8>(), 0..5)).prop_map(|(kind, data)| [&[kind, 2 + data.len() as u8][..], &data].concat()),
    ];
    vec(option, 0..4).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    })
}

fn tcp_segment() -> impl Strategy<Value = Carried> {
    (any::<[u8; 12]>(), any::<u8>(), any::<[u8; 6]>(), tcp_options(), vec(any::<u8>(), 0..90)).prop_map(
        |(start, flags, end, options, payload)| {
            let words = (5 + options.len() / 4) as u8;
            (6, [&start[..], &[words << 4, flags], &end, &options, &payload].concat())
        },
    )
}

fn udp_datagram() -> impl Strategy<Value = Carried> {
    (any::<[u8; 4]>(), any::<[u8; 2]>(), vec(any::<u8>(), 0..90), vec(any::<u8>(), 0..3)).prop_map(
        |(ports, checksum, payload, surplus)| {
            let len = (8 + payload.len() as u16).to_be_bytes();
            (17, [&ports[..], &len, &checksum, &payload, &surplus].concat())
        },
    )
}

fn icmp_message() -> impl Strategy<Value = Carried> {
    let kind = prop_oneof![Just(0u8), Just(3), Just(5), Just(8), Just(11), Just(128), Just(1), Just(2)];
    (kind, any::<[u8; 7]>(), vec(any::<u8>(), 0..40), any::<bool>()).prop_map(|(kind, start, body, v4)| {
        let number = if v4 { 1 } else { 58 };
        (number, [&[kind][..], &start, &[0x45, 0, 0, 40], &body].concat())
    })
}

fn carried() -> impl Strategy<Value = Carried> {
    let other = (prop_oneof![Just(47u8), Just(89), Just(132)], vec(any::<u8>(), 0..40));
    prop_oneof![5 => tcp_segment(), 3 => udp_datagram(), 1 => icmp_message(), 1 => other]
}

/// Puts the right checksum into a TCP segment or a UDP datagram, by the word of pnet.
fn fill(carried: &mut Carried, v4: Option<(Ipv4Addr, Ipv4Addr)>, v6: Option<(Ipv6Addr, Ipv6Addr)>) {
    let (number, bytes) = carried;
    let place = match number {
        6 => 16,
        17 => 6,
        _ => return,
    };
    let len = if *number == 17 { u16::from_be_bytes([bytes[4], bytes[5]]).into() } else { bytes.len() };
    let checksum = if *number == 6 {
        let packet = tcp::TcpPacket::new(&bytes[..len]).unwrap();
        match (v4, v6) {
            (Some((a, b)), _) => tcp::ipv4_checksum(&packet, &a, &b),
            (_, Some((a, b))) => tcp::ipv6_checksum(&packet, &a, &b),
            _ => return,
        }
    } else {
        let packet = udp::UdpPacket::new(&bytes[..len]).unwrap();
        match (v4, v6) {
            (Some((a, b)), _) => udp::ipv4_checksum(&packet, &a, &b),
            (_, Some((a, b))) => udp::ipv6_checksum(&packet, &a, &b),
            _ => return,
        }
    };
    let checksum = if checksum == 0 && *number == 17 { 0xffff } else { checksum };
    bytes[place..place + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn ipv4() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![148, 4, 0, 0]),
        Just(vec![7, 7, 4, 0, 0, 0, 0]),
        Just(vec![131, 7, 4, 0, 0, 0, 0]),
    ];
    let options = prop_oneof![4 => Just(Vec::new()), 1 => vec(option, 1..4).prop_map(|options| options.concat())];
    let fragment = prop_oneof![9 => Just([0x40, 0]), 1 => any::<[u8; 2]>()];
    (options, fragment, any::<[u8; 12]>(), carried(), any::<bool>()).prop_map(
        |(mut options, fragment, fields, mut carried, right)| {
            options.resize(options.len().next_multiple_of(4), 0);
            let [tos, i0, i1, ttl, a, b, c, d, e, f, g, h] = fields;
            if right {
                fill(&mut carried, Some((Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h))), None);
            }
            let (number, payload) = carried;
            let header_len = 20 + options.len();
            let [t0, t1] = ((header_len + payload.len()) as u16).to_be_bytes();
            let first = 0x40 | (header_len / 4) as u8;
            let fixed =
                [first, tos, t0, t1, i0, i1, fragment[0], fragment[1], ttl, number, 0, 0, a, b, c, d, e, f, g, h];
            let mut packet = [&fixed[..], &options, &payload].concat();
            if right {
                let checksum = pnet_packet::ipv4::checksum(&pnet_packet::ipv4::Ipv4Packet::new(&packet).unwrap());
                packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            }
            (0x0800, packet)
        },
    )
}

fn ipv6() -> impl Strategy<Value = (u16, Vec<u8>)> {
    // Hop-by-hop, routing and destination options in the order of RFC 8200, 4.1, then perhaps a fragment header.
    let extensions = prop_oneof![
        6 => Just(vec![]),
        1 => proptest::sample::subsequence(vec![0u8, 43, 44, 60], 1..4),
    ];
    (any::<[u8; 3]>(), any::<u8>(), any::<[u8; 16]>(), any::<[u8; 16]>(), extensions, carried(), any::<bool>())
        .prop_map(|(start, hops, a, b, extensions, mut carried, right)| {
            if right {
                fill(&mut carried, None, Some((a.into(), b.into())));
            }
            let (number, payload) = carried;
            let mut following: Vec<u8> = extensions.iter().skip(1).copied().collect();
            following.push(number);
            let mut chain = Vec::new();
            for (kind, next) in extensions.iter().zip(following) {
                let words = if *kind == 60 { 1 } else { 0 };
                chain.extend([next, words, 0, if *kind == 44 { 8 } else { 4 }, 0, 0, 0, 0]);
                chain.resize(chain.len() + usize::from(words) * 8, 0);
            }
            let [l0, l1] = ((chain.len() + payload.len()) as u16).to_be_bytes();
            let first = extensions.first().copied().unwrap_or(number);
            let [s0, s1, s2] = start;
            let fixed = [0x60 | s0 & 0x0f, s1, s2, hops, l0, l1, first, hops];
            (0x86dd, [&fixed[..], &a, &b, &chain, &payload].concat())
        })
}

fn arp() -> impl Strategy<Value = (u16, Vec<u8>)> {
    (1u8..3, any::<[u8; 20]>())
        .prop_map(|(operation, rest)| (0x0806, [&[0, 1, 8, 0, 6, 4, 0, operation][..], &rest].concat()))
}

fn other() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let ether_type = prop_oneof![Just(0x8892u16), Just(0x88cc), Just(0x88f7), 0u16..1500, 0x0801u16..0x0806];
    (ether_type, vec(any::<u8>(), 0..60))
}

/// A well-formed frame.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let tag = (prop_oneof![3 => Just(0x8100u16), 1 => Just(0x88a8)], prop_oneof![Just(0u16), any::<u16>()]);
    let tags = prop_oneof![4 => Just(0usize), 2 => Just(1), 2 => Just(2), 1 => Just(3)]
        .prop_flat_map(move |n| vec(tag.clone(), n));
    let inside = prop_oneof![6 => ipv4(), 4 => ipv6(), 1 => arp(), 1 => other()];
    (any::<[u8; 12]>(), tags, inside, vec(any::<u8>(), 0..20)).prop_map(
        |(macs, tags, (ether_type, payload), padding)| {
            let mut frame = macs.to_vec();
            for (tpid, tci) in tags {
                frame.extend(tpid.to_be_bytes());
                frame.extend(tci.to_be_bytes());
            }
            frame.extend(ether_type.to_be_bytes());
            frame.extend(payload);
            frame.extend(padding);
            frame
        },
    )
}

/// A frame with up to three bytes changed and perhaps its end cut off.
pub(crate) fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (frame(), changes, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(mut frame, changes, cut, cuts)| {
        for (at, value) in changes {
            // The headers are where the damage tells.
            let len = frame.len().min(64);
            frame[at.index(len)] = value;
        }
        if cuts {
            frame.truncate(cut.index(frame.len() + 1));
        }
        frame
    })
}

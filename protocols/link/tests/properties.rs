//! What holds for any bytes, any cut, and whatever is crafted.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail"
)]

mod frames;

use dissect::{ErrorKind, Toward};
use link::craft::{self, EmitError, Segment, Template};
use link::{
    Arp, Checksum, EtherType, FlowKey, Ipv4Options, Mac, Network, Packet, Tag, Tags, TcpFlags, TcpOptionSummary,
    Transport, checksum, parse,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Calls everything that reads, and checks that offsets point where they say.
fn exercise(frame: &[u8]) -> Result<(), TestCaseError> {
    let _ = Packet::link(frame);
    let packet = match parse(frame) {
        Ok(packet) => packet,
        Err(error) => {
            prop_assert!(error.offset as usize <= frame.len());
            if error.kind == ErrorKind::Truncated {
                prop_assert!(error.have < error.needed);
                prop_assert!((error.offset + error.have) as usize <= frame.len());
            }
            return Ok(());
        }
    };
    prop_assert!(packet.network_offset <= frame.len());
    let _ = (packet.checksums_ok(), packet.link_protocol(), packet.addresses());
    if let Some(tcp) = packet.tcp() {
        prop_assert_eq!(&frame[tcp.payload_offset..][..tcp.payload.len()], tcp.payload);
        prop_assert_eq!(&frame[tcp.payload_offset - tcp.option_bytes.len()..tcp.payload_offset], tcp.option_bytes);
        prop_assert_eq!(tcp.header_offset + 20 + tcp.option_bytes.len(), tcp.payload_offset);
        prop_assert_eq!(tcp.timestamps(), tcp.option_summary().timestamps);
    }
    for toward in [Toward::Robot, Toward::Plant] {
        let key = FlowKey::of(&packet, toward);
        let known = packet.tcp().is_some() || packet.udp().is_some() || packet.icmp().is_some();
        prop_assert_eq!(key.is_some(), known);
        if let (Some(key), Some(along)) = (key, Template::along(&packet)) {
            prop_assert_eq!(key.source(toward), along.source);
            prop_assert_eq!(key.destination(toward), along.destination);
        }
        if let Some(quoted) = packet.icmp().and_then(|icmp| icmp.quoted) {
            prop_assert!(quoted.transport_offset <= frame.len());
            let _ = FlowKey::of_quoted(&quoted, toward);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn never_panics_on_any_bytes(frame in vec(any::<u8>(), 0..200)) {
        exercise(&frame)?;
    }

    #[test]
    fn never_panics_on_damaged_frames(frame in frames::damaged()) {
        exercise(&frame)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A frame cut anywhere is truncated, or what is left says the same as before.
    #[test]
    fn cut_at_every_length(frame in frames::frame()) {
        let whole = parse(&frame).map_err(|error| TestCaseError::fail(format!("{error}")))?;
        for len in 0..frame.len() {
            exercise(&frame[..len])?;
            match parse(&frame[..len]) {
                Ok(cut) => {
                    prop_assert_eq!(cut.tags, whole.tags);
                    prop_assert_eq!(cut.ether_type, whole.ether_type);
                    // LLC says what it hides in its first bytes, so a cut may take that away.
                    if whole.network != Network::IpInLlc {
                        prop_assert_eq!(cut.network, whole.network);
                    }
                }
                Err(error) => {
                    prop_assert_eq!(error.kind, ErrorKind::Truncated);
                    prop_assert_eq!((error.offset + error.have) as usize, len);
                }
            }
        }
    }
}

fn tags() -> impl Strategy<Value = Tags> {
    let tag = (prop_oneof![Just(0x8100u16), Just(0x88a8)], any::<u16>()).prop_map(|(tpid, tci)| Tag { tpid, tci });
    vec(tag, 0..3).prop_map(|tags| Tags::new(&tags).unwrap())
}

fn template() -> impl Strategy<Value = Template> {
    let addresses = prop_oneof![
        any::<(u32, u32)>().prop_map(|(a, b)| (IpAddr::from(Ipv4Addr::from(a)), IpAddr::from(Ipv4Addr::from(b)))),
        any::<(u128, u128)>().prop_map(|(a, b)| (IpAddr::from(Ipv6Addr::from(a)), IpAddr::from(Ipv6Addr::from(b)))),
    ];
    (any::<([u8; 6], [u8; 6])>(), tags(), addresses, any::<(u16, u16)>())
        .prop_map(|((a, b), tags, (c, d), (e, f))| Template::new((Mac(a), Mac(b)), tags, (c, e), (d, f)).unwrap())
}

proptest! {
    #[test]
    fn what_is_crafted_reads_back(
        template in template(),
        (seq, ack, flags, window, urgent) in any::<(u32, u32, u8, u16, u16)>(),
        timestamps: Option<(u32, u32)>,
        sack in vec(any::<(u32, u32)>(), 0..4),
        payload in prop_oneof![vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..1460)],
        dirt: u8,
    ) {
        let segment = Segment {
            seq, ack, flags: TcpFlags(flags), window, urgent, timestamps, sack: &sack, payload: &payload,
            ..Segment::default()
        };
        let mut out = [dirt; 1600];
        let len = craft::emit_tcp(&template, &segment, &mut out).unwrap();
        prop_assert!(out[len..].iter().all(|byte| *byte == dirt), "nothing beyond the frame is touched");
        prop_assert!(len >= craft::MIN_FRAME_LEN);
        let packet = parse(&out[..len]).unwrap();
        prop_assert!(packet.checksums_ok());
        prop_assert_eq!(packet.transport_checksum(), Some(Checksum::Valid));
        let tcp = packet.tcp().unwrap();
        prop_assert_eq!((tcp.seq, tcp.ack, tcp.flags.0, tcp.window, tcp.urgent), (seq, ack, flags, window, urgent));
        prop_assert_eq!(tcp.payload, &payload[..]);
        let options = tcp.option_summary();
        let wanted = TcpOptionSummary { timestamps, sack: options.sack, ..TcpOptionSummary::default() };
        prop_assert_eq!(options, wanted);
        prop_assert_eq!(options.sack.as_slice(), &sack[..]);
        prop_assert_eq!(packet.tags, template.tags);
        prop_assert!(packet.frame[tcp.payload_offset + payload.len()..].iter().all(|byte| *byte == 0));

        prop_assert_eq!(Template::along(&packet), Some(template));
        prop_assert_eq!(Template::answering(&packet), Some(template.reversed()));
        prop_assert_eq!(template.reversed().reversed(), template);

        // Both directions of a conversation have one key.
        let mut answer = [0; 100];
        let len = craft::emit_tcp(&template.reversed(), &Segment::default(), &mut answer).unwrap();
        let answer = parse(&answer[..len]).unwrap();
        let key = FlowKey::of(&packet, Toward::Robot);
        prop_assert!(key.is_some());
        prop_assert_eq!(key, FlowKey::of(&answer, Toward::Plant));
    }

    #[test]
    fn datagrams_read_back(template in template(), payload in vec(any::<u8>(), 0..600)) {
        let mut out = [0xa5; 700];
        let len = craft::emit_udp(&template, &payload, &mut out).unwrap();
        let packet = parse(&out[..len]).unwrap();
        prop_assert_eq!(packet.transport_checksum(), Some(Checksum::Valid));
        prop_assert!(packet.checksums_ok());
        prop_assert_eq!(packet.udp().unwrap().payload, &payload[..]);
        prop_assert_eq!(Template::along(&packet), Some(template));
    }

    #[test]
    fn arp_reads_back(macs: [[u8; 6]; 4], operation: u16, ips: (u32, u32), tags in tags()) {
        let [destination, source, sender_mac, target_mac] = macs.map(Mac);
        let arp = Arp { operation, sender_mac, sender_ip: ips.0.into(), target_mac, target_ip: ips.1.into() };
        let mut out = [0xa5; 64];
        let len = craft::emit_arp(destination, source, &tags, &arp, &mut out).unwrap();
        let packet = parse(&out[..len]).unwrap();
        prop_assert_eq!(packet.network, Network::Arp(arp));
        prop_assert_eq!((packet.destination, packet.source, packet.tags), (destination, source, tags));
    }

    /// A sequence number moved by rewriting two fields keeps the checksum right.
    #[test]
    fn an_incremental_update_is_a_valid_checksum(template in template(), seq: u32, moved: u32, payload in vec(any::<u8>(), 0..99)) {
        let mut out = [0; 300];
        let len = craft::emit_tcp(&template, &Segment { seq, payload: &payload, ..Segment::default() }, &mut out).unwrap();
        let (at, field) = {
            let packet = parse(&out[..len]).unwrap();
            let tcp = packet.tcp().unwrap();
            (tcp.header_offset, tcp.checksum)
        };
        out[at + 4..at + 8].copy_from_slice(&moved.to_be_bytes());
        out[at + 16..at + 18].copy_from_slice(&checksum::update32(field, seq, moved).to_be_bytes());
        prop_assert!(parse(&out[..len]).unwrap().checksums_ok());
    }

    /// A buffer that is too small is refused with what it would take, never written past.
    #[test]
    fn small_buffers_are_refused(template in template(), have in 0usize..120, len in 0usize..60) {
        let payload = vec![7; len];
        let mut out = vec![0; have];
        let needed = (template.header_len() + 20 + len).max(craft::MIN_FRAME_LEN);
        let result = craft::emit_tcp(&template, &Segment { payload: &payload, ..Segment::default() }, &mut out);
        prop_assert_eq!(result, if have < needed { Err(EmitError::Buffer { needed, have }) } else { Ok(needed) });
    }
}

fn plain() -> Template {
    let (a, b) = (Ipv4Addr::new(10, 20, 0, 21), Ipv4Addr::new(10, 20, 0, 40));
    Template::new((Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2])), Tags::NONE, (a.into(), 49152), (b.into(), 502))
        .unwrap()
}

#[test]
fn too_much_is_refused() {
    let mut out = vec![0; 70_000];
    let payload = vec![0; 65_536];
    let sack = [(0, 0); 4];
    let long = Segment { payload: &payload[..65_496], ..Segment::default() };
    assert_eq!(craft::emit_tcp(&plain(), &long, &mut out), Err(EmitError::TooLong));
    let fits = Segment { payload: &payload[..65_495], ..Segment::default() };
    assert_eq!(craft::emit_tcp(&plain(), &fits, &mut out), Ok(14 + 65_535));
    assert!(parse(&out[..14 + 65_535]).unwrap().checksums_ok());
    assert_eq!(craft::emit_udp(&plain(), &payload[..65_508], &mut out), Err(EmitError::TooLong));
    let crowded = Segment { timestamps: Some((1, 2)), sack: &sack, ..Segment::default() };
    assert_eq!(craft::emit_tcp(&plain(), &crowded, &mut out), Err(EmitError::Options));
    let four = Segment { sack: &sack, ..Segment::default() };
    assert!(craft::emit_tcp(&plain(), &four, &mut out).is_ok());
}

#[test]
fn a_syn_carries_its_options() {
    let mut out = [0; 100];
    let syn = Segment {
        flags: TcpFlags::SYN,
        maximum_segment_size: Some(1460),
        sack_permitted: true,
        timestamps: Some((7, 0)),
        window_scale: Some(7),
        other_options: &[34, 2],
        ..Segment::default()
    };
    let len = craft::emit_tcp(&plain(), &syn, &mut out).unwrap();
    let packet = parse(&out[..len]).unwrap();
    let tcp = packet.tcp().unwrap();
    let options = tcp.option_summary();
    assert_eq!((options.maximum_segment_size, options.window_scale), (Some(1460), Some(7)));
    assert!(options.sack_permitted && options.fast_open && !options.malformed);
    assert_eq!(tcp.timestamps(), Some((7, 0)));
    assert_eq!((tcp.sequence_len(), tcp.seq_end()), (1, 1));
    assert_eq!(tcp.flags.to_string(), "SYN");
    assert_eq!(
        FlowKey::of(&packet, Toward::Robot).unwrap().to_string(),
        "tcp plant 10.20.0.21:49152 robot 10.20.0.40:502"
    );
}

#[test]
fn an_offloaded_checksum_is_partial() {
    let mut out = [0; 100];
    let len = craft::emit_tcp(&plain(), &Segment { payload: b"partial", ..Segment::default() }, &mut out).unwrap();
    let (a, b) = (Ipv4Addr::new(10, 20, 0, 21), Ipv4Addr::new(10, 20, 0, 40));
    let pseudo = checksum::pseudo_header_v4(a, b, 6, 27);
    out[50..52].copy_from_slice(&pseudo.to_be_bytes());
    let packet = parse(&out[..len]).unwrap();
    assert_eq!(packet.transport_checksum(), Some(Checksum::Partial));
    assert!(!packet.checksums_ok());
    out[50] ^= 1;
    assert_eq!(parse(&out[..len]).unwrap().transport_checksum(), Some(Checksum::Invalid));
}

#[test]
fn ip_in_llc_and_deep_tags_are_told_apart() {
    let (a, b) = (Mac([2, 0, 0, 0, 0, 1]), Mac::STP);
    let network = |ether_type: EtherType, payload: &[u8]| {
        let out = Box::leak(Box::new([0; 100]));
        let len = craft::emit_ethernet(b, a, &Tags::NONE, ether_type, payload, out).unwrap();
        let packet = parse(&out[..len]).unwrap();
        (packet.network, packet.link_protocol().to_string())
    };
    assert_eq!(network(EtherType::LLC, &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]).0, Network::IpInLlc);
    assert_eq!(network(EtherType::LLC, &[0xaa, 0xaa, 3, 0, 0, 0xf8, 0x81, 0, 0, 5]).0, Network::IpInLlc);
    for saps in [[0x06, 0x06], [0x07, 0xfe], [0xfe, 0x07]] {
        assert_eq!(network(EtherType::LLC, &[saps[0], saps[1], 3, 0x45]).0, Network::IpInLlc);
    }
    assert_eq!(network(EtherType::LLC, &[0xaa, 0xaa, 3, 0, 0, 0x0c, 0x20, 0]), (Network::Other, "stp".into()));
    assert_eq!(network(EtherType::LLC, &[0x42, 0x42, 3, 0, 0]), (Network::Other, "stp".into()));
    assert_eq!(network(EtherType::PROFINET, &[0xfe, 0xfe]), (Network::Other, "profinet".into()));
    assert_eq!(network(EtherType::VLAN, &[0, 1, 0x88, 0xa8, 0, 2, 0x81, 0, 0, 3, 8, 0]).0, Network::TooManyTags);
    // A tag protocol identifier that Linux does not take for one is an EtherType like any other.
    assert_eq!(network(EtherType(0x9100), &[0, 1, 8, 0]), (Network::Other, "0x9100".into()));
}

fn with_options(options: &[u8]) -> Vec<u8> {
    let mut out = [0; 100];
    let len = craft::emit_ip(&plain(), 47, &[options, &[9; 30]].concat(), &mut out).unwrap();
    out[14] = 0x40 | (5 + options.len() / 4) as u8;
    out[..len].to_vec()
}

#[test]
fn ipv4_options_are_told_apart() {
    let of = |bytes: &[u8]| match parse(&with_options(bytes)) {
        Ok(Packet { network: Network::Ipv4(ip), .. }) => Ok((ip.options, ip.payload.len())),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err((error.kind, error.field, error.offset)),
    };
    assert_eq!(of(&[]), Ok((Ipv4Options::None, 30)));
    assert_eq!(of(&[1, 1, 0, 9]), Ok((Ipv4Options::None, 30)));
    assert_eq!(of(&[148, 4, 0, 0]), Ok((Ipv4Options::Harmless, 30)));
    assert_eq!(of(&[1, 7, 3, 4]), Ok((Ipv4Options::RecordRoute, 30)));
    assert_eq!(of(&[148, 4, 0, 0, 137, 3, 4, 1]), Ok((Ipv4Options::SourceRoute, 30)));
    for bad in [[1, 131, 3, 4, 148], [148, 4, 0, 0, 131]] {
        let mut bytes = [0; 8];
        bytes[..5].copy_from_slice(&bad);
        bytes[5] = 1;
        let at = 34 + 4;
        assert_eq!(of(&bytes), Err((ErrorKind::Malformed, "IPv4 option length", at)));
    }
}

#[test]
fn fragments_show_no_ports() {
    let mut out = [0; 100];
    let len = craft::emit_tcp(&plain(), &Segment::default(), &mut out).unwrap();
    for flags in [[0x20, 0], [0, 1], [0x3f, 0xff]] {
        out[20..22].copy_from_slice(&flags);
        let packet = parse(&out[..len]).unwrap();
        assert_eq!(packet.transport(), Some(&Transport::Fragment));
        assert_eq!(FlowKey::of(&packet, Toward::Robot), None);
        assert_eq!(packet.transport_checksum(), None);
    }
}

#[test]
fn an_icmp_error_leads_to_its_flow() {
    let mut quoted = [0; 100];
    let segment = Segment { seq: 0x0102_0304, payload: &[0; 40], ..Segment::default() };
    craft::emit_tcp(&plain(), &segment, &mut quoted).unwrap();
    let key = FlowKey::of(&parse(&quoted[..94]).unwrap(), Toward::Robot).unwrap();
    // The robot answers with port unreachable, quoting the IP header and eight bytes (RFC 792).
    let message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &quoted[14..14 + 28]].concat();
    let mut out = [0; 100];
    let len = craft::emit_ip(&plain().reversed(), 1, &message, &mut out).unwrap();
    let packet = parse(&out[..len]).unwrap();
    let icmp = packet.icmp().unwrap();
    assert!(icmp.is_error() && !icmp.is_echo());
    let quoted = icmp.quoted.unwrap();
    assert_eq!(quoted.seq, Some(0x0102_0304));
    assert_eq!(out[quoted.transport_offset + 4..][..4], [1, 2, 3, 4]);
    assert_eq!(FlowKey::of_quoted(&quoted, Toward::Plant), Some(key));
    let own = FlowKey::of(&packet, Toward::Plant).unwrap();
    assert_eq!((own.protocol, own.plant.port, own.robot.port), (1, 0, 0), "all ICMP of two addresses is one flow");
    // Quoting a later fragment, it names no ports: those bytes are data.
    out[14 + 20 + 8 + 7] = 1;
    assert_eq!(parse(&out[..len]).unwrap().icmp().unwrap().quoted, None);
}

#[test]
fn an_ipv6_fragment_holds_what_follows_its_header() {
    let v6 = |last| IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    let template = Template::new((Mac::default(), Mac::default()), Tags::NONE, (v6(1), 0), (v6(2), 0)).unwrap();
    let mut out = [0; 100];
    let len = craft::emit_ip(&template, 44, &[6, 0, 0, 1, 0, 0, 0, 7, 0xaa, 0xbb, 0xcc], &mut out).unwrap();
    let packet = parse(&out[..len]).unwrap();
    let Network::Ipv6(ip) = packet.network else { panic!("{packet:?}") };
    assert_eq!((ip.transport, ip.protocol, ip.payload), (Transport::Fragment, 6, &[0xaa, 0xbb, 0xcc][..]));
    assert_eq!(ip.extensions, link::Ipv6Extensions::FRAGMENT);
    assert_eq!(FlowKey::of(&packet, Toward::Robot), None);
}

#[test]
fn mapped_ipv6_is_another_flow_than_ipv4() {
    let v6 = |last| IpAddr::from(Ipv4Addr::new(10, 20, 0, last).to_ipv6_mapped());
    let macs = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let mapped = Template::new(macs, Tags::NONE, (v6(21), 49152), (v6(40), 502)).unwrap();
    let key = |template: &Template| {
        let mut out = [0; 100];
        let len = craft::emit_tcp(template, &Segment::default(), &mut out).unwrap();
        FlowKey::of(&parse(&out[..len]).unwrap(), Toward::Robot).unwrap()
    };
    assert_ne!(key(&mapped), key(&plain()));
    assert_eq!(key(&mapped).plant, key(&plain()).plant);
}

//! Odd input against a real Linux behind the running box: IP headers, datagrams, ICMP, what no rule names.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dissect::Toward;
use link::craft::{self, Template};
use link::{Mac, Network, Tags, Transport};
use support::adversary::{DATA, ODD, ODD_MAC, ROBOT, ROBOT_MAC, RawTcp, SILENCE, mend, tcp_frame};
use support::guarded::{Cable, Guarded, PLC, PLC_MAC, forbidden, hex, refusal, write_register as write};
use support::raw::RawSocket;
use support::wire::PLANT_SIDE;
use vambrace::event::Reason;

/// Whether a frame was sent in the name of a MAC, its ARP left out.
fn is_of(mac: Mac) -> impl Fn(&[u8]) -> bool {
    move |frame: &[u8]| frame[6..12] == mac.0 && frame[12..14] != [0x08, 0x06]
}

/// A datagram or packet template from the adversary to the robot.
fn template(from: u16, to: u16) -> Template {
    Template::new((ODD_MAC, ROBOT_MAC), Tags::default(), (IpAddr::from(ODD), from), (IpAddr::from(ROBOT), to)).unwrap()
}

fn emit(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = vec![0; 4096];
    let len = write(&mut out);
    out.truncate(len);
    out
}

/// Frames made of an honest segment of a live connection: none reaches the robot, each reason stands in the records, and
/// the connection goes on.
fn dropped(name: &str, why: Reason, make: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    let mark = cell.cable.mark();
    for frame in make(&tcp_frame(&tcp.template, &tcp.segment(tcp.seq, DATA, &write(129, 2)))) {
        tcp.frame(&frame);
        cell.assert_nothing_since(mark, "the frame", is_of(ODD_MAC));
    }
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, why);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

/// The same frame with options in its IPv4 header.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..34], options, &frame[34..]].concat();
    frame[14] = 0x40 | (5 + options.len() / 4) as u8;
    let total = u16::from_be_bytes([frame[16], frame[17]]) + options.len() as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    mend(&mut frame);
    frame
}

#[test]
fn fragments_are_dropped() {
    let set = |frame: &[u8], field: u16, cut: usize| {
        let mut frame = frame[..cut.min(frame.len())].to_vec();
        let total = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        let transport = frame[34..].to_vec();
        mend(&mut frame);
        // Only the first fragment holds a transport header, and its checksum is the whole packet's.
        frame[34..].copy_from_slice(&transport);
        frame
    };
    dropped("fragments", Reason::Fragment, |frame| {
        vec![
            set(frame, 0x2000, 14 + 20 + 40),
            set(frame, 0x2000, 14 + 20 + 8),
            set(frame, 0x2001, 14 + 20 + 16),
            set(frame, 0x0005, 14 + 20 + 24),
        ]
    });
}

#[test]
fn a_command_in_two_fragments_never_arrives() {
    let Some(cell) = Guarded::up("two-fragments") else { return };
    let mut tcp = cell.connect(502);
    let mark = cell.cable.mark();
    let whole = tcp_frame(&tcp.template, &tcp.segment(tcp.seq, DATA, &write(129, 2)));
    let packet = |payload: &[u8], field: u16| {
        let mut frame = [&whole[..34], payload].concat();
        frame[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        frame[18..22].copy_from_slice(&[0x12, 0x34, (field >> 8) as u8, field as u8]);
        let kept = frame[34..].to_vec();
        mend(&mut frame);
        frame[34..].copy_from_slice(&kept);
        frame
    };
    let transport = &whole[34..];
    for (payload, field) in [(&transport[32..], 0x0004), (&transport[..32], 0x2000)] {
        tcp.frame(&packet(payload, field));
    }
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, Reason::Fragment);
    cell.assert_nothing_since(mark, "a fragment", |frame| {
        is_of(ODD_MAC)(frame) && u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0
    });
    cell.assert_lives(&mut tcp, &[]);
    cell.assert_honest_session();
}

#[test]
fn source_route_and_record_route_are_dropped() {
    let [a, b, c, d] = ODD.octets();
    dropped("routes", Reason::IpOptions, |frame| {
        [131, 137, 7].map(|kind| with_options(frame, &[kind, 7, 4, a, b, c, d, 0])).to_vec()
    });
}

#[test]
fn a_packet_without_time_to_live_is_dropped() {
    dropped("ttl", Reason::TtlZero, |frame| {
        let mut frame = frame.to_vec();
        frame[22] = 0;
        mend(&mut frame);
        vec![frame]
    });
}

#[test]
fn a_datagram_is_delivered_whole_or_not_at_all() {
    let Some(cell) = Guarded::up("udp") else { return };
    let sockets = cell.robot_space.enter(|| [502, 2222].map(|port| UdpSocket::bind(("0.0.0.0", port)).unwrap()));
    sockets.iter().for_each(|socket| socket.set_read_timeout(Some(SILENCE)).unwrap());
    let client = RawTcp::new(&cell.plant, 502);
    let mark = cell.cable.mark();
    let mut buffer = [0; 64];
    let listener = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let send = |port: u16, bytes: &[u8]| {
        let own = template(3333, port);
        client.frame(&emit(|out| craft::emit_udp(&own, bytes, out).unwrap()));
    };
    let mut arrived =
        |socket: usize| sockets[socket].recv_from(&mut buffer).map(|(len, _)| buffer[..len].to_vec()).ok();
    send(2222, b"anything");
    assert_eq!(arrived(1).as_deref(), Some(&b"anything"[..]));
    // The rules for Modbus count here too, and a datagram is one request, no more and no less.
    let one = write(128, 1);
    let forbidden = [
        (write(128, 121), Reason::ValueNotAllowed),
        (write(132, 1), Reason::AddressNotAllowed),
        ([one.clone(), write(129, 999)].concat(), Reason::Malformed),
        ([&one[..], &[0]].concat(), Reason::Malformed),
        (one[..11].to_vec(), Reason::Malformed),
        (Vec::new(), Reason::Malformed),
    ];
    for (bytes, _) in &forbidden {
        send(502, bytes);
    }
    send(502, &one);
    assert_eq!(arrived(0), Some(one.clone()), "the first that arrives");
    for reason in [Reason::ValueNotAllowed, Reason::AddressNotAllowed, Reason::Malformed] {
        let of_own = |event: &serde_json::Value| event["proto"] == "UDP";
        cell.vambrace.waits_for(reason.name(), of_own, |event| {
            event["dest_port"] == 502 && support::guarded::reason(event) == Some(reason.name())
        });
    }
    // Its answer comes back.
    sockets[0].send_to(&one, (ODD, 3333)).unwrap();
    let started = Instant::now();
    let mut came = false;
    while !came && started.elapsed() < Duration::from_secs(3) {
        let frame = listener.receive(Duration::from_millis(50)).unwrap().unwrap_or_default();
        came = link::parse(&frame).is_ok_and(|packet| {
            packet.udp().is_some_and(|udp| udp.source_port == 502 && udp.destination_port == 3333 && udp.payload == one)
        });
    }
    assert!(came, "the answer");
    let datagrams = cell.cable.since(mark).into_iter().filter_map(|seen| {
        let packet = link::parse(&seen.bytes).ok()?;
        packet.udp().filter(|udp| udp.destination_port == 502).map(|udp| udp.payload.to_vec())
    });
    assert_eq!(datagrams.collect::<Vec<_>>(), [one]);
    cell.assert_honest_session();
}

#[test]
fn other_protocols_over_ip_are_dropped() {
    dropped("protocols", Reason::IpProtocol, |frame| {
        let inner = &frame[14..];
        // IGMP, IP in IP, IPv6 in IP, GRE, ESP, OSPF, SCTP.
        let make = |protocol: u8| emit(|out| craft::emit_ip(&template(0, 0), protocol, inner, out).unwrap());
        [2, 4, 41, 47, 50, 89, 132].map(make).to_vec()
    });
}

#[test]
fn a_port_without_a_rule_gets_no_connection() {
    let Some(cell) = Guarded::up("no-rule") else { return };
    let listener = cell.robot_space.enter(|| TcpListener::bind(("0.0.0.0", 6667)).unwrap());
    listener.set_nonblocking(true).unwrap();
    let mark = cell.cable.mark();
    let mut tcp = RawTcp::new(&cell.plant, 6667);
    tcp.put(&tcp.syn());
    cell.assert_recorded(&tcp, Reason::NoServiceRule);
    cell.assert_nothing_since(mark, "the SYN", is_of(ODD_MAC));
    tcp.listen(SILENCE);
    assert!(!tcp.heard.iter().any(|seen| seen.tcp().unwrap().flags.syn()), "nobody answered");
    assert!(listener.accept().is_err(), "nothing to accept");
    cell.assert_honest_session();
}

#[test]
fn the_robot_opens_no_connection_that_no_rule_names() {
    let Some(cell) = Guarded::up("egress") else { return };
    let listener = cell.plant.enter(|| TcpListener::bind(("0.0.0.0", 443)).unwrap());
    listener.set_nonblocking(true).unwrap();
    let plant_cable = Cable::start(&cell.plant, PLANT_SIDE);
    let to = SocketAddr::from((PLC, 443));
    let connected = cell.robot_space.enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(500)));
    assert!(connected.is_err(), "{connected:?}");
    cell.assert_frame_recorded(ROBOT_MAC, Toward::Plant, Reason::EgressNotAllowed);
    let out = plant_cable.since(0);
    assert!(!out.iter().any(|seen| seen.tcp().is_some_and(|tcp| tcp.destination_port == 443)), "{out:02x?}");
    assert!(listener.accept().is_err());
    cell.assert_honest_session();
}

/// An ICMP message with its checksum.
fn icmp(kind: u8, code: u8, rest: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0][..], &rest, data].concat();
    let words = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// An ICMP frame from a host of the plant to the robot.
fn icmp_frame(from: (std::net::Ipv4Addr, Mac), message: &[u8]) -> Vec<u8> {
    let ends = ((IpAddr::from(from.0), 0), (IpAddr::from(ROBOT), 0));
    let template = Template::new((from.1, ROBOT_MAC), Tags::default(), ends.0, ends.1).unwrap();
    emit(|out| craft::emit_ip(&template, 1, message, out).unwrap())
}

#[test]
fn an_echo_passes_by_rule_alone() {
    let Some(cell) = Guarded::up("echo") else { return };
    let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let echoes = |socket: &RawSocket| {
        let mut count = 0;
        while let Some(frame) = socket.receive(SILENCE).unwrap() {
            let packet = link::parse(&frame).unwrap();
            count += usize::from(packet.icmp().is_some() && frame[34] == 0);
        }
        count
    };
    let ask = icmp(8, 0, [0, 7, 0, 1], b"who is there");
    socket.send(&icmp_frame((PLC, PLC_MAC), &ask)).unwrap();
    assert_eq!(echoes(&socket), 1, "a rule allows the PLC's");
    let mark = cell.cable.mark();
    socket.send(&icmp_frame((ODD, ODD_MAC), &ask)).unwrap();
    assert_eq!(echoes(&socket), 0, "no rule allows this one");
    cell.assert_nothing_since(mark, "the echo", is_of(ODD_MAC));
    cell.assert_frame_recorded(ODD_MAC, Toward::Robot, Reason::NoServiceRule);
    cell.assert_honest_session();
}

/// What an ICMP error about a segment from the robot quotes: its IP header and eight bytes.
fn quote(tcp: &RawTcp, seq: u32) -> Vec<u8> {
    let segment = craft::Segment { seq, ack: tcp.seq, flags: DATA, payload: b"quoted", ..craft::Segment::default() };
    tcp_frame(&tcp.template.reversed(), &segment)[14..14 + 28].to_vec()
}

#[test]
fn an_icmp_error_about_no_connection_is_dropped() {
    let Some(cell) = Guarded::up("icmp-unknown") else { return };
    let mut tcp = cell.connect(502);
    let mark = cell.cable.mark();
    let mut other = quote(&tcp, tcp.ack);
    other[22..24].copy_from_slice(&1_u16.to_be_bytes());
    tcp.frame(&icmp_frame((ODD, ODD_MAC), &icmp(3, 4, [0, 0, 2, 0x40], &other)));
    cell.assert_nothing_since(mark, "the error", |frame| frame[23] == 1 && is_of(ODD_MAC)(frame));
    let of = |event: &serde_json::Value| event["ether"]["src_mac"] == ODD_MAC.to_string().as_str();
    cell.vambrace.waits_for("the error", of, |event| support::guarded::reason(event).is_some());
    cell.assert_lives(&mut tcp, &[]);
    cell.assert_honest_session();
}

#[test]
fn an_icmp_error_after_a_refusal_quotes_the_robots_own_number_or_is_dropped() {
    let Some(cell) = Guarded::up("icmp-mapped") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    let before = tcp.ack;
    assert_eq!(hex(&tcp.ask(&forbidden(), 9)), hex(&refusal()));
    // Nine bytes of the answer are the box's: what the client counts is nine more than what the robot counts.
    let (mark, own) = (cell.cable.mark(), tcp.ack);
    assert_eq!(own, before.wrapping_add(9));
    tcp.frame(&icmp_frame((ODD, ODD_MAC), &icmp(3, 4, [0, 0, 2, 0x40], &quote(&tcp, own))));
    std::thread::sleep(SILENCE);
    for seen in cell.cable.since(mark) {
        let packet = link::parse(&seen.bytes).unwrap();
        let Network::Ipv4(ip) = packet.network else { continue };
        let Transport::Icmp(_) = ip.transport else { continue };
        let quoted = u32::from_be_bytes(seen.bytes[14 + 20 + 8 + 24..][..4].try_into().unwrap());
        assert_eq!(quoted, before, "the robot's own number");
    }
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn ipv6_is_off_toward_the_robot_neighbour_discovery_and_multicast_included() {
    dropped("ipv6", Reason::Ipv6, |_| {
        let host = |last: u8| [&[0xfe, 0x80][..], &[0; 13], &[last]].concat();
        let packet = |next: u8, payload: &[u8]| {
            let fixed = [&[0x60, 0, 0, 0][..], &(payload.len() as u16).to_be_bytes(), &[next, 255]].concat();
            let mut frame = [&ROBOT_MAC.0[..], &ODD_MAC.0, &[0x86, 0xdd], &fixed, &host(1), &host(2), payload].concat();
            frame.resize(frame.len().max(60), 0);
            frame
        };
        let solicit = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &host(2)].concat();
        let report = [&[58, 0, 5, 2, 0, 0, 1, 0][..], &[143, 0, 0x12, 0x34, 0, 0, 0, 0]].concat();
        let syn = [&[0xc3, 0x50, 0x01, 0xf6, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0][..]].concat();
        let behind = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &syn].concat();
        vec![packet(58, &solicit), packet(0, &report), packet(6, &syn), packet(60, &behind), packet(44, &behind)]
    });
}

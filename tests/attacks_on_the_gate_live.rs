//! The attacks that succeeded on paper, against a real Linux TCP behind the running box.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use link::TcpFlags;
use link::craft::{Segment, Template};
use support::adversary::{DATA, FIN, ROBOT, ROBOT_MAC, RawTcp, SILENCE, tcp_frame};
use support::guarded::{Guarded, PLC, PLC_MAC, forbidden, hex, refusal, write_register as write};
use support::raw::RawSocket;
use support::wire::PLANT_SIDE;

fn asks(stream: &mut TcpStream, request: &[u8], answer: &[u8], what: &str) {
    stream.write_all(request).unwrap();
    let mut came = vec![0; answer.len()];
    stream.read_exact(&mut came).unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
    assert_eq!(hex(&came), hex(answer), "{what}");
}

/// A session in which a command was refused goes through other modes and back.
#[test]
fn a_session_with_a_cut_lives_through_changes_of_mode() {
    let Some(cell) = Guarded::up("live-modes") else { return };
    let mut stream = cell.honest(502);
    let port = stream.local_addr().unwrap().port();
    let mut arrived = Vec::new();
    for (at, mode) in ["observe", "enforce", "shadow", "enforce"].into_iter().enumerate() {
        let (one, other) = (write(128, at as u16), write(129, at as u16));
        asks(&mut stream, &one, &one, mode);
        if at % 2 == 0 {
            asks(&mut stream, &forbidden(), &refusal(), "enforced");
        } else {
            asks(&mut stream, &forbidden(), &forbidden(), "not enforced");
            arrived.extend(one.iter().chain(&forbidden()));
        }
        if at % 2 == 0 {
            arrived.extend(&one);
        }
        cell.vambrace.switch(mode);
        asks(&mut stream, &other, &other, mode);
        arrived.extend(&other);
    }
    assert_eq!(hex(&cell.robot.received(port)), hex(&arrived), "once each, in order");
    cell.assert_honest_session();
}

/// Enforce, observe with a stream that becomes unreadable, enforce: nothing forbidden from then on.
#[test]
fn what_was_unreadable_while_observed_is_reset_when_enforced_again() {
    let Some(cell) = Guarded::up("live-unreadable") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    cell.vambrace.switch("observe");
    tcp.ask(&[0, 1, 0xff, 0xff, 0, 6, 1, 6, 0, 128, 0, 1], 12);
    cell.vambrace.switch("enforce");
    let mark = cell.cable.mark();
    tcp.send(&forbidden());
    tcp.listen(SILENCE);
    cell.assert_nothing_since(mark, "a forbidden command", |frame| frame.windows(12).any(|part| part == forbidden()));
    cell.assert_honest_session();
}

/// Frames in the honest client's name, with its MAC, from a host that sees nothing of its connection.
fn blind(name: &str, spoil: impl Fn(&Template) -> Vec<Vec<u8>>) {
    let Some(cell) = Guarded::up(name) else { return };
    for cut in [false, true] {
        let mut stream = cell.honest(502);
        let ends = ((PLC.into(), stream.local_addr().unwrap().port()), (ROBOT.into(), 502));
        asks(&mut stream, &write(128, 1), &write(128, 1), "at first");
        if cut {
            asks(&mut stream, &forbidden(), &refusal(), "the cut");
        }
        let template = Template::new((PLC_MAC, ROBOT_MAC), link::Tags::default(), ends.0, ends.1).unwrap();
        let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
        for frame in spoil(&template) {
            socket.send(&frame).unwrap();
        }
        std::thread::sleep(SILENCE);
        asks(&mut stream, &write(129, 2), &write(129, 2), "after it");
        asks(&mut stream, &forbidden(), &refusal(), "a refused command after it");
        asks(&mut stream, &write(130, 3), &write(130, 3), "at last");
        let own = cell.robot.received(ends.0.1);
        assert_eq!(hex(&own), hex(&[write(128, 1), write(129, 2), write(130, 3)].concat()));
    }
    cell.assert_honest_session();
}

/// The whole number space in steps too wide to meet a window.
fn numbers() -> impl Iterator<Item = (u32, u32)> {
    (0..64_u32).map(|step| (step.wrapping_mul(1 << 26), step.wrapping_mul(0x9e37_79b9)))
}

/// FINs and acknowledgements of numbers all over.
#[test]
fn blind_fins_and_acknowledgements_end_no_session() {
    blind("live-blind", |template| {
        let segment = |flags, (seq, ack)| Segment { seq, ack, flags, window: 0, ..Segment::default() };
        let of = |flags: TcpFlags| numbers().map(move |numbers| tcp_frame(template, &segment(flags, numbers)));
        of(FIN).chain(of(TcpFlags::ACK)).chain(of(TcpFlags::RST)).collect()
    });
}

/// The same with data and timestamps of the far future.
#[test]
fn blind_timestamps_of_the_future_silence_nobody() {
    blind("live-future", |template| {
        let data = write(128, 66);
        let of = |time: u32, payload: &'static [u8]| {
            numbers().map(move |(seq, ack)| {
                let timestamps = Some((time, 0));
                let segment = Segment { seq, ack, flags: DATA, window: 9, timestamps, payload, ..Segment::default() };
                tcp_frame(template, &segment)
            })
        };
        let data: &'static [u8] = data.leak();
        [0, 1 << 30, 2 << 30, 3 << 30].into_iter().flat_map(|time| of(time, &[]).chain(of(time, data))).collect()
    });
}

/// 600 SYNs of a client that never goes on, and an honest client after them.
#[test]
fn a_flood_of_syns_locks_nobody_out() {
    let Some(cell) = Guarded::up("live-syns") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    for port in 0..600 {
        tcp.template.source.port = 10_000 + port;
        tcp.put(&tcp.syn());
    }
    std::thread::sleep(SILENCE);
    cell.assert_honest_session();
}

/// A client that takes jumbo frames and had its window shut gets what piled up.
#[test]
fn what_piled_up_for_a_client_with_jumbo_frames_arrives() {
    let Some(cell) = Guarded::up("live-jumbo") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 30_001);
    tcp.window = 0;
    let syn = Segment { maximum_segment_size: Some(8960), ..tcp.syn() };
    tcp.open_with(&syn);
    tcp.window = 60_000;
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::ACK, &[]));
    tcp.acknowledges = false;
    cell.robot.say(tcp.port(), &[7; 1000]);
    tcp.put(&Segment { window: 0, ..tcp.segment(tcp.seq, TcpFlags::ACK, &[]) });
    std::thread::sleep(SILENCE);
    for _ in 0..6 {
        cell.robot.say(tcp.port(), &[7; 1400]);
        std::thread::sleep(Duration::from_millis(5));
    }
    tcp.acknowledges = true;
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::ACK, &[]));
    assert_eq!(tcp.wait_for(9400).len(), 9400);
    cell.assert_honest_session();
}

/// A PLC with a fixed port sends garbage once, is reset, and comes back from the same port.
#[test]
fn a_client_with_a_fixed_port_comes_back_after_a_reset() {
    let Some(cell) = Guarded::up("live-fixed") else { return };
    let connect = || {
        cell.plant.enter(|| {
            let family = rustix::net::AddressFamily::INET;
            let socket = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true).unwrap();
            rustix::net::bind(&socket, &SocketAddrV4::new(PLC, 50_502)).unwrap();
            rustix::net::connect(&socket, &SocketAddr::V4(SocketAddrV4::new(ROBOT, 502))).unwrap();
            let stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
            stream
        })
    };
    let mut stream = connect();
    stream.write_all(&[0xff; 12]).unwrap();
    assert!(stream.read(&mut [0; 12]).is_err(), "it is reset");
    drop(stream);
    std::thread::sleep(Duration::from_millis(1500));
    let mut stream = connect();
    asks(&mut stream, &write(128, 1), &write(128, 1), "the same port again");
}

//! Odd input against a real Linux TCP behind the running box: how connections open and end, and what headers say.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use link::craft::Segment;
use link::{Tcp, TcpFlags, TcpOption};
use support::adversary::{DATA, FIN, ODD, PATIENCE, RawTcp, SILENCE, Seen, tcp_frame};
use support::guarded::{Guarded, hex, reason, write_register as write};
use support::raw::RawSocket;
use support::robot::End;
use support::wire::PLANT_SIDE;
use vambrace::event::Reason;

/// The TCP segment of a frame, where it has one that fits.
fn is_tcp(frame: &[u8], fits: impl Fn(&Tcp<'_>) -> bool) -> bool {
    link::parse(frame).is_ok_and(|packet| packet.tcp().is_some_and(fits))
}

/// The SYN of a connection on the robot's cable.
fn syn_of(cell: &Guarded, tcp: &RawTcp) -> Seen {
    let is_syn = |seen: &Seen| seen.tcp().is_some_and(|tcp| tcp.flags.syn());
    // The sniffer reads what its kernel has kept; the answer may be here before it came to that.
    let begun = Instant::now();
    loop {
        let found = cell.cable.segments(tcp).into_iter().find(is_syn);
        match found {
            Some(seen) => return seen,
            None => assert!(begun.elapsed() < Duration::from_secs(2), "no SYN on the cable"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A SYN on the cable that promises only what a gate can keep.
fn assert_plain_syn(cell: &Guarded, tcp: &RawTcp) {
    let seen = syn_of(cell, tcp);
    let syn = seen.tcp().unwrap();
    assert!(syn.payload.is_empty(), "{syn:?}");
    assert!(!syn.flags.intersects(TcpFlags::ECE | TcpFlags::CWR), "{syn:?}");
    for option in syn.options() {
        let plain = matches!(
            option,
            Ok(TcpOption::NoOperation
                | TcpOption::MaximumSegmentSize(_)
                | TcpOption::SackPermitted
                | TcpOption::Timestamps { .. })
        );
        assert!(plain, "{option:?}");
    }
}

#[test]
fn a_syn_reaches_the_robot_with_plain_options_and_without_ecn() {
    let Some(cell) = Guarded::up("syn") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    let mut syn = tcp.syn();
    syn.flags |= TcpFlags::ECE | TcpFlags::CWR;
    tcp.open_with(&syn);
    cell.assert_lives(&mut tcp, &[]);
    assert_plain_syn(&cell, &tcp);
    cell.assert_honest_session();
}

#[test]
fn data_on_a_syn_is_trimmed_and_the_handshake_goes_on() {
    let Some(cell) = Guarded::up("syn-data") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    let command = write(128, 1);
    let syn = Segment { payload: &command, ..tcp.syn() };
    tcp.open_with(&syn);
    assert_plain_syn(&cell, &tcp);
    assert_eq!(hex(&tcp.ask(&command, 12)), hex(&command));
    cell.assert_arrived(&tcp, &command);
    cell.assert_recorded(&tcp, Reason::DataOutsideStream);
    cell.assert_lives(&mut tcp, &command);
    cell.assert_honest_session();
}

#[test]
fn fast_open_and_multipath_options_become_nothing_and_the_handshake_goes_on() {
    let Some(cell) = Guarded::up("syn-options") else { return };
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let multipath = [30, 4, 0x01, 0x01];
    let both = [&cookie[..], &multipath].concat();
    for options in [&cookie[..], &multipath, &both] {
        let mut tcp = RawTcp::new(&cell.plant, 502);
        let syn = Segment { other_options: options, ..tcp.syn() };
        tcp.open_with(&syn);
        assert_plain_syn(&cell, &tcp);
        cell.assert_lives(&mut tcp, &[]);
    }
    cell.assert_honest_session();
}

#[test]
fn a_fast_open_syn_with_a_forbidden_command_delivers_nothing_of_it() {
    let Some(cell) = Guarded::up("fast-open-data") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    let forbidden = support::guarded::forbidden();
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8];
    let syn = Segment { other_options: &cookie, payload: &forbidden, ..tcp.syn() };
    tcp.open_with(&syn);
    assert_plain_syn(&cell, &tcp);
    cell.assert_recorded(&tcp, Reason::DataOutsideStream);
    cell.assert_lives(&mut tcp, &[]);
    cell.assert_honest_session();
}

#[test]
fn signed_segments_are_refused() {
    let Some(cell) = Guarded::up("signed") else { return };
    for kind in [19, 29] {
        let tcp = RawTcp::new(&cell.plant, 502);
        let mark = cell.cable.mark();
        let option = [&[kind, 18][..], &[0xab; 16]].concat();
        tcp.put(&Segment { other_options: &option, timestamps: None, window_scale: None, ..tcp.syn() });
        cell.assert_recorded(&tcp, Reason::TcpOption);
        let own = tcp.port();
        cell.assert_nothing_since(mark, "a signed SYN", |frame| is_tcp(frame, |tcp| tcp.source_port == own));
    }
    cell.assert_honest_session();
}

/// A segment that is dropped with a record; the connection goes on as if it had never come.
fn dropped(name: &str, why: Reason, segment: impl Fn(&RawTcp) -> Vec<u8>) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    let mark = cell.cable.mark();
    tcp.frame(&segment(&tcp));
    let own = tcp.port();
    cell.assert_nothing_since(mark, "the segment", |frame| {
        is_tcp(frame, |tcp| {
            tcp.source_port == own
                && (!tcp.payload.is_empty() || tcp.flags.intersects(TcpFlags::RST | TcpFlags::FIN | TcpFlags::URG))
        })
    });
    cell.assert_recorded(&tcp, why);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_signed_segment_on_a_live_connection_is_dropped() {
    for kind in [19, 29] {
        // A kernel without a key for the connection drops it: what a gate lets go here never arrives.
        dropped(&format!("signed-{kind}"), Reason::TcpOption, |tcp| {
            let (option, command) = ([&[kind, 18][..], &[0xab; 16]].concat(), write(129, 2));
            let segment = tcp.segment(tcp.seq, DATA, &command);
            tcp_frame(&tcp.template, &Segment { other_options: &option, ..segment })
        });
    }
}

#[test]
fn urgent_data_is_dropped() {
    dropped("urgent", Reason::UrgentData, |tcp| {
        let command = write(129, 2);
        let segment = tcp.segment(tcp.seq, DATA | TcpFlags::URG, &command);
        tcp_frame(&tcp.template, &Segment { urgent: 3, ..segment })
    });
}

#[test]
fn a_segment_with_a_bad_checksum_is_dropped() {
    dropped("checksum", Reason::BadChecksum, |tcp| {
        let mut frame = tcp_frame(&tcp.template, &tcp.segment(tcp.seq, DATA, &write(129, 2)));
        frame[14 + 20 + 16] ^= 0x55;
        frame
    });
}

#[test]
fn an_exact_reset_with_a_bad_checksum_changes_nothing() {
    dropped("checksum-reset", Reason::BadChecksum, |tcp| {
        let mut frame = tcp_frame(&tcp.template, &tcp.segment(tcp.seq, TcpFlags::RST, &[]));
        frame[14 + 20 + 16] ^= 0x55;
        frame
    });
}

#[test]
fn a_segment_with_an_old_timestamp_is_dropped() {
    let Some(cell) = Guarded::up("paws") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    let mark = cell.cable.mark();
    let (command, own) = (write(129, 2), tcp.port());
    let segment = tcp.segment(tcp.seq, DATA, &command);
    let (value, echo) = segment.timestamps.unwrap();
    tcp.put(&Segment { timestamps: Some((value.wrapping_sub(1 << 20), echo)), ..segment });
    cell.assert_nothing_since(mark, "data of the past", |frame| {
        is_tcp(frame, |tcp| tcp.source_port == own && !tcp.payload.is_empty())
    });
    let of = |event: &serde_json::Value| event["src_port"] == own;
    cell.vambrace.waits_for("something refused", of, |event| reason(event).is_some());
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_close_out_of_order_is_dropped() {
    dropped("fin-early", Reason::OutOfOrder, |tcp| {
        tcp_frame(&tcp.template, &tcp.segment(tcp.seq.wrapping_add(12), FIN, &[]))
    });
}

#[test]
fn a_reset_that_is_not_exact_is_challenged_and_not_delivered() {
    let Some(cell) = Guarded::up("reset-inexact") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    let (mark, heard, own) = (cell.cable.mark(), tcp.mark(), tcp.port());
    tcp.put(&tcp.segment(tcp.seq.wrapping_add(5), TcpFlags::RST, &[]));
    let end = tcp.seq;
    assert!(tcp.hears(heard, |tcp| tcp.flags == TcpFlags::ACK && tcp.ack == end), "a challenge");
    cell.assert_recorded(&tcp, Reason::ResetInexact);
    cell.assert_nothing_since(mark, "a reset", |frame| is_tcp(frame, |tcp| tcp.source_port == own && tcp.flags.rst()));
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_reset_outside_the_window_is_not_delivered() {
    dropped("reset-far", Reason::ResetInexact, |tcp| {
        tcp_frame(&tcp.template, &tcp.segment(tcp.seq.wrapping_add(1 << 30), TcpFlags::RST, &[]))
    });
}

#[test]
fn an_exact_reset_ends_the_connection_at_the_robot() {
    let Some(cell) = Guarded::up("reset-exact") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::RST, &[]));
    assert_eq!(cell.robot.waits_for_end(tcp.port()), Some(End::Reset));
    // What follows a reset is of no connection.
    let (mark, command, own) = (cell.cable.mark(), write(129, 2), tcp.port());
    tcp.put_at(tcp.seq, &command);
    cell.assert_nothing_since(mark, "data after a reset", |frame| {
        is_tcp(frame, |tcp| tcp.source_port == own && !tcp.payload.is_empty())
    });
    cell.assert_recorded(&tcp, Reason::DataOutsideStream);
    cell.assert_arrived(&tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_reset_that_the_robot_does_not_take_is_no_way_around_the_gate() {
    let Some(cell) = Guarded::up("reset-ignored") else { return };
    let mut tcp = cell.connect(30_001);
    assert!(cell.robot.accepted(tcp.port()));
    cell.robot.pause(true);
    // More than the robot has room for: its kernel drops the last of it, so that it stands before the reset's number.
    let statement = format!("textmsg(\"{}\")\n", "x".repeat(989));
    for _ in 0..56 {
        tcp.send(statement.as_bytes());
        tcp.listen(Duration::from_millis(2));
    }
    tcp.listen(SILENCE);
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::RST, &[]));
    tcp.listen(SILENCE);
    cell.robot.pause(false);
    tcp.listen(SILENCE);
    let heard = tcp.heard_since(0);
    let stands = heard.iter().rfind(|tcp| tcp.flags.ack() && !tcp.flags.rst()).unwrap().ack;
    let forbidden = b"\nset_digital_out(0, True)\n";
    for at in [stands, tcp.seq] {
        tcp.put_at(at, forbidden);
    }
    tcp.listen(SILENCE);
    let is_forbidden = |bytes: &[u8]| bytes.windows(15).any(|part| part == b"set_digital_out");
    assert!(!is_forbidden(&cell.robot.received(tcp.port())), "the robot's socket received a forbidden statement");
    cell.assert_nothing_since(0, "a forbidden statement", is_forbidden);
    cell.assert_honest_session();
}

#[test]
fn a_reset_behind_data_of_the_past_is_no_way_around_the_gate() {
    let Some(cell) = Guarded::up("reset-past") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.listen(Duration::from_millis(20));
    // An allowed command that the robot's kernel drops for its timestamp, and a reset at the number behind it.
    let (stands, command) = (tcp.seq, write(129, 2));
    let segment = tcp.segment(stands, DATA, &command);
    let (value, echo) = segment.timestamps.unwrap();
    tcp.put(&Segment { timestamps: Some((value.wrapping_sub(1 << 20), echo)), ..segment });
    tcp.put(&tcp.segment(stands.wrapping_add(12), TcpFlags::RST, &[]));
    tcp.listen(SILENCE);
    let forbidden = support::guarded::forbidden();
    tcp.put_at(stands, &forbidden);
    tcp.listen(SILENCE);
    let received = cell.robot.received(tcp.port());
    assert!(!received.windows(12).any(|part| part == forbidden), "the robot's socket received a forbidden command");
    cell.assert_nothing_since(0, "a forbidden command", |frame| frame.windows(12).any(|part| part == forbidden));
    cell.assert_honest_session();
}

#[test]
fn of_a_reset_with_data_only_the_reset_arrives() {
    let Some(cell) = Guarded::up("reset-data") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::RST, &support::guarded::forbidden()));
    assert_eq!(cell.robot.waits_for_end(tcp.port()), Some(End::Reset));
    // Once more, when there is no connection any more.
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::RST, &support::guarded::forbidden()));
    cell.assert_arrived(&tcp, &write(128, 1));
    cell.assert_recorded(&tcp, Reason::DataOutsideStream);
    cell.assert_honest_session();
}

#[test]
fn data_after_a_close_is_dropped() {
    let Some(cell) = Guarded::up("fin-data") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    // Its own side stays open for as long as it acknowledges nothing.
    tcp.acknowledges = false;
    tcp.put(&tcp.segment(tcp.seq, FIN, &[]));
    assert_eq!(cell.robot.waits_for_end(tcp.port()), Some(End::Closed));
    tcp.put_at(tcp.seq.wrapping_add(1), &write(129, 2));
    cell.assert_recorded(&tcp, Reason::DataOutsideStream);
    cell.assert_arrived(&tcp, &write(128, 1));
    cell.assert_honest_session();
}

/// A TCP connect of the robot's kernel to port 40000 of the adversary, and what became of it.
fn robot_connects(cell: &Guarded) -> (std::thread::JoinHandle<std::io::Result<TcpStream>>, RawTcp) {
    let socket = cell.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
    let space = cell.robot_space.name().to_owned();
    let connect = std::thread::spawn(move || {
        let space = std::fs::File::open(format!("/run/netns/{space}")).unwrap();
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&space), Some(kind)).unwrap();
        TcpStream::connect_timeout(&SocketAddr::from((ODD, 40_000)), PATIENCE)
    });
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let Some(frame) = socket.receive(Duration::from_millis(50)).unwrap() else { continue };
        let packet = link::parse(&frame).unwrap();
        if let Some(tcp) = packet.tcp().filter(|tcp| tcp.destination_port == 40_000 && tcp.flags == TcpFlags::SYN) {
            let mut own = RawTcp::between(&cell.plant, 40_000, tcp.source_port);
            own.ack = tcp.seq.wrapping_add(1);
            return (connect, own);
        }
    }
    panic!("the robot's SYN did not come");
}

#[test]
fn a_simultaneous_open_is_reset_at_both_ends() {
    let Some(cell) = Guarded::up("simultaneous") else { return };
    let (connect, mut tcp) = robot_connects(&cell);
    let mark = cell.cable.mark();
    tcp.put(&tcp.syn());
    assert!(tcp.waits_for_reset(), "the client was not reset");
    let started = Instant::now();
    let ended = connect.join().unwrap().expect_err("the robot's connect can't succeed");
    assert!(started.elapsed() < Duration::from_secs(1), "the robot's connect ended by time: {ended}");
    cell.assert_recorded(&tcp, Reason::SplitHandshake);
    cell.assert_nothing_since(mark, "the SYN", |frame| {
        is_tcp(frame, |tcp| tcp.source_port == 40_000 && tcp.flags.syn())
    });
    cell.assert_honest_session();
}

#[test]
fn a_split_handshake_is_reset_at_both_ends() {
    let Some(cell) = Guarded::up("split") else { return };
    let mut tcp = RawTcp::new(&cell.plant, 502);
    tcp.put(&tcp.syn());
    assert!(tcp.hears(0, |tcp| tcp.flags.syn() && tcp.flags.ack()));
    tcp.ack = tcp.heard_since(0)[0].seq.wrapping_add(1);
    tcp.is_open = true;
    let (mark, own) = (cell.cable.mark(), tcp.port());
    // An answer to the answer, as if the robot had opened the connection.
    tcp.put(&Segment { flags: TcpFlags::SYN | TcpFlags::ACK, ack: tcp.ack, ..tcp.syn() });
    cell.assert_recorded(&tcp, Reason::SplitHandshake);
    assert!(tcp.waits_for_reset(), "the client was not reset");
    let exact = tcp.seq.wrapping_add(1);
    assert!(
        cell.cable.carries(mark, |frame| is_tcp(frame, |tcp| {
            tcp.source_port == own && tcp.flags.rst() && tcp.seq == exact
        })),
        "the robot was not reset"
    );
    let syn = |seen: &&Seen| seen.tcp().unwrap().flags.syn();
    assert_eq!(cell.cable.segments(&tcp).iter().filter(syn).count(), 1, "one SYN reached the robot");
    cell.assert_honest_session();
}

/// Five SYNs of other numbers in 200 ms on a live connection.
fn syns_again(name: &str, payload: &[u8]) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    let (mark, heard) = (cell.cable.segments(&tcp).len(), tcp.mark());
    let (end, next) = (tcp.seq, tcp.ack);
    let started = Instant::now();
    for step in 1..6 {
        let seq = tcp.seq.wrapping_add(step * 100_000_000);
        tcp.put(&Segment { seq, payload, ..tcp.syn() });
        tcp.listen(Duration::from_millis(40));
    }
    assert!(tcp.hears(heard, |tcp| tcp.flags.ack() && tcp.ack == end && tcp.seq == next), "the challenge comes back");
    let segments = cell.cable.segments(&tcp);
    let syns: Vec<Tcp<'_>> = segments[mark..].iter().filter_map(Seen::tcp).filter(|tcp| tcp.flags.syn()).collect();
    assert!(syns.is_empty(), "the box answers it, so nothing has to reach the robot: {syns:?}");
    let challenges =
        tcp.heard_since(heard).iter().filter(|tcp| tcp.flags == TcpFlags::ACK && tcp.payload.is_empty()).count();
    // On a machine that has other work the five may take longer than a second.
    let most = 1 + usize::try_from(started.elapsed().as_secs()).unwrap();
    assert!((1..=most).contains(&challenges), "{challenges} in {:?}: more than one a second", started.elapsed());
    cell.assert_recorded(&tcp, Reason::SynOnLive);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_syn_of_other_number_on_a_live_connection_is_answered_once_a_second_and_changes_nothing() {
    syns_again("syn-again", &[]);
}

#[test]
fn a_syn_of_other_number_with_data_on_a_live_connection_is_answered_without_it() {
    syns_again("syn-again-data", &support::guarded::forbidden());
}

/// A PLC that lost its power comes back from the same port: the robot challenges, the PLC resets and opens anew.
fn rebooted(name: &str, cut: bool) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut old = cell.connect(502);
    assert_eq!(old.ask(&write(128, 1), 12), write(128, 1));
    if cut {
        let refusal = support::guarded::refusal();
        assert_eq!(hex(&old.ask(&support::guarded::forbidden(), 9)), hex(&refusal));
    }
    let mut new = RawTcp::between(&cell.plant, old.port(), 502);
    new.seq = old.seq.wrapping_add(500_000_000);
    new.acknowledges = false;
    let (end, next) = (old.seq, old.ack);
    new.put(&new.syn());
    let challenged = new.hears(0, |tcp| tcp.flags == TcpFlags::ACK);
    assert!(challenged, "no challenge came back");
    let challenge = new.heard.iter().find_map(|seen| seen.tcp().map(|tcp| (tcp.seq, tcp.ack))).unwrap();
    assert_eq!(challenge, (next, end), "in the client's numbers");
    new.put(&Segment { seq: challenge.1, flags: TcpFlags::RST, ..Segment::default() });
    assert_eq!(cell.robot.waits_for_end(old.port()), Some(End::Reset), "the robot's old connection ends");
    std::thread::sleep(Duration::from_millis(1000));
    new.acknowledges = true;
    new.handshake();
    assert_eq!(hex(&new.ask(&write(129, 2), 12)), hex(&write(129, 2)));
    assert_eq!(hex(&cell.robot.received(new.port())), hex(&write(129, 2)));
    std::thread::sleep(SILENCE);
    cell.assert_honest_session();
}

#[test]
fn a_plc_that_was_rebooted_comes_back_on_the_same_port() {
    rebooted("rebooted", false);
}

#[test]
fn a_plc_that_was_rebooted_after_a_cut_comes_back_on_the_same_port() {
    rebooted("rebooted-cut", true);
}

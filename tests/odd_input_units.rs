//! Odd input against a real Linux TCP behind the running box: units, framing, segments of one stream.

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
use std::time::{Duration, Instant};

use link::TcpFlags;
use support::adversary::{DATA, FIN, PATIENCE, RawTcp, SILENCE};
use support::guarded::{Guarded, POLICY, forbidden, hex, refusal, resetting, write_register as write};
use support::robot::End;
use vambrace::event::Reason;

/// A Dashboard command of a class that the policy does not allow.
const PLAY: &[u8] = b"play\n";

/// What the other tests look for is really seen where nothing holds it back.
#[test]
fn without_enforcement_a_forbidden_command_is_seen_at_the_robot() {
    let Some(cell) = Guarded::in_mode("observed", "observe", POLICY) else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(hex(&tcp.ask(&forbidden(), 12)), hex(&forbidden()));
    cell.assert_lives(&mut tcp, &forbidden());
    cell.assert_honest_session();
}

#[test]
fn of_several_commands_in_a_segment_the_forbidden_one_is_cut_and_answered_in_order() {
    let Some(cell) = Guarded::up("several") else { return };
    let mut tcp = cell.connect(502);
    let (first, second, third) = (write(128, 1), write(129, 2), write(130, 3));
    let all = [&first[..], &second, &forbidden(), &third].concat();
    let answers = tcp.ask(&all, 45);
    cell.assert_recorded(&tcp, Reason::AddressNotAllowed);
    cell.assert_arrived(&tcp, &[&first[..], &second, &third].concat());
    assert_eq!(hex(&answers), hex(&[&first[..], &second, &refusal(), &third].concat()), "answers in order");
    cell.assert_lives(&mut tcp, &[first, second, third].concat());
    cell.assert_honest_session();
}

#[test]
fn with_reset_the_commands_before_the_forbidden_one_arrive_and_both_ends_are_reset() {
    let Some(cell) = Guarded::with_policy("several-reset", &resetting()) else { return };
    let mut tcp = cell.connect(502);
    let before = [write(128, 1), write(129, 2)].concat();
    tcp.send(&[&before[..], &forbidden(), &write(130, 3)].concat());
    cell.assert_recorded(&tcp, Reason::AddressNotAllowed);
    cell.assert_both_reset(&mut tcp);
    cell.assert_arrived(&tcp, &before);
    cell.assert_honest_session();
}

#[test]
fn a_refused_dashboard_line_is_answered_and_the_session_goes_on() {
    let Some(cell) = Guarded::up("dashboard") else { return };
    let mut tcp = cell.connect(29_999);
    let greeting = tcp.wait_for(45).to_vec();
    assert_eq!(greeting.last(), Some(&b'\n'));
    let expected = b"Robotmode: RUNNING\nFailed to execute: play\nSafetystatus: NORMAL\n";
    let answers = tcp.ask(&[b"robotmode\n", PLAY, b"safetystatus\n"].concat(), expected.len());
    cell.assert_recorded(&tcp, Reason::ClassNotAllowed);
    cell.assert_arrived(&tcp, b"robotmode\nsafetystatus\n");
    assert_eq!(String::from_utf8_lossy(&answers), String::from_utf8_lossy(expected));
    assert_eq!(tcp.ask(b"robotmode\n", 19), b"Robotmode: RUNNING\n");
    cell.assert_honest_session();
}

/// What no unit can begin with ends the connection: nothing of it arrives, what stood before it does.
fn framing_error(name: &str, port: u16, before: &[u8], bad: &[u8]) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(port);
    tcp.send(before);
    cell.assert_arrived(&tcp, before);
    tcp.listen(Duration::from_millis(20));
    tcp.send(bad);
    cell.assert_recorded(&tcp, Reason::Malformed);
    cell.assert_both_reset(&mut tcp);
    tcp.send(&write(128, 2));
    std::thread::sleep(SILENCE);
    cell.assert_arrived(&tcp, before);
    cell.assert_honest_session();
}

#[test]
fn trailing_garbage_ends_the_connection() {
    framing_error("garbage", 502, &write(128, 1), b"\xde\xad\xbe\xef\xde\xad\xbe\xef");
}

#[test]
fn garbage_behind_a_command_in_one_segment_ends_the_connection_and_the_command_arrives() {
    let Some(cell) = Guarded::up("garbage-behind") else { return };
    let mut tcp = cell.connect(502);
    tcp.send(&[write(128, 1), b"\xde\xad\xbe\xef\xde\xad\xbe\xef".to_vec()].concat());
    cell.assert_recorded(&tcp, Reason::Malformed);
    cell.assert_both_reset(&mut tcp);
    cell.assert_arrived(&tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_length_that_no_command_has_ends_the_connection() {
    for length in [0, 1, 255, 0xffff_u16] {
        let mut bad = write(128, 2);
        bad[4..6].copy_from_slice(&length.to_be_bytes());
        framing_error(&format!("length-{length}"), 502, &write(128, 1), &bad);
    }
}

#[test]
fn a_protocol_id_that_is_not_zero_ends_the_connection() {
    let mut bad = write(128, 2);
    bad[3] = 1;
    framing_error("protocol-id", 502, &write(128, 1), &bad);
}

#[test]
fn an_rtde_size_below_three_ends_the_connection() {
    for size in [0, 2_u8] {
        framing_error(&format!("rtde-{size}"), 30_004, &[0, 5, b'V', 0, 2], &[0, size, b'V', 0, 2]);
    }
}

#[test]
fn an_rtde_size_below_three_from_the_robot_ends_the_connection() {
    let Some(cell) = Guarded::up("rtde-back") else { return };
    let mut tcp = cell.connect(30_004);
    let version = [0, 5, b'V', 0, 2];
    assert_eq!(tcp.ask(&version, 4), [0, 4, b'V', 1]);
    cell.robot.say(tcp.port(), &[0, 2, b'U', 0, 0, 0]);
    cell.assert_both_reset(&mut tcp);
    cell.assert_recorded(&tcp, Reason::Malformed);
    cell.assert_arrived(&tcp, &version);
    cell.assert_honest_session();
}

#[test]
fn segments_of_one_byte_carry_allowed_commands_whole_and_nothing_of_forbidden_ones() {
    let Some(cell) = Guarded::up("one-byte") else { return };
    let mut tcp = cell.connect(502);
    let (first, last) = (write(128, 1), write(129, 2));
    for byte in [&first[..], &forbidden(), &last].concat() {
        tcp.send(&[byte]);
        tcp.listen(Duration::from_millis(1));
    }
    cell.assert_recorded(&tcp, Reason::AddressNotAllowed);
    cell.assert_arrived(&tcp, &[&first[..], &last].concat());
    let answers = [&first[..], &refusal(), &last].concat();
    assert_eq!(hex(tcp.wait_for(answers.len())), hex(&answers));
    let whole = |seen: &support::adversary::Seen| seen.tcp().unwrap().payload.len().is_multiple_of(12);
    assert!(cell.cable.segments(&tcp).iter().all(whole), "no part of a command leaves before the rest");
    cell.assert_lives(&mut tcp, &[first, last].concat());
    cell.assert_honest_session();
}

#[test]
fn a_repeated_segment_is_answered_for_the_robot_and_does_not_arrive_twice() {
    let Some(cell) = Guarded::up("repeated") else { return };
    let mut tcp = cell.connect(502);
    let (at, command) = (tcp.seq, write(128, 1));
    assert_eq!(tcp.ask(&command, 12), command);
    let (mark, heard) = (cell.cable.mark(), tcp.mark());
    tcp.put_at(at, &command);
    let end = tcp.seq;
    assert!(tcp.hears(heard, |tcp| tcp.flags.ack() && tcp.ack == end), "the last acknowledgement is repeated");
    // With other content and one command more: acknowledged bytes are trimmed, what is new passes.
    tcp.put_at(at, &[forbidden(), write(129, 2)].concat());
    tcp.seq = tcp.seq.wrapping_add(12);
    assert_eq!(hex(&tcp.wait_for(24)[12..]), hex(&write(129, 2)));
    cell.assert_arrived(&tcp, &[command.clone(), write(129, 2)].concat());
    // The box may repeat the new command where the robot is slow to acknowledge it, nothing before it.
    let sent = cell.cable.since(mark);
    let with_data = sent.iter().filter_map(|seen| seen.tcp()).filter(|tcp| !tcp.payload.is_empty());
    let from: Vec<u32> = with_data.map(|tcp| tcp.seq).collect();
    assert!(
        !from.is_empty() && from.iter().all(|seq| *seq == end),
        "nothing old goes to the robot: {from:?}, not {end}"
    );
    cell.assert_lives(&mut tcp, &[command, write(129, 2)].concat());
    cell.assert_honest_session();
}

#[test]
fn an_overlap_of_other_content_is_an_event_and_the_second_one_ends_the_connection() {
    let Some(cell) = Guarded::up("overlap") else { return };
    let mut tcp = cell.connect(502);
    let (allowed, at) = (write(128, 1), tcp.seq);
    tcp.put_at(at, &allowed[..10]);
    tcp.listen(Duration::from_millis(20));
    // The same place again as another command: the first copy counts, and with it the command is allowed.
    let lie = [&forbidden()[..10], &allowed[10..]].concat();
    tcp.put_at(at, &lie);
    tcp.seq = tcp.seq.wrapping_add(12);
    cell.assert_recorded(&tcp, Reason::RetransmissionConflict);
    assert_eq!(hex(tcp.wait_for(12)), hex(&allowed));
    cell.assert_arrived(&tcp, &allowed);
    tcp.put_at(tcp.seq, &allowed[..10]);
    tcp.listen(Duration::from_millis(20));
    tcp.put_at(tcp.seq, &lie);
    cell.assert_both_reset(&mut tcp);
    cell.assert_arrived(&tcp, &allowed);
    cell.assert_honest_session();
}

#[test]
fn a_second_copy_right_behind_the_first_never_takes_its_place() {
    let Some(cell) = Guarded::up("second-copy") else { return };
    let mut tcp = cell.connect(502);
    let (allowed, at) = (write(128, 1), tcp.seq);
    tcp.put_at(at, &allowed);
    tcp.put_at(at, &forbidden());
    tcp.seq = tcp.seq.wrapping_add(12);
    assert_eq!(hex(tcp.wait_for(12)), hex(&allowed));
    cell.assert_lives(&mut tcp, &allowed);
    cell.assert_honest_session();
}

#[test]
fn an_overlap_of_the_same_content_is_trimmed() {
    let Some(cell) = Guarded::up("overlap-same") else { return };
    let mut tcp = cell.connect(502);
    let (both, at) = ([write(128, 1), write(129, 2)].concat(), tcp.seq);
    for range in [0..5, 3..9, 0..16, 8..24] {
        tcp.put_at(at.wrapping_add(range.start as u32), &both[range]);
        tcp.listen(Duration::from_millis(5));
    }
    tcp.seq = at.wrapping_add(24);
    assert_eq!(hex(tcp.wait_for(24)), hex(&both));
    cell.assert_lives(&mut tcp, &both);
    cell.assert_honest_session();
}

#[test]
fn what_comes_out_of_order_waits_and_is_told_to_the_client() {
    let Some(cell) = Guarded::up("order") else { return };
    let mut tcp = cell.connect(502);
    let (at, first, second) = (tcp.seq, write(128, 1), write(129, 2));
    let (mark, heard) = (cell.cable.mark(), tcp.mark());
    tcp.put_at(at.wrapping_add(12), &second);
    let block = (at.wrapping_add(12), at.wrapping_add(24));
    let told = tcp.hears(heard, |tcp| tcp.ack == at && tcp.option_summary().sack.as_slice().contains(&block));
    cell.assert_nothing_since(mark, "what came too early", |frame| frame.windows(12).any(|part| part == second));
    tcp.put_at(at, &first);
    tcp.seq = at.wrapping_add(24);
    let both = [first, second].concat();
    assert_eq!(hex(tcp.wait_for(24)), hex(&both));
    cell.assert_lives(&mut tcp, &both);
    assert!(told, "a duplicate acknowledgement with SACK for what is held");
    cell.assert_honest_session();
}

/// A probe below what is acknowledged: sent on without its byte, at the robot's own number, and answered.
fn probes(cell: &Guarded, tcp: &mut RawTcp) {
    let isn = cell.cable.segments(tcp).iter().filter_map(|seen| seen.tcp()).find(|tcp| tcp.flags.syn()).unwrap().seq;
    // The robot stands where its own bytes end.
    let stands = isn.wrapping_add(1).wrapping_add(cell.robot.received(tcp.port()).len() as u32);
    for payload in [&b""[..], b"\xee"] {
        // Linux answers one empty segment outside its window in 500 ms.
        tcp.listen(Duration::from_millis(550));
        let (mark, heard, own) = (cell.cable.mark(), tcp.mark(), tcp.port());
        tcp.put(&tcp.segment(tcp.seq.wrapping_sub(1), TcpFlags::ACK, payload));
        let end = tcp.seq;
        assert!(tcp.hears(heard, |tcp| tcp.flags.ack() && tcp.ack == end), "a probe is answered");
        let is_probe = |frame: &[u8]| {
            let packet = link::parse(frame).unwrap();
            packet.tcp().is_some_and(|tcp| tcp.source_port == own && tcp.seq == stands.wrapping_sub(1))
        };
        assert!(cell.cable.carries(mark, is_probe), "the probe reaches the robot one below what that expects");
        let segments = cell.cable.since(mark);
        assert!(segments.iter().filter_map(|seen| seen.tcp()).all(|tcp| tcp.payload.is_empty()), "without its byte");
    }
}

#[test]
fn a_keepalive_and_a_window_probe_reach_the_robot_empty_and_are_answered() {
    let Some(cell) = Guarded::up("keepalive") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    probes(&cell, &mut tcp);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_keepalive_inside_a_cut_reaches_the_robot_at_its_own_number() {
    let Some(cell) = Guarded::up("keepalive-cut") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    assert_eq!(hex(&tcp.ask(&forbidden(), 9)), hex(&refusal()));
    probes(&cell, &mut tcp);
    cell.assert_lives(&mut tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn a_client_with_a_closed_window_gets_its_answers_when_it_opens() {
    let Some(cell) = Guarded::up("zero-window") else { return };
    let mut tcp = cell.connect(502);
    tcp.window = 0;
    let (first, second) = (write(128, 1), write(129, 2));
    tcp.send(&first);
    tcp.send(&second);
    tcp.listen(Duration::from_millis(300));
    assert!(tcp.received.is_empty(), "nothing is sent into a closed window: {}", hex(&tcp.received));
    tcp.window = 60_000;
    tcp.put(&tcp.segment(tcp.seq, TcpFlags::ACK, &[]));
    let both = [first, second].concat();
    assert_eq!(hex(tcp.wait_for(24)), hex(&both));
    cell.assert_lives(&mut tcp, &both);
    cell.assert_honest_session();
}

#[test]
fn a_robot_that_pauses_reading_gets_every_statement_once_it_goes_on() {
    let Some(cell) = Guarded::up("pause") else { return };
    let mut stream = cell.honest(30_001);
    let port = stream.local_addr().unwrap().port();
    assert!(cell.robot.accepted(port));
    cell.robot.pause(true);
    let script: String = (0..6000).map(|line| format!("textmsg(\"line {line} of a long script\")\n")).collect();
    let sent = script.clone();
    let writer = std::thread::spawn(move || stream.write_all(sent.as_bytes()).map(|()| stream));
    std::thread::sleep(Duration::from_millis(1500));
    cell.robot.pause(false);
    let started = Instant::now();
    while cell.robot.received(port).len() < script.len() && started.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let received = cell.robot.received(port);
    assert_eq!(received.len(), script.len(), "ended: {:?}", cell.robot.end(port));
    assert!(received == script.as_bytes());
    drop(writer.join().unwrap().unwrap());
    assert_eq!(cell.robot.waits_for_end(port), Some(End::Closed));
    cell.assert_honest_session();
}

#[test]
fn data_beyond_the_window_is_dropped() {
    let Some(cell) = Guarded::up("beyond") else { return };
    let mut tcp = cell.connect(502);
    let mark = cell.cable.mark();
    let far = write(131, 0x55);
    tcp.put_at(tcp.seq.wrapping_add(2_000_000), &far);
    cell.assert_recorded(&tcp, Reason::BeyondWindow);
    cell.assert_nothing_since(mark, "data beyond the window", |frame| frame.windows(12).any(|part| part == far));
    cell.assert_lives(&mut tcp, &[]);
    cell.assert_honest_session();
}

#[test]
fn a_connection_that_ends_inside_a_command_releases_nothing_of_it() {
    let Some(cell) = Guarded::up("fin-in-unit") else { return };
    let mut tcp = cell.connect(502);
    assert_eq!(tcp.ask(&write(128, 1), 12), write(128, 1));
    tcp.put(&tcp.segment(tcp.seq, FIN, &write(129, 2)[..7]));
    cell.assert_recorded(&tcp, Reason::FinInUnit);
    cell.assert_both_reset(&mut tcp);
    cell.assert_arrived(&tcp, &write(128, 1));
    cell.assert_honest_session();
}

#[test]
fn whole_commands_before_a_close_arrive_and_the_close_too() {
    let Some(cell) = Guarded::up("fin") else { return };
    let mut tcp = cell.connect(502);
    let both = [write(128, 1), write(129, 2)].concat();
    tcp.put(&tcp.segment(tcp.seq, TcpFlags(DATA.0 | FIN.0), &both));
    tcp.seq = tcp.seq.wrapping_add(25);
    assert_eq!(cell.robot.waits_for_end(tcp.port()), Some(End::Closed));
    cell.assert_arrived(&tcp, &both);
    assert_eq!(hex(tcp.wait_for(24)), hex(&both));
    assert!(tcp.wait(PATIENCE, |own| own.is_closed), "the robot's own close comes back");
    cell.assert_honest_session();
}

/// A refused script: cut, recorded, and the session carries the next statement.
fn refused_script(name: &str, script: &[u8], why: Reason) {
    let Some(cell) = Guarded::up(name) else { return };
    let mut tcp = cell.connect(30_002);
    let (before, after) = (b"textmsg(\"before\")\n", b"textmsg(\"after\")\n");
    tcp.send(&[before, script, after].concat());
    tcp.listen(Duration::from_millis(50));
    cell.assert_recorded(&tcp, why);
    cell.assert_arrived(&tcp, &[&before[..], after].concat());
    cell.assert_honest_session();
}

#[test]
fn a_script_with_a_line_end_inside_an_open_bracket_is_refused() {
    refused_script("bracket", b"textmsg(\n\"x\")\n", Reason::Ambiguous);
}

#[test]
fn a_program_with_text_after_its_closing_end_is_refused() {
    refused_script("after-end", b"sec p():\n  textmsg(\"x\")\nend textmsg(\"y\")\n", Reason::Ambiguous);
}

#[test]
fn an_honest_dashboard_client_and_an_honest_script_pass() {
    let Some(cell) = Guarded::up("honest") else { return };
    let mut stream = cell.honest(29_999);
    let mut greeting = [0; 45];
    stream.read_exact(&mut greeting).unwrap();
    stream.write_all(b"running\n").unwrap();
    let mut answer = [0; 23];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"Program running: false\n");
    let mut script = cell.honest(30_002);
    let text = b"sec p():\n  textmsg(\"x\")\nend\n";
    script.write_all(text).unwrap();
    let port = script.local_addr().unwrap().port();
    let started = Instant::now();
    while cell.robot.received(port).len() < text.len() && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(cell.robot.received(port), text);
    cell.assert_honest_session();
}

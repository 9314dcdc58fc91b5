//! Attacks on what the box has little of (places, time, bytes), and ends that come and go in odd ways.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::time::{Duration, Instant};

use dissect::Toward;
use link::TcpFlags;
use support::bench::{Bench, DATA, FIN, Left, ODD, SECOND_NS, Talk};
use support::guarded::{POLICY, forbidden, refusal, write_register as write};
use vambrace::event::Reason;

/// The honest client comes, is answered, and goes.
fn assert_honest(bench: &mut Bench, from: u16, what: &str) {
    let mut talk = Talk::new(from, 502);
    assert!(talk.open(bench), "{what}: the honest client's SYN does not reach the robot");
    talk.exchange(bench, &write(128, 1), what);
    bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, TcpFlags::RST, &[]));
}

fn script() -> (Bench, Talk) {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 30_001);
    assert!(talk.open(&mut bench));
    (bench, talk)
}

/// A client with rules opens connections by halves.
#[test]
fn half_open_connections_lock_nobody_out() {
    let mut bench = Bench::new(POLICY);
    for port in 0..600 {
        Talk::of(ODD, 10_000 + port, 502).half_open(&mut bench);
    }
    assert_honest(&mut bench, 40_000, "600 half-open connections");
}

/// SYNs in the honest client's own name, which it never answers.
#[test]
fn half_open_connections_in_its_own_name_lock_the_honest_client_not_out() {
    let mut bench = Bench::new(POLICY);
    for port in 0..600 {
        bench.frame(Toward::Robot, &Talk::new(10_000 + port, 502).syn());
    }
    assert_honest(&mut bench, 40_000, "600 SYNs in its own name");
}

/// A client with rules opens connections and leaves them.
#[test]
fn idle_connections_of_one_client_lock_nobody_else_out() {
    let mut bench = Bench::new(POLICY);
    for port in 0..600 {
        Talk::of(ODD, 10_000 + port, 502).open(&mut bench);
    }
    assert_honest(&mut bench, 40_000, "600 idle connections of another");
}

/// A client that loses its power again and again leaves connections that nobody ends.
#[test]
fn a_client_that_never_closes_is_not_locked_out_by_its_own_past() {
    let mut bench = Bench::new(POLICY);
    for port in 0..600 {
        let mut talk = Talk::new(10_000 + port, 502);
        assert!(talk.open(&mut bench), "after {port} that were never closed");
        talk.exchange(&mut bench, &write(128, 1), "its own past");
        bench.wait(70 * SECOND_NS / 20);
    }
}

/// Connections that end in a refusal are remembered for ten minutes, and the table has 4,096 places.
#[test]
fn ended_connections_lock_nobody_out() {
    let mut bench = Bench::new(POLICY);
    for port in 0..4_400 {
        let mut talk = Talk::of(ODD, 10_000 + port, 502);
        talk.open(&mut bench);
        talk.send(&mut bench, &[0xff; 12]);
        if port % 100 == 0 {
            bench.wait(2 * SECOND_NS);
        }
    }
    assert_honest(&mut bench, 40_000, "4,400 ended connections");
}

/// A PLC with a fixed port of its own comes back after its connection was ended; the robot's end is gone.
#[test]
fn a_client_with_a_fixed_port_comes_back_soon_after_its_connection_was_ended() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    let left = talk.send(&mut bench, &[0xff; 12]);
    assert!(left.resets(Toward::Robot) && left.resets(Toward::Plant));
    bench.wait(5 * SECOND_NS);
    let mut again = Talk { seq: 9_000_000, robot_seq: 77, ..talk };
    assert!(again.open(&mut bench), "its SYN does not reach the robot");
    again.exchange(&mut bench, &write(128, 1), "the same port again");
}

/// The same while the robot still has the old connection: it challenges, the client resets, and neither gets data of the
/// other's past.
#[test]
fn a_client_with_a_fixed_port_comes_back_though_the_robot_missed_every_reset() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    talk.exchange(&mut bench, &write(128, 1), "at first");
    // An exact reset that is lost behind the box.
    bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, TcpFlags::RST, &[]));
    let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, DATA, &write(128, 1)));
    assert_eq!(left.payload(Toward::Robot), b"");
    comes_back(&mut bench, talk);
}

/// A client that restarts between SYN and acknowledgement: the robot stands with the first number.
#[test]
fn a_client_that_restarts_within_the_handshake_comes_back() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.half_open(&mut bench);
    comes_back(&mut bench, talk);
}

/// The client has forgotten `old`, the robot has not.
fn comes_back(bench: &mut Bench, old: Talk) {
    let mut new = Talk { seq: old.seq.wrapping_add(77_000_000), robot_seq: 123, ..old.clone() };
    let left = bench.frame(Toward::Robot, &new.syn());
    assert_eq!(left.segments(Toward::Robot).len(), 1, "the SYN reaches the robot");
    let left = bench.frame(Toward::Plant, &old.back(old.robot_seq, old.robot_ack, TcpFlags::ACK, &[]));
    let challenges: Vec<u32> = left.segments(Toward::Plant).iter().map(|tcp| tcp.ack).collect();
    assert_eq!(challenges, [old.robot_ack], "the robot's challenge reaches the client");
    let reset = old.segment(old.robot_ack, 0, TcpFlags::RST, &[]);
    let left = bench.frame(Toward::Robot, &reset);
    let resets: Vec<u32> = left.segments(Toward::Robot).iter().map(|tcp| tcp.seq).collect();
    assert_eq!(resets, [old.robot_ack], "the client's reset reaches the robot");
    assert!(new.open(bench), "the SYN again");
    new.exchange(bench, &write(129, 2), "after coming back");
}

/// The acknowledgement of the handshake is lost, and a FIN is the first segment of the client.
#[test]
fn a_fin_that_ends_the_handshake_is_the_clients_only_fin() {
    for port in [502, 30_001] {
        let mut bench = Bench::new(POLICY);
        let mut talk = Talk::new(40_000, port);
        talk.half_open(&mut bench);
        let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, FIN, &[]));
        assert!(left.segments(Toward::Robot).iter().any(|tcp| tcp.flags.fin()), "{port}");
        talk.robot_ack = talk.robot_ack.wrapping_add(1);
        let left = talk.reply(&mut bench, b"last words\n");
        assert_eq!(left.refusals, [], "{port}");
        assert_eq!(talk.client_takes(&left), b"last words\n", "{port}");
        let acknowledged = left.segments(Toward::Plant).iter().any(|tcp| tcp.ack == talk.seq.wrapping_add(1));
        assert!(acknowledged, "{port}: the FIN is acknowledged");
    }
}

/// The last segment carries an allowed command, a refused one and the FIN.
#[test]
fn a_refused_command_that_comes_with_the_fin_is_answered_and_what_came_before_arrives() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    let both = [write(128, 1), forbidden()].concat();
    let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, FIN, &both));
    assert!(!left.resets(Toward::Robot) && !left.resets(Toward::Plant), "{:?}", left.refusals);
    assert_eq!(talk.robot_takes(&left), write(128, 1));
    let left = talk.reply(&mut bench, &write(128, 1));
    assert_eq!(talk.client_takes(&left), [write(128, 1), refusal()].concat());
    assert!(left.segments(Toward::Robot).iter().any(|tcp| tcp.flags.fin() && tcp.seq == talk.robot_ack), "the FIN");
}

/// Frames toward the plant, longest IP packet.
fn longest(left: &Left) -> usize {
    let plant = left.frames.iter().filter(|(toward, _)| *toward == Toward::Plant);
    plant.map(|(_, bytes)| bytes.len() - 14).max().unwrap_or(0)
}

/// A server with jumbo frames says so in its SYN; the robot and the cables know nothing of it.
#[test]
fn a_client_with_jumbo_frames_gets_no_frame_that_the_cable_does_not_carry() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk { mss: [8960, 1460], ..Talk::new(40_000, 30_001) };
    talk.open(&mut bench);
    talk.window = 0;
    talk.acknowledge(&mut bench);
    let mut all = Vec::new();
    talk.window = 64_000;
    for _ in 0..5 {
        all.extend(talk.client_takes(&talk.clone().reply(&mut bench, &[7; 1448])));
        talk.robot_seq += 1448;
    }
    let left = talk.acknowledge(&mut bench);
    assert!(longest(&left) <= 1500, "a packet of {} bytes", longest(&left));
    all.extend(talk.client_takes(&left));
    let left = bench.wait(SECOND_NS);
    assert!(longest(&left) <= 1500, "a packet of {} bytes", longest(&left));
    all.extend(talk.client_takes(&left));
    assert_eq!(all.len(), 5 * 1448);
}

/// A client that says it takes one byte at a time would have the box send a frame for each.
#[test]
fn a_tiny_segment_size_multiplies_no_frames() {
    for mss in [0, 1, 12, 13, 64] {
        let mut bench = Bench::new(POLICY);
        let mut talk = Talk { mss: [mss, 1460], ..Talk::new(40_000, 30_001) };
        talk.open(&mut bench);
        let mut frames = 0;
        let left = talk.reply(&mut bench, &[7; 1440]);
        frames += left.segments(Toward::Plant).len();
        talk.client_takes(&left);
        for _ in 0..100 {
            let left = talk.acknowledge(&mut bench);
            frames += left.segments(Toward::Plant).len();
            talk.client_takes(&left);
        }
        assert_eq!(talk.ack, talk.robot_seq, "{mss}");
        // Linux itself sends no less than 36 bytes beside timestamps.
        assert!(frames <= 1440 / 36 + 110, "{mss}: {frames} frames for 1,440 bytes");
    }
}

/// The robot stops reading for twelve seconds while a statement lies half in one segment, half in the next: a cable would
/// keep the session.
#[test]
fn a_robot_that_pauses_ends_no_unit_that_came_whole() {
    let (mut bench, mut talk) = script();
    let line = format!("textmsg(\"{}\")\n", "x".repeat(700));
    let whole = line.repeat(6);
    let mut all = whole.clone().into_bytes();
    for part in whole.as_bytes().chunks(1448) {
        talk.send(&mut bench, part);
    }
    talk.send(&mut bench, b"textmsg(");
    bench.wait(SECOND_NS);
    talk.send(&mut bench, b"1)\n");
    all.extend_from_slice(b"textmsg(1)\n");
    for _ in 0..12 {
        let shut = Talk { window: 0, ..talk.clone() };
        let left = bench.frame(Toward::Plant, &shut.back(shut.robot_seq, shut.robot_ack, TcpFlags::ACK, &[]));
        assert!(!left.resets(Toward::Plant), "{:?}", left.refusals);
        let left = bench.wait(SECOND_NS);
        assert!(!left.resets(Toward::Plant), "{:?}", left.refusals);
    }
    let mut came = Vec::new();
    for _ in 0..40 {
        let left = talk.reply(&mut bench, &[]);
        came.extend(talk.robot_takes(&left));
        let left = bench.wait(SECOND_NS / 4);
        came.extend(talk.robot_takes(&left));
    }
    assert_eq!(String::from_utf8(came).unwrap(), String::from_utf8(all).unwrap());
}

/// A client resets while the robot takes nothing, and tries again each second from the same port: what it had sent is
/// waited for two seconds, not for ever.
#[test]
fn a_client_that_comes_back_again_and_again_does_not_keep_its_old_connection_alive() {
    let (mut bench, mut talk) = script();
    talk.send(&mut bench, b"textmsg(1)\n");
    bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, TcpFlags::RST, &[]));
    let new = Talk { seq: talk.seq.wrapping_add(9_000_000), ..talk.clone() };
    let mut ended = false;
    for _ in 0..4 {
        ended |= bench.wait(SECOND_NS).resets(Toward::Robot);
        let left = bench.frame(Toward::Robot, &new.syn());
        for tcp in left.segments(Toward::Plant) {
            bench.frame(Toward::Robot, &talk.segment(tcp.ack, 0, TcpFlags::RST, &[]));
        }
    }
    assert!(ended, "the robot's end of the old connection");
}

/// Thousands of the shortest refused units, all judged in the moment in which the byte before them comes.
#[test]
fn a_store_full_of_tiny_refused_units_stops_the_box_for_no_time() {
    for (port, unit) in [(30_001, &b"a\n"[..]), (29_999, b"x\n"), (30_001, b"\n"), (29_999, b"\n")] {
        let mut bench = Bench::new(POLICY);
        let mut talk = Talk::new(40_000, port);
        talk.open(&mut bench);
        talk.reply(&mut bench, b"Connected: Universal Robots Dashboard Server\n");
        let flood = unit.repeat(60_000 / unit.len());
        let start = talk.seq;
        for (at, part) in flood.chunks(1400).enumerate().skip(1) {
            bench.frame(Toward::Robot, &talk.segment(start.wrapping_add(at as u32 * 1400), talk.ack, DATA, part));
        }
        let started = Instant::now();
        bench.frame(Toward::Robot, &talk.segment(start, talk.ack, DATA, &flood[..1400]));
        let took = started.elapsed();
        println!("port {port}, {unit:?}: {took:?}, {} records lost", bench.actions.lost());
        assert_eq!(bench.actions.lost(), 0, "port {port}, {unit:?}: actions that found no room");
        assert!(took < Duration::from_millis(500), "port {port}, {unit:?}: {took:?} for one frame");
    }
}

/// A hundred refused commands and an allowed one in one go.
#[test]
fn a_hundred_refused_commands_are_answered_in_order() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    let flood = [forbidden().repeat(50), write(128, 1), forbidden().repeat(50)].concat();
    let left = talk.send(&mut bench, &flood);
    assert_eq!(talk.robot_takes(&left), write(128, 1));
    let mut came = talk.client_takes(&left);
    let left = talk.reply(&mut bench, &write(128, 1));
    came.extend(talk.client_takes(&left));
    assert_eq!(came, [refusal().repeat(50), write(128, 1), refusal().repeat(50)].concat());
    talk.exchange(&mut bench, &write(129, 1), "afterwards");
}

/// A robot that answers nothing: a refused command behind an unanswered one ends in a reset in time, and other sessions
/// don't notice.
#[test]
fn a_robot_that_never_answers_holds_up_one_session_and_for_a_while() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    let left = talk.send(&mut bench, &[write(128, 1), forbidden()].concat());
    talk.robot_takes(&left);
    talk.reply(&mut bench, &[]);
    assert_honest(&mut bench, 40_001, "while another waits");
    let left = bench.wait(11 * SECOND_NS);
    assert!(left.resets(Toward::Plant) && left.resets(Toward::Robot));
}

/// A robot that left one request unanswered and answered the next: a refusal has its place again.
#[test]
fn a_request_that_was_never_answered_does_not_block_the_answers_of_later_ones() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    let mut lost = write(128, 1);
    lost[1] = 99;
    let left = talk.send(&mut bench, &lost);
    talk.robot_takes(&left);
    talk.reply(&mut bench, &[]);
    talk.exchange(&mut bench, &write(129, 2), "the next");
    let left = talk.send(&mut bench, &forbidden());
    assert_eq!(talk.client_takes(&left), refusal());
}

/// A client that acknowledges nothing while the robot streams: the box keeps what it has room for and says so.
#[test]
fn a_client_that_never_acknowledges_fills_its_own_store_alone() {
    let (mut bench, mut talk) = script();
    let mut told = talk.robot_seq;
    for _ in 0..100 {
        let left = bench.frame(Toward::Plant, &talk.back(talk.robot_seq, talk.robot_ack, DATA, &[7; 1200]));
        talk.robot_seq += 1200;
        for tcp in left.segments(Toward::Robot) {
            told = told.max(tcp.ack);
            assert!(u32::from(tcp.window) + tcp.ack - talk.ack <= 65_535, "more than the store takes");
        }
    }
    assert!(told - talk.ack <= 65_535 && told - talk.ack > 40_000, "{}", told - talk.ack);
    assert_honest(&mut bench, 40_001, "while another's store is full");
    let left = bench.wait(32 * SECOND_NS);
    assert!(left.resets(Toward::Robot), "it is given up in the end");
    assert!(left.frames.len() < 500, "{} frames in 32 s", left.frames.len());
}

/// Bytes of a refused command again, with other content, from before and across the cut.
#[test]
fn bytes_that_were_cut_come_back_as_nothing_else() {
    for off in 0..12_u32 {
        let mut bench = Bench::new(POLICY);
        let mut talk = Talk::new(40_000, 502);
        talk.open(&mut bench);
        talk.exchange(&mut bench, &write(128, 1), "at first");
        let cut_at = talk.seq;
        let left = talk.send(&mut bench, &forbidden());
        talk.client_takes(&left);
        talk.acknowledge(&mut bench);
        let other = [forbidden(), write(131, 5)].concat();
        let frame = talk.segment(cut_at.wrapping_sub(off), talk.ack, DATA, &other);
        let left = bench.frame(Toward::Robot, &frame);
        let fresh = &other[12 + off as usize..];
        let came = talk.robot_takes(&left);
        assert!(came.is_empty() || came == fresh, "{off}: {came:02x?}");
        assert!(!came.windows(12).any(|unit| unit == forbidden()), "{off}");
    }
}

/// The handshake's acknowledgement never comes; the first segments of a long program do. The robot repeats its answer.
#[test]
fn a_program_that_ends_the_handshake_arrives_whole() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 30_001);
    let syn_ack = talk.syn_ack();
    talk.half_open(&mut bench);
    let program = format!("def work():\n{}end\n", "  textmsg(1)\n".repeat(3000));
    let mut came = Vec::new();
    for (at, part) in program.as_bytes().chunks(1448).enumerate() {
        let left = talk.send(&mut bench, part);
        came.extend(talk.robot_takes(&left));
        if at == 3 {
            let left = bench.frame(Toward::Plant, &syn_ack);
            assert!(left.segments(Toward::Plant).is_empty());
            let acks: Vec<(u32, u32)> = left.segments(Toward::Robot).iter().map(|tcp| (tcp.seq, tcp.ack)).collect();
            assert_eq!(acks, [(talk.robot_ack, talk.robot_seq)], "the handshake's acknowledgement");
        }
        talk.acknowledge(&mut bench);
    }
    for _ in 0..40 {
        let left = talk.reply(&mut bench, &[]);
        came.extend(talk.robot_takes(&left));
    }
    assert!(came == program.as_bytes(), "{} of {} bytes", came.len(), program.len());
}

/// A reset that is exact ends what it should at once, and the record says why.
#[test]
fn a_broken_unit_is_recorded_as_such() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    assert_eq!(talk.send(&mut bench, &[0xff; 12]).refusals, [Reason::Malformed]);
}

/// RTDE: inputs are refused while the version is still being agreed on, and are then written to all the same.
#[test]
fn inputs_that_were_refused_are_never_written() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 30_004);
    talk.open(&mut bench);
    let package = |kind: u8, body: &[u8]| [&(body.len() as u16 + 3).to_be_bytes()[..], &[kind], body].concat();
    let version = package(b'V', &[0, 2]);
    let inputs = package(b'I', b"speed_slider_mask,speed_slider_fraction");
    let write = package(b'U', &[1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let outputs = package(b'O', &[&125_f64.to_be_bytes()[..], b"timestamp"].concat());
    let left = talk.send(&mut bench, &[&version[..], &inputs, &write, &outputs, &write].concat());
    assert_eq!(talk.robot_takes(&left), version);
    let left = talk.reply(&mut bench, &package(b'V', &[1]));
    let came = talk.client_takes(&left);
    let refused = package(b'I', b"\0NOT_FOUND,NOT_FOUND");
    assert_eq!(came, [package(b'V', &[1]), refused].concat());
    let mut arrived = talk.robot_takes(&left);
    let left = talk.reply(&mut bench, &package(b'O', b"\x01DOUBLE"));
    talk.client_takes(&left);
    let left = talk.send(&mut bench, &write);
    arrived.extend(talk.robot_takes(&left));
    assert_eq!(arrived, outputs, "only the outputs");
}

/// Dashboard: a refused line comes before the robot has greeted.
#[test]
fn a_line_that_is_refused_before_the_greeting_is_answered_after_it() {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 29_999);
    talk.open(&mut bench);
    let left = talk.send(&mut bench, b"shutdown\nrobotmode\n");
    assert_eq!((talk.robot_takes(&left), talk.client_takes(&left)), (vec![], vec![]));
    let greeting = b"Connected: Universal Robots Dashboard Server\n";
    let left = talk.reply(&mut bench, greeting);
    let came = talk.client_takes(&left);
    assert!(came.starts_with(greeting) && came.len() > greeting.len(), "{:?}", String::from_utf8(came));
    assert_eq!(talk.robot_takes(&left), b"robotmode\n");
}

/// A client answers every segment with a wrong acknowledgement, as two ends do that lost each other: one answer each,
/// never more than was sent.
#[test]
fn wrong_acknowledgements_are_answered_one_by_one() {
    for port in [502, 30_001] {
        let mut bench = Bench::new(POLICY);
        let mut talk = Talk::new(40_000, port);
        talk.open(&mut bench);
        let mut frames = 0;
        for step in 1..200_u32 {
            let wrong = talk.segment(talk.seq, talk.ack.wrapping_add(step * 1000), TcpFlags::ACK, &[]);
            frames += bench.frame(Toward::Robot, &wrong).frames.len();
            let wrong = talk.back(talk.robot_seq, talk.robot_ack.wrapping_add(step * 1000), TcpFlags::ACK, &[]);
            frames += bench.frame(Toward::Plant, &wrong).frames.len();
        }
        assert!(frames <= 400, "{port}: {frames} frames for 398");
        let left =
            talk.send(&mut bench, if port == 502 { &[0, 1, 0, 0, 0, 6, 1, 3, 0, 128, 0, 1] } else { b"textmsg(1)\n" });
        assert!(!talk.robot_takes(&left).is_empty(), "{port}: the session works");
    }
}

/// A robot's window that is shut for a minute, with commands waiting and the client keeping alive.
#[test]
fn a_window_that_is_shut_for_a_minute_loses_nothing() {
    let (mut bench, mut talk) = script();
    talk.window = 0;
    talk.reply(&mut bench, &[]);
    let text = b"textmsg(1)\n".repeat(50);
    talk.window = 64_000;
    let left = talk.send(&mut bench, &text);
    assert_eq!(talk.robot_takes(&left), b"");
    for _ in 0..60 {
        let left = bench.wait(SECOND_NS);
        assert!(!left.resets(Toward::Plant) && !left.resets(Toward::Robot), "{:?}", left.refusals);
        let shut = Talk { window: 0, ..talk.clone() };
        bench.frame(Toward::Plant, &shut.back(shut.robot_seq, shut.robot_ack, TcpFlags::ACK, &[]));
        let probe = talk.segment(talk.seq.wrapping_sub(1), talk.ack, TcpFlags::ACK, &[]);
        bench.frame(Toward::Robot, &probe);
    }
    let left = talk.reply(&mut bench, &[]);
    assert_eq!(talk.robot_takes(&left), text);
}

//! Attacks by frames of exact numbers at exact times: by who can't see the traffic (blind), by who may send some
//! commands, and by stacks that are odd but honest.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use dissect::Toward;
use link::TcpFlags;
use support::bench::{Bench, DATA, FIN, SECOND_NS, SYN_ACK, Talk};
use support::guarded::{POLICY as GUARDED, forbidden, refusal, write_register as write};
use vambrace::engine::Mode;

/// The usual policy, without what names a namespace's port.
const POLICY: &str = GUARDED;

fn modbus() -> (Bench, Talk) {
    let mut bench = Bench::new(POLICY);
    let mut talk = Talk::new(40_000, 502);
    assert!(talk.open(&mut bench));
    talk.exchange(&mut bench, &write(128, 1), "at first");
    (bench, talk)
}

/// A Modbus connection of which a command was refused, so that it is spliced and its numbers are shifted.
fn cut() -> (Bench, Talk) {
    let (mut bench, mut talk) = modbus();
    let left = talk.send(&mut bench, &forbidden());
    assert_eq!(talk.client_takes(&left), refusal());
    assert_eq!(talk.robot_takes(&left), b"");
    talk.acknowledge(&mut bench);
    (bench, talk)
}

/// Segments that an attacker sends in the client's name without knowing a number: each of these meets the real ones in
/// one of two cases.
fn blind(attack: impl Fn(&Talk, u32, u32) -> Vec<u8>, what: &str) {
    for start in [modbus, cut] {
        for (seq_off, ack_off) in
            [(-1_i32, -1_i32), (-1, 1), (1, -1), (1, 1)].map(|(a, b)| (a * (1 << 28), b * (1 << 28)))
        {
            let (mut bench, mut talk) = start();
            let frame = attack(&talk, talk.seq.wrapping_add_signed(seq_off), talk.ack.wrapping_add_signed(ack_off));
            let left = bench.frame(Toward::Robot, &frame);
            assert!(!left.resets(Toward::Robot) && !left.resets(Toward::Plant), "{what}: reset");
            let what = format!("{what}, numbers off by {seq_off} and {ack_off}");
            talk.clock = talk.clock.map(|clock| clock + 1);
            talk.exchange(&mut bench, &write(129, 2), &what);
            // In two parts, so that the connection is spliced if it was not.
            let (first, second) = (&write(130, 3)[..7], &write(130, 3)[7..]);
            let mut came = Vec::new();
            let left = talk.send(&mut bench, first);
            came.extend(talk.robot_takes(&left));
            let left = bench.wait(5_000_000);
            came.extend(talk.robot_takes(&left));
            let left = talk.send(&mut bench, second);
            came.extend(talk.robot_takes(&left));
            assert_eq!(came, write(130, 3), "{what}: a command in two parts");
            let left = talk.reply(&mut bench, &write(130, 3));
            assert_eq!(talk.client_takes(&left), write(130, 3), "{what}: its answer");
            talk.acknowledge(&mut bench);
            talk.exchange(&mut bench, &write(131, 4), &format!("{what}, at last"));
            closes(&mut bench, &mut talk, &what);
        }
    }
}

/// The client closes, the robot too, and the box knows it: the same ports can be used again.
fn closes(bench: &mut Bench, talk: &mut Talk, what: &str) {
    let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, FIN, &[]));
    let fins = left.segments(Toward::Robot).iter().filter(|tcp| tcp.flags.fin()).count();
    assert_eq!(fins, 1, "{what}: the FIN arrives: {left:02x?}");
    talk.robot_ack = talk.robot_ack.wrapping_add(1);
    let left = bench.frame(Toward::Plant, &talk.back(talk.robot_seq, talk.robot_ack, FIN, &[]));
    let acknowledged = left.segments(Toward::Plant).iter().any(|tcp| tcp.ack == talk.seq.wrapping_add(1));
    assert!(acknowledged, "{what}: the client's FIN is acknowledged: {left:02x?}");
    talk.seq = talk.seq.wrapping_add(1);
    talk.ack = talk.ack.wrapping_add(1);
    talk.acknowledge(bench);
    bench.wait(2 * SECOND_NS);
    let mut again = Talk { seq: talk.seq.wrapping_add(1_000_000), robot_seq: 77, ..talk.clone() };
    assert!(again.open(bench), "{what}: the ports can't be used again");
    again.exchange(bench, &write(128, 5), what);
}

/// A FIN in the client's name ends nothing unless it stands where the client stands.
#[test]
fn a_blind_fin_ends_no_session() {
    blind(|talk, seq, ack| talk.segment(seq, ack, FIN, &[]), "a blind FIN");
}

/// An acknowledgement in the client's name teaches the box nothing about the client.
#[test]
fn a_blind_acknowledgement_changes_nothing() {
    blind(|talk, seq, ack| talk.segment(seq, ack, TcpFlags::ACK, &[]), "a blind acknowledgement");
}

/// A time from the far future in a segment that the robot would not take silences nobody.
#[test]
fn a_blind_segment_with_a_far_timestamp_silences_nobody() {
    let far = |talk: &Talk| Talk { clock: talk.clock.map(|clock| clock.wrapping_add(1 << 30)), ..talk.clone() };
    blind(|talk, seq, ack| far(talk).segment(seq, ack, TcpFlags::ACK, &[]), "an acknowledgement of the future");
    blind(|talk, seq, ack| far(talk).segment(seq, ack, DATA, &write(128, 9)), "data of the future");
}

/// A closed window in the client's name stops no answers.
#[test]
fn a_blind_closed_window_stops_nothing() {
    let shut = |talk: &Talk| Talk { window: 0, ..talk.clone() };
    blind(|talk, seq, ack| shut(talk).segment(seq, ack, TcpFlags::ACK, &[]), "a closed window");
}

/// Data with an acknowledgement that no client would send is no client's, wherever it stands.
#[test]
fn blind_data_reaches_nobody() {
    blind(|talk, seq, ack| talk.segment(seq, ack, DATA, &write(128, 9)), "blind data");
}

/// Resets, SYNs and answers to SYNs in the client's name.
#[test]
fn blind_resets_and_syns_end_nothing() {
    blind(|talk, seq, ack| talk.segment(seq, ack, TcpFlags::RST, &[]), "a blind reset");
    blind(|talk, seq, _| talk.segment(seq, 0, TcpFlags::SYN, &[]), "a blind SYN");
    blind(|talk, seq, ack| talk.segment(seq, ack, SYN_ACK, &[]), "a blind answer to a SYN");
}

/// Enforce, then a while of observation in which the stream becomes unreadable, then enforce again.
#[test]
fn a_stream_that_became_unreadable_while_observed_is_not_trusted_when_enforced_again() {
    let (mut bench, mut talk) = modbus();
    bench.switch(Mode::Observe);
    let garbage = [0, 1, 0xff, 0xff, 0, 6, 1, 3, 0, 128, 0, 1];
    let left = talk.send(&mut bench, &garbage);
    talk.robot_takes(&left);
    talk.reply(&mut bench, &[]);
    bench.switch(Mode::Enforce);
    let left = talk.send(&mut bench, &forbidden());
    assert_eq!(left.payload(Toward::Robot), b"", "a forbidden command reached the robot while enforcing");
}

/// The head of a forbidden command goes out while observed, its rest when enforced again: the robot must not get bytes
/// that it reads as that rest.
#[test]
fn a_unit_that_began_while_observed_does_not_end_while_enforced() {
    for start in [modbus, cut] {
        let (mut bench, mut talk) = start();
        bench.switch(Mode::Observe);
        let mut came = Vec::new();
        let left = talk.send(&mut bench, &forbidden()[..8]);
        came.extend(talk.robot_takes(&left));
        talk.reply(&mut bench, &[]);
        bench.switch(Mode::Enforce);
        let left = talk.send(&mut bench, &forbidden()[8..]);
        came.extend(talk.robot_takes(&left));
        let left = bench.wait(5_000_000);
        came.extend(talk.robot_takes(&left));
        let left = talk.send(&mut bench, &write(128, 1));
        came.extend(talk.robot_takes(&left));
        let wrong: Vec<&[u8]> =
            came.chunks(12).filter(|unit| unit.len() == 12 && *unit != &write(128, 1)[..]).collect();
        assert!(wrong.is_empty(), "the robot reads {wrong:02x?}");
    }
}

/// A connection that was spliced goes on as such in other modes: its numbers can't be forwarded as they are.
#[test]
fn a_spliced_connection_goes_on_in_every_mode() {
    for mode in [Mode::Observe, Mode::Shadow, Mode::Learn] {
        let (mut bench, mut talk) = cut();
        bench.switch(mode);
        let request = write(129, 2);
        let left = talk.send(&mut bench, &request);
        assert_eq!(left.payload(Toward::Robot), request, "{mode}: once, at the robot's own number");
        assert_eq!(talk.robot_takes(&left), request, "{mode}");
        let left = talk.reply(&mut bench, &request);
        assert_eq!(left.payload(Toward::Plant), request, "{mode}: once");
        assert_eq!(talk.client_takes(&left), request, "{mode}");
        talk.acknowledge(&mut bench);
        let left = talk.send(&mut bench, &forbidden());
        assert_eq!(talk.robot_takes(&left), forbidden(), "{mode}: outside enforcement everything passes");
        let left = talk.reply(&mut bench, &forbidden());
        talk.client_takes(&left);
        talk.acknowledge(&mut bench);
        bench.switch(Mode::Enforce);
        let left = talk.send(&mut bench, &forbidden());
        assert_eq!(talk.robot_takes(&left), b"", "{mode}");
        assert_eq!(talk.client_takes(&left), refusal(), "{mode}: refused again, and the session lives");
        talk.acknowledge(&mut bench);
        talk.exchange(&mut bench, &write(128, 3), "enforced again");
        bench.switch(mode);
        closes_in(&mut bench, &mut talk);
    }
}

fn closes_in(bench: &mut Bench, talk: &mut Talk) {
    let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, FIN, &[]));
    let fins: Vec<u32> = left.segments(Toward::Robot).iter().filter(|tcp| tcp.flags.fin()).map(|tcp| tcp.seq).collect();
    assert_eq!(fins, [talk.robot_ack], "one FIN at the robot's own number");
}

/// An exact reset of the client's, a SYN on the live connection and probes of a spliced connection while observed.
#[test]
fn odd_segments_of_a_spliced_connection_are_never_forwarded_as_they_are() {
    for mode in [Mode::Observe, Mode::Shadow] {
        let odd: [fn(&Talk) -> Vec<u8>; 4] = [
            |talk| talk.segment(talk.seq.wrapping_add(500), talk.ack, TcpFlags::RST, &[]),
            |talk| Talk { seq: talk.seq.wrapping_add(900_000), ..talk.clone() }.syn(),
            |talk| talk.segment(talk.seq.wrapping_sub(1), talk.ack, TcpFlags::ACK, &[]),
            |talk| talk.segment(talk.seq.wrapping_sub(12), talk.ack, DATA, &write(128, 1)),
        ];
        for (at, odd) in odd.into_iter().enumerate() {
            let (mut bench, mut talk) = cut();
            bench.switch(mode);
            let frame = odd(&talk);
            let left = bench.frame(Toward::Robot, &frame);
            assert!(left.frames.iter().all(|(_, bytes)| *bytes != frame), "{mode}, {at}: forwarded as it is");
            talk.exchange(&mut bench, &write(129, 2), &format!("{mode}, {at}"));
        }
    }
}

/// Bytes that the robot got and the box did not read (in fragments, say) while observed: where its units begin is not
/// known any more.
#[test]
fn bytes_missed_while_observed_end_the_connection_when_enforced() {
    let mut bench = Bench::in_mode(Mode::Observe, POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.open(&mut bench);
    talk.exchange(&mut bench, &write(128, 1), "at first");
    // The head of a write of many registers, in fragments: only the robot's acknowledgement tells of it.
    talk.seq = talk.seq.wrapping_add(13);
    talk.robot_ack = talk.seq;
    talk.reply(&mut bench, &[]);
    bench.switch(Mode::Enforce);
    // Its registers look like an allowed command.
    let left = talk.send(&mut bench, &write(128, 1));
    assert_eq!(left.payload(Toward::Robot), b"", "the robot reads it as the rest of another unit");
    assert!(left.resets(Toward::Robot) && left.resets(Toward::Plant));
}

/// A connection of which the box did not see the beginning may stand in the middle of a unit.
#[test]
fn a_connection_without_a_beginning_is_reset_when_enforcement_begins() {
    let mut bench = Bench::in_mode(Mode::Observe, POLICY);
    let mut talk = Talk::new(40_000, 502);
    talk.seq = 2000;
    (talk.ack, talk.robot_ack) = (talk.robot_seq, talk.seq);
    talk.exchange(&mut bench, &write(128, 1), "as seen");
    bench.switch(Mode::Enforce);
    let left = talk.send(&mut bench, &write(128, 1));
    assert_eq!(left.payload(Toward::Robot), b"");
    assert!(left.resets(Toward::Robot) && left.resets(Toward::Plant));
}

/// A client was restarted on the same port while observed: its new connection is not held to the old one's numbers.
#[test]
fn a_connection_that_took_another_ones_place_while_observed_is_reset_and_not_starved_when_enforced() {
    for step in [1 << 28, 3 << 30] {
        let mut bench = Bench::in_mode(Mode::Observe, POLICY);
        let mut old = Talk::new(40_000, 502);
        old.open(&mut bench);
        old.exchange(&mut bench, &write(128, 1), "at first");
        // The robot lost it as well, and nobody said so.
        let mut new = Talk { seq: old.seq.wrapping_add(step), robot_seq: 99, ..old };
        new.open(&mut bench);
        new.exchange(&mut bench, &write(128, 2), "observed");
        bench.switch(Mode::Enforce);
        let left = new.send(&mut bench, &write(128, 3));
        let passed = left.payload(Toward::Robot) == write(128, 3);
        let reset = left.segments(Toward::Plant).iter().any(|tcp| tcp.flags.rst() && tcp.seq == new.ack);
        assert!(passed || reset, "{step}: neither passed nor reset: {left:02x?}");
    }
}

/// Both ends have closed a connection with a cut and one of them repeats itself later: nothing of it goes on with numbers
/// that the other end does not know.
#[test]
fn what_comes_after_the_end_of_a_cut_connection_goes_on_to_nobody() {
    for mode in [Mode::Enforce, Mode::Observe] {
        let (mut bench, mut talk) = cut();
        let (seq, ack, robot_seq, robot_ack) = (talk.seq, talk.ack, talk.robot_seq, talk.robot_ack);
        bench.frame(Toward::Robot, &talk.segment(seq, ack, FIN, &[]));
        bench.frame(Toward::Plant, &talk.back(robot_seq, robot_ack + 1, FIN, &[]));
        (talk.seq, talk.ack) = (seq + 1, ack + 1);
        talk.acknowledge(&mut bench);
        bench.wait(2 * SECOND_NS);
        bench.switch(mode);
        let repeated = talk.back(robot_seq, robot_ack + 1, FIN, &[]);
        let left = bench.frame(Toward::Plant, &repeated);
        assert!(left.segments(Toward::Plant).is_empty(), "{mode}: {left:02x?}");
        let repeated = talk.segment(talk.seq, talk.ack, TcpFlags::ACK, &[]);
        let left = bench.frame(Toward::Robot, &repeated);
        assert!(left.segments(Toward::Robot).is_empty(), "{mode}: {left:02x?}");
    }
}

/// Blind segments while observed poison nothing that counts when enforcement begins: the session works, or is reset at
/// once; it is not starved.
#[test]
fn blind_segments_while_observed_starve_nobody_when_enforced() {
    for (port, off, later) in [502, 30_001].into_iter().flat_map(|port| {
        [-1_i32, 1].into_iter().flat_map(move |off| [0, 1 << 30].map(|later| (port, off * (1 << 28), later)))
    }) {
        let mut bench = Bench::in_mode(Mode::Observe, POLICY);
        let mut talk = Talk::new(40_000, port);
        talk.open(&mut bench);
        let unit = if port == 502 { write(128, 1) } else { b"textmsg(1)\n".to_vec() };
        talk.exchange(&mut bench, &unit, "at first");
        let far = Talk { clock: talk.clock.map(|clock| clock + later), ..talk.clone() };
        let blind = far.segment(talk.seq.wrapping_add_signed(off), talk.ack.wrapping_add(1 << 28), TcpFlags::ACK, &[]);
        bench.frame(Toward::Robot, &blind);
        talk.reply(&mut bench, &[]);
        bench.switch(Mode::Enforce);
        let mut came = Vec::new();
        let mut reset = false;
        for _ in 0..3 {
            talk.clock = talk.clock.map(|clock| clock + 1);
            let left = bench.frame(Toward::Robot, &talk.segment(talk.seq, talk.ack, DATA, &unit));
            came.extend(talk.robot_takes(&left));
            let answer = talk.clone().reply(&mut bench, &unit);
            came.extend(talk.client_takes(&answer));
            for left in [left, answer, bench.wait(SECOND_NS / 4)] {
                reset |= left.segments(Toward::Plant).iter().any(|tcp| tcp.flags.rst() && tcp.seq == talk.ack);
            }
        }
        let works = came.starts_with(&[unit.clone(), unit].concat());
        assert!(works || reset, "{port}, off by {off}, later by {later}: {came:02x?}");
    }
}

//! Connections that were open before the box saw them: taken up where the configuration asks for it and the robot's answer
//! to one read proves where the stream stands, and reset otherwise.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use smoltcp::socket::tcp::State;
use support::can_make_namespaces;
use support::modbus_load::{self as load, Load};
use support::restarted::Restarted;
use support::talks::{self, Line, ROBOT_ADDRESS, Shared};
use support::virtual_net::{Cell, GOOD, ROUGH, SECOND_NS, Service, rules};
use vambrace::engine::{Mode, Rules};
use vambrace::event::Reason;
use vambrace::nic::impairment::{Rates, Share};

const POLICY: &str = r#"
version = 1
robot = "robot"
[[allow]]
id = "registers"
from = "plc"
service = "modbus"
function = ["read_holding_registers", "write_single_register"]
address = ["128..=137"]
value = "0..=120"
[[allow]]
id = "panel"
from = "plc"
service = "dashboard"
class = ["read"]
[[allow]]
id = "state"
from = "plc"
service = "rtde"
class = ["read"]
[[allow]]
id = "programs"
from = "plc"
service = "urscript"
kind = ["program", "statement"]
function = ["textmsg"]
"#;

const ONE_BY_ONE: Load = Load { exchanges: 50, in_flight: 1, split: false, forbidden_every: 0 };

fn adopting() -> Arc<Rules> {
    let mut rules = rules(Mode::Enforce, POLICY);
    Arc::get_mut(&mut rules).unwrap().adopt_modbus = true;
    rules
}

/// A connection that has talked, and a box that knows nothing of it.
fn before(rates: Rates, seed: u64, service: Service) -> Cell {
    let mut cell = Cell::connected(adopting(), rates, seed, load::PORT, Some(service));
    cell.keep_trace(24);
    load::run(&mut cell, ONE_BY_ONE).unwrap();
    cell.forget_all();
    cell
}

fn assert_reset(cell: &mut Cell, what: &str) {
    let ended = |cell: &Cell| [cell.client(), cell.server()].iter().all(|line| line.state() == State::Closed);
    cell.run_until(20 * SECOND_NS, ended).unwrap_or_else(|stalled| panic!("{what}: {stalled:?}\n{}", cell.trace()));
    assert!(cell.refusals().contains_key(&Reason::MidStream), "{what}: {:?}", cell.refusals());
}

#[test]
fn a_connection_is_taken_up_by_one_read_and_goes_on() {
    for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (ROUGH, 3), (ROUGH, 4)] {
        let mut cell = before(rates, seed, load::server());
        // The first request reads; later ones write.
        let ended = load::run(&mut cell, Load { exchanges: 200, ..ONE_BY_ONE });
        ended.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", cell.trace()));
        cell.client_mut().close();
        cell.run_until(60 * SECOND_NS, |cell| cell.server().state() == State::CloseWait).unwrap();
        assert!(!cell.refusals().contains_key(&Reason::MidStream));
    }
}

#[test]
fn without_being_asked_for_it_is_reset() {
    let mut cell = before(GOOD, 1, load::server());
    cell.set_rules(rules(Mode::Enforce, POLICY));
    cell.client_mut().send(&load::allowed(0));
    assert_reset(&mut cell, "not asked for");
}

#[test]
fn what_is_no_single_read_is_reset_and_does_not_arrive() {
    let (read, write) = (load::allowed(0), load::allowed(9));
    for (what, sent) in [
        ("a write", write.clone()),
        ("two reads at once", [&read[..], &read].concat()),
        ("a read and a write", [&read[..], &write].concat()),
        ("a part of a read", read[..9].to_vec()),
        ("the rest of something", read[4..].to_vec()),
        ("a read that no rule allows", load::forbidden(3).0),
    ] {
        let mut cell = before(GOOD, 1, load::server());
        let got = cell.server().received().len();
        cell.client_mut().send(&sent);
        let ended = |cell: &Cell| cell.client().state() == State::Closed && cell.server().state() == State::Closed;
        cell.run_until(20 * SECOND_NS, ended).unwrap_or_else(|_| panic!("{what}: goes on\n{}", cell.trace()));
        assert_eq!(cell.server().received().len(), got, "{what} reached the robot");
    }
}

#[test]
fn a_second_request_before_the_answer_is_reset() {
    let mut cell = before(GOOD, 1, load::server());
    let got = cell.server().received().len();
    cell.client_mut().send(&load::allowed(0));
    cell.client_mut().send(&load::allowed(1));
    assert_reset(&mut cell, "a second one");
    assert!(cell.server().received().len() <= got + load::allowed(0).len(), "the second one reached the robot");
}

/// A server that answers as ever until it is asked once more, and then otherwise.
fn odd_server(answered: usize, odd: fn(&[u8]) -> Vec<u8>) -> Service {
    let mut count = 0;
    Box::new(move |bytes, out| {
        let Some(len) = load::unit_len(bytes) else { return 0 };
        count += 1;
        let right = load::answer(&bytes[..len]);
        out.extend_from_slice(&if count <= answered { right } else { odd(&right) });
        len
    })
}

#[test]
fn an_answer_that_is_not_exactly_the_one_is_reset() {
    let odd: [(&str, fn(&[u8]) -> Vec<u8>); 5] = [
        ("another transaction", |right| [&[right[0] ^ 1], &right[1..]].concat()),
        ("another unit", |right| [&right[..6], &[right[6] ^ 1], &right[7..]].concat()),
        ("another function", |right| [&right[..7], &[4], &right[8..]].concat()),
        ("two more bytes", |right| {
            let mut longer = [right, &[0, 0]].concat();
            longer[5] += 2;
            longer[8] += 2;
            longer
        }),
        ("an exception", |right| [&right[..4], &[0, 3, right[6], 0x83, 2]].concat()),
    ];
    for (what, odd) in odd {
        let mut cell = before(GOOD, 1, odd_server(50, odd));
        cell.client_mut().send(&load::allowed(0));
        assert_reset(&mut cell, what);
    }
}

#[test]
fn later_than_five_seconds_it_is_reset() {
    let mut cell = before(GOOD, 1, load::server());
    cell.run_for(5 * SECOND_NS + 1_000_000);
    cell.client_mut().send(&load::allowed(0));
    assert_reset(&mut cell, "late");
    // The same, where a bare acknowledgement was seen in time.
    let mut cell = before(GOOD, 1, load::server());
    cell.server_mut().send(&[0, 1, 0, 0, 0, 3, 255, 0x83, 2]);
    cell.run_for(5 * SECOND_NS + 1_000_000);
    cell.client_mut().send(&load::allowed(0));
    assert_reset(&mut cell, "late, seen before");
}

/// The box is replaced while a request or its answer is under way: what is lost is repeated.
#[test]
fn a_request_under_way_does_not_keep_it_from_being_taken_up() {
    for steps in 1..12 {
        let mut cell = Cell::connected(adopting(), GOOD, 1, load::PORT, Some(load::server()));
        cell.keep_trace(24);
        load::run(&mut cell, ONE_BY_ONE).unwrap();
        let answered = cell.client().received().len() + load::answer(&load::allowed(0)).len();
        cell.client_mut().send(&load::allowed(0));
        for _ in 0..steps {
            cell.step();
        }
        cell.forget_all();
        cell.run_until(3 * SECOND_NS, |cell| cell.client().received().len() >= answered)
            .unwrap_or_else(|stalled| panic!("{steps} steps: {stalled:?}\n{}", cell.trace()));
        let ended = load::run(&mut cell, ONE_BY_ONE);
        ended.unwrap_or_else(|error| panic!("{steps} steps: {error}\n{}", cell.trace()));
    }
}

#[test]
fn a_command_that_is_refused_later_resets_it() {
    let mut cell = before(GOOD, 1, load::server());
    load::run(&mut cell, ONE_BY_ONE).unwrap();
    let got = cell.server().received().len();
    cell.client_mut().send(&load::forbidden(1).0);
    cell.run_until(20 * SECOND_NS, |cell| cell.client().state() == State::Closed).unwrap();
    assert_eq!(cell.server().received().len(), got, "a refused command reached the robot");
}

#[test]
fn what_the_box_has_ended_stays_ended() {
    let mut cell = Cell::connected(adopting(), GOOD, 1, load::PORT, Some(load::server()));
    cell.keep_trace(24);
    cell.trip_at(1);
    cell.client_mut().send(&load::allowed(0));
    while cell.crashes().happened == 0 {
        // Neither end hears of it.
        cell.step();
        cell.set_rates(Rates { loss: Share::ALL, ..GOOD });
    }
    cell.run_for(3 * SECOND_NS / 2);
    assert!(cell.client().is_established() && cell.server().is_established());
    cell.restart();
    cell.set_rates(GOOD);
    cell.run_until(20 * SECOND_NS, |cell| cell.client().state() == State::Closed)
        .unwrap_or_else(|stalled| panic!("{stalled:?}\n{}", cell.trace()));
    assert_eq!(cell.server().received(), b"", "taken up after its end");
}

#[test]
fn other_services_are_never_taken_up() {
    for (port, sent) in [(29_999, &b"robotmode\n"[..]), (30_004, &[0, 5, b'V', 0, 2]), (30_001, b"textmsg(1)\n")] {
        let mut cell = Cell::connected(adopting(), GOOD, 1, port, None);
        cell.run_for(1_000_000);
        cell.forget_all();
        cell.client_mut().send(sent);
        let ended = |cell: &Cell| cell.client().state() == State::Closed;
        cell.run_until(20 * SECOND_NS, ended).unwrap_or_else(|stalled| panic!("{port}: {stalled:?}\n{}", cell.trace()));
        assert_eq!(cell.server().received(), b"", "{port}");
    }
}

fn ask(stream: &mut TcpStream, n: u32) -> std::io::Result<()> {
    let request = load::allowed(n);
    stream.write_all(&request)?;
    hear(stream, n)
}

fn hear(stream: &mut TcpStream, n: u32) -> std::io::Result<()> {
    let answer = load::answer(&load::allowed(n));
    let mut got = vec![0; answer.len()];
    stream.read_exact(&mut got)?;
    assert_eq!(got, answer);
    Ok(())
}

/// Two connections of a real Linux TCP over a start of the whole box: one that rests meanwhile, and one that has a request
/// under way. Both go on where it is asked for, and are reset where not.
#[test]
fn connections_of_real_tcp_outlive_a_start_of_the_whole_box() {
    if !can_make_namespaces("connections_of_real_tcp_outlive_a_start_of_the_whole_box") {
        return;
    }
    for (name, more, outlives) in [("adopt", "[midstream]\nmodbus = \"adopt\"", true), ("no-adopt", "", false)] {
        let line = Line::new("vbad");
        let mut vambrace = Restarted::start(&line.inside, name, talks::POLICY, more);
        let shared = Arc::new(Shared::default());
        talks::serve(&line.robot, &shared);
        let connect = || {
            let address = SocketAddr::from((ROBOT_ADDRESS, load::PORT));
            let stream = line.plant.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap());
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream
        };
        let (mut resting, mut asking) = (connect(), connect());
        for n in 0..20 {
            ask(&mut resting, n).unwrap();
            ask(&mut asking, n).unwrap();
        }
        vambrace.start_anew(&line.inside, || asking.write_all(&load::allowed(0)).unwrap());
        let mut go_on = || -> std::io::Result<()> {
            ask(&mut resting, 0)?;
            hear(&mut asking, 0)?;
            for n in 1..40 {
                ask(&mut resting, n)?;
                ask(&mut asking, n)?;
            }
            Ok(())
        };
        let went_on = go_on();
        assert_eq!(went_on.is_ok(), outlives, "{name}: {went_on:?}\n{}\n{}", vambrace.log(), vambrace.records());
        drop((resting, asking));
        shared.end();
        assert!(shared.faults().is_empty(), "{:?}", shared.faults());
    }
}

//! External control through the packet path: the robot opens the connections, the computer commands. Two TCP stacks in
//! virtual time, over good and bad cables.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use dissect::{Step, Toward};
use external_control::{Action, Freedrive, Motion, Move, Order, Point, Record, Trajectory};
use sha2::{Digest, Sha256};
use support::virtual_net::{CUTTING, Cell, GOOD, PLANT, ROBOT, ROUGH, SECOND_NS, WILD, rules};
use vambrace::command::{Command, External, Service};
use vambrace::engine::{Mode, Rules};
use vambrace::event::Reason;
use vambrace::learn::{Observations, ProposalOptions, Seen};
use vambrace::nic::impairment::Rates as Cable;
use vambrace::policy::{Ask, Asset, Moment, Policy};
use vambrace::robot::{Rates, State};

const REVERSE: u16 = 50_001;
const SCRIPT: u16 = 50_002;
const TRAJECTORY: u16 = 50_003;
const COMMAND: u16 = 50_004;

/// The computer may move joints between -2 and 2 rad.
fn policy(more: &str) -> String {
    format!(
        "version = 1\nrobot = \"robot\"\n[[allow]]\nid = \"ext\"\nfrom = \"plc\"\nservice = \"external_control\"\n\
         mode = [\"idle\", \"servoj\", \"forward\"]\ntimeout_ms = \"10..=200\"\nfunction = [\"zero_ft_sensor\"]\n\
         {more}\n[allow.envelope]\nposition_rad = [\"-2..=2\", \"-2..=2\", \"-2..=2\", \"-2..=2\", \"-2..=2\", \"-2..=2\"]\n"
    )
}

/// A cell in which the robot has connected to `port` of the computer.
fn connected(policy: &str, port: u16, rates: Cable, seed: u64) -> Cell {
    let mut cell = Cell::new(rules(Mode::Enforce, policy), GOOD, seed);
    cell.keep_trace(30);
    cell.plant.listen(port, None);
    cell.robot.connect(PLANT, port);
    cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established())
        .unwrap_or_else(|stalled| panic!("no connection: {stalled:?}\n{}", cell.trace()));
    cell.set_rates(rates);
    cell
}

fn servoj(joints: [i32; 6]) -> Motion {
    Motion { timeout_ms: 20, action: Action::Move(Move::Servoj, joints) }
}

/// A stream in which the arm swings, and asks for too much at its ends.
fn swing(count: usize) -> Vec<Motion> {
    (0..count)
        .map(|n| {
            let at = i32::try_from(n).unwrap();
            servoj([0, 1, 2, 3, 4, 5].map(|joint| (at * 1000 + joint * 700_000) % 4_400_000 - 2_200_000))
        })
        .collect()
}

fn bytes(motions: &[Motion]) -> Vec<u8> {
    motions.iter().flat_map(Motion::emit).collect()
}

/// What of a stream reaches the robot under a rule that bounds positions alone.
fn expected(beyond: &str, motions: &[Motion]) -> Vec<Motion> {
    let mut last = None;
    let mut out = Vec::new();
    for motion in motions {
        let Action::Move(Move::Servoj, asked) = motion.action else { panic!("a set-point") };
        let inside = asked.map(|joint| joint.clamp(-2_000_000, 2_000_000));
        let went = match beyond {
            _ if inside == asked => Some(*motion),
            "clamp" => Some(servoj(inside)),
            "hold" => Some(last.unwrap_or(Motion { action: Action::Idle, ..*motion })),
            _ => None,
        };
        last = went.filter(|motion| motion.action != Action::Idle).or(last);
        out.extend(went);
    }
    out
}

#[test]
fn what_is_inside_the_envelope_passes_as_it_is() {
    let mut cell = connected(&policy(""), REVERSE, GOOD, 1);
    let of_the_handshake = cell.crafted();
    let motions: Vec<_> = (0..500).map(|n| servoj([n * 1000, -n * 1000, 0, 0, 0, 1])).collect();
    for motion in &motions {
        cell.client_mut().send(&motion.emit());
        cell.run_for(2_000_000);
    }
    cell.run_until(SECOND_NS, |cell| cell.server().received().len() == 500 * 32).unwrap();
    assert_eq!(cell.server().received(), bytes(&motions));
    assert!(cell.refusals().is_empty(), "{:?}", cell.refusals());
    assert_eq!(cell.crafted(), of_the_handshake, "frames pass as they are");
    cell.assert_balanced();
}

#[test]
fn what_lies_beyond_is_clamped_held_or_cut_out_over_any_cable() {
    let motions = swing(600);
    for beyond in ["clamp", "hold", "refuse"] {
        let wanted = bytes(&expected(beyond, &motions));
        for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3), (WILD, 4)] {
            let mut cell = connected(&policy(&format!("beyond = \"{beyond}\"")), REVERSE, rates, seed);
            for motion in &motions {
                cell.client_mut().send(&motion.emit());
            }
            cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= wanted.len())
                .unwrap_or_else(|stalled| panic!("{beyond}, seed {seed}: {stalled:?}\n{}", cell.trace()));
            cell.run_for(SECOND_NS);
            assert!(cell.server().received() == wanted, "{beyond}, seed {seed}: other set-points than expected");
            assert!(cell.server().is_established() && cell.client().is_established(), "{beyond}: the session stays");
            cell.assert_balanced();
        }
    }
}

#[test]
fn modes_and_time_outs_that_the_rule_does_not_name_never_arrive() {
    let mut cell = connected(&policy(""), REVERSE, GOOD, 1);
    let good = servoj([1000; 6]);
    let bad = [
        Motion { action: Action::Freedrive(Freedrive::Start), ..good },
        Motion { action: Action::Move(Move::Speedj, [0; 6]), ..good },
        Motion { action: Action::Move(Move::Torque, [0; 6]), ..good },
        Motion { action: Action::Move(Move::Pose, [0; 6]), ..good },
        Motion { action: Action::Unknown(7), ..good },
        Motion { action: Action::Forward(Trajectory::Unknown(9)), ..good },
        // The robot would wait without end: what a silent computer causes is switched off.
        Motion { timeout_ms: 0, ..good },
        Motion { timeout_ms: -1, ..good },
        Motion { timeout_ms: 100_000, ..good },
    ];
    cell.client_mut().send(&good.emit());
    for motion in bad {
        cell.client_mut().send(&motion.emit());
    }
    let stop = Motion { timeout_ms: 0, action: Action::Stop };
    let cancel = Motion { timeout_ms: 0, action: Action::Forward(Trajectory::Cancel) };
    cell.client_mut().send(&cancel.emit());
    cell.client_mut().send(&stop.emit());
    cell.run_until(10 * SECOND_NS, |cell| cell.server().received().len() >= 12 * 32).unwrap();
    // Whatever is refused, the arm stays where it was sent last, and the robot goes on waiting for a short while only.
    let held = Motion { timeout_ms: 10, ..good };
    let late = Motion { timeout_ms: 200, ..good };
    let mut wanted = vec![good; 7];
    wanted.extend([held, held, late, cancel, stop]);
    assert_eq!(cell.server().received(), bytes(&wanted));
    assert_eq!(cell.refusals().values().sum::<u64>(), 9);
}

/// A text like the one that the library hands over: comments, top-level statements, functions, threads.
fn text(len: usize) -> Vec<u8> {
    let mut text = b"# HEADER_BEGIN\nsteptime = get_steptime()\n".to_vec();
    let mut at = 0;
    while text.len() < len {
        text.extend_from_slice(format!("def set_{at}(q):\n  servoj(q, t=steptime,\n    gain={at})\nend\n").as_bytes());
        at += 1;
    }
    text
}

fn hash(text: &[u8]) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn handing(known: &[u8], sent: &[u8], rates: Cable, seed: u64) -> Cell {
    let program = format!("program = [\"sha256:{}\"]", hash(known));
    let mut cell = Cell::new(rules(Mode::Enforce, &policy(&program)), GOOD, seed);
    // A kernel begins with 10 segments and sends no more until one is acknowledged.
    cell.plant.set_in_flight(14_480);
    cell.plant.listen(SCRIPT, None);
    cell.robot.connect(PLANT, SCRIPT);
    cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established()).unwrap();
    cell.set_rates(rates);
    cell.keep_trace(30);
    cell.server_mut().send(b"request_program\n");
    cell.run_until(60 * SECOND_NS, |cell| cell.client().received() == b"request_program\n").unwrap();
    cell.client_mut().send(sent);
    cell
}

#[test]
fn a_known_text_is_handed_over_whole_whatever_its_size() {
    for len in [60, 4 << 10, 48 << 10, 900 << 10] {
        for (rates, seed) in [(GOOD, 1), (ROUGH, 2), (CUTTING, 3)] {
            let text = text(len);
            let mut cell = handing(&text, &text, rates, seed);
            cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= text.len())
                .unwrap_or_else(|stalled| panic!("{len} bytes, seed {seed}: {stalled:?}\n{}", cell.trace()));
            assert!(cell.server().received() == text);
            assert!(cell.refusals().is_empty(), "{:?}", cell.refusals());
            // Asked again, it is handed over again.
            cell.server_mut().send(b"request_program\n");
            cell.client_mut().send(&text);
            cell.run_until(600 * SECOND_NS, |cell| cell.server().received().len() >= 2 * text.len()).unwrap();
            assert!(cell.server().received() == [&text[..], &text[..]].concat());
        }
    }
}

#[test]
fn of_a_text_that_differs_in_one_byte_nothing_arrives() {
    let known = text(48 << 10);
    for at in [0, 1, 1000, known.len() - 2, known.len() - 1] {
        let mut sent = known.clone();
        sent[at] ^= 1;
        let mut cell = handing(&known, &sent, GOOD, 1);
        cell.run_until(600 * SECOND_NS, |cell| !cell.refusals().is_empty()).unwrap();
        cell.run_for(60 * SECOND_NS);
        assert_eq!(cell.server().received(), b"", "byte {at}");
        let reasons: Vec<_> = cell.refusals().keys().map(|reason| reason.name()).collect();
        assert!(reasons.contains(&"program_not_allowed"), "{reasons:?}");
        assert!(!cell.server().is_established() && !cell.client().is_established());
    }
}

#[test]
fn of_what_follows_a_known_text_nothing_arrives() {
    let known = text(4 << 10);
    let sent = [&known[..], b"movej([9,9,9,9,9,9])\n"].concat();
    let mut cell = handing(&known, &sent, CUTTING, 1);
    cell.run_until(600 * SECOND_NS, |cell| !cell.refusals().is_empty()).unwrap();
    cell.run_for(60 * SECOND_NS);
    assert!(cell.server().received() == known);
}

/// A record of the script command socket.
fn order(function: i32) -> Vec<u8> {
    (0..28).flat_map(|at| if at == 0 { function } else { 5_000_000 }.to_be_bytes()).collect()
}

#[test]
fn only_named_functions_are_called() {
    let mut cell = connected(&policy(""), COMMAND, CUTTING, 3);
    for function in [0, 1, 3, 0, 12, 13, -1, 8, 0] {
        cell.client_mut().send(&order(function));
    }
    cell.run_until(60 * SECOND_NS, |cell| cell.server().received().len() >= 3 * 112).unwrap();
    cell.run_for(SECOND_NS);
    assert_eq!(cell.server().received(), order(0).repeat(3));
    assert_eq!(cell.refusals().values().sum::<u64>(), 6, "{:?}", cell.refusals());
}

/// A call with its arguments as the record has them.
fn call(function: i32, arguments: &[i32]) -> Vec<u8> {
    let integers = std::iter::once(function).chain(arguments.iter().copied()).chain(std::iter::repeat(0));
    integers.take(28).flat_map(i32::to_be_bytes).collect()
}

/// What is carried changes how the arm moves: a function alone is not what a rule has to let go.
#[test]
fn arguments_of_functions_are_bounded() {
    let rule = "version = 1\nrobot = \"robot\"\n[[allow]]\nid = \"ext\"\nfrom = \"plc\"\nservice = \"external_control\"\n\
        function = [\"set_payload\", \"set_tool_voltage\", \"ft_rtde_input_enable\", \"zero_ft_sensor\"]\n[allow.bounds]\n\
        \"set_payload.mass\" = \"0.0..=2.5\"\n\"set_payload.cog\" = { list = [\"-0.1..=0.1\", \"-0.1..=0.1\", \"0.0..=0.3\"] }\n\
        \"set_tool_voltage.voltage\" = [0, 24]\n\"ft_rtde_input_enable.enabled\" = false\n";
    let mut cell = connected(rule, COMMAND, CUTTING, 4);
    let sent: [(Vec<u8>, bool); 14] = [
        (call(1, &[2_500_000, 0, 0, 300_000]), true),
        (call(1, &[2_500_001, 0, 0, 0]), false),
        (call(1, &[-1, 0, 0, 0]), false),
        (call(1, &[1_000_000, 0, -100_001, 0]), false),
        (call(1, &[1_000_000, 100_000, -100_000, -1]), false),
        (call(1, &[i32::MIN, 0, 0, 0]), false),
        (call(2, &[24_000_000]), true),
        (call(2, &[0]), true),
        (call(2, &[12_000_000]), false),
        // Whatever is not 0 switches it on.
        (call(8, &[-7]), false),
        (call(8, &[0, 9_000_000]), true),
        // What a function does not read is not judged.
        (call(0, &[5, 5, 5]), true),
        (call(9, &[0, 0, -9_810_000]), false),
        (call(13, &[0]), false),
    ];
    sent.iter().for_each(|(bytes, _)| cell.client_mut().send(bytes));
    let wanted: Vec<u8> = sent.iter().filter(|(_, goes)| *goes).flat_map(|(bytes, _)| bytes.clone()).collect();
    cell.run_until(60 * SECOND_NS, |cell| cell.server().received().len() >= wanted.len()).unwrap();
    cell.run_for(SECOND_NS);
    assert!(cell.server().received() == wanted, "{:?}", cell.refusals());

    // A deny rule speaks of what lies inside its bounds.
    let deny = "[[deny]]\nservice = \"external_control\"\n[deny.bounds]\n\"set_payload.mass\" = \"2.0..\"\n";
    let denied = rules(Mode::Enforce, &format!("{rule}{deny}"));
    let read = |function, arguments: &[i32]| {
        let bytes = call(function, arguments).leak();
        let Ok(Step::Whole { unit, .. }) = Record::step(bytes, 28) else { panic!("28 integers") };
        External::Order(Order::read(&unit).unwrap())
    };
    let units = [read(1, &[1_999_999]), read(1, &[2_000_000]), read(2, &[24_000_000])].map(|unit| (1, unit));
    assert_eq!(judged(&denied, units.into_iter()), [None, Some(Reason::DeniedByRule), None]);

    // What was called while learning is what is proposed.
    let seen =
        [read(1, &[500_000, 0, 0, 100_000]), read(1, &[1_200_000, 0, 0, 150_000]), read(8, &[1, 3]), read(0, &[])];
    let text = proposal(&seen);
    assert!(text.contains("\"set_payload.mass\" = \"0.5..=1.2\""), "{text}");
    let learned = rules(Mode::Enforce, &text);
    assert_eq!(refused(&learned, seen.into_iter()), 0, "{text}");
    let others = [read(1, &[1_200_001, 0, 0, 100_000]), read(1, &[500_000, 1, 0, 100_000]), read(8, &[0, 3])];
    assert_eq!(refused(&learned, others.into_iter()), 3, "{text}");
}

#[test]
fn mistakes_in_bounds_of_functions_are_told_with_their_mending() {
    let asset = |name: &str, address: std::net::Ipv4Addr, is_robot| Asset {
        name: name.into(),
        address: address.into(),
        is_robot,
    };
    let assets = [asset("robot", ROBOT, true), asset("plc", PLANT, false)];
    let problems = |lines: &str| {
        let text = format!(
            "version = 1\nrobot = \"robot\"\n[[allow]]\nfrom = \"plc\"\nservice = \"external_control\"\n\
             function = [\"set_payload\"]\n[allow.bounds]\n{lines}\n"
        );
        let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
        Policy::compile("policy.toml", &text, &assets, 1, moment).unwrap_err().to_string()
    };
    for (line, what) in [
        ("\"set_payload.mass\" = \"much\"", "no number and no range"),
        ("\"set_payload.mas\" = 1", "write \"set_payload.mass\""),
        ("\"set_paylod.mass\" = 1", "write \"set_payload.mass\""),
        ("set_payload = 1", "names no argument"),
        ("\"set_payload.cog\" = { list = [0, 0] }", "are not the ranges of 3 numbers"),
        ("\"set_gravity.gravity\" = { list = [0, 0, 9.8] }", "is not in `function`"),
        ("\"zero_ft_sensor.x\" = 1", "it takes none"),
    ] {
        let told = problems(line);
        assert!(told.contains(what), "{line}: {told}");
    }
}

/// A point of a trajectory, a motion of joints within two seconds.
fn point(joint: i32) -> Vec<u8> {
    let mut integers = [0_i32; 21];
    integers[..6].fill(joint);
    integers[18] = 2_000_000;
    integers.iter().flat_map(|integer| integer.to_be_bytes()).collect()
}

#[test]
fn points_of_a_trajectory_keep_to_the_envelope() {
    let mut cell = connected(&policy("beyond = \"clamp\""), TRAJECTORY, ROUGH, 3);
    for joint in [0, 1_000_000, 2_500_000, -2_000_000, -2_000_001] {
        cell.client_mut().send(&point(joint));
    }
    cell.run_until(60 * SECOND_NS, |cell| cell.server().received().len() >= 3 * 84).unwrap();
    cell.run_for(SECOND_NS);
    assert_eq!(cell.server().received(), [point(0), point(1_000_000), point(-2_000_000)].concat());
}

#[test]
fn nobody_else_is_connected_to_and_nothing_else_is_external_control() {
    for (policy, port) in [(policy(""), 50_005), (policy("").replace("\"plc\"", "\"10.20.0.99\""), REVERSE)] {
        let mut cell = Cell::new(rules(Mode::Enforce, &policy), GOOD, 1);
        cell.plant.listen(port, None);
        cell.robot.connect(PLANT, port);
        assert!(cell.run_until(5 * SECOND_NS, |cell| cell.client().is_established()).is_err());
        assert!(
            cell.refusals()
                .keys()
                .any(|reason| reason.name() == "egress_not_allowed" || reason.name() == "no_rule_for_client")
        );
    }
    // From the plant to that port of the robot: a service that no rule names.
    let mut cell = Cell::new(rules(Mode::Enforce, &policy("")), GOOD, 1);
    cell.robot.listen(REVERSE, None);
    cell.plant.connect(ROBOT, REVERSE);
    assert!(cell.run_until(5 * SECOND_NS, |cell| cell.server().is_established()).is_err());
}

#[test]
fn other_ports_and_record_lengths_are_the_rules_to_name() {
    let more = "ports = { reverse = 60001, command = 60004 }\nrecord = { reverse = 9 }";
    let mut cell = connected(&policy(more), 60_001, GOOD, 1);
    let long = |joint| [&servoj([joint; 6]).emit()[..], &[0, 0, 0, 7]].concat();
    for joint in [1, 3_000_000, 2] {
        cell.client_mut().send(&long(joint));
    }
    cell.run_until(SECOND_NS, |cell| cell.server().received().len() >= 3 * 36).unwrap();
    // Held: what the rule does not read stays what it was.
    assert_eq!(cell.server().received(), [long(1), long(1), long(2)].concat());
}

#[test]
fn a_robot_that_resets_or_is_reset_reconnects() {
    let policy = policy("");
    let mut cell = connected(&policy, REVERSE, GOOD, 1);
    cell.client_mut().send(&servoj([5; 6]).emit());
    cell.run_for(SECOND_NS / 10);
    cell.server_mut().close();
    cell.client_mut().close();
    cell.run_for(SECOND_NS);
    let listening = cell.plant.listen(REVERSE, None);
    let again = cell.robot.connect(PLANT, REVERSE);
    cell.run_until(5 * SECOND_NS, |cell| cell.robot.line(again).is_established()).unwrap();
    cell.plant.line_mut(listening).send(&servoj([6; 6]).emit());
    cell.run_until(SECOND_NS, |cell| cell.robot.line(again).received() == servoj([6; 6]).emit()).unwrap();
}

/// Set-points of one swing that begins where the joints are.
fn taught() -> Vec<Motion> {
    (0..400).map(|n: i32| servoj([0, 1, 2, 3, 4, 5].map(|joint| (n - 200).abs() * (joint + 1) * 100))).collect()
}

/// What is said of `units`, each after a wait in milliseconds, where the arm is near its middle.
fn judged(rules: &Rules, units: impl Iterator<Item = (u64, External<'static>)>) -> Vec<Option<Reason>> {
    let mut state = State::default();
    let mut rates = Rates::new();
    let policy = &rules.policy;
    let mut now_ns = SECOND_NS;
    let mut judged = Vec::new();
    for (wait_ms, unit) in units {
        now_ns += wait_ms * 1_000_000;
        state.see_joints([0.02, 0.04, 0.06, 0.08, 0.1, 0.12], now_ns);
        let command = Command::External(unit);
        let client = policy.client(PLANT.into());
        let ask = Ask {
            client,
            opened: Toward::Plant,
            command: &command,
            state: &state,
            inputs: &vambrace::robot::Inputs::new(),
            connection: 1,
            now_ns,
        };
        let verdict = policy.decide(&ask, &mut rates);
        if verdict.is_allowed() {
            state.track = policy.track(&verdict, &unit, &state, now_ns);
        }
        judged.push((!verdict.is_allowed()).then_some(verdict.reason));
    }
    judged
}

/// How many of `units` are refused, one every 2 ms.
fn refused(rules: &Rules, units: impl Iterator<Item = External<'static>>) -> usize {
    judged(rules, units.map(|unit| (2, unit))).into_iter().flatten().count()
}

/// What is proposed once the computer at the plant's address sent `units`.
fn proposal(units: &[External<'_>]) -> String {
    let seen = Seen { peer: PLANT.into(), opened: Toward::Plant, service: Service::ExternalControl, wall_ns: 1 };
    let mut observations = Observations::default();
    units.iter().for_each(|unit| observations.command(&seen, &Command::External(*unit)));
    observations.propose(&ProposalOptions {
        robot: "robot".into(),
        assets: vec![("robot".into(), ROBOT.into()), ("plc".into(), PLANT.into())],
        ..ProposalOptions::default()
    })
}

fn forward(forward: Trajectory) -> External<'static> {
    External::Motion(Motion { timeout_ms: 20, action: Action::Forward(forward) })
}

/// A point of this kind that all joints are to reach within milliseconds, as newer programs read it.
fn to(kind: i32, joint: i32, duration_ms: i32) -> External<'static> {
    let mut bytes = point(joint);
    bytes[72..76].copy_from_slice(&(duration_ms * 1000).to_be_bytes());
    bytes[80..].copy_from_slice(&kind.to_be_bytes());
    let bytes = bytes.leak();
    let Ok(Step::Whole { unit, .. }) = Record::step(bytes, 21) else { panic!("21 integers") };
    External::Point(Point::read(&unit).unwrap())
}

/// A computer that sends trajectories alone, as planners do, leaves no set-points to learn from.
#[test]
fn learned_points_are_bounded_by_where_they_led_and_how_fast() {
    let start = forward(Trajectory::Start { points: 3 });
    let joints = [start, to(0, -100_000, 2000), to(0, 300_000, 2000), to(0, 0, 1000)];
    let text = proposal(&joints);
    let compiled = rules(Mode::Enforce, &text);
    assert_eq!(refused(&compiled, joints.into_iter()), 0, "{text}");
    assert_eq!(refused(&compiled, [start, to(0, 200_000, 2000)].into_iter()), 0, "between the ends: {text}");
    let beyond = [start, to(0, 310_000, 2000), to(0, -2_000_000, 2000)];
    assert_eq!(refused(&compiled, beyond.into_iter()), 2, "{text}");
    let hasty = [start, to(0, -100_000, 2000), to(0, 300_000, 1000)];
    assert_eq!(refused(&compiled, hasty.into_iter()), 1, "0.3 rad/s were seen: {text}");
    assert!(text.contains("speed_rad_s = [0.300001, "), "{text}");
    // Where poses were seen too, how fast joints turn can't be told; both are bounded by where they led.
    let mixed = [start, to(0, 100_000, 2000), to(1, 300_000, 2000)];
    let text = proposal(&mixed);
    let compiled = rules(Mode::Enforce, &text);
    assert_eq!(refused(&compiled, mixed.into_iter()), 0, "{text}");
    assert_eq!(refused(&compiled, [start, to(0, 110_000, 2000), to(1, 310_000, 2000)].into_iter()), 2, "{text}");
    assert!(!text.contains("speed_rad_s = ") && text.contains("not bounded"), "{text}");
    // A point that is a pose to one program and joints to another is bounded as neither.
    let either = [start, to(2, 100_000, 2000)];
    let text = proposal(&either);
    assert_eq!(refused(&rules(Mode::Enforce, &text), either.into_iter()), 0, "{text}");
    assert!(!text.contains("envelope = ") && text.contains("not bounded"), "{text}");
}

#[test]
fn learned_poses_are_bounded_by_where_they_led_and_by_their_steps() {
    let pose = |x: i32, turn: i32| {
        let target = [x, 200_000, 300_000, turn, 0, 0];
        External::Motion(Motion { timeout_ms: 20, action: Action::Move(Move::Pose, target) })
    };
    let seen: Vec<_> = (0..50).map(|n| pose(n * 1000, n * 2000)).collect();
    let text = proposal(&seen);
    for key in ["x = \"-1e-6..=0.049001\"", "pose_step_m = 0.001001", "pose_turn_rad = 0.00200"] {
        assert!(text.contains(key), "{key}: {text}");
    }
    let compiled = rules(Mode::Enforce, &text);
    let judged = |poses: &[External<'static>]| {
        let mut units = vec![pose(0, 0)];
        units.extend_from_slice(poses);
        // The first is measured from where the tool is, which nobody told.
        judged_from_pose(&compiled, &units)
    };
    assert_eq!(judged(&seen[1..]), 0, "{text}");
    assert_eq!(judged(&[pose(1100, 0)]), 1);
    assert_eq!(judged(&[pose(1000, 2100)]), 1);
    assert_eq!(judged(&[pose(-100, 0)]), 1);
}

/// How many of `units` are refused after the first, which stands where the tool is.
fn judged_from_pose(rules: &Rules, units: &[External<'static>]) -> usize {
    let mut state = State::default();
    let External::Motion(Motion { action: Action::Move(Move::Pose, at), .. }) = units[0] else { panic!("a pose") };
    state.see_pose(at.map(|value| f64::from(value) / 1e6), SECOND_NS);
    let mut refused = 0;
    for (now_ns, unit) in (SECOND_NS..).step_by(2_000_000).zip(units) {
        let command = Command::External(*unit);
        let ask = Ask {
            client: rules.policy.client(PLANT.into()),
            opened: Toward::Plant,
            command: &command,
            state: &state,
            inputs: &vambrace::robot::Inputs::new(),
            connection: 1,
            now_ns,
        };
        let verdict = rules.policy.decide(&ask, &mut Rates::new());
        if verdict.is_allowed() {
            state.track = rules.policy.track(&verdict, unit, &state, now_ns);
        } else {
            refused += 1;
        }
    }
    refused
}

/// A point is judged by the way from the one before it. Whatever makes the robot begin elsewhere, or throw points away,
/// would make a slow one fast.
#[test]
fn no_trick_with_trajectories_makes_a_point_faster_than_it_was_judged() {
    let speed = "speed_rad_s = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]\n";
    let compiled = rules(Mode::Enforce, &format!("{}{speed}", policy("")));
    let (no, yes) = (Some(Reason::Unproven), None);
    let fast = Some(Reason::ValueNotAllowed);
    let judge = |units: &[(u64, External<'static>)]| judged(&compiled, units.iter().copied());
    let start = |points| forward(Trajectory::Start { points });
    let idle = External::Motion(Motion { timeout_ms: 20, action: Action::Idle });
    let cancel = forward(Trajectory::Cancel);
    // As honest clients do, over and over; the second trajectory is measured from where RTDE says that the arm is.
    let honest =
        [(2, start(2)), (2, to(0, 1_000_000, 2000)), (2, to(0, 1_100_000, 200)), (2, forward(Trajectory::Keep))];
    assert_eq!(judge(&[honest, honest].concat()), [yes; 8]);
    assert_eq!(judge(&[(2, start(2)), (2, to(0, 1_000_000, 2000)), (2, to(0, 1_100_000, 50))]), [yes, yes, fast]);
    // Points that wait for a trajectory to come.
    assert_eq!(judge(&[(2, to(0, 1_000_000, 2000)), (2, start(1))]), [no, yes]);
    // More points than were told: the rest would wait for the next trajectory, wherever that begins.
    let far = [(2, start(1)), (2, to(0, 1_000_000, 2000)), (2, to(0, 1_100_000, 200))];
    assert_eq!(judge(&far), [yes, yes, no]);
    // A trajectory that was left: the next point is not reached from its last one.
    let left = [(2, start(9)), (2, to(0, 1_900_000, 4000)), (2, idle), (2, to(0, 1_900_000, 100))];
    assert_eq!(judge(&left), [yes, yes, yes, no]);
    let moved = [(2, start(1)), (2, to(0, 1_900_000, 4000)), (500, idle), (2, start(1)), (2, to(0, 1_900_000, 100))];
    assert_eq!(judge(&moved), [yes, yes, yes, yes, fast]);
    // One that lacks points, by its end or by the next one: the robot would throw the first points of that away.
    for end in [cancel, idle, External::Motion(Motion { timeout_ms: 20, action: Action::Stop })] {
        let lacking = [(2, start(2)), (2, to(0, 100_000, 2000)), (2, end), (2, start(2)), (1100, start(2))];
        assert_eq!(judge(&lacking), [yes, yes, yes, no, yes]);
    }
    assert_eq!(judge(&[(2, start(5)), (2, start(2)), (900, start(2)), (200, start(2))]), [yes, no, no, yes]);
    // As long as it goes on it lacks them.
    let kept: Vec<_> =
        std::iter::once((2, start(5))).chain((0..30).map(|_| (100, forward(Trajectory::Keep)))).collect();
    assert_eq!(judge(&[&kept[..], &[(100, start(1))]].concat()).last(), Some(&no));
    // A stream says at its end how many there were.
    let stream = |told| {
        let end = forward(Trajectory::StreamEnd { points: told });
        [
            (2, forward(Trajectory::StreamStart)),
            (2, to(0, 100_000, 2000)),
            (2, to(0, 200_000, 2000)),
            (2, end),
            (2, start(1)),
        ]
    };
    assert_eq!(judge(&stream(2)), [yes; 5]);
    assert_eq!(judge(&stream(3)), [yes, yes, yes, yes, no]);
    assert_eq!(
        judge(&[(2, start(5)), (2, forward(Trajectory::StreamEnd { points: 0 })), (2, start(1))]),
        [yes, yes, no]
    );
    // Numbers at the ends of what can be sent.
    assert_eq!(
        judge(&[(2, start(-1)), (2, to(0, 100_000, 2000)), (2, start(i32::MAX)), (2, to(0, 100_000, 2000))]),
        [yes, no, yes, yes]
    );
    // Where no speed is bounded, none of it matters.
    let unbounded = rules(Mode::Enforce, &policy(""));
    assert_eq!(judged(&unbounded, far.into_iter()), [yes; 3]);
}

#[test]
fn a_learned_rule_allows_what_was_seen_and_refuses_what_was_not() {
    let known = text(4 << 10);
    let handed = External::Text { digest: Sha256::digest(&known).into(), len: 4096 };
    let units: Vec<_> = std::iter::once(handed).chain(taught().into_iter().map(External::Motion)).collect();
    let proposal = proposal(&units);
    // The wire counts in millionths: more decimals than six are no one's to review.
    let decimals = |word: &str| word.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let envelope = proposal.lines().find(|line| line.starts_with("envelope")).unwrap();
    let words = envelope.replace("..=", " ").replace(['"', ',', '[', ']'], " ");
    assert!(words.split_whitespace().all(|word| decimals(word) <= 6), "{envelope}");
    let compiled = rules(Mode::Enforce, &proposal);
    let decide = |motions: &[Motion]| refused(&compiled, motions.iter().map(|motion| External::Motion(*motion)));
    assert_eq!(decide(&taught()), 0, "{proposal}");
    // A set-point beyond where the arm was, a step that was never seen, a mode and a time-out that were never seen.
    let beyond = servoj([25_000, 50_000, 75_000, 100_000, 125_000, 150_000]);
    assert_eq!(decide(&[taught()[0], beyond]), 1);
    assert_eq!(decide(&[taught()[0], taught()[190]]), 1);
    assert_eq!(decide(&[Motion { timeout_ms: 21, ..taught()[0] }]), 1);
    assert_eq!(decide(&[Motion { action: Action::Move(Move::Speedj, [0; 6]), timeout_ms: 20 }]), 1);
    let mut cell = handing(&known, &known, GOOD, 1);
    cell.set_rules(compiled);
    cell.run_until(SECOND_NS, |cell| cell.server().received() == known).unwrap();
}

/// The robot's side of RTDE, as far as the plant's client here needs it.
#[test]
fn ports_and_record_lengths_are_learned_from_the_program() {
    let program = b"def work():\n  LENGTH = 8 + 1\n  socket_open(\"10.20.0.21\", 60001, \"reverse_socket\")\n  \
        r = socket_read_binary_integer(LENGTH, \"reverse_socket\", 0.02)\nend\n";
    let long = |joint| [&servoj([joint; 6]).emit()[..], &[0, 0, 0, 7]].concat();
    for (number, cable) in [GOOD, CUTTING].into_iter().enumerate() {
        let mut cell = Cell::new(rules(Mode::Learn, "version = 1\nrobot = \"robot\"\n"), GOOD, number as u64);
        cell.learn();
        cell.plant.listen(SCRIPT, None);
        let reverse = cell.plant.listen(60_001, None);
        cell.robot.connect(PLANT, SCRIPT);
        cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established()).unwrap();
        cell.set_rates(cable);
        cell.client_mut().send(program);
        cell.run_until(60 * SECOND_NS, |cell| cell.server().received() == program).unwrap();
        // While the connection with the program is still open.
        let robot = cell.robot.connect(PLANT, 60_001);
        cell.run_until(60 * SECOND_NS, |cell| cell.robot.line(robot).is_established()).unwrap();
        for joint in 0..40 {
            cell.plant.line_mut(reverse).send(&long(joint * 100));
        }
        cell.run_until(60 * SECOND_NS, |cell| cell.robot.line(robot).received().len() == 40 * 36).unwrap();
        let proposal = cell.proposal();
        for line in ["ports = { reverse = 60001 }", "record = { reverse = 9 }", "mode = [\"servoj\"]"] {
            assert!(proposal.contains(line), "{line}: {proposal}");
        }

        let mut cell = connected(&proposal, 60_001, GOOD, 1);
        [100, 5_000, 200].into_iter().for_each(|joint| cell.client_mut().send(&long(joint)));
        cell.run_until(SECOND_NS, |cell| cell.server().received().len() >= 36).unwrap();
        cell.run_for(SECOND_NS);
        assert!(!cell.server().received().chunks(36).any(|unit| unit == long(5_000)), "{proposal}");
    }
}

fn rtde_server() -> support::virtual_net::Service {
    Box::new(|bytes, out| {
        let Ok(Step::Whole { unit, len }) = rtde::Package::step(bytes, Toward::Robot) else { return 0 };
        let mut buffer = [0; 256];
        let mut add = |len: Option<usize>, buffer: &[u8]| out.extend_from_slice(&buffer[..len.unwrap()]);
        match rtde::Request::read(&unit, &rtde::Session::new()) {
            Ok(rtde::Request::ProtocolVersion(_)) => {
                let reply = rtde::Reply::ProtocolVersion { accepted: true };
                add(reply.emit(rtde::Version::V1, &mut buffer), &buffer);
            }
            Ok(rtde::Request::Start) => {
                let reply = rtde::Reply::Start { accepted: true };
                add(reply.emit(rtde::Version::V2, &mut buffer), &buffer);
                let joints = [rtde::Value::Vector6d([1.0; 6])];
                add(rtde::emit::data(Some(1), joints, &mut buffer), &buffer);
            }
            _ => {
                let types = [rtde::ReplyType::Data(rtde::DataType::Vector6d)];
                add(rtde::emit::outputs_reply(Some(1), types, &mut buffer), &buffer);
            }
        }
        len
    })
}

#[test]
fn the_first_step_is_measured_from_where_rtde_says_that_the_joints_are() {
    let steps = "step_rad = [0.01, 0.01, 0.01, 0.01, 0.01, 0.01]\n";
    let read = "[[allow]]\nid = \"rtde\"\nfrom = \"plc\"\nservice = \"rtde\"\noutputs = [\"actual_q\"]\n";
    let policy = format!("{}{steps}{read}", policy("beyond = \"hold\""));
    for known in [false, true] {
        let mut cell = connected(&policy, REVERSE, GOOD, 1);
        if known {
            let mut buffer = [0; 256];
            let send = |cell: &mut Cell, line, len: Option<usize>, buffer: &[u8]| {
                cell.plant.line_mut(line).send(&buffer[..len.unwrap()]);
                cell.run_for(SECOND_NS / 50);
            };
            cell.robot.listen(30_004, Some(rtde_server()));
            let line = cell.plant.connect(ROBOT, 30_004);
            cell.run_until(SECOND_NS, |cell| cell.plant.line(line).is_established()).unwrap();
            let version = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer);
            send(&mut cell, line, version, &buffer);
            let outputs = rtde::emit::setup_outputs(Some(125.0), [&b"actual_q"[..]], &mut buffer);
            send(&mut cell, line, outputs, &buffer);
            let start = rtde::Request::Start.emit(rtde::Version::V2, &mut buffer);
            send(&mut cell, line, start, &buffer);
        }
        let near = [servoj([1_005_000; 6]), servoj([1_010_000; 6])];
        let far = servoj([1_500_000; 6]);
        cell.client_mut().send(&bytes(&[near[0], near[1], far]));
        cell.run_until(SECOND_NS, |cell| cell.server().received().len() >= 3 * 32).unwrap();
        let idle = Motion { timeout_ms: 20, action: Action::Idle };
        // Held where it was sent last; the arm rests where nobody knows where it is.
        let wanted = if known { [near[0], near[1], near[1]] } else { [idle; 3] };
        assert_eq!(cell.server().received(), bytes(&wanted), "{known}: {:?}", cell.refusals());
    }
}

/// Outside enforcement the beginning of a known text passes. What was hashed of it must not stand for other bytes that come
/// once enforcement has begun.
#[test]
fn a_text_that_began_before_enforcement_lends_its_beginning_to_no_other() {
    let known = text(4 << 10);
    let program = policy(&format!("program = [\"sha256:{}\"]", hash(&known)));
    let began = 1000;
    for before in [Mode::Observe, Mode::Shadow] {
        let mut cell = Cell::new(rules(before, &program), GOOD, 1);
        cell.plant.listen(SCRIPT, None);
        cell.robot.connect(PLANT, SCRIPT);
        cell.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established()).unwrap();
        cell.client_mut().send(&known[..began]);
        cell.run_until(SECOND_NS, |cell| cell.server().received().len() == began).unwrap();
        cell.set_rules(rules(Mode::Enforce, &program));
        let forged = [&vec![b'x'; began][..], &known[began..]].concat();
        cell.client_mut().send(&forged);
        cell.run_for(60 * SECOND_NS);
        assert_eq!(cell.server().received().len(), began, "{before}: bytes of no known text arrived");
        assert!(!cell.refusals().is_empty());
    }
}

#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::net::{IpAddr, Ipv4Addr};

use dissect::{Step, Toward};
use proptest::prelude::*;

use super::*;
use crate::command::{Command, Service};
use crate::policy::{Ask, Asset, Moment, Policy};
use crate::robot;

const PLC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 21));
const ROBOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 40));

fn seen(service: Service) -> Seen {
    Seen { peer: PLC, opened: Toward::Robot, service, wall_ns: 1_700_000_000_000_000_000 }
}

fn options(trust: bool) -> ProposalOptions {
    ProposalOptions {
        robot: "robot".into(),
        assets: vec![("plc".into(), PLC)],
        trust,
        lost_frames: 0,
        denials: Vec::new(),
        made: "a test\nwith two lines".into(),
    }
}

fn compile(text: &str) -> Policy {
    let asset = |name: &str, address, is_robot| Asset { name: name.into(), address, is_robot };
    let assets = [asset("robot", ROBOT, true), asset("plc", PLC, false)];
    Policy::compile("proposal", text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 })
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn allows(policy: &Policy, command: &Command<'_>) -> bool {
    let mut rates = robot::Rates::new();
    let (state, inputs) = (robot::State::default(), robot::Inputs::new());
    let ask = Ask {
        client: policy.client(PLC),
        opened: Toward::Robot,
        command,
        state: &state,
        inputs: &inputs,
        connection: 1,
        now_ns: 1,
    };
    policy.decide(&ask, &mut rates).is_allowed()
}

fn with_modbus<T>(bytes: &[u8], then: impl FnOnce(&Command<'_>) -> T) -> Option<T> {
    let Ok(Step::Whole { unit, .. }) = modbus::Adu::step(bytes) else { return None };
    modbus::Request::read(&unit).ok().map(|request| then(&Command::Modbus(request)))
}

fn adu_to(unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut adu = vec![0, 1, 0, 0, 0, pdu.len() as u8 + 1, unit];
    adu.extend_from_slice(pdu);
    adu
}

fn adu(pdu: &[u8]) -> Vec<u8> {
    adu_to(255, pdu)
}

fn write_register(address: u16, value: u16) -> Vec<u8> {
    adu(&[vec![6], address.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat())
}

/// Rules of the text that are not commented out, each from its `[[allow]]` to the next.
fn blocks(text: &str) -> Vec<&str> {
    text.split("\n[[allow]]\n").skip(1).collect()
}

fn modbus_pdu() -> impl Strategy<Value = Vec<u8>> {
    let address = 0_u16..300;
    prop_oneof![
        (1_u8..=4, address.clone(), 1_u16..20).prop_map(|(function, at, n)| {
            [vec![function], at.to_be_bytes().to_vec(), n.to_be_bytes().to_vec()].concat()
        }),
        (address.clone(), any::<u16>())
            .prop_map(|(at, value)| { [vec![6], at.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()].concat() }),
        (address.clone(), prop::collection::vec(0_u16..200, 1..5)).prop_map(|(at, values)| {
            let data: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            let n = values.len() as u16;
            [vec![16], at.to_be_bytes().to_vec(), n.to_be_bytes().to_vec(), vec![data.len() as u8], data].concat()
        }),
        (address, any::<u16>(), any::<u16>()).prop_map(|(at, and, or)| {
            [vec![22], at.to_be_bytes().to_vec(), and.to_be_bytes().to_vec(), or.to_be_bytes().to_vec()].concat()
        }),
        (0_u16..300, any::<bool>())
            .prop_map(|(at, on)| { [vec![5], at.to_be_bytes().to_vec(), vec![if on { 0xff } else { 0 }, 0]].concat() }),
        (0_u16..300, any::<u8>())
            .prop_map(|(at, bits)| { [vec![15], at.to_be_bytes().to_vec(), vec![0, 8, 1, bits]].concat() }),
        (0_u16..300, 1_u8..9, 0_u16..300, any::<u16>()).prop_map(|(read, n, write, value)| {
            let (read, write, value) = (read.to_be_bytes(), write.to_be_bytes(), value.to_be_bytes());
            [&[23][..], &read, &[0, n], &write, &[0, 1, 2], &value].concat()
        }),
        (0_u16..300).prop_map(|at| [vec![24], at.to_be_bytes().to_vec()].concat()),
        Just(vec![20, 7, 6, 0, 4, 0, 1, 0, 2]),
        Just(vec![0x5a, 0, 0x41]),
        Just(vec![0x5a]),
        Just(vec![8, 0, 99, 1, 2]),
        Just(vec![100, 1, 2, 3]),
        Just(vec![8, 0, 4, 0, 0]),
        Just(vec![8, 0, 0, 1, 2]),
        Just(vec![0x2b, 0x0e, 1, 0]),
        Just(vec![0x11]),
    ]
}

/// One of each kind, among them what no function list can say.
const SCRIPTS: [&str; 14] = [
    "def a():\n  movej([0,0,0,0,0,0])\nend\n",
    "def b():\n  unheard_of(1)\n  powerdown()\nend\n",
    "sec c():\n  set_digital_out(1, True)\nend\n",
    "set_digital_out(2, True)\n",
    "popup(\"hello\")\n",
    "movej([0,0,0,0,0,0], a=1.4)\n",
    "powerdown()\n",
    "unheard_of(1)\n",
    "socket_open(\"10.20.0.9\", 5000)\n",
    "socket_open(somewhere, 5000)\n",
    "x = 1\n",
    "power on\n",
    "set speed 0.5\n",
    "stop program\n",
];

fn with_script<T>(text: &str, then: impl FnOnce(&Command<'_>) -> T) -> T {
    let mut scanner = urscript::Scanner::default();
    match scanner.step(text.as_bytes(), urscript::Dialect::Client) {
        Ok(Step::Whole { unit, .. }) => then(&Command::UrScript(unit)),
        other => panic!("{text}: {other:?}"),
    }
}

const INPUTS: [&str; 4] =
    ["speed_slider_fraction", "speed_slider_mask", "standard_digital_output", "input_double_register_24"];

/// Packages with the side that sends them: two connections' worth, of either version.
fn rtde_packages(written: &[(usize, f64)], frequencies: &[Option<f64>]) -> Vec<(Toward, Vec<u8>)> {
    let mut packages = Vec::new();
    let mut buffer = [0; 2048];
    let mut add = |toward, write: &dyn Fn(&mut [u8]) -> Option<usize>| {
        let len = write(&mut buffer).unwrap();
        packages.push((toward, buffer[..len].to_vec()));
    };
    let typed = |at: usize| rtde::Variable::named(INPUTS[at].as_bytes()).data_type().unwrap();
    // Version 1, then version 2: what is asked for has another layout.
    for version in [rtde::Version::V1, rtde::Version::V2] {
        if version == rtde::Version::V2 {
            add(Toward::Robot, &|buffer| rtde::Request::ProtocolVersion(2).emit(version, buffer));
            add(Toward::Plant, &|buffer| rtde::Reply::ProtocolVersion { accepted: true }.emit(version, buffer));
        }
        for frequency in frequencies.iter().filter(|f| f.is_some() == (version == rtde::Version::V2)) {
            let names = [&b"actual_q"[..], b"a_newer_output_of_some_kind"];
            add(Toward::Robot, &|buffer| rtde::emit::setup_outputs(*frequency, names, buffer));
            let id = frequency.map(|_| 1);
            let types = [rtde::ReplyType::Data(rtde::DataType::Vector6d), rtde::ReplyType::NotFound];
            add(Toward::Plant, &|buffer| rtde::emit::outputs_reply(id, types, buffer));
        }
    }
    for (at, name) in INPUTS.iter().enumerate() {
        add(Toward::Robot, &|buffer| rtde::emit::setup_inputs([name.as_bytes()], buffer));
        let types = [rtde::ReplyType::Data(typed(at))];
        add(Toward::Plant, &|buffer| rtde::emit::inputs_reply(at as u8 + 1, types, buffer));
    }
    for (at, value) in written {
        let value = match typed(*at) {
            rtde::DataType::Double => rtde::Value::Double(*value),
            rtde::DataType::Uint32 => rtde::Value::Uint32(value.abs() as u32),
            _ => rtde::Value::Uint8(value.abs().min(255.0) as u8),
        };
        add(Toward::Robot, &|buffer| rtde::emit::data(Some(*at as u8 + 1), [value], buffer));
    }
    packages
}

fn each_rtde(packages: &[(Toward, Vec<u8>)], mut then: impl FnMut(&Command<'_>)) {
    let mut session = rtde::Session::default();
    for (toward, bytes) in packages {
        let Ok(Step::Whole { unit: package, .. }) = rtde::Package::step(bytes, *toward) else { panic!("{bytes:?}") };
        if *toward == Toward::Robot {
            then(&Command::Rtde(rtde::Request::read(&package, &session).unwrap()));
            session.request(&package).unwrap();
        } else {
            session.reply(&package).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn a_trusted_proposal_allows_every_modbus_request_again(
        pdus in prop::collection::vec((modbus_pdu(), prop::sample::select(vec![1_u8, 255]), 1_usize..3), 1..40)
    ) {
        let mut observations = Observations::default();
        for (pdu, unit, times) in &pdus {
            for _ in 0..*times {
                with_modbus(&adu_to(*unit, pdu), |command| observations.command(&seen(Service::Modbus), command));
            }
        }
        let text = observations.propose(&options(true));
        let policy = compile(&text);
        for (pdu, unit, _) in &pdus {
            let allowed = with_modbus(&adu_to(*unit, pdu), |command| allows(&policy, command));
            prop_assert_eq!(allowed, Some(true), "{:?}\n{}", pdu, text);
        }
    }

    #[test]
    fn a_modbus_proposal_allows_no_function_unit_address_or_quantity_that_was_not_seen(
        pdus in prop::collection::vec((modbus_pdu(), prop::sample::select(vec![1_u8, 255])), 1..25),
        others in prop::collection::vec((modbus_pdu(), prop::sample::select(vec![1_u8, 7, 255])), 25),
    ) {
        type Touched = std::collections::BTreeSet<(u8, u8, bool, u16)>;
        let touched = |command: &Command<'_>| -> (Touched, Vec<u16>, (u16, u16)) {
            let Command::Modbus(request) = command else { return Default::default() };
            let (function, unit) = (request.function.0, request.unit.0);
            let read = request.read.into_iter().flat_map(|span| span.addresses()).map(|at| (function, unit, false, at));
            let write = request.write.into_iter().flat_map(|write| write.span.addresses());
            let write = write.map(|at| (function, unit, true, at));
            let spans = request.read.into_iter().chain(request.write.map(|write| write.span));
            let bounds = request.write.map_or((0, 0), |write| write.value_bounds());
            (read.chain(write).collect(), spans.map(|span| span.quantity).collect(), bounds)
        };
        let mut observations = Observations::default();
        let mut all = Touched::new();
        let mut quantities = Vec::new();
        let mut bounds: std::collections::BTreeMap<u8, (u16, u16)> = Default::default();
        for (pdu, unit) in &pdus {
            with_modbus(&adu_to(*unit, pdu), |command| {
                observations.command(&seen(Service::Modbus), command);
                let (addresses, own, (low, high)) = touched(command);
                all.extend(addresses);
                quantities.extend(own);
                let of = bounds.entry(pdu[0]).or_insert((low, high));
                *of = (of.0.min(low), of.1.max(high));
            });
        }
        let policy = compile(&observations.propose(&options(true)));
        for (pdu, unit) in &others {
            with_modbus(&adu_to(*unit, pdu), |command| {
                if !allows(&policy, command) {
                    return Ok(());
                }
                prop_assert!(pdus.iter().any(|(own, to)| own[0] == pdu[0] && to == unit), "{:?}", pdu);
                let (addresses, own, (low, high)) = touched(command);
                prop_assert!(addresses.is_subset(&all), "{:?}", pdu);
                prop_assert!(own.iter().all(|quantity| quantities.contains(quantity)), "{:?}", pdu);
                let of = bounds[&pdu[0]];
                prop_assert!(of.0 <= low && high <= of.1, "{:?} {:?}", pdu, of);
                Ok(())
            }).unwrap_or(Ok(()))?;
        }
    }

    #[test]
    fn a_trusted_proposal_allows_every_script_again(
        picked in prop::collection::vec(prop::sample::select(SCRIPTS.to_vec()), 1..12), times in 1_usize..3,
    ) {
        let mut observations = Observations::default();
        for text in picked.iter().flat_map(|text| std::iter::repeat_n(text, times)) {
            with_script(text, |command| observations.command(&seen(Service::UrScript), command));
        }
        let text = observations.propose(&options(true));
        let policy = compile(&text);
        for script in &picked {
            let ambiguous = with_script(script, |c| matches!(c, Command::UrScript(unit) if unit.ambiguous));
            let allowed = with_script(script, |command| allows(&policy, command));
            prop_assert_eq!(allowed, !ambiguous, "{}\n{}", script, text);
        }
    }

    #[test]
    fn a_trusted_proposal_allows_every_rtde_package_again(
        written in prop::collection::vec((0_usize..4, prop_oneof![Just(f64::NAN), -2.0..2.0_f64, Just(f64::INFINITY)]), 0..16),
        frequencies in prop::collection::vec(prop_oneof![Just(None), (1.0..500.0_f64).prop_map(Some)], 0..5),
    ) {
        let mut observations = Observations::default();
        let packages = rtde_packages(&written, &frequencies);
        each_rtde(&packages, |command| observations.command(&seen(Service::Rtde), command));
        let text = observations.propose(&options(true));
        let policy = compile(&text);
        let mut refused = Vec::new();
        each_rtde(&packages, |command| {
            let Command::Rtde(request) = command else { return };
            let finite = match request {
                rtde::Request::Data(data) => data.fields().all(|field| match field.value {
                    rtde::Value::Double(value) => value.is_finite(),
                    _ => true,
                }),
                _ => true,
            };
            if allows(&policy, command) != finite {
                refused.push(format!("{request:?}"));
            }
        });
        prop_assert!(refused.is_empty(), "{:?}\n{}", refused, text);
    }

    #[test]
    fn a_trusted_proposal_allows_every_dashboard_line_of_the_table_again(
        lines in prop::collection::vec((0_usize..100, "[a-z]{1,9}"), 1..30)
    ) {
        let verbs = dashboard::Verb::all();
        let mut observations = Observations::default();
        let texts: Vec<String> = lines.iter().map(|(at, word)| {
            let verb = &verbs[at % verbs.len()];
            match verb.argument {
                dashboard::Argument::None => verb.name.to_owned(),
                dashboard::Argument::OneOf(words) => format!("{} {}", verb.name, words[0]),
                _ => format!("{} /programs/{word}.urp", verb.name),
            }
        }).collect();
        let read: Vec<_> = texts.iter().map(|text| Command::Dashboard(dashboard::Line::read(text.as_bytes()))).collect();
        for command in &read {
            observations.command(&seen(Service::Dashboard), command);
        }
        let policy = compile(&observations.propose(&options(true)));
        for (command, text) in read.iter().zip(&texts) {
            let Command::Dashboard(line) = command else { continue };
            prop_assert!(line.verb.is_err() || allows(&policy, command), "{}", text);
        }
    }
}

#[test]
fn dangerous_commands_are_proposed_switched_off_and_nothing_else_widens() {
    let mut observations = Observations::default();
    for text in ["robotmode", "load /programs/a.urp", "play", "brake release", "shutdown", "launch missiles; rm -rf /"]
    {
        observations.command(&seen(Service::Dashboard), &Command::Dashboard(dashboard::Line::read(text.as_bytes())));
    }
    let text = observations.propose(&options(false));
    let policy = compile(&text);
    let allowed = |text: &str| allows(&policy, &Command::Dashboard(dashboard::Line::read(text.as_bytes())));
    assert!(allowed("robotmode") && allowed("load /programs/a.urp") && allowed("play"));
    assert!(!allowed("brake release") && !allowed("shutdown"));
    assert!(!allowed("load /programs/b.urp") && !allowed("safetymode"));
    assert!(text.contains("# command = [\"brake release\", \"shutdown\"]"), "{text}");
    assert!(text.contains("launch missiles"), "what was seen stands in the review\n{text}");
}

#[test]
fn who_works_with_the_dashboard_may_stop_the_robot_though_nobody_did_while_it_learned() {
    let stops = ["stop", "pause", "power off"];
    let line = |text: &str| dashboard::Line::read(text.as_bytes()).verb.map(|_| ()).expect(text);
    stops.iter().for_each(|text| line(text));
    let proposed = |texts: &[&str], trust| {
        let mut observations = Observations::default();
        for text in texts {
            observations
                .command(&seen(Service::Dashboard), &Command::Dashboard(dashboard::Line::read(text.as_bytes())));
        }
        observations.propose(&options(trust))
    };
    let allowed = |policy: &str, text: &str| {
        allows(&compile(policy), &Command::Dashboard(dashboard::Line::read(text.as_bytes())))
    };
    for seen in [&["robotmode"][..], &["play", "stop"], &["pause"]] {
        let text = proposed(seen, false);
        assert_eq!(text.matches("class = [\"stop\"]").count(), 1, "{text}");
        assert!(stops.iter().all(|stop| allowed(&text, stop)), "{text}");
        assert!(!allowed(&text, "shutdown") && !allowed(&text, "unlock protective stop"), "{text}");
    }
    // What was seen of them stands in the rule; what nobody pressed has no count.
    let text = proposed(&["robotmode", "stop", "stop", "pause"], false);
    assert!(text.contains("seen = { count = 3"), "{text}");
    assert!(!proposed(&["robotmode"], false).contains("count = 0"));
    // Who did nothing but what stands switched off is not let in for it.
    let text = proposed(&["brake release"], false);
    assert!(!text.contains("class = [\"stop\"]"), "{text}");
}

#[test]
fn few_values_are_listed_and_many_become_a_range_that_says_so() {
    let mut observations = Observations::default();
    for value in [1_u16, 5, 9] {
        let pdu = [vec![6, 0, 128], value.to_be_bytes().to_vec()].concat();
        with_modbus(&adu(&pdu), |command| observations.command(&seen(Service::Modbus), command));
    }
    assert!(observations.propose(&options(false)).contains("value = [1, 5, 9]"));
    for value in 10_u16..30 {
        let pdu = [vec![6, 0, 128], value.to_be_bytes().to_vec()].concat();
        with_modbus(&adu(&pdu), |command| observations.command(&seen(Service::Modbus), command));
    }
    let text = observations.propose(&options(false));
    assert!(text.contains("value = \"1..=29\"") && text.contains("covers more than was seen"), "{text}");
}

#[test]
fn connections_that_no_dissector_reads_become_rules_of_their_own() {
    let mut observations = Observations::default();
    observations.connection(&seen(Service::Tcp(22)));
    observations.connection(&Seen { opened: Toward::Plant, ..seen(Service::Rtde) });
    // Read, command by command: the connection alone is no behaviour.
    observations.connection(&Seen { opened: Toward::Plant, ..seen(Service::Modbus) });
    let text = observations.propose(&options(false));
    let policy = compile(&text);
    let admitted = |service, opened| policy.admit(policy.client(PLC), service, opened, 1).is_allowed();
    assert!(admitted(Service::Tcp(22), Toward::Robot), "{text}");
    assert!(admitted(Service::Rtde, Toward::Plant), "{text}");
    assert!(!admitted(Service::Modbus, Toward::Plant), "{text}");
    assert!(!admitted(Service::Tcp(23), Toward::Robot));
    assert!(!admitted(Service::Modbus, Toward::Robot));
}

#[test]
fn a_value_written_once_stands_apart_from_the_range() {
    let mut observations = Observations::default();
    let mut write = |address, value| {
        with_modbus(&write_register(address, value), |command| observations.command(&seen(Service::Modbus), command));
    };
    (0..500).for_each(|n| write(128, n % 121));
    write(128, 9999);
    let text = observations.propose(&options(false));
    assert!(text.contains("\n  9999,  # seen once\n"), "{text}");
    let allowed = |value| with_modbus(&write_register(128, value), |c| allows(&compile(&text), c)).unwrap();
    assert!(allowed(120) && allowed(9999) && !allowed(121) && !allowed(5000));
}

#[test]
fn a_request_seen_once_keeps_a_rule_of_its_own() {
    let mut observations = Observations::default();
    let mut write = |address, value| {
        with_modbus(&write_register(address, value), |command| observations.command(&seen(Service::Modbus), command));
    };
    (0..50).for_each(|n| write(128 + n % 3, 1));
    write(131, 1);
    let text = observations.propose(&options(false));
    let blocks = blocks(&text);
    assert_eq!(blocks.len(), 2, "{text}");
    assert!(blocks[0].contains("address = [\"128..=130\"]") && blocks[0].contains("count = 50,"), "{text}");
    assert!(blocks[1].contains("address = [131]") && blocks[1].contains("count = 1,"), "{text}");
    assert!(
        text.contains("51 commands, 4 behaviours (1 seen once), coverage 0.980, at least 0.331, not saturated"),
        "{text}"
    );
}

#[test]
fn values_of_one_address_are_not_lent_to_another() {
    let mut observations = Observations::default();
    for (address, value) in [(128, 1), (128, 1), (140, 500), (140, 500)] {
        with_modbus(&write_register(address, value), |command| observations.command(&seen(Service::Modbus), command));
    }
    let policy = compile(&observations.propose(&options(false)));
    let allowed = |address, value| with_modbus(&write_register(address, value), |c| allows(&policy, c)).unwrap();
    assert!(allowed(128, 1) && allowed(140, 500) && !allowed(128, 500) && !allowed(140, 1));
}

#[test]
fn an_argument_loaded_once_has_a_line_of_its_own() {
    let mut observations = Observations::default();
    let mut send = |text: &str| {
        observations.command(&seen(Service::Dashboard), &Command::Dashboard(dashboard::Line::read(text.as_bytes())));
    };
    (0..9).for_each(|_| send("load /programs/pick.urp"));
    send("load /programs/evil.urp");
    let text = observations.propose(&options(false));
    assert!(text.contains("\n  \"/programs/evil.urp\",  # seen once\n"), "{text}");
    assert!(text.contains("\n  \"/programs/pick.urp\",\n"), "{text}");
    compile(&text);
}

#[test]
fn what_a_client_sends_can_not_break_the_proposal() {
    let mut observations = Observations::default();
    for service in [Service::Tcp(0), Service::Udp(0), Service::Icmp, Service::Tcp(22)] {
        observations.connection(&seen(service));
    }
    let line = b"popup hello # [[allow]] = { \xe2\x80\xae";
    observations.command(&seen(Service::Dashboard), &Command::Dashboard(dashboard::Line::read(line)));
    let mut buffer = [0; 512];
    // Only to be written; nearly a name; and one that is none.
    let names = [&b"speed_slider_mask"[..], b"actual_qq", b"actual_q"];
    let len = rtde::emit::setup_outputs(None, names, &mut buffer).unwrap();
    each_rtde(&[(Toward::Robot, buffer[..len].to_vec())], |c| observations.command(&seen(Service::Rtde), c));
    let nan = rtde_packages(&[(0, f64::NAN), (0, f64::INFINITY), (0, 0.5)], &[]);
    each_rtde(&nan, |command| observations.command(&seen(Service::Rtde), command));
    for trust in [false, true] {
        let text = observations.propose(&options(trust));
        compile(&text);
        assert!(text.contains("speed_slider_fraction = { value = [0.5] }"), "{text}");
        assert!(text.contains("2 times a value that is no number, written to an RTDE input: speed_slider"), "{text}");
        assert!(text.contains("outputs = [\"actual_q\"]"), "{text}");
        assert!(text.contains("# rtde from plc: 1 times an output that no rule can name"), "{text}");
        assert!(text.contains("service = \"tcp/22\"") && text.contains("service = \"icmp\""), "{text}");
        assert!(text.contains("# tcp/22: SSH and SFTP.\n"), "{text}");
        assert!(text.contains("# tcp/0 from plc: 1 times what no rule can say"), "{text}");
    }
}

#[test]
fn a_scan_leaves_room_for_others_and_is_told_of() {
    let mut observations = Observations::default();
    (1..=5000).for_each(|port| observations.connection(&seen(Service::Tcp(port))));
    let other = Seen { peer: ROBOT, ..seen(Service::Tcp(22)) };
    observations.connection(&other);
    with_modbus(&write_register(128, 1), |command| observations.command(&seen(Service::Modbus), command));
    let text = observations.propose(&options(false));
    // Modbus and the other client's port are there, and 64 ports of the scan.
    assert_eq!(blocks(&text).len(), 66, "{text}");
    assert!(text.contains("was this a scan?"), "{text}");
    assert!(text.contains("4936 observations"), "{text}");
}

#[test]
fn what_was_seen_stays_within_bounds() {
    let mut observations = Observations::default();
    for n in 0..9000_u32 {
        let text = format!("load /programs/{n}.urp");
        observations.command(&seen(Service::Dashboard), &Command::Dashboard(dashboard::Line::read(text.as_bytes())));
    }
    assert_eq!((observations.commands(), observations.behaviours()), (9000, 4096));
    let text = observations.propose(&options(false));
    assert!(text.contains("4904 observations found no room"), "{text}");
}

#[test]
fn a_client_that_is_the_robot_itself_is_named_by_address() {
    let mut observations = Observations::default();
    let looped = Seen { peer: ROBOT, ..seen(Service::Dashboard) };
    observations.command(&looped, &Command::Dashboard(dashboard::Line::read(b"robotmode")));
    let assets = vec![("robot".to_owned(), ROBOT), ("any".to_owned(), PLC)];
    with_modbus(&write_register(128, 1), |command| observations.command(&seen(Service::Modbus), command));
    let text = observations.propose(&ProposalOptions { assets, ..options(false) });
    assert!(text.contains("from = \"10.20.0.40\"") && text.contains("from = \"10.20.0.21\""), "{text}");
    assert!(compile(&text).client(ROBOT) != crate::policy::Client::UNKNOWN);
}

#[test]
fn statements_are_held_to_where_they_connect() {
    let mut observations = Observations::default();
    let mut see = |text| with_script(text, |command| observations.command(&seen(Service::UrScript), command));
    see("socket_open(\"10.20.0.9\", 5000)\n");
    see("socket_open(somewhere, 5000)\n");
    see("powerdown()\n");
    let text = observations.propose(&options(false));
    let policy = compile(&text);
    let allowed = |text| with_script(text, |command| allows(&policy, command));
    assert!(allowed("socket_open(\"10.20.0.9\", 5000)\n") && allowed("socket_open(somewhere, 5000)\n"), "{text}");
    assert!(!allowed("socket_open(\"10.20.0.9\", 5001)\n") && !allowed("socket_open(elsewhere, 5000)\n"), "{text}");
    assert!(!allowed("powerdown()\n") && text.contains("# function = [\"powerdown\"]"), "{text}");
}

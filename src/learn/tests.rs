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
    let mut rates = robot::Rates { buckets: [[0; 2]; 64] };
    let state = robot::State::default();
    let ask = Ask { client: policy.client(PLC), opened: Toward::Robot, command, state: &state, now_ns: 1 };
    policy.decide(&ask, &mut rates).is_allowed()
}

fn with_modbus<T>(bytes: &[u8], then: impl FnOnce(&Command<'_>) -> T) -> Option<T> {
    let Ok(Step::Whole { unit, .. }) = modbus::Adu::step(bytes) else { return None };
    modbus::Request::read(&unit).ok().map(|request| then(&Command::Modbus(request)))
}

fn adu(pdu: &[u8]) -> Vec<u8> {
    let mut adu = vec![0, 1, 0, 0, 0, pdu.len() as u8 + 1, 255];
    adu.extend_from_slice(pdu);
    adu
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
        Just(vec![8, 0, 4, 0, 0]),
        Just(vec![8, 0, 0, 1, 2]),
        Just(vec![0x2b, 0x0e, 1, 0]),
        Just(vec![0x11]),
    ]
}

proptest! {
    #[test]
    fn a_trusted_proposal_allows_every_modbus_request_again(pdus in prop::collection::vec(modbus_pdu(), 1..40)) {
        let mut observations = Observations::default();
        for pdu in &pdus {
            with_modbus(&adu(pdu), |command| observations.command(&seen(Service::Modbus), command));
        }
        let text = observations.propose(&options(true));
        let policy = compile(&text);
        for pdu in &pdus {
            prop_assert_eq!(with_modbus(&adu(pdu), |command| allows(&policy, command)), Some(true), "{:?}\n{}", pdu, text);
        }
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
    observations.connection(&Seen { opened: Toward::Plant, ..seen(Service::Modbus) });
    let text = observations.propose(&options(false));
    let policy = compile(&text);
    let admitted = |service, opened| policy.admit(policy.client(PLC), service, opened, 1).is_allowed();
    assert!(admitted(Service::Tcp(22), Toward::Robot), "{text}");
    assert!(admitted(Service::Modbus, Toward::Plant), "{text}");
    assert!(!admitted(Service::Tcp(23), Toward::Robot));
    assert!(!admitted(Service::Modbus, Toward::Robot));
}

//! An attack while learning never gets into the policy unseen: what it would add stands among what to look at first.
#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use dissect::{Step, Toward};
use external_control::{Action, Motion, Move};
use proptest::prelude::*;

use super::*;
use crate::command::{Command, External, Service};
use crate::policy::{Ask, Asset, Moment, Policy};
use crate::robot;

const PLC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 21));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 66));
const ROBOT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 20, 0, 40));

/// One thing said to the robot.
#[derive(Clone, Debug)]
enum Said {
    Modbus(Vec<u8>),
    Dashboard(String),
    Script(String),
    Motion([i32; 6]),
}

impl Said {
    fn service(&self) -> Service {
        match self {
            Self::Modbus(_) => Service::Modbus,
            Self::Dashboard(_) => Service::Dashboard,
            Self::Script(_) => Service::UrScript,
            Self::Motion(_) => Service::ExternalControl,
        }
    }

    fn opened(&self) -> Toward {
        if matches!(self, Self::Motion(_)) { Toward::Plant } else { Toward::Robot }
    }

    fn read<T>(&self, then: impl FnOnce(&Command<'_>) -> T) -> Option<T> {
        match self {
            Self::Modbus(pdu) => {
                let adu = [&[0, 1, 0, 0, 0, pdu.len() as u8 + 1, 255][..], pdu].concat();
                let Ok(Step::Whole { unit, .. }) = modbus::Adu::step(&adu) else { return None };
                modbus::Request::read(&unit).ok().map(|request| then(&Command::Modbus(request)))
            }
            Self::Dashboard(line) => Some(then(&Command::Dashboard(dashboard::Line::read(line.as_bytes())))),
            Self::Script(text) => {
                let text = format!("{text}\n");
                let mut scanner = urscript::Scanner::default();
                match scanner.step(text.as_bytes(), urscript::Dialect::Client) {
                    Ok(Step::Whole { unit, .. }) => Some(then(&Command::UrScript(unit))),
                    _ => None,
                }
            }
            Self::Motion(joints) => {
                let motion = Motion { timeout_ms: 20, action: Action::Move(Move::Servoj, *joints) };
                Some(then(&Command::External(External::Motion(motion))))
            }
        }
    }
}

/// The production cycle of ten minutes: reads, writes within bounds, a panel's questions, a program, a swing of the arm.
fn cycle() -> impl Iterator<Item = (u64, Said)> {
    (0..6_000_u64).map(|n| {
        let value = (n % 121) as u8;
        let swing = ((n % 200) as i32 - 100) * 5_000;
        let said = match n % 6 {
            0 | 1 => Said::Modbus(vec![3, 0, 0, 0, 34]),
            2 => Said::Modbus(vec![6, 0, 128 + (n / 6 % 4) as u8, 0, value]),
            3 => Said::Dashboard(["robotmode", "programstate", "load pick.urp", "play"][n as usize / 6 % 4].to_owned()),
            4 => Said::Script("textmsg(\"cycle\")".to_owned()),
            _ => Said::Motion([swing, -swing, swing / 2, 0, 0, swing / 3]),
        };
        (n * 100_000_000, said)
    })
}

fn attack() -> impl Strategy<Value = Said> {
    let register = (0_u16..300, any::<u16>())
        .prop_map(|(at, value)| Said::Modbus([&[6][..], &at.to_be_bytes(), &value.to_be_bytes()].concat()));
    let coil = (0_u16..40).prop_map(|at| Said::Modbus([&[5][..], &at.to_be_bytes(), &[0xff, 0]].concat()));
    let read =
        (0_u16..300, 1_u8..100).prop_map(|(at, n)| Said::Modbus([&[3][..], &at.to_be_bytes(), &[0, n]].concat()));
    let verbs: Vec<&'static str> = dashboard::Verb::all().iter().map(|verb| verb.name).collect();
    let line = prop_oneof![
        prop::sample::select(verbs).prop_map(str::to_owned),
        Just("load evil.urp".to_owned()),
        Just("addToLog pick.urp".to_owned()),
    ];
    let script = prop::sample::select(vec![
        "set_digital_out(3, True)",
        "movej([0,-1,1,0,0,0])",
        "textmsg(\"other\")",
        "socket_open(\"10.0.0.9\", 4444)",
        "power off",
        "set_payload(3)",
        "unheard_of(1)",
    ]);
    let far = prop::array::uniform6(-3_000_000..3_000_000_i32).prop_map(Said::Motion);
    prop_oneof![register, coil, read, line.prop_map(Said::Dashboard), script.prop_map(|s| Said::Script(s.into())), far]
}

/// Ten minutes of work, with an attack in between, `times` within a second.
fn learned(attack: Option<(&Said, IpAddr, u64, u64)>) -> String {
    const BEGIN: u64 = 1_700_000_000_000_000_000;
    let mut observations = Observations::default();
    let mut say = |peer, at_ns, said: &Said| {
        let seen = Seen { peer, opened: said.opened(), service: said.service(), wall_ns: BEGIN + at_ns };
        said.read(|command| observations.command(&seen, command));
    };
    for (at_ns, said) in cycle() {
        say(PLC, at_ns, &said);
        if let Some((attack, peer, when_ns, times)) = attack
            && (when_ns..when_ns + 100_000_000).contains(&at_ns)
        {
            (0..times).for_each(|n| say(peer, at_ns + n * 1_000_000, attack));
        }
    }
    observations.propose(&ProposalOptions {
        robot: "robot".into(),
        assets: vec![("plc".into(), PLC)],
        made: "a test".into(),
        ..ProposalOptions::default()
    })
}

fn allows(text: &str, said: &Said, peer: IpAddr) -> bool {
    let asset = |name: &str, address, is_robot| Asset { name: name.into(), address, is_robot };
    let assets = [asset("robot", ROBOT, true), asset("plc", PLC, false)];
    let policy = Policy::compile("proposal", text, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap();
    let state = robot::State { joints_at_ns: 1, ..robot::State::default() };
    let inputs = robot::Inputs::new();
    let ask = |command: &Command<'_>| {
        let (client, opened) = (policy.client(peer), said.opened());
        let ask = Ask { client, opened, command, state: &state, inputs: &inputs, connection: 0, now_ns: 1 };
        policy.decide(&ask, &mut robot::Rates::new()).is_allowed()
    };
    said.read(ask).unwrap_or(false)
}

/// What a person is told to look at.
fn look_at(text: &str) -> BTreeSet<&str> {
    let begun = text.lines().skip_while(|line| !line.starts_with("# Look at these first"));
    begun.skip(2).take_while(|line| line.starts_with("#   ")).collect()
}

#[test]
fn the_work_itself_brings_nothing_to_look_at() {
    let text = learned(None);
    assert_eq!(look_at(&text), BTreeSet::new(), "{text}");
    assert!(cycle().all(|(_, said)| matches!(said, Said::Motion(_)) || allows(&text, &said, PLC)), "{text}");
}

#[test]
fn an_attack_in_the_plcs_name_is_named() {
    for (attack, words) in [
        (Said::Modbus(vec![6, 0, 200, 0, 7]), "write_single_register writes 200 of unit 255: 3 times of"),
        (Said::Modbus(vec![6, 0, 128, 0x27, 0x0f]), "write_single_register writes 128 of unit 255: 9999 among"),
        (Said::Dashboard("load evil.urp".into()), "load evil.urp: 3 times of"),
        (Said::Script("set_digital_out(3, True)".into()), "set_digital_out in a statement: 3 times of"),
        (Said::Motion([2_900_000; 6]), "position of joint 0: 2.9 among"),
    ] {
        let text = learned(Some((&attack, PLC, 300_000_000_000, 3)));
        assert!(look_at(&text).iter().any(|line| line.contains(words)), "{attack:?}:\n{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn what_an_attack_would_add_is_told_of(
        attack in attack(), by_plc in any::<bool>(), second in 0_u64..590, times in 1_u64..8,
    ) {
        let peer = if by_plc { PLC } else { STRANGER };
        static CLEAN: LazyLock<String> = LazyLock::new(|| learned(None));
        let clean = &*CLEAN;
        let poisoned = learned(Some((&attack, peer, second * 1_000_000_000, times)));
        if allows(&poisoned, &attack, peer) && !allows(clean, &attack, peer) {
            let told: Vec<_> = look_at(&poisoned).into_iter().collect();
            prop_assert!(!told.is_empty(), "{:?} from {} slipped in:\n{}", attack, peer, poisoned);
        }
    }
}

#[test]
fn what_was_denied_before_is_not_learned_again() {
    let before = "version = 1\nrobot = \"robot\"\n[[deny]]\nid = \"no-evil\"\nservice = \"dashboard\"\n\
                  command = [\"load\"]\nargument = [\"evil.urp\"]\n";
    let evil = Said::Dashboard("load evil.urp".into());
    let asset = |name: &str, address, is_robot| Asset { name: name.into(), address, is_robot };
    let assets = [asset("robot", ROBOT, true), asset("plc", PLC, false)];
    let policy = Policy::compile("before", before, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap();
    let mut observations = Observations::default();
    let seen = Seen { peer: PLC, opened: Toward::Robot, service: Service::Dashboard, wall_ns: 1 };
    for said in [&evil, &Said::Dashboard("load pick.urp".into()), &evil] {
        said.read(|command| {
            if policy.denies(policy.client(PLC), Toward::Robot, command) {
                observations.denied(&seen);
            } else {
                observations.command(&seen, command);
            }
        });
    }
    let text = observations.propose(&ProposalOptions {
        robot: "robot".into(),
        assets: vec![("plc".into(), PLC)],
        denials: denials(before),
        ..ProposalOptions::default()
    });
    assert!(allows(&text, &Said::Dashboard("load pick.urp".into()), PLC), "{text}");
    assert!(!allows(&text, &evil, PLC), "{text}");
    assert!(text.contains("id = \"no-evil\"") && text.contains("# dashboard from plc: 2 times"), "{text}");
    // A policy that has no allow rule for a client knows nobody: denials count all the same.
    assert!(!text.contains("argument = [\"evil.urp\", "), "{text}");
}

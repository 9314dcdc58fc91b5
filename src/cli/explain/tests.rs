use std::net::IpAddr;

use dissect::Toward;
use external_control::Channel;
use link::{Endpoint, FlowKey};

use super::*;
use crate::command::{Class, Service};
use crate::event::{
    Action, CommandRecord, Detail, Event, EventId, ModbusDetail, Reason, Record, RobotContext, RuleId, Text, Verdict,
};
use crate::export::Names;
use crate::export::eve::{self, Context as EveContext};
use crate::policy::{Asset, Moment, Policy};

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 20, 0, last])
}

fn line(id: u64, class: Class, reason: Reason, service: Service, detail: Detail) -> Value {
    line_opened(Toward::Robot, id, class, reason, service, detail)
}

fn line_opened(opened: Toward, id: u64, class: Class, reason: Reason, service: Service, detail: Detail) -> Value {
    let names = Names::new("box", [(address(21), "plc".to_owned()), (address(40), "cell4-robot".to_owned())]);
    names.set_rules(1, vec!["plc-registers".to_owned()]);
    let action = if reason == Reason::Allowed { Action::Forward } else { Action::Reset };
    let record = Record::Command(CommandRecord {
        key: FlowKey::new(Endpoint::new(address(21), 50000), Endpoint::new(address(40), 502), 6, 4),
        opened,
        service,
        class,
        verdict: Verdict { action, reason, rule: RuleId(1), generation: 1 },
        enforced: true,
        len: 12,
        unit: Text::EMPTY,
        robot: RobotContext::default(),
        detail,
    });
    let event = Event { id: EventId(id), monotonic_ns: id, wall_ns: id, frame: id, record };
    let mut text = String::new();
    eve::render(
        &event,
        &EveContext { names: &names, answer: None, repeats: None, unit_hash: None, capture: true },
        &mut text,
    );
    serde_json::from_str(&text).unwrap()
}

fn modbus(function: u8, read: Option<(u16, u16)>, write: Option<(u16, u16)>, values: &[u16]) -> Detail {
    let mut all = [0; 16];
    all[..values.len()].copy_from_slice(values);
    let values_len = u8::try_from(values.len()).unwrap();
    let (transaction, unit, sub_function) = (7, 255, None);
    Detail::Modbus(ModbusDetail { transaction, unit, function, sub_function, read, write, values: all, values_len })
}

fn refused(service: Service, class: Class, detail: Detail) -> Value {
    line(9, class, Reason::NoRule, service, detail)
}

/// A rule that allows does not help against one that denies: what does is told.
#[test]
fn what_a_deny_rule_refuses_is_told_how_to_allow() {
    let unlock = || Detail::Dashboard { verb: "unlock protective stop", text: Text::new(b"unlock protective stop") };
    let mut line = line(9, Class::Safety, Reason::DeniedByRule, Service::Dashboard, unlock());
    assert!(rule_text::narrowest(&line).unwrap_err().contains("wins over every rule that allows"));
    line["alert"]["context"]["rule"] = "CVE-2020-10265".into();
    let text = rule_text::narrowest(&line).unwrap();
    assert!(text.contains("[[exempt]]\npatch = \"CVE-2020-10265\"\nreason = \"...\"\nuntil = 2"), "{text}");
    let assets = [
        Asset { name: "cell4-robot".into(), address: address(40), is_robot: true },
        Asset { name: "plc".into(), address: address(21), is_robot: false },
    ];
    let policy = format!("version = 1\nrobot = \"cell4-robot\"\n{text}");
    let policy = Policy::compile("p", &policy, &assets, 1, Moment { wall_ns: 0, monotonic_ns: 0 }).unwrap();
    assert_eq!((policy.rules(), policy.exemptions().len()), (1, 1));
}

/// Every kind of rule that is proposed compiles.
#[test]
fn proposed_rules_compile() {
    let script = |kind, text: &[u8]| Detail::UrScript {
        kind,
        token_hash: [0x9f; 32],
        text: Text::new(text),
        functions: Text::EMPTY,
    };
    let external =
        |channel, name, text: &str| Detail::ExternalControl { channel, name, text: Text::new(text.as_bytes()) };
    let rtde =
        |package, text: &str| Detail::Rtde { package, recipe: 1, text: Text::new(text.as_bytes()), in_use: None };
    for line in [
        refused(Service::Modbus, Class::Read, modbus(3, Some((0, 34)), None, &[])),
        refused(Service::Modbus, Class::Register, modbus(6, None, Some((128, 1)), &[5])),
        refused(Service::Modbus, Class::Io, modbus(15, None, Some((16, 3)), &[1, 0, 1])),
        refused(Service::Modbus, Class::Register, modbus(16, None, Some((128, 2)), &[5, 900])),
        refused(Service::Modbus, Class::Register, modbus(23, Some((0, 4)), Some((128, 1)), &[5])),
        refused(
            Service::Dashboard,
            Class::Program,
            Detail::Dashboard { verb: "load", text: Text::new(b"load /programs/a \"b\".urp") },
        ),
        refused(
            Service::Dashboard,
            Class::Shutdown,
            Detail::Dashboard { verb: "shutdown", text: Text::new(b"shutdown") },
        ),
        refused(Service::Rtde, Class::Session, rtde(b'O', "125 Hz: timestamp,actual_q")),
        refused(Service::Rtde, Class::Session, rtde(b'I', "speed_slider_mask,speed_slider_fraction")),
        refused(Service::Rtde, Class::Parameter, rtde(b'U', "speed_slider_mask=1,speed_slider_fraction=0.5")),
        refused(Service::UrScript, Class::Program, script(urscript::Kind::Program, b"pick")),
        refused(Service::UrScript, Class::Safety, script(urscript::Kind::Bare, b"power on")),
        refused(
            Service::ExternalControl,
            Class::Motion,
            external(Channel::Reverse, "servoj", "timeout_ms=20,q0=1.5,q1=0,q2=0,q3=0,q4=0,q5=-1.25"),
        ),
        refused(Service::ExternalControl, Class::Motion, external(Channel::Reverse, "freedrive", "timeout_ms=20")),
        refused(
            Service::ExternalControl,
            Class::Motion,
            external(Channel::Trajectory, "movej", "type=0,duration=5,q0=1,q1=2,q2=0.5,q3=0,q4=0,q5=0"),
        ),
        refused(Service::ExternalControl, Class::Parameter, external(Channel::ScriptCommand, "set_payload", "a0=5")),
        refused(
            Service::ExternalControl,
            Class::Program,
            external(Channel::Script, "program", &format!("program=sha256:{},bytes=9", "ab".repeat(32))),
        ),
        refused(Service::Tcp(22), Class::Unknown, Detail::Transport),
    ] {
        let rule = rule_text::narrowest(&line).unwrap();
        let text = format!("version = 1\nrobot = \"cell4-robot\"\n\n{rule}");
        let assets = [
            Asset { name: "plc".into(), address: address(21), is_robot: false },
            Asset { name: "cell4-robot".into(), address: address(40), is_robot: true },
        ];
        let moment = Moment { wall_ns: 1_764_000_000_000_000_000, monotonic_ns: 1 };
        if let Err(problems) = Policy::compile("event", &text, &assets, 1, moment) {
            panic!("{problems}\n{text}");
        }
    }
}

#[test]
fn what_the_robot_sent_a_device_becomes_a_rule_of_its_own() {
    let detail = modbus(6, None, Some((258, 1)), &[5]);
    let line = line_opened(Toward::Plant, 9, Class::Register, Reason::ValueNotAllowed, Service::Modbus, detail);
    assert_eq!((&line["direction"], &line["src_ip"]), (&"to_server".into(), &"10.20.0.40".into()));
    let rule = rule_text::narrowest(&line).unwrap();
    assert!(rule.contains("from = \"cell4-robot\"\nto = \"plc\"\n"), "{rule}");
    let sentence = line["alert"]["context"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("cell4-robot (10.20.0.40) sent plc "), "{sentence}");
    // The device's register 258 is not the robot's mode.
    assert_eq!(registers(&line), Vec::<String>::new());
}

#[test]
fn what_no_rule_can_allow_says_so() {
    let unreadable = Detail::Unreadable { field: "length", offset: 4, bytes: Text::new(b"\xff\xff") };
    let line = refused(Service::Modbus, Class::Unknown, unreadable);
    assert!(rule_text::narrowest(&line).unwrap_err().contains("can't be read"));
    let unknown = Detail::Dashboard { verb: "", text: Text::new(b"load; reboot") };
    assert!(rule_text::narrowest(&refused(Service::Dashboard, Class::Unknown, unknown)).is_err());
}

#[test]
fn the_nearest_allowed_command_is_found_and_compared() {
    let asked = refused(Service::Modbus, Class::Register, modbus(6, None, Some((140, 1)), &[700]));
    let mut around = Around::of(&asked);
    let allowed = |id, detail| line(id, Class::Register, Reason::Allowed, Service::Modbus, detail);
    around.add(allowed(3, modbus(6, None, Some((128, 1)), &[5])));
    around.add(allowed(4, modbus(3, Some((0, 2)), None, &[])));
    around.add(asked.clone());
    assert_eq!(around.nearest.as_ref().and_then(|(_, line)| told::event_id(line)), Some(3));
    let fields: Vec<_> = around.differences().into_iter().map(|(field, ..)| field).collect();
    assert_eq!(fields, ["values", "write"]);
    assert_eq!(around.history.len(), 2);
    let frame = [&[0u8; 60][..], b"attack"].concat();
    let rule = rule_text::narrowest(&asked);
    let text = text(&asked, &around, &[frame], Some(&rule), Output::plain());
    for expected in [
        "REFUSED no_rule plc -> cell4-robot modbus write_single_register 140 = 700",
        "no_rule: No rule allows it.",
        "T0836 Modify Parameter (ATT&CK for ICS)",
        "modbus write_single_register 128 = 5",
        "seen [700]",
        "allowed [5]",
        "register 140, general purpose",
        "atta",
        "Before it on the same connection",
        "address = [\"140..=140\"]",
        "value = \"700..=700\"",
    ] {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
}

#[derive(Debug)]
struct Quiet;

impl evidence::Surroundings for Quiet {
    fn frames(&self) -> evidence::FrameCounts {
        evidence::FrameCounts::default()
    }

    fn clock(&self) -> evidence::ClockState {
        evidence::ClockState::Unknown
    }
}

#[test]
fn the_frames_of_an_event_are_found_in_the_evidence_of_its_time() {
    let directory = std::env::temp_dir().join(format!("vambrace-explain-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let options = evidence::EvidenceOptions {
        directory: directory.clone(),
        budget: 1 << 30,
        max_age: None,
        witnesses: Vec::new(),
        counter: None,
        host: "box".into(),
        names: Vec::new(),
        recipients: Vec::new(),
    };
    let mut times = Vec::new();
    for run in 1..=8u8 {
        let mut store = evidence::Evidence::open(options.clone(), std::sync::Arc::new(Quiet)).unwrap();
        times.push(jiff::Timestamp::now());
        let notes = pcapng::PacketNotes { packet_id: u64::from(run), ..pcapng::PacketNotes::default() };
        store.packet(evidence::Port::PlantDropped, 0, 60, &[run; 60], &notes);
        store.close();
    }
    let at = |time: &jiff::Timestamp| json!({"timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.%6f+0000").to_string()});
    for (run, time) in (1..=8u8).zip(&times) {
        assert_eq!(frames(&directory, &at(time), u64::from(run), &Keyring::default()), [vec![run; 60]], "run {run}");
    }
    // What lies far from its time is not looked for: there may be thousands of segments.
    assert!(frames(&directory, &at(&times[0]), 8, &Keyring::default()).is_empty());
    assert!(frames(&directory, &json!({"timestamp": "yesterday"}), 1, &Keyring::default()).is_empty());
    std::fs::remove_dir_all(directory).unwrap();
}

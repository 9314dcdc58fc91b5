#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::net::IpAddr;

use dissect::Toward;
use external_control::Channel;
use link::{Endpoint, FlowKey, Mac};
use proptest::prelude::*;
use serde_json::Value;

use super::eve::{Context, render};
use super::*;
use crate::command::{Class, Service};
use crate::event::{
    Action, Answer, CommandRecord, Detail, Event, EventId, FlowEnd, FlowRecord, FrameRecord, MessageRecord,
    ModbusDetail, Notice, Reason, Record, Repeats, RobotContext, RuleId, Said, Text, Verdict, Whose,
};

fn names() -> Names {
    let address = |last| IpAddr::from([10, 20, 0, last]);
    let names = Names::new("box-4", [(address(21), "plc".to_owned()), (address(40), "cell4-robot".to_owned())]);
    names.set_rules(3, vec!["panel-load".into(), "plc-registers".into()]);
    names
}

/// A robot whose program runs, and of which nothing else is known.
const CONTEXT: RobotContext = RobotContext { program: Some(2), robot_mode: None, safety_mode: None, control: None };

pub(super) fn key(service_port: u16) -> FlowKey {
    let end = |last, port| Endpoint::new(IpAddr::from([10, 20, 0, last]), port);
    FlowKey::new(end(21, 49152), end(40, service_port), 6, 4)
}

pub(super) fn command(service: Service, class: Class, reason: Reason, enforced: bool, detail: Detail) -> Event {
    let allowed = matches!(reason, Reason::Allowed | Reason::SessionWord);
    let action = if allowed { Action::Forward } else { Action::Reset };
    let verdict = Verdict { action, reason, rule: RuleId(2), generation: 3 };
    let port = match service {
        Service::Dashboard => 29999,
        Service::Rtde => 30004,
        Service::UrScript => 30002,
        _ => 502,
    };
    let opened = Toward::Robot;
    let record = CommandRecord {
        key: key(port),
        opened,
        service,
        class,
        verdict,
        enforced,
        len: 12,
        unit: Text::new(&[0xa5, 1]),
        robot: CONTEXT,
        detail,
    };
    Event {
        id: EventId(77),
        monotonic_ns: 5,
        wall_ns: 1_795_442_282_114_209_987,
        frame: 9,
        record: Record::Command(record),
    }
}

pub(super) fn write_register(function: u8, values: &[u16]) -> Detail {
    let mut all = [0; 16];
    all[..values.len()].copy_from_slice(values);
    Detail::Modbus(ModbusDetail {
        transaction: 4660,
        unit: 1,
        function,
        sub_function: None,
        read: None,
        write: Some((128, values.len() as u16)),
        values: all,
        values_len: values.len() as u8,
    })
}

pub(super) fn line(event: &Event, answer: Option<&Answer>, repeats: Option<&Repeats>, capture: bool) -> Value {
    let mut out = String::new();
    render(event, &Context { names: &names(), answer, repeats, unit_hash: None, capture }, &mut out);
    assert!(!out.contains('\n'));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A notice as an event.
pub(super) fn notice(notice: Notice) -> Event {
    let record = Record::Notice(notice);
    Event { id: EventId(78), monotonic_ns: 5, wall_ns: 1_795_442_282_114_209_987, frame: 0, record }
}

/// A refused fragment.
pub(super) fn drop_frame() -> Event {
    let verdict = Verdict { action: Action::Drop, reason: Reason::Fragment, rule: RuleId::NONE, generation: 3 };
    let record = Record::Frame(FrameRecord {
        toward: Toward::Robot,
        key: None,
        macs: (Mac([1; 6]), Mac([2; 6])),
        ether_type: 0x0800,
        verdict,
        enforced: true,
        repeats: 1,
    });
    Event { record, ..notice(Notice::Started) }
}

fn assert_known(value: &Value, known: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key} is no key of Suricata's here");
    }
}

/// The keys of Suricata's schema that may stand at the top level, as far as we use any.
const TOP: [&str; 21] = [
    "timestamp",
    "flow_id",
    "pcap_cnt",
    "event_type",
    "host",
    "src_ip",
    "src_port",
    "dest_ip",
    "dest_port",
    "proto",
    "community_id",
    "direction",
    "app_proto",
    "alert",
    "modbus",
    "flow",
    "anomaly",
    "drop",
    "metadata",
    "ether",
    "stats",
];

#[test]
fn an_allowed_modbus_transaction_is_suricatas_with_ours_in_flowvars() {
    let event = command(Service::Modbus, Class::Register, Reason::Allowed, true, write_register(6, &[5]));
    let answer = Answer {
        to: EventId(77),
        key: key(502),
        service: Service::Modbus,
        exception: 2,
        values: [0; 16],
        values_len: 0,
        text: Text::EMPTY,
        recipe: 0,
        in_use: None,
    };
    let line = line(&event, Some(&answer), None, true);
    assert_known(&line, &TOP);
    assert_eq!(line["event_type"], "modbus");
    assert_eq!(line["timestamp"], "2026-11-23T13:58:02.114209+0000");
    assert_eq!((&line["src_ip"], &line["src_port"]), (&"10.20.0.21".into(), &49152.into()));
    assert_eq!((&line["dest_ip"], &line["dest_port"]), (&"10.20.0.40".into(), &502.into()));
    assert_eq!((&line["proto"], &line["pcap_cnt"], &line["host"]), (&"TCP".into(), &9.into(), &"box-4".into()));
    assert!(line["community_id"].as_str().unwrap().starts_with("1:"));
    let modbus = &line["modbus"];
    assert_eq!(modbus["request"]["function_code"], "WrSingleReg");
    assert_eq!(modbus["request"]["transaction_id"], 4660);
    assert_eq!(modbus["request"]["write"], serde_json::json!({"address": 128, "data": 5}));
    assert_eq!(modbus["response"]["exception"], serde_json::json!({"raw": 2, "code": "IllegalDataAddr"}));
    assert_known(&line["metadata"], &["flowvars"]);
    let ours = &line["metadata"]["flowvars"][0];
    assert_eq!((&ours["key"], &ours["event_id"]), (&"vambrace".into(), &77.into()));
    assert_eq!((&ours["rule"], &ours["generation"]), (&"plc-registers".into(), &3.into()));
    assert_eq!((&ours["action"], &ours["reason"]), (&"allowed".into(), &"allowed".into()));
    assert!(ours.get("refusal").is_none());
    assert_eq!(ours["command"]["function"], "write_single_register");
    assert_eq!(ours["command"]["values"], serde_json::json!([5]));
    assert_eq!((&ours["client"], &ours["robot"]), (&"plc".into(), &"cell4-robot".into()));
}

#[test]
fn a_refusal_is_an_alert_with_everything_in_its_context() {
    let event = command(Service::Modbus, Class::Register, Reason::ValueNotAllowed, true, write_register(16, &[1, 700]));
    let line = line(&event, None, None, false);
    assert_known(&line, &TOP);
    assert_eq!((&line["event_type"], &line["direction"]), (&"alert".into(), &"to_server".into()));
    assert!(line.get("pcap_cnt").is_none());
    let alert = &line["alert"];
    let known = ["action", "gid", "signature_id", "rev", "signature", "category", "severity", "metadata", "context"];
    assert_known(alert, &known);
    assert_eq!((&alert["action"], &alert["gid"]), (&"blocked".into(), &1.into()));
    assert_eq!(alert["signature_id"], signature_id(Reason::ValueNotAllowed));
    assert_eq!(alert["metadata"]["mitre_technique_id"], serde_json::json!(["T0836"]));
    let context = &alert["context"];
    assert_eq!((&context["event_id"], &context["rule"]), (&77.into(), &"plc-registers".into()));
    assert_eq!((&context["action"], &context["refusal"]), (&"refused".into(), &"reset".into()));
    assert_eq!((&context["class"], &context["reason"]), (&"register".into(), &"value_not_allowed".into()));
    let sentence = context["sentence"].as_str().unwrap();
    assert_eq!(
        sentence,
        "plc (10.20.0.21) sent cell4-robot (10.20.0.40) modbus write_multiple_registers 128..=129 = 1, 700: refused by \
         rule plc-registers (value_not_allowed): A value lies outside the rule's range, or can't be proven inside."
    );
    assert_eq!(line["modbus"]["request"]["data"], "000102bc");
}

#[test]
fn a_refusal_names_the_known_attack_that_it_looks_like() {
    let attack = |id: &str, signs: &[(Option<Service>, Reason)]| KnownAttack {
        id: id.to_owned(),
        cve: id.starts_with("CVE").then(|| id.to_owned()).into_iter().collect(),
        rvd: vec![7],
        signs: signs.to_vec(),
    };
    let told = |event: &Event, generation: u32| -> Value {
        let names = names();
        let shell = attack("CVE-2026-8153", &[(Some(Service::Dashboard), Reason::ShellMetacharacter)]);
        let link = attack("RVD-15", &[(None, Reason::Fragment)]);
        names.set_attacks(generation, vec![shell, link, attack("plc-registers", &[])]);
        let mut out = String::new();
        render(
            event,
            &Context { names: &names, answer: None, repeats: None, unit_hash: None, capture: false },
            &mut out,
        );
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    };
    let detail = Detail::Dashboard { verb: "load", text: Text::new(b"load `id`") };
    let line_of = |service, reason| {
        command(
            service,
            Class::Unknown,
            reason,
            true,
            if service == Service::Dashboard { detail } else { write_register(6, &[1]) },
        )
    };
    let line = told(&line_of(Service::Dashboard, Reason::ShellMetacharacter), 3);
    let expected = serde_json::json!(["CVE-2026-8153"]);
    for place in [&line["alert"]["context"], &line["alert"]["metadata"]] {
        assert_eq!((&place["patch"], &place["cve"]), (&expected, &expected), "{line}");
        assert_eq!(place["rvd"], serde_json::json!(["RVD-7"]));
    }
    let cef = cef(&line).unwrap_or_default();
    assert!(cef.contains("flexString1Label=knownAttack flexString1=CVE-2026-8153"), "{cef}");
    // By another service, for another reason, beside another policy, or let pass: nothing.
    for (event, generation) in [
        (line_of(Service::Modbus, Reason::ShellMetacharacter), 3),
        (line_of(Service::Dashboard, Reason::UnknownCommand), 3),
        (line_of(Service::Dashboard, Reason::ShellMetacharacter), 4),
        (line_of(Service::Dashboard, Reason::Allowed), 3),
    ] {
        assert!(!told(&event, generation).to_string().contains("\"patch\""));
    }
    // By the rule of a patch, and below commands.
    let line = told(&line_of(Service::Modbus, Reason::DeniedByRule), 3);
    assert_eq!(line["alert"]["context"]["patch"], serde_json::json!(["plc-registers"]));
    assert!(told(&line_of(Service::Modbus, Reason::ValueNotAllowed), 3)["alert"]["context"].get("patch").is_none());
    assert_eq!(told(&drop_frame(), 3)["alert"]["context"]["patch"], serde_json::json!(["RVD-15"]));
}

#[test]
fn what_shadow_would_refuse_is_an_alert_that_was_let_through() {
    let detail = Detail::Dashboard { verb: "shutdown", text: Text::new(b"shutdown") };
    let event = command(Service::Dashboard, Class::Shutdown, Reason::NoRule, false, detail);
    let line = line(&event, None, None, false);
    assert_eq!(line["alert"]["action"], "allowed");
    assert_eq!(line["alert"]["severity"], 1);
    assert_eq!(line["alert"]["metadata"]["mitre_technique_id"], serde_json::json!(["T0816"]));
    assert_eq!(line["alert"]["context"]["action"], "would_refuse");
    assert_eq!(line["alert"]["context"]["command"]["command"], "shutdown");
}

#[test]
fn own_types_are_named_like_their_services() {
    let rtde = Detail::Rtde { package: b'O', recipe: 0, text: Text::new(b"125 Hz: timestamp,actual_q"), in_use: None };
    let said = line(&command(Service::Rtde, Class::Session, Reason::SessionWord, true, rtde), None, None, false);
    assert_eq!((&said["event_type"], &said["rtde"]["package"]), (&"rtde".into(), &"setup_outputs".into()));
    assert_eq!(said["rtde"]["frequency_hz"], 125.0);
    assert_eq!(said["rtde"]["variables"], serde_json::json!(["timestamp", "actual_q"]));
    assert_eq!((&said["verdict"]["event_id"], &said["verdict"]["class"]), (&77.into(), &"session".into()));
    let script = Detail::UrScript {
        kind: urscript::Kind::Secondary,
        token_hash: [0x9f; 32],
        text: Text::new(b"io"),
        functions: Text::new(b"set_digital_out,textmsg"),
    };
    let said = line(&command(Service::UrScript, Class::Io, Reason::Allowed, true, script), None, None, false);
    assert_eq!((&said["event_type"], &said["urscript"]["kind"]), (&"urscript".into(), &"secondary".into()));
    assert_eq!(said["urscript"]["program"], format!("sha256:{}", "9f".repeat(32)));
    assert_eq!(said["urscript"]["functions"], serde_json::json!(["set_digital_out", "textmsg"]));
    let text = Text::new(b"timeout_ms=20,q0=1.5,q1=-0.25,q2=0,q3=0,q4=0,q5=0");
    let set_point = Detail::ExternalControl { channel: Channel::Reverse, name: "servoj", text };
    let set_point = command(Service::ExternalControl, Class::Motion, Reason::Allowed, true, set_point);
    let said = line(&set_point, None, None, false);
    let own = &said["external_control"];
    assert_eq!(
        (&said["event_type"], &own["socket"], &own["mode"]),
        (&"external_control".into(), &"reverse".into(), &"servoj".into())
    );
    assert_eq!((&own["timeout_ms"], &own["q1"]), (&20.0.into(), &(-0.25).into()));
    let transport = command(Service::Tcp(22), Class::Unknown, Reason::Allowed, true, Detail::Transport);
    let said = line(&transport, None, None, false);
    assert_eq!((&said["event_type"], &said["verdict"]["service"]), (&"verdict".into(), &"tcp/22".into()));
}

#[test]
fn hostile_text_is_escaped_and_nothing_of_it_is_lost() {
    let bytes = b"load \"\\\x1b[2J\xff\xe2\x80\xae\n\x00";
    let detail = Detail::Dashboard { verb: "load", text: Text::new(bytes) };
    let event = command(Service::Dashboard, Class::Program, Reason::Allowed, true, detail);
    let mut out = String::new();
    let names = names();
    render(&event, &Context { names: &names, answer: None, repeats: None, unit_hash: None, capture: false }, &mut out);
    assert!(out.bytes().all(|byte| byte >= 0x20), "control characters are escaped");
    assert!(!out.contains('\u{202e}'), "bidirectional overrides are escaped");
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["dashboard"]["text_hex"], "6c6f616420225c1b5b324affe280ae0a00");
    assert_eq!(value["dashboard"]["text"], String::from_utf8_lossy(bytes).as_ref());
    let detail = Detail::Dashboard { verb: "", text: Text::new(&[b'x'; 500]) };
    let long = line(&command(Service::Dashboard, Class::Unknown, Reason::Allowed, true, detail), None, None, false);
    assert_eq!(long["dashboard"]["text_cut"], true);
    assert!(long["dashboard"].get("text_hex").is_none());
}

#[test]
fn flows_count_from_their_opener() {
    let mut flow = FlowRecord {
        key: key(502),
        opened: Toward::Robot,
        service: Service::Modbus,
        start_ns: 1_000_000_000,
        end_ns: 61_500_000_000,
        frames: [10, 8],
        bytes: [1000, 800],
        commands: [4, 1],
        end: FlowEnd::Closed,
        reason: Reason::Allowed,
    };
    let event = |flow| Event { id: EventId(5), monotonic_ns: 0, wall_ns: 0, frame: 0, record: Record::Flow(flow) };
    let said = line(&event(flow), None, None, true);
    assert_known(&said, &TOP);
    assert_eq!((&said["src_ip"], &said["dest_port"]), (&"10.20.0.21".into(), &502.into()));
    assert_eq!((&said["flow"]["pkts_toserver"], &said["flow"]["bytes_toclient"]), (&10.into(), &800.into()));
    assert_eq!((&said["flow"]["age"], &said["flow"]["alerted"]), (&60.into(), &true.into()));
    assert!(said.get("pcap_cnt").is_none(), "a timer caused it");
    flow.opened = Toward::Plant;
    let said = line(&event(flow), None, None, false);
    assert_eq!((&said["src_ip"], &said["src_port"]), (&"10.20.0.40".into(), &502.into()));
    assert_eq!(said["flow"]["pkts_toserver"], 8);
    assert_eq!(said["metadata"]["flowvars"][0]["commands_refused"], 1);
}

#[test]
fn what_the_robot_says_travels_to_the_plant() {
    let record = |said, text: &[u8]| {
        let (key, service, text) = (key(30001), Service::UrScript, Text::new(text));
        let record = Record::Message(MessageRecord { key, service, said, text, unreported: 3 });
        Event { id: EventId(5), monotonic_ns: 0, wall_ns: 0, frame: 9, record }
    };
    let error = record(Said::ErrorCode { code: 204, argument: 3, level: Some(2) }, b"Path\x1b deviation");
    let mut told = line(&error, None, None, true);
    assert_eq!(
        told["robot_message"].as_object_mut().unwrap().remove("sentence"),
        Some(sentence(&error, &names()).into())
    );
    assert_eq!(
        (&told["event_type"], &told["src_ip"], &told["dest_ip"]),
        (&"robot_message".into(), &"10.20.0.40".into(), &"10.20.0.21".into())
    );
    let expected = serde_json::json!({"event_id": 5, "robot": "cell4-robot", "kind": "error_code", "code": 204,
        "argument": 3, "level": 2, "text": "Path\u{1b} deviation", "repeats": 3});
    assert_eq!(told["robot_message"], expected);
    assert!(sentence(&error, &names()).contains(" says C204A3: `Path"));
    let version = record(Said::Version { major: 5, minor: 13, bugfix: -1 }, b"");
    assert_eq!(line(&version, None, None, true)["robot_message"]["version"], "5.13.-1");
    assert!(sentence(&version, &names()).ends_with(" says that its version is 5.13.-1. 3 more before it."));
}

#[test]
fn a_silence_says_what_does_not_come() {
    let silent = |over| {
        let (service, toward) = (Service::Rtde, Toward::Plant);
        notice(Notice::Silent { key: key(30004), service, toward, silent_ns: 10_240_000, period_ns: 2_000_000, over })
    };
    let told = line(&silent(false), None, None, true);
    assert_eq!((&told["src_ip"], &told["dest_ip"]), (&"10.20.0.40".into(), &"10.20.0.21".into()));
    let ours = &told["notice"];
    assert_eq!((&ours["kind"], &ours["toward"], &ours["over"]), (&"silent".into(), &"plant".into(), &false.into()));
    assert_eq!((&ours["silent_us"], &ours["period_us"]), (&10_240.into(), &2_000.into()));
    assert!(cef(&told).unwrap().contains("|notice.silent|Vambrace notice silent|5|"));
    let (plc, arm) = ("plc (10.20.0.21)", "cell4-robot (10.20.0.40)");
    let head = format!("The rtde stream from {arm} to {plc} ");
    let lasts = "is silent: nothing reached the robot port for 10.2 ms, 2.0 ms are usual.";
    assert_eq!(sentence(&silent(false), &names()), format!("{head}{lasts}"));
    let over = "goes on after 10.2 ms; the sender had stopped, or waited itself.";
    assert_eq!(sentence(&silent(true), &names()), format!("{head}{over}"));
}

#[test]
fn a_late_frame_says_where_it_lost_its_time() {
    let late = |toward, whose| {
        notice(Notice::Late {
            key: key(30004),
            service: Service::Rtde,
            toward,
            whose,
            interval_ns: 15_240_000,
            period_ns: 2_010_000,
            residence_ns: 31_900,
            unreported: 4,
        })
    };
    let event = late(Toward::Plant, Whose::Robot);
    let told = line(&event, None, None, true);
    assert_eq!(
        (&told["event_type"], &told["src_ip"], &told["dest_ip"], &told["dest_port"]),
        (&"notice".into(), &"10.20.0.40".into(), &"10.20.0.21".into(), &49152.into())
    );
    let ours = &told["notice"];
    assert_eq!(
        (&ours["kind"], &ours["service"], &ours["toward"], &ours["whose"]),
        (&"late".into(), &"rtde".into(), &"plant".into(), &"robot".into())
    );
    assert_eq!(
        (&ours["interval_us"], &ours["period_us"], &ours["in_the_box_us"], &ours["unreported"]),
        (&15_240.into(), &2_010.into(), &31.into(), &4.into())
    );
    let cef = cef(&told).unwrap();
    assert!(
        cef.starts_with("CEF:0|Vambrace|Vambrace|") && cef.contains("|notice.late|Vambrace notice late|5|"),
        "{cef}"
    );
    assert!(cef.contains(" cat=robot ") && cef.contains(" src=10.20.0.40 "), "{cef}");
    let (plc, arm) = ("plc (10.20.0.21)", "cell4-robot (10.20.0.40)");
    let head = |from, to| {
        format!(
            "The rtde stream from {from} to {to} came 13.2 ms late (15.2 ms after the frame before it, 2.0 ms are usual): "
        )
    };
    for (toward, whose, expected) in [
        (Toward::Plant, Whose::Robot, format!("it was late when it reached the robot port, {arm} sent it late.")),
        (Toward::Robot, Whose::Client, format!("it was late when it reached the plant port, {plc} sent it late.")),
        (
            Toward::Robot,
            Whose::Network,
            format!(
                "it was late when it reached the plant port, though {plc} sent it in time; it was held up or lost on the way."
            ),
        ),
        (
            Toward::Robot,
            Whose::Plant,
            format!("it was late when it reached the plant port; whether {plc} or the network was late can't be told."),
        ),
        (Toward::Robot, Whose::Box, "it reached the plant port in time; the box held what came before it.".to_owned()),
    ] {
        let (from, to) = if toward == Toward::Robot { (plc, arm) } else { (arm, plc) };
        assert_eq!(sentence(&late(toward, whose), &names()), head(from, to) + &expected + " 4 more before it.");
    }
}

#[test]
fn repeats_say_how_many_since_when_and_in_which_range() {
    let event = command(Service::Modbus, Class::Register, Reason::Allowed, true, write_register(6, &[5]));
    let repeats = Repeats {
        count: 998,
        first: EventId(2),
        first_ns: 1_000,
        written: vec![[20, 69]],
        read: vec![[7, 7]],
        numbers: vec![("speed_slider_fraction".into(), [0.25, 1.0])],
    };
    let said = line(&event, None, Some(&repeats), false);
    let told = &said["metadata"]["flowvars"][0]["repeats"];
    assert_eq!((&told["count"], &told["first_id"]), (&998.into(), &2.into()));
    assert_eq!(told["written"], serde_json::json!([[20, 69]]));
    assert_eq!(told["numbers"]["speed_slider_fraction"], serde_json::json!([0.25, 1.0]));
}

#[test]
fn the_summary_adds_up() {
    let mut summary = Summary { forwarded: 5, dropped: 2, ..Summary::default() };
    for reason in [Reason::Allowed, Reason::ValueNotAllowed, Reason::ValueNotAllowed, Reason::NoRule] {
        let event = command(Service::Modbus, Class::Register, reason, true, write_register(6, &[5]));
        let Record::Command(command) = event.record else { panic!("a command") };
        summary.command(&command);
    }
    let mut out = String::new();
    summary.render(&mut out);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&value["event_type"], &value["frames"]), (&"summary".into(), &7.into()));
    assert_eq!((&value["commands"], &value["allowed"], &value["refused"]), (&4.into(), &1.into(), &3.into()));
    assert_eq!(value["by_reason"], serde_json::json!({"no_rule": 1, "value_not_allowed": 2}));
    assert_eq!(value["by_service"], serde_json::json!({"modbus": 4}));
    let mut out = String::new();
    Stats { frames: 3, ..Stats::default() }.render(&names(), &mut out);
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_known(&value, &TOP);
    assert_eq!(value["stats"]["decoder"]["pkts"], 3);
}

fn text<const N: usize>() -> impl Strategy<Value = Text<N>> {
    proptest::collection::vec(any::<u8>(), 0..N + 8).prop_map(|bytes| Text::new(&bytes))
}

fn detail() -> impl Strategy<Value = Detail> {
    let modbus =
        (any::<[u16; 16]>(), 0u8..20, any::<(u16, u8, u8)>(), any::<[Option<(u16, u16)>; 2]>(), any::<Option<u16>>());
    let modbus = modbus.prop_map(|(values, values_len, (transaction, unit, function), [read, write], sub_function)| {
        Detail::Modbus(ModbusDetail { transaction, unit, function, sub_function, read, write, values, values_len })
    });
    let kinds = prop_oneof![
        Just(urscript::Kind::Program),
        Just(urscript::Kind::Statement),
        Just(urscript::Kind::Bare),
        Just(urscript::Kind::Interpreter)
    ];
    prop_oneof![
        modbus,
        (any::<u8>(), any::<u8>(), text()).prop_map(|(package, recipe, text)| Detail::Rtde {
            package,
            recipe,
            text,
            in_use: None
        }),
        text().prop_map(|text| Detail::Rtde { package: b'O', recipe: 0, text, in_use: None }),
        text().prop_map(|text| Detail::Dashboard { verb: "load", text }),
        (kinds, any::<[u8; 32]>(), text(), text()).prop_map(|(kind, token_hash, text, functions)| Detail::UrScript {
            kind,
            token_hash,
            text,
            functions
        }),
        (proptest::sample::select(Channel::ALL.to_vec()), text()).prop_map(|(channel, text)| Detail::ExternalControl {
            channel,
            name: "servoj",
            text
        }),
        Just(Detail::Transport),
        (any::<u32>(), text()).prop_map(|(offset, bytes)| Detail::Unreadable { field: "length", offset, bytes }),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let reasons = proptest::sample::select(Reason::ALL);
    let verdict = (reasons, any::<(bool, u16, u32)>()).prop_map(|(reason, (allowed, rule, generation))| {
        let action = if allowed { Action::Forward } else { Action::Drop };
        Verdict { action, reason, rule: RuleId(rule), generation }
    });
    let toward = prop_oneof![Just(Toward::Robot), Just(Toward::Plant)];
    let ends = any::<([u8; 16], [u8; 16], u16, u16, u8, bool)>().prop_map(|(a, b, a_port, b_port, protocol, v6)| {
        let end = |address, port| Endpoint { address, port };
        FlowKey::new(end(a, a_port), end(b, b_port), protocol, if v6 { 6 } else { 4 })
    });
    let service = prop_oneof![
        Just(Service::Modbus),
        Just(Service::Rtde),
        Just(Service::Dashboard),
        Just(Service::UrScript),
        Just(Service::ExternalControl),
        any::<u16>().prop_map(Service::Tcp)
    ];
    let class = proptest::sample::select(Class::ALL.to_vec());
    let notice = prop_oneof![
        Just(Notice::Started),
        any::<(u32, [u8; 8], u32)>().prop_map(|(generation, digest, uid)| Notice::Policy { generation, digest, uid }),
        any::<i64>().prop_map(|by_ns| Notice::ClockJump { by_ns }),
        any::<u64>().prop_map(|count| Notice::RecordsLost { count }),
        any::<(u32, u16, u32, Option<(u8, u8, i32)>)>().prop_map(|(pack, in_force, generation, version)| {
            Notice::Patches { pack, in_force, generation, version }
        }),
        any::<[u16; 5]>().prop_map(|[protected, not_protected, not_applicable, not_containable, untested]| {
            Notice::PatchTest { protected, not_protected, not_applicable, not_containable, untested }
        }),
    ];
    let parts = (ends, toward, service, class, verdict, any::<bool>(), detail(), text::<96>(), any::<[u64; 8]>());
    (parts, 0..5u8, notice).prop_map(|(parts, which, notice)| {
        let (key, opened, service, class, verdict, enforced, detail, text, n) = parts;
        match which {
            0 => Record::Command(CommandRecord {
                key,
                opened,
                service,
                class,
                verdict,
                enforced,
                len: 7,
                unit: Text::new(text.as_bytes()),
                robot: CONTEXT,
                detail,
            }),
            1 => Record::Frame(FrameRecord {
                toward: opened,
                key: enforced.then_some(key),
                macs: (Mac([1; 6]), Mac([2; 6])),
                ether_type: n[0] as u16,
                verdict,
                enforced,
                repeats: n[1] as u32,
            }),
            2 => Record::Flow(FlowRecord {
                key,
                opened,
                service,
                start_ns: n[0],
                end_ns: n[1],
                frames: [n[2], n[3]],
                bytes: [n[4], n[5]],
                commands: [n[6], n[7]],
                end: FlowEnd::Lasting,
                reason: verdict.reason,
            }),
            3 => {
                let (code, argument) = (n[0] as i32, n[1] as i32);
                let said = match n[2] % 7 {
                    0 => Said::Text,
                    1 => Said::Popup { grave: Some(enforced) },
                    2 => Said::Version { major: n[0] as u8, minor: n[1] as u8, bugfix: n[3] as i32 },
                    3 => Said::SafetyMode { code, argument, mode: Some(n[3] as i8) },
                    4 => Said::ErrorCode { code, argument, level: Some(n[3] as u8) },
                    5 => Said::Key { code, argument },
                    _ => Said::RuntimeException { line: code, column: argument },
                };
                Record::Message(MessageRecord { key, service, said, text, unreported: n[4] as u32 })
            }
            _ if enforced => Record::Notice(notice),
            _ => {
                let (values, values_len) = ([n[0] as u16; 16], n[1] as u8);
                let exception = n[2] as u8;
                Record::Answer(Answer {
                    to: EventId(n[3]),
                    key,
                    service,
                    exception,
                    values,
                    values_len,
                    text,
                    recipe: n[4] as u8,
                    in_use: None,
                })
            }
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever stood on the wire: one line, valid JSON, with the event's id where it is looked for.
    #[test]
    fn any_event_is_one_valid_line(record in record(), other in record(), wall_ns: u64, id: u64) {
        let event = Event { id: EventId(id), monotonic_ns: 0, wall_ns, frame: 1, record };
        let answer = match other { Record::Answer(answer) => Some(answer), _ => None };
        let names = names();
        let mut out = String::new();
        render(&event, &Context { names: &names, answer: answer.as_ref(), repeats: None, unit_hash: None, capture: true }, &mut out);
        prop_assert!(out.chars().all(|character| !character.is_control()), "control characters");
        let value: Value = serde_json::from_str(&out).map_err(|error| TestCaseError::fail(format!("{error}: {out}")))?;
        let needle = format!("\"event_id\":{id}");
        prop_assert!(out.contains(&needle));
        let time = value["timestamp"].as_str().unwrap_or_default();
        prop_assert!(time.len() == 31 && time.ends_with("+0000"), "{}", time);
        if ["alert", "modbus", "flow", "anomaly", "drop"].contains(&value["event_type"].as_str().unwrap_or_default()) {
            assert_known(&value, &TOP);
        }
        let said = sentence(&event, &names);
        prop_assert!(said.chars().all(|character| !character.is_control()), "{said}");
    }
}

//! EVE JSON: one line an event, as Suricata's users know it.
//!
//! `alert`, `modbus`, `flow`, `drop`, `anomaly` and `stats` use Suricata's keys only. What is ours stands where its
//! schema is open: in `alert.context`, and for the others in one item of `metadata.flowvars` with the key `vambrace`.
//! `rtde`, `dashboard`, `urscript`, `robot_message`, `verdict` and `notice` are types of our own; the manual's `eve-events.md` describes
//! them.

mod modbus;
mod notice;

use base64::prelude::{BASE64_STANDARD, Engine};
use dissect::Toward;
use external_control::Channel;
use link::{FlowKey, Mac};

use super::attack::technique;
use super::json::{Object, digits, hex};
use super::{KnownAttack, Names, community, sentence, sid};
use crate::command::{Class, Service};
use crate::event::{
    Answer, CommandRecord, Detail, Event, FlowEnd, FlowRecord, FrameRecord, MessageRecord, Notice, Record, Render,
    Repeats, Said, Settled, Text, UnitPart, items,
};

/// What a line needs beside its event.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// What numbers are called.
    pub names: &'a Names,
    /// The answer to the command, where one came.
    pub answer: Option<&'a Answer>,
    /// The repeats that the record stands for.
    pub repeats: Option<&'a Repeats>,
    /// SHA-256 of the whole unit, where the event holds only the beginning and the rest is kept elsewhere.
    pub unit_hash: Option<&'a [u8; 32]>,
    /// Whether the events come from a capture: then `pcap_cnt` says which frame.
    pub capture: bool,
}

/// Appends the line of `event`, one JSON object, without line end.
pub fn render(event: &Event, context: &Context<'_>, out: &mut String) {
    let line = Line { event, context };
    Object::write(out, |object| match &event.record {
        Record::Command(command) => line.command(object, command),
        Record::Answer(answer) => line.anomaly(object, &answer.key, answer.service, "answer_to_nothing"),
        Record::Message(message) => line.message(object, message),
        Record::Frame(frame) => line.frame(object, frame),
        Record::Flow(flow) => line.flow(object, flow),
        Record::Notice(Notice::Anomaly { key, service, what }) => line.anomaly(object, key, *service, what),
        Record::Notice(Notice::Unreadable { key, reason }) => {
            line.anomaly(object, key, Service::Tcp(key.robot.port), reason.name());
        }
        Record::Notice(notice) => line.notice(object, notice),
    });
}

/// Renders for the recorder.
#[derive(Clone, Debug)]
pub struct EveRender {
    /// What numbers are called.
    pub names: std::sync::Arc<Names>,
    /// Whether the events come from a capture.
    pub capture: bool,
}

impl Render for EveRender {
    fn line(&mut self, settled: &Settled, out: &mut String) {
        let (answer, repeats) = (settled.answer.as_ref(), settled.repeats.as_ref());
        let unit_hash = settled.unit_hash.as_ref();
        render(&settled.event, &Context { names: &self.names, answer, repeats, unit_hash, capture: self.capture }, out);
    }

    fn sentence(&mut self, event: &Event) -> String {
        sentence(event, &self.names)
    }

    fn unit(&mut self, part: &UnitPart<'_>, out: &mut String) {
        Object::write(out, |line| {
            line.text("timestamp", &timestamp(part.event.wall_ns));
            line.text("event_type", "unit");
            line.text("host", self.names.host());
            line.object("unit", |unit| {
                unit.hex("sha256", part.hash);
                unit.number("first_event", part.event.id.0);
                unit.number("bytes", u64::try_from(part.total).unwrap_or(u64::MAX));
                unit.number("offset", u64::try_from(part.offset).unwrap_or(u64::MAX));
                match std::str::from_utf8(part.bytes) {
                    Ok(text) => unit.text("text", text),
                    Err(_) => unit.text("base64", &BASE64_STANDARD.encode(part.bytes)),
                }
            });
        });
    }
}

/// Suricata's form of a time: `2026-11-23T13:58:02.114209+0000`.
pub(super) fn timestamp(wall_ns: u64) -> String {
    let time = jiff::Timestamp::from_nanosecond(i128::from(wall_ns)).unwrap_or(jiff::Timestamp::MAX);
    let time = jiff::tz::TimeZone::UTC.to_datetime(time);
    let mut out = String::with_capacity(31);
    let mut part = |number: u32, width, behind| {
        digits(&mut out, number, width);
        out.push_str(behind);
    };
    let unsigned = |number: i8| u32::from(number.unsigned_abs());
    part(u32::from(time.year().unsigned_abs()), 4, "-");
    part(unsigned(time.month()), 2, "-");
    part(unsigned(time.day()), 2, "T");
    part(unsigned(time.hour()), 2, ":");
    part(unsigned(time.minute()), 2, ":");
    part(unsigned(time.second()), 2, ".");
    part(time.subsec_nanosecond().unsigned_abs() / 1000, 6, "+0000");
    out
}

/// The name of an RTDE package type, or `unknown`.
pub(super) fn package_name(package: u8) -> &'static str {
    rtde::PackageType::of_byte(package).map_or("unknown", rtde::PackageType::name)
}

/// The policy's word for a kind of URScript unit.
pub(super) const fn kind_name(kind: urscript::Kind) -> &'static str {
    match kind {
        urscript::Kind::Program => "program",
        urscript::Kind::Secondary => "secondary",
        urscript::Kind::Statement => "statement",
        urscript::Kind::Bare => "bare",
        urscript::Kind::Interpreter => "interpreter",
        urscript::Kind::Blank => "blank",
    }
}

/// The policy's word for a Modbus function code.
pub(super) fn function_name(function: u8) -> &'static str {
    ::modbus::FunctionCode(function).name()
}

struct Line<'a> {
    event: &'a Event,
    context: &'a Context<'a>,
}

impl Line<'_> {
    /// The members that every line begins with; ends and proto in the direction of `source_side`'s frames.
    fn head(&self, line: &mut Object<'_>, event_type: &str, ends: Option<(&FlowKey, Toward)>) {
        line.text("timestamp", &timestamp(self.event.wall_ns));
        let ends = ends.map(|(key, toward)| (key, toward, community::digest(key)));
        if let Some((_, _, digest)) = &ends {
            line.number("flow_id", flow_id(digest));
        }
        if self.context.capture && self.event.frame > 0 {
            line.number("pcap_cnt", self.event.frame);
        }
        line.text("event_type", event_type);
        line.text("host", self.context.names.host());
        let Some((key, toward, digest)) = ends else { return };
        let (source, destination) = (key.source(toward), key.destination(toward));
        line.text("src_ip", &source.ip().to_string());
        line.number("src_port", source.port);
        line.text("dest_ip", &destination.ip().to_string());
        line.number("dest_port", destination.port);
        match key.protocol {
            6 => line.text("proto", "TCP"),
            17 => line.text("proto", "UDP"),
            other => line.text("proto", &other.to_string()),
        }
        line.text("community_id", &community::text(&digest));
    }

    fn command(&self, line: &mut Object<'_>, command: &CommandRecord) {
        let ends = Some((&command.key, command.opened));
        if !command.verdict.is_allowed() {
            self.head(line, "alert", ends);
            line.text("direction", if command.toward() == command.opened { "to_server" } else { "to_client" });
            self.app_proto(line, command.service);
            self.alert(line, command);
            if let Detail::Modbus(detail) = &command.detail {
                line.object("modbus", |object| {
                    modbus::transaction(object, self.event.id.0, detail, self.context.answer)
                });
            }
            return;
        }
        match &command.detail {
            Detail::Modbus(detail) => {
                self.head(line, "modbus", ends);
                line.object("modbus", |object| {
                    modbus::transaction(object, self.event.id.0, detail, self.context.answer)
                });
                self.ours(line, |ours| {
                    self.verdict(ours, command);
                    ours.object("command", |object| fields(object, command));
                    self.answered(ours);
                    self.repeated(ours);
                });
            }
            Detail::Rtde { .. }
            | Detail::RtdeData { .. }
            | Detail::Dashboard { .. }
            | Detail::UrScript { .. }
            | Detail::ExternalControl { .. } => {
                let kind = match command.detail {
                    Detail::Rtde { .. } | Detail::RtdeData { .. } => "rtde",
                    Detail::Dashboard { .. } => "dashboard",
                    Detail::ExternalControl { .. } => "external_control",
                    _ => "urscript",
                };
                self.head(line, kind, ends);
                line.object(kind, |object| {
                    fields(object, command);
                    self.answered(object);
                });
                line.object("verdict", |object| self.verdict(object, command));
                self.repeated(line);
            }
            Detail::Transport | Detail::Unreadable { .. } => {
                self.head(line, "verdict", ends);
                line.object("verdict", |object| {
                    self.verdict(object, command);
                    object.object("command", |object| fields(object, command));
                });
            }
        }
    }

    fn alert(&self, line: &mut Object<'_>, command: &CommandRecord) {
        let verdict = &command.verdict;
        let technique = technique(verdict.reason, Some(command.class), Some(command.service));
        let attacks = self.context.names.attacks(verdict, Some(command.service));
        line.object("alert", |alert| {
            alert.text("action", if command.enforced { "blocked" } else { "allowed" });
            alert.number("gid", 1u64);
            alert.number("signature_id", sid::signature_id(verdict.reason));
            alert.number("rev", 1u64);
            alert.text("signature", &format!("Vambrace {} {}", command.service, verdict.reason.name()));
            alert.text("category", verdict.reason.sentence());
            alert.number("severity", severity(command.class));
            alert.object("metadata", |metadata| {
                metadata.texts("reason", [verdict.reason.name()]);
                metadata.texts("class", [command.class.name()]);
                if let Some(rule) = self.context.names.rule(verdict) {
                    metadata.texts("rule", [rule.as_str()]);
                }
                if let Some(technique) = technique {
                    metadata.texts("mitre_technique_id", [technique.id]);
                    metadata.texts("mitre_technique_name", [technique.name]);
                }
                known(metadata, &attacks);
            });
            alert.object("context", |context| {
                self.verdict(context, command);
                known(context, &attacks);
                context.text("sentence", &sentence(self.event, self.context.names));
                context.object("command", |object| fields(object, command));
                self.answered(context);
                self.repeated(context);
            });
        });
    }

    /// Who, and what was decided: the members that every judged command has.
    fn verdict(&self, object: &mut Object<'_>, command: &CommandRecord) {
        let (verdict, names) = (&command.verdict, self.context.names);
        self.decided(object, verdict, command.enforced);
        object.text("service", &command.service.to_string());
        object.text("class", command.class.name());
        if let Some(client) = names.asset(command.key.plant.ip()) {
            object.text("client", client);
        }
        if let Some(robot) = names.asset(command.key.robot.ip()) {
            object.text("robot", robot);
        }
        if command.toward() == Toward::Plant {
            object.text("toward", "plant");
        }
        object.number("length", command.len);
        if !command.unit.is_empty() {
            object.hex("unit_hex", command.unit.as_bytes());
            if command.unit.is_cut() {
                object.flag("unit_cut", true);
                if let Some(hash) = self.context.unit_hash {
                    object.hex("unit_sha256", hash);
                }
            }
        }
        if !command.robot.is_empty() {
            object.object("robot_state", |object| {
                for (key, name) in command.robot.named() {
                    object.text(key, name);
                }
            });
        }
    }

    fn decided(&self, object: &mut Object<'_>, verdict: &crate::event::Verdict, enforced: bool) {
        object.number("event_id", self.event.id.0);
        object.text(
            "action",
            match (verdict.is_allowed(), enforced) {
                (true, _) => "allowed",
                (false, true) => "refused",
                (false, false) => "would_refuse",
            },
        );
        if !verdict.is_allowed() {
            object.text("refusal", verdict.action.name());
        }
        object.text("reason", verdict.reason.name());
        if let Some(rule) = self.context.names.rule(verdict) {
            object.text("rule", &rule);
        }
        object.number("generation", verdict.generation);
    }

    fn answered(&self, object: &mut Object<'_>) {
        let Some(answer) = self.context.answer else { return };
        object.object("answer", |object| {
            if answer.exception != 0 {
                object.number("exception", answer.exception);
            }
            if answer.values_len > 0 {
                object.numbers("values", taken(&answer.values, answer.values_len));
            }
            if !answer.text.is_empty() {
                wire(object, "text", &answer.text);
            }
            if answer.recipe != 0 {
                object.number("recipe", answer.recipe);
            }
            if let Some(in_use) = answer.in_use {
                object.text("in_use", &in_use.to_string());
            }
        });
    }

    fn repeated(&self, object: &mut Object<'_>) {
        let Some(repeats) = self.context.repeats else { return };
        let pair = |out: &mut String, pair: &[u16; 2]| {
            let [low, high] = pair;
            out.push_str(&format!("[{low},{high}]"));
        };
        object.object("repeats", |object| {
            object.number("count", repeats.count);
            object.number("first_id", repeats.first.0);
            object.text("first", &timestamp(repeats.first_ns));
            if !repeats.written.is_empty() {
                object.array("written", &repeats.written, pair);
            }
            if !repeats.read.is_empty() {
                object.array("read", &repeats.read, pair);
            }
            if !repeats.numbers.is_empty() {
                object.object("numbers", |object| {
                    for (name, range) in &repeats.numbers {
                        object.array(name, range.iter().filter(|number| number.is_finite()), |out, number| {
                            out.push_str(&format!("{number:?}"));
                        });
                    }
                });
            }
        });
    }

    fn frame(&self, line: &mut Object<'_>, frame: &FrameRecord) {
        let ends = frame.key.as_ref().map(|key| (key, frame.toward));
        let refused = !frame.verdict.is_allowed();
        self.head(line, if refused { "drop" } else { "verdict" }, ends);
        let (source, destination): (Mac, Mac) = frame.macs;
        line.object("ether", |ether| {
            ether.text("src_mac", &source.to_string());
            ether.text("dest_mac", &destination.to_string());
        });
        let service = frame.key.map(|key| match key.protocol {
            17 => Service::Udp(key.robot.port),
            _ => Service::of_tcp_port(key.robot.port),
        });
        let attacks = self.context.names.attacks(&frame.verdict, service);
        let context = |object: &mut Object<'_>| {
            self.decided(object, &frame.verdict, frame.enforced);
            known(object, &attacks);
            object.text("toward", if frame.toward == Toward::Robot { "robot" } else { "plant" });
            object.text("ether_type", &format!("0x{:04x}", frame.ether_type));
            object.number("repeats", frame.repeats);
            object.text("sentence", &sentence(self.event, self.context.names));
        };
        if !refused {
            line.object("verdict", context);
            return;
        }
        line.object("drop", |drop| drop.text("reason", frame.verdict.reason.name()));
        let technique = technique(frame.verdict.reason, None, service);
        line.object("alert", |alert| {
            alert.text("action", if frame.enforced { "blocked" } else { "allowed" });
            alert.number("gid", 1u64);
            alert.number("signature_id", sid::signature_id(frame.verdict.reason));
            alert.number("rev", 1u64);
            alert.text("signature", &format!("Vambrace frame {}", frame.verdict.reason.name()));
            alert.text("category", frame.verdict.reason.sentence());
            alert.number("severity", 3u64);
            alert.object("metadata", |metadata| {
                metadata.texts("reason", [frame.verdict.reason.name()]);
                if let Some(technique) = technique {
                    metadata.texts("mitre_technique_id", [technique.id]);
                    metadata.texts("mitre_technique_name", [technique.name]);
                }
                known(metadata, &attacks);
            });
            alert.object("context", context);
        });
    }

    fn flow(&self, line: &mut Object<'_>, flow: &FlowRecord) {
        self.head(line, "flow", Some((&flow.key, flow.opened)));
        self.app_proto(line, flow.service);
        let [frames_robot, frames_plant] = flow.frames;
        let [bytes_robot, bytes_plant] = flow.bytes;
        let (frames, bytes) = match flow.opened {
            Toward::Robot => ([frames_robot, frames_plant], [bytes_robot, bytes_plant]),
            Toward::Plant => ([frames_plant, frames_robot], [bytes_plant, bytes_robot]),
        };
        let [allowed, refused] = flow.commands;
        line.object("flow", |object| {
            let ([to_server, to_client], [bytes_to_server, bytes_to_client]) = (frames, bytes);
            object.number("pkts_toserver", to_server);
            object.number("pkts_toclient", to_client);
            object.number("bytes_toserver", bytes_to_server);
            object.number("bytes_toclient", bytes_to_client);
            object.text("start", &timestamp(flow.start_ns));
            object.text("end", &timestamp(flow.end_ns));
            object.number("age", flow.end_ns.saturating_sub(flow.start_ns) / 1_000_000_000);
            object.text(
                "state",
                match flow.end {
                    FlowEnd::Closed | FlowEnd::Reset | FlowEnd::Refused => "closed",
                    FlowEnd::TimedOut | FlowEnd::Lasting if to_client > 0 && to_server > 0 => "established",
                    FlowEnd::TimedOut | FlowEnd::Lasting => "new",
                },
            );
            object.text(
                "reason",
                match flow.end {
                    FlowEnd::Closed | FlowEnd::Reset | FlowEnd::TimedOut => "timeout",
                    FlowEnd::Refused => "forced",
                    FlowEnd::Lasting => "shutdown",
                },
            );
            object.flag("alerted", refused > 0 || flow.end == FlowEnd::Refused);
        });
        self.ours(line, |ours| {
            ours.number("event_id", self.event.id.0);
            ours.text("service", &flow.service.to_string());
            ours.number("commands_allowed", allowed);
            ours.number("commands_refused", refused);
            ours.text(
                "end",
                match flow.end {
                    FlowEnd::Closed => "closed",
                    FlowEnd::Reset => "reset",
                    FlowEnd::Refused => "refused",
                    FlowEnd::TimedOut => "timed_out",
                    FlowEnd::Lasting => "lasting",
                },
            );
            ours.text("reason", flow.reason.name());
        });
    }

    /// Something that the robot said: it travels toward the plant.
    fn message(&self, line: &mut Object<'_>, message: &MessageRecord) {
        self.head(line, "robot_message", Some((&message.key, Toward::Plant)));
        self.app_proto(line, message.service);
        line.object("robot_message", |object| {
            object.number("event_id", self.event.id.0);
            if let Some(robot) = self.context.names.asset(message.key.robot.ip()) {
                object.text("robot", robot);
            }
            object.text("kind", message.said.name());
            said(object, &message.said);
            if !message.text.is_empty() {
                wire(object, "text", &message.text);
            }
            object.number("repeats", message.unreported);
            object.text("sentence", &sentence(self.event, self.context.names));
        });
    }

    fn anomaly(&self, line: &mut Object<'_>, key: &FlowKey, service: Service, what: &str) {
        // Neither end is known to have opened it: toward the robot, as commands go.
        self.head(line, "anomaly", Some((key, Toward::Robot)));
        self.app_proto(line, service);
        line.object("anomaly", |anomaly| {
            anomaly.text("type", "applayer");
            anomaly.text("event", what);
            anomaly.text("layer", "proto_parser");
            if service.is_dissected() {
                anomaly.text("app_proto", &service.to_string());
            }
        });
        self.ours(line, |ours| ours.number("event_id", self.event.id.0));
    }

    fn app_proto(&self, line: &mut Object<'_>, service: Service) {
        if service.is_dissected() {
            line.text("app_proto", &service.to_string());
        }
    }

    /// Our members in a record of Suricata's: an item of `metadata.flowvars`, which its schema leaves open.
    fn ours(&self, line: &mut Object<'_>, fill: impl Fn(&mut Object<'_>)) {
        line.object("metadata", |metadata| {
            metadata.array("flowvars", [()], |out, ()| {
                Object::write(out, |ours| {
                    ours.text("key", "vambrace");
                    fill(ours);
                });
            });
        });
    }
}

/// The numbers of what a robot said.
fn said(object: &mut Object<'_>, said: &Said) {
    let mut coded = |code: i32, argument: i32| {
        object.signed("code", code.into());
        object.signed("argument", argument.into());
    };
    match *said {
        Said::Text | Said::Popup { grave: None } => {}
        Said::Popup { grave: Some(grave) } => object.flag("grave", grave),
        Said::Version { major, minor, bugfix } => object.text("version", &format!("{major}.{minor}.{bugfix}")),
        Said::SafetyMode { code, argument, mode } => {
            coded(code, argument);
            if let Some(mode) = mode {
                object.signed("safety_mode", mode.into());
            }
        }
        Said::ErrorCode { code, argument, level } => {
            coded(code, argument);
            if let Some(level) = level {
                object.number("level", level);
            }
        }
        Said::Key { code, argument } => coded(code, argument),
        Said::RuntimeException { line, column } => {
            object.signed("line", line.into());
            object.signed("column", column.into());
        }
    }
}

/// What a command said, by service.
fn fields(object: &mut Object<'_>, command: &CommandRecord) {
    match &command.detail {
        Detail::Modbus(detail) => modbus::fields(object, detail),
        Detail::RtdeData { .. } => {
            let mut spelled = *command;
            spelled.spell_out();
            fields(object, &spelled);
        }
        Detail::Rtde { package, recipe, text, in_use } => {
            object.text("package", package_name(*package));
            object.number("package_type", *package);
            if *recipe != 0 {
                object.number("recipe", *recipe);
            }
            match std::str::from_utf8(text.as_bytes()) {
                Ok(said) if !text.is_empty() => {
                    let list = match said.split_once(" Hz: ") {
                        Some((frequency, list)) if *package == b'O' => {
                            object.raw_number("frequency_hz", frequency);
                            list
                        }
                        _ => said,
                    };
                    let variables = items(list.as_bytes()).filter(|item| !item.is_empty());
                    object.texts("variables", variables.filter_map(|item| std::str::from_utf8(item).ok()));
                    if text.is_cut() {
                        object.flag("variables_cut", true);
                    }
                }
                Ok(_) => {}
                Err(_) => wire(object, "text", text),
            }
            if let Some(in_use) = in_use {
                object.text("in_use", &in_use.to_string());
            }
        }
        Detail::Dashboard { verb, text } => {
            if !verb.is_empty() {
                object.text("command", verb);
            }
            wire(object, "text", text);
        }
        Detail::UrScript { kind, token_hash, text, functions } => {
            object.text("kind", kind_name(*kind));
            object.text("program", &format!("sha256:{}", hex(token_hash)));
            wire(object, "text", text);
            match std::str::from_utf8(functions.as_bytes()) {
                Ok(names) => object.texts("functions", names.split(',').filter(|name| !name.is_empty())),
                Err(_) => wire(object, "functions_text", functions),
            }
            if functions.is_cut() {
                object.flag("functions_cut", true);
            }
        }
        Detail::ExternalControl { channel, name, text } => {
            object.text("socket", channel.name());
            object.text(if *channel == Channel::ScriptCommand { "function" } else { "mode" }, name);
            for (name, value) in
                items(text.as_bytes()).filter_map(|item| std::str::from_utf8(item).ok()?.split_once('='))
            {
                if name == "program" {
                    object.text(name, value);
                } else {
                    object.raw_number(name, value);
                }
            }
        }
        Detail::Transport => object.text("port", &command.service.to_string()),
        Detail::Unreadable { field, offset, bytes } => {
            object.text("field", field);
            object.number("offset", *offset);
            object.hex("bytes_hex", bytes.as_bytes());
        }
    }
}

fn wire<const N: usize>(object: &mut Object<'_>, key: &str, text: &Text<N>) {
    object.wire_text(key, text.as_bytes(), text.is_cut());
}

fn taken(values: &[u16; 16], len: u8) -> &[u16] {
    values.get(..usize::from(len)).unwrap_or(values)
}

/// A number for a conversation, the same for both directions, small enough for readers that take numbers for floats.
fn flow_id(digest: &[u8; 20]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 11
}

/// Suricata's severity, 1 the gravest.
const fn severity(class: Class) -> u64 {
    match class {
        Class::Safety | Class::Privilege | Class::Shutdown | Class::Motion | Class::Program | Class::Unknown => 1,
        Class::Io | Class::Register | Class::Parameter | Class::Network | Class::File | Class::Stop => 2,
        Class::Read | Class::Session | Class::Interface => 3,
    }
}

/// The known attacks that a refusal looks like.
fn known(object: &mut Object<'_>, attacks: &[KnownAttack]) {
    if attacks.is_empty() {
        return;
    }
    object.texts("patch", attacks.iter().map(|attack| attack.id.as_str()));
    object.texts("cve", attacks.iter().flat_map(|attack| attack.cve.iter().map(String::as_str)));
    let rvd: Vec<String> =
        attacks.iter().flat_map(|attack| attack.rvd.iter().map(|number| format!("RVD-{number}"))).collect();
    object.texts("rvd", rvd.iter().map(String::as_str));
}

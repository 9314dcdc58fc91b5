//! The same conversations as the product's own dissectors read them, in the words of the fields in Wireshark.

use std::collections::VecDeque;

use client_interface::{Interface, Message, Package as ClientPackage, PackageType, Record, RobotState, Said};
use dashboard::{Line, ReplyLine};
use dissect::{Step, Toward};
use external_control::{Action, Channel, Motion, Order, Point, Record as Integers, Trajectory};
use rtde::{Package, Reply, Request, Session, Value, Variable};
use urscript::{Dialect, Fact, InterpreterReply, InterpreterReplyKind, Kind, Scanner};

use crate::talk::Talk;

/// What a unit must show: fields and all their values in order; none means that the field is absent.
pub(crate) type Unit = Vec<(&'static str, Vec<String>)>;

/// Units toward the listener, and toward the opener.
pub(crate) type Halves = [Vec<Unit>; 2];

/// A unit that can't be read, behind which nothing is compared.
pub(crate) fn malformed() -> Unit {
    vec![("malformed", Vec::new())]
}

/// Reads a conversation, each piece as it comes.
pub(crate) fn read(talk: &Talk) -> Halves {
    let port = talk.listener.port();
    let mut halves: Halves = Default::default();
    let (mut buffers, mut broken) = ([Vec::new(), Vec::new()], [false; 2]);
    let mut reader = Reader::new(port);
    for (ask, bytes) in &talk.pieces {
        let half = usize::from(!ask);
        if broken[half] {
            continue;
        }
        buffers[half].extend(bytes);
        let mut at = 0;
        loop {
            match reader.step(*ask, &buffers[half][at..]) {
                Ok(Some((unit, len))) => {
                    halves[half].extend(unit);
                    at += len;
                }
                Ok(None) => break,
                Err(()) => {
                    halves[half].push(malformed());
                    broken[half] = true;
                    break;
                }
            }
        }
        buffers[half].drain(..at);
    }
    halves
}

/// What one connection needs.
struct Reader {
    port: u16,
    session: Box<Session>,
    asked: VecDeque<String>,
    scanner: Scanner,
}

/// A unit and its length, nothing yet, or nothing any more.
type Found = Result<Option<(Option<Unit>, usize)>, ()>;

fn found<T>(step: Result<Step<T>, dissect::DissectError>, describe: impl FnOnce(T) -> Unit) -> Found {
    match step {
        Ok(Step::Whole { unit, len }) => Ok(Some((Some(describe(unit)), len))),
        Ok(Step::Partial { .. }) => Ok(None),
        Err(_) => Err(()),
    }
}

impl Reader {
    fn new(port: u16) -> Self {
        Self { port, session: Box::default(), asked: VecDeque::new(), scanner: Scanner::default() }
    }

    fn step(&mut self, ask: bool, bytes: &[u8]) -> Found {
        if bytes.is_empty() {
            return Ok(None);
        }
        match (self.port, ask) {
            (30004, _) => {
                let toward = if ask { Toward::Robot } else { Toward::Plant };
                found(Package::step(bytes, toward), |package| rtde_unit(&package, &mut self.session, ask))
            }
            (29999, true) => found(Line::step(bytes), |line| command(&line, &mut self.asked)),
            (29999, false) => found(ReplyLine::step(bytes), |reply| answer(reply.text, &mut self.asked)),
            (30020, false) => found(InterpreterReply::step(bytes), |reply| interpreter(&reply)),
            (50002, true) => match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) => Ok(Some((Some(vec![("urscript.request", vec![text(&bytes[..end])])]), end + 1))),
                None => Ok(None),
            },
            (50002, false) => self.script(bytes, Dialect::ScriptSender),
            (30020, true) => self.script(bytes, Dialect::Interpreter),
            (50001 | 50003 | 50004, _) => {
                let channel = Channel::ALL.into_iter().find(|channel| channel.port() == self.port).unwrap();
                let count = if ask { 1 } else { channel.fields().unwrap() };
                found(Integers::step(bytes, count), |record| external(channel, ask, &record))
            }
            (port, true) if Interface::of_port(port).is_some() => self.script(bytes, Dialect::Client),
            (port, false) => match Interface::of_port(port) {
                Some(Interface::Packages) => found(ClientPackage::step(bytes), |package| client(&package)),
                Some(Interface::Records) => {
                    let length = bytes.first_chunk().map_or(0, |length| i32::from_be_bytes(*length));
                    found(Record::step(bytes), |record| realtime(&record, length))
                }
                None => Ok(Some((None, bytes.len()))),
            },
            _ => Ok(Some((None, bytes.len()))),
        }
    }

    fn script(&mut self, bytes: &[u8], dialect: Dialect) -> Found {
        found(self.scanner.step(bytes, dialect), |unit| script(&unit))
    }
}

/// Bytes as the dissectors show them: what is no printable character as \xNN.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::new();
    let escape = |text: &mut String, bytes: &[u8]| bytes.iter().for_each(|byte| *text += &format!("\\x{byte:02x}"));
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() {
                escape(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(character);
            }
        }
        escape(&mut text, chunk.invalid());
    }
    text
}

fn one(value: impl ToString) -> Vec<String> {
    vec![value.to_string()]
}

fn rtde_unit(package: &Package<'_>, session: &mut Session, ask: bool) -> Unit {
    let mut unit = vec![("rtde.type", one(package.kind as u8))];
    let told = if ask {
        Request::read(package, session).map(|request| request_fields(&request, &mut unit)).is_ok()
    } else {
        Reply::read(package, session).map(|reply| reply_fields(&reply, &mut unit)).is_ok()
    };
    if !told {
        unit.truncate(1);
    }
    if ask {
        let _refused = session.request(package);
    } else {
        let _refused = session.reply(package);
    }
    unit
}

fn names(list: rtde::Names<'_>) -> Vec<String> {
    list.iter().map(text).collect()
}

fn request_fields(request: &Request<'_>, unit: &mut Unit) {
    match request {
        Request::ProtocolVersion(version) => unit.push(("rtde.requested_version", one(version))),
        Request::Message(message) => message_fields(message, unit),
        Request::SetupOutputs { frequency_hz, names: list } => {
            unit.push(("rtde.frequency", frequency_hz.iter().map(f64::to_string).collect()));
            unit.push(("rtde.name", names(*list)));
        }
        Request::SetupInputs { names: list } => unit.push(("rtde.name", names(*list))),
        Request::Data(data) => {
            unit.push(("rtde.recipe_id", one(data.recipe_id)));
            values(data.recipe.map(|_| data.fields()), data.values, unit);
        }
        Request::ControllerVersion | Request::Start | Request::Pause => {}
    }
}

fn reply_fields(reply: &Reply<'_>, unit: &mut Unit) {
    let set_up = |id: Option<u8>, types: &rtde::Names<'_>| {
        [("rtde.recipe_id", id.iter().map(u8::to_string).collect()), ("rtde.value_type", names(*types))]
    };
    match reply {
        Reply::ProtocolVersion { accepted } | Reply::Start { accepted } | Reply::Pause { accepted } => {
            unit.push(("rtde.accepted", one(accepted)));
        }
        Reply::ControllerVersion { major, minor, bugfix, build } => {
            unit.push(("rtde.controller.major", one(major)));
            unit.push(("rtde.controller.minor", one(minor)));
            unit.push(("rtde.controller.bugfix", one(bugfix)));
            unit.push(("rtde.controller.build", one(build)));
        }
        Reply::Message(message) => message_fields(message, unit),
        Reply::SetupOutputs { recipe_id, types } => unit.extend(set_up(*recipe_id, types)),
        Reply::SetupInputs { recipe_id, types } => unit.extend(set_up(Some(*recipe_id), types)),
        Reply::Data(data) => {
            unit.push(("rtde.recipe_id", data.recipe_id.iter().map(u8::to_string).collect()));
            values(data.recipe.map(|_| data.fields()), data.values, unit);
        }
    }
}

fn message_fields(message: &rtde::Message<'_>, unit: &mut Unit) {
    let some = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes)).into_iter().collect();
    unit.push(("rtde.message", some(message.text)));
    unit.push(("rtde.message.source", some(message.source)));
    unit.push(("rtde.message.level", one(message.level_byte)));
}

fn values(fields: Option<rtde::Fields<'_>>, bytes: &[u8], unit: &mut Unit) {
    let Some(fields) = fields else {
        unit.push(("rtde.variable", Vec::new()));
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
        unit.push(("rtde.values", if bytes.is_empty() { Vec::new() } else { vec![hex] }));
        return;
    };
    let fields: Vec<_> = fields.collect();
    if fields.iter().all(|field| field.variable != Variable::UNKNOWN) {
        unit.push(("rtde.variable", fields.iter().map(|field| field.variable.name().to_owned()).collect()));
    }
    unit.push(("rtde.value", fields.iter().map(|field| value(&field.value)).collect()));
    unit.push(("rtde.values", Vec::new()));
}

/// A value as it is shown; numbers are compared as numbers.
pub(crate) fn value(value: &Value) -> String {
    fn all<T: ToString>(numbers: &[T]) -> String {
        numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Uint8(number) => number.to_string(),
        Value::Uint32(number) => number.to_string(),
        Value::Uint64(number) => number.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Vector3d(numbers) => all(numbers),
        Value::Vector6d(numbers) => all(numbers),
        Value::Vector6Int32(numbers) => all(numbers),
        Value::Vector6Uint32(numbers) => all(numbers),
    }
}

fn command(line: &Line<'_>, asked: &mut VecDeque<String>) -> Unit {
    let mut unit = vec![("urdash.line", vec![text(line.text)])];
    if let Ok(verb) = line.verb {
        unit.push(("urdash.command", one(verb.name)));
        unit.push(("urdash.class", one(verb.class_name())));
        let argument = (!line.argument.is_empty()).then(|| text(line.argument));
        unit.push(("urdash.argument", argument.into_iter().collect()));
    }
    asked.push_back(line.verb.map_or_else(|_| String::new(), |verb| verb.name.to_owned()));
    unit
}

fn answer(bytes: &[u8], asked: &mut VecDeque<String>) -> Unit {
    let mut unit = vec![("urdash.answer", vec![text(bytes)])];
    if dashboard::Reply::read(bytes, None) == dashboard::Reply::Greeting {
        unit.push(("urdash.answers", Vec::new()));
    } else {
        match asked.pop_front() {
            // What it answers is shown as it was sent where it is no command.
            Some(name) if name.is_empty() => {}
            Some(name) => unit.push(("urdash.answers", one(name))),
            None => unit.push(("urdash.answers", Vec::new())),
        }
    }
    unit
}

fn interpreter(reply: &InterpreterReply<'_>) -> Unit {
    let kind = match reply.kind {
        InterpreterReplyKind::Ack => "ack",
        InterpreterReplyKind::Discard => "discard",
        InterpreterReplyKind::State => "state",
        InterpreterReplyKind::Other => return vec![("urscript.reply", vec![text(reply.text)])],
    };
    let some = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes)).into_iter().collect();
    vec![
        ("urscript.reply", one(kind)),
        ("urscript.reply.about", some(reply.about)),
        ("urscript.reply.statement", some(reply.statement)),
    ]
}

fn script(unit: &urscript::Unit<'_>) -> Unit {
    let (mut called, mut methods, mut assigned) = (Vec::new(), Vec::new(), Vec::new());
    let note = |list: &mut Vec<String>, what: String| {
        if !list.contains(&what) {
            list.push(what);
        }
    };
    for fact in unit.facts() {
        match fact {
            Fact::Call { name, .. } if !name.is_empty() => note(&mut called, text(name)),
            Fact::Method { object, name } => note(&mut methods, text(&[object, b".", name].concat())),
            Fact::IndexAssign { target } if !target.is_empty() => note(&mut assigned, text(target)),
            _ => {}
        }
    }
    let mut fields = vec![
        ("urscript.kind", one(unit.kind.name())),
        ("urscript.name", unit.name.map(text).into_iter().collect()),
        ("urscript.bare", unit.bare().into_iter().map(ToOwned::to_owned).collect()),
    ];
    if unit.kind != Kind::Blank {
        let first = unit.text.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        fields.push(("urscript.line", vec![text(first.trim_ascii_end())]));
    }
    fields.push(("urscript.function", called));
    fields.push(("urscript.method", methods));
    fields.push(("urscript.assign", assigned));
    fields
}

fn client(package: &ClientPackage<'_>) -> Unit {
    let mut unit = vec![("urclient.type", one(package.kind.0))];
    if package.kind == PackageType::ROBOT_STATE
        && let Ok(state) = RobotState::read(package)
    {
        unit.push(("urclient.state.type", state.sub_packages().map(|part| part.kind.to_string()).collect()));
        if let Some(mode) = state.robot_mode() {
            let mut flag = |name, flag: Option<bool>| {
                if let Some(flag) = flag {
                    unit.push((name, one(flag)));
                }
            };
            flag("urclient.robot_mode.power_on", mode.power_on);
            flag("urclient.robot_mode.protective_stopped", mode.protective_stopped);
            flag("urclient.robot_mode.program_running", mode.program_running);
            flag("urclient.robot_mode.program_paused", mode.program_paused);
            unit.push(("urclient.robot_mode.timestamp", one(mode.timestamp_us)));
            if let Some(mode) = mode.robot_mode {
                unit.push(("urclient.robot_mode.mode", one(mode.number())));
            }
        }
        if let Some(mode) = state.safety_mode() {
            unit.push(("urclient.masterboard.safety_mode", one(mode.number())));
        }
    }
    if package.kind == PackageType::ROBOT_MESSAGE
        && let Ok(message) = Message::read(package)
    {
        said(&message, &mut unit);
    }
    unit
}

fn said(message: &Message<'_>, unit: &mut Unit) {
    let some = |bytes: &[u8]| (!bytes.is_empty()).then(|| text(bytes)).into_iter().collect();
    unit.push(("urclient.timestamp", one(message.timestamp_us)));
    unit.push(("urclient.message.source", one(message.source)));
    unit.push(("urclient.message.type", one(message.said.kind())));
    match message.said {
        Said::Version(version) => {
            unit.push(("urclient.version.project", some(version.project)));
            unit.push(("urclient.version.major", one(version.major)));
            unit.push(("urclient.version.minor", one(version.minor)));
            unit.push(("urclient.version.bugfix", one(version.bugfix)));
            unit.push(("urclient.version.build", version.build.iter().map(i32::to_string).collect()));
            unit.push(("urclient.version.date", some(version.date)));
        }
        Said::SafetyMode { code, argument, mode } => {
            unit.push(("urclient.message.code", one(code)));
            unit.push(("urclient.message.argument", one(argument)));
            if let Some(mode) = mode {
                unit.push(("urclient.message.safety_mode", one(mode.number())));
            }
        }
        Said::ErrorCode { code, argument, level, text } => {
            unit.push(("urclient.message.code", one(code)));
            unit.push(("urclient.message.argument", one(argument)));
            unit.push(("urclient.message.level", level.iter().map(u8::to_string).collect()));
            unit.push(("urclient.message.text", some(text)));
        }
        Said::Popup { warning, error, title, text } => {
            unit.push(("urclient.message.warning", warning.iter().map(bool::to_string).collect()));
            unit.push(("urclient.message.error", error.iter().map(bool::to_string).collect()));
            unit.push(("urclient.message.title", some(title)));
            unit.push(("urclient.message.text", some(text)));
        }
        Said::Key { title, text, .. } => {
            unit.push(("urclient.message.title", some(title)));
            unit.push(("urclient.message.text", some(text)));
        }
        Said::RuntimeException { line, column, text } => {
            unit.push(("urclient.message.line", one(line)));
            unit.push(("urclient.message.column", one(column)));
            unit.push(("urclient.message.text", some(text)));
        }
        Said::ProgramLabel { id, text } => {
            unit.push(("urclient.message.id", one(id)));
            unit.push(("urclient.message.text", some(text)));
        }
        Said::Text(text) | Said::RequestValue { text, .. } => unit.push(("urclient.message.text", some(text))),
        Said::Other { .. } => {}
    }
}

fn realtime(record: &Record<'_>, length: i32) -> Unit {
    let mut unit = vec![("urclient.length", one(length))];
    if record.layout.is_some() {
        let mut column = |name, number: Option<f64>| {
            if let Some(number) = number {
                unit.push((name, one(number)));
            }
        };
        column("urclient.record.time", record.time_s());
        column("urclient.record.robot_mode", record.robot_mode().map(|mode| mode.number().into()));
        column("urclient.record.safety_mode", record.safety_mode().map(|mode| mode.number().into()));
        column("urclient.record.safety_status", record.safety_status().map(|mode| mode.number().into()));
        column("urclient.record.program_state", record.program().map(|program| f64::from(program as u8)));
    } else {
        unit.push(("urclient.record.time", Vec::new()));
    }
    unit
}

fn external(channel: Channel, ask: bool, record: &Integers<'_>) -> Unit {
    let mut unit = vec![("urext.socket", one(channel.name()))];
    let integer = |index| record.get(index).unwrap();
    let millionths =
        |six: [i32; 6]| six.map(|number| (f64::from(number) / external_control::UNITS).to_string()).to_vec();
    if ask {
        unit.push(("urext.result", one(integer(0))));
        return unit;
    }
    match channel {
        Channel::Reverse => {
            let motion = Motion::read(record).unwrap();
            unit.push(("urext.timeout_ms", one(motion.timeout_ms)));
            unit.push(("urext.endless", if motion.never_times_out() { vec![String::new()] } else { Vec::new() }));
            unit.push(("urext.mode", one(integer(7))));
            match motion.action {
                Action::Move(_, six) => unit.push(("urext.target", millionths(six))),
                Action::Forward(forward) => {
                    unit.push(("urext.trajectory", one(integer(1))));
                    let points = match forward {
                        Trajectory::Start { points } | Trajectory::StreamEnd { points } => one(points),
                        _ => Vec::new(),
                    };
                    unit.push(("urext.points", points));
                }
                Action::Freedrive(_) => unit.push(("urext.freedrive", one(integer(1)))),
                Action::Unknown(_) => unit.push(("urext.unknown", vec![String::new()])),
                Action::Stop | Action::Idle => unit.push(("urext.target", Vec::new())),
            }
        }
        Channel::Trajectory => {
            let point = Point::read(record).unwrap();
            unit.push(("urext.point.type", one(point.kind)));
            unit.push(("urext.point.target", millionths(point.target)));
            unit.push(("urext.point.second", point.second.map(|number| number.to_string()).to_vec()));
            unit.push(("urext.point.third", point.third.map(|number| number.to_string()).to_vec()));
            unit.push(("urext.point.duration", one(point.duration)));
            unit.push(("urext.point.blend", one(point.blend)));
        }
        Channel::ScriptCommand => {
            let order = Order::read(record).unwrap();
            unit.push(("urext.function", one(integer(0))));
            if order.function.is_ok() {
                unit.push(("urext.argument", order.arguments().map(|number| number.to_string()).collect()));
            }
        }
        Channel::Script => panic!("no records there"),
    }
    unit
}

//! `[[test]]`: what the policy must say, checked at every check and apply.

use std::net::IpAddr;

use dissect::{Step, Toward};
use external_control::{
    Action as Doing, Channel, Freedrive, Function, MAX_FIELDS, Motion, Move, Order, Record, Trajectory,
};

use super::envelope::read_six;
use super::rule::{Reading, state};
use super::urscript::Digest;
use super::{Ask, Policy};
use crate::command::{Command, External, Service};
use crate::document::{Table, Value};
use crate::event::{Reason, Verdict};
use crate::robot;

/// One test of the file.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    name: String,
    /// The robot's peer, whoever opens the connection.
    peer: IpAddr,
    /// Who opens it.
    opened: Toward,
    unit: Unit,
    state: robot::State,
    allowed: bool,
}

/// What is sent.
#[derive(Clone, Debug)]
enum Unit {
    Dashboard(String),
    Modbus(Vec<u8>),
    /// The input that is set up and written, if any, and the package that is judged.
    Rtde(Option<rtde::Variable>, Vec<u8>),
    UrScript(String),
    /// A record of a socket of external control.
    External(Channel, Vec<u8>),
    /// A text that the computer of external control hands over, by its hash.
    Handed([u8; 32]),
    Connect(Service),
}

/// When the tests take place, monotonic nanoseconds: what they say of the robot was seen right then.
const NOW_NS: u64 = 1;

/// How one test ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestOutcome {
    /// Its name.
    pub name: String,
    /// Whether the policy said what was expected.
    pub passed: bool,
    /// Whether the policy allows it.
    pub allowed: bool,
    /// The policy's reason.
    pub reason: Reason,
    /// The rule that decided, where one did.
    pub rule: Option<String>,
}

/// Reads every `[[test]]`.
pub(crate) fn read(root: &Table<'_>, reading: &Reading<'_>) -> Vec<Test> {
    root.tables("test").iter().filter_map(|table| one(table, reading)).collect()
}

fn one(table: &Table<'_>, reading: &Reading<'_>) -> Option<Test> {
    let name = table.require("name", "write name = \"...\"").and_then(|value| value.string().map(str::to_owned));
    let address = |value: &Value<'_>| reading.peers(value).first().map(ipnet::IpNet::addr);
    let from = table.require("from", "write from = \"asset or address\"").and_then(|value| address(&value));
    let to = table.take("to").map(|value| (value.offset(), address(&value)));
    // What the robot does to a device has both ends; else it is the robot that something is done to.
    let (peer, opened) = match to {
        Some((_, to)) if from.is_some() && from == reading.robot => (to, Toward::Plant),
        Some((offset, Some(to))) if Some(to) != reading.robot => {
            table.problem_at(
                offset,
                "neither `from` nor `to` is the robot",
                "write from = the robot, or take `to` out",
            );
            return None;
        }
        _ => (from, Toward::Robot),
    };
    let service = table.require("service", &format!("write service = one of {}", SERVICES.join(", ")));
    let unit = service.and_then(|service| unit(table, &service));
    let opened = match &unit {
        Some(Unit::External(..) | Unit::Handed(_)) => Toward::Plant,
        _ => opened,
    };
    let allowed = table
        .require("expect", "write expect = \"allowed\" or \"refused\"")
        .and_then(|value| value.choice(&[("allowed", true), ("refused", false)]));
    let state = table.table("robot").map(|robot| state(&robot, NOW_NS)).unwrap_or_default();
    table.finish();
    Some(Test { name: name?, peer: peer?, opened, unit: unit?, state, allowed: allowed? })
}

/// What a test can be of.
const SERVICES: [&str; 7] = ["dashboard", "modbus", "rtde", "urscript", "external_control", "tcp/22", "udp/2222"];

fn unit(table: &Table<'_>, service: &Value<'_>) -> Option<Unit> {
    match service.string()? {
        "dashboard" => {
            let command = table.require("command", "write command = \"...\"")?.string()?.to_owned();
            let argument = table.take("argument").and_then(|value| value.string().map(str::to_owned));
            Some(Unit::Dashboard(argument.map_or(command.clone(), |argument| format!("{command} {argument}"))))
        }
        "modbus" => modbus(table),
        "rtde" => rtde(table),
        "urscript" => {
            Some(Unit::UrScript(table.require("text", "write text = \"...\", the script")?.string()?.to_owned()))
        }
        "external_control" => external(table, service),
        text => {
            let number = |prefix| text.strip_prefix(prefix).and_then(|number: &str| number.parse().ok());
            let connected = Service::ports_named(text).and_then(|ports| ports.first().copied());
            let connected = connected.or_else(|| number("tcp/").map(Service::of_tcp_port));
            let connected = connected.or_else(|| number("udp/").map(Service::Udp));
            if connected.is_none() {
                let ports: Vec<_> = Service::port_names().collect();
                service.unknown_name(text, SERVICES.into_iter().chain(ports.iter().copied()));
            }
            connected.map(Unit::Connect)
        }
    }
}

fn modbus(table: &Table<'_>) -> Option<Unit> {
    let function = table.require("function", "write function = \"...\"")?;
    let name = function.string()?;
    let Some(code) = modbus::FunctionCode::named(name) else {
        let names: Vec<_> = modbus::FunctionCode::names().collect();
        function.unknown_name(name, names.into_iter());
        return None;
    };
    let number = |key, default: u16| {
        let value = table.take(key).and_then(|value| value.integer(0..=65535));
        value.and_then(|value| u16::try_from(value).ok()).unwrap_or(default)
    };
    let (address, quantity, value) = (number("address", 0), number("quantity", 1), number("value", 0));
    let unit = u8::try_from(number("unit", 255)).unwrap_or(255);
    let mbap = modbus::Mbap::new(1, modbus::UnitId(unit));
    let mut buffer = [0; modbus::MAX_ADU];
    use modbus::FunctionCode as F;
    let registers = vec![value; usize::from(quantity)];
    let coils = vec![value != 0; usize::from(quantity)];
    let bytes = match code {
        F::READ_COILS | F::READ_DISCRETE_INPUTS | F::READ_HOLDING_REGISTERS | F::READ_INPUT_REGISTERS => {
            mbap.read(&mut buffer, code, address, quantity)
        }
        F::WRITE_SINGLE_COIL => mbap.write_single_coil(&mut buffer, address, value != 0),
        F::WRITE_SINGLE_REGISTER => mbap.write_single_register(&mut buffer, address, value),
        F::WRITE_MULTIPLE_REGISTERS => mbap.write_multiple_registers(&mut buffer, address, &registers),
        F::WRITE_MULTIPLE_COILS => mbap.write_multiple_coils(&mut buffer, address, &coils),
        other => mbap.pdu(&mut buffer, &[other.0]),
    };
    match bytes {
        Ok(bytes) => Some(Unit::Modbus(bytes.to_vec())),
        Err(error) => {
            function.problem(format!("no such request: {error}"), "mend address, quantity or value");
            None
        }
    }
}

/// `outputs` with `frequency`, or one `input` with the `value` written to it.
fn rtde(table: &Table<'_>) -> Option<Unit> {
    let mut buffer = [0; rtde::MAX_TOWARD_ROBOT];
    let (variable, len) = if let Some(outputs) = table.take("outputs") {
        let items = outputs.any_of();
        let names = items.iter().filter_map(Value::string).map(str::as_bytes);
        let frequency = table.take("frequency").map_or(Some(125.0), |value| value.number())?;
        (None, rtde::emit::setup_outputs(Some(frequency), names, &mut buffer))
    } else {
        let input = table.require("input", "write outputs = [\"...\"], or input = \"...\" and value = ...")?;
        let name = input.string()?;
        let variable = rtde::Variable::named(name.as_bytes());
        if !variable.is_input() {
            let inputs = rtde::Variable::all().filter(|variable| variable.is_input());
            input.unknown_name(name, inputs.map(rtde::Variable::name).collect::<Vec<_>>().into_iter());
            return None;
        }
        let number = table.require("value", "write value = ..., what is written")?;
        let value = typed(variable.data_type()?, number.number()?);
        if value.is_none() {
            number.problem(format!("{} is no value of {name}", number.raw()), "write a value of its type");
        }
        (Some(variable), rtde::emit::data(Some(1), [value?], &mut buffer))
    };
    Some(Unit::Rtde(variable, buffer.get(..len?)?.to_vec()))
}

/// A `mode` with its `target`, a `function`, or a `program` by its hash.
fn external(table: &Table<'_>, service: &Value<'_>) -> Option<Unit> {
    if let Some(program) = table.take("program") {
        return Digest::read(&program)?.whole().map(Unit::Handed).or_else(|| {
            program.problem("a test is of one text", "write \"sha256:\" and all 64 hexadecimal digits");
            None
        });
    }
    if let Some(function) = table.take("function") {
        let functions = Function::ALL.map(|function| (function.name(), function));
        let mut record = vec![0; MAX_FIELDS.saturating_mul(4)];
        let number = i32::from(function.choice(&functions)? as u8);
        record.first_chunk_mut::<4>()?.copy_from_slice(&number.to_be_bytes());
        if let Some(value) = table.take("arguments") {
            let integers = arguments(&value, Function::of(number)?)?;
            let slots = record.as_chunks_mut().0.iter_mut().skip(1);
            slots.zip(integers).for_each(|(slot, integer)| *slot = integer.to_be_bytes());
        }
        return Some(Unit::External(Channel::ScriptCommand, record));
    }
    let Some(mode) = table.take("mode") else {
        service.problem("nothing is sent", "write mode = \"...\", function = \"...\" or program = \"sha256:...\"");
        return None;
    };
    let moves = Move::ALL.map(|how| (how.name(), Doing::Move(how, [0; 6])));
    let others =
        [Doing::Stop, Doing::Idle, Doing::Forward(Trajectory::Start { points: 1 }), Doing::Freedrive(Freedrive::Start)];
    let modes: Vec<_> = moves.into_iter().chain(others.map(|other| (other.name(), other))).collect();
    let mut action = mode.choice(&modes)?;
    if let Doing::Move(_, target) = &mut action {
        let value = table.require("target", "write target = [...], six numbers in the units of the mode")?;
        let numbers = read_six(&value, |item| item.number())?.map(|number| number * external_control::UNITS);
        if numbers.iter().any(|number| number.abs() > f64::from(i32::MAX)) {
            value.problem("more than can be sent", "write numbers between -2147 and 2147");
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
        let millionths = numbers.map(|number| number.round() as i32);
        *target = millionths;
    }
    let timeout =
        table.take("timeout_ms").map_or(Some(20), |value| value.integer(i32::MIN.into()..=i32::MAX.into()))?;
    let motion = Motion { timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX), action };
    Some(Unit::External(Channel::Reverse, motion.emit().to_vec()))
}

/// The arguments of a function of external control, in the order of its record.
fn arguments(value: &Value<'_>, function: Function) -> Option<Vec<i32>> {
    let parameters = function.parameters().iter();
    let wanted: Vec<_> = parameters.flat_map(|own| std::iter::repeat_n(own, own.len)).collect();
    let items = value.array().unwrap_or_default();
    if items.len() != wanted.len() {
        let names = function.parameters().iter().map(|own| format!("{} ({})", own.name, own.len));
        let what = format!("{} takes {} numbers", function.name(), wanted.len());
        value.problem(what, format!("write {} in one list", names.collect::<Vec<_>>().join(", ")));
        return None;
    }
    let numbers = items.iter().zip(wanted).map(|(item, own)| {
        let scale = if own.is_flag { 1.0 } else { external_control::UNITS };
        let number = item.number()? * scale;
        if number.abs() > f64::from(i32::MAX) {
            item.problem("more than can be sent", "write a number between -2147 and 2147");
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
        Some(number.round() as i32)
    });
    numbers.collect()
}

/// The number as a value of this type; vectors hold it in every place.
fn typed(data_type: rtde::DataType, number: f64) -> Option<rtde::Value> {
    let whole = |least: f64, most: f64| number.fract() == 0.0 && (least..=most).contains(&number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
    Some(match data_type {
        rtde::DataType::Bool if whole(0.0, 1.0) => rtde::Value::Bool(number > 0.0),
        rtde::DataType::Uint8 if whole(0.0, 255.0) => rtde::Value::Uint8(number as u8),
        rtde::DataType::Uint32 if whole(0.0, u32::MAX.into()) => rtde::Value::Uint32(number as u32),
        rtde::DataType::Int32 if whole(i32::MIN.into(), i32::MAX.into()) => rtde::Value::Int32(number as i32),
        rtde::DataType::Double => rtde::Value::Double(number),
        rtde::DataType::Vector6d => rtde::Value::Vector6d([number; 6]),
        _ => return None,
    })
}

/// A session in which recipe 1 has this one input.
fn session_with(input: Option<rtde::Variable>) -> Option<rtde::Session> {
    let mut session = rtde::Session::new();
    let mut buffer = [0; 256];
    let mut exchange = |len: Option<usize>, buffer: &[u8], toward: Toward| {
        let Ok(Step::Whole { unit, .. }) = rtde::Package::step(buffer.get(..len?)?, toward) else { return None };
        match toward {
            Toward::Robot => session.request(&unit).ok(),
            Toward::Plant => session.reply(&unit).ok().map(|_| ()),
        }
    };
    // Every connection begins in version 1; what is judged here speaks version 2.
    let version = rtde::Request::ProtocolVersion(2).emit(rtde::Version::V1, &mut buffer);
    exchange(version, &buffer, Toward::Robot)?;
    let accepted = rtde::Reply::ProtocolVersion { accepted: true }.emit(rtde::Version::V1, &mut buffer);
    exchange(accepted, &buffer, Toward::Plant)?;
    if let Some(variable) = input {
        let len = rtde::emit::setup_inputs([variable.name().as_bytes()], &mut buffer);
        exchange(len, &buffer, Toward::Robot)?;
        let len = rtde::emit::inputs_reply(1, [rtde::ReplyType::Data(variable.data_type()?)], &mut buffer);
        exchange(len, &buffer, Toward::Plant)?;
    }
    Some(session)
}

impl Policy {
    /// Runs every test of the file, with the robot in the state that the test tells; in none that is known without.
    #[must_use]
    pub fn run_tests(&self) -> Vec<TestOutcome> {
        self.tests.iter().map(|test| self.run_test(test)).collect()
    }

    fn run_test(&self, test: &Test) -> TestOutcome {
        let verdict = self.verdict_of(test);
        let allowed = verdict.is_some_and(|verdict| verdict.is_allowed());
        let rule = verdict.and_then(|verdict| usize::from(verdict.rule.0).checked_sub(1));
        TestOutcome {
            name: test.name.clone(),
            passed: allowed == test.allowed,
            allowed,
            reason: verdict.map_or(Reason::Malformed, |verdict| verdict.reason),
            rule: rule.and_then(|place| self.rules.get(place)).map(|rule| rule.id.clone()),
        }
    }

    /// The verdict; nothing where the unit can't be read, which refuses it too.
    fn verdict_of(&self, test: &Test) -> Option<Verdict> {
        let (client, opened) = (self.client(test.peer), test.opened);
        let decide = |command: &Command<'_>| {
            let (state, inputs) = (&test.state, &robot::Inputs::new());
            let ask = Ask { client, opened, command, state, inputs, connection: 0, now_ns: NOW_NS };
            self.decide(&ask, &mut robot::Rates::new())
        };
        match &test.unit {
            Unit::Connect(service) => Some(self.admit(client, *service, opened, NOW_NS)),
            Unit::Dashboard(line) => Some(decide(&Command::Dashboard(dashboard::Line::read(line.as_bytes())))),
            Unit::Modbus(bytes) => {
                let Ok(Step::Whole { unit, .. }) = modbus::Adu::step(bytes) else { return None };
                modbus::Request::read(&unit).ok().map(|request| decide(&Command::Modbus(request)))
            }
            Unit::Rtde(input, bytes) => {
                let session = session_with(*input)?;
                let Ok(Step::Whole { unit, .. }) = rtde::Package::step(bytes, Toward::Robot) else { return None };
                rtde::Request::read(&unit, &session).ok().map(|request| decide(&Command::Rtde(request)))
            }
            Unit::External(channel, bytes) => {
                let Ok(Step::Whole { unit, .. }) = Record::step(bytes, bytes.len() / 4) else { return None };
                let unit = match channel {
                    Channel::Reverse => External::Motion(Motion::read(&unit).ok()?),
                    _ => External::Order(Order::read(&unit).ok()?),
                };
                Some(decide(&Command::External(unit)))
            }
            Unit::Handed(digest) => Some(decide(&Command::External(External::Text { digest: *digest, len: 1 }))),
            Unit::UrScript(text) => {
                let text = format!("{}\n", text.trim_end());
                let mut scanner = urscript::Scanner::default();
                match scanner.step(text.as_bytes(), urscript::Dialect::Client) {
                    Ok(Step::Whole { unit, len }) if len == text.len() => Some(decide(&Command::UrScript(unit))),
                    _ => None,
                }
            }
        }
    }
}

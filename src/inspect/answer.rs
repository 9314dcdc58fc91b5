//! Answers of the robot: matched to commands, and read for its live state.

use dissect::{DissectError, Step, Toward};

use client_interface::Interface;

use super::stream;
use super::{Asked, INTERPRETER, Session};
use crate::command::Service;
use crate::event::{InUse, Said, Text};
use crate::robot::{Connection, Control, Inputs, Program, State};

/// What one answer unit said.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Tag of the command that it answers; absent where nothing outstanding fits or the service pairs nothing.
    pub to: Option<u64>,
    /// Whether it should have answered something, but nothing outstanding fits.
    pub unsolicited: bool,
    /// Whether it does not carry what its request asked for.
    pub mismatched: bool,
    /// Whether it belongs into the records.
    pub recorded: bool,
    /// Modbus exception code, or 0.
    pub exception: u8,
    /// The first values read.
    pub values: [u16; 16],
    /// How many of `values` count.
    pub values_len: u8,
    /// Text of the answer.
    pub text: Text<96>,
    /// Id of the RTDE recipe that it is about; 0 = none.
    pub recipe: u8,
    /// What it is, where it answers nobody: something that the robot said to all who listen. Its words are in `text`.
    pub said: Option<Said>,
    /// The first RTDE input that the robot called in use, with the connection that has it, where one is known.
    pub in_use: Option<InUse>,
}

/// What an answer may tell of the robot, and on which connection it came.
#[derive(Debug)]
pub struct Told<'x> {
    /// Its live state.
    pub state: &'x mut State,
    /// Its RTDE inputs.
    pub inputs: &'x mut Inputs,
    /// The connection.
    pub connection: &'x Connection,
}

impl Reading {
    pub(super) const NOTHING: Self = Self {
        to: None,
        unsolicited: false,
        mismatched: false,
        recorded: false,
        exception: 0,
        values: [0; 16],
        values_len: 0,
        text: Text::EMPTY,
        recipe: 0,
        said: None,
        in_use: None,
    };

    /// Takes the first values.
    #[inline]
    fn set_values(&mut self, values: impl Iterator<Item = u16>) {
        let mut len = 0_u8;
        for (slot, value) in self.values.iter_mut().zip(values) {
            *slot = value;
            len = len.wrapping_add(1);
        }
        self.values_len = len;
    }
}

/// Looks for one unit toward the plant at the start of `bytes` and reads it; what it says of the robot goes to `told`
/// with the time `now_ns`.
///
/// # Errors
/// The bytes begin no unit of the service: answers can't be read further on this connection.
pub fn read_answer(
    session: &mut Session,
    service: Service,
    bytes: &[u8],
    told: Told<'_>,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    match service {
        Service::Modbus => modbus_answer(session, bytes, told.state, now_ns),
        Service::Rtde => rtde_answer(session, bytes, told, now_ns),
        Service::Dashboard if session.port == u32::from(robot_api::PORT) => api_answer(session, bytes),
        Service::Dashboard => dashboard_answer(session, bytes, told.state, now_ns),
        Service::UrScript => {
            let port = u16::try_from(session.port).unwrap_or(0);
            match Interface::of_port(port) {
                Some(interface) => stream::read(session, interface, bytes, told.state, now_ns),
                None if port == INTERPRETER => interpreter_answer(session, bytes),
                None => Err(DissectError::unsupported("answers of this port", 0)),
            }
        }
        // What the robot says there answers nothing: a line that asks for the program, results of motions.
        Service::ExternalControl => Ok(Step::Whole { unit: Reading::NOTHING, len: bytes.len() }),
        _ => Err(DissectError::unsupported("answers of this service", 0)),
    }
}

/// The register of a controller that holds its robot mode, numbered as RTDE's `robot_mode`. The flags from 260 on say
/// less than a safety mode, and nothing of them is taken.
/// Source: Universal Robots, article 16377; public client programs.
const ROBOT_MODE: u16 = 258;

/// The highest robot mode, updating firmware.
const LAST_MODE: u16 = 8;

/// Before this version robot modes have other numbers.
const FIRST_MODES: u8 = 3;

fn modbus_answer(
    session: &mut Session,
    bytes: &[u8],
    state: &mut State,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let (adu, len) = match modbus::Adu::step(bytes)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, len } => (unit, len),
    };
    let response = modbus::Response::read(&adu)?;
    let mut reading = Reading { recorded: true, exception: response.exception.unwrap_or(0), ..Reading::NOTHING };
    let answer = session.modbus.answer(&response);
    reading.to = answer.map(|answer| answer.tag);
    session.answered = session.answered.max(reading.to.unwrap_or(0));
    reading.unsolicited = answer.is_none();
    reading.mismatched = answer.is_some_and(|answer| !answer.fits);
    match response.values {
        Some(values @ modbus::Values::Registers(_)) => {
            // Alone: of several in flight, one that the robot never answers may get another's values, which are a
            // client's to choose.
            let alone = session.modbus.tags().next().is_none();
            let span = answer.filter(|answer| answer.fits && alone).and_then(|answer| answer.span);
            let place = span.and_then(|span| ROBOT_MODE.checked_sub(span.address));
            let mode = place.and_then(|place| values.registers().nth(place.into()));
            let is_old = state.version_at_ns != 0 && state.major < FIRST_MODES;
            let mode = mode.filter(|mode| *mode <= LAST_MODE && !is_old).and_then(|mode| i8::try_from(mode).ok());
            if let Some(mode) = mode {
                state.see_robot_mode(mode, now_ns);
            }
            reading.set_values(values.registers());
        }
        Some(values @ modbus::Values::Bits(_)) => {
            let quantity = answer.and_then(|answer| answer.span).map_or(0, |span| span.quantity);
            reading.set_values(values.bits(quantity).map(u16::from));
        }
        _ => {}
    }
    Ok(Step::Whole { unit: reading, len })
}

fn rtde_answer(
    session: &mut Session,
    bytes: &[u8],
    told: Told<'_>,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let (package, len) = match rtde::Package::step(bytes, Toward::Plant)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, len } => (unit, len),
    };
    let mut reading = Reading::NOTHING;
    let reply = rtde::Reply::read(&package, &session.rtde)?;
    match reply {
        rtde::Reply::Data(data) => {
            for field in data.fields() {
                told.state.see_rtde(field.variable, &field.value, now_ns);
            }
        }
        rtde::Reply::ControllerVersion { major, minor, bugfix, .. } => {
            see_version(told.state, [major, minor, bugfix], now_ns);
        }
        rtde::Reply::SetupOutputs { types, recipe_id } => {
            reading.recorded = true;
            reading.text = Text::new(types.0);
            reading.recipe = recipe_id.unwrap_or(0);
        }
        rtde::Reply::SetupInputs { types, recipe_id } => {
            reading.recorded = true;
            reading.text = Text::new(types.0);
            reading.recipe = recipe_id;
        }
        _ => {}
    }
    if let rtde::Reply::SetupInputs { recipe_id, types } = reply {
        let answered = || session.rtde.answered(&reply);
        let is_data = |kind| matches!(kind, Some(rtde::ReplyType::Data(_)));
        if let Asked::Tag(tag) = session.pending.pop() {
            reading.to = Some(tag);
        }
        // As the session sees it: a set-up counts as a whole, or not at all.
        let accepted =
            recipe_id != 0 && answered().count() == types.iter().count() && answered().all(|(_, kind)| is_data(kind));
        for (variable, kind) in answered() {
            if accepted {
                told.inputs.accepted(variable, told.connection);
            } else {
                told.inputs.not_accepted(variable, told.connection.number);
            }
            if kind == Some(rtde::ReplyType::InUse) && reading.in_use.is_none() {
                reading.in_use = told.inputs.in_use(variable, told.connection.number);
            }
        }
    }
    session.rtde.reply(&package)?;
    Ok(Step::Whole { unit: reading, len })
}

fn dashboard_answer(
    session: &mut Session,
    bytes: &[u8],
    state: &mut State,
    now_ns: u64,
) -> Result<Step<Reading>, DissectError> {
    let (line, len) = match dashboard::ReplyLine::step(bytes)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, len } => (unit, len),
    };
    // A bare `true` means something only as the answer to its question.
    let asked = session.pending.alone().and_then(dashboard::Verb::named);
    let reply = line.read(asked);
    let mut reading = Reading { recorded: true, text: Text::new(line.text), ..Reading::NOTHING };
    // In whatever words: a robot that doesn't greet answers with its first line.
    session.greeted = 1;
    match reply {
        dashboard::Reply::Greeting => return Ok(Step::Whole { unit: Reading { recorded: false, ..reading }, len }),
        dashboard::Reply::RobotMode(mode) => state.see_robot_mode(mode.number(), now_ns),
        dashboard::Reply::SafetyMode(mode) => state.see_safety_mode(mode.number(), now_ns),
        dashboard::Reply::ProgramState { state: program, .. } => {
            let program = match program {
                dashboard::ProgramState::Stopped => Program::Stopped,
                dashboard::ProgramState::Playing => Program::Playing,
                dashboard::ProgramState::Paused => Program::Paused,
            };
            state.see_program(program, now_ns);
        }
        dashboard::Reply::RemoteControl(remote) => {
            state.see_control(if remote { Control::Remote } else { Control::Local }, now_ns);
        }
        dashboard::Reply::Version { major, minor, bugfix } => see_version(state, [major, minor, bugfix], now_ns),
        _ => {}
    }
    match session.pending.pop() {
        Asked::Tag(tag) => reading.to = Some(tag),
        Asked::Untagged => reading.recorded = false,
        Asked::Nothing => reading.unsolicited = true,
    }
    Ok(Step::Whole { unit: reading, len })
}

/// Answers of the Robot API: which request they answer, and their status. What their bodies say of the robot is not taken
/// for its state: their form is not confirmed, and its streams say the same.
fn api_answer(session: &mut Session, bytes: &[u8]) -> Result<Step<Reading>, DissectError> {
    let (response, len) = match robot_api::Response::step(bytes)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, len } => (unit, len),
    };
    if response.interim {
        return Ok(Step::Whole { unit: Reading::NOTHING, len });
    }
    let mut reading = Reading { recorded: true, text: Text::new(response.line), ..Reading::NOTHING };
    match session.pending.pop() {
        Asked::Tag(tag) => reading.to = Some(tag),
        Asked::Untagged => reading.recorded = false,
        Asked::Nothing => reading.unsolicited = true,
    }
    Ok(Step::Whole { unit: reading, len })
}

/// Notes a version, if it is one that a controller can have.
fn see_version(state: &mut State, [major, minor, bugfix]: [u32; 3], now_ns: u64) {
    if let (Ok(major), Ok(minor), Ok(bugfix)) = (u8::try_from(major), u8::try_from(minor), i32::try_from(bugfix)) {
        state.see_version(major, minor, bugfix, now_ns);
    }
}

fn interpreter_answer(session: &mut Session, bytes: &[u8]) -> Result<Step<Reading>, DissectError> {
    let (line, len) = match urscript::InterpreterReply::step(bytes)? {
        Step::Partial { needed } => return Ok(Step::Partial { needed }),
        Step::Whole { unit, len } => (unit, len),
    };
    // A line that nothing waits for is no anomaly: whether a line of several statements is answered once is not known.
    let to = match session.pending.pop() {
        Asked::Tag(tag) => Some(tag),
        Asked::Untagged | Asked::Nothing => None,
    };
    let reading = Reading { to, recorded: to.is_some(), text: Text::new(line.text), ..Reading::NOTHING };
    Ok(Step::Whole { unit: reading, len })
}

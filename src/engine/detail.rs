//! What a command said, in the fixed shape of a record.

use std::fmt::Write;

use crate::command::{Command, External};
use crate::event::{Detail, InUse, ModbusDetail, RtdeFields, Text, spell_rtde};

/// The record's view of a command; `in_use` is the RTDE input that it was refused for. Where the values of a data package
/// are spelled `later`, the record has to hold the whole unit.
pub(super) fn of(command: &Command<'_>, in_use: Option<InUse>, later: bool) -> Detail {
    if let (true, Command::Rtde(rtde::Request::Data(data))) = (later, command)
        && let Some(fields) = data.recipe.as_ref().and_then(RtdeFields::of)
    {
        return Detail::RtdeData { recipe: data.recipe_id, fields };
    }
    match command {
        Command::Modbus(request) => Detail::Modbus(modbus(request)),
        Command::Rtde(request) => rtde(request, in_use),
        Command::Dashboard(line) => {
            Detail::Dashboard { verb: line.verb.map_or("", |verb| verb.name), text: Text::new(line.text) }
        }
        Command::UrScript(unit) => urscript(unit),
        Command::External(unit) => external(unit),
        Command::Transport(_) => Detail::Transport,
    }
}

/// Names of the six numbers of a set-point: joints and, of a tool, its axes.
const JOINTS: [&str; 6] = ["q0", "q1", "q2", "q3", "q4", "q5"];
const AXES: [&str; 6] = ["x", "y", "z", "rx", "ry", "rz"];

/// The record's view of a unit of external control.
pub(super) fn external(unit: &External<'_>) -> Detail {
    use external_control::{Action, Move, Space, UNITS};
    let mut text = Text::EMPTY;
    let six = |text: &mut Text<160>, names: [&str; 6], values: [i32; 6]| {
        for (name, value) in names.into_iter().zip(values) {
            let _ = write!(text, ",{name}={}", f64::from(value) / UNITS);
        }
    };
    let _ = match unit {
        External::Motion(motion) => {
            let written = write!(text, "timeout_ms={}", motion.timeout_ms);
            match motion.action {
                Action::Move(Move::Servoj | Move::Speedj | Move::Torque, values) => six(&mut text, JOINTS, values),
                Action::Move(_, values) => six(&mut text, AXES, values),
                Action::Forward(external_control::Trajectory::Start { points }) => {
                    let _ = write!(text, ",points={points}");
                }
                Action::Unknown(mode) => {
                    let _ = write!(text, ",mode={mode}");
                }
                _ => {}
            }
            written
        }
        External::Point(point) => {
            let written = write!(text, "type={},duration={}", point.kind, point.duration);
            let kind = point.kind(external_control::Dialect::New);
            let joints = kind.is_none_or(|kind| kind.target() == Space::Joints);
            six(&mut text, if joints { JOINTS } else { AXES }, point.target);
            written
        }
        External::Order(order) => {
            let mut written = Ok(());
            if let Err(number) = order.function {
                written = write!(text, "function={number}");
            }
            for (at, argument) in order.arguments().enumerate() {
                let comma = if at == 0 { "" } else { "," };
                let _ = write!(text, "{comma}a{at}={argument}");
            }
            written
        }
        External::Text { digest, len } => {
            let _ = text.write_str("program=sha256:");
            for byte in digest {
                let _ = write!(text, "{byte:02x}");
            }
            write!(text, ",bytes={len}")
        }
    };
    Detail::ExternalControl { channel: unit.channel(), name: unit.name(), text }
}

fn modbus(request: &modbus::Request<'_>) -> ModbusDetail {
    let mut values = [0; 16];
    let mut values_len = 0_u8;
    let mut push = |value: u16| {
        if let Some(slot) = values.get_mut(usize::from(values_len)) {
            *slot = value;
            values_len = values_len.wrapping_add(1);
        }
    };
    if let Some(write) = &request.write {
        match write.values {
            modbus::Values::Registers(_) => write.registers().take(16).for_each(&mut push),
            modbus::Values::Bits(_) => write.bits().take(16).for_each(|bit| push(u16::from(bit))),
            modbus::Values::Mask { and, or } => {
                push(and);
                push(or);
            }
        }
    }
    ModbusDetail {
        transaction: request.transaction,
        unit: request.unit.0,
        function: request.function.0,
        sub_function: request.sub_function,
        read: request.read.map(|span| (span.address, span.quantity)),
        write: request.write.map(|write| (write.span.address, write.span.quantity)),
        values,
        values_len,
    }
}

fn rtde(request: &rtde::Request<'_>, in_use: Option<InUse>) -> Detail {
    let mut text = Text::EMPTY;
    let mut recipe = 0;
    match request {
        rtde::Request::SetupOutputs { frequency_hz, names } => {
            if let Some(frequency) = frequency_hz {
                let _ = write!(text, "{frequency} Hz: ");
            }
            text.push(names.0);
        }
        rtde::Request::SetupInputs { names } => text.push(names.0),
        rtde::Request::ProtocolVersion(version) => {
            let _ = write!(text, "{version}");
        }
        rtde::Request::Message(message) => text.push(message.text),
        rtde::Request::Data(data) => {
            recipe = data.recipe_id;
            text = spell_rtde(data.fields().map(|field| (field.variable, field.value)));
        }
        rtde::Request::ControllerVersion | rtde::Request::Start | rtde::Request::Pause => {}
    }
    Detail::Rtde { package: request.kind() as u8, recipe, text, in_use }
}

fn urscript(unit: &urscript::Unit<'_>) -> Detail {
    let text = match (unit.bare(), unit.name) {
        (Some(bare), _) => Text::new(bare.as_bytes()),
        (None, Some(name)) => Text::new(name),
        (None, None) => Text::new(unit.text.get(..unit.text.len().min(96)).unwrap_or_default()),
    };
    Detail::UrScript { kind: unit.kind, token_hash: unit.token_hash(), text, functions: functions(unit) }
}

/// Functions called that the unit does not define, each once as long as there is room.
fn functions(unit: &urscript::Unit<'_>) -> Text<96> {
    let mut text = Text::EMPTY;
    for fact in unit.facts() {
        let urscript::Fact::Call { name, category, .. } = fact else { continue };
        if category == urscript::Category::Local || contains_word(text.as_bytes(), name) || text.is_cut() {
            continue;
        }
        if !text.is_empty() {
            text.push(b",");
        }
        text.push(name);
    }
    text
}

fn contains_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|entry| entry == word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use dissect::{Step, Toward};
    use rtde::{DataType, Package, ReplyType, Session, Value};

    use super::*;

    /// A session with a recipe of these inputs, in a controller that gives them these types.
    fn session(inputs: &[(&[u8], DataType)]) -> Session {
        let (mut session, mut buffer) = (Session::new(), [0; 4096]);
        let len = rtde::emit::setup_inputs(inputs.iter().map(|(name, _)| *name), &mut buffer).unwrap();
        let Step::Whole { unit, .. } = Package::step(&buffer[..len], Toward::Robot).unwrap() else { panic!("whole") };
        session.request(&unit).unwrap();
        let types = inputs.iter().map(|(_, kind)| ReplyType::Data(*kind));
        let len = rtde::emit::inputs_reply(1, types, &mut buffer).unwrap();
        let Step::Whole { unit, .. } = Package::step(&buffer[..len], Toward::Plant).unwrap() else { panic!("whole") };
        session.reply(&unit).unwrap();
        session
    }

    #[test]
    fn values_are_the_same_spelled_at_once_and_later() {
        let all = [
            (&b"speed_slider_mask"[..], DataType::Uint32, Value::Uint32(1)),
            (b"speed_slider_fraction", DataType::Double, Value::Double(0.1 + 0.2)),
            (b"standard_digital_output", DataType::Uint8, Value::Uint8(255)),
            (b"input_bit_register_64", DataType::Bool, Value::Bool(true)),
            (b"input_int_register_24", DataType::Int32, Value::Int32(-7)),
            (b"input_double_register_3", DataType::Double, Value::Double(f64::NAN)),
            (b"external_force_torque", DataType::Vector6d, Value::Vector6d([0.5, -1.0, 1e-9, 1e9, 0.0, 3.25])),
        ];
        for count in 1..=all.len() {
            let used = &all[all.len().saturating_sub(count)..];
            let inputs: Vec<_> = used.iter().map(|(name, kind, _)| (*name, *kind)).collect();
            let session = session(&inputs);
            let mut buffer = [0; 512];
            let len = rtde::emit::data(Some(1), used.iter().map(|(.., value)| *value), &mut buffer).unwrap();
            let Step::Whole { unit, .. } = Package::step(&buffer[..len], Toward::Robot).unwrap() else {
                panic!("whole")
            };
            let command = Command::Rtde(rtde::Request::read(&unit, &session).unwrap());
            let (Detail::RtdeData { recipe, fields }, Detail::Rtde { recipe: same, text, .. }) =
                (of(&command, None, true), of(&command, None, false))
            else {
                panic!("{command:?}")
            };
            assert!(text.as_bytes().starts_with(used[0].0), "{text}");
            assert_eq!((recipe, fields.spell(&buffer[..len])), (same, text));
        }
    }
}

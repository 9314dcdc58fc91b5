//! What a command does: its classes, from the tables of its dissector.

use external_control::{Action, Function};
use modbus::FunctionCode;
use urscript::{Category, Fact, Kind};

use super::{Class, Classes, Command, External};

/// The general purpose registers of a Universal Robots controller; the other writable ones are outputs and their modes.
/// Source: Universal Robots, "Modbus Server".
const GENERAL_PURPOSE: std::ops::RangeInclusive<u16> = 128..=255;

impl Class {
    /// How grave it is that a command of this class reaches the robot unasked, from 0; orders classes for records.
    #[must_use]
    pub const fn gravity(self) -> u8 {
        match self {
            Self::Read => 0,
            Self::Session => 1,
            Self::Interface => 2,
            Self::File => 3,
            Self::Stop => 4,
            Self::Register => 5,
            Self::Parameter => 6,
            Self::Io => 7,
            Self::Network => 8,
            Self::Program => 9,
            Self::Motion => 10,
            Self::Unknown => 11,
            Self::Privilege => 12,
            Self::Shutdown => 13,
            Self::Safety => 14,
        }
    }

    /// The class of a written RTDE input; [`Class::Unknown`] for what is no known input.
    #[must_use]
    pub fn of_input(variable: rtde::Variable) -> Self {
        match variable.risk() {
            Some(rtde::Risk::Speed) => Self::Parameter,
            Some(rtde::Risk::Io) => Self::Io,
            Some(rtde::Risk::Register) => Self::Register,
            Some(rtde::Risk::Force) => Self::Motion,
            None => Self::Unknown,
        }
    }

    /// The class of a row of the Dashboard's command table.
    #[must_use]
    pub const fn of_verb(verb: &dashboard::Verb) -> Self {
        match verb.class {
            dashboard::Class::Read => Self::Read,
            dashboard::Class::Session => Self::Session,
            dashboard::Class::Interface => Self::Interface,
            dashboard::Class::File => Self::File,
            dashboard::Class::Program => Self::Program,
            dashboard::Class::Motion => Self::Motion,
            dashboard::Class::Stop => Self::Stop,
            dashboard::Class::Safety => Self::Safety,
            dashboard::Class::Privilege => Self::Privilege,
            dashboard::Class::Shutdown => Self::Shutdown,
        }
    }

    /// The class of a call of a URScript function; `None` for one that the unit itself defines.
    #[must_use]
    pub fn of_call(name: &[u8], category: Category) -> Option<Self> {
        Some(match category {
            Category::Motion | Category::Force => Self::Motion,
            Category::SafetyConfig if name == b"protective_stop" => Self::Stop,
            Category::SafetyConfig | Category::WorldModel => Self::Parameter,
            Category::IoWrite | Category::IoBehaviour => Self::Io,
            Category::Network => Self::Network,
            Category::ProgramControl => match name {
                b"popup" | b"textmsg" => Self::Interface,
                b"halt" => Self::Stop,
                b"powerdown" => Self::Shutdown,
                // They order threads inside a program and do nothing to the robot.
                b"sleep" | b"sync" | b"join" | b"enter_critical" | b"exit_critical" => Self::Read,
                _ => Self::Program,
            },
            Category::System if name == b"protective_stop" => Self::Stop,
            Category::System => Self::Shutdown,
            Category::ReadMath => Self::Read,
            Category::Unknown => Self::Unknown,
            Category::Local => return None,
        })
    }

    /// The class of a function that external control calls.
    #[must_use]
    pub const fn of_order(function: Function) -> Self {
        match function {
            Function::StartForceMode | Function::EndForceMode => Self::Motion,
            Function::SetToolVoltage => Self::Io,
            Function::ZeroFtSensor
            | Function::SetPayload
            | Function::StartToolContact
            | Function::EndToolContact
            | Function::SetFrictionCompensation
            | Function::FtRtdeInputEnable
            | Function::SetGravity
            | Function::SetTcpOffset
            | Function::SetFrictionScales
            | Function::SetTargetPayload => Self::Parameter,
        }
    }

    /// The class of a bare command of 30001-30003 (lower case, single blanks).
    #[must_use]
    pub fn of_bare(command: &str) -> Self {
        match command {
            "power off" | "stop program" | "pause program" => Self::Stop,
            "run program" | "resume program" | "set robotmode freedrive" => Self::Motion,
            "power on"
            | "brake release"
            | "set robotmode run"
            | "set unlock protective stop"
            | "set sim"
            | "set real"
            | "restart safetyboard" => Self::Safety,
            _ if command.starts_with("set speed") => Self::Parameter,
            _ => Self::Unknown,
        }
    }
}

impl Command<'_> {
    /// What it does to the robot; a unit of URScript or RTDE can be of several classes.
    ///
    /// Cost: constant for Modbus and Dashboard, one pass over the fields or the text for RTDE and URScript.
    #[must_use]
    pub fn classes(&self) -> Classes {
        match self {
            Self::Modbus(request) => of_modbus(request),
            Self::Rtde(request) => of_rtde(request),
            Self::Dashboard(line) => line.verb.map_or(Class::Unknown, Class::of_verb).into(),
            Self::UrScript(unit) => of_script(unit),
            Self::External(unit) => of_external(unit).into(),
            Self::Transport(_) => Class::Unknown.into(),
        }
    }

    /// The gravest of its classes; [`Class::Read`] where it does nothing.
    #[must_use]
    pub fn gravest_class(&self) -> Class {
        self.classes().gravest().unwrap_or(Class::Read)
    }
}

pub(crate) fn of_modbus(request: &modbus::Request<'_>) -> Classes {
    if !request.known() {
        return Class::Unknown.into();
    }
    if let Some(write) = &request.write {
        if write.span.table.is_bits() {
            return Class::Io.into();
        }
        let general = |address| GENERAL_PURPOSE.contains(&address);
        return match (general(write.span.address), general(write.span.last())) {
            (true, true) => Class::Register.into(),
            (false, false) if write.span.last() < 128 || write.span.address > 255 => Class::Io.into(),
            _ => Classes::from(Class::Register).with(Class::Io),
        };
    }
    let class = match request.function {
        FunctionCode::WRITE_FILE_RECORD => Class::File,
        FunctionCode::DIAGNOSTICS if request.changes_state() => Class::Shutdown,
        _ if request.changes_state() => Class::Unknown,
        _ => Class::Read,
    };
    class.into()
}

fn of_rtde(request: &rtde::Request<'_>) -> Classes {
    match request {
        rtde::Request::SetupOutputs { .. } => Class::Read.into(),
        rtde::Request::Message(_) => Class::Interface.into(),
        rtde::Request::Data(data) if data.recipe.is_none() => Class::Unknown.into(),
        rtde::Request::Data(data) => {
            data.fields().fold(Classes::default(), |classes, field| classes.with(Class::of_input(field.variable)))
        }
        _ => Class::Session.into(),
    }
}

fn of_script(unit: &urscript::Unit<'_>) -> Classes {
    let own = match unit.kind {
        Kind::Bare => return unit.bare().map_or(Class::Unknown, Class::of_bare).into(),
        // One statement outside a program is a program of its own: it ends the one that runs.
        Kind::Program | Kind::Statement => Class::Program.into(),
        Kind::Secondary | Kind::Interpreter | Kind::Blank => Classes::default(),
    };
    unit.facts().fold(own, |classes, fact| match of_fact(&fact) {
        Some(class) => classes.with(class),
        None => classes,
    })
}

fn of_external(unit: &External<'_>) -> Class {
    match unit {
        External::Motion(motion) if motion.action.only_stops() => Class::Stop,
        External::Motion(motion) if !motion.action.is_known() => Class::Unknown,
        // It keeps the program waiting, with the arm at rest.
        External::Motion(motion) if motion.action == Action::Idle => Class::Session,
        External::Motion(_) | External::Point(_) => Class::Motion,
        External::Order(order) => order.function.map_or(Class::Unknown, Class::of_order),
        External::Text { .. } => Class::Program,
    }
}

/// The class of one thing that a script does; `None` where it does nothing to the robot.
pub(crate) fn of_fact(fact: &Fact<'_>) -> Option<Class> {
    match fact {
        Fact::Call { name, category, .. } => Class::of_call(name, *category),
        // What the object is can't be told from the text; those that exist talk to other devices.
        Fact::Method { .. } | Fact::Connect { .. } => Some(Class::Network),
        // `digital_out` and `analog_out` were seen; whether a controller has others of the family is not known.
        Fact::IndexAssign { target } => target.ends_with(b"_out").then_some(Class::Io),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    fn modbus(bytes: &[u8]) -> Classes {
        let mut adu = vec![0, 1, 0, 0, 0, u8::try_from(bytes.len()).unwrap() + 1, 255];
        adu.extend_from_slice(bytes);
        let dissect::Step::Whole { unit, .. } = modbus::Adu::step(&adu).unwrap() else { panic!("partial") };
        Command::Modbus(modbus::Request::read(&unit).unwrap()).classes()
    }

    #[test]
    fn modbus_requests_by_effect() {
        let one = |class: Class| Classes::from(class);
        assert_eq!(modbus(&[3, 0, 0, 0, 10]), one(Class::Read));
        assert_eq!(modbus(&[6, 0, 128, 0, 1]), one(Class::Register));
        assert_eq!(modbus(&[6, 0, 1, 0, 1]), one(Class::Io));
        assert_eq!(modbus(&[6, 1, 1, 0, 1]), one(Class::Io));
        assert_eq!(modbus(&[16, 0, 127, 0, 2, 4, 0, 0, 0, 0]), one(Class::Register).with(Class::Io));
        assert_eq!(modbus(&[5, 0, 16, 0xff, 0]), one(Class::Io));
        assert_eq!(modbus(&[8, 0, 0, 1, 2]), one(Class::Read));
        assert_eq!(modbus(&[8, 0, 4, 0, 0]), one(Class::Shutdown));
        assert_eq!(modbus(&[0x5a, 0, 0x41]), one(Class::Unknown));
        assert_eq!(modbus(&[0x2b, 0x0e, 1, 0]), one(Class::Read));
        assert_eq!(modbus(&[0x2b, 0x0d, 1, 0]), one(Class::Unknown));
        // A write across the whole general purpose block touches outputs at both ends.
        let mut across = vec![16, 0, 100, 0, 123, 246];
        across.extend_from_slice(&[0; 246]);
        assert_eq!(modbus(&across), one(Class::Register).with(Class::Io));
    }

    #[test]
    fn dashboard_lines_by_their_table() {
        let class = |text: &str| Command::Dashboard(dashboard::Line::read(text.as_bytes())).gravest_class();
        assert_eq!(class("robotmode"), Class::Read);
        assert_eq!(class("Brake  Release"), Class::Safety);
        assert_eq!(class("power off"), Class::Stop);
        assert_eq!(class("load installation x.installation"), Class::Safety);
        assert_eq!(class("setUserRole none"), Class::Privilege);
        assert_eq!(class("launch missiles"), Class::Unknown);
    }

    #[test]
    fn inputs_by_their_risk() {
        let class = |name: &str| Class::of_input(rtde::Variable::named(name.as_bytes()));
        assert_eq!(class("speed_slider_fraction"), Class::Parameter);
        assert_eq!(class("standard_digital_output_mask"), Class::Io);
        assert_eq!(class("input_int_register_24"), Class::Register);
        assert_eq!(class("external_force_torque"), Class::Motion);
        assert_eq!(class("actual_q"), Class::Unknown);
    }

    #[test]
    fn bare_commands_that_release_safety() {
        for command in ["power on", "set unlock protective stop", "set robotmode run", "brake release"] {
            assert_eq!(Class::of_bare(command), Class::Safety, "{command}");
        }
        assert_eq!(Class::of_bare("stop program"), Class::Stop);
        assert_eq!(Class::of_bare("make coffee"), Class::Unknown);
    }

    #[test]
    fn the_gravest_of_one_is_itself_and_of_two_the_graver() {
        assert_eq!(Classes::default().gravest(), None);
        for one in Class::ALL {
            for other in Class::ALL {
                let graver = if one.gravity() >= other.gravity() { one } else { other };
                assert_eq!(Classes::from(one).with(other).gravest(), Some(graver));
            }
        }
    }

    #[test]
    fn gravity_orders_all_classes_strictly() {
        let mut gravities: Vec<_> = Class::ALL.iter().map(|class| class.gravity()).collect();
        gravities.sort_unstable();
        assert_eq!(gravities, (0..15).collect::<Vec<_>>());
    }
}

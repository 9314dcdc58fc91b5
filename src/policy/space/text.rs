//! Commands as people read them.

use std::fmt;

use external_control::{Action, Function, UNITS};
use modbus::{FunctionCode, Span, Table, ur};
use urscript::Kind;

use super::Sample;
use super::sample::{Modbus, Written};
use crate::policy::rtde::shown;

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Modbus(request) => request.fmt(f),
            Self::Line(text) => f.write_str(text),
            Self::Session => f.write_str("start"),
            Self::Message => f.write_str("a text message"),
            Self::Outputs { frequency_hz, names } => write!(f, "set up outputs {} at {frequency_hz} Hz", listed(names)),
            Self::Inputs(names) => write!(f, "set up inputs {}", listed(names)),
            Self::Data(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|(variable, value)| format!("{} = {}", variable.name(), shown(value))).collect();
                write!(f, "write {}", fields.join(", "))
            }
            Self::UnknownData => f.write_str("data of a recipe that was not seen"),
            Self::Script(script) => {
                let text = script.statements.join("; ");
                match (script.kind, script.hash) {
                    (Kind::Bare | Kind::Blank, _) => f.write_str(&text),
                    (kind, None) if text.is_empty() => write!(f, "an empty {}", kind.name()),
                    (kind, None) => write!(f, "{} with {text}", kind.name()),
                    (kind, Some(hash)) => write!(f, "{} {} if it has {text}", kind.name(), brief(&hash)),
                }
            }
            Self::Motion { motion, .. } => {
                write!(f, "{}", motion.action.name())?;
                if let Action::Move(_, target) = motion.action {
                    write!(f, " to {}", numbers(target))?;
                }
                write!(f, ", time-out {} ms", motion.timeout_ms)
            }
            Self::Point { point, .. } => write!(f, "point of kind {} at {}", point.kind, numbers(point.target)),
            Self::Order { number, arguments } => match Function::of(*number) {
                Some(function) if arguments.iter().all(|own| *own == 0) => f.write_str(function.name()),
                Some(function) => {
                    let mut arguments = arguments.iter();
                    let mut shown = |argument: &external_control::Argument| {
                        let own = arguments.by_ref().take(argument.len);
                        let numbers: Vec<_> = own.map(|own| argument.number(*own).to_string()).collect();
                        format!("{} {}", argument.name, numbers.join(" "))
                    };
                    let shown: Vec<_> = function.parameters().iter().map(&mut shown).collect();
                    write!(f, "{} with {}", function.name(), shown.join(", "))
                }
                None => write!(f, "function {number}"),
            },
            Self::Handed(digest) => write!(f, "the text {}", brief(digest)),
            Self::Connect(service) => write!(f, "a connection to {service}"),
        }
    }
}

impl fmt::Display for Modbus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, unit {}", FunctionCode(self.function).name(), self.unit)?;
        if let Some(code) = self.sub_function {
            write!(f, ", sub-function {code}")?;
        }
        if let Some(read) = &self.read {
            write!(f, ", reads {}", span(read))?;
        }
        match &self.write {
            Some((place, Written::Values(values))) => {
                let mut values: Vec<String> = values.iter().map(u16::to_string).collect();
                if usize::from(place.quantity) > values.len() {
                    values.push("...".to_owned());
                }
                write!(f, ", writes {} = {}", span(place), values.join(", "))
            }
            Some((place, Written::Mask { and, or })) => {
                write!(f, ", masks {} with and {and:#06x}, or {or:#06x}", span(place))
            }
            None => Ok(()),
        }
    }
}

/// The beginning of a hash: what people need to find it in a policy.
pub(super) fn brief(hash: &[u8; 32]) -> String {
    let hash = crate::policy::hash_text(hash);
    format!("{}...", hash.get(..23).unwrap_or(&hash))
}

fn span(span: &Span) -> String {
    let table = match span.table {
        Table::Coils => "coil",
        Table::DiscreteInputs => "discrete input",
        Table::HoldingRegisters | Table::InputRegisters => "register",
    };
    let name = ur::name(span.table, span.address).map(|name| format!(" ({})", name.replace('_', " ")));
    let name = name.filter(|_| span.quantity == 1).unwrap_or_default();
    if span.quantity == 1 {
        format!("{table} {}{name}", span.address)
    } else {
        format!("{table}s {}..={}", span.address, span.last())
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "without a name".to_owned() } else { names.join(", ") }
}

fn numbers(target: [i32; 6]) -> String {
    format!("{:?}", target.map(|value| f64::from(value) / UNITS))
}

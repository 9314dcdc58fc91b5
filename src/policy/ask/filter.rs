//! Which commands a question means.

use external_control::Function;
use modbus::Span;
use rtde::{Value, Variable};

use crate::command::{Class, Service};
use crate::policy::ranges::{Numbers, Ranges};
use crate::policy::space::{Built, Cuts, Sample, Written};

/// Whether a command is one that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    No,
    /// It hands over a text, and what that does nobody here knows.
    Maybe,
    Yes,
}

/// Commands that are asked about: all keys hold together, an absent one says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filter {
    pub(super) service: Option<Service>,
    pub(super) class: Option<Class>,
    /// Codes of Modbus functions.
    pub(super) functions: Option<u128>,
    /// Registers or coils, any of them.
    pub(super) address: Option<Ranges>,
    /// Whether the address is that of a register; none = of whichever.
    pub(super) registers: Option<bool>,
    pub(super) value: Option<Numbers>,
    pub(super) whole: Option<Ranges>,
    /// A verb of the Dashboard.
    pub(super) verb: Option<&'static str>,
    pub(super) argument: Option<String>,
    /// A function of URScript.
    pub(super) call: Option<String>,
    pub(super) bare: Option<&'static str>,
    pub(super) input: Option<Variable>,
    pub(super) output: Option<String>,
    /// A mode of external control.
    pub(super) mode: Option<&'static str>,
    pub(super) order: Option<Function>,
    pub(super) port: Option<Service>,
}

impl Filter {
    /// Adds what it compares commands with.
    pub(super) fn cut<'r>(&'r self, cuts: &mut Cuts<'r>) {
        cuts.modbus.functions |= self.functions.unwrap_or(0);
        cuts.modbus.touched.extend(&self.address);
        cuts.modbus.values.extend(&self.whole);
        cuts.arguments.extend(self.argument.iter().map(String::as_bytes));
        cuts.script.functions.extend(self.call.iter().map(String::as_bytes));
        cuts.rtde.outputs.extend(self.output.iter().map(String::as_bytes));
        if let Some(input) = self.input {
            let (sets, _) = cuts.rtde.inputs.entry(input).or_default();
            sets.extend(&self.value);
        }
        cuts.services.extend(self.port.map(|port| (false, port)));
    }

    /// Whether the command is meant.
    pub(super) fn wants(&self, sample: &Sample, built: &Built<'_>) -> Wants {
        let command = &built.command;
        if self.service.is_some_and(|service| service != command.service()) {
            return Wants::No;
        }
        let classes = command.classes();
        let handed = matches!(sample, Sample::Handed(_));
        if let Some(class) = self.class
            && !classes.contains(class)
        {
            return if handed && self.names_no_key() { Wants::Maybe } else { Wants::No };
        }
        let by_key = [
            self.functions.map(|codes| matches!(sample, Sample::Modbus(request) if codes >> (request.function & 127) & 1 == 1)),
            self.address.as_ref().map(|set| self.at(set, sample)),
            self.verb.map(|verb| matches!(command, crate::command::Command::Dashboard(line) if line.verb.is_ok_and(|own| own.name == verb))),
            self.argument.as_ref().map(|argument| {
                matches!(command, crate::command::Command::Dashboard(line) if line.argument.eq_ignore_ascii_case(argument.as_bytes()))
            }),
            self.bare.map(|bare| matches!(command, crate::command::Command::UrScript(unit) if unit.bare() == Some(bare))),
            self.input.map(|input| self.writes(input, sample)),
            self.output.as_ref().map(|output| matches!(sample, Sample::Outputs { names, .. } if names.contains(output))),
            self.mode.map(|mode| matches!(command, crate::command::Command::External(unit) if unit.channel() == external_control::Channel::Reverse && unit.name() == mode)),
            self.order.map(|order| matches!(sample, Sample::Order { number, .. } if *number == order as i32)),
            self.port.map(|port| *sample == Sample::Connect(port)),
        ];
        if by_key.into_iter().flatten().any(|holds| !holds) {
            return Wants::No;
        }
        if let Some(call) = &self.call {
            if handed {
                return Wants::Maybe;
            }
            if !calls(sample, call) {
                return Wants::No;
            }
        }
        if self.value.is_some() && self.input.is_none() && self.address.is_none() && !self.has_value(sample) {
            return Wants::No;
        }
        Wants::Yes
    }

    fn names_no_key(&self) -> bool {
        *self == Self { service: self.service, class: self.class, ..Self::default() }
    }

    /// Whether a request touches the address, and writes the value there where one is asked about.
    fn at(&self, set: &Ranges, sample: &Sample) -> bool {
        let Sample::Modbus(request) = sample else { return false };
        let hit = |span: &Span| {
            self.registers.is_none_or(|registers| span.table.is_bits() != registers)
                && set.touches(span.address, span.last())
        };
        let written = request.write.as_ref().is_some_and(|(span, _)| hit(span));
        if self.value.is_some() {
            written && self.has_value(sample)
        } else {
            written || request.read.as_ref().is_some_and(hit)
        }
    }

    fn has_value(&self, sample: &Sample) -> bool {
        let (Sample::Modbus(request), Some(set)) = (sample, &self.whole) else { return false };
        match &request.write {
            Some((_, Written::Values(values))) => values.iter().any(|value| set.covers(*value, *value)),
            Some((_, Written::Mask { and, or })) => set.touches(or & !and, and | or),
            None => false,
        }
    }

    fn writes(&self, input: Variable, sample: &Sample) -> bool {
        match sample {
            Sample::Data(fields) => fields.iter().any(|(variable, value)| {
                *variable == input
                    && self.value.as_ref().is_none_or(|set| number(value).is_some_and(|number| set.contains(number)))
            }),
            // Setting it up alone writes nothing.
            _ => false,
        }
    }
}

/// Whether a script calls the function.
fn calls(sample: &Sample, call: &str) -> bool {
    let Sample::Script(script) = sample else { return false };
    script.locals.is_empty()
        && script.statements.iter().any(|statement| {
            statement.strip_prefix(call).is_some_and(|rest| rest.starts_with('(') || rest.starts_with('['))
        })
}

fn number(value: &Value) -> Option<f64> {
    Some(match *value {
        Value::Bool(value) => f64::from(u8::from(value)),
        Value::Uint8(value) => f64::from(value),
        Value::Uint32(value) => f64::from(value),
        Value::Int32(value) => f64::from(value),
        Value::Double(value) => value,
        Value::Vector6d([first, ..]) => first,
        _ => return None,
    })
}

//! What a rule says about RTDE packages.

use rtde::{Field, InputData, Names, Request, Value, Variable};

use super::names::{NameSet, classes};
use super::ranges::Numbers;
use super::rule::{Miss, Rank, Rate, Reading};
use super::space::RtdeCuts;
use crate::command::{Class, Classes};
use crate::document::{self, Table};
use crate::event::Reason;
use crate::robot::{self, Inputs};

/// What a controller sends at when a client of version 1 can't ask: the fastest that any sends, in hertz.
/// Source: Universal Robots' client library, 500 Hz for e-Series and 125 Hz for CB3.
const FASTEST_HZ: f64 = 500.0;

/// The RTDE keys of one rule.
///
/// An absent key is unbounded, but writing is: a rule that speaks only of `outputs` or `frequency` covers no input, and
/// no rule covers an input that is in no table.
#[derive(Clone, Debug, Default)]
pub(crate) struct RtdeRule {
    classes: Option<Classes>,
    outputs: Option<NameSet>,
    frequency: Option<Numbers>,
    /// Sorted by variable.
    inputs: Option<Box<[(Variable, Bound)]>>,
    /// Whether any of them has a rate.
    has_rates: bool,
}

/// What may be written to one input.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bound {
    value: Option<Numbers>,
    bits: Option<u64>,
    /// How far a component may move at once, in either direction.
    step: Option<f64>,
    /// How often it may change.
    rate: Option<Rate>,
    /// Whether one connection has it at a time.
    exclusive: bool,
}

impl RtdeRule {
    /// Whether what it says of a package depends on the packages before.
    pub(super) fn looks_back(&self) -> bool {
        let steps = self.inputs.iter().flatten().any(|(_, bound)| bound.step.is_some());
        self.has_rates || steps
    }
}

impl Bound {
    fn covers(&self, value: &Value) -> bool {
        let bits = self.bits.is_none_or(|bits| whole(value).is_some_and(|value| value & !bits == 0));
        bits && self.value.as_ref().is_none_or(|set| all(value, |number| set.contains(number)))
    }

    /// Whether every component moves no farther than a step from where it was last; what never went to the robot can't
    /// be compared, and passes.
    fn steps(&self, variable: Variable, value: &Value, inputs: &Inputs) -> bool {
        let Some(most) = self.step else { return true };
        let (numbers, count) = robot::numbers(value);
        numbers.iter().take(count).enumerate().all(|(at, number)| {
            inputs.reference(variable, at).map_or(!number.is_nan(), |last| {
                let moved = (number - last).abs();
                // 0.8 - 0.7 is a little more than 0.1: the rounding of the two numbers is no step.
                moved <= most || moved - (number.abs() + last.abs()) * (2.0 * f64::EPSILON) <= most
            })
        })
    }

    /// Whether it depends on what went before: then the same input twice in one package has no order to be judged in.
    fn has_history(&self) -> bool {
        self.step.is_some() || self.rate.is_some()
    }

    fn touches(&self, value: &Value) -> bool {
        let bits = self.bits.is_none_or(|bits| whole(value).is_none_or(|value| value & bits != 0));
        // A number that compares with nothing counts against the command.
        bits && self.value.as_ref().is_none_or(|set| !all(value, |number| !number.is_nan() && !set.contains(number)))
    }

    /// The bound of the mask that says which bits of an output a write changes.
    fn of_mask(&self) -> Self {
        let values = self.value.as_ref().map(|set| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "saturates; outputs have 8 bits"
            )]
            let highest = set.iter().map(|(_, last)| last.max(0.0) as u64).max().unwrap_or(0);
            highest
                .checked_add(1)
                .and_then(u64::checked_next_power_of_two)
                .map_or(u64::MAX, |power| power.saturating_sub(1))
        });
        let bits = match (self.bits, values) {
            (Some(bits), Some(values)) => Some(bits & values),
            (bits, values) => bits.or(values),
        };
        Self { bits, exclusive: self.exclusive, ..Self::default() }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        if let Some(set) = &self.value {
            let text = set.text();
            parts.push(if text.is_empty() { "no value".to_owned() } else { text.join(", ") });
        }
        if let Some(bits) = self.bits {
            let set: Vec<_> = (0..64_u32).filter(|bit| bits >> bit & 1 == 1).map(|bit| bit.to_string()).collect();
            parts.push(format!("bits {}", set.join(", ")));
        }
        if let Some(step) = self.step {
            parts.push(format!("steps up to {step:?}"));
        }
        if parts.is_empty() { "any value".to_owned() } else { parts.join(" and ") }
    }
}

impl RtdeRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>, reading: &mut Reading<'_>, deny: bool) -> Self {
        let outputs = table.take("outputs").map(|value| {
            let names = value.any_of().into_iter().filter_map(|item| {
                let name = item.string()?;
                let variable = Variable::named(name.as_bytes());
                if variable.is_known() && !variable.is_output() {
                    item.problem(format!("\"{name}\" can only be written"), "name it in [allow.inputs]");
                } else if name.is_empty() || name.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
                    item.problem(
                        format!("\"{name}\" is no variable's name"),
                        "write one name, without commas or blanks",
                    );
                } else if !variable.is_known() {
                    // A newer controller may have it; a name that is nearly one of ours is a slip.
                    let near = document::nearest(name, Variable::all().filter(|v| v.is_output()).map(Variable::name));
                    if let Some(near) = near.filter(|near| strsim::levenshtein(near, name) <= 2) {
                        item.problem(format!("no RTDE output is called \"{name}\""), format!("write \"{near}\""));
                    }
                }
                Some(name.as_bytes().into())
            });
            NameSet::new(names.collect())
        });
        let frequency = table.take("frequency").and_then(|value| Numbers::read(&value));
        let inputs = table.table("inputs").map(|inputs| read_inputs(&inputs, reading, deny));
        let has_rates = inputs.iter().flatten().any(|(_, bound)| bound.rate.is_some());
        Self { classes: classes(table), outputs, frequency, inputs, has_rates }
    }

    /// Whether no key bounds it.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.classes.is_none() && self.outputs.is_none() && self.frequency.is_none() && self.inputs.is_none()
    }

    /// Adds what packages are compared with.
    pub(super) fn cut<'r>(&'r self, cuts: &mut RtdeCuts<'r>) {
        cuts.outputs.extend(self.outputs.iter().flat_map(NameSet::iter));
        cuts.frequencies.extend(&self.frequency);
        for (variable, bound) in self.inputs.iter().flatten() {
            let (sets, bits) = cuts.inputs.entry(*variable).or_default();
            sets.extend(&bound.value);
            bits.extend(bound.bits);
        }
    }

    /// Whether what was written before counts.
    pub(super) fn has_history(&self) -> bool {
        self.inputs.iter().flatten().any(|(_, bound)| bound.has_history())
    }

    /// Whether what was written before limits the other no less, input by input.
    pub(super) fn no_stricter(&self, other: &Self) -> bool {
        self.inputs.iter().flatten().all(|(variable, bound)| {
            let wider = |most: f64| other.bound(*variable).and_then(|own| own.step).is_some_and(|own| own <= most);
            bound.rate.is_none() && bound.step.is_none_or(wider)
        })
    }

    /// How a written input is limited by what was written before: the largest step, and how often it may change.
    pub(super) fn history(&self, variable: Variable) -> (Option<f64>, Option<Rate>) {
        self.bound(variable).map_or((None, None), |bound| (bound.step, bound.rate))
    }

    /// The inputs that one connection may have at a time.
    pub(crate) fn exclusive(&self) -> InputSet {
        let own = self.inputs.iter().flatten().filter(|(_, bound)| bound.exclusive);
        own.fold(InputSet::default(), |set, (variable, _)| {
            // Who may switch the mask decides over the input. A mask that others share stays free.
            let mask = variable.mask().filter(|(_, bits)| *bits == u32::MAX).map(|(mask, _)| mask);
            mask.into_iter().fold(set.with_one(*variable), InputSet::with_one)
        })
    }

    /// Whether writing an input may be a matter of rate.
    #[inline]
    pub(crate) fn has_rates(&self) -> bool {
        self.has_rates
    }

    /// The rates of the inputs that a package changes.
    pub(crate) fn rates<'r>(&'r self, data: &InputData<'r>, inputs: &'r Inputs) -> impl Iterator<Item = &'r Rate> {
        let fields = data.fields();
        fields.filter_map(move |Field { variable, value, .. }| {
            let rate = self.bound(variable)?.rate.as_ref()?;
            inputs.changes(variable, &value).then_some(rate)
        })
    }

    fn bound(&self, variable: Variable) -> Option<&Bound> {
        let inputs = self.inputs.as_deref()?;
        let at = inputs.binary_search_by_key(&variable, |(own, _)| *own).ok()?;
        inputs.get(at).map(|(_, bound)| bound)
    }

    fn allows_input(&self, variable: Variable) -> bool {
        variable.is_input()
            && (self.bound(variable).is_some()
                || self.classes.is_some_and(|classes| classes.contains(Class::of_input(variable)))
                || self.is_unbounded())
    }

    /// Whether the rule covers the package; `inputs` is what went to the robot before.
    pub(crate) fn covers(&self, request: &Request<'_>, inputs: &Inputs) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        match request {
            Request::ProtocolVersion(_) | Request::ControllerVersion | Request::Start | Request::Pause => Ok(()),
            Request::Message(_) => {
                if self.is_unbounded() || self.classes.is_some_and(|classes| classes.contains(Class::Interface)) {
                    Ok(())
                } else {
                    miss(Rank::Command, Reason::ClassNotAllowed)
                }
            }
            Request::SetupOutputs { frequency_hz, names } => {
                match (&self.outputs, self.classes) {
                    (Some(outputs), _) => {
                        if !names.iter().all(|name| outputs.contains(name)) {
                            return miss(Rank::Address, Reason::VariableNotAllowed);
                        }
                    }
                    (None, Some(classes)) if !classes.contains(Class::Read) && self.inputs.is_none() => {
                        return miss(Rank::Command, Reason::ClassNotAllowed);
                    }
                    (None, _) => {}
                }
                match &self.frequency {
                    Some(set) if !set.contains(frequency_hz.unwrap_or(FASTEST_HZ)) => {
                        miss(Rank::Quantity, Reason::FrequencyNotAllowed)
                    }
                    _ => Ok(()),
                }
            }
            Request::SetupInputs { names } => {
                if names.iter().all(|name| self.allows_input(Variable::named(name))) {
                    Ok(())
                } else {
                    miss(Rank::Address, Reason::VariableNotAllowed)
                }
            }
            Request::Data(data) => {
                if data.recipe.is_none() {
                    return miss(Rank::Command, Reason::RecipeUnknown);
                }
                for Field { variable, value, .. } in data.fields() {
                    if !self.allows_input(variable) {
                        return miss(Rank::Address, Reason::VariableNotAllowed);
                    }
                    let Some(bound) = self.bound(variable) else { continue };
                    if !bound.covers(&value) {
                        return miss(Rank::Value, Reason::ValueNotAllowed);
                    }
                    let twice = || data.fields().filter(|field| field.variable == variable).count() > 1;
                    if !bound.steps(variable, &value, inputs) || (bound.has_history() && twice()) {
                        return miss(Rank::Value, Reason::StepNotAllowed);
                    }
                }
                Ok(())
            }
        }
    }

    /// Whether any part of the package is what the rule names: how a deny rule reads.
    pub(crate) fn touches(&self, request: &Request<'_>, classes: Classes) -> bool {
        if self.is_unbounded() || self.classes.is_some_and(|own| classes.iter().any(|class| own.contains(class))) {
            return true;
        }
        let class = |variable: Variable| self.classes.is_some_and(|own| own.contains(Class::of_input(variable)));
        match request {
            Request::SetupOutputs { frequency_hz, names } => {
                let outputs = self.outputs.as_ref().map(|set| names.iter().any(|name| set.contains(name)));
                let fast = self.frequency.as_ref().map(|set| set.contains(frequency_hz.unwrap_or(FASTEST_HZ)));
                match (outputs, fast) {
                    (None, None) => false,
                    (outputs, fast) => outputs.unwrap_or(true) && fast.unwrap_or(true),
                }
            }
            // A set-up claims the input for the client, whatever it writes later.
            Request::SetupInputs { names } => names.iter().map(Variable::named).any(|variable| {
                class(variable) || self.bound(variable).is_some_and(|bound| *bound == Bound::default())
            }),
            Request::Data(data) => data.fields().any(|Field { variable, value, .. }| {
                class(variable) || self.bound(variable).is_some_and(|bound| bound.touches(&value))
            }),
            _ => false,
        }
    }

    /// What the rule allows instead, for the key that failed.
    pub(crate) fn nearest(&self, request: &Request<'_>, reason: Reason) -> Option<(&'static str, String, String)> {
        let first_not = |names: &Names<'_>, allowed: &dyn Fn(&[u8]) -> bool| {
            names.iter().find(|name| !allowed(name)).map(|name| String::from_utf8_lossy(name).into_owned())
        };
        let inputs = || {
            let names = self.inputs.iter().flatten().map(|(variable, _)| variable.name()).collect::<Vec<_>>();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        match (request, reason) {
            (Request::SetupOutputs { names, .. }, Reason::VariableNotAllowed) => {
                let set = self.outputs.as_ref()?;
                Some(("outputs", first_not(names, &|name| set.contains(name))?, set.text()))
            }
            (Request::SetupOutputs { frequency_hz, .. }, Reason::FrequencyNotAllowed) => {
                let seen = frequency_hz.map_or("none asked for".to_owned(), |hz| hz.to_string());
                Some(("frequency", seen, self.frequency.as_ref()?.text().join(", ")))
            }
            (Request::SetupInputs { names }, Reason::VariableNotAllowed) => {
                Some(("inputs", first_not(names, &|name| self.allows_input(Variable::named(name)))?, inputs()))
            }
            (Request::Data(data), Reason::VariableNotAllowed) => {
                let wrong = data.fields().find(|field| !self.allows_input(field.variable))?;
                Some(("inputs", wrong.variable.name().to_owned(), inputs()))
            }
            (Request::Data(data), Reason::ValueNotAllowed) => {
                let wrong =
                    data.fields().find(|field| self.bound(field.variable).is_some_and(|b| !b.covers(&field.value)))?;
                let seen = format!("{} = {}", wrong.variable.name(), shown(&wrong.value));
                Some(("inputs", seen, self.bound(wrong.variable)?.text()))
            }
            (Request::Data(data), Reason::StepNotAllowed) => {
                let stepped = |field: &Field| self.bound(field.variable).and_then(|bound| bound.step).is_some();
                let fields = data.fields().filter(stepped);
                let seen = fields.map(|field| format!("{} = {}", field.variable.name(), shown(&field.value)));
                let bounds = data.fields().filter_map(|field| {
                    let step = self.bound(field.variable)?.step?;
                    Some(format!("{} within {step:?} of its last value, once a package", field.variable.name()))
                });
                Some(("step", seen.collect::<Vec<_>>().join(", "), bounds.collect::<Vec<_>>().join(", ")))
            }
            (_, Reason::ClassNotAllowed) => {
                let names: Vec<_> = self.classes.unwrap_or_default().iter().map(Class::name).collect();
                Some(("class", format!("{:?}", request.kind()), names.join(", ")))
            }
            _ => None,
        }
    }
}

fn read_inputs(table: &Table<'_>, reading: &mut Reading<'_>, deny: bool) -> Box<[(Variable, Bound)]> {
    let mut inputs: Vec<(Variable, Bound)> = Vec::new();
    for (name, offset, value) in table.all() {
        let variable = Variable::named(name.as_bytes());
        if !variable.is_input() {
            let near = document::nearest(name, Variable::all().filter(|v| v.is_input()).map(Variable::name));
            let mend = near.map_or("write the name of an RTDE input".to_owned(), |near| format!("write `{near}`"));
            let what = if variable.is_known() { "can only be read" } else { "is no RTDE input" };
            table.problem_at(offset, format!("`{name}` {what}"), mend);
            continue;
        }
        let Some(keys) = value.table() else { continue };
        let allowed = keys.take("value").and_then(|value| Numbers::read(&value));
        let bits = keys.take("bits").map(|value| {
            let bits = value.any_of().into_iter().filter_map(|item| item.integer(0..=63));
            bits.fold(0_u64, |set, bit| set | 1_u64 << (bit & 63))
        });
        let step = keys.take("step").and_then(|value| read_step(&value));
        let rate = keys.table("rate").and_then(|table| reading.rate(&table, deny));
        let owner = keys.take("owner").and_then(|value| value.choice(&[("exclusive", true), ("any", false)]));
        if deny && (step.is_some() || owner == Some(true)) {
            table.problem_at(offset, "a deny rule can't have a step or an owner", "put them on the rules that allow");
        }
        keys.finish();
        inputs.push((variable, Bound { value: allowed, bits, step, rate, exclusive: owner == Some(true) }));
    }
    // The mask goes with its output: who may set bits 0 and 1 may say that these are the ones.
    let named: Vec<_> = inputs.iter().map(|(variable, bound)| (variable.name(), bound.clone())).collect();
    for (name, bound) in named {
        let mask = Variable::named(format!("{name}_mask").as_bytes());
        if mask.is_input() && !inputs.iter().any(|(variable, _)| *variable == mask) {
            inputs.push((mask, bound.of_mask()));
        }
    }
    inputs.sort_by_key(|(variable, _)| *variable);
    inputs.into()
}

/// The largest step; anything but one range that begins at no step at all is a problem.
fn read_step(value: &document::Value<'_>) -> Option<f64> {
    let ranges = Numbers::read(value)?;
    let mut ranges = ranges.iter();
    match (ranges.next(), ranges.next()) {
        (Some((least, most)), None) if least <= 0.0 && most >= 0.0 && value.as_number().is_none() => Some(most),
        _ => {
            value.problem(
                format!("{} is no step", value.raw()),
                "write how far the value may move at once, in either direction: \"..=0.1\"",
            );
            None
        }
    }
}

/// A set of RTDE inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InputSet([u64; Variable::INPUTS.div_ceil(64)]);

impl InputSet {
    fn with_one(mut self, variable: Variable) -> Self {
        if let Some(place) = variable.input_place()
            && let Some(word) = self.0.get_mut(place >> 6)
        {
            *word |= 1 << (place & 63);
        }
        self
    }

    /// What is in either set.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(own, other)| *own |= other);
        self
    }

    /// Whether the input is in the set.
    pub(crate) fn contains(&self, variable: Variable) -> bool {
        let word = variable.input_place().and_then(|place| Some((place & 63, self.0.get(place >> 6)?)));
        word.is_some_and(|(bit, word)| word >> bit & 1 == 1)
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0 == [0; _]
    }
}

/// Whether `holds` is true of every number in the value.
fn all(value: &Value, holds: impl Fn(f64) -> bool) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "no known input is a UINT64")]
    match *value {
        Value::Bool(value) => holds(f64::from(u8::from(value))),
        Value::Uint8(value) => holds(f64::from(value)),
        Value::Uint32(value) => holds(f64::from(value)),
        Value::Uint64(value) => holds(value as f64),
        Value::Int32(value) => holds(f64::from(value)),
        Value::Double(value) => holds(value),
        Value::Vector3d(values) => values.into_iter().all(holds),
        Value::Vector6d(values) => values.into_iter().all(holds),
        Value::Vector6Int32(values) => values.into_iter().all(|value| holds(f64::from(value))),
        Value::Vector6Uint32(values) => values.into_iter().all(|value| holds(f64::from(value))),
    }
}

/// The value as bits, where it is one that has bits; a negative integer has all high ones.
fn whole(value: &Value) -> Option<u64> {
    match *value {
        Value::Bool(value) => Some(u64::from(value)),
        Value::Uint8(value) => Some(u64::from(value)),
        Value::Uint32(value) => Some(u64::from(value)),
        Value::Uint64(value) => Some(value),
        Value::Int32(value) => Some(u64::from(u32::from_ne_bytes(value.to_ne_bytes()))),
        _ => None,
    }
}

/// The value for people.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Uint8(value) => value.to_string(),
        Value::Uint32(value) => value.to_string(),
        Value::Uint64(value) => value.to_string(),
        Value::Int32(value) => value.to_string(),
        Value::Double(value) => format!("{value:?}"),
        Value::Vector3d(values) => format!("{values:?}"),
        Value::Vector6d(values) => format!("{values:?}"),
        Value::Vector6Int32(values) => format!("{values:?}"),
        Value::Vector6Uint32(values) => format!("{values:?}"),
    }
}

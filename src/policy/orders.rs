//! `bounds` of an external control rule: what the arguments of its functions may be.
//!
//! Records hold numbers and nothing else, so that a bound is always proven or broken. A function without a bound takes
//! any arguments.

use external_control::{Argument, Function, Order};

use super::ranges::Numbers;
use crate::document::{self, Table, Value};

/// The bounds of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct OrderBounds(Box<[OfArgument]>);

#[derive(Clone, Debug)]
struct OfArgument {
    function: Function,
    argument: &'static Argument,
    /// Place of its first number among those of the function.
    first: usize,
    /// One for each of its numbers.
    numbers: Box<[Numbers]>,
}

impl OrderBounds {
    /// Reads the free keys `"function.argument"` of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut bounds: Vec<OfArgument> = Vec::new();
        for (key, offset, value) in table.all() {
            let Some((function, first, argument)) = argument(table, key, offset) else { continue };
            if let Some(numbers) = numbers(&value, argument) {
                bounds.push(OfArgument { function, argument, first, numbers });
            }
        }
        Self(bounds.into())
    }

    /// The functions with a bound.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Function> {
        self.0.iter().map(|bound| bound.function)
    }

    /// Whether an argument of this function is bounded.
    pub(crate) fn contains(&self, function: Function) -> bool {
        self.functions().any(|own| own == function)
    }

    /// Whether all arguments of the order are inside their bounds.
    pub(crate) fn hold(&self, order: &Order<'_>) -> bool {
        self.first_beyond(order).is_none()
    }

    /// The first argument outside its bound, as it is sent and as it may be.
    pub(crate) fn nearest(&self, order: &Order<'_>) -> Option<(String, String)> {
        let bound = self.first_beyond(order)?;
        let sent: Vec<_> = bound.of(order).map(|number| format!("{number:?}")).collect();
        let own: Vec<_> = bound.numbers.iter().map(|set| set.text().join(", ")).collect();
        let name = format!("{}.{}", bound.function.name(), bound.argument.name);
        Some(match (sent.as_slice(), own.as_slice()) {
            ([sent], [own]) => (format!("{name} = {sent}"), own.clone()),
            _ => (format!("{name} = [{}]", sent.join(", ")), format!("[{}]", own.join(", "))),
        })
    }

    fn first_beyond(&self, order: &Order<'_>) -> Option<&OfArgument> {
        let own = self.0.iter().filter(|bound| Ok(bound.function) == order.function);
        own.into_iter().find(|bound| !bound.of(order).zip(&bound.numbers).all(|(number, set)| set.contains(number)))
    }

    /// Arguments of this function at which a bound begins or ends, and just beyond, each with all others 0: what tells
    /// two bounds apart.
    pub(super) fn examples(&self, function: Function, mut add: impl FnMut(Vec<i32>)) {
        for bound in self.0.iter().filter(|bound| bound.function == function) {
            for (at, set) in bound.numbers.iter().enumerate() {
                let scale = if bound.argument.is_flag { 1.0 } else { external_control::UNITS };
                for end in set.iter().flat_map(|(first, last)| [first, last]).filter(|end| end.is_finite()) {
                    for beyond in [-1.0, 0.0, 1.0] {
                        let mut arguments = self.inside(function);
                        let slot = arguments.get_mut(bound.first.saturating_add(at));
                        #[expect(clippy::cast_possible_truncation, reason = "saturates at what can be sent")]
                        slot.into_iter().for_each(|slot| *slot = (end * scale).round() as i32 + beyond as i32);
                        add(arguments);
                    }
                }
            }
        }
    }

    /// Arguments of this function inside all its bounds, as far as there are any.
    fn inside(&self, function: Function) -> Vec<i32> {
        let mut arguments = vec![0; function.arguments()];
        for bound in self.0.iter().filter(|bound| bound.function == function) {
            let scale = if bound.argument.is_flag { 1.0 } else { external_control::UNITS };
            for (slot, set) in arguments.iter_mut().skip(bound.first).zip(&bound.numbers) {
                let ends = set.iter().flat_map(|(first, last)| [first, last]).filter(|end| end.is_finite());
                let number = if set.contains(0.0) { None } else { ends.into_iter().next() };
                #[expect(clippy::cast_possible_truncation, reason = "saturates at what can be sent")]
                number.into_iter().for_each(|number| *slot = (number * scale).round() as i32);
            }
        }
        arguments
    }
}

impl OfArgument {
    /// What an order of the function hands over for it.
    fn of(&self, order: &Order<'_>) -> impl Iterator<Item = f64> {
        let numbers = order.arguments().skip(self.first).take(self.argument.len);
        numbers.map(|integer| self.argument.number(integer))
    }
}

/// The lines of `[allow.bounds]` that hold the arguments of one call to what they are: of a function by its name, with the
/// integers of its record. `None` where it takes other ones.
pub(crate) fn only(name: &str, integers: &[i32]) -> Option<String> {
    let function = Function::ALL.into_iter().find(|function| function.name() == name)?;
    if integers.len() != function.arguments() {
        return None;
    }
    let mut integers = integers.iter();
    let lines = function.parameters().iter().map(|argument| {
        let numbers: Vec<_> = integers.by_ref().take(argument.len).map(|own| argument.number(*own)).collect();
        let bound = match numbers.as_slice() {
            [number] if argument.is_flag => (*number > 0.0).to_string(),
            [number] => format!("{number:?}"),
            numbers => format!("{{ list = {numbers:?} }}"),
        };
        format!("\"{name}.{}\" = {bound}\n", argument.name)
    });
    Some(lines.collect())
}

/// The function, the place of the argument's first number, and the argument that a key names.
fn argument(table: &Table<'_>, key: &str, offset: usize) -> Option<(Function, usize, &'static Argument)> {
    let Some((name, argument)) = key.split_once('.') else {
        let what = format!("`{key}` names no argument");
        table.problem_at(offset, what, "write function, point and argument in quotes, such as \"set_payload.mass\"");
        return None;
    };
    let Some(function) = Function::ALL.into_iter().find(|function| function.name() == name) else {
        let near = document::nearest(name, Function::ALL.into_iter().map(Function::name));
        let mend = near.map_or_else(|| "take it out".to_owned(), |near| format!("write \"{near}.{argument}\""));
        table.problem_at(offset, format!("external control has no function `{name}`"), mend);
        return None;
    };
    let parameters = function.parameters();
    let Some(place) = parameters.iter().position(|own| own.name == argument) else {
        let names = || parameters.iter().map(|own| own.name);
        let mend = match document::nearest(argument, names()) {
            Some(near) => format!("write \"{name}.{near}\""),
            None if parameters.is_empty() => "take it out: it takes none".to_owned(),
            None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        table.problem_at(offset, format!("`{name}` has no argument `{argument}`"), mend);
        return None;
    };
    let first = parameters.iter().take(place).map(|own| own.len).sum();
    parameters.get(place).map(|argument| (function, first, argument))
}

/// A bound for each number of the argument.
fn numbers(value: &Value<'_>, argument: &Argument) -> Option<Box<[Numbers]>> {
    if argument.is_flag {
        return Numbers::read_flags(value).map(|set| [set].into());
    }
    if argument.len == 1 {
        return Numbers::read(value).map(|set| [set].into());
    }
    let keys = value.table()?;
    let list = keys.take("list");
    keys.finish();
    let items = list.as_ref().and_then(Value::array).unwrap_or_default();
    if items.len() != argument.len {
        let what = format!("{} are not the ranges of {} numbers", value.raw(), argument.len);
        value.problem(what, format!("write {{ list = [...] }} with {} ranges", argument.len));
        return None;
    }
    items.iter().map(Numbers::read).collect()
}

//! `bounds` of a URScript rule: what the arguments of a function may be.
//!
//! A bound holds for every call of its function in a unit, wherever it stands: in programs, threads, arguments, and where
//! the unit defines a function of the same name. What is no literal proves nothing. An argument that a call leaves out
//! counts with its default where that is 0 in every version of the controller (`t`, `r`), else it proves nothing.
//!
//! Where `a` or `v` of `movej` or `movel` is bounded and `t` is not, `t` has to be 0 or left out: a move in time `t`
//! takes the acceleration and speed that it needs, whatever `a` and `v` say.

use std::collections::BTreeMap;

use urscript::{Arguments, MAX_PARAMETERS, Parameter, Signature, Takes, Value};

use super::names::NameSet;
use super::ranges::Numbers;
use super::space::distinct_numbers;
use crate::document::{self, Table};
use crate::event::Reason;

/// Components of a pose, as rules name them.
const POSE: [&str; 6] = ["x", "y", "z", "rx", "ry", "rz"];

/// The bounds of one rule, sorted by function.
#[derive(Clone, Debug)]
pub(crate) struct Bounds(Box<[OfFunction]>);

#[derive(Clone, Debug)]
struct OfFunction {
    signature: &'static Signature,
    /// At most one for each place.
    arguments: Vec<OfArgument>,
}

#[derive(Clone, Debug)]
struct OfArgument {
    place: usize,
    allowed: Allowed,
    /// Not in the file: what makes other bounds of the function count.
    implied: bool,
}

#[derive(Clone, Debug)]
enum Allowed {
    Numbers(Numbers),
    Texts(NameSet),
    /// Any of these.
    Shapes(Box<[Shape]>),
}

/// A list or pose of literal numbers, each with its bound.
#[derive(Clone, Debug)]
struct Shape {
    is_pose: bool,
    numbers: Box<[Option<Numbers>]>,
}

/// What a text proves about a value and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    Inside,
    Outside,
    Nothing,
}

impl Proof {
    fn of(inside: Option<bool>) -> Self {
        match inside {
            Some(true) => Self::Inside,
            Some(false) => Self::Outside,
            None => Self::Nothing,
        }
    }
}

impl Bounds {
    /// Reads the free keys `"function.argument"` of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let mut functions: BTreeMap<&str, OfFunction> = BTreeMap::new();
        for (key, offset, value) in table.all() {
            let Some((signature, place)) = argument(table, key, offset) else { continue };
            let Some(parameter) = signature.parameters.get(place) else { continue };
            let Some(allowed) = Allowed::read(&value, parameter) else { continue };
            let own = functions.entry(signature.function).or_insert(OfFunction { signature, arguments: Vec::new() });
            if own.arguments.iter().any(|other| other.place == place) {
                let name = format!("{}.{}", signature.function, parameter.name);
                table.problem_at(offset, format!("a second bound of {name}"), "write one, with a list of ranges");
                continue;
            }
            own.arguments.push(OfArgument { place, allowed, implied: false });
        }
        functions.values_mut().for_each(OfFunction::imply);
        Self(functions.into_values().collect())
    }

    /// Places of the arguments of this function that are bounded.
    pub(super) fn places(&self, function: &[u8]) -> impl Iterator<Item = usize> {
        self.of(function).into_iter().flat_map(|own| own.arguments.iter().map(|bound| bound.place))
    }

    /// The functions with a bound.
    pub(crate) fn functions(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|own| own.signature.function)
    }

    /// Whether an argument of this function is bounded.
    pub(crate) fn contains(&self, function: &[u8]) -> bool {
        self.of(function).is_some()
    }

    fn of(&self, function: &[u8]) -> Option<&OfFunction> {
        let at = self.0.binary_search_by(|own| own.signature.function.as_bytes().cmp(function)).ok()?;
        self.0.get(at)
    }

    /// Whether a call is proven inside all bounds; [`Reason::Unproven`] where the text does not say, and no bound is
    /// proven to be broken.
    ///
    /// Cost: a binary search; for a function with bounds its arguments are read.
    pub(crate) fn cover(&self, function: &[u8], arguments: &Arguments<'_>) -> Result<(), Reason> {
        let Some(own) = self.of(function) else { return Ok(()) };
        let values = arguments.resolve(own.signature).ok_or(Reason::Unproven)?;
        let mut result = Ok(());
        for bound in &own.arguments {
            match bound.proof(own.signature, &values) {
                Proof::Inside => {}
                Proof::Outside => return Err(bound.reason()),
                Proof::Nothing => result = Err(Reason::Unproven),
            }
        }
        result
    }

    /// Whether a call may be inside all bounds of its function: no text proves that it is not.
    pub(crate) fn may_hold(&self, function: &[u8], arguments: &Arguments<'_>) -> bool {
        let Some(own) = self.of(function) else { return true };
        let Some(values) = arguments.resolve(own.signature) else { return true };
        let proof = |bound: &OfArgument| bound.proof(own.signature, &values);
        let overridden = own.arguments.iter().any(|bound| bound.implied && proof(bound) != Proof::Inside);
        let is_void = |bound: &OfArgument| bound.implied || (overridden && own.is_overridden(bound.place));
        own.arguments.iter().all(|bound| is_void(bound) || bound.may_hold(own.signature, &values))
    }

    /// What a call that is not covered has and what the bound is.
    pub(crate) fn nearest(&self, function: &[u8], arguments: &Arguments<'_>) -> Option<(String, String)> {
        let own = self.of(function)?;
        let name = own.signature.function;
        let Some(values) = arguments.resolve(own.signature) else {
            let text = String::from_utf8_lossy(arguments.text()).into_owned();
            let allowed =
                own.signature.parameters.iter().map(|parameter| parameter.name).collect::<Vec<_>>().join(", ");
            return Some((format!("{name}({text})"), format!("literals, each once, as {name}({allowed})")));
        };
        let proofs = || own.arguments.iter().map(|bound| (bound, bound.proof(own.signature, &values)));
        let outside = proofs().find(|(_, proof)| *proof == Proof::Outside);
        let (bound, _) = outside.or_else(|| proofs().find(|(_, proof)| *proof == Proof::Nothing))?;
        let parameter = own.signature.parameters.get(bound.place)?;
        let value = values.get(bound.place).copied().flatten();
        let found =
            format!("{name}.{} = {}", parameter.name, value.map_or("left out".to_owned(), |value| shown(&value)));
        let why = if bound.implied { ", where a or v is bounded and t is not" } else { "" };
        Some((found, format!("{}{why}", bound.allowed.text())))
    }
}

impl OfFunction {
    fn is_overridden(&self, place: usize) -> bool {
        self.signature.overridden.is_some_and(|overridden| overridden.places.contains(&place))
    }

    /// Adds the bound without which others would say nothing.
    fn imply(&mut self) {
        let Some(overridden) = self.signature.overridden else { return };
        let is_bounded = |place| self.arguments.iter().any(|bound| bound.place == place);
        if overridden.places.iter().any(|place| is_bounded(*place)) && !is_bounded(overridden.by) {
            let allowed = Allowed::Numbers(Numbers::only(0.0));
            self.arguments.push(OfArgument { place: overridden.by, allowed, implied: true });
        }
    }
}

impl OfArgument {
    fn proof(&self, signature: &Signature, values: &[Option<Value<'_>>; MAX_PARAMETERS]) -> Proof {
        self.value(signature, values).map_or(Proof::Nothing, |(value, takes)| self.allowed.proof(&value, takes))
    }

    fn may_hold(&self, signature: &Signature, values: &[Option<Value<'_>>; MAX_PARAMETERS]) -> bool {
        self.value(signature, values).is_none_or(|(value, takes)| self.allowed.may_hold(&value, takes))
    }

    /// What the call hands over, else the default.
    fn value<'a>(
        &self,
        signature: &Signature,
        values: &[Option<Value<'a>>; MAX_PARAMETERS],
    ) -> Option<(Value<'a>, Takes)> {
        let parameter = signature.parameters.get(self.place)?;
        let given = values.get(self.place).copied().flatten();
        Some((given.or(parameter.default.map(Value::Number))?, parameter.takes))
    }

    fn reason(&self) -> Reason {
        match self.allowed {
            Allowed::Texts(_) => Reason::ArgumentNotAllowed,
            _ => Reason::ValueNotAllowed,
        }
    }
}

impl Allowed {
    fn read(value: &document::Value<'_>, parameter: &Parameter) -> Option<Self> {
        let shapes = || {
            let items = value.any_of();
            items.iter().map(|item| Shape::read(item, parameter)).collect::<Option<_>>().map(Self::Shapes)
        };
        match parameter.takes {
            Takes::Number | Takes::Whole => Numbers::read(value).map(Self::Numbers),
            Takes::Flag => Numbers::read_flags(value).map(Self::Numbers),
            Takes::Text => {
                let items = value.any_of();
                let texts = items.iter().map(|item| item.string().map(|text| text.as_bytes().into()));
                texts.collect::<Option<_>>().map(|texts| Self::Texts(NameSet::new(texts)))
            }
            _ => shapes(),
        }
    }

    fn proof(&self, value: &Value<'_>, takes: Takes) -> Proof {
        match self {
            Self::Numbers(set) => Proof::of(number(value, takes).map(|number| set.contains(number))),
            Self::Texts(set) => Proof::of(text(value).map(|text| set.contains(text))),
            Self::Shapes(shapes) => {
                let proofs = || shapes.iter().map(|shape| shape.proof(value));
                // A pose outside its box stays outside, whatever joints it may come to.
                match (proofs().any(|proof| proof == Proof::Inside), proofs().any(|proof| proof == Proof::Outside)) {
                    (true, _) => Proof::Inside,
                    (false, true) => Proof::Outside,
                    (false, false) if shapes.is_empty() => Proof::Outside,
                    (false, false) => Proof::Nothing,
                }
            }
        }
    }

    fn may_hold(&self, value: &Value<'_>, takes: Takes) -> bool {
        match self {
            // A pose outside the box may come to joints inside theirs.
            Self::Shapes(shapes) => shapes.iter().any(|shape| shape.proof(value) != Proof::Outside),
            _ => self.proof(value, takes) != Proof::Outside,
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Numbers(set) => set_text(set),
            Self::Texts(set) => set.text(),
            Self::Shapes(shapes) => shapes.iter().map(Shape::text).collect::<Vec<_>>().join(" or "),
        }
    }
}

impl Shape {
    fn read(item: &document::Value<'_>, parameter: &Parameter) -> Option<Self> {
        let keys = item.table()?;
        let list = match parameter.takes {
            Takes::Joints | Takes::Target => Some(("joint_rad", 6)),
            Takes::JointSpeeds => Some(("joint_rad_s", 6)),
            Takes::List(len) => Some(("list", len)),
            _ => None,
        };
        let takes_pose = matches!(parameter.takes, Takes::Pose | Takes::Target);
        let listed = list.and_then(|(key, len)| keys.take(key).map(|value| (value, len)));
        let mut pose = Vec::new();
        if takes_pose {
            for key in POSE {
                pose.push(keys.take(key));
            }
        }
        keys.finish();
        match (listed, pose.iter().any(Option::is_some)) {
            (Some((value, len)), false) => {
                let items = value.array().unwrap_or_default();
                if items.len() != len {
                    let what = format!("{} are not the ranges of {len} numbers", value.raw());
                    value.problem(what, format!("write a list of {len} ranges"));
                    return None;
                }
                let numbers = items.iter().map(|item| Numbers::read(item).map(Some)).collect::<Option<_>>()?;
                Some(Self { is_pose: false, numbers })
            }
            (None, true) => {
                let read = |value: &Option<document::Value<'_>>| match value {
                    Some(value) => Numbers::read(value).map(Some),
                    None => Some(None),
                };
                Some(Self { is_pose: true, numbers: pose.iter().map(read).collect::<Option<_>>()? })
            }
            (Some((value, _)), true) => {
                value.problem(
                    "joints and a pose in one bound",
                    "write a list of two: [{ joint_rad = [...] }, { x = \"...\" }]",
                );
                None
            }
            (None, false) => {
                // An unknown key is the only problem then.
                if keys.is_empty() {
                    item.problem(
                        format!("{} bounds nothing", item.raw()),
                        format!("write {}", example(parameter.takes)),
                    );
                }
                None
            }
        }
    }

    fn proof(&self, value: &Value<'_>) -> Proof {
        let list = match value {
            Value::List(list) if !self.is_pose => list,
            Value::Pose(list) if self.is_pose => list,
            _ => return Proof::Nothing,
        };
        let inside = |numbers: &[f64]| {
            numbers.len() == self.numbers.len()
                && numbers
                    .iter()
                    .zip(&self.numbers)
                    .all(|(number, set)| set.as_ref().is_none_or(|set| set.contains(*number)))
        };
        Proof::of(match self.numbers.len() {
            3 => list.numbers::<3>().map(|numbers| inside(&numbers)),
            6 => list.numbers::<6>().map(|numbers| inside(&numbers)),
            _ => None,
        })
    }

    fn text(&self) -> String {
        if self.is_pose {
            let named = POSE.iter().zip(&self.numbers).filter_map(|(name, set)| set.as_ref().map(|set| (name, set)));
            let parts: Vec<_> = named.map(|(name, set)| format!("{name} = {}", set_text(set))).collect();
            return format!("p[...] with {}", parts.join(", "));
        }
        let parts: Vec<_> = self.numbers.iter().flatten().map(set_text).collect();
        format!("[{}]", parts.join(", "))
    }
}

/// One text for each kind of argument that these bounds tell apart, at most `most`; literals alone.
pub(super) fn texts(bounds: &[&Bounds], function: &[u8], place: usize, most: usize) -> Vec<String> {
    let own = bounds.iter().filter_map(|bounds| bounds.of(function));
    let arguments: Vec<&OfArgument> =
        own.flat_map(|own| own.arguments.iter().filter(|own| own.place == place)).collect();
    let numbers = |sets: &[&Numbers], whole: bool| {
        distinct_numbers(sets, &[], |number| {
            (!whole || number.fract() == 0.0) && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number)
        })
    };
    let takes =
        Signature::of(function).and_then(|signature| signature.parameters.get(place)).map(|parameter| parameter.takes);
    let mut texts = Vec::new();
    let sets: Vec<&Numbers> = arguments
        .iter()
        .filter_map(|own| match &own.allowed {
            Allowed::Numbers(set) => Some(set),
            _ => None,
        })
        .collect();
    if !sets.is_empty() {
        texts.extend(numbers(&sets, takes == Some(Takes::Whole)).into_iter().map(|number| format!("{number:?}")));
    }
    let names = arguments.iter().filter_map(|own| match &own.allowed {
        Allowed::Texts(names) => Some(names),
        _ => None,
    });
    let names: Vec<&[u8]> = names.flat_map(NameSet::iter).collect();
    if arguments.iter().any(|own| matches!(own.allowed, Allowed::Texts(_))) {
        let other = (0_u32..).map(|number| format!("other{number}")).find(|name| !names.contains(&name.as_bytes()));
        let listed = names.iter().filter(|name| !name.iter().any(|byte| b"\"\\\n\r".contains(byte)));
        let listed = listed.map(|name| String::from_utf8_lossy(name).into_owned());
        texts.extend(listed.chain(other).map(|name| format!("\"{name}\"")));
    }
    let shapes = arguments.iter().flat_map(|own| match &own.allowed {
        Allowed::Shapes(shapes) => &**shapes,
        _ => &[],
    });
    let shapes: Vec<&Shape> = shapes.collect();
    for is_pose in [true, false] {
        let own: Vec<&Shape> = shapes.iter().copied().filter(|shape| shape.is_pose == is_pose).collect();
        let Some(len) = own.first().map(|shape| shape.numbers.len()) else { continue };
        let mut lists: Vec<Vec<f64>> = vec![Vec::new()];
        for axis in 0..len {
            let sets: Vec<&Numbers> = own.iter().filter_map(|shape| shape.numbers.get(axis)?.as_ref()).collect();
            let values = numbers(&sets, false);
            let longer = lists
                .iter()
                .flat_map(|list| values.iter().map(move |value| list.iter().copied().chain([*value]).collect()));
            lists = longer.take(most.saturating_add(1)).collect();
        }
        let begin = if is_pose { "p[" } else { "[" };
        let shown = |list: Vec<f64>| list.iter().map(|number| format!("{number:?}")).collect::<Vec<_>>().join(", ");
        texts.extend(lists.into_iter().map(|list| format!("{begin}{}]", shown(list))));
    }
    texts
}

/// The function and the place of the argument that a key names.
fn argument(table: &Table<'_>, key: &str, offset: usize) -> Option<(&'static Signature, usize)> {
    let Some((function, argument)) = key.split_once('.') else {
        let what = format!("`{key}` names no argument");
        table.problem_at(offset, what, "write the function, a point and the argument in quotes, such as \"movej.a\"");
        return None;
    };
    let Some(signature) = Signature::of(function.as_bytes()) else {
        let near = document::nearest(function, Signature::all().iter().map(|signature| signature.function));
        let mend = near.map_or_else(
            || "take it out; a rule without the function in `function` allows no call of it".to_owned(),
            |near| format!("write \"{near}.{argument}\""),
        );
        table.problem_at(offset, format!("no arguments of a function `{function}` are known"), mend);
        return None;
    };
    let by_place = argument.parse::<usize>().ok().filter(|place| *place < signature.parameters.len());
    let place = signature.place(argument.as_bytes()).or(by_place);
    if place.is_none() {
        let names = || signature.parameters.iter().map(|parameter| parameter.name);
        let mend = document::nearest(argument, names()).map_or_else(
            || format!("use one of {}, or a place from 0", names().collect::<Vec<_>>().join(", ")),
            |near| format!("write \"{function}.{near}\""),
        );
        table.problem_at(offset, format!("`{function}` has no argument `{argument}`"), mend);
    }
    Some((signature, place?))
}

fn example(takes: Takes) -> &'static str {
    match takes {
        Takes::JointSpeeds => "{ joint_rad_s = [\"-1.0..=1.0\", ...] } with six ranges",
        Takes::List(_) => "{ list = [\"-1.0..=1.0\", ...] } with a range for each number",
        Takes::Pose => "{ x = \"-0.5..=0.5\" } and so on for y, z, rx, ry, rz",
        Takes::Joints => "{ joint_rad = [\"-3.2..=3.2\", ...] } with six ranges",
        _ => "{ joint_rad = [\"-3.2..=3.2\", ...] } with six ranges, or { x = \"-0.5..=0.5\" } and so on",
    }
}

/// The number that a literal hands over. Beyond 32 bits a controller may keep the lower ones of it.
fn number(value: &Value<'_>, takes: Takes) -> Option<f64> {
    let number = match *value {
        Value::Number(number) => number,
        Value::Bool(flag) => f64::from(u8::from(flag)),
        _ => return None,
    };
    let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
    (fits && (takes != Takes::Whole || number.fract() == 0.0)).then_some(number)
}

/// The body of a string; one with a backslash has two readings.
fn text<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::String(body) if !body.contains(&b'\\') => Some(body),
        _ => None,
    }
}

fn set_text(set: &Numbers) -> String {
    let text = set.text();
    if text.is_empty() { "no number".to_owned() } else { text.join(", ") }
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Number(number) => format!("{number:?}"),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => format!("\"{}\"", String::from_utf8_lossy(text)),
        Value::List(list) => format!("[{}]", String::from_utf8_lossy(list.text())),
        Value::Pose(list) => format!("p[{}]", String::from_utf8_lossy(list.text())),
        Value::Other(text) => String::from_utf8_lossy(text).into_owned(),
    }
}

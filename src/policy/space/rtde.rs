//! RTDE packages: by what they are, the variables that they name, frequency and values.

use std::collections::BTreeMap;

use rtde::{DataType, Value, Variable};

use super::number::{distinct_numbers, unique};
use super::{Block, RtdeCuts, Sample, Space, bits};
use crate::command::{Class, Service};
use crate::policy::ranges::Numbers;

/// Said where the bits of an input are cut too often.
const TOO_MANY_BITS: &str = "RTDE: rules with many different `bits` of one input; not all values were looked at";

/// Names of one package, at most: what a recipe has room for.
const NAMES: usize = 200;

/// Adds the packages.
pub(super) fn add(space: &mut Space, cuts: &RtdeCuts<'_>) {
    let single = |what: &str, sample| Block::single(Service::Rtde, what, vec![sample]);
    space.blocks.push(single("session words", Sample::Session));
    space.blocks.push(single("text message", Sample::Message));
    space.blocks.push(single("data of a recipe that was not seen", Sample::UnknownData));

    let mut outputs: Vec<String> = cuts.outputs.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let known = Variable::all().filter(|variable| variable.is_output()).map(Variable::name);
    outputs.extend(
        known.chain(["another_variable"]).find(|name| !cuts.outputs.contains(name.as_bytes())).map(str::to_owned),
    );
    for frequency_hz in distinct_numbers(&cuts.frequencies, &[], |number| number >= 0.0) {
        let names = |names: Vec<String>| Sample::Outputs { frequency_hz, names };
        let elements = outputs.iter().map(|name| names(vec![name.clone()])).collect();
        let mut block = Block::single(Service::Rtde, "set up outputs", elements);
        block.most = NAMES;
        space.blocks.push(block);
        space.blocks.push(single("set up outputs", names(Vec::new())));
    }

    let inputs = inputs(cuts);
    let names = inputs.iter().map(|variable| variable.name().to_owned()).chain(["unknown_input".to_owned()]);
    let mut block =
        Block::single(Service::Rtde, "set up inputs", names.map(|name| Sample::Inputs(vec![name])).collect());
    block.most = NAMES;
    space.blocks.push(block);
    space.blocks.push(single("set up inputs", Sample::Inputs(Vec::new())));

    let mut block = Block::single(Service::Rtde, "write inputs", Vec::new());
    for variable in inputs {
        let none = (Vec::new(), Vec::new());
        let (sets, bits) = cuts.inputs.get(&variable).unwrap_or(&none);
        for value in values(space, variable, sets, bits) {
            block.elements.push(Sample::Data(vec![(variable, value)]));
            // The robot takes a recipe that names an input twice for none that it knows.
            block.groups.push(variable.0.into());
        }
    }
    block.most = NAMES;
    space.blocks.push(block);
}

/// The inputs that rules name, and one of each class that none names.
fn inputs(cuts: &RtdeCuts<'_>) -> Vec<Variable> {
    let all = Variable::all().filter(|variable| variable.is_input());
    let (named, others): (Vec<_>, Vec<_>) = all.partition(|variable| cuts.inputs.contains_key(variable));
    let mut classes = BTreeMap::new();
    for variable in others {
        classes.entry(Class::of_input(variable)).or_insert(variable);
    }
    named.into_iter().chain(classes.into_values()).collect()
}

/// One value of each kind.
fn values(space: &mut Space, variable: Variable, sets: &[&Numbers], bits: &[u64]) -> Vec<Value> {
    let Some(data_type) = variable.data_type() else { return Vec::new() };
    if sets.is_empty() && bits.is_empty() {
        return vec![Value::zero(data_type)];
    }
    let kind = |value: u8| {
        let inside: Vec<bool> = sets.iter().map(|set| set.contains(f64::from(value))).collect();
        (
            inside,
            bits.iter()
                .flat_map(|bits| [u64::from(value) & !bits == 0, u64::from(value) & bits != 0])
                .collect::<Vec<_>>(),
        )
    };
    match data_type {
        DataType::Bool => vec![Value::Bool(false), Value::Bool(true)],
        DataType::Uint8 => unique(0..=u8::MAX, kind).into_iter().map(Value::Uint8).collect(),
        DataType::Uint32 => {
            let (numbers, all) = bits::numbers(sets, bits, false);
            if !all {
                space.limit(TOO_MANY_BITS);
            }
            numbers.into_iter().map(Value::Uint32).collect()
        }
        DataType::Int32 => {
            let (numbers, all) = bits::numbers(sets, bits, true);
            if !all {
                space.limit(TOO_MANY_BITS);
            }
            numbers.into_iter().map(|number| Value::Int32(i32::from_ne_bytes(number.to_ne_bytes()))).collect()
        }
        DataType::Double => {
            let numbers = distinct_numbers(sets, &[], |_| true).into_iter();
            // No number compares with it: an allow rule never covers it, a deny rule always touches it.
            numbers.chain([f64::NAN]).map(Value::Double).collect()
        }
        DataType::Vector6d => {
            let numbers = distinct_numbers(sets, &[], |_| true);
            let mut vectors: Vec<[f64; 6]> = numbers.iter().map(|number| [*number; 6]).collect();
            let pairs = numbers.iter().flat_map(|a| numbers.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b);
            vectors.extend(pairs.map(|(a, b)| [a, b, b, b, b, b]));
            if numbers.len() > 2 {
                space.limit("RTDE: a vector with several ranges; not all mixtures of values were looked at");
            }
            vectors.push([f64::NAN; 6]);
            vectors.into_iter().map(Value::Vector6d).collect()
        }
        // No input of the tables has another type.
        _ => vec![Value::zero(data_type)],
    }
}

use std::collections::{BTreeMap, BTreeSet};

use modbus::FunctionCode;

use super::super::observe::{Behaviour, Count, Group};
use super::super::spread::Spread;
use super::spread;
use super::text::{Rule, list, numbers, quoted};

/// Rules of one function; more are put together, so that people can read them.
const RULES: usize = 12;

type Span = (u16, u16);

/// Requests that one rule covers.
#[derive(Clone, Debug, Default)]
struct Shape {
    functions: BTreeSet<u8>,
    sub_function: Option<u16>,
    units: BTreeSet<u8>,
    reads: Vec<Span>,
    writes: Vec<Span>,
    quantities: BTreeSet<u16>,
    values: Spread,
    count: Count,
    off: bool,
    rows: usize,
}

/// Rules of what was seen again and again with the same values; what was seen once keeps a rule of its own.
pub(super) fn rules(group: &Group) -> Vec<Rule> {
    let mut all: BTreeMap<(u8, Option<u16>), Vec<Shape>> = BTreeMap::new();
    for (behaviour, row) in &group.rows {
        let Behaviour::Modbus { function, sub_function, unit, read, write } = behaviour else { continue };
        let quantity = |(first, last): &Span| last.saturating_sub(*first).saturating_add(1);
        all.entry((*function, *sub_function)).or_default().push(Shape {
            functions: [*function].into(),
            sub_function: *sub_function,
            units: [*unit].into(),
            reads: read.iter().copied().collect(),
            writes: write.iter().copied().collect(),
            quantities: read.iter().chain(write).map(quantity).collect(),
            values: row.values.clone(),
            count: row.count,
            off: row.off,
            rows: 1,
        });
    }
    let mut shapes = Vec::new();
    for rows in all.into_values() {
        shapes.extend(of_function(rows));
    }
    // The same shape with several functions (coils and inputs of the same addresses) reads better as one rule.
    let mut merged: Vec<Shape> = Vec::new();
    for shape in shapes {
        let same = |own: &&mut Shape| {
            let fits = own.sub_function.is_none() && shape.sub_function.is_none() && own.off == shape.off;
            fits && own.repeated() && shape.repeated() && own.units == shape.units && own.says() == shape.says()
        };
        match merged.iter_mut().find(same) {
            Some(own) => own.add(&shape),
            None => merged.push(shape),
        }
    }
    merged.into_iter().map(Shape::rule).collect()
}

/// The shapes of one function.
fn of_function(rows: Vec<Shape>) -> Vec<Shape> {
    let (repeated, once): (Vec<_>, Vec<_>) = rows.into_iter().partition(Shape::repeated);
    // The same unit with the same values: the addresses go together. What is read with a write stays with it.
    let mut shapes = together(repeated, |own, other| {
        let reads = own.writes.is_empty() || own.reads == other.reads;
        own.units == other.units && own.values_said() == other.values_said() && reads
    });
    shapes = together(shapes, |own, other| own.says() == other.says());
    let mut alone: Vec<Shape> = Vec::new();
    for shape in once {
        match shapes.iter_mut().find(|own| own.covers(&shape)) {
            Some(own) => own.add(&shape),
            None => alone.push(shape),
        }
    }
    if shapes.len().saturating_add(alone.len()) > RULES {
        alone = together(alone, |_, _| true);
    }
    if shapes.len().saturating_add(alone.len()) > RULES {
        shapes = together(shapes, |_, _| true);
    }
    shapes.extend(alone);
    shapes
}

/// Puts those together that are the `same`.
fn together(shapes: Vec<Shape>, same: impl Fn(&Shape, &Shape) -> bool) -> Vec<Shape> {
    let mut all: Vec<Shape> = Vec::new();
    for shape in shapes {
        match all.iter_mut().find(|own| same(own, &shape)) {
            Some(own) => own.add(&shape),
            None => all.push(shape),
        }
    }
    all
}

impl Shape {
    fn repeated(&self) -> bool {
        self.count.count > 1 && self.rows > 0
    }

    fn values_said(&self) -> Vec<String> {
        self.values.say().parts.iter().map(|part| part.text()).collect()
    }

    /// What its rule says but for functions and units.
    fn says(&self) -> (Vec<Span>, Vec<Span>, &BTreeSet<u16>, Vec<String>) {
        (merged(&self.reads), merged(&self.writes), &self.quantities, self.values_said())
    }

    /// Whether its rule allows what `other` was seen to do.
    fn covers(&self, other: &Self) -> bool {
        let inside = |own: &[Span], other: &[Span]| {
            let own = merged(own);
            other.iter().all(|span| own.iter().any(|own| own.0 <= span.0 && span.1 <= own.1))
        };
        self.units.is_superset(&other.units)
            && self.quantities.is_superset(&other.quantities)
            && inside(&self.reads, &other.reads)
            && inside(&self.writes, &other.writes)
            && self.values.holds(&other.values)
    }

    fn add(&mut self, other: &Self) {
        self.functions.extend(&other.functions);
        self.units.extend(&other.units);
        self.reads.extend(&other.reads);
        self.writes.extend(&other.writes);
        self.quantities.extend(&other.quantities);
        self.values.join(&other.values);
        self.count = self.count.with(other.count);
        self.off |= other.off;
        self.rows = self.rows.saturating_add(other.rows);
    }

    fn rule(self) -> Rule {
        let mut rule = Rule { count: self.count, off: self.off, ..Rule::default() };
        let has = |code: FunctionCode| self.functions.contains(&code.0);
        rule.keys
            .push(format!("function = {}", list(self.functions.iter().map(|code| quoted(FunctionCode(*code).name())))));
        rule.keys.extend(self.sub_function.map(|code| format!("sub_function = [{code}]")));
        rule.keys.push(format!("unit = {}", list(self.units.iter().map(ToString::to_string))));
        let one = |(a, b): Span| if a == b { a.to_string() } else { format!("\"{a}..={b}\"") };
        let spans = |spans: &[Span]| list(merged(spans).into_iter().map(one));
        match (self.reads.is_empty(), self.writes.is_empty()) {
            (false, false) => {
                rule.keys.push(format!("read_address = {}", spans(&self.reads)));
                rule.keys.push(format!("write_address = {}", spans(&self.writes)));
            }
            (false, true) => rule.keys.push(format!("address = {}", spans(&self.reads))),
            (true, false) => rule.keys.push(format!("address = {}", spans(&self.writes))),
            (true, true) => {}
        }
        let single = [
            FunctionCode::WRITE_SINGLE_COIL,
            FunctionCode::WRITE_SINGLE_REGISTER,
            FunctionCode::MASK_WRITE_REGISTER,
            FunctionCode::READ_FIFO_QUEUE,
        ];
        if !self.quantities.is_empty() && !self.functions.iter().all(|code| single.contains(&FunctionCode(*code))) {
            let quantities: Vec<_> = self.quantities.iter().map(|quantity| (*quantity, *quantity)).collect();
            rule.keys.push(format!("quantity = {}", list(merged(&quantities).into_iter().map(one))));
        }
        let values = spread("value", &self.values, &mut rule.notes);
        if !values.is_empty() {
            rule.keys.push(numbers("value", &values));
        }
        if self.rows > 1 {
            let once = if self.count.count == u64::try_from(self.rows).unwrap_or(0) { ", each seen once" } else { "" };
            let rows = self.rows;
            rule.notes.push(format!("{rows} different requests{once}; covers their keys in any combination."));
        }
        if has(FunctionCode::MASK_WRITE_REGISTER) {
            rule.notes.push("value: what the masks may lead to; covers other masks with the same bounds.".into());
        }
        if has(FunctionCode::READ_FILE_RECORD) || has(FunctionCode::WRITE_FILE_RECORD) {
            rule.notes.push("Covers any file and record: more than was seen.".into());
        } else if self.reads.is_empty() && self.writes.is_empty() {
            let plain = [
                FunctionCode::READ_EXCEPTION_STATUS,
                FunctionCode::GET_COMM_EVENT_COUNTER,
                FunctionCode::GET_COMM_EVENT_LOG,
                FunctionCode::REPORT_SERVER_ID,
            ];
            if !self.functions.iter().all(|code| plain.contains(&FunctionCode(*code))) {
                rule.notes.push("Covers any data of this function: more than was seen.".into());
            }
        }
        rule
    }
}

/// Ranges put together where they touch or overlap.
fn merged(spans: &[Span]) -> Vec<Span> {
    let mut spans = spans.to_vec();
    spans.sort_unstable();
    let mut all: Vec<Span> = Vec::new();
    for (first, last) in spans {
        match all.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => all.push((first, last)),
        }
    }
    all
}

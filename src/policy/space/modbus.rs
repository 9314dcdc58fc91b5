//! Modbus requests: by unit, function, addresses, quantity and values.

use std::collections::BTreeMap;

use modbus::{Diagnostic, FunctionCode, Span, Table};

use super::number::{cells, distinct, unique};
use super::sample::{Modbus, Sample, Written};
use super::{Block, EXAMPLES, ModbusCuts, Space};
use crate::command::Service;
use crate::policy::ranges::Ranges;

/// First and last address of the general purpose registers, and the one after: writes are of another class there.
const CLASSES: [u16; 2] = [128, 256];

/// Most comparisons of spans with sets of addresses for one function and unit.
const COMPARISONS: usize = 1_000_000;

/// Adds the requests.
pub(super) fn add(space: &mut Space, cuts: &ModbusCuts<'_>) {
    let units = distinct(&cuts.units, (0, 255));
    // One that nobody names stands for all others that no specification has.
    let other = (65..=127).find(|code| cuts.functions >> code & 1 == 0 && !FunctionCode(*code).is_public());
    let functions = (1..=127_u8).filter(|code| {
        FunctionCode(*code).is_public() || cuts.functions >> code & 1 == 1 || *code == 0x5a || Some(*code) == other
    });
    let functions: Vec<u8> = functions.collect();
    for unit in units.iter().map(|unit| u8::try_from(*unit).unwrap_or(u8::MAX)) {
        for function in &functions {
            add_function(space, cuts, unit, *function);
        }
    }
}

/// Most items that a request can read and write. Source: application protocol, section 6.
const fn limits(function: u8) -> (u16, u16) {
    match function {
        1 | 2 => (2000, 0),
        3 | 4 => (125, 0),
        5 | 6 | 22 => (0, 1),
        15 => (0, 1968),
        16 => (0, 123),
        23 => (125, 121),
        24 => (32, 0),
        _ => (0, 0),
    }
}

fn add_function(space: &mut Space, cuts: &ModbusCuts<'_>, unit: u8, function: u8) {
    let code = FunctionCode(function);
    let what = code.name();
    let base = Modbus { function, unit, sub_function: None, read: None, write: None };
    let table = code.table().unwrap_or(Table::HoldingRegisters);
    let (reads, writes) = limits(function);
    if (reads, writes) == (0, 0) {
        let elements = sub_functions(cuts, code)
            .into_iter()
            .map(|sub_function| Sample::Modbus(Modbus { sub_function, ..base.clone() }));
        space.blocks.push(Block::single(Service::Modbus, what, elements.collect()));
        return;
    }
    let none = [None];
    let mut complete = true;
    let mut places = |most| {
        let (places, all) = places(cuts, most);
        complete &= all;
        places.into_iter().map(Some).collect::<Vec<_>>()
    };
    let reads: Vec<Option<Place>> = match (reads, function) {
        (0, _) => none.to_vec(),
        (_, 24) => queues(cuts).into_iter().map(Some).collect(),
        (most, _) => places(most),
    };
    let writes: Vec<Option<Place>> = match writes {
        0 => none.to_vec(),
        most => places(most),
    };
    if !complete || reads.len().saturating_mul(writes.len()) > EXAMPLES {
        space.limit("Modbus: rules with too many different addresses; some requests were not looked at");
    }
    let pairs = reads.iter().flat_map(|read| writes.iter().map(move |write| (read, write)));
    for (read, write) in pairs.take(EXAMPLES) {
        let read = read.as_ref().map(|place| place.small.span(table, place.small.quantities.0));
        let request = |write| Sample::Modbus(Modbus { read, write, ..base.clone() });
        let Some(place) = write else {
            space.blocks.push(Block::single(Service::Modbus, what, vec![request(None)]));
            continue;
        };
        let small = place.small.span(table, place.small.quantities.0);
        if function == 22 {
            let masks = masks(cuts).into_iter().map(|(and, or)| request(Some((small, Written::Mask { and, or }))));
            space.blocks.push(Block::single(Service::Modbus, what, masks.collect()));
            continue;
        }
        let values = if table.is_bits() { vec![0, 1] } else { distinct(&cuts.values, (0, u16::MAX)) };
        let elements = values.into_iter().map(|value| request(Some((small, Written::Values(vec![value])))));
        let mut block = Block::single(Service::Modbus, what, elements.collect());
        let most = place.large.quantities.1;
        let wanted = most.min(u16::try_from(block.elements.len()).unwrap_or(u16::MAX)).max(place.large.quantities.0);
        block.most = usize::from(most);
        block.wide = Some(request(Some((place.large.span(table, wanted), Written::Values(vec![0])))));
        space.blocks.push(block);
    }
}

/// The second code of a function, one of each kind.
fn sub_functions(cuts: &ModbusCuts<'_>, code: FunctionCode) -> Vec<Option<u16>> {
    let sets = &cuts.sub_functions;
    let inside = |number: u16| sets.iter().map(|set| set.covers(number, number)).collect::<Vec<_>>();
    match code {
        FunctionCode::DIAGNOSTICS => {
            let also: Vec<u16> = (0..=0x16).collect();
            let numbers = cells(sets.iter().copied(), &also, (0, u16::MAX)).into_iter().map(|(first, _)| first);
            let kind =
                |number: u16| (Diagnostic(number).name().is_some(), Diagnostic(number).changes_state(), inside(number));
            unique(numbers, kind).into_iter().map(Some).collect()
        }
        FunctionCode::ENCAPSULATED_INTERFACE_TRANSPORT => {
            let numbers = cells(sets.iter().copied(), &[13, 14, 15], (0, 255)).into_iter().map(|(first, _)| first);
            unique(numbers, |number| (number == 13, number == 14, inside(number))).into_iter().map(Some).collect()
        }
        FunctionCode::UMAS => distinct(sets, (0, 255)).into_iter().map(Some).chain([None]).collect(),
        _ => vec![None],
    }
}

/// Spans from one cell of the addresses to another.
#[derive(Clone, Copy, Debug)]
struct Cells {
    first: (u16, u16),
    last: (u16, u16),
    /// Least and most items.
    quantities: (u16, u16),
}

impl Cells {
    fn span(&self, table: Table, quantity: u16) -> Span {
        let address = self.first.0.max(self.last.0.saturating_sub(quantity.saturating_sub(1)));
        Span { table, address, quantity }
    }
}

/// Spans that no rule tells apart: one with few items and one with as many as there can be.
#[derive(Clone, Copy, Debug)]
struct Place {
    small: Cells,
    large: Cells,
}

/// One place of each kind for spans of up to `most` items; whether there is one of every kind.
fn places(cuts: &ModbusCuts<'_>, most: u16) -> (Vec<Place>, bool) {
    let quantities = cells(cuts.quantities.iter().copied(), &[], (1, most));
    let addresses = cells(cuts.addresses.iter().copied(), &CLASSES, (0, u16::MAX));
    let mut places: BTreeMap<Vec<bool>, Place> = BTreeMap::new();
    let sets = cuts.addresses.len().saturating_add(cuts.quantities.len()).saturating_add(1);
    let mut room = COMPARISONS.checked_div(sets).unwrap_or(0);
    for (at, first) in addresses.iter().enumerate() {
        for last in addresses.iter().skip(at) {
            let least = last.0.saturating_sub(first.1).saturating_add(1);
            if last.0 > first.1 && least > most {
                break;
            }
            let least = if last.0 > first.1 { least } else { 1 };
            let longest =
                u16::try_from(u32::from(last.1).saturating_sub(first.0.into()).saturating_add(1)).unwrap_or(u16::MAX);
            for (low, high) in &quantities {
                let quantities = (least.max(*low), longest.min(*high));
                if quantities.0 > quantities.1 {
                    continue;
                }
                room = room.saturating_sub(1);
                if room == 0 {
                    return (places.into_values().collect(), false);
                }
                let cells = Cells { first: *first, last: *last, quantities };
                let place = places.entry(signature(cuts, &cells)).or_insert(Place { small: cells, large: cells });
                if quantities.0 < place.small.quantities.0 {
                    place.small = cells;
                }
                if quantities.1 > place.large.quantities.1 {
                    place.large = cells;
                }
            }
        }
    }
    (places.into_values().collect(), true)
}

/// What rules can tell of a span.
fn signature(cuts: &ModbusCuts<'_>, cells: &Cells) -> Vec<bool> {
    let span = cells.span(Table::HoldingRegisters, cells.quantities.0);
    let (first, last) = (span.address, span.last());
    let general = |address: u16| (128..=255).contains(&address);
    let mut seen = vec![general(first), general(last), last < 128 || first > 255];
    seen.extend(cuts.addresses.iter().flat_map(|set| [set.covers(first, last), set.touches(first, last)]));
    seen.extend(cuts.quantities.iter().map(|set| set.covers(span.quantity, span.quantity)));
    seen
}

/// Places of function 24, whose quantity follows from its address.
fn queues(cuts: &ModbusCuts<'_>) -> Vec<Place> {
    // The queue ends with the table: the last 31 addresses each have their own quantity.
    let near_end = (u16::MAX.saturating_sub(31)..=u16::MAX).chain(CLASSES);
    let ends = cuts.addresses.iter().flat_map(|set| set.iter());
    // Where the last register of a queue crosses a cut.
    let shifted =
        ends.flat_map(|(first, last)| [first.saturating_sub(31), last.saturating_sub(31), last.saturating_sub(30)]);
    let also: Vec<u16> = near_end.chain(shifted).chain(CLASSES.map(|class| class.saturating_sub(31))).collect();
    let firsts = cells(cuts.addresses.iter().copied(), &also, (0, u16::MAX)).into_iter();
    let place = |(first, _): (u16, u16)| {
        let quantity = 32.min(u16::MAX.saturating_sub(first).saturating_add(1));
        let last = first.saturating_add(quantity.saturating_sub(1));
        Cells { first: (first, first), last: (last, last), quantities: (quantity, quantity) }
    };
    let cells = unique(firsts.map(place), |cells| signature(cuts, &cells));
    cells.into_iter().map(|cells| Place { small: cells, large: cells }).collect()
}

/// Masks, one of each kind: a rule compares the lowest and the highest value that a mask can leave.
fn masks(cuts: &ModbusCuts<'_>) -> Vec<(u16, u16)> {
    let values = cells(cuts.values.iter().copied(), &[], (0, u16::MAX));
    let mut found = Vec::new();
    for (at, low) in values.iter().enumerate() {
        for high in values.iter().skip(at) {
            // The bits that are surely set are among those that can be set.
            if let Some((low, high)) = subset(*low, *high) {
                found.push((low, high));
            }
        }
    }
    let touches = |(low, high): (u16, u16)| {
        cuts.values.iter().flat_map(|set: &&Ranges| [set.covers(low, high), set.touches(low, high)]).collect::<Vec<_>>()
    };
    unique(found.into_iter(), touches).into_iter().map(|(low, high)| (high & !low, low)).collect()
}

/// Two numbers of these ranges, of which the first has no bit that the second has not.
fn subset(low: (u16, u16), high: (u16, u16)) -> Option<(u16, u16)> {
    /// Goes on with the bits below `bit`; `tight` says which ends the numbers still touch.
    fn search(bit: i8, a: u16, b: u16, ends: [u16; 4], tight: [bool; 4]) -> Option<(u16, u16)> {
        let Ok(place) = u32::try_from(bit) else { return Some((a, b)) };
        let [low_least, low_most, high_least, high_most] = ends.map(|end| end >> place & 1);
        for (own, other) in [(0, 0), (0, 1), (1, 1)] {
            let [t0, t1, t2, t3] = tight;
            let broken = (t0 && own < low_least)
                || (t1 && own > low_most)
                || (t2 && other < high_least)
                || (t3 && other > high_most);
            if broken {
                continue;
            }
            let tight =
                [t0 && own == low_least, t1 && own == low_most, t2 && other == high_least, t3 && other == high_most];
            if let Some(found) = search(bit.saturating_sub(1), a | own << place, b | other << place, ends, tight) {
                return Some(found);
            }
        }
        None
    }
    search(15, 0, 0, [low.0, low.1, high.0, high.1], [true; 4])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;

    #[test]
    fn masks_are_found_where_there_are_any() {
        let ranges = |end: u16| (0..=end).flat_map(move |first| (first..=end).map(move |last| (first, last)));
        for low in ranges(9) {
            for high in ranges(9) {
                let found = (low.0..=low.1).any(|a| (high.0..=high.1).any(|b| a & !b == 0));
                match subset(low, high) {
                    Some((a, b)) => assert!(
                        a & !b == 0 && (low.0..=low.1).contains(&a) && (high.0..=high.1).contains(&b),
                        "{low:?} {high:?} {a} {b}"
                    ),
                    None => assert!(!found, "{low:?} {high:?}"),
                }
            }
        }
    }

    #[test]
    fn spans_lie_in_their_cells() {
        let sets = [Ranges::new(vec![(10, 12), (20, 20)]), Ranges::new(vec![(0, 65535)])];
        let quantities = Ranges::new(vec![(2, 3)]);
        let cuts = ModbusCuts { addresses: sets.iter().collect(), quantities: vec![&quantities], ..Default::default() };
        for place in places(&cuts, 125).0 {
            for cells in [place.small, place.large] {
                for quantity in [cells.quantities.0, cells.quantities.1] {
                    let span = cells.span(Table::Coils, quantity);
                    assert!((cells.first.0..=cells.first.1).contains(&span.address), "{cells:?} {span:?}");
                    assert!((cells.last.0..=cells.last.1).contains(&span.last()), "{cells:?} {span:?}");
                }
            }
        }
    }
}

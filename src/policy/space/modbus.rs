//! Modbus requests: by unit, function, addresses, quantity and values.

use std::collections::BTreeMap;

use modbus::{Diagnostic, FunctionCode, Span, Table};

use super::number::{Overlaps, cells, distinct, unique};
use super::sample::{Modbus, Sample, Written};
use super::{Block, EXAMPLES, ModbusCuts, Space};
use crate::command::Service;
use crate::policy::ranges::Ranges;

/// First and last address of the general purpose registers, and the one after: writes are of another class there.
const CLASSES: [u16; 2] = [128, 256];

/// Most work on spans for one length of them: spans looked at, and sets that have them.
const SPANS: usize = 1_000_000;

/// Most work on masks: pairs of ranges that they are looked for in, and sets that have some value of both.
const MASKS: usize = 1_000_000;

/// Adds the requests.
pub(super) fn add(space: &mut Space, cuts: &ModbusCuts<'_>) {
    let units = distinct(&cuts.units, (0, 255));
    // One that nobody names stands for all others that no specification has.
    let other = (65..=127).find(|code| cuts.functions >> code & 1 == 0 && !FunctionCode(*code).is_public());
    let functions = (1..=127_u8).filter(|code| {
        FunctionCode(*code).is_public() || cuts.functions >> code & 1 == 1 || *code == 0x5a || Some(*code) == other
    });
    // What no rule can match is refused whatever else it says.
    let functions: Vec<u8> = functions.filter(|code| cuts.possible >> code & 1 == 1).collect();
    let mut places = Places::of(cuts);
    for unit in units.iter().map(|unit| u8::try_from(*unit).unwrap_or(u8::MAX)) {
        for function in &functions {
            add_function(space, cuts, &mut places, unit, *function);
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

fn add_function(space: &mut Space, cuts: &ModbusCuts<'_>, known: &mut Places<'_>, unit: u8, function: u8) {
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
    let mut complete = true;
    let mut places = |most: u16, queues: bool| {
        let (places, all) = match (most, queues) {
            (0, _) => return vec![None],
            (_, true) => known.queues(),
            (most, false) => known.spans(most),
        };
        complete &= all;
        places.iter().cloned().map(Some).collect::<Vec<_>>()
    };
    let (reads, writes) = (places(reads, function == 24), places(writes, false));
    let pairs = pairs(&reads, &writes);
    if !complete || pairs.len() < reads.len().saturating_mul(writes.len()) {
        space.limit("Modbus: rules with too many different addresses; some requests were not looked at");
    }
    for (read, write) in pairs {
        let read = read.as_ref().map(|place| place.small.span(table, place.small.quantities.0));
        let request = |write| Sample::Modbus(Modbus { read, write, ..base.clone() });
        let elements = match (write, function) {
            (None, _) => 1,
            (_, 22) => known.masks().0.len(),
            _ if table.is_bits() => 2,
            _ => known.values().len(),
        };
        if !space.has_room(elements) {
            return;
        }
        let Some(place) = write else {
            space.blocks.push(Block::single(Service::Modbus, what, vec![request(None)]));
            continue;
        };
        let small = place.small.span(table, place.small.quantities.0);
        if function == 22 {
            let (masks, all) = known.masks();
            if !all {
                space.limit("Modbus: rules with too many different values; some masks were not looked at");
            }
            let masks = masks.iter().map(|(and, or)| request(Some((small, Written::Mask { and: *and, or: *or }))));
            space.blocks.push(Block::single(Service::Modbus, what, masks.collect()));
            continue;
        }
        let values = if table.is_bits() { &[0, 1] } else { known.values() };
        let elements = values.iter().map(|value| request(Some((small, Written::Values(vec![*value])))));
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
#[derive(Clone, Debug)]
struct Place {
    small: Cells,
    large: Cells,
    /// Sets that hold all of it.
    around: Vec<u32>,
}

/// What rules can tell of a span: its class at either end, its quantity, sets that hold all of it and sets that it touches.
type Signature = (u8, Vec<u32>, Vec<u32>, Vec<u32>);

/// Spans and values that rules tell apart, each found once.
struct Places<'c> {
    cuts: &'c ModbusCuts<'c>,
    around: Overlaps,
    touched: Overlaps,
    quantities: Overlaps,
    spans: BTreeMap<u16, (Vec<Place>, bool)>,
    queues: Option<(Vec<Place>, bool)>,
    values: Option<Vec<u16>>,
    masks: Option<(Vec<(u16, u16)>, bool)>,
}

impl<'c> Places<'c> {
    fn of(cuts: &'c ModbusCuts<'c>) -> Self {
        let [around, touched, quantities] =
            [&cuts.around, &cuts.touched, &cuts.quantities].map(|sets| Overlaps::of(sets.iter().copied()));
        let (spans, queues, values, masks) = (BTreeMap::new(), None, None, None);
        Self { cuts, around, touched, quantities, spans, queues, values, masks }
    }

    fn addresses(&self) -> impl Iterator<Item = &'c Ranges> + use<'c> {
        self.cuts.around.iter().chain(&self.cuts.touched).copied()
    }

    fn signature(&self, cells: &Cells) -> Signature {
        let span = cells.span(Table::HoldingRegisters, cells.quantities.0);
        (
            class(span.address, span.last()),
            self.quantities.touching(span.quantity, span.quantity),
            self.around.covering(span.address, span.last()),
            self.touched.touching(span.address, span.last()),
        )
    }

    /// One place of each kind for spans of up to `most` items; whether there is one of every kind.
    fn spans(&mut self, most: u16) -> &(Vec<Place>, bool) {
        if !self.spans.contains_key(&most) {
            let found = self.find_spans(most);
            self.spans.insert(most, found);
        }
        self.spans.entry(most).or_default()
    }

    fn find_spans(&self, most: u16) -> (Vec<Place>, bool) {
        let quantities = cells(self.cuts.quantities.iter().copied(), &[], (1, most));
        let addresses = cells(self.addresses(), &CLASSES, (0, u16::MAX));
        let mut places: BTreeMap<Signature, Place> = BTreeMap::new();
        // A longer span from the same cell is held by no more sets: where nothing is touched either, only its class and
        // quantity tell it from the others that nothing holds.
        let mut bare: BTreeMap<(u8, u16), Place> = BTreeMap::new();
        let mut room = SPANS;
        for (at, first) in addresses.iter().enumerate() {
            let mut held = true;
            for last in addresses.iter().skip(at) {
                let least = last.0.saturating_sub(first.1).saturating_add(1);
                if last.0 > first.1 && least > most {
                    break;
                }
                let least = if last.0 > first.1 { least } else { 1 };
                let longest = u32::from(last.1).saturating_sub(first.0.into()).saturating_add(1);
                let longest = u16::try_from(longest).unwrap_or(u16::MAX);
                for (low, high) in &quantities {
                    let range = (least.max(*low), longest.min(*high));
                    if range.0 > range.1 {
                        continue;
                    }
                    let cells = Cells { first: *first, last: *last, quantities: range };
                    if !held {
                        let span = cells.span(Table::HoldingRegisters, range.0);
                        let key = (class(span.address, span.last()), *low);
                        bare.entry(key).or_insert_with(|| Place::of(cells)).widen(cells);
                        continue;
                    }
                    let signature = self.signature(&cells);
                    let work = signature.2.len().saturating_add(signature.3.len()).saturating_add(1);
                    room = room.saturating_sub(work);
                    if room == 0 {
                        return (places.into_values().chain(bare.into_values()).collect(), false);
                    }
                    held = !signature.2.is_empty() || !self.touched.is_empty();
                    let around = signature.2.clone();
                    places.entry(signature).or_insert_with(|| Place { around, ..Place::of(cells) }).widen(cells);
                }
            }
        }
        // Both may have found the same kind.
        for place in bare.into_values() {
            let known = places.entry(self.signature(&place.small)).or_insert_with(|| place.clone());
            known.widen(place.small);
            known.widen(place.large);
        }
        (places.into_values().collect(), true)
    }

    /// Places of function 24, whose quantity follows from its address.
    fn queues(&mut self) -> &(Vec<Place>, bool) {
        if self.queues.is_none() {
            self.queues = Some(self.find_queues());
        }
        self.queues.get_or_insert_default()
    }

    fn find_queues(&self) -> (Vec<Place>, bool) {
        // The queue ends with the table: the last 31 addresses each have their own quantity.
        let near_end = (u16::MAX.saturating_sub(31)..=u16::MAX).chain(CLASSES);
        let ends = self.addresses().flat_map(Ranges::iter);
        // Where the last register of a queue crosses a cut.
        let shifted =
            ends.flat_map(|(first, last)| [first.saturating_sub(31), last.saturating_sub(31), last.saturating_sub(30)]);
        let also: Vec<u16> = near_end.chain(shifted).chain(CLASSES.map(|class| class.saturating_sub(31))).collect();
        let mut places: BTreeMap<Signature, Place> = BTreeMap::new();
        let mut room = SPANS;
        for (first, _) in cells(self.addresses(), &also, (0, u16::MAX)) {
            let quantity = 32.min(u16::MAX.saturating_sub(first).saturating_add(1));
            let last = first.saturating_add(quantity.saturating_sub(1));
            let cells = Cells { first: (first, first), last: (last, last), quantities: (quantity, quantity) };
            let signature = self.signature(&cells);
            room = room.saturating_sub(signature.2.len().saturating_add(signature.3.len()).saturating_add(1));
            if room == 0 {
                return (places.into_values().collect(), false);
            }
            let around = signature.2.clone();
            places.entry(signature).or_insert_with(|| Place { around, ..Place::of(cells) });
        }
        (places.into_values().collect(), true)
    }

    /// One value of each kind.
    fn values(&mut self) -> &[u16] {
        self.values.get_or_insert_with(|| distinct(&self.cuts.values, (0, u16::MAX)))
    }

    /// Masks, one of each kind: a rule compares the lowest and the highest value that a mask can leave. Whether there is one
    /// of every kind.
    fn masks(&mut self) -> &(Vec<(u16, u16)>, bool) {
        self.masks.get_or_insert_with(|| masks(&self.cuts.values))
    }
}

impl Place {
    fn of(cells: Cells) -> Self {
        Self { small: cells, large: cells, around: Vec::new() }
    }

    fn widen(&mut self, cells: Cells) {
        if cells.quantities.0 < self.small.quantities.0 {
            self.small = cells;
        }
        if cells.quantities.1 > self.large.quantities.1 {
            self.large = cells;
        }
    }
}

/// Which of the ends lie among the general purpose registers, and whether none between them does.
fn class(first: u16, last: u16) -> u8 {
    let general = |address: u16| u8::from((128..=255).contains(&address));
    general(first) | general(last) << 1 | u8::from(last < 128 || first > 255) << 2
}

/// What is read with what is written. Where there would be too many, those come first that some set holds both of.
fn pairs<'p>(reads: &'p [Option<Place>], writes: &'p [Option<Place>]) -> Vec<(&'p Option<Place>, &'p Option<Place>)> {
    let all = reads.iter().flat_map(|read| writes.iter().map(move |write| (read, write)));
    if reads.len() == 1 || writes.len() == 1 || reads.len().saturating_mul(writes.len()) <= EXAMPLES {
        return all.collect();
    }
    let around = |place: &'p Option<Place>| place.iter().flat_map(|place| place.around.iter().copied());
    let mut holding: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, write) in writes.iter().enumerate() {
        around(write).for_each(|set| holding.entry(set).or_default().push(at));
    }
    let mut pairs: Vec<(&Option<Place>, &Option<Place>)> = Vec::new();
    for (turn, read) in reads.iter().enumerate() {
        let mut shared: Vec<usize> =
            around(read).filter_map(|set| holding.get(&set)).flatten().copied().take(EXAMPLES).collect();
        shared.sort_unstable();
        shared.dedup();
        // And one of the others, each time another.
        shared.extend(turn.checked_rem(writes.len()));
        pairs.extend(shared.into_iter().filter_map(|at| Some((read, writes.get(at)?))));
        if pairs.len() >= EXAMPLES {
            pairs.truncate(EXAMPLES);
            break;
        }
    }
    pairs
}

fn masks(sets: &[&Ranges]) -> (Vec<(u16, u16)>, bool) {
    let values = cells(sets.iter().copied(), &[], (0, u16::MAX));
    let overlaps = Overlaps::of(sets.iter().copied());
    let mut known = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    let mut room = MASKS;
    for (at, low) in values.iter().enumerate() {
        for high in values.iter().skip(at) {
            // The bits that are surely set are among those that can be set.
            let kind = subset(*low, *high)
                .map(|(low, high)| ((low, high), overlaps.covering(low, high), overlaps.touching(low, high)));
            let work = kind.as_ref().map_or(0, |(_, around, touched)| around.len().saturating_add(touched.len()));
            room = room.saturating_sub(work.saturating_add(1));
            if room == 0 {
                return (found, false);
            }
            let Some(((low, high), around, touched)) = kind else { continue };
            if known.insert((around, touched)) {
                found.push((high & !low, low));
            }
        }
    }
    (found, true)
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
        let cuts = ModbusCuts { around: sets.iter().collect(), quantities: vec![&quantities], ..Default::default() };
        for place in &Places::of(&cuts).spans(125).0 {
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

//! Which rules can match a Modbus request, found without looking at the others.
//!
//! The rules of one client are sorted by function code and, where there are many, by the first address that a request
//! writes (else reads): a policy of ten thousand rules then costs a decision no more than one of ten.

use modbus::{FunctionCode, Request};

use super::rule::{Body, Rule};

/// From here on a search by address is cheaper than a look at each rule.
const MANY: usize = 8;

/// Longest span of a request: 2000 coils. A deny rule matches a request that starts this far before its addresses.
const LONGEST_SPAN: u16 = 2000;

/// The rules of one client for Modbus.
#[derive(Debug)]
pub(crate) struct ModbusIndex {
    /// By function code: which of `lists`.
    functions: Box<[u8; 128]>,
    lists: Vec<[ByAddress; 2]>,
}

/// Places of rules, in the order in which they are looked at.
#[derive(Debug, Default)]
struct ByAddress {
    everywhere: Box<[u16]>,
    /// Ascending first addresses, each with the rules from there to the next; the first is 0 unless empty.
    cuts: Box<[Cut]>,
}

#[derive(Debug)]
struct Cut {
    first: u16,
    places: Box<[u16]>,
    /// The rules before and behind it, where it has none: one of them is the nearest.
    neighbours: [Option<(u16, u16)>; 2],
}

/// What a request can match.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Candidates<'i> {
    lists: [&'i [u16]; 4],
    nearest: Option<u16>,
}

impl<'i> Candidates<'i> {
    /// One list, deny rules first.
    pub(crate) fn of(list: &'i [u16]) -> Self {
        Self { lists: [list, &[], &[], &[]], nearest: None }
    }

    /// Deny rules, then allow rules, then one that only shows how near the request came.
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = u16> {
        self.lists.into_iter().flatten().copied().chain(self.nearest)
    }
}

/// What functions have in common that an index by address must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spans {
    None,
    One,
    /// Read and write: a deny rule may mean either.
    Two,
}

fn spans(function: u8) -> Spans {
    match function {
        1..=6 | 15 | 16 | 22 | 24 => Spans::One,
        23 => Spans::Two,
        _ => Spans::None,
    }
}

impl ModbusIndex {
    /// The index of the rules at `places`, which are in the order of the file.
    pub(crate) fn new(rules: &[Rule], places: &[u16]) -> Self {
        let mut functions = Box::new([0_u8; 128]);
        if places.is_empty() {
            return Self { functions, lists: vec![Default::default()] };
        }
        // Most functions have the same rules and the same kind of spans: their lists are shared.
        let mut known: Vec<(Vec<u16>, Spans, bool)> = Vec::new();
        let mut lists = Vec::new();
        let may = |place: &u16| match rules.get(usize::from(*place)).map(|rule| &rule.body) {
            Some(Body::Modbus(body)) => body.functions(),
            Some(_) => u128::MAX,
            None => 0,
        };
        let codes: Vec<(u16, u128)> = places.iter().map(|place| (*place, may(place))).collect();
        let some = codes.iter().fold(0, |some, (_, codes)| some | codes);
        for (function, slot) in (0_u8..).zip(functions.iter_mut()) {
            // Thousands of rules are mostly about the same few functions.
            let own: Vec<u16> = match some >> function & 1 {
                0 => Vec::new(),
                _ => codes.iter().filter(|(_, codes)| codes >> function & 1 == 1).map(|(place, _)| *place).collect(),
            };
            let key = (own, spans(function), FunctionCode(function).is_write());
            let at = known.iter().position(|other| *other == key).unwrap_or_else(|| {
                let (denies, allows): (Vec<_>, Vec<_>) =
                    key.0.iter().partition(|place| rules.get(usize::from(**place)).is_some_and(|rule| rule.deny));
                lists.push([denies, allows].map(|places| ByAddress::new(rules, &places, function)));
                known.push(key);
                known.len().saturating_sub(1)
            });
            // At most 128 functions have at most 128 lists.
            *slot = u8::try_from(at).unwrap_or(0);
        }
        Self { functions, lists }
    }

    /// The rules that can match the request.
    #[inline]
    pub(crate) fn candidates(&self, request: &Request<'_>) -> Candidates<'_> {
        let list = self.functions.get(usize::from(request.function.0)).copied().unwrap_or(0);
        let Some([denies, allows]) = self.lists.get(usize::from(list)) else { return Candidates::default() };
        let Some(span) = request.write.map(|write| write.span).or(request.read) else {
            return Candidates { lists: [&denies.everywhere, &[], &allows.everywhere, &[]], nearest: None };
        };
        let denied = denies.at(span.address).map_or(&[][..], |cut| &cut.places);
        let here = allows.at(span.address);
        Candidates {
            lists: [&denies.everywhere, denied, &allows.everywhere, here.map_or(&[][..], |cut| &cut.places)],
            nearest: here.and_then(|cut| cut.nearest(span.address)),
        }
    }

    /// Every rule that some function can match, deny rules first, some more than once.
    pub(crate) fn all(&self) -> impl Iterator<Item = u16> {
        let by = |which: usize| {
            let lists = self.lists.iter().filter_map(move |list| list.get(which));
            lists.flat_map(|list| list.everywhere.iter().chain(list.cuts.iter().flat_map(|cut| &cut.places)).copied())
        };
        by(0).chain(by(1))
    }
}

impl Cut {
    /// The nearer of the two rules around an address that no rule names.
    fn nearest(&self, address: u16) -> Option<u16> {
        let known = self.neighbours.iter().flatten();
        known.min_by_key(|(edge, _)| edge.abs_diff(address)).map(|(_, place)| *place)
    }
}

impl ByAddress {
    fn new(rules: &[Rule], places: &[u16], function: u8) -> Self {
        let spans = spans(function);
        if places.len() <= MANY || spans == Spans::None {
            return Self { everywhere: places.into(), cuts: Box::default() };
        }
        let mut everywhere = Vec::new();
        let mut ranged: Vec<(u16, u16, u16)> = Vec::new();
        for place in places {
            let rule = rules.get(usize::from(*place));
            let bounds = rule.and_then(|rule| match &rule.body {
                Body::Modbus(body) if !rule.deny => body.bounds(FunctionCode(function)),
                Body::Modbus(body) if spans == Spans::One => body.bounds(FunctionCode(function)),
                _ => None,
            });
            let Some(bounds) = bounds else {
                everywhere.push(*place);
                continue;
            };
            let before = if rule.is_some_and(|rule| rule.deny) { LONGEST_SPAN } else { 0 };
            ranged.extend(bounds.iter().map(|(first, last)| (first.saturating_sub(before), last, *place)));
        }
        match cut(&ranged) {
            Some(cuts) => Self { everywhere: everywhere.into(), cuts },
            None => Self { everywhere: places.into(), cuts: Box::default() },
        }
    }

    #[inline]
    fn at(&self, address: u16) -> Option<&Cut> {
        let behind = self.cuts.partition_point(|cut| cut.first <= address);
        self.cuts.get(behind.checked_sub(1)?)
    }
}

/// Cuts the addresses where the rules change; none where rules overlap so much that the lists would be longer than they
/// are worth.
fn cut(ranged: &[(u16, u16, u16)]) -> Option<Box<[Cut]>> {
    let mut firsts: Vec<u16> = vec![0];
    for (first, last, _) in ranged {
        firsts.push(*first);
        firsts.extend(last.checked_add(1));
    }
    firsts.sort_unstable();
    firsts.dedup();
    let mut cuts: Vec<(u16, Vec<u16>)> = firsts.into_iter().map(|first| (first, Vec::new())).collect();
    let mut room = ranged.len().saturating_mul(32);
    for (first, last, place) in ranged {
        let from = cuts.partition_point(|(cut, _)| cut < first);
        let to = cuts.partition_point(|(cut, _)| cut <= last);
        room = room.checked_sub(to.saturating_sub(from))?;
        for (_, places) in cuts.get_mut(from..to).into_iter().flatten() {
            places.push(*place);
        }
    }
    let mut done: Vec<Cut> = Vec::with_capacity(cuts.len());
    let mut before: Option<(u16, u16)> = None;
    for (index, (first, places)) in cuts.iter().enumerate() {
        let next = cuts.get(index.saturating_add(1)).map(|(first, _)| *first);
        let behind = next.and_then(|next| {
            let (_, following) = cuts.get(index.saturating_add(1))?;
            Some((next, *following.iter().min()?))
        });
        let neighbours = if places.is_empty() { [before, behind] } else { [None, None] };
        let mut sorted = places.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if let Some(place) = sorted.first() {
            before = Some((next.map_or(u16::MAX, |next| next.saturating_sub(1)), *place));
        }
        done.push(Cut { first: *first, places: sorted.into(), neighbours });
    }
    Some(done.into())
}

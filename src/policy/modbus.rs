//! What a rule says about Modbus requests.

use modbus::{FunctionCode, Preset, Request, Span, Table, Values, ur};

use super::names::classes;
use super::ranges::Ranges;
use super::rule::{Miss, Rank};
use super::space::ModbusCuts;
use crate::command::{Class, Classes};
use crate::document::{self, Value};
use crate::event::Reason;

/// The Modbus keys of one rule; an absent key is unbounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModbusRule {
    /// Functions and classes that the rule names, any of them; none = every known one.
    named: Option<Named>,
    unit: Option<Ranges>,
    sub_function: Option<Ranges>,
    /// `address` and `read_address` together.
    read: Option<Ranges>,
    /// `address` and `write_address` together.
    write: Option<Ranges>,
    quantity: Option<Ranges>,
    value: Option<Ranges>,
    /// Whether an address, quantity or value is bounded: a request without any is then not covered.
    bounded: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Named {
    functions: u128,
    /// The largest preset named: each holds what the smaller ones hold.
    preset: Option<Preset>,
    classes: Classes,
    by_class_only: bool,
}

impl ModbusRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &document::Table<'_>) -> Self {
        let functions = table.take("function").map(|value| functions(&value));
        let classes = classes(table);
        let by_name = functions.unwrap_or_default();
        let named = (functions.is_some() || classes.is_some()).then(|| Named {
            functions: by_name.0,
            preset: by_name.1,
            classes: classes.unwrap_or_default(),
            by_class_only: functions.is_none(),
        });
        let numbers = |key, most| table.take(key).and_then(|value| Ranges::read(&value, 0, most));
        let unit = numbers("unit", 255);
        let sub_function = numbers("sub_function", u16::MAX);
        // Only names ask for them.
        let tables = || tables(named.as_ref());
        let addresses = |key| table.take(key).and_then(|value| addresses(&value, &tables));
        let address = addresses("address");
        let (read, write) = (addresses("read_address"), addresses("write_address"));
        let quantity = numbers("quantity", u16::MAX);
        let value = numbers("value", u16::MAX);
        let bounded = [&address, &read, &write, &quantity, &value].into_iter().any(Option::is_some);
        let both = |own: Option<Ranges>| match (&address, own) {
            (Some(address), Some(own)) => Some(address.intersection(&own)),
            (Some(address), None) => Some(address.clone()),
            (None, own) => own,
        };
        Self { named, unit, sub_function, read: both(read), write: both(write), quantity, value, bounded }
    }

    /// Whether no key bounds it.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.named.is_none() && self.unit.is_none() && self.sub_function.is_none() && !self.bounded
    }

    /// Adds what requests are compared with.
    pub(super) fn cut<'r>(&'r self, deny: bool, cuts: &mut ModbusCuts<'r>) {
        cuts.functions |= self.named.map_or(0, |named| named.functions);
        cuts.possible |= self.functions();
        cuts.units.extend(&self.unit);
        cuts.sub_functions.extend(&self.sub_function);
        let addresses = if deny { &mut cuts.touched } else { &mut cuts.around };
        addresses.extend([&self.read, &self.write].into_iter().flatten());
        cuts.quantities.extend(&self.quantity);
        cuts.values.extend(&self.value);
    }

    /// Whether a request that reads or writes one of these addresses could be covered.
    pub(super) fn may_reach(&self, addresses: &Ranges) -> bool {
        let reaches = |set: &Option<Ranges>| {
            let touches = |set: &Ranges| addresses.iter().any(|(first, last)| set.touches(first, last));
            set.as_ref().is_none_or(touches)
        };
        reaches(&self.read) || reaches(&self.write)
    }

    /// Whether there may be a request that both rules match; true where that is not told at a glance.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let both = |own: &Option<Ranges>, other: &Option<Ranges>| match (own, other) {
            (Some(own), Some(other)) => own.meets(other),
            _ => true,
        };
        both(&self.unit, &other.unit)
            && (both(&self.read, &other.read) || both(&self.write, &other.write))
            && self.functions() & other.functions() != 0
    }

    /// The function codes of requests that could match, as bits.
    pub(crate) fn functions(&self) -> u128 {
        // Classes depend on more than the code, so a rule that names any may match.
        let Some(named) = self.named.filter(|named| named.classes.is_empty()) else { return u128::MAX };
        let preset = named.preset.map(|preset| {
            let codes = (0..128_u8).filter(|code| preset.has(FunctionCode(*code)));
            codes.fold(0, |set, code| set | 1_u128 << code)
        });
        named.functions | preset.unwrap_or(0)
    }

    /// The addresses that bound the first half of a request with this function: of its write, else of its read.
    pub(crate) fn bounds(&self, function: FunctionCode) -> Option<&Ranges> {
        if function.is_write() { self.write.as_ref() } else { self.read.as_ref() }
    }

    /// Whether the rule covers the whole request.
    #[inline]
    pub(crate) fn covers(&self, request: &Request<'_>, classes: Classes) -> Result<(), Miss> {
        let miss = |rank, reason| Err(Miss { rank, reason });
        let known = request.known();
        match &self.named {
            Some(named) if named.functions >> (request.function.0 & 0x7f) & 1 == 1 => {
                // A reserved sub-function may do anything: naming the function is not enough.
                if !known && request.function.is_public() && self.sub_function.is_none() {
                    return miss(Rank::Command, Reason::UnsupportedFunction);
                }
            }
            Some(named) if named.preset.is_some_and(|preset| preset.holds(request)) && known => {}
            Some(named) if named.classes.covers(classes) && !classes.is_empty() => {}
            Some(named) if named.by_class_only => return miss(Rank::Command, Reason::ClassNotAllowed),
            Some(_) => return miss(Rank::Command, Reason::CommandNotAllowed),
            None if known && !classes.contains(Class::Unknown) => {}
            None => return miss(Rank::Command, Reason::UnsupportedFunction),
        }
        if let Some(units) = &self.unit
            && !units.covers(u16::from(request.unit.0), u16::from(request.unit.0))
        {
            return miss(Rank::Unit, Reason::UnitNotAllowed);
        }
        if let Some(allowed) = &self.sub_function
            && !request.sub_function.is_some_and(|code| allowed.covers(code, code))
        {
            return miss(Rank::Unit, Reason::CommandNotAllowed);
        }
        if !self.bounded {
            return Ok(());
        }
        let (read, write) = (request.read, request.write.map(|write| write.span));
        if read.is_none() && write.is_none() {
            return miss(Rank::Address, Reason::AddressNotAllowed);
        }
        let inside = |span: Option<Span>, allowed: &Option<Ranges>| match (span, allowed) {
            (Some(span), Some(allowed)) => allowed.covers(span.address, span.last()),
            _ => true,
        };
        if !inside(write, &self.write) || !inside(read, &self.read) {
            return miss(Rank::Address, Reason::AddressNotAllowed);
        }
        if let Some(allowed) = &self.quantity
            && ![read, write].into_iter().flatten().all(|span| allowed.covers(span.quantity, span.quantity))
        {
            return miss(Rank::Quantity, Reason::QuantityNotAllowed);
        }
        if let (Some(allowed), Some(write)) = (&self.value, &request.write) {
            let proven = match write.values {
                Values::Registers(_) => write.registers().all(|value| allowed.covers(value, value)),
                Values::Bits(_) => write.bits().all(|bit| allowed.covers(u16::from(bit), u16::from(bit))),
                Values::Mask { .. } => {
                    let (low, high) = write.value_bounds();
                    allowed.covers(low, high)
                }
            };
            if !proven {
                return miss(Rank::Value, Reason::ValueNotAllowed);
            }
        }
        Ok(())
    }

    /// Whether any part of the request is what the rule names: how a deny rule reads.
    pub(crate) fn touches(&self, request: &Request<'_>, classes: Classes) -> bool {
        let named = self.named.is_none_or(|named| {
            named.functions >> (request.function.0 & 0x7f) & 1 == 1
                || named.preset.is_some_and(|preset| preset.holds(request))
                || classes.iter().any(|class| named.classes.contains(class))
        });
        let unit = u16::from(request.unit.0);
        let one = |set: &Option<Ranges>, number: u16| set.as_ref().is_none_or(|set| set.covers(number, number));
        if !named || !one(&self.unit, unit) {
            return false;
        }
        if let Some(codes) = &self.sub_function
            && !request.sub_function.is_some_and(|code| codes.covers(code, code))
        {
            return false;
        }
        let (read, write) = (request.read, request.write.map(|write| write.span));
        let hit = |span: Option<Span>, set: &Option<Ranges>| match (span, set) {
            (Some(span), Some(set)) => set.touches(span.address, span.last()),
            _ => false,
        };
        if (self.read.is_some() || self.write.is_some()) && !hit(read, &self.read) && !hit(write, &self.write) {
            return false;
        }
        if let Some(set) = &self.quantity
            && ![read, write].into_iter().flatten().any(|span| set.covers(span.quantity, span.quantity))
        {
            return false;
        }
        let Some(set) = &self.value else { return true };
        request.write.is_some_and(|write| match write.values {
            Values::Registers(_) => write.registers().any(|value| set.covers(value, value)),
            Values::Bits(_) => write.bits().any(|bit| set.covers(u16::from(bit), u16::from(bit))),
            Values::Mask { .. } => {
                let (low, high) = write.value_bounds();
                set.touches(low, high)
            }
        })
    }

    /// What the rule allows instead, for the key that failed.
    pub(crate) fn nearest(&self, request: &Request<'_>, reason: Reason) -> Option<(&'static str, String, String)> {
        let numbers = |set: &Ranges| set.text().join(", ");
        let span = |span: Span| match ur::name(span.table, span.address) {
            Some(name) => format!("{}..={} ({})", span.address, span.last(), name.replace('_', " ")),
            None => format!("{}..={}", span.address, span.last()),
        };
        let write = request.write.map(|write| write.span);
        Some(match reason {
            Reason::CommandNotAllowed | Reason::ClassNotAllowed | Reason::UnsupportedFunction => {
                let named = self.named?;
                let functions = (0..128_u8).filter(|code| named.functions >> code & 1 == 1);
                let mut names: Vec<_> = functions.map(|code| FunctionCode(code).name().to_owned()).collect();
                names.extend(named.preset.map(|preset| preset.name().to_owned()));
                names.extend(named.classes.iter().map(|class| format!("class {class}")));
                ("function", request.name().to_owned(), names.join(", "))
            }
            Reason::UnitNotAllowed => ("unit", request.unit.0.to_string(), numbers(self.unit.as_ref()?)),
            Reason::AddressNotAllowed => match (write, &self.write, request.read, &self.read) {
                (Some(wrong), Some(set), ..) if !set.covers(wrong.address, wrong.last()) => {
                    ("address", span(wrong), numbers(set))
                }
                (.., Some(wrong), Some(set)) => ("address", span(wrong), numbers(set)),
                _ => ("address", "none".to_owned(), "a request with addresses".to_owned()),
            },
            Reason::QuantityNotAllowed => {
                let quantity = write.or(request.read)?.quantity;
                ("quantity", quantity.to_string(), numbers(self.quantity.as_ref()?))
            }
            Reason::ValueNotAllowed => {
                let set = self.value.as_ref()?;
                let write = request.write?;
                let wrong = write.registers().find(|value| !set.covers(*value, *value));
                let seen = wrong.map_or_else(
                    || {
                        let (low, high) = write.value_bounds();
                        if low == high { low.to_string() } else { format!("{low} to {high}") }
                    },
                    |value| value.to_string(),
                );
                ("value", seen, numbers(set))
            }
            _ => return None,
        })
    }
}

/// Functions by number or name, and the largest preset.
fn functions(value: &Value<'_>) -> (u128, Option<Preset>) {
    let (mut set, mut largest) = (0, None);
    for item in value.any_of() {
        if let Some(number) = item.as_integer() {
            match u8::try_from(number).ok().filter(|code| (1..=127).contains(code)) {
                Some(code) => set |= 1_u128 << code,
                None => {
                    item.problem(format!("{number} is no function code"), "write a number from 1 to 127 or a name");
                }
            }
            continue;
        }
        let Some(text) = item.string() else { continue };
        if let Some(preset) = Preset::named(text) {
            largest = largest.filter(|own| *own as u8 >= preset as u8).or(Some(preset));
        } else if let Some(code) = FunctionCode::named(text).filter(|code| (1..=127).contains(&code.0)) {
            set |= 1_u128 << code.0;
        } else {
            let names = Preset::ALL.into_iter().map(Preset::name).chain(FunctionCode::names());
            item.unknown_name(text, names.collect::<Vec<_>>().into_iter());
        }
    }
    (set, largest)
}

/// The tables that a rule's functions read and write: a name must mean the same in all of them.
fn tables(named: Option<&Named>) -> Vec<Table> {
    let all = [Table::Coils, Table::DiscreteInputs, Table::HoldingRegisters, Table::InputRegisters];
    // A class holds functions of every table.
    let Some(named) = named.filter(|named| named.classes.is_empty()) else { return all.to_vec() };
    let own =
        |code: FunctionCode| named.functions >> code.0 & 1 == 1 || named.preset.is_some_and(|preset| preset.has(code));
    let used: Vec<_> = (1..=127).map(FunctionCode).filter(|code| own(*code)).filter_map(FunctionCode::table).collect();
    all.into_iter().filter(|table| used.contains(table)).collect()
}

/// Addresses by number, range or name.
fn addresses(value: &Value<'_>, tables: &dyn Fn() -> Vec<Table>) -> Option<Ranges> {
    let mut ranges = Vec::new();
    let mut whole = true;
    for item in value.any_of() {
        let word = item.as_string().filter(|text| text.starts_with(|c: char| c.is_ascii_alphabetic()));
        match word {
            Some(name) => match named_addresses(&item, name, &tables()) {
                Some(range) => ranges.push(range),
                None => whole = false,
            },
            None => match Ranges::read(&item, 0, u16::MAX) {
                Some(own) => ranges.extend(own.iter()),
                None => whole = false,
            },
        }
    }
    whole.then(|| Ranges::new(ranges))
}

fn named_addresses(item: &Value<'_>, name: &str, tables: &[Table]) -> Option<(u16, u16)> {
    let found = [Table::HoldingRegisters, Table::Coils].map(|table| ur::addresses(table, name));
    let Some(range) = found.into_iter().flatten().next() else {
        let mut names: Vec<&str> = tables.iter().flat_map(|table| ur::names(*table)).collect();
        names.sort_unstable();
        names.dedup();
        item.unknown_name(name, names.into_iter());
        return None;
    };
    let other = tables.iter().find(|table| ur::addresses(**table, name) != Some(range));
    match other {
        // Another thing, or nothing, stands at these addresses there.
        Some(table) => {
            let (kind, functions) =
                if table.is_bits() { ("register", "registers") } else { ("coil or input bit", "coils and input bits") };
            item.problem(
                format!("\"{name}\" is the name of a {kind}, and the rule is for other tables too"),
                format!("name only functions of {functions} in this rule, or write the addresses as numbers"),
            );
            None
        }
        None => Some(range),
    }
}

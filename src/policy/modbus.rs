//! What a rule says about Modbus requests.

use modbus::{FunctionCode, Request, Span, Values};

use super::names::classes;
use super::ranges::Ranges;
use super::rule::{Miss, Rank};
use crate::command::{Class, Classes};
use crate::document::{Table, Value};
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
    classes: Classes,
    by_class_only: bool,
}

impl ModbusRule {
    /// Reads the keys of `table`; what is wrong becomes a problem.
    pub(crate) fn read(table: &Table<'_>) -> Self {
        let functions = table.take("function").map(|value| functions(&value));
        let classes = classes(table);
        let named = (functions.is_some() || classes.is_some()).then(|| Named {
            functions: functions.unwrap_or_default(),
            classes: classes.unwrap_or_default(),
            by_class_only: functions.is_none(),
        });
        let numbers = |key, most| table.take(key).and_then(|value| Ranges::read(&value, 0, most));
        let unit = numbers("unit", 255);
        let sub_function = numbers("sub_function", u16::MAX);
        let address = numbers("address", u16::MAX);
        let (read, write) = (numbers("read_address", u16::MAX), numbers("write_address", u16::MAX));
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

    /// Whether a request with this function code could match.
    pub(crate) fn may_match(&self, function: u8) -> bool {
        // Classes depend on more than the code, so a rule that names any may match.
        self.named.is_none_or(|named| named.functions >> function & 1 == 1 || !named.classes.is_empty())
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
        let span = |span: Span| format!("{}..={}", span.address, span.last());
        let write = request.write.map(|write| write.span);
        Some(match reason {
            Reason::CommandNotAllowed | Reason::ClassNotAllowed | Reason::UnsupportedFunction => {
                let named = self.named?;
                let functions = (0..128_u8).filter(|code| named.functions >> code & 1 == 1);
                let mut names: Vec<_> = functions.map(|code| FunctionCode(code).name().to_owned()).collect();
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

fn functions(value: &Value<'_>) -> u128 {
    let code = |item: &Value<'_>| {
        if let Some(number) = item.as_integer() {
            let code = u8::try_from(number).ok().filter(|code| (1..=127).contains(code));
            if code.is_none() {
                item.problem(format!("{number} is no function code"), "write a number from 1 to 127 or a name");
            }
            return code;
        }
        let text = item.string()?;
        let found = FunctionCode::named(text).filter(|code| (1..=127).contains(&code.0));
        if found.is_none() {
            item.unknown_name(text, FunctionCode::names().collect::<Vec<_>>().into_iter());
        }
        found.map(|code| code.0)
    };
    value.any_of().iter().filter_map(code).fold(0, |set, code| set | 1_u128 << code)
}

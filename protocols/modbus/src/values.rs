use crate::Span;

/// Values that a request writes or a response carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values<'a> {
    /// Bits, least significant first, `quantity` of them; the rest of the last byte is padding.
    Bits(&'a [u8]),
    /// Big-endian words.
    Registers(&'a [u8]),
    /// Mask write: new = (current & and) | (or & !and).
    Mask {
        /// Bits kept.
        and: u16,
        /// Bits set where `and` has none.
        or: u16,
    },
}

impl<'a> Values<'a> {
    /// The registers in order; none where the values are bits or a mask.
    #[must_use]
    pub fn registers(&self) -> Registers<'a> {
        match *self {
            Self::Registers(bytes) => Registers::new(bytes),
            Self::Bits(_) | Self::Mask { .. } => Registers::new(&[]),
        }
    }

    /// The first `quantity` bits in order; none where the values are registers or a mask.
    #[must_use]
    pub fn bits(&self, quantity: u16) -> Bits<'a> {
        match *self {
            Self::Bits(bytes) => Bits::new(bytes, quantity),
            Self::Registers(_) | Self::Mask { .. } => Bits::new(&[], 0),
        }
    }
}

/// The write half of a request.
///
/// Invariant of every write that [`Request::read`](crate::Request::read) returns: the values are exactly as many as
/// `span.quantity`, a mask goes with quantity 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// Where.
    pub span: Span,
    /// What.
    pub values: Values<'a>,
}

impl<'a> Write<'a> {
    /// The registers written, in order of address; none for bits and mask writes.
    #[must_use]
    pub fn registers(&self) -> Registers<'a> {
        self.values.registers()
    }

    /// The coils written, in order of address; none for registers and mask writes.
    #[must_use]
    pub fn bits(&self) -> Bits<'a> {
        self.values.bits(self.span.quantity)
    }

    /// The lowest and the highest value that any item of the span can hold afterwards.
    ///
    /// Exact for registers and bits. A mask write proves no more than its masks: the result lies between
    /// `or & !and` (all kept bits were 0) and `and | or` (all kept bits were 1). No items give `(0, u16::MAX)`, so that
    /// nothing is proven.
    ///
    /// Cost: one pass over the values.
    #[must_use]
    pub fn value_bounds(&self) -> (u16, u16) {
        fn widen(bounds: Option<(u16, u16)>, value: u16) -> Option<(u16, u16)> {
            Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        }
        match self.values {
            Values::Mask { and, or } => Some((or & !and, and | or)),
            Values::Registers(bytes) => Registers::new(bytes).fold(None, widen),
            Values::Bits(_) => self.bits().map(u16::from).fold(None, widen),
        }
        .unwrap_or((0, u16::MAX))
    }
}

/// Iterator over big-endian registers; a last odd byte is left out.
#[derive(Clone, Copy, Debug)]
pub struct Registers<'a> {
    bytes: &'a [u8],
}

impl<'a> Registers<'a> {
    /// The registers in `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }
}

impl Iterator for Registers<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        let (word, rest) = self.bytes.split_first_chunk::<2>()?;
        self.bytes = rest;
        Some(u16::from_be_bytes(*word))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.bytes.len() >> 1;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Registers<'_> {}

/// Iterator over bits, least significant bit of the first byte first.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a> {
    bytes: &'a [u8],
    next: u16,
    end: u16,
}

impl<'a> Bits<'a> {
    /// The first `quantity` bits in `bytes`, or as many as there are.
    #[must_use]
    pub fn new(bytes: &'a [u8], quantity: u16) -> Self {
        let there = u16::try_from(bytes.len().saturating_mul(8)).unwrap_or(u16::MAX);
        Self { bytes, next: 0, end: quantity.min(there) }
    }
}

impl Iterator for Bits<'_> {
    type Item = bool;

    fn next(&mut self) -> Option<bool> {
        if self.next >= self.end {
            return None;
        }
        let byte = self.bytes.get(usize::from(self.next >> 3))?;
        let bit = byte >> (self.next & 7) & 1;
        self.next = self.next.saturating_add(1);
        Some(bit == 1)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::from(self.end.saturating_sub(self.next));
        (len, Some(len))
    }
}

impl ExactSizeIterator for Bits<'_> {}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]
    use super::*;
    use crate::Table;

    fn write(values: Values<'_>, quantity: u16) -> Write<'_> {
        Write { span: Span { table: Table::HoldingRegisters, address: 0, quantity }, values }
    }

    #[test]
    fn bits_come_least_significant_first_and_stop_at_the_quantity() {
        let bits: Vec<bool> = Bits::new(&[0b1100_1101, 0b0000_0001], 10).collect();
        assert_eq!(bits, [true, false, true, true, false, false, true, true, true, false]);
        assert_eq!(Bits::new(&[0xff], 20).len(), 8);
        assert_eq!(Values::Registers(&[1, 2]).bits(5).len(), 0);
    }

    #[test]
    fn registers_are_big_endian() {
        let registers = Registers::new(&[0x00, 0x0a, 0x01, 0x02, 0xff]);
        assert_eq!(registers.len(), 2);
        assert_eq!(registers.collect::<Vec<_>>(), [10, 0x102]);
        assert_eq!(Values::Bits(&[1, 2]).registers().count(), 0);
    }

    #[test]
    fn bounds_cover_every_value_written() {
        assert_eq!(write(Values::Registers(&[0, 5, 0, 120, 0, 7]), 3).value_bounds(), (5, 120));
        assert_eq!(write(Values::Bits(&[0b111]), 3).value_bounds(), (1, 1));
        assert_eq!(write(Values::Bits(&[0b1000]), 3).value_bounds(), (0, 0));
        assert_eq!(write(Values::Registers(&[]), 0).value_bounds(), (0, 65535));
    }

    #[test]
    fn mask_bounds_hold_for_every_current_value_and_are_reached() {
        for (and, or) in [(0x00f2u16, 0x0025u16), (0, 77), (0xffff, 0x1234), (0xff00, 0x00ff)] {
            let (low, high) = write(Values::Mask { and, or }, 1).value_bounds();
            let results = (0..=u16::MAX).map(|current| (current & and) | (or & !and));
            assert_eq!((results.clone().min(), results.max()), (Some(low), Some(high)), "{and:04x} {or:04x}");
        }
    }
}

use dissect::{DissectError, Step};

/// Most integers a record.
/// Source: the library, ScriptCommandInterface.
pub const MAX_FIELDS: usize = 28;

/// Bytes an integer.
const WIDTH: usize = 4;

/// One record: integers without names yet. Borrowed from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    fields: &'a [[u8; WIDTH]],
}

impl<'a> Record<'a> {
    /// Looks for one record of `fields` integers at the start of `bytes`.
    ///
    /// Every byte string is a stream of records: a reader that lost count reads other numbers and can't tell. So a stream is
    /// only read from the first byte of its connection on.
    ///
    /// # Errors
    /// `fields` is 0 or above [`MAX_FIELDS`]: nobody speaks that.
    pub fn step(bytes: &'a [u8], fields: usize) -> Result<Step<Self>, DissectError> {
        if fields == 0 || fields > MAX_FIELDS {
            return Err(DissectError::unsupported("external control record length", 0));
        }
        let len = fields.saturating_mul(WIDTH);
        Ok(match bytes.get(..len) {
            Some(record) => Step::Whole { unit: Self { fields: record.as_chunks().0 }, len },
            None => Step::Partial { needed: len },
        })
    }

    /// How many integers it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it has none; never so for what [`Record::step`] found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The integer at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<i32> {
        self.fields.get(index).map(|field| i32::from_be_bytes(*field))
    }

    /// The integer at `index`, which must be there for the record to mean anything.
    pub(crate) fn field(&self, index: usize, name: &'static str) -> Result<i32, DissectError> {
        let offset = index.saturating_mul(WIDTH);
        let have = self.len().saturating_mul(WIDTH).saturating_sub(offset);
        self.get(index).ok_or_else(|| DissectError::truncated(name, offset, WIDTH, have))
    }

    /// Six integers from `first` on: one a joint or a coordinate.
    pub(crate) fn six(&self, first: usize, name: &'static str) -> Result<[i32; 6], DissectError> {
        let mut six = [0; 6];
        for (index, value) in six.iter_mut().enumerate() {
            *value = self.field(first.saturating_add(index), name)?;
        }
        Ok(six)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_its_integers() {
        let bytes = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe, 9];
        let Ok(Step::Whole { unit, len: 8 }) = Record::step(&bytes, 2) else { panic!("two integers") };
        assert_eq!((unit.get(0), unit.get(1), unit.get(2)), (Some(1), Some(-2), None));
        assert_eq!(unit.field(2, "third").unwrap_err(), DissectError::truncated("third", 8, 4, 0));
        assert_eq!(Record::step(&bytes, 3), Ok(Step::Partial { needed: 12 }));
    }

    #[test]
    fn nobody_speaks_records_of_these_lengths() {
        for fields in [0, MAX_FIELDS + 1, usize::MAX] {
            assert!(Record::step(&[0; 256], fields).is_err());
        }
    }
}

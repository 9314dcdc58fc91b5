use dissect::Reader;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{DataType, Value, Variable};

/// One field of a recipe as a session stores it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Slot {
    /// Index of the variable.
    pub(crate) variable: u16,
    /// Code of the type; 0 until the controller answered.
    pub(crate) data_type: u8,
    pub(crate) reserved: u8,
}

/// The fields of one recipe in order: which variables, of which types, in how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recipe<'a> {
    pub(crate) slots: &'a [Slot],
    pub(crate) size: usize,
    pub(crate) has_bool: bool,
}

impl<'a> Recipe<'a> {
    /// How many fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it has no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of all values together: what a data package carries after its recipe id, exactly.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Variables and the types that the controller gave them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Variable, DataType)> + use<'a> {
        self.slots.iter().map_while(|slot| Some((Variable(slot.variable), DataType::of_code(slot.data_type)?)))
    }

    /// The fields that `values` holds.
    pub(crate) fn fields(&self, values: &'a [u8]) -> Fields<'a> {
        Fields { slots: self.slots.iter(), values: Reader::new(values) }
    }

    /// Where in `values` a BOOL stands that is neither 0 nor 1.
    pub(crate) fn odd_bool(&self, values: &[u8]) -> Option<usize> {
        if !self.has_bool {
            return None;
        }
        let mut offset = 0_usize;
        for (_, data_type) in self.iter() {
            if data_type == DataType::Bool && values.get(offset).is_some_and(|byte| *byte > 1) {
                return Some(offset);
            }
            offset = offset.saturating_add(usize::from(data_type.size()));
        }
        None
    }
}

/// One field of a data package.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Which variable; [`Variable::UNKNOWN`] where the set-up named one that is in no table here.
    pub variable: Variable,
    /// Its type, as the controller answered the set-up.
    pub data_type: DataType,
    /// Its value.
    pub value: Value,
}

/// The fields of a data package in order.
///
/// Cost: one bounds check a field.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    slots: core::slice::Iter<'a, Slot>,
    values: Reader<'a>,
}

impl Fields<'_> {
    /// No fields.
    pub(crate) fn none() -> Self {
        Self { slots: [].iter(), values: Reader::new(&[]) }
    }
}

impl Iterator for Fields<'_> {
    type Item = Field;

    fn next(&mut self) -> Option<Field> {
        let slot = self.slots.next()?;
        let data_type = DataType::of_code(slot.data_type)?;
        let value = Value::read(&mut self.values, data_type).ok()?;
        Some(Field { variable: Variable(slot.variable), data_type, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.slots.len()))
    }
}

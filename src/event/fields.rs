use std::fmt::{self, Write};

use dissect::Reader;
use rtde::{DataType, Recipe, Value, Variable};

use super::Text;

/// Most fields that are kept unspelled. Their names alone are longer than the text that they become.
const FIELDS: usize = 40;

/// What the fields of an RTDE package are, where their values are kept as they came: to spell them out takes longer than
/// all else that is done about the package, and of a stream of hundreds a second nobody reads more than a few.
#[derive(Clone, Copy)]
pub struct RtdeFields {
    fields: [(Variable, DataType); FIELDS],
    len: u8,
}

impl fmt::Debug for RtdeFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.fields().iter().map(|(variable, _)| variable.name())).finish()
    }
}

impl RtdeFields {
    /// The fields of a recipe; absent where it has more than are kept.
    #[inline]
    #[must_use]
    pub fn of(recipe: &Recipe<'_>) -> Option<Self> {
        let len = u8::try_from(recipe.len()).ok().filter(|len| usize::from(*len) <= FIELDS)?;
        let mut fields = [(Variable::UNKNOWN, DataType::Bool); FIELDS];
        for (to, from) in fields.iter_mut().zip(recipe.iter()) {
            *to = from;
        }
        Some(Self { fields, len })
    }

    fn fields(&self) -> &[(Variable, DataType)] {
        self.fields.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Spells the fields of a package out, which lie at the end of it.
    #[must_use]
    pub fn spell(&self, package: &[u8]) -> Text<160> {
        let size = self.fields().iter().fold(0_usize, |size, (_, kind)| size.saturating_add(kind.size().into()));
        let values = package.len().checked_sub(size).and_then(|start| package.get(start..)).unwrap_or_default();
        let mut reader = Reader::new(values);
        spell(
            self.fields().iter().map_while(|(variable, kind)| Some((*variable, Value::read(&mut reader, *kind).ok()?))),
        )
    }
}

/// `name=value`, comma-separated.
pub fn spell(fields: impl Iterator<Item = (Variable, Value)>) -> Text<160> {
    let mut text = Text::EMPTY;
    for (at, (variable, value)) in fields.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}={}", variable.name(), Shown(&value));
    }
    text
}

struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Uint8(value) => write!(f, "{value}"),
            Value::Uint32(value) => write!(f, "{value}"),
            Value::Uint64(value) => write!(f, "{value}"),
            Value::Int32(value) => write!(f, "{value}"),
            Value::Double(value) => write!(f, "{value}"),
            Value::Vector3d(value) => write!(f, "{value:?}"),
            Value::Vector6d(value) => write!(f, "{value:?}"),
            Value::Vector6Int32(value) => write!(f, "{value:?}"),
            Value::Vector6Uint32(value) => write!(f, "{value:?}"),
        }
    }
}

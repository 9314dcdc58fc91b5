//! Sets of names and of classes.

use crate::command::{Class, Classes};
use crate::document::Table;

/// Names that a rule lists, compared byte by byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NameSet(Box<[Box<[u8]>]>);

impl NameSet {
    /// The set of `names`.
    pub(crate) fn new(mut names: Vec<Box<[u8]>>) -> Self {
        names.sort();
        names.dedup();
        Self(names.into())
    }

    /// Reads a string or a list of strings.
    pub(crate) fn read(table: &Table<'_>, key: &'static str) -> Option<Self> {
        let value = table.take(key)?;
        Some(Self::new(
            value.any_of().iter().filter_map(|item| item.string()).map(|name| name.as_bytes().into()).collect(),
        ))
    }

    /// Whether `name` is in the set.
    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(name)).is_ok()
    }

    /// Whether the set has no names.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(|name| &**name)
    }

    /// The names for people.
    pub(crate) fn text(&self) -> String {
        if self.is_empty() {
            return "none".to_owned();
        }
        self.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(", ")
    }
}

/// Reads `class`.
pub(crate) fn classes(table: &Table<'_>) -> Option<Classes> {
    let value = table.take("class")?;
    let named: Vec<_> = Class::ALL.into_iter().map(|class| (class.name(), class)).collect();
    let found = value.any_of().iter().filter_map(|item| item.choice(&named)).collect::<Vec<_>>();
    Some(found.into_iter().fold(Classes::default(), Classes::with))
}

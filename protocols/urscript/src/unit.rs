use crate::Category;

/// What kind of unit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `def name(): ... end`
    Program,
    /// `sec name(): ... end`
    Secondary,
    /// One statement outside any program.
    Statement,
    /// A bare command such as `power on`.
    Bare,
    /// A line on the interpreter port.
    Interpreter,
}

/// One unit: what the controller starts to execute at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its text without surrounding blanks.
    pub text: &'a [u8],
    /// Name of a program or secondary; the bare command normalised by the catalogue is found with [`Unit::bare`].
    pub name: Option<&'a [u8]>,
    /// Whether the readings (free-form, line by line, escapes in strings) differ: worst verdict counts.
    pub ambiguous: bool,
}

/// One thing that a unit does, in order of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<'a> {
    /// `name(...)`.
    Call {
        /// Function name.
        name: &'a [u8],
        /// Its category.
        category: Category,
        /// Text between the brackets.
        arguments: &'a [u8],
    },
    /// `object.name(...)`.
    Method {
        /// Object name.
        object: &'a [u8],
        /// Method name.
        name: &'a [u8],
    },
    /// `target[index] = ...`.
    IndexAssign {
        /// What is indexed, such as `digital_out`.
        target: &'a [u8],
    },
}

impl<'a> Unit<'a> {
    /// What it does, in order.
    pub fn facts(&self) -> impl Iterator<Item = Fact<'a>> + use<'a> {
        core::iter::empty()
    }

    /// SHA-256 over its tokens (kind byte, lexeme, 0x00; comments, line markers and blanks left out).
    #[must_use]
    pub fn token_hash(&self) -> [u8; 32] {
        [0; 32]
    }

    /// The bare command it is: lower case, single blanks.
    #[must_use]
    pub fn bare(&self) -> Option<&'static str> {
        None
    }
}

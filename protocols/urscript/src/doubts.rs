use core::fmt;

/// Why a text has more than one reading; several may hold.
///
/// Which reading a controller takes is not public, so a unit with any doubt is [`crate::Unit::ambiguous`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Doubts(pub(crate) u16);

impl Doubts {
    /// None.
    pub const NONE: Self = Self(0);
    /// A backslash before the quote: the string ends there, or goes on.
    pub const ESCAPED_QUOTE: Self = Self(1);
    /// A line end inside a string.
    pub const LINE_END_IN_STRING: Self = Self(1 << 1);
    /// A line end inside an open bracket. Inside a program it leaves both readings at the same depth, so that a rule
    /// which knows the program's hash may take it where it is the only doubt.
    pub const LINE_END_IN_BRACKET: Self = Self(1 << 2);
    /// A statement outside any program that goes on after the end of its line.
    pub const CONTINUED_LINE: Self = Self(1 << 3);
    /// A unit that begins with what no statement begins with: the rest of a line before it, perhaps.
    pub const FRAGMENT: Self = Self(1 << 4);
    /// Text after the closing `end` on its line.
    pub const AFTER_END: Self = Self(1 << 5);
    /// `end` without a block, or inside a bracket; a bracket closed that was not open; `sec` inside a block.
    pub const UNBALANCED: Self = Self(1 << 6);
    /// A block opened or closed in the middle of a line, where a reader that looks at first words does not see it.
    pub const BLOCK_IN_LINE: Self = Self(1 << 7);
    /// `def` or `sec` without a name and a bracket on the same line.
    pub const HEADER: Self = Self(1 << 8);
    /// A line inside a longer unit that alone would be a bare command.
    pub const BARE_LINE: Self = Self(1 << 9);
    /// Words alone that are no known bare command: perhaps an unknown one.
    pub const WORDS: Self = Self(1 << 10);
    /// A control byte, a carriage return inside a line, a byte that is no text of the language, a word glued to a
    /// number.
    pub const STRAY_BYTE: Self = Self(1 << 11);
    /// A `$` line that is not `$ number "label"`.
    pub const LINE_MARKER: Self = Self(1 << 12);
    /// A string in single quotes that holds what would count where such quotes are no quotes.
    pub const SINGLE_QUOTES: Self = Self(1 << 13);

    const NAMES: [(Self, &'static str); 14] = [
        (Self::ESCAPED_QUOTE, "escaped quote"),
        (Self::LINE_END_IN_STRING, "line end in a string"),
        (Self::LINE_END_IN_BRACKET, "line end in a bracket"),
        (Self::CONTINUED_LINE, "statement over several lines"),
        (Self::FRAGMENT, "fragment of a statement"),
        (Self::AFTER_END, "text after the closing end"),
        (Self::UNBALANCED, "unbalanced end or bracket"),
        (Self::BLOCK_IN_LINE, "block opened or closed inside a line"),
        (Self::HEADER, "incomplete program header"),
        (Self::BARE_LINE, "bare command inside a program"),
        (Self::WORDS, "unknown bare command"),
        (Self::STRAY_BYTE, "stray byte"),
        (Self::LINE_MARKER, "odd line marker"),
        (Self::SINGLE_QUOTES, "code in single quotes"),
    ];

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other` hold.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What each doubt that holds is called, for people.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter_map(move |(doubt, name)| self.contains(doubt).then_some(name))
    }
}

impl core::ops::BitOr for Doubts {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Doubts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.names().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

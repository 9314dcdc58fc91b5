use sha2::{Digest, Sha256};

use crate::{Doubts, Facts, Tokens, bare};

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
    /// A line without any token: blanks, a comment, a line marker. It does nothing.
    Blank,
}

impl Kind {
    /// Its name in policies and records: lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Secondary => "secondary",
            Self::Statement => "statement",
            Self::Bare => "bare",
            Self::Interpreter => "interpreter",
            Self::Blank => "blank",
        }
    }
}

/// One unit: what the controller starts to execute at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its text without surrounding blanks and line ends.
    pub text: &'a [u8],
    /// Name of a program or secondary.
    pub name: Option<&'a [u8]>,
    /// Whether there is any doubt about how the controller reads it: then it must not be let through.
    pub ambiguous: bool,
    /// Which doubts.
    pub doubts: Doubts,
}

impl<'a> Unit<'a> {
    /// Its tokens, comments included.
    #[must_use]
    pub const fn tokens(&self) -> Tokens<'a> {
        Tokens::new(self.text)
    }

    /// What it does, in the order of its text; nothing for a bare command, a control word or a blank line.
    ///
    /// Cost: one pass of the lexer, and a second one up to the last definition if a function is in no table.
    pub fn facts(&self) -> Facts<'a> {
        let text = if self.bare().is_some() || self.kind == Kind::Blank { &[] } else { self.text };
        Facts::new(text)
    }

    /// SHA-256 over its tokens (kind byte, lexeme, 0x00; comments, line markers and blanks left out).
    ///
    /// Text that is laid out anew keeps its hash, any changed token changes it. A lexeme can hold 0x00 only in a unit
    /// that is ambiguous.
    #[must_use]
    pub fn token_hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for token in self.tokens().code() {
            hash.update([token.kind as u8]);
            hash.update(token.lexeme);
            hash.update([0]);
        }
        hash.finalize().into()
    }

    /// The bare command or interpreter control word that it is: lower case, single blanks, from
    /// [`crate::BARE_COMMANDS`] or [`crate::INTERPRETER_CONTROLS`].
    #[must_use]
    pub fn bare(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Bare => bare::command(self.text).map(|(name, _)| name),
            Kind::Interpreter => bare::control(self.text),
            _ => None,
        }
    }

    /// The number behind a bare command that takes one: `set speed 0.5`.
    #[must_use]
    pub fn bare_value(&self) -> Option<f64> {
        let (_, rest) = bare::command(self.text).filter(|_| self.kind == Kind::Bare)?;
        core::str::from_utf8(rest).ok()?.parse().ok()
    }
}

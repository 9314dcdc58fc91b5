use dissect::{DissectError, Step};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::reading::{DEF, Reading, Rules, SEC};
use crate::unit::Unit;
use crate::{Doubts, Kind, MAX_UNIT, class};

/// Which port's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 30001-30003: programs, secondaries, statements and bare commands.
    Client,
    /// 30020: one-line statements and control words.
    Interpreter,
    /// 50002 toward the robot: programs and the statements around them; framed like [`Dialect::Client`].
    ScriptSender,
}

/// Where the search for the end of the unit stands, so that bytes are scanned once however they are cut.
///
/// Plain data: any bytes are a valid value, the default is the start of a unit, no value makes it panic.
///
/// Three readings are followed where they differ: free-form with strings as they stand, free-form with backslash
/// escapes, and line by line. Up to the first difference only one runs, and a line with a difference is read again by
/// the others; so each byte is scanned at most four times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Scanner {
    plain: Reading,
    /// Before the readings split: the state at the start of the line.
    escaped: Reading,
    by_line: Reading,
    /// 0 until the readings differ.
    split: u64,
}

/// What can make the readings end at different lines.
const SPLITS: [Doubts; 3] = [Doubts::ESCAPED_QUOTE, Doubts::LINE_END_IN_STRING, Doubts::LINE_END_IN_BRACKET];

impl Scanner {
    /// Looks for one unit at the start of `bytes`; on `Partial`, remembers how far it looked: the next call must give
    /// the same bytes with more behind them. On `Whole` it is reset.
    ///
    /// A unit ends at a line end where every reading is outside programs, blocks, brackets, strings and open
    /// statements. A line of blanks or of a comment alone is a unit too ([`Kind::Blank`]), for nothing else would let
    /// it go until the next command.
    ///
    /// Cost: see the type; a `Whole` costs its own bytes only.
    ///
    /// # Errors
    /// A limit: [`crate::MAX_DEPTH`], [`crate::MAX_TOKEN`], [`MAX_UNIT`]. It is final, the state stays where it was.
    pub fn step<'a>(&mut self, bytes: &'a [u8], dialect: Dialect) -> Result<Step<Unit<'a>>, DissectError> {
        let window = bytes.get(..MAX_UNIT).unwrap_or(bytes);
        let plain = Rules { escapes: false, lines: false, interpreter: dialect == Dialect::Interpreter };
        while self.plain.read_line(window, plain)? {
            self.split_if_needed();
            if self.split == 0 {
                self.escaped = self.plain;
            } else {
                self.escaped.read_line(window, Rules { escapes: true, ..plain })?;
                self.by_line.read_line(window, Rules { lines: true, ..plain })?;
            }
            let others = self.split == 0 || (self.escaped.at_top() && self.by_line.at_top());
            if self.plain.at_top() && others {
                let step = Step::Whole { unit: self.unit(window, dialect), len: self.plain.position as usize };
                *self = Self::default();
                return Ok(step);
            }
        }
        if bytes.len() >= MAX_UNIT {
            return Err(DissectError::unsupported("URScript unit length", MAX_UNIT));
        }
        Ok(Step::Partial { needed: bytes.len().saturating_add(1) })
    }

    fn split_if_needed(&mut self) {
        let doubts = self.plain.doubts();
        if self.split == 0 && SPLITS.into_iter().any(|split| doubts.contains(split)) {
            self.split = 1;
            self.by_line = self.escaped;
        }
    }

    fn unit<'a>(&self, window: &'a [u8], dialect: Dialect) -> Unit<'a> {
        let reading = &self.plain;
        let kind = match reading.first {
            0 => Kind::Blank,
            _ if dialect == Dialect::Interpreter => Kind::Interpreter,
            _ if reading.is_bare() => Kind::Bare,
            DEF => Kind::Program,
            SEC => Kind::Secondary,
            _ => Kind::Statement,
        };
        let named = matches!(kind, Kind::Program | Kind::Secondary) && reading.name_end > reading.name_start;
        let name = window.get(reading.name_start as usize..reading.name_end as usize).filter(|_| named);
        let text = class::trim(window.get(..reading.position as usize).unwrap_or_default());
        let doubts = reading.doubts();
        Unit { kind, text, name, ambiguous: !doubts.is_empty(), doubts }
    }
}

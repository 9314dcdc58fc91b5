use dissect::{DissectError, Step};

use crate::Verb;

/// One command line toward the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The line without its end (`\n` or `\r\n`).
    pub text: &'a [u8],
    /// The row of the command table; `Err` says why the line is outside the grammar.
    pub verb: Result<&'static Verb, GrammarError>,
    /// What follows the verb, blanks trimmed; empty where nothing does.
    pub argument: &'a [u8],
}

/// Why a line is outside the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "skeleton")]
pub enum GrammarError {
    UnknownCommand,
    ControlByte,
    ShellMetacharacter,
    BadArgument,
    Empty,
}

impl<'a> Line<'a> {
    /// Looks for one line at the start of `bytes`.
    ///
    /// # Errors
    /// A line longer than the cap.
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let _ = bytes;
        Err(DissectError::unsupported("skeleton", 0))
    }
}

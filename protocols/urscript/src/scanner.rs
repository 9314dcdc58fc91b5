use dissect::{DissectError, Step};

use crate::Unit;

/// Which port's rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 30001-30003: programs, secondaries, statements and bare commands.
    Client,
    /// 30020: one-line statements and control words.
    Interpreter,
    /// 50002 toward the robot: a program.
    ScriptSender,
}

/// Where the search for the end of the unit stands, so that bytes are scanned once however they are cut. Plain data.
#[derive(
    Clone, Copy, Debug, Default, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::KnownLayout, zerocopy::Immutable,
)]
#[repr(C)]
pub struct Scanner {
    _skeleton: u64,
}

impl Scanner {
    /// Looks for one unit at the start of `bytes`; on `Partial`, remembers how far it looked: the next call must give
    /// the same bytes with more behind them. On `Whole` it is reset.
    ///
    /// # Errors
    /// Text that no unit can begin with or that goes beyond a limit (nesting, token length, unit length).
    pub fn step<'a>(&mut self, bytes: &'a [u8], dialect: Dialect) -> Result<Step<Unit<'a>>, DissectError> {
        let _ = (bytes, dialect);
        Err(DissectError::unsupported("skeleton", 0))
    }
}

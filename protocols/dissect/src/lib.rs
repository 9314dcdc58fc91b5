//! Words that every dissector shares: a bounds-checked [`Reader`], the outcome of looking for one unit ([`Step`]), the
//! side of the box that bytes travel to ([`Toward`]), how sure a probe is ([`Confidence`]) and errors that say what was
//! needed and where ([`DissectError`]).
//!
//! This crate knows no protocol, does no I/O, reads no clock, allocates nothing and never panics.

#![forbid(unsafe_code)]
#![no_std]

#[cfg(test)]
extern crate std;

mod error;
mod reader;

pub use error::{DissectError, ErrorKind};
pub use reader::Reader;

/// The side of the box that a frame or byte stream travels to.
///
/// This is a side, never a TCP role: with external control the robot opens the connection and the commands arrive as
/// server bytes, still [`Toward::Robot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Toward {
    /// From the plant port to the robot port: where commands travel.
    Robot = 0,
    /// From the robot port to the plant port: where answers travel.
    Plant = 1,
}

impl Toward {
    /// The opposite direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Robot => Self::Plant,
            Self::Plant => Self::Robot,
        }
    }
}

/// What was found at the start of a byte stream that continues in order.
///
/// A dissector looks at the bytes from the first one not yet consumed and answers with one `Step`; the caller drops
/// `len` bytes and asks again. Cutting the same bytes at other places gives the same units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// One whole unit: what the robot acts on at once.
    Whole {
        /// The unit, borrowed from the bytes.
        unit: T,
        /// How many bytes it took; at least 1, at most the bytes given.
        len: usize,
    },
    /// The unit is not complete yet.
    Partial {
        /// A lower bound of the bytes that the unit takes in all, more than were given.
        needed: usize,
    },
}

impl<T> Step<T> {
    /// The same step with the unit replaced by `f(unit)`.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Step<U> {
        match self {
            Self::Whole { unit, len } => Step::Whole { unit: f(unit), len },
            Self::Partial { needed } => Step::Partial { needed },
        }
    }
}

/// How sure a probe is that a stream speaks its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// The bytes can't be this protocol.
    No,
    /// The bytes fit so far, other protocols may too.
    Possible,
    /// A whole unit was read and all its checks hold.
    Certain,
}

use dissect::{DissectError, Step};

/// Bytes of a package's or sub-package's head: its length and its type.
pub const HEADER: usize = 5;

/// Longest package that is taken for one.
///
/// The maker states no limit. A robot state has less than two kilobytes; global variables (type 25) and texts have what a
/// program puts there, and the longest program that passes toward a robot has this many bytes. A reader that lost count
/// finds a length as an arbitrary number: eleven of its bits must be zero, so that it notices within a few packages.
pub const MAX_PACKAGE: usize = 1 << 20;

/// What a package is.
///
/// Source: the library, `RobotPackageType`. Others are legal: the manual says that some are used by the maker alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PackageType(pub i8);

impl PackageType {
    /// The controller ends the connection.
    pub const DISCONNECT: Self = Self(-1);
    /// Modbus signals.
    pub const MODBUS_INFO: Self = Self(5);
    /// [`RobotState`](crate::RobotState).
    pub const ROBOT_STATE: Self = Self(16);
    /// [`Message`](crate::Message).
    pub const ROBOT_MESSAGE: Self = Self(20);
    /// Global variables of the program.
    pub const PROGRAM_STATE: Self = Self(25);
}

/// The head of a package: enough to step over it without having it.
///
/// | bytes | field |
/// |---|---|
/// | 4 | length in bytes, these four included, big-endian |
/// | 1 | type |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the whole package in bytes, [`HEADER`] to [`MAX_PACKAGE`].
    pub len: usize,
    /// Its type.
    pub kind: PackageType,
}

impl Header {
    /// Looks for the head of a package at the start of `bytes`; the step's `len` is that of the head.
    ///
    /// # Errors
    /// The length does not cover the head itself, or is above [`MAX_PACKAGE`].
    pub fn step(bytes: &[u8]) -> Result<Step<Self>, DissectError> {
        let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(Step::Partial { needed: HEADER }) };
        let len = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        if !(HEADER..=MAX_PACKAGE).contains(&len) {
            return Err(DissectError::malformed("package length", 0));
        }
        Ok(match rest.first() {
            Some(kind) => {
                let kind = PackageType(i8::from_be_bytes([*kind]));
                Step::Whole { unit: Self { len, kind }, len: HEADER }
            }
            None => Step::Partial { needed: HEADER },
        })
    }
}

/// One package of the primary or secondary interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package<'a> {
    /// Its type.
    pub kind: PackageType,
    /// What follows the head.
    pub body: &'a [u8],
}

impl<'a> Package<'a> {
    /// Looks for one package at the start of `bytes`.
    ///
    /// # Errors
    /// As [`Header::step`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let header = match Header::step(bytes)? {
            Step::Partial { needed } => return Ok(Step::Partial { needed }),
            Step::Whole { unit, .. } => unit,
        };
        Ok(match bytes.get(HEADER..header.len) {
            Some(body) => Step::Whole { unit: Self { kind: header.kind, body }, len: header.len },
            None => Step::Partial { needed: header.len },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_held_to_their_bounds() {
        for len in [i32::MIN, -1, 0, 1, 4, (1 << 20) + 1, i32::MAX] {
            let error = Package::step(&len.to_be_bytes()).unwrap_err();
            assert_eq!(error, DissectError::malformed("package length", 0), "{len}");
        }
        assert_eq!(Package::step(&[0, 0, 0]), Ok(Step::Partial { needed: 5 }));
        assert_eq!(Package::step(&[0, 0x10, 0, 0, 20]), Ok(Step::Partial { needed: MAX_PACKAGE }));
        let empty = Package { kind: PackageType::DISCONNECT, body: &[] };
        assert_eq!(Package::step(&[0, 0, 0, 5, 0xff, 9]), Ok(Step::Whole { unit: empty, len: 5 }));
    }
}

use dissect::{DissectError, Step};

use crate::mode::whole;
use crate::{Program, RobotMode, SafetyMode};

/// Bytes of the length that a record begins with.
pub(crate) const LENGTH: usize = 4;

/// Bytes of a column: a double, big-endian.
pub(crate) const COLUMN: usize = 8;

/// Shortest record: its length and the time.
const MIN_RECORD: usize = LENGTH + COLUMN;

/// Longest record that is taken for one. The newest has 1220 bytes, and each version added at most a hundred: three times
/// the newest leaves room for many more.
pub const MAX_RECORD: usize = 4096;

/// Columns, from 1 as the manual counts them.
pub(crate) mod column {
    pub(crate) const ROBOT_MODE: usize = 95;
    pub(crate) const SAFETY_MODE: usize = 102;
    pub(crate) const PROGRAM: usize = 132;
    pub(crate) const SAFETY_STATUS: usize = 139;
}

/// Which columns a record has: nothing but its length tells.
///
/// Source: the manual's sheets by version; `mtsUniversalRobotScriptRT` of sawUniversalRobot tells them apart so too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// 3.0 and 3.1, 1044 bytes: modes of robot and safety system.
    V3_0,
    /// 3.2 to 3.4, 1060 bytes: and digital outputs and the program's state.
    V3_2,
    /// 3.5 to 3.9 and 5.0 to 5.3, 1108 bytes: and the elbow.
    V3_5,
    /// 3.10 to 3.13 and 5.4 to 5.8, 1116 bytes: and the safety status.
    V3_10,
    /// 3.14, 3.15 and 5.9, 1140 bytes: and three columns without meaning.
    V3_14,
    /// From 5.10 on, 1220 bytes: and payload. Longer ones are taken for later versions that add behind it, as all did.
    V5_10,
}

impl Layout {
    /// The layout of records of this length. Of versions before 3.0, whose columns stand elsewhere, and of lengths that no
    /// version had, none is known.
    #[must_use]
    pub const fn of_len(len: usize) -> Option<Self> {
        Some(match len {
            1044 => Self::V3_0,
            1060 => Self::V3_2,
            1108 => Self::V3_5,
            1116 => Self::V3_10,
            1140 => Self::V3_14,
            1220..=MAX_RECORD => Self::V5_10,
            _ => return None,
        })
    }

    /// Length of its records in bytes; the shortest of the last.
    #[must_use]
    pub const fn record_len(self) -> usize {
        match self {
            Self::V3_0 => 1044,
            Self::V3_2 => 1060,
            Self::V3_5 => 1108,
            Self::V3_10 => 1116,
            Self::V3_14 => 1140,
            Self::V5_10 => 1220,
        }
    }
}

/// One record of the realtime interface: its length in four bytes, then doubles, all big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its columns; absent where none is known to stand where it should.
    pub layout: Option<Layout>,
    columns: &'a [[u8; COLUMN]],
}

impl<'a> Record<'a> {
    /// Looks for one record at the start of `bytes`. One of an unknown length is a record without [`Record::layout`].
    ///
    /// # Errors
    /// The length has no room for the time, or is above [`MAX_RECORD`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        let Some(length) = bytes.first_chunk() else { return Ok(Step::Partial { needed: MIN_RECORD }) };
        let len = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        if !(MIN_RECORD..=MAX_RECORD).contains(&len) {
            return Err(DissectError::malformed("record length", 0));
        }
        Ok(match bytes.get(LENGTH..len) {
            Some(doubles) => {
                Step::Whole { unit: Self { layout: Layout::of_len(len), columns: doubles.as_chunks().0 }, len }
            }
            None => Step::Partial { needed: len },
        })
    }

    /// Time since the controller started, in seconds, where it is a number.
    #[must_use]
    pub fn time_s(&self) -> Option<f64> {
        self.column(1).filter(|time| time.is_finite())
    }

    /// The mode of the robot.
    #[must_use]
    pub fn robot_mode(&self) -> Option<RobotMode> {
        RobotMode::of(self.since(Layout::V3_0, column::ROBOT_MODE)?)
    }

    /// The mode of the safety system; unknown where [`Record::safety_status`] says normal or reduced and this does not, or
    /// the other way round.
    #[must_use]
    pub fn safety_mode(&self) -> Option<SafetyMode> {
        let mode = SafetyMode::of(self.since(Layout::V3_0, column::SAFETY_MODE)?)?;
        let runs = |mode: SafetyMode| matches!(mode, SafetyMode::NORMAL | SafetyMode::REDUCED);
        let contradicted = self.safety_status().is_some_and(|status| {
            // The status tells more kinds of stops apart than the mode.
            status != mode && (runs(status) || runs(mode))
        });
        (!contradicted).then_some(mode)
    }

    /// The status of the safety system, where the version has it.
    #[must_use]
    pub fn safety_status(&self) -> Option<SafetyMode> {
        SafetyMode::of(self.since(Layout::V3_10, column::SAFETY_STATUS)?)
    }

    /// Whether a program runs, where the version says so.
    #[must_use]
    pub fn program(&self) -> Option<Program> {
        Program::of(self.since(Layout::V3_2, column::PROGRAM)?)
    }

    /// The small whole number in a column that `layout` and those after it have.
    fn since(&self, layout: Layout, number: usize) -> Option<i8> {
        if self.layout? < layout {
            return None;
        }
        whole(self.column(number)?)
    }

    fn column(&self, number: usize) -> Option<f64> {
        self.columns.get(number.checked_sub(1)?).map(|column| f64::from_be_bytes(*column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_version() {
        let known: std::vec::Vec<_> = (0..1220).filter(|len| Layout::of_len(*len).is_some()).collect();
        assert_eq!(known, [1044, 1060, 1108, 1116, 1140]);
        for len in known.into_iter().chain([1220]) {
            assert_eq!(Layout::of_len(len).map(Layout::record_len), Some(len));
            assert_eq!((len - LENGTH) % COLUMN, 0);
        }
        assert_eq!(Layout::of_len(1300), Some(Layout::V5_10));
        assert_eq!(Layout::of_len(MAX_RECORD + 1), None);
    }

    #[test]
    fn columns_stand_where_the_lengths_end() {
        // The last column of a version is the one before the first that the next one added.
        let columns = |layout: Layout| (layout.record_len() - LENGTH) / COLUMN;
        assert!(columns(Layout::V3_0) < column::PROGRAM && columns(Layout::V3_2) == column::PROGRAM);
        assert!(columns(Layout::V3_5) < column::SAFETY_STATUS && columns(Layout::V3_10) == column::SAFETY_STATUS);
    }

    #[test]
    fn lengths_are_held_to_their_bounds() {
        for len in [i32::MIN, -1, 0, 4, 11, 4097, i32::MAX] {
            assert!(Record::step(&len.to_be_bytes()).is_err(), "{len}");
        }
        assert_eq!(Record::step(&[0, 0, 4]), Ok(Step::Partial { needed: 12 }));
        assert_eq!(Record::step(&764_i32.to_be_bytes()), Ok(Step::Partial { needed: 764 }));
    }
}

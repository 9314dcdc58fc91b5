/// Mode of the robot, -1 to 8, numbered as RTDE's `robot_mode`.
///
/// Source: the manual, "Robot Modes"; RL has the same numbers for the realtime record. Only of controllers from 3.0 on:
/// older ones number other modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RobotMode(i8);

impl RobotMode {
    /// The mode with this number, where the table has it.
    #[must_use]
    pub const fn of(number: i8) -> Option<Self> {
        if matches!(number, -1..=8) { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i8 {
        self.0
    }
}

/// Mode or status of the safety system, numbered as RTDE's `safety_mode` and `safety_status`; 1 is normal.
///
/// Source: RL (1 to 11 as a mode, to 13 as a status); `ur_dashboard_msgs/SafetyStatus` (to 20, and 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SafetyMode(i8);

impl SafetyMode {
    /// Nothing limits or stops the robot.
    pub const NORMAL: Self = Self(1);
    /// The reduced limits are in force.
    pub const REDUCED: Self = Self(2);

    /// The mode with this number, where the table has it.
    #[must_use]
    pub const fn of(number: i8) -> Option<Self> {
        if matches!(number, 1..=20 | 22) { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i8 {
        self.0
    }
}

/// How the joints are controlled. It says nothing about remote control: that a robot takes commands from afar is not on
/// these interfaces.
///
/// Source: the manual, "Control Modes".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControlMode {
    /// Joint positions.
    Position = 0,
    /// The arm is moved by hand.
    Teach = 1,
    /// Forces.
    Force = 2,
    /// Joint torques.
    Torque = 3,
}

impl ControlMode {
    /// The mode with this number, where the table has it.
    #[must_use]
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Position,
            1 => Self::Teach,
            2 => Self::Force,
            3 => Self::Torque,
            _ => return None,
        })
    }
}

/// Whether a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Program {
    /// On its way to a stop: it may still move the arm.
    Stopping = 0,
    /// None runs.
    Stopped = 1,
    /// One runs.
    Playing = 2,
    /// On its way to a pause: it may still move the arm.
    Pausing = 3,
    /// One is paused.
    Paused = 4,
    /// On its way back: it may move the arm again.
    Resuming = 5,
}

impl Program {
    /// The state with this number of the realtime record, where the table has it.
    /// Source: RL; the same numbers as RTDE's `runtime_state`.
    #[must_use]
    pub const fn of(number: i8) -> Option<Self> {
        Some(match number {
            0 => Self::Stopping,
            1 => Self::Stopped,
            2 => Self::Playing,
            3 => Self::Pausing,
            4 => Self::Paused,
            5 => Self::Resuming,
            _ => return None,
        })
    }
}

/// The state that a robot's two flags mean; both at once contradict each other.
pub(crate) const fn program_of(running: Option<bool>, paused: Option<bool>) -> Option<Program> {
    match (running, paused) {
        (Some(false), Some(false)) => Some(Program::Stopped),
        (Some(true), Some(false)) => Some(Program::Playing),
        (Some(false), Some(true)) => Some(Program::Paused),
        _ => None,
    }
}

/// A flag, where the byte is one.
pub(crate) const fn flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// A small whole number that is written as a double; NaN, infinities and fractions are none.
pub(crate) fn whole(value: f64) -> Option<i8> {
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and is compared")]
    let number = value as i8;
    #[expect(clippy::float_cmp, reason = "every i8 is exact as a double")]
    let exact = f64::from(number) == value;
    exact.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_table_are_no_mode() {
        let modes: std::vec::Vec<i8> = (i8::MIN..=i8::MAX).filter(|number| RobotMode::of(*number).is_some()).collect();
        assert_eq!(modes, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!([0, 21, 23, -1].iter().all(|number| SafetyMode::of(*number).is_none()));
        assert_eq!(SafetyMode::of(1), Some(SafetyMode::NORMAL));
        assert_eq!((0..=9).filter_map(ControlMode::of).count(), 4);
        assert_eq!((-1..=9).filter_map(Program::of).map(|program| program as u8).max(), Some(5));
    }

    #[test]
    fn doubles_that_are_no_small_whole_number_are_nothing() {
        for value in
            [f64::NAN, f64::INFINITY, -f64::INFINITY, 7.5, 128.0, -129.0, 1e300, 7.000_000_1, f64::MIN_POSITIVE]
        {
            assert_eq!(whole(value), None, "{value}");
        }
        assert_eq!([whole(7.0), whole(-1.0), whole(-0.0), whole(127.0)], [7, -1, 0, 127].map(Some));
    }

    #[test]
    fn two_flags_are_one_state_or_none() {
        let of = |running, paused| program_of(flag(running), flag(paused));
        assert_eq!(of(0, 0), Some(Program::Stopped));
        assert_eq!(of(1, 0), Some(Program::Playing));
        assert_eq!(of(0, 1), Some(Program::Paused));
        for (running, paused) in [(1, 1), (2, 0), (0, 2), (255, 255)] {
            assert_eq!(of(running, paused), None, "{running} {paused}");
        }
    }
}

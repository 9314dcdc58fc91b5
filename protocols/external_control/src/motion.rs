use crate::record::Record;
use dissect::DissectError;

/// What a record of the reverse socket asks for.
/// Source: the library, chapter ReverseInterface, table "reverse_socket message format".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Motion {
    /// How long the robot waits for the next record before it stops, in milliseconds. What the robot reads with a
    /// time-out of 0 or below is waited for without end: the stop that a silent computer causes is switched off.
    /// Source: UR script manual, `socket_read_binary_integer`.
    pub timeout_ms: i32,
    /// What the arm does until then.
    pub action: Action,
}

/// What the arm does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Mode -2: the control program ends.
    Stop,
    /// Mode 0: no motion.
    Idle,
    /// Modes 1, 2, 4, 5 and 8: one target, for the next cycle, in millionths of its units.
    Move(Move, [i32; 6]),
    /// Mode 3: points that come over the trajectory socket.
    Forward(Trajectory),
    /// Mode 6: the arm can be moved by hand.
    Freedrive(Freedrive),
    /// A mode that no computer is meant to send (-1, 7) or that is not known.
    Unknown(i32),
}

/// How a target is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Mode 1: joint positions, rad.
    Servoj,
    /// Mode 2: joint velocities, rad/s.
    Speedj,
    /// Mode 4: velocity of the tool, m/s and rad/s.
    Speedl,
    /// Mode 5: pose of the tool, m and rad (axis and angle in one vector).
    Pose,
    /// Mode 8: joint torques beside gravity, Nm. Since PolyScope 5.23 and 10.10.
    Torque,
}

/// What is done with the points of a trajectory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trajectory {
    /// -1: no more of it.
    Cancel,
    /// 0: nothing, but the robot goes on waiting.
    Keep,
    /// 1: this many points come; begin.
    Start {
        /// How many points.
        points: i32,
    },
    /// 2: points come, how many is not known yet.
    StreamStart,
    /// 3: the last point was sent.
    StreamEnd {
        /// How many points there were in all.
        points: i32,
    },
    /// Any other number.
    Unknown(i32),
}

/// Freedrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freedrive {
    /// -1: it ends.
    Stop,
    /// 0: as it is.
    Keep,
    /// 1: it begins.
    Start,
    /// Any other number.
    Unknown(i32),
}

impl Motion {
    /// Reads a record of the reverse socket: time-out, six values, mode last.
    ///
    /// # Errors
    /// The record has fewer than eight integers.
    pub fn read(record: &Record<'_>) -> Result<Self, DissectError> {
        let timeout_ms = record.field(0, "time-out")?;
        let values = record.six(1, "motion target")?;
        let mode = record.field(7, "control mode")?;
        let [first, second, ..] = values;
        let target = |how| Action::Move(how, values);
        let action = match mode {
            -2 => Action::Stop,
            0 => Action::Idle,
            1 => target(Move::Servoj),
            2 => target(Move::Speedj),
            3 => Action::Forward(match first {
                -1 => Trajectory::Cancel,
                0 => Trajectory::Keep,
                1 => Trajectory::Start { points: second },
                2 => Trajectory::StreamStart,
                3 => Trajectory::StreamEnd { points: second },
                other => Trajectory::Unknown(other),
            }),
            4 => target(Move::Speedl),
            5 => target(Move::Pose),
            6 => Action::Freedrive(match first {
                -1 => Freedrive::Stop,
                0 => Freedrive::Keep,
                1 => Freedrive::Start,
                other => Freedrive::Unknown(other),
            }),
            8 => target(Move::Torque),
            other => Action::Unknown(other),
        };
        Ok(Self { timeout_ms, action })
    }

    /// Writes it as a record of the reverse socket. What nobody reads is 0, so that it need not be what [`Motion::read`] read;
    /// an unknown mode is written without values.
    #[must_use]
    pub fn emit(&self) -> [u8; 32] {
        let one = |first, second| [first, second, 0, 0, 0, 0];
        let (values, mode) = match self.action {
            Action::Stop => ([0; 6], -2),
            Action::Idle => ([0; 6], 0),
            Action::Move(how, values) => (values, how.mode()),
            Action::Forward(forward) => {
                let values = match forward {
                    Trajectory::Cancel => one(-1, 0),
                    Trajectory::Keep => one(0, 0),
                    Trajectory::Start { points } => one(1, points),
                    Trajectory::StreamStart => one(2, 0),
                    Trajectory::StreamEnd { points } => one(3, points),
                    Trajectory::Unknown(other) => one(other, 0),
                };
                (values, 3)
            }
            Action::Freedrive(freedrive) => {
                let value = match freedrive {
                    Freedrive::Stop => -1,
                    Freedrive::Keep => 0,
                    Freedrive::Start => 1,
                    Freedrive::Unknown(other) => other,
                };
                (one(value, 0), 6)
            }
            Action::Unknown(mode) => ([0; 6], mode),
        };
        let mut bytes = [0; 32];
        let integers = core::iter::once(self.timeout_ms).chain(values).chain(core::iter::once(mode));
        for (slot, integer) in bytes.as_chunks_mut().0.iter_mut().zip(integers) {
            *slot = integer.to_be_bytes();
        }
        bytes
    }

    /// Whether the robot waits for the next record without end.
    #[must_use]
    pub const fn never_times_out(&self) -> bool {
        self.timeout_ms <= 0
    }
}

impl Action {
    /// Whether it can only end what the arm does.
    #[must_use]
    pub const fn only_stops(&self) -> bool {
        matches!(self, Self::Stop | Self::Forward(Trajectory::Cancel) | Self::Freedrive(Freedrive::Stop))
    }

    /// Whether it is one of those that are known, with an argument that is known.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        !matches!(
            self,
            Self::Unknown(_) | Self::Forward(Trajectory::Unknown(_)) | Self::Freedrive(Freedrive::Unknown(_))
        )
    }

    /// The word for it in policies and records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Idle => "idle",
            Self::Move(how, _) => how.name(),
            Self::Forward(_) => "forward",
            Self::Freedrive(_) => "freedrive",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Move {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Servoj, Self::Speedj, Self::Speedl, Self::Pose, Self::Torque];

    /// Its mode on the wire.
    #[must_use]
    pub const fn mode(self) -> i32 {
        match self {
            Self::Servoj => 1,
            Self::Speedj => 2,
            Self::Speedl => 4,
            Self::Pose => 5,
            Self::Torque => 8,
        }
    }

    /// The word for it in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Servoj => "servoj",
            Self::Speedj => "speedj",
            Self::Speedl => "speedl",
            Self::Pose => "pose",
            Self::Torque => "torque",
        }
    }
}

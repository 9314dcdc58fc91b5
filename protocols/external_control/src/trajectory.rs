use crate::record::Record;
use dissect::DissectError;

/// One point of a motion that the robot interpolates itself.
/// Source: the library, chapter TrajectoryPointInterface; the order of the last three integers is that of what the library
/// writes, as older editions of the chapter name them in another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Where to, in millionths: joints in rad or a pose in m and rad, as [`Kind::target`] says.
    pub target: [i32; 6],
    /// Integers 6 to 11, whose meaning and scale depend on the kind: velocities of a spline, the way point of an arc, the
    /// joints that a pose should be near to.
    pub second: [i32; 6],
    /// Integers 12 to 17: accelerations of a spline, else velocity, acceleration and a mode.
    pub third: [i32; 6],
    /// Duration; microseconds in newer programs, milliseconds in older ones. 0 = as velocity and acceleration allow.
    pub duration: i32,
    /// Radius within which the next motion may begin, in the same scale of a metre; of a spline its degree (1 cubic,
    /// 2 quintic).
    pub blend: i32,
    /// The integer that says the kind.
    pub kind: i32,
}

/// Which edition of the library's program reads the points: the numbers of the kinds changed, and nothing on the wire says
/// which are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Until version 1.3: 2 is a spline. Millisecond scale.
    Old,
    /// Later: 2 is `movep`, 51 a spline.
    New,
}

/// What a point is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `movej`.
    Movej(Space),
    /// `movel`.
    Movel(Space),
    /// `movep`.
    Movep(Space),
    /// `movec`: by way of a point, to the target.
    Movec {
        /// What the way point is.
        via: Space,
        /// What the target is.
        to: Space,
    },
    /// `optimovej`.
    Optimovej(Space),
    /// `optimovel`.
    Optimovel(Space),
    /// A spline through joint positions.
    Spline,
}

/// What six numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Joint positions, rad.
    Joints,
    /// A pose of the tool, m and rad.
    Pose,
}

impl Point {
    /// Reads a record of the trajectory socket. More than 21 integers are a newer program's: the rest is ignored.
    ///
    /// # Errors
    /// The record has fewer than 21 integers.
    pub fn read(record: &Record<'_>) -> Result<Self, DissectError> {
        Ok(Self {
            target: record.six(0, "trajectory point")?,
            second: record.six(6, "trajectory point velocities")?,
            third: record.six(12, "trajectory point accelerations")?,
            duration: record.field(18, "trajectory point duration")?,
            blend: record.field(19, "trajectory point blend radius")?,
            kind: record.field(20, "trajectory point type")?,
        })
    }

    /// What it is for a program of this edition; `None` for a number that it does not know.
    #[must_use]
    pub const fn kind(&self, dialect: Dialect) -> Option<Kind> {
        use Space::{Joints, Pose};
        Some(match (self.kind, dialect) {
            (0, _) => Kind::Movej(Joints),
            (1, _) => Kind::Movel(Pose),
            (2, Dialect::Old) | (51, Dialect::New) => Kind::Spline,
            (_, Dialect::Old) => return None,
            (2, Dialect::New) => Kind::Movep(Pose),
            (3, Dialect::New) => Kind::Movec { via: Pose, to: Pose },
            (4, Dialect::New) => Kind::Optimovej(Joints),
            (5, Dialect::New) => Kind::Optimovel(Pose),
            (6, Dialect::New) => Kind::Movej(Pose),
            (7, Dialect::New) => Kind::Movel(Joints),
            (8, Dialect::New) => Kind::Movep(Joints),
            (9, Dialect::New) => Kind::Movec { via: Joints, to: Joints },
            (10, Dialect::New) => Kind::Movec { via: Pose, to: Joints },
            (11, Dialect::New) => Kind::Movec { via: Joints, to: Pose },
            (12, Dialect::New) => Kind::Optimovej(Pose),
            (13, Dialect::New) => Kind::Optimovel(Joints),
            _ => return None,
        })
    }

    /// The way point of an arc, in millionths of rad or m and rad.
    #[must_use]
    pub const fn via(&self) -> [i32; 6] {
        self.second
    }
}

impl Kind {
    /// What the target is.
    #[must_use]
    pub const fn target(self) -> Space {
        match self {
            Self::Spline => Space::Joints,
            Self::Movej(to)
            | Self::Movel(to)
            | Self::Movep(to)
            | Self::Movec { to, .. }
            | Self::Optimovej(to)
            | Self::Optimovel(to) => to,
        }
    }

    /// The word for it in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Movej(_) => "movej",
            Self::Movel(_) => "movel",
            Self::Movep(_) => "movep",
            Self::Movec { .. } => "movec",
            Self::Optimovej(_) => "optimovej",
            Self::Optimovel(_) => "optimovel",
            Self::Spline => "spline",
        }
    }
}

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What external control let through to the arm last: where the next step is measured from. Plain data; all zero =
/// nothing yet.
///
/// It belongs to the arm, not to a connection: who connects anew begins where the arm was sent last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Track {
    /// When the set-point went to the robot, monotonic nanoseconds; 0 = none did.
    pub at_ns: u64,
    /// The set-point, in millionths of its units.
    pub target: [i32; 6],
    /// By how much it differed from the one before, where both were joint positions.
    pub change: [i32; 6],
    /// How far each joint may still go at once, in millionths of a radian: its allowed speed over the time that passed.
    pub credit: [i32; 6],
    /// The last joint positions of a trajectory's points.
    pub point: [i32; 6],
    /// Its mode on the wire, 0 = none.
    pub mode: i32,
    /// 1 = `point` is of the trajectory that is being sent.
    pub has_point: u32,
    /// Until when the robot may take a point for one of those that `expected` counts, monotonic nanoseconds.
    pub points_until_ns: u64,
    /// How many points of a trajectory that began are still to come; [`Self::LACKING`] = it was left without some.
    pub expected: i32,
    /// Always 0.
    pub reserved: u32,
}

/// How long a robot goes on reading the points that a trajectory lacked when it was left: it gives up half a second after
/// the last one.
/// Source: the maker's client library, `clearTrajectoryPointsThread` of its program.
const CLEARING_NS: u64 = 1_000_000_000;

impl Track {
    /// Of [`Self::expected`]: the trajectory was left before all its points came.
    pub const LACKING: i32 = -1;

    /// A trajectory begins, of which this many points are still to come; the robot waits `timeout_ms` for the next word.
    #[must_use]
    pub fn begun(self, points: i32, timeout_ms: i32, now_ns: u64) -> Self {
        Self { mode: 0, has_point: 0, expected: points.max(0), ..self }.kept(timeout_ms, now_ns)
    }

    /// The trajectory goes on, if there is one.
    #[must_use]
    pub fn kept(self, timeout_ms: i32, now_ns: u64) -> Self {
        let patience_ns = u64::try_from(timeout_ms).unwrap_or(0).saturating_mul(1_000_000);
        let until_ns = now_ns.saturating_add(patience_ns).saturating_add(CLEARING_NS);
        let points_until_ns = if self.expected > 0 { self.points_until_ns.max(until_ns) } else { self.points_until_ns };
        Self { points_until_ns, ..self }
    }

    /// A stream of points is over, of which there were this many in all.
    #[must_use]
    pub fn all_sent(self, points: i32, timeout_ms: i32, now_ns: u64) -> Self {
        // What begins with a number of points is no stream.
        let sent = i32::MAX.saturating_sub(self.expected);
        let expected = if sent < i32::MAX / 2 { points.saturating_sub(sent).max(0) } else { self.expected };
        Self { expected, ..self }.kept(timeout_ms, now_ns)
    }

    /// A point goes to the robot.
    #[must_use]
    pub fn pointed(self, point: [i32; 6], is_joints: bool, now_ns: u64) -> Self {
        let expected = if self.expected > 0 { self.expected.saturating_sub(1) } else { self.expected };
        Self { point, has_point: u32::from(is_joints), expected, ..self }.kept(0, now_ns)
    }

    /// The arm does something else than a trajectory.
    #[must_use]
    pub fn left(self, now_ns: u64) -> Self {
        if self.expected <= 0 {
            return Self { has_point: 0, ..self };
        }
        let points_until_ns = now_ns.saturating_add(CLEARING_NS);
        Self { has_point: 0, expected: Self::LACKING, points_until_ns, ..self }
    }
}

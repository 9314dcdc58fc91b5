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
}

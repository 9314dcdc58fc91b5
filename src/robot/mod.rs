//! What is known of each robot right now. Plain data in the caller's memory.

mod inputs;
mod track;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

pub use inputs::{Connection, Inputs, Owner, numbers};
pub use track::Track;

use crate::event::RobotContext;

/// Live state of one robot, each part with the monotonic time it was last seen.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct State {
    /// When `program` was last seen, monotonic nanoseconds; 0 = never.
    pub program_at_ns: u64,
    /// When `robot_mode` was last seen.
    pub robot_mode_at_ns: u64,
    /// When `safety_mode` was last seen.
    pub safety_mode_at_ns: u64,
    /// When `control` was last seen.
    pub control_at_ns: u64,
    /// When the controller's version was last seen.
    pub version_at_ns: u64,
    /// When `joints` was last seen.
    pub joints_at_ns: u64,
    /// When `pose` was last seen.
    pub pose_at_ns: u64,
    /// What external control let through.
    pub track: Track,
    /// Where the joints are, in millionths of a radian.
    pub joints: [i32; 6],
    /// Where the tool is: position in micrometres, rotation vector in millionths of a radian.
    pub pose: [i32; 6],
    /// Program state: 0 unknown, 1 stopped, 2 playing, 3 paused.
    pub program: u8,
    /// Robot mode as RTDE numbers it (-1 to 8).
    pub robot_mode: i8,
    /// Safety mode as RTDE numbers it.
    pub safety_mode: u8,
    /// Who may command it: 0 unknown, 1 remote, 2 local.
    pub control: u8,
    /// Major version of the controller.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// Bugfix version.
    pub bugfix: i32,
    /// Explicit padding.
    pub padding: u32,
}

/// Token buckets of rules and of RTDE inputs with a rate, one each.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Rates {
    /// Tokens in 1/1000 and the monotonic time of the last refill, by the place among what has a rate.
    pub buckets: [[u64; 2]; 64],
}

impl Rates {
    /// Buckets that fill when they are first asked.
    #[must_use]
    pub fn new() -> Self {
        Self::new_zeroed()
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Program {
    /// No program runs.
    Stopped = 1,
    /// A program runs.
    Playing = 2,
    /// A program is paused.
    Paused = 3,
}

/// Whether the robot takes commands from afar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Control {
    /// Remote control: programs and power are commanded over the network.
    Remote = 1,
    /// Local control: by its panel.
    Local = 2,
}

impl State {
    /// What is known at `now_ns` and was seen within `max_age_ns`.
    #[must_use]
    pub fn context(&self, now_ns: u64, max_age_ns: u64) -> RobotContext {
        let fresh = |at_ns: u64| at_ns != 0 && now_ns.saturating_sub(at_ns) <= max_age_ns;
        RobotContext {
            program: fresh(self.program_at_ns).then_some(self.program),
            robot_mode: fresh(self.robot_mode_at_ns).then_some(self.robot_mode),
            safety_mode: fresh(self.safety_mode_at_ns).then_some(self.safety_mode),
            control: fresh(self.control_at_ns).then_some(self.control),
        }
    }

    /// Takes what was known at `now_ns` for what is seen then; nothing else of the four is known any more.
    pub fn see_context(&mut self, context: &RobotContext, now_ns: u64) {
        let at = |known: bool| if known { now_ns } else { 0 };
        self.program = context.program.unwrap_or(0);
        self.program_at_ns = at(context.program.is_some());
        self.robot_mode = context.robot_mode.unwrap_or(0);
        self.robot_mode_at_ns = at(context.robot_mode.is_some());
        self.safety_mode = context.safety_mode.unwrap_or(0);
        self.safety_mode_at_ns = at(context.safety_mode.is_some());
        self.control = context.control.unwrap_or(0);
        self.control_at_ns = at(context.control.is_some());
    }

    /// Notes the program state seen at `now_ns`.
    pub fn see_program(&mut self, program: Program, now_ns: u64) {
        self.program = program as u8;
        self.program_at_ns = now_ns;
    }

    /// Notes the robot mode, by RTDE's numbers, seen at `now_ns`.
    pub fn see_robot_mode(&mut self, mode: i8, now_ns: u64) {
        self.robot_mode = mode;
        self.robot_mode_at_ns = now_ns;
    }

    /// Notes the safety mode, by RTDE's numbers, seen at `now_ns`.
    pub fn see_safety_mode(&mut self, mode: i8, now_ns: u64) {
        self.safety_mode = u8::try_from(mode).unwrap_or_default();
        self.safety_mode_at_ns = now_ns;
    }

    /// Notes where the joints are, in radians, seen at `now_ns`; what is no position of a joint tells nothing.
    pub fn see_joints(&mut self, joints: [f64; 6], now_ns: u64) {
        if let Some(joints) = millionths(joints) {
            self.joints = joints;
            self.joints_at_ns = now_ns;
        }
    }

    /// Notes where the tool is, in metres and as a rotation vector in radians, seen at `now_ns`; what is no pose tells
    /// nothing.
    pub fn see_pose(&mut self, pose: [f64; 6], now_ns: u64) {
        if let Some(pose) = millionths(pose) {
            self.pose = pose;
            self.pose_at_ns = now_ns;
        }
    }

    /// Notes who may command the robot, seen at `now_ns`.
    pub fn see_control(&mut self, control: Control, now_ns: u64) {
        self.control = control as u8;
        self.control_at_ns = now_ns;
    }

    /// Notes the controller's version, seen at `now_ns`.
    pub fn see_version(&mut self, major: u8, minor: u8, bugfix: i32, now_ns: u64) {
        self.major = major;
        self.minor = minor;
        self.bugfix = bugfix;
        self.version_at_ns = now_ns;
    }

    /// Notes what one RTDE output variable says, seen at `now_ns`.
    ///
    /// Source: URCL datatypes (runtime_state 1 stopped, 2 playing, 4 paused; robot_mode; safety_mode). Stopping (0),
    /// pausing (3) and resuming (5) are on the way: a program may still move the arm, so they count as playing.
    pub fn see_rtde(&mut self, variable: rtde::Variable, value: &rtde::Value, now_ns: u64) {
        match (variable.name(), *value) {
            ("runtime_state", rtde::Value::Uint32(state)) => {
                let program = match state {
                    1 => Program::Stopped,
                    4 => Program::Paused,
                    _ => Program::Playing,
                };
                self.see_program(program, now_ns);
            }
            ("robot_mode", rtde::Value::Int32(mode)) => {
                self.see_robot_mode(i8::try_from(mode).unwrap_or(i8::MIN), now_ns);
            }
            ("actual_q", rtde::Value::Vector6d(joints)) => self.see_joints(joints, now_ns),
            ("actual_TCP_pose", rtde::Value::Vector6d(pose)) => self.see_pose(pose, now_ns),
            ("safety_mode", rtde::Value::Int32(mode)) => {
                self.see_safety_mode(i8::try_from(mode).unwrap_or_default(), now_ns);
            }
            _ => {}
        }
    }
}

/// Six numbers in the units of external control; absent where one is none or too large to be sent there.
fn millionths(values: [f64; 6]) -> Option<[i32; 6]> {
    let scaled = values.map(|value| value * external_control::UNITS);
    #[expect(clippy::cast_possible_truncation, reason = "inside i32")]
    let whole = scaled.map(|value| value.round() as i32);
    scaled.iter().all(|value| value.abs() < f64::from(i32::MAX)).then_some(whole)
}

use dissect::{DissectError, Reader};

use crate::mode::{flag, program_of};
use crate::package::HEADER;
use crate::{ControlMode, Package, PackageType, Program, RobotMode, SafetyMode};

/// Sub-package with the robot's mode.
pub(crate) const ROBOT_MODE: u8 = 0;
/// Sub-package of the board that the safety system is on.
pub(crate) const MASTERBOARD: u8 = 3;

/// Bytes of the masterboard's data before its safety mode: digital inputs and outputs, two analog ranges, two inputs, two
/// domains, two outputs, temperature, voltage and two currents.
pub(crate) const BEFORE_SAFETY: usize = 4 + 4 + 2 + 16 + 2 + 16 + 16;

/// A package of type 16: what the robot is and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RobotState<'a> {
    body: &'a [u8],
}

/// One part of a robot state.
///
/// | bytes | field |
/// |---|---|
/// | 4 | length in bytes, these four included, big-endian |
/// | 1 | type |
/// | the rest | data |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubPackage<'a> {
    /// Its type.
    pub kind: u8,
    /// What follows its head.
    pub data: &'a [u8],
}

impl<'a> RobotState<'a> {
    /// Reads a package as a robot state.
    ///
    /// # Errors
    /// It is of another type, or its sub-packages don't fill it exactly: then it is none, or no border in it can be trusted.
    pub fn read(package: &Package<'a>) -> Result<Self, DissectError> {
        if package.kind != PackageType::ROBOT_STATE {
            return Err(DissectError::unsupported("package type", 4));
        }
        let mut reader = Reader::new(package.body);
        while !reader.is_empty() {
            sub_package(&mut reader)?;
        }
        Ok(Self { body: package.body })
    }

    /// Its parts in order; any may be missing, and types that are not known here are legal.
    pub fn sub_packages(&self) -> impl Iterator<Item = SubPackage<'a>> + use<'a> {
        let mut reader = Reader::new(self.body);
        core::iter::from_fn(move || sub_package(&mut reader).ok())
    }

    /// The one part of this type; none where it is missing or there are several, which contradict each other.
    fn only(&self, kind: u8) -> Option<&'a [u8]> {
        let mut all = self.sub_packages().filter(|part| part.kind == kind);
        let first = all.next()?;
        all.next().is_none().then_some(first.data)
    }

    /// The robot's mode, where the part is there and of a known version.
    #[must_use]
    pub fn robot_mode(&self) -> Option<RobotModeData> {
        RobotModeData::read(self.only(ROBOT_MODE)?).ok().flatten()
    }

    /// The safety system's mode.
    ///
    /// Only beside a robot mode of a version from 3.0 on: before that the masterboard's digital inputs and outputs had two
    /// bytes less, and nothing in its own data tells the two apart.
    #[must_use]
    pub fn safety_mode(&self) -> Option<SafetyMode> {
        self.robot_mode()?;
        let [mode, reduced, extension] = *self.only(MASTERBOARD)?.get(BEFORE_SAFETY..)?.first_chunk()?;
        // What stands behind it are two flags: one more sign that this is where it stands.
        flag(reduced).and(flag(extension))?;
        SafetyMode::of(i8::from_be_bytes([mode]))
    }
}

fn sub_package<'a>(reader: &mut Reader<'a>) -> Result<SubPackage<'a>, DissectError> {
    let offset = reader.offset();
    let len = usize::try_from(reader.u32("sub-package length")?).unwrap_or(usize::MAX);
    let kind = reader.u8("sub-package type")?;
    let Some(len) = len.checked_sub(HEADER) else {
        return Err(DissectError::malformed("sub-package length", offset));
    };
    Ok(SubPackage { kind, data: reader.take(len, "sub-package")? })
}

/// Sub-package 0: what the robot is and does.
///
/// | bytes | field | since |
/// |---|---|---|
/// | 8 | microseconds since the controller started | |
/// | 7 | flags: real robot connected, enabled, power on, emergency stopped, protective stopped, program running, paused | |
/// | 1 | robot mode | |
/// | 1 | control mode | |
/// | 8, 8 | fraction of the speed that is asked for, that is in force | 3.0: 38 bytes with the head |
/// | 8 | limit of the first | 3.2: 46 bytes |
/// | 1 | reserved | 3.5: 47 bytes |
///
/// Source: the manual; lengths by version: the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RobotModeData {
    /// Microseconds since the controller started.
    pub timestamp_us: u64,
    /// A robot, not a simulation.
    pub real_robot_connected: Option<bool>,
    /// The robot, not the simulation, is moved.
    pub real_robot_enabled: Option<bool>,
    /// The arm has power.
    pub power_on: Option<bool>,
    /// An emergency stop is in force.
    pub emergency_stopped: Option<bool>,
    /// A protective stop is in force.
    pub protective_stopped: Option<bool>,
    /// A program runs.
    pub program_running: Option<bool>,
    /// A program is paused.
    pub program_paused: Option<bool>,
    /// The mode.
    pub robot_mode: Option<RobotMode>,
    /// How the joints are controlled.
    pub control_mode: Option<ControlMode>,
}

impl RobotModeData {
    /// Whether sub-packages of this length are of a known version, or of a later one.
    pub(crate) const fn is_known(len: usize) -> bool {
        matches!(len, 38 | 46 | 47..)
    }

    /// Reads a sub-package's data; `None` of versions before 3.0 and of lengths that none had.
    fn read(data: &[u8]) -> Result<Option<Self>, DissectError> {
        if !Self::is_known(data.len().saturating_add(HEADER)) {
            return Ok(None);
        }
        let mut reader = Reader::new(data);
        let timestamp_us = reader.u64("robot mode timestamp")?;
        let flags = reader.array::<7>("robot mode flags")?.map(flag);
        let robot_mode = RobotMode::of(i8::from_be_bytes(reader.array("robot mode")?));
        let control_mode = ControlMode::of(reader.u8("control mode")?);
        let [
            real_robot_connected,
            real_robot_enabled,
            power_on,
            emergency_stopped,
            protective_stopped,
            program_running,
            program_paused,
        ] = flags;
        Ok(Some(Self {
            timestamp_us,
            real_robot_connected,
            real_robot_enabled,
            power_on,
            emergency_stopped,
            protective_stopped,
            program_running,
            program_paused,
            robot_mode,
            control_mode,
        }))
    }

    /// Whether a program runs; unknown where the two flags contradict each other.
    #[must_use]
    pub const fn program(&self) -> Option<Program> {
        program_of(self.program_running, self.program_paused)
    }
}

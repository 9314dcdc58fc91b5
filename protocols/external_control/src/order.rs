use crate::record::Record;
use dissect::DissectError;

/// A record of the script command socket: one call of a function, its arguments as integers.
/// Source: the library, chapter ScriptCommandInterface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'a> {
    /// The function; `Err` for a number that is not known.
    pub function: Result<Function, i32>,
    record: Record<'a>,
}

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Function {
    /// Zeroes the force sensor.
    ZeroFtSensor = 0,
    /// Mass in kg and centre of gravity in m of what the arm carries: 4 numbers.
    SetPayload = 1,
    /// Voltage at the tool: 0, 12 or 24.
    SetToolVoltage = 2,
    /// Frame, selection, wrench, type, limits, damping, gain: 27 numbers.
    StartForceMode = 3,
    /// Force mode ends.
    EndForceMode = 4,
    /// Watches for contact.
    StartToolContact = 5,
    /// Watches no more.
    EndToolContact = 6,
    /// Friction compensation on or off.
    SetFrictionCompensation = 7,
    /// Takes forces from RTDE: on or off, mass, offset, centre of gravity.
    FtRtdeInputEnable = 8,
    /// Where down is: 3 numbers.
    SetGravity = 9,
    /// Where the tool is: 6 numbers.
    SetTcpOffset = 10,
    /// Friction scales: 12 numbers.
    SetFrictionScales = 11,
    /// Payload with inertia and transition time: 11 numbers.
    SetTargetPayload = 12,
}

impl Function {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 13] = [
        Self::ZeroFtSensor,
        Self::SetPayload,
        Self::SetToolVoltage,
        Self::StartForceMode,
        Self::EndForceMode,
        Self::StartToolContact,
        Self::EndToolContact,
        Self::SetFrictionCompensation,
        Self::FtRtdeInputEnable,
        Self::SetGravity,
        Self::SetTcpOffset,
        Self::SetFrictionScales,
        Self::SetTargetPayload,
    ];

    /// The function with this number.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number).copied())
    }

    /// The word for it in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ZeroFtSensor => "zero_ft_sensor",
            Self::SetPayload => "set_payload",
            Self::SetToolVoltage => "set_tool_voltage",
            Self::StartForceMode => "start_force_mode",
            Self::EndForceMode => "end_force_mode",
            Self::StartToolContact => "start_tool_contact",
            Self::EndToolContact => "end_tool_contact",
            Self::SetFrictionCompensation => "set_friction_compensation",
            Self::FtRtdeInputEnable => "ft_rtde_input_enable",
            Self::SetGravity => "set_gravity",
            Self::SetTcpOffset => "set_tcp_offset",
            Self::SetFrictionScales => "set_friction_scales",
            Self::SetTargetPayload => "set_target_payload",
        }
    }

    /// How many integers of the record it reads as arguments; the rest is ignored.
    #[must_use]
    pub const fn arguments(self) -> usize {
        match self {
            Self::ZeroFtSensor | Self::EndForceMode | Self::StartToolContact | Self::EndToolContact => 0,
            Self::SetToolVoltage | Self::SetFrictionCompensation => 1,
            Self::SetGravity => 3,
            Self::SetPayload => 4,
            Self::SetTcpOffset => 6,
            Self::FtRtdeInputEnable => 8,
            Self::SetTargetPayload => 11,
            Self::SetFrictionScales => 12,
            Self::StartForceMode => 27,
        }
    }
}

impl<'a> Order<'a> {
    /// Reads a record of the script command socket.
    ///
    /// # Errors
    /// The record lacks the function's number or one of its arguments.
    pub fn read(record: &Record<'a>) -> Result<Self, DissectError> {
        let number = record.field(0, "script command")?;
        let function = Function::of(number).ok_or(number);
        if let Ok(function) = function {
            record.field(function.arguments(), "script command argument")?;
        }
        Ok(Self { function, record: *record })
    }

    /// The arguments that the function reads, as they are on the wire: most in millionths of their unit; none of an unknown
    /// function.
    pub fn arguments(&self) -> impl Iterator<Item = i32> + '_ {
        let count = self.function.map_or(0, Function::arguments);
        (1..=count).filter_map(|index| self.record.get(index))
    }
}

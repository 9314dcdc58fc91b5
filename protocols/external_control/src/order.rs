use crate::UNITS;
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

/// One argument of a function: a number, or several in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// The word for it in policies.
    pub name: &'static str,
    /// Numbers in it.
    pub len: usize,
    /// Whether each is a flag, 0 or not, and no number in millionths.
    pub is_flag: bool,
}

/// Arguments that are numbers in millionths of their unit.
const fn numbers(name: &'static str, len: usize) -> Argument {
    Argument { name, len, is_flag: false }
}

/// An argument that is on or off.
const fn flag(name: &'static str) -> Argument {
    Argument { name, len: 1, is_flag: true }
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

    /// What it takes, in the order of the record.
    /// Source: the library's program, thread `script_commands`, and the chapter's tables; both divide all but flags by
    /// 1,000,000.
    /// Units: kg, m, rad, N, Nm, m/s, rad/s, m/s2, V, s as in the script manual's function of that name.
    #[must_use]
    pub const fn parameters(self) -> &'static [Argument] {
        match self {
            Self::ZeroFtSensor | Self::EndForceMode | Self::StartToolContact | Self::EndToolContact => &[],
            Self::SetPayload => const { &[numbers("mass", 1), numbers("cog", 3)] },
            Self::SetToolVoltage => const { &[numbers("voltage", 1)] },
            Self::StartForceMode => {
                const {
                    &[
                        numbers("task_frame", 6),
                        numbers("selection_vector", 6),
                        numbers("wrench", 6),
                        numbers("type", 1),
                        numbers("limits", 6),
                        numbers("damping", 1),
                        numbers("gain_scaling", 1),
                    ]
                }
            }
            Self::SetFrictionCompensation => const { &[flag("enabled")] },
            Self::FtRtdeInputEnable => {
                const { &[flag("enabled"), numbers("sensor_mass", 1), numbers("sensor_offset", 3), numbers("sensor_cog", 3)] }
            }
            Self::SetGravity => const { &[numbers("gravity", 3)] },
            Self::SetTcpOffset => const { &[numbers("offset", 6)] },
            Self::SetFrictionScales => const { &[numbers("viscous", 6), numbers("coulomb", 6)] },
            Self::SetTargetPayload => {
                const { &[numbers("mass", 1), numbers("cog", 3), numbers("inertia", 6), numbers("transition_time", 1)] }
            }
        }
    }

    /// How many integers of the record it reads as arguments; the rest is ignored.
    #[must_use]
    pub fn arguments(self) -> usize {
        self.parameters().iter().map(|argument| argument.len).sum()
    }
}

impl Argument {
    /// The number that an integer of it stands for: 1 for a flag that is on.
    #[must_use]
    pub fn number(&self, integer: i32) -> f64 {
        if self.is_flag { f64::from(u8::from(integer != 0)) } else { f64::from(integer) / UNITS }
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

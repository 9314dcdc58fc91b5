use dissect::{DissectError, Step};

use crate::grammar::trim;
use crate::verb::{starts_with, strip};
use crate::wire::line;
use crate::{MAX_REPLY, Verb};

/// One reply line toward the plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyLine<'a> {
    /// The line without its end.
    pub text: &'a [u8],
}

impl<'a> ReplyLine<'a> {
    /// Looks for one reply line at the start of `bytes`.
    ///
    /// # Errors
    /// A line longer than [`MAX_REPLY`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        Ok(line(bytes, MAX_REPLY, "Dashboard reply line")?.map(|text| Self { text }))
    }

    /// What the line says, given the command that it answers.
    ///
    /// Some replies are a bare `true` or `MANUAL` and say nothing without their command: those are
    /// [`Reply::Other`] where `asked` is `None`.
    #[must_use]
    pub fn read(&self, asked: Option<&Verb>) -> Reply<'a> {
        Reply::read(self.text, asked)
    }
}

/// What a reply line says about the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The first line of a connection.
    Greeting,
    /// `running`: whether a program runs.
    Running(bool),
    /// `robotmode`.
    RobotMode(RobotMode),
    /// `safetymode` or `safetystatus`.
    SafetyMode(SafetyMode),
    /// `programState`, with the name of the program, empty where none is loaded.
    ProgramState {
        /// The state.
        state: ProgramState,
        /// The program's name.
        program: &'a [u8],
    },
    /// `get loaded program`; `None` where none is loaded.
    LoadedProgram(Option<&'a [u8]>),
    /// `is in remote control`.
    RemoteControl(bool),
    /// `get operational mode`, in the robot's word: `MANUAL`, `AUTOMATIC` or `NONE`.
    OperationalMode(&'a [u8]),
    /// `PolyscopeVersion`: `URSoftware 5.12.0.1101319 (Mar 17 2022)`. Told only where that was asked, as the answer to
    /// another command may hold any text.
    Version {
        /// First number.
        major: u32,
        /// Second number.
        minor: u32,
        /// Third number.
        bugfix: u32,
    },
    /// The robot refused since it is not in remote control.
    NotRemote,
    /// The robot did not understand the command.
    NotUnderstood,
    /// Any other line.
    Other(&'a [u8]),
}

impl<'a> Reply<'a> {
    /// Looks for one reply line at the start of `bytes` and reads it without knowing what was asked.
    ///
    /// # Errors
    /// A line longer than [`MAX_REPLY`].
    pub fn step(bytes: &'a [u8]) -> Result<Step<Self>, DissectError> {
        Ok(ReplyLine::step(bytes)?.map(|reply| reply.read(None)))
    }

    /// Reads one line, given without its end, and the command that it answers.
    #[must_use]
    pub fn read(text: &'a [u8], asked: Option<&Verb>) -> Self {
        let text = trim(text);
        Self::labelled(text)
            .or_else(|| Self::answering(text, asked.map(|verb| verb.name)?))
            .unwrap_or(Self::Other(text))
    }

    /// Replies that say themselves what they are.
    fn labelled(text: &'a [u8]) -> Option<Self> {
        if let Some(value) = strip(text, "Robotmode:") {
            return RobotMode::named(trim(value)).map(Self::RobotMode);
        }
        if let Some(value) = strip(text, "Safetymode:").or_else(|| strip(text, "Safetystatus:")) {
            return SafetyMode::named(trim(value)).map(Self::SafetyMode);
        }
        if let Some(value) = strip(text, "Program running:").or_else(|| strip(text, "Robot running:")) {
            return truth(trim(value)).map(Self::Running);
        }
        if let Some(value) = strip(text, "Loaded program:") {
            return Some(Self::LoadedProgram(Some(trim(value))));
        }
        if let Some(reply) = Self::program_state(text) {
            return Some(reply);
        }
        let known = [
            ("No program loaded", Self::LoadedProgram(None)),
            ("Connected: Universal Robots Dashboard Server", Self::Greeting),
            ("Command is not allowed due to safety reasons", Self::NotRemote),
            ("Not in remote control", Self::NotRemote),
            ("could not understand", Self::NotUnderstood),
        ];
        known.into_iter().find_map(|(pattern, reply)| starts_with(text, pattern).then_some(reply))
    }

    fn program_state(text: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        let (word, program) = text.split_at_checked(end)?;
        let state = ProgramState::named(word)?;
        Some(Self::ProgramState { state, program: trim(program) })
    }

    fn version(text: &'a [u8]) -> Option<Self> {
        let (major, rest) = number(trim(strip(text, "URSoftware")?))?;
        let (minor, rest) = number(rest.strip_prefix(b".")?)?;
        let (bugfix, _) = number(rest.strip_prefix(b".")?)?;
        Some(Self::Version { major, minor, bugfix })
    }

    /// Replies that only their command gives a meaning.
    fn answering(text: &'a [u8], asked: &str) -> Option<Self> {
        match asked {
            "is in remote control" => truth(text).map(Self::RemoteControl),
            "get operational mode" => Some(Self::OperationalMode(text)),
            "polyscopeversion" => Self::version(text),
            _ => None,
        }
    }
}

/// A number at the start of `text`, and what follows it.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((core::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

fn truth(text: &[u8]) -> Option<bool> {
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if is("true") { Some(true) } else { is("false").then_some(false) }
}

/// State of the program, as `programState` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgramState {
    /// `STOPPED`.
    Stopped,
    /// `PLAYING`.
    Playing,
    /// `PAUSED`.
    Paused,
}

impl ProgramState {
    fn named(word: &[u8]) -> Option<Self> {
        match word {
            b"STOPPED" => Some(Self::Stopped),
            b"PLAYING" => Some(Self::Playing),
            b"PAUSED" => Some(Self::Paused),
            _ => None,
        }
    }
}

macro_rules! modes {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(i8)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] $variant = $number,)*
        }

        impl $name {
            /// The mode that the robot spells so, in any letter case.
            #[must_use]
            pub fn named(word: &[u8]) -> Option<Self> {
                let all = [$(($word, Self::$variant),)*];
                all.into_iter().find_map(|(name, mode)| word.eq_ignore_ascii_case(name.as_bytes()).then_some(mode))
            }

            /// The robot's word for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// The number that RTDE gives for it.
            #[must_use]
            pub const fn number(self) -> i8 {
                match self {
                    $(Self::$variant => $number,)*
                }
            }
        }
    };
}

modes! {
    /// Mode of the robot; numbers are those of RTDE's `robot_mode`.
    RobotMode {
        NoController = -1 "NO_CONTROLLER",
        Disconnected = 0 "DISCONNECTED",
        ConfirmSafety = 1 "CONFIRM_SAFETY",
        Booting = 2 "BOOTING",
        PowerOff = 3 "POWER_OFF",
        PowerOn = 4 "POWER_ON",
        Idle = 5 "IDLE",
        Backdrive = 6 "BACKDRIVE",
        Running = 7 "RUNNING",
        UpdatingFirmware = 8 "UPDATING_FIRMWARE",
    }
}

modes! {
    /// Mode of the safety system; numbers are those of RTDE's `safety_mode`.
    SafetyMode {
        Normal = 1 "NORMAL",
        Reduced = 2 "REDUCED",
        ProtectiveStop = 3 "PROTECTIVE_STOP",
        Recovery = 4 "RECOVERY",
        SafeguardStop = 5 "SAFEGUARD_STOP",
        SystemEmergencyStop = 6 "SYSTEM_EMERGENCY_STOP",
        RobotEmergencyStop = 7 "ROBOT_EMERGENCY_STOP",
        Violation = 8 "VIOLATION",
        Fault = 9 "FAULT",
        ValidateJointId = 10 "VALIDATE_JOINT_ID",
        Undefined = 11 "UNDEFINED_SAFETY_MODE",
        AutomaticModeSafeguardStop = 12 "AUTOMATIC_MODE_SAFEGUARD_STOP",
        SystemThreePositionEnablingStop = 13 "SYSTEM_THREE_POSITION_ENABLING_STOP",
        PendantThreePositionEnablingStop = 14 "TP_THREE_POSITION_ENABLING_STOP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(text: &'a str, asked: &str) -> Reply<'a> {
        Reply::read(text.as_bytes(), Verb::named(asked))
    }

    #[test]
    fn replies_that_tell_state() {
        assert_eq!(read("Connected: Universal Robots Dashboard Server", ""), Reply::Greeting);
        assert_eq!(read("Robotmode: POWER_OFF", "robotmode"), Reply::RobotMode(RobotMode::PowerOff));
        assert_eq!(read("Safetystatus: PROTECTIVE_STOP", ""), Reply::SafetyMode(SafetyMode::ProtectiveStop));
        assert_eq!(read("Program running: false", ""), Reply::Running(false));
        assert_eq!(read("Robot running: True", ""), Reply::Running(true));
        let playing = Reply::ProgramState { state: ProgramState::Playing, program: b"pick v4.urp" };
        assert_eq!(read("PLAYING pick v4.urp", "programstate"), playing);
        assert_eq!(read("Loaded program: /programs/x.urp", ""), Reply::LoadedProgram(Some(b"/programs/x.urp")));
        assert_eq!(read("Robotmode: SINGING", ""), Reply::Other(b"Robotmode: SINGING"));
        assert_eq!(RobotMode::Running.number(), 7);
    }

    #[test]
    fn bare_words_need_their_command() {
        assert_eq!(read("true", "is in remote control"), Reply::RemoteControl(true));
        assert_eq!(read("true", "isprogramsaved"), Reply::Other(b"true"));
        assert_eq!(read("true", ""), Reply::Other(b"true"));
        let version = "URSoftware 5.12.3.1101319 (Mar 17 2022)";
        assert_eq!(read(version, "polyscopeversion"), Reply::Version { major: 5, minor: 12, bugfix: 3 });
        assert_eq!(read(version, "get variable"), Reply::Other(version.as_bytes()));
        for odd in ["URSoftware", "URSoftware 5", "URSoftware 5.12", "URSoftware x.1.2", "URSoftware 99999999999.1.2"] {
            assert_eq!(read(odd, "polyscopeversion"), Reply::Other(odd.as_bytes()));
        }
        assert_eq!(read("MANUAL", "get operational mode"), Reply::OperationalMode(b"MANUAL"));
    }

    #[test]
    fn a_line_is_cut_at_its_end() {
        let Ok(Step::Whole { unit, len }) = Reply::step(b"Robotmode: IDLE\r\nStopped\n") else { unreachable!() };
        assert_eq!((unit, len), (Reply::RobotMode(RobotMode::Idle), 17));
        assert_eq!(Reply::step(b"Robotmode"), Ok(Step::Partial { needed: 10 }));
        assert!(Reply::step(&[b'a'; MAX_REPLY]).is_err());
    }
}

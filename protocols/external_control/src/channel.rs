use crate::record::MAX_FIELDS;

/// Which of the sockets a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Channel {
    /// What the arm does now: `Motion`.
    Reverse = 1,
    /// The program itself, as text, each time the robot asks for it.
    Script = 2,
    /// Points of a motion to come: `Point`.
    Trajectory = 3,
    /// Settings and modes: `Order`.
    ScriptCommand = 4,
}

impl Channel {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 4] = [Self::Reverse, Self::Script, Self::Trajectory, Self::ScriptCommand];

    /// Its TCP port on the computer, where nobody configured another one.
    /// Source: the library, `UrDriverConfiguration`.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Reverse => 50001,
            Self::Script => 50002,
            Self::Trajectory => 50003,
            Self::ScriptCommand => 50004,
        }
    }

    /// Integers a record, in the program that the library brings; none where text flows.
    /// Source: the library; programs of one's own may read other numbers.
    #[must_use]
    pub const fn fields(self) -> Option<usize> {
        Some(match self {
            Self::Reverse => 8,
            Self::Script => return None,
            Self::Trajectory => 21,
            Self::ScriptCommand => MAX_FIELDS,
        })
    }

    /// The word for it in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reverse => "reverse",
            Self::Script => "script",
            Self::Trajectory => "trajectory",
            Self::ScriptCommand => "command",
        }
    }

    /// The channel with this number, as `as u8` gives it.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| *channel as u8 == number)
    }
}

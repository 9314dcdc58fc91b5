use crate::record::MAX_FIELDS;

/// Which of the sockets a stream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// What the arm does now: `Motion`.
    Reverse,
    /// Points of a motion to come: `Point`.
    Trajectory,
    /// Settings and modes: `Order`.
    ScriptCommand,
}

impl Channel {
    /// The channel with this TCP port of the computer, where nobody configured other ones; 50002 carries text.
    /// Source: the library, `UrDriverConfiguration`.
    #[must_use]
    pub const fn of_port(port: u16) -> Option<Self> {
        Some(match port {
            50001 => Self::Reverse,
            50003 => Self::Trajectory,
            50004 => Self::ScriptCommand,
            _ => return None,
        })
    }

    /// Integers a record, in the program that the library brings.
    /// Source: the library; programs of one's own may read other numbers.
    #[must_use]
    pub const fn fields(self) -> usize {
        match self {
            Self::Reverse => 8,
            Self::Trajectory => 21,
            Self::ScriptCommand => MAX_FIELDS,
        }
    }
}

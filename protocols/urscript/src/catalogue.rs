use crate::table::{FAMILIES, FUNCTIONS};

/// What a built-in function does. Source: the script manual's chapters, README.md for the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// Moves the arm, or sets how it moves.
    Motion,
    /// Force control, freedrive, contact.
    Force,
    /// Tool centre point, payload, gravity and other values that safety depends on.
    SafetyConfig,
    /// Writes outputs and registers.
    IoWrite,
    /// Changes what inputs and outputs do, beyond the end of the program.
    IoBehaviour,
    /// Opens or uses a connection from the robot.
    Network,
    /// Controls threads and programs, shows texts.
    ProgramControl,
    /// `powerdown`, `protective_stop`.
    System,
    /// Changes the world model.
    WorldModel,
    /// Reads and computes.
    ReadMath,
    /// In no table and not defined in the unit.
    Unknown,
    /// Defined by the unit itself (`def`, `sec`, `thread`) and in no table.
    Local,
}

impl Category {
    /// Every category, in the order of its declaration.
    pub const ALL: [Self; 12] = [
        Self::Motion,
        Self::Force,
        Self::SafetyConfig,
        Self::IoWrite,
        Self::IoBehaviour,
        Self::Network,
        Self::ProgramControl,
        Self::System,
        Self::WorldModel,
        Self::ReadMath,
        Self::Unknown,
        Self::Local,
    ];

    /// Its name in policies and records: lower case, snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Motion => "motion",
            Self::Force => "force",
            Self::SafetyConfig => "safety_config",
            Self::IoWrite => "io_write",
            Self::IoBehaviour => "io_behaviour",
            Self::Network => "network",
            Self::ProgramControl => "program_control",
            Self::System => "system",
            Self::WorldModel => "world_model",
            Self::ReadMath => "read_math",
            Self::Unknown => "unknown",
            Self::Local => "local",
        }
    }

    /// The category of a built-in function, [`Category::Unknown`] if it is in no table.
    ///
    /// A function that only reads is known by its whole name. Some families that act are also known by how their
    /// names begin, so that a member missing in the table is still what its family is.
    ///
    /// Cost: a binary search.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let family = || FAMILIES.iter().find(|(start, _)| name.starts_with(start.as_bytes()));
        Self::built_in(name).or_else(|| family().map(|(_, category)| *category)).unwrap_or(Self::Unknown)
    }

    /// The category of a function that is in the table by its whole name.
    pub(crate) fn built_in(name: &[u8]) -> Option<Self> {
        let index = FUNCTIONS.binary_search_by(|(function, _)| function.as_bytes().cmp(name)).ok()?;
        FUNCTIONS.get(index).map(|(_, category)| *category)
    }

    /// Every built-in function with its category, sorted by name.
    #[must_use]
    pub const fn functions() -> &'static [(&'static str, Self)] {
        FUNCTIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(FUNCTIONS.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0)));
        assert!(FUNCTIONS.len() > 250, "{}", FUNCTIONS.len());
        for (name, category) in FUNCTIONS {
            assert_eq!(Category::of(name.as_bytes()), *category);
            assert!(!matches!(category, Category::Unknown | Category::Local));
        }
    }

    #[test]
    fn families_never_read() {
        assert!(FAMILIES.iter().all(|(_, category)| *category != Category::ReadMath));
        assert_eq!(Category::of(b"socket_send_frobs"), Category::Network);
        assert_eq!(Category::of(b"get_frobs"), Category::Unknown);
        assert_eq!(Category::of(b"MoveJ"), Category::Unknown);
        assert_eq!(Category::of(b""), Category::Unknown);
    }
}

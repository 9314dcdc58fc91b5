/// What a function of the catalogue does. Source: facts on URScript's function groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "skeleton")]
pub enum Category {
    Motion,
    Force,
    SafetyConfig,
    IoWrite,
    IoBehaviour,
    Network,
    ProgramControl,
    /// `powerdown`, `protective_stop`.
    System,
    WorldModel,
    ReadMath,
    /// In no table and not defined in the unit.
    Unknown,
    /// Defined by the unit itself (`def`, `thread`).
    Local,
}

impl Category {
    /// The category of a built-in function, [`Category::Unknown`] if it is in no table.
    #[must_use]
    pub fn of(name: &[u8]) -> Self {
        let _ = name;
        Self::Unknown
    }
}

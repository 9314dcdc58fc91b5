/// What a command does to the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "skeleton")]
pub enum Class {
    /// Reads, changes nothing.
    Read,
    /// Ends or begins a session: `quit`.
    Session,
    /// Shows or writes texts for people: popup, addToLog.
    Interface,
    /// Makes files: saveLog, reports.
    File,
    /// Loads a program.
    Program,
    /// Starts motion: play.
    Motion,
    /// Stop direction: stop, pause, power off.
    Stop,
    /// Power on, brakes, protective stop, safety, installation, operational mode.
    Safety,
    /// User roles.
    Privilege,
    /// Shuts the controller down.
    Shutdown,
}

/// What may follow a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "skeleton")]
pub enum Argument {
    None,
    Path,
    Text,
    OneOf(&'static [&'static str]),
}

/// One row of the command table.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Lower case, single blanks: `"unlock protective stop"`.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// What may follow.
    pub argument: Argument,
}

impl Verb {
    /// All rows, sorted by name.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &[]
    }

    /// The row called `name` (lower case, single blanks).
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().iter().find(|verb| verb.name == name)
    }
}

use crate::table::TABLE;

/// What a command does to the robot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reads, changes nothing.
    Read,
    /// Ends a session: `quit`.
    Session,
    /// Shows or writes texts for people: `popup`, `addToLog`.
    Interface,
    /// Makes files and keeps the controller busy: `saveLog`, reports.
    File,
    /// Loads a program.
    Program,
    /// Starts motion: `play`.
    Motion,
    /// Stop direction: `stop`, `pause`, `power off`.
    Stop,
    /// Power on, brakes, protective stop, safety, installation, operational mode.
    Safety,
    /// User roles.
    Privilege,
    /// Shuts the controller down.
    Shutdown,
}

impl Class {
    /// Every class, in the order of its declaration.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Session,
        Self::Interface,
        Self::File,
        Self::Program,
        Self::Motion,
        Self::Stop,
        Self::Safety,
        Self::Privilege,
        Self::Shutdown,
    ];

    /// Its name in policies and records: lower case, snake case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Session => "session",
            Self::Interface => "interface",
            Self::File => "file",
            Self::Program => "program",
            Self::Motion => "motion",
            Self::Stop => "stop",
            Self::Safety => "safety",
            Self::Privilege => "privilege",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What follows a verb; what is asked for must be there, and nothing else may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Argument {
    /// Nothing.
    None,
    /// A file or folder on the controller: letters, digits and `/ . _ - + , @ = :` and single blanks; it does not begin
    /// with `-` and has no component `..`.
    Path,
    /// Text for people: printable, without the characters that end, join or substitute commands in a shell.
    Text,
    /// The name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
    Name,
    /// One of these words, in any case.
    OneOf(&'static [&'static str]),
}

/// What the robot's reply says about the command it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The reply is one that the command gives when it was executed.
    Executed,
    /// The reply is one that the command gives when it was not executed.
    Failed,
    /// The reply is in no table.
    Unknown,
}

/// One row of the command table.
///
/// Source: Universal Robots, "Dashboard Server", and README.md for the rows that could not be confirmed.
#[derive(Debug, PartialEq, Eq)]
pub struct Verb {
    /// Lower case, single blanks: `"unlock protective stop"`.
    pub name: &'static str,
    /// Its class.
    pub class: Class,
    /// What follows it.
    pub argument: Argument,
    /// How a reply begins where the command was executed; letter case does not count.
    pub replies: &'static [&'static str],
    /// How a reply begins where it was not executed, beside the general ones of [`Verb::outcome`].
    pub failures: &'static [&'static str],
    /// The answer that stands in for the robot's own where the command is refused: `{}` stands for the argument.
    pub failure: &'static str,
}

impl Verb {
    /// All rows, sorted by name.
    #[must_use]
    pub const fn all() -> &'static [Self] {
        TABLE
    }

    /// The row called `name` (lower case, single blanks).
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        let row = TABLE.binary_search_by(|verb| verb.name.cmp(name)).ok()?;
        TABLE.get(row)
    }

    /// The name of its class, as in policies and records.
    #[must_use]
    pub const fn class_name(&self) -> &'static str {
        self.class.name()
    }

    /// What `reply` (without its line end) says about this command.
    #[must_use]
    pub fn outcome(&self, reply: &[u8]) -> Outcome {
        const GENERAL: &[&str] = &[
            "failed to execute",
            "could not understand",
            "command is not allowed",
            "not in remote control",
            "file not found",
            "failed",
            "error",
        ];
        let begins = |patterns: &[&str]| patterns.iter().any(|pattern| starts_with(reply, pattern));
        if begins(self.failures) {
            Outcome::Failed
        } else if begins(self.replies) {
            Outcome::Executed
        } else if begins(GENERAL) {
            Outcome::Failed
        } else {
            Outcome::Unknown
        }
    }
}

/// Whether `text` begins with `pattern`, whatever the case of its letters.
pub(crate) fn starts_with(text: &[u8], pattern: &str) -> bool {
    strip(text, pattern).is_some()
}

/// What follows `pattern` at the start of `text`.
pub(crate) fn strip<'a>(text: &'a [u8], pattern: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(pattern.len())?;
    start.eq_ignore_ascii_case(pattern.as_bytes()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_normalised_and_found() {
        assert!(Verb::all().windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name)));
        for verb in Verb::all() {
            assert_eq!(Verb::named(verb.name), Some(verb));
            assert_eq!(verb.name, verb.name.to_ascii_lowercase());
            assert!(!verb.name.contains("  ") && verb.name.trim() == verb.name);
            assert!(!verb.failure.is_empty() && !verb.failure.contains('\n'));
            // The sentence that asks people to switch to remote control must never be invented.
            assert!(!verb.failure.to_ascii_lowercase().contains("switch"));
        }
        assert_eq!(Verb::named("Play"), None);
    }

    #[test]
    fn a_refused_command_reads_as_failed() {
        for verb in Verb::all() {
            assert_eq!(verb.outcome(verb.failure.as_bytes()), Outcome::Failed, "{}", verb.name);
        }
    }

    #[test]
    fn outcomes() {
        let unlock = Verb::named("unlock protective stop").unwrap();
        assert_eq!(unlock.outcome(b"Protective stop releasing"), Outcome::Executed);
        assert_eq!(unlock.outcome(b"Cannot unlock protective stop until 5s after occurrence."), Outcome::Failed);
        assert_eq!(unlock.outcome(b"hello"), Outcome::Unknown);
        let load = Verb::named("load").unwrap();
        assert_eq!(load.outcome(b"File not found: /programs/x.urp"), Outcome::Failed);
        assert_eq!(load.outcome(b"Loading program: /programs/x.urp"), Outcome::Executed);
    }

    #[test]
    fn dangerous_verbs_are_not_reads() {
        for name in ["brake release", "load installation", "restart safety", "power on", "close safety popup"] {
            assert_eq!(Verb::named(name).unwrap().class, Class::Safety, "{name}");
        }
        assert_eq!(Verb::named("shutdown").unwrap().class_name(), "shutdown");
        assert_eq!(Verb::named("setuserrole").unwrap().class_name(), "privilege");
    }
}

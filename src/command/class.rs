use std::fmt;

/// What a command does to the robot; one vocabulary for every service and both controller generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// Reads, changes nothing.
    Read,
    /// Set-up and session words of a service: protocol version, recipes, start, quit.
    Session,
    /// Texts for people: popups, log lines.
    Interface,
    /// Makes files: log, flight report, support file.
    File,
    /// Writes registers that programs read.
    Register,
    /// Writes outputs: digital, analog, tool.
    Io,
    /// Speed slider, payload, tool centre point, force and other parameters.
    Parameter,
    /// Loads or replaces a program.
    Program,
    /// Starts motion.
    Motion,
    /// Stop direction: stop, pause, power off, protective stop.
    Stop,
    /// Power on, brakes, protective stop release, safety restart, installation, operational mode.
    Safety,
    /// User roles and rights.
    Privilege,
    /// Opens connections from the robot.
    Network,
    /// Shuts the controller down or makes a device mute.
    Shutdown,
    /// Known to be a command, but of no known effect (vendor function codes, unknown names).
    Unknown,
}

impl Class {
    /// Every class, in order.
    pub const ALL: [Self; 15] = [
        Self::Read,
        Self::Session,
        Self::Interface,
        Self::File,
        Self::Register,
        Self::Io,
        Self::Parameter,
        Self::Program,
        Self::Motion,
        Self::Stop,
        Self::Safety,
        Self::Privilege,
        Self::Network,
        Self::Shutdown,
        Self::Unknown,
    ];

    /// The name in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Session => "session",
            Self::Interface => "interface",
            Self::File => "file",
            Self::Register => "register",
            Self::Io => "io",
            Self::Parameter => "parameter",
            Self::Program => "program",
            Self::Motion => "motion",
            Self::Stop => "stop",
            Self::Safety => "safety",
            Self::Privilege => "privilege",
            Self::Network => "network",
            Self::Shutdown => "shutdown",
            Self::Unknown => "unknown",
        }
    }

    /// The class called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whether learning proposes it only disabled: what releases safety, grants rights or stops the plant.
    #[must_use]
    pub const fn is_dangerous(self) -> bool {
        matches!(self, Self::Safety | Self::Privilege | Self::Shutdown)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of classes: one unit of URScript can be of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Classes(u16);

impl Classes {
    /// The set with `class` added.
    #[must_use]
    pub const fn with(self, class: Class) -> Self {
        Self(self.0 | 1 << class as u8)
    }

    /// Whether `class` is in the set.
    #[must_use]
    pub const fn contains(self, class: Class) -> bool {
        self.0 & 1 << class as u8 != 0
    }

    /// Whether every class of `other` is in this set.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether no class is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The gravest of them.
    #[inline]
    #[must_use]
    pub fn gravest(self) -> Option<Class> {
        // Nearly every command is of one class.
        if self.0.is_power_of_two() {
            return Class::ALL.get(usize::try_from(self.0.trailing_zeros()).ok()?).copied();
        }
        self.iter().max_by_key(|class| class.gravity())
    }

    /// The classes in order.
    pub fn iter(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.contains(*class))
    }
}

impl From<Class> for Classes {
    fn from(class: Class) -> Self {
        Self::default().with(class)
    }
}

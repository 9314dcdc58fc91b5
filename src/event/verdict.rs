use crate::event::Reason;

/// What is done with a unit or frame; ordered by strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// It goes on.
    Forward,
    /// A set-point goes on changed: the nearest one that the rule allows.
    Clamp,
    /// A set-point goes on changed: the arm stays where it was sent last.
    Hold,
    /// It is swallowed; the box answers for the robot where the protocol has an answer, and the connection goes on.
    Refuse,
    /// It is swallowed, the connection is reset at both ends with exact sequence numbers.
    Reset,
    /// It is swallowed, and so is everything after it on its connection.
    Drop,
}

impl Action {
    /// Its name in policies and records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Clamp => "clamp",
            Self::Hold => "hold",
            Self::Refuse => "refuse",
            Self::Reset => "reset",
            Self::Drop => "drop",
        }
    }
}

/// A rule of the policy in force, by its place in the policy file; 0 = no rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u16);

impl RuleId {
    /// No rule decided.
    pub const NONE: Self = Self(0);
}

/// What was decided, by which rule, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule that decided; for a refusal of what a rule nearly covers, that rule.
    pub rule: RuleId,
    /// Generation of the policy that decided.
    pub generation: u32,
}

impl Verdict {
    /// Whether the unit goes on.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self.action, Action::Forward)
    }
}

//! Why a command was refused, for people. Never on the packet path.

use super::Policy;
use super::rule::Body;
use super::urscript::Script;
use crate::command::Command;
use crate::event::{Reason, Verdict};

/// What a rule would have needed to read instead for a command to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest {
    /// Id of the rule that came nearest.
    pub rule: String,
    /// Its key that refused the command.
    pub key: &'static str,
    /// What the command has there.
    pub found: String,
    /// What the rule allows there.
    pub allowed: String,
}

impl Policy {
    /// How a refused command differs from the nearest allowed one; absent where no rule came near.
    #[must_use]
    pub fn nearest(&self, command: &Command<'_>, verdict: &Verdict) -> Option<Nearest> {
        let rule = self.rules.get(usize::from(verdict.rule.0).checked_sub(1)?)?;
        if rule.deny || verdict.is_allowed() {
            return None;
        }
        let moment = |key, found: &str, allowed: &str| Some((key, found.to_owned(), allowed.to_owned()));
        let (key, found, allowed) = match (verdict.reason, &rule.body, command) {
            (Reason::Expired, ..) => moment("until", "a later time", "the time until then"),
            (reason, Body::External(body), Command::External(unit)) if body.nearest(unit, reason).is_some() => {
                body.nearest(unit, reason)
            }
            (Reason::StateUnknown, ..) => moment("when", "a state not seen lately", "the states that the rule names"),
            (Reason::StateMismatch, ..) => moment("when", "another state", "the states that the rule names"),
            (Reason::RateExceeded, ..) => moment("rate", "more commands", "as many as the rule says"),
            (reason, Body::Modbus(body), Command::Modbus(request)) => body.nearest(request, reason),
            (reason, Body::Rtde(body), Command::Rtde(request)) => body.nearest(request, reason),
            (reason, Body::Dashboard(body), Command::Dashboard(line)) => body.nearest(line, reason),
            (reason, Body::UrScript(body), Command::UrScript(unit)) => body.nearest(&Script::new(unit), reason),
            _ => None,
        }?;
        Some(Nearest { rule: rule.id.clone(), key, found, allowed })
    }
}

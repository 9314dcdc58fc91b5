//! Lockdown: the policy narrowed to reads, and opened for stops. On the packet path: allocates nothing, does not panic.

use super::{Ask, Policy};
use crate::command::{Class, Classes, Command};
use crate::event::{Action, Reason, Verdict};
use crate::robot;

impl Policy {
    /// The verdict over one command while the cell is locked down.
    ///
    /// What only reads, sets up a session or stops goes on where the policy allows it. What stops goes on for everybody
    /// whom an allow rule names for the service, whatever else that rule says, unless a deny rule names it. All else is
    /// refused in the service's own way; set-points of external control are held, so that the arm comes to rest where it
    /// was sent last.
    #[must_use]
    pub fn decide_in_lockdown(&self, ask: &Ask<'_>, rates: &mut robot::Rates) -> Verdict {
        let classes = ask.command.classes();
        let quiet = Classes::from(Class::Read).with(Class::Session).with(Class::Stop);
        if !quiet.covers(classes) {
            return self.locked_down(ask);
        }
        let verdict = self.decide(ask, rates);
        if verdict.is_allowed() || !classes.contains(Class::Stop) || !is_by_rule(verdict.reason) {
            return verdict;
        }
        let admitted = self.admit(ask.client, ask.command.service(), ask.opened, ask.now_ns);
        if admitted.is_allowed() { admitted } else { verdict }
    }

    fn locked_down(&self, ask: &Ask<'_>) -> Verdict {
        let refusal = self.rules_of(ask.client).map(|own| {
            let [modbus, rtde, dashboard, urscript, external] = own.commands(ask.command.service(), ask.opened).refusal;
            match ask.command {
                Command::Modbus(_) => modbus,
                Command::Rtde(_) => rtde,
                Command::Dashboard(_) => dashboard,
                Command::UrScript(_) => urscript,
                Command::External(_) => external,
                Command::Transport(_) => Action::Drop,
            }
        });
        let verdict = self.verdict(refusal.unwrap_or(Action::Reset), Reason::LockedDown, None);
        match ask.command {
            Command::External(unit) => self.beyond(verdict, unit, ask),
            _ => verdict,
        }
    }
}

/// Whether it was refused for what a rule says or does not say, and not for what the command is.
fn is_by_rule(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoRule
            | Reason::ClassNotAllowed
            | Reason::CommandNotAllowed
            | Reason::ArgumentNotAllowed
            | Reason::KindNotAllowed
            | Reason::RateExceeded
            | Reason::StateMismatch
            | Reason::StateUnknown
            | Reason::Expired
    )
}

//! What each role may ask for over the remote API.
//!
//! An operator stops things in an incident and lets the cell work again: lockdown and enforce. The other modes let every
//! frame pass, so they are the engineer's, as are policies: who may change what is allowed may allow anything.

use crate::config::Role;
use crate::control::Request;

/// Modes in which nothing passes that the engineer's policy does not allow.
const GUARDING: [&str; 2] = ["enforce", "lockdown"];

/// Whether `role` may ask for `request`.
///
/// # Errors
/// A sentence for the one who asked.
pub(super) fn may(role: Role, request: &Request) -> Result<(), String> {
    let least = match request {
        Request::Status
        | Request::PolicyShow
        | Request::LearnStatus
        | Request::Events
        | Request::EventLines { .. }
        | Request::Patches { again: false } => return Ok(()),
        Request::Patches { again: true } => Role::Operator,
        Request::Mode { mode, .. } if GUARDING.contains(&mode.as_str()) => Role::Operator,
        Request::Mode { .. }
        | Request::PolicyApply { .. }
        | Request::PolicyRollback
        | Request::LearnStart
        | Request::LearnStop => Role::Engineer,
        Request::Denied { .. } => return Err("only the management process tells who was refused".to_owned()),
    };
    // An auditor looks and changes nothing.
    let fine = match least {
        Role::Operator => matches!(role, Role::Operator | Role::Engineer),
        _ => role == Role::Engineer,
    };
    if fine {
        return Ok(());
    }
    Err(format!("your role is {}; this takes the role {}", role.name(), least.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_what_it_is_for() {
        let mode = |mode: &str| Request::Mode { mode: mode.into(), for_seconds: None };
        let apply = Request::PolicyApply { text: String::new(), name: String::new() };
        let lines = Request::EventLines { after: String::new(), wait: false };
        // Viewer, auditor, operator, engineer.
        for (request, wanted) in [
            (Request::Status, [true; 4]),
            (Request::PolicyShow, [true; 4]),
            (lines, [true; 4]),
            (Request::Patches { again: false }, [true; 4]),
            (Request::Patches { again: true }, [false, false, true, true]),
            (mode("lockdown"), [false, false, true, true]),
            (mode("enforce"), [false, false, true, true]),
            (mode("shadow"), [false, false, false, true]),
            (mode("observe"), [false, false, false, true]),
            (mode("learn"), [false, false, false, true]),
            (mode("nonsense"), [false, false, false, true]),
            (apply, [false, false, false, true]),
            (Request::PolicyRollback, [false, false, false, true]),
            (Request::LearnStart, [false, false, false, true]),
            (Request::LearnStop, [false, false, false, true]),
            (Request::Denied { what: String::new(), why: String::new() }, [false; 4]),
        ] {
            let found = Role::NAMED.map(|(_, role)| may(role, &request).is_ok());
            assert_eq!(found, wanted, "{request:?}");
        }
        let told = may(Role::Viewer, &mode("lockdown")).unwrap_err();
        assert_eq!(told, "your role is viewer; this takes the role operator");
    }
}

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
    if role == Role::Witness || matches!(request, Request::Witness { .. }) {
        let fine = role == Role::Witness && matches!(request, Request::Witness { .. });
        let why = "the role witness pushes checkpoints and does nothing else, and no other role does";
        return if fine { Ok(()) } else { Err(why.to_owned()) };
    }
    let least = match request {
        Request::Status
        | Request::PolicyShow
        | Request::LearnStatus
        | Request::Events
        | Request::EventLines { .. }
        | Request::UpdateStatus
        | Request::Patches { again: false } => return Ok(()),
        Request::Patches { again: true } | Request::KeepFrames | Request::Bypass { for_seconds: None } => {
            Role::Operator
        }
        Request::Bypass { .. } => Role::Engineer,
        Request::Mode { mode, .. } if GUARDING.contains(&mode.as_str()) => Role::Operator,
        Request::Mode { .. }
        | Request::PolicyApply { .. }
        | Request::PolicyRollback
        // The configuration says who may come in from where.
        | Request::Diagnostics
        | Request::LearnStart
        | Request::LearnStop => Role::Engineer,
        // Who may change what runs may change what is allowed.
        Request::UpdatePart { .. } | Request::Update { .. } => Role::Engineer,
        // Frames hold what people type and what a cell makes.
        Request::Capture { .. } => Role::Engineer,
        Request::EvidenceFiles { .. } | Request::EvidencePart { .. } => Role::Auditor,
        Request::Witness { .. } | Request::Denied { .. } | Request::Given { .. } | Request::Troubles { .. } => {
            return Err("only the management process tells what became of others".to_owned());
        }
        Request::UpdateStep(_) => return Err("only the box's updater tells of its steps".to_owned()),
    };
    // An auditor looks and changes nothing.
    let fine = match least {
        Role::Operator => matches!(role, Role::Operator | Role::Engineer),
        Role::Auditor => matches!(role, Role::Auditor | Role::Engineer),
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
    use crate::control::{UpdateOrder, UpdateStep};

    #[test]
    fn each_role_may_what_it_is_for() {
        let mode = |mode: &str| Request::Mode { mode: mode.into(), for_seconds: None };
        let apply = Request::PolicyApply { text: String::new(), name: String::new() };
        let lines = Request::EventLines { after: String::new(), wait: false };
        // Viewer, auditor, operator, engineer, witness.
        for (request, wanted) in [
            (Request::Status, [true, true, true, true, false]),
            (Request::PolicyShow, [true, true, true, true, false]),
            (lines, [true, true, true, true, false]),
            (Request::Patches { again: false }, [true, true, true, true, false]),
            (Request::Patches { again: true }, [false, false, true, true, false]),
            (Request::KeepFrames, [false, false, true, true, false]),
            (Request::Bypass { for_seconds: None }, [false, false, true, true, false]),
            (Request::Bypass { for_seconds: Some(60) }, [false, false, false, true, false]),
            (mode("lockdown"), [false, false, true, true, false]),
            (mode("enforce"), [false, false, true, true, false]),
            (mode("shadow"), [false, false, false, true, false]),
            (mode("observe"), [false, false, false, true, false]),
            (mode("learn"), [false, false, false, true, false]),
            (mode("nonsense"), [false, false, false, true, false]),
            (apply, [false, false, false, true, false]),
            (Request::Diagnostics, [false, false, false, true, false]),
            (Request::PolicyRollback, [false, false, false, true, false]),
            (Request::LearnStart, [false, false, false, true, false]),
            (Request::LearnStop, [false, false, false, true, false]),
            (Request::Capture { only_dropped: true, snap: 64 }, [false, false, false, true, false]),
            (Request::UpdateStatus, [true, true, true, true, false]),
            (Request::UpdatePart { from: 0, base64: String::new() }, [false, false, false, true, false]),
            (Request::Update { order: UpdateOrder::Apply, now: false }, [false, false, false, true, false]),
            (Request::Update { order: UpdateOrder::Rollback, now: true }, [false, false, false, true, false]),
            (Request::UpdateStep(UpdateStep::default()), [false; 5]),
            (Request::EvidenceFiles { after: 0 }, [false, true, false, true, false]),
            (Request::EvidencePart { file: String::new(), from: 0 }, [false, true, false, true, false]),
            (Request::Denied { what: String::new(), why: String::new() }, [false; 5]),
            (Request::Given { what: String::new() }, [false; 5]),
            (Request::Troubles { sentences: Vec::new() }, [false; 5]),
            (Request::Witness { checkpoint: String::new() }, [false, false, false, false, true]),
        ] {
            let found = Role::NAMED.map(|(_, role)| may(role, &request).is_ok());
            assert_eq!(found, wanted, "{request:?}");
        }
        let told = may(Role::Viewer, &mode("lockdown")).unwrap_err();
        assert_eq!(told, "your role is viewer; this takes the role operator");
    }
}

//! The manual: what the box promises, against whom, and why it is built as it is.
//!
//! Chapters are files beside this one, so that they read as well in an editor as here.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("gate.md")]
pub mod gate {}

#[doc = include_str!("threat-model.md")]
pub mod threat_model {}

#[doc = include_str!("asking-a-policy.md")]
pub mod asking_a_policy {}

#[doc = include_str!("external-control.md")]
pub mod external_control {}

#[doc = include_str!("policy-rtde-and-modbus.md")]
pub mod policy_rtde_and_modbus {}

#[doc = include_str!("reasons.md")]
pub mod reasons {}

#[doc = include_str!("script-bounds.md")]
pub mod script_bounds {}

#[doc = include_str!("unconfirmed-facts.md")]
pub mod unconfirmed_facts {}

#[doc = include_str!("eve-events.md")]
pub mod eve_events {}

/// Decisions that shaped the code, each with what was given up for it.
pub mod decisions {
    #[doc = include_str!("decisions/0001-the-gate-asks-a-judge.md")]
    pub mod d0001_the_gate_asks_a_judge {}

    #[doc = include_str!("decisions/0002-the-learner-is-a-second-engine.md")]
    pub mod d0002_the_learner_is_a_second_engine {}

    #[doc = include_str!("decisions/0003-sockets-and-state-are-the-supervisors.md")]
    pub mod d0003_sockets_and_state_are_the_supervisors {}

    #[doc = include_str!("decisions/0004-refuse-reset-or-drop.md")]
    pub mod d0004_refuse_reset_or_drop {}

    #[doc = include_str!("decisions/0005-rooms-beside-the-plan.md")]
    pub mod d0005_rooms_beside_the_plan {}

    #[doc = include_str!("decisions/0006-splice-is-a-proxy-in-both-directions.md")]
    pub mod d0006_splice_is_a_proxy_in_both_directions {}

    #[doc = include_str!("decisions/0007-one-word-says-what-is-torn.md")]
    pub mod d0007_one_word_says_what_is_torn {}

    #[doc = include_str!("decisions/0008-set-points-are-judged-by-the-nearest-inside.md")]
    pub mod d0008_set_points_are_judged_by_the_nearest_inside {}
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::event::Reason;

    fn reasons() -> String {
        let mut text = String::from(
            "# Reasons\n\nWhy something was forwarded or refused, as it stands in every record. The list is closed and \
             part of the contract: a name never changes its meaning.\n\n| name | meaning |\n|---|---|\n",
        );
        for reason in Reason::ALL {
            text += &format!("| `{}` | {} |\n", reason.name(), reason.sentence());
        }
        text
    }

    /// With `VAMBRACE_WRITE_MANUAL` set the chapter is written anew instead.
    #[test]
    fn the_chapter_of_reasons_is_in_step_with_the_code() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual/reasons.md");
        if std::env::var_os("VAMBRACE_WRITE_MANUAL").is_some() {
            std::fs::write(&path, reasons()).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            reasons(),
            "run `VAMBRACE_WRITE_MANUAL=1 cargo test --lib manual` and read what changed"
        );
    }

    #[test]
    fn every_chapter_is_in_the_documentation() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manual");
        for (folder, prefix) in [(directory.clone(), ""), (directory.join("decisions"), "decisions/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".md") {
                    let wanted = format!("include_str!(\"{prefix}{name}\")");
                    assert!(include_str!("mod.rs").contains(&wanted), "{prefix}{name} is in no module");
                }
            }
        }
    }
}

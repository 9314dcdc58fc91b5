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

#[doc = include_str!("robots-own-connections.md")]
pub mod robots_own_connections {}

#[doc = include_str!("learning.md")]
pub mod learning {}

#[doc = include_str!("guards.md")]
pub mod guards {}

#[doc = include_str!("policy-rtde-and-modbus.md")]
pub mod policy_rtde_and_modbus {}

#[doc = include_str!("fmea.md")]
pub mod fmea {}

#[doc = include_str!("security-features.md")]
pub mod security_features {}

#[doc = include_str!("protocol-facts.md")]
pub mod protocol_facts {}

#[doc = include_str!("reasons.md")]
pub mod reasons {}

#[doc = include_str!("script-bounds.md")]
pub mod script_bounds {}

#[doc = include_str!("unconfirmed-facts.md")]
pub mod unconfirmed_facts {}

#[doc = include_str!("eve-events.md")]
pub mod eve_events {}

#[doc = include_str!("evidence-format.md")]
pub mod evidence_format {}

#[doc = include_str!("evidence-keys.md")]
pub mod evidence_keys {}

#[doc = include_str!("whose-jitter.md")]
pub mod whose_jitter {}

#[doc = include_str!("forensics.md")]
pub mod forensics {}

#[doc = include_str!("wireshark.md")]
pub mod wireshark {}

#[doc = include_str!("known-attacks.md")]
pub mod known_attacks {}

#[doc = include_str!("console.md")]
pub mod console {}

#[doc = include_str!("service-units.md")]
pub mod service_units {}

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

    #[doc = include_str!("decisions/0009-the-robots-own-commands-are-judged-in-a-mirror.md")]
    pub mod d0009_the_robots_own_commands_are_judged_in_a_mirror {}

    #[doc = include_str!("decisions/0010-verdicts-are-judged-again-from-records.md")]
    pub mod d0010_verdicts_are_judged_again_from_records {}

    #[doc = include_str!("decisions/0011-the-console-reads-event-files.md")]
    pub mod d0011_the_console_reads_event_files {}

    #[doc = include_str!("decisions/0012-frames-around-a-refusal.md")]
    pub mod d0012_frames_around_a_refusal {}

    #[doc = include_str!("decisions/0013-evidence-is-sealed-block-by-block.md")]
    pub mod d0013_evidence_is_sealed_block_by_block {}

    #[doc = include_str!("decisions/0014-evidence-is-fetched-by-parts.md")]
    pub mod d0014_evidence_is_fetched_by_parts {}

    #[doc = include_str!("decisions/0015-measurements-are-a-room.md")]
    pub mod d0015_measurements_are_a_room {}

    #[doc = include_str!("decisions/0016-one-owner-of-the-wire.md")]
    pub mod d0016_one_owner_of_the_wire {}

    #[doc = include_str!("decisions/0017-a-stop-is-proposed-unseen.md")]
    pub mod d0017_a_stop_is_proposed_unseen {}

    #[doc = include_str!("decisions/0018-the-packet-path-looks-once.md")]
    pub mod d0018_the_packet_path_looks_once {}

    #[doc = include_str!("decisions/0019-an-update-is-tried-once.md")]
    pub mod d0019_an_update_is_tried_once {}

    #[doc = include_str!("decisions/0020-who-sees-the-screen-owns-the-box.md")]
    pub mod d0020_who_sees_the_screen_owns_the_box {}

    #[doc = include_str!("decisions/0021-one-worker-for-one-robot.md")]
    pub mod d0021_one_worker_for_one_robot {}

    #[doc = include_str!("decisions/0022-busy-unless-asked.md")]
    pub mod d0022_busy_unless_asked {}

    #[doc = include_str!("decisions/0025-what-a-box-keeps-is-the-tpms.md")]
    pub mod d0025_what_a_box_keeps_is_the_tpms {}

    #[doc = include_str!("decisions/0028-a-unit-is-judged-when-it-leaves.md")]
    pub mod d0028_a_unit_is_judged_when_it_leaves {}

    #[doc = include_str!("decisions/0029-no-pass-in-the-kernel.md")]
    pub mod d0029_no_pass_in_the_kernel {}
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::event::Reason;
    use crate::patches::{Contained, Pack};

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

    /// The test of each entry, in the file of its name in `tests/known_attacks`.
    const TESTS: [(&str, &str); 16] = [
        ("RVD-6", "stack_overflow_of_the_modbus_service"),
        ("RVD-15", "somebody_in_the_middle_by_arp"),
        ("CVE-2018-10633", "root_by_known_passwords_and_long_ones"),
        ("CVE-2018-10635", "urscript_of_anybody"),
        ("CVE-2016-6515", "root_by_known_passwords_and_long_ones"),
        ("RVD-1406", "shell_of_the_plug_in_framework"),
        ("CVE-2017-3731", "truncated_records_of_tls"),
        ("CVE-2020-10265", "dashboard_of_anybody"),
        ("CVE-2020-10264", "rtde_of_anybody"),
        ("CVE-2020-10266", "files_in_and_connections_out"),
        ("CVE-2016-0634", "a_login_for_the_shell"),
        ("CVE-2020-10267", "files_in_and_connections_out"),
        ("CVE-2020-10290", "files_in_and_connections_out"),
        ("CVE-2016-8619", "files_in_and_connections_out"),
        ("unzip-zipimport", "files_in_and_connections_out"),
        ("CVE-2026-8153", "shell_commands_in_dashboard_lines"),
    ];

    fn attacks() -> String {
        let pack = Pack::built_in();
        let mut text = format!(
            "| entry | also | what | versions | contained | by | what stays open | ATT&CK for ICS {} | test |\n\
             |---|---|---|---|---|---|---|---|---|\n",
            pack.attack()
        );
        for patch in pack.patches() {
            let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
            let others = patch.cve.iter().filter(|cve| **cve != patch.id).cloned();
            let rvd = patch.rvd.iter().map(|number| format!("RVD-{number}")).filter(|name| *name != patch.id);
            let also = or(others.chain(rvd).collect::<Vec<_>>().join(", "), "-");
            let how = patch.how.iter().map(|how| how.name()).collect::<Vec<_>>().join(", ");
            let contained = if patch.is_of_controllers() { patch.contained.name() } else { "not applicable" };
            let open = patch.open.clone().filter(|_| patch.contained != Contained::No);
            let open = open.unwrap_or_else(|| patch.because.clone());
            let test =
                TESTS.iter().find(|(id, _)| *id == patch.id).map_or("-".to_owned(), |(_, test)| format!("`{test}`"));
            text += &format!(
                "| {} | {also} | {} | {} | {contained} | {} | {open} | {} | {test} |\n",
                patch.id,
                patch.title,
                or(patch.affected(), "none"),
                or(how, "-"),
                or(patch.techniques.join(", "), "-"),
            );
        }
        text
    }

    /// With `VAMBRACE_WRITE_MANUAL` set the table is written anew instead.
    #[test]
    fn the_chapter_of_known_attacks_is_in_step_with_the_pack() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("src/manual/known-attacks.md");
        let chapter = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = chapter.split_once("| entry |").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        let wanted = format!("{before}{}\n{after}", attacks());
        if std::env::var_os("VAMBRACE_WRITE_MANUAL").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        let chapter = std::fs::read_to_string(&path).unwrap();
        assert_eq!(chapter, wanted, "run `VAMBRACE_WRITE_MANUAL=1 cargo test --lib manual` and read what changed");
        for (id, test) in TESTS {
            let file = root.join(format!("tests/known_attacks/{test}.rs"));
            let text = std::fs::read_to_string(file).unwrap_or_default();
            assert!(text.contains(&format!("fn {test}()")), "{id} has no test {test}");
            assert!(text.starts_with("//! "), "{test} does not say where the attack was published");
        }
        let pack = Pack::built_in();
        for patch in pack.patches() {
            let named = TESTS.iter().any(|(id, _)| *id == patch.id);
            assert_eq!(named, patch.contained != Contained::No, "{}: what is contained is tested", patch.id);
        }
        let count =
            |contained| pack.patches().iter().filter(|it| it.is_of_controllers() && it.contained == contained).count();
        let [yes, partly, no] = [Contained::Yes, Contained::Partly, Contained::No].map(count);
        let sentence = format!("{yes} are contained, {partly} partly, {no} not");
        assert!(chapter.contains(&sentence), "the chapter does not say: {sentence}");
        let model = std::fs::read_to_string(root.join("src/manual/threat-model.md")).unwrap();
        assert!(
            model.contains(&format!("refusing what no rule allows | {yes} |")),
            "the threat model counts otherwise"
        );
        assert!(model.contains(&format!("in what follows | {partly} |")), "the threat model counts otherwise");
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

//! CVE-2026-8153 (NVD, advisory of the maker, May 2026): OS commands in a line to the Dashboard of PolyScope 5 before
//! 5.25.1. Which command was not published: every verb with every character that a shell interprets.

use vambrace::event::Reason;

use crate::{Guard, PANEL, WIDE};

#[test]
fn shell_commands_in_dashboard_lines() {
    let verbs: Vec<&str> = dashboard::Verb::all().iter().map(|verb| verb.name).collect();
    assert!(verbs.len() > 30, "{verbs:?}");
    let wide = Guard::new(WIDE, None);
    for injected in ["; id", "|id", "& id", "`id`", "$(id)", "$HOME", "> x", "< x", "\\x", "\"x\"", "'x'", "(id)"] {
        for verb in &verbs {
            let line = format!("{verb} x{injected}\n");
            wide.refuses(PANEL, 29_999, line.as_bytes(), Reason::ShellMetacharacter);
        }
    }
    for line in ["load --help\n", "load ../../etc/passwd\n", "play\rid\n", "load\tx.urp\n", "get variable x y\n"] {
        wide.refuses(PANEL, 29_999, line.as_bytes(), Reason::Malformed);
    }
    wide.refuses(PANEL, 29_999, b"exec id\n", Reason::ClassNotAllowed);
    wide.passes(PANEL, 29_999, b"load /programs/cell 4/pick_v4.urp\n");
    wide.passes(PANEL, 29_999, b"popup Part missing, check feeder 2\n");
}

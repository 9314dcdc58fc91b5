//! What is written beside the code is in step with it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::path::Path;

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn the_sample_configuration_is_the_programs_own() {
    assert!(
        text("appliance-image/vambrace.toml") == vambrace::config::SAMPLE,
        "write it anew: vambrace config defaults > appliance-image/vambrace.toml"
    );
}

/// What stands between backquotes or behind `](` and looks like a path of this project.
fn named_paths(document: &str) -> Vec<&str> {
    const TOP: [&str; 5] = ["src/", "tests/", "protocols/", "appliance-image/", ".ci/"];
    document
        .split(['`', '(', ')', ' ', '\n'])
        .filter(|word| TOP.iter().any(|top| word.starts_with(top)) && !word.contains(['*', '<']))
        .map(|word| word.trim_end_matches([',', '.', ';', ':']))
        .collect()
}

#[test]
fn documents_name_files_that_exist() {
    assert_eq!(named_paths("see `src/a.rs`, [b](tests/b.md) and tests/c."), ["src/a.rs", "tests/b.md", "tests/c"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["README.md", "CHANGELOG.md", "src/manual/architecture.md", "src/manual/gate.md"] {
        for path in named_paths(&text(document)) {
            assert!(root.join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
}

#[test]
fn documents_name_tests_that_exist() {
    for document in ["README.md", "src/manual/gate.md"] {
        for name in text(document).split('`').filter(|word| word.starts_with("gate::tests::")) {
            // A file of tests, or a test in one.
            let mut parts = name.split("::").skip(2);
            let file = text(&format!("src/gate/tests/{}.rs", parts.next().unwrap()));
            assert!(parts.all(|test| file.contains(&format!("fn {test}("))), "{document} names {name}");
        }
    }
}

#[test]
fn the_readme_has_a_row_for_every_promise() {
    let readme = text("README.md");
    for number in 1..=20 {
        let row = readme.lines().find(|line| line.starts_with(&format!("| S{number} |")));
        let cells = row.map_or(0, |row| row.split('|').count());
        assert_eq!(cells, 7, "S{number}: a row has id, promise, figure, measured, held by");
    }
}

/// Service managers don't run in tests, so at least no word of the unit names a path that the sample configuration
/// doesn't write to.
#[test]
fn the_service_may_write_where_the_sample_configuration_writes() {
    let unit = text("appliance-image/vambrace.service");
    let sample = text("appliance-image/vambrace.toml");
    for (place, directive) in [
        ("/var/lib/vambrace/", "StateDirectory=vambrace"),
        ("/run/vambrace/", "RuntimeDirectory=vambrace"),
        ("/etc/vambrace/", "ConfigurationDirectory=vambrace"),
    ] {
        assert!(sample.contains(place) && unit.lines().any(|line| line == directive), "{place}");
    }
    assert!(unit.contains("ExecStart=/usr/bin/vambrace run --config /etc/vambrace/vambrace.toml"));
}

#[test]
fn the_management_process_has_a_service_of_its_own() {
    let unit = text("appliance-image/vambrace-console.service");
    assert!(unit.contains("ExecStart=/usr/bin/vambrace console --config /etc/vambrace/vambrace.toml"));
    let has = |directive: &str| unit.lines().any(|line| line == directive);
    // No right on the ports: neither raw sockets nor their family.
    let rights = unit.lines().find(|line| line.starts_with("CapabilityBoundingSet=")).unwrap();
    assert!(!rights.contains("CAP_NET_RAW") && !rights.contains("CAP_NET_ADMIN") && !unit.contains("AF_PACKET"));
    assert!(has("StateDirectory=vambrace/console") && has("NoNewPrivileges=yes"));
    assert!(text("appliance-image/vambrace.toml").contains("directory = \"/var/lib/vambrace/console\""));
    // A folder that is bound stays the old one when the guard makes it anew: the socket in it would be gone for good.
    assert!(!unit.contains("ReadWritePaths") && !unit.contains("BindPaths"));
}

#[test]
fn both_services_have_accounts_of_their_own() {
    let accounts = text("appliance-image/vambrace.sysusers.conf");
    // The management process is in the guard's group, and in no other.
    for (unit, account) in [("vambrace.service", "vambrace"), ("vambrace-console.service", "vambrace-console")] {
        let unit = text(&format!("appliance-image/{unit}"));
        let has = |directive: &str| unit.lines().any(|line| line == directive);
        assert!(has(&format!("User={account}")) && has("Group=vambrace"), "{account}");
        assert!(!unit.contains("SupplementaryGroups"), "{account}");
        assert!(accounts.lines().any(|line| line.split_whitespace().nth(1) == Some(account)), "{account}");
    }
    assert!(accounts.contains("m vambrace-console vambrace\n"));
    assert!(text("appliance-image/vambrace.toml").contains("# account = \"vambrace-console\""));
}

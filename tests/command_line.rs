//! The command line from outside: help, exit codes, one line an error.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::process::{Command, Output};

fn vambrace(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vambrace")).args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Names of the subcommands that the help lists.
fn listed(help: &str) -> Vec<&str> {
    let commands = help.split("Commands:\n").nth(1).unwrap();
    commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn help_lists_every_command_of_the_contract() {
    let help = stdout(&vambrace(&["-h"]));
    let mut commands = listed(&help);
    commands.sort_unstable();
    let mut expected = vec![
        "bench",
        "bypass",
        "capture",
        "completions",
        "config",
        "console",
        "doctor",
        "events",
        "evidence",
        "explain",
        "help",
        "learn",
        "man",
        "mode",
        "patches",
        "policy",
        "replay",
        "run",
        "status",
        "top",
        "update",
    ];
    if cfg!(feature = "lab") {
        expected.push("lab");
        expected.sort_unstable();
    }
    assert_eq!(commands, expected);
    for command in commands.iter().filter(|command| **command != "help") {
        for flag in ["-h", "--help"] {
            let output = vambrace(&[command, flag]);
            assert!(output.status.success(), "{command} {flag}");
            let text = stdout(&output);
            assert!(text.contains("Usage: vambrace") && text.contains("--json"), "{command} {flag}: {text}");
        }
    }
}

#[test]
fn help_of_events_is_as_agreed() {
    let golden = include_str!("golden/events-help.txt");
    let help = stdout(&vambrace(&["events", "-h"]));
    assert_eq!(help, golden, "`vambrace events -h` changed; if on purpose, write it to tests/golden/events-help.txt");
}

#[test]
fn errors_are_one_line_with_their_exit_code() {
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--socket", "/nonexistent/control.sock", "events"], 5, "`--records DIR` reads"),
        (&["--socket", "/nonexistent/control.sock", "status"], 5, "is `vambrace run` running?"),
        (&["--socket", "/nonexistent/control.sock", "mode", "enforce"], 5, "--socket PATH"),
        (&["events", "--where", "a ="], 2, "--where, column 4: expected a value"),
        (&["events", "--records", "/nonexistent"], 1, "no such folder"),
        (&["explain", "x"], 2, "no event id"),
        (&["explain", "5", "--records", "/nonexistent"], 1, "no such folder"),
        (&["explain", "/nonexistent.pcap#1"], 1, "/nonexistent.pcap"),
        (&["explain", "a.pcap#x"], 2, "no frame number"),
    ];
    for (arguments, code, what) in cases {
        let output = vambrace(arguments);
        let error = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.starts_with("vambrace: ") && error.contains(what), "{arguments:?}: {error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{arguments:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(vambrace(&["nonsense"]).status.code(), Some(2));
    assert_eq!(vambrace(&[]).status.code(), Some(2));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&vambrace(&["completions", shell]));
        assert!(script.contains("vambrace") && script.contains("explain"), "{shell}");
    }
    assert!(stdout(&vambrace(&["man"])).contains(".TH vambrace"));
    let folder = std::env::temp_dir().join(format!("vambrace-man-{}", std::process::id()));
    assert!(vambrace(&["man", folder.to_str().unwrap()]).status.success());
    assert!(std::fs::read_to_string(folder.join("vambrace-events.1")).unwrap().contains("where"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn events_are_filtered_and_explained_from_a_folder() {
    let folder = std::env::temp_dir().join(format!("vambrace-cli-events-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let verdict = |id: u64, action: &str, reason: &str| {
        format!(
            "{{\"event_id\":{id},\"action\":\"{action}\",\"reason\":\"{reason}\",\"generation\":1,\"service\":\"dashboard\",\
             \"class\":\"shutdown\",\"client\":\"hmi\",\"robot\":\"cell4\",\"command\":{{\"command\":\"shutdown\",\
             \"text\":\"shutdown\"}}}}"
        )
    };
    let line = |kind: &str, ours: &str, body: &str| {
        format!(
            "{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"flow_id\":1,\"event_type\":\"{kind}\",\"src_ip\":\
             \"10.0.0.1\",\"dest_ip\":\"10.0.0.2\",\"{ours}\":{body}}}\n"
        )
    };
    let refused = format!("{{\"context\":{}}}", verdict(2, "refused", "no_rule"));
    let text = [
        line("dashboard", "verdict", &verdict(1, "allowed", "allowed")),
        line("alert", "alert", &refused),
        "not json\n".to_owned(),
    ];
    std::fs::write(folder.join("eve.json"), text.concat()).unwrap();
    let records = folder.to_str().unwrap();
    let shown = stdout(&vambrace(&["events", "--records", records, "--where", "reason = no_rule"]));
    assert_eq!(shown, "13:58:02.114209 #2     REFUSED no_rule hmi -> cell4 dashboard `shutdown`\n");
    assert_eq!(stdout(&vambrace(&["events", "--records", records])).lines().count(), 2);
    let json = stdout(&vambrace(&["events", "--records", records, "--json", "-n", "1"]));
    assert_eq!(json.trim_end(), text[1].trim_end());
    let explained = stdout(&vambrace(&["explain", "2", "--records", records]));
    assert!(explained.contains("command = [\"shutdown\"]") && explained.contains("be sure"), "{explained}");
    let missing = vambrace(&["explain", "3", "--records", records]);
    assert_eq!(missing.status.code(), Some(1));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_machine_without_the_image_is_told_so_and_given_nothing() {
    let bundle = std::env::temp_dir().join(format!("vambrace-no-bundle-{}", std::process::id()));
    std::fs::write(&bundle, "x").unwrap();
    let path = bundle.display().to_string();
    for arguments in [&["update", "status"][..], &["update", "apply", &path], &["update", "rollback", "--now"]] {
        let output = vambrace(arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert_eq!(
            told.trim(),
            "vambrace: this machine does not run the appliance image: update it as it was installed"
        );
    }
    std::fs::remove_file(bundle).unwrap();
    let missing = vambrace(&["update", "apply", "/nowhere/v.update"]);
    let told = String::from_utf8(missing.stderr).unwrap();
    assert!(missing.status.code() == Some(2) && told.contains("/nowhere/v.update: No such file"), "{told}");
}

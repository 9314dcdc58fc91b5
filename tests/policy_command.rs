//! `policy ask`, `diff`, `check` and `template` as people use them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vambrace-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    /// Standard output, standard error and exit code.
    fn run(&self, arguments: &[&str]) -> (String, String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
        let output = command.args(arguments).current_dir(&self.0).env("NO_COLOR", "1").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code().unwrap())
    }

    fn ask(&self, policy: &str, question: &[&str]) -> String {
        let (out, err, code) = self.run(&[&["policy", "ask", policy], question].concat());
        assert_eq!(code, 0, "{out}{err}");
        out
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

const CELL: &str = r#"version = 1
robot = "arm"
[[allow]]
id = "panel"
from = "hmi"
service = "dashboard"
class = ["read", "safety"]
command = ["load"]
argument = ["/programs/pick.urp"]
[[allow]]
id = "plc-registers"
from = "plc"
service = "modbus"
function = ["write_single_register", "read_only"]
unit = [1, 255]
address = "128..=135"
value = "0..=120"
when = { program = ["stopped"] }
rate = { per_second = 10, burst = 20 }
[[allow]]
id = "by-hash"
from = "engineering"
service = "urscript"
program = ["sha256:9f3c9f3c9f3c9f3c9f3c"]
[[allow]]
id = "moves"
from = "engineering"
service = "urscript"
kind = ["secondary"]
function = ["movej"]
[allow.bounds]
"movej.a" = "0.0..=1.4"
[[allow]]
id = "ssh"
from = "engineering"
service = "tcp/22"
[[allow]]
id = "whole-net"
from = "10.9.0.0/24"
service = "any"
class = ["safety"]
[[deny]]
id = "never-unlock"
service = "dashboard"
command = ["unlock protective stop"]
[[deny]]
id = "no-dashboard"
from = "10.9.0.0/24"
service = "dashboard"
"#;

#[test]
fn who_can_cause_brake_release() {
    let folder = Folder::new("ask-brakes");
    folder.write("p.toml", CELL);
    let out = folder.ask("p.toml", &["who can ever cause brake release?"]);
    assert!(out.contains("hmi: by rule panel\n      brake release\n"), "{out}");
    // The Dashboard is denied there, the second language of 30001 is not.
    assert!(out.contains("10.9.0.0/24: by rule whole-net\n      brake release\n      set robotmode run\n"), "{out}");
    assert!(out.contains("but not what rule no-dashboard denies"), "{out}");
    assert!(out.contains("engineering: rule ssh lets tcp/22 pass, and what that carries is not read"), "{out}");
    assert!(!out.contains("plc"), "{out}");
    // A virtual patch refuses it as well.
    let out = folder.ask("p.toml", &["unlock"]);
    assert!(out.contains("hmi: not by rule panel, since never-unlock, CVE-2020-10265 denies it"), "{out}");
    let out = folder.ask("p.toml", &["unlock", "--without-patches"]);
    assert!(out.contains("hmi: not by rule panel, since never-unlock denies it"), "{out}");
    let (_, _, code) = folder.run(&["policy", "ask", "p.toml", "brake release", "--exit-code"]);
    assert_eq!(code, 3);
    folder.write("none.toml", "version = 1\nrobot = \"arm\"\n");
    let (out, _, code) = folder.run(&["policy", "ask", "none.toml", "brake release", "--exit-code"]);
    assert_eq!((out.as_str(), code), ("brake release:\n  nobody\n", 0));
}

#[test]
fn questions_by_flags() {
    let folder = Folder::new("ask-flags");
    folder.write("p.toml", CELL);
    let out = folder.ask("p.toml", &["--service", "modbus", "--address", "135", "--value", "7"]);
    assert!(out.contains("plc: by rule plc-registers\n"), "{out}");
    assert!(out.contains("where when = { program = \"stopped\" }") && out.contains("where rate = "), "{out}");
    let out = folder.ask("p.toml", &["--address", "135", "--value", "121"]);
    assert!(out.contains("nobody"), "{out}");
    let out = folder.ask("p.toml", &["--function", "movej"]);
    assert!(out.contains("engineering: may, if the text does it: by rule by-hash"), "{out}");
    assert!(
        out.contains("engineering: by rule moves\n") && out.contains("where bounds.movej.a = \"0.0..=1.4\""),
        "{out}"
    );
    let out = folder.ask("p.toml", &["--port", "22"]);
    assert!(out.contains("engineering: by rule ssh") && !out.contains("10.9"), "{out}");
    let out = folder.ask("p.toml", &["--from", "hmi"]);
    assert!(out.contains("hmi: by rule panel") && !out.contains("plc"), "{out}");
    let out = folder.ask("p.toml", &["--from", "192.0.2.7"]);
    assert!(out.contains("nobody"), "{out}");
    let (out, _, code) = folder.run(&["policy", "ask", "p.toml", "--class", "safety", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((answer["somebody"].as_bool(), code), (Some(true), 0));
    assert_eq!(answer["limits"].as_array().map(Vec::len), Some(0), "{out}");
}

#[test]
fn unknown_words_are_told_in_one_line() {
    let folder = Folder::new("ask-words");
    folder.write("p.toml", CELL);
    for (question, near) in [
        (&["brake relase"][..], "\"brake release\""),
        (&["--class", "saftey"], "\"safety\""),
        (&["--function", "moveq"], "\"movej\""),
        (&["--input", "speed_slider"], "\"speed_slider_mask\""),
        (&["--from", "hmo"], "\"hmi\""),
        (&["--service", "modbsu"], "\"modbus\""),
    ] {
        let (out, err, code) = folder.run(&[&["policy", "ask", "p.toml"], question].concat());
        let line = err.lines().last().unwrap_or_default();
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        assert!(line.contains("is called") && line.contains(near), "{line}");
    }
    let (_, err, code) = folder.run(&["policy", "ask", "p.toml"]);
    assert!(code == 2 && err.contains("nothing is asked"), "{err}");
}

#[test]
fn texts_that_mean_the_same_do_not_differ() {
    let folder = Folder::new("diff-same");
    folder.write("before.toml", CELL);
    let after = CELL
        .replace("\"read_only\"", "\"read_coils\", \"read_discrete_inputs\", 3, \"read_input_registers\"")
        .replace("value = \"0..=120\"", "value = [\"0..=60\", \"61..=120\"]")
        .replace("id = \"panel\"", "id = \"panel-load\"");
    // A rule in two parts, in another order.
    let halves =
        "[[allow]]\nfrom = \"hmi\"\nservice = \"dashboard\"\nclass = [\"read\"]\nargument = \"/programs/pick.urp\"\n";
    folder.write("after.toml", &format!("{after}{halves}"));
    let (out, err, code) = folder.run(&["policy", "diff", "before.toml", "after.toml", "--exit-code"]);
    assert_eq!((out.as_str(), code), ("", 0), "{err}");
    let (out, _, code) = folder.run(&["policy", "diff", "before.toml", "after.toml", "--exit-code", "--text"]);
    assert!(out.contains("panel-load") && code == 3, "{out}");
}

#[test]
fn differences_are_told_with_examples() {
    let folder = Folder::new("diff");
    folder.write("before.toml", CELL);
    let after = CELL
        .replace("128..=135", "128..=136")
        .replace("\"load\"", "\"play\"")
        .replace("0.0..=1.4", "0.0..=2.0")
        .replace("per_second = 10", "per_second = 20")
        .replace("from = \"10.9.0.0/24\"\nservice = \"dashboard\"", "from = \"10.9.0.0/24\"\nservice = \"modbus\"");
    folder.write("after.toml", &after);
    let (out, err, code) = folder.run(&["policy", "diff", "before.toml", "after.toml", "--exit-code"]);
    assert_eq!(code, 3, "{err}");
    for line in [
        "+ hmi may now send dashboard: play",
        "- hmi may no longer send dashboard: load /programs/pick.urp",
        "+ plc may now send modbus: write_single_register, unit 1, writes register 136",
        "+ engineering may now send urscript: secondary with movej(a=2.0",
        "+ 10.9.0.0/24 may now send dashboard: brake release",
        "~ plc: modbus write_single_register: 10 a second, 20 at once -> 20 a second, 20 at once",
    ] {
        assert!(out.lines().any(|own| own.starts_with(line)), "{line}\n{out}");
    }
    assert!(!out.contains("unlock"), "denied before and after: {out}");
    let (back, _, _) = folder.run(&["policy", "diff", "after.toml", "before.toml", "--json"]);
    for line in back.lines() {
        let change: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(change["change"].is_string() && change["examples"].is_array(), "{line}");
    }
}

#[test]
fn check_warns_of_rules_without_effect() {
    let folder = Folder::new("check-warnings");
    let rules = "[[allow]]\nid = \"over\"\nservice = \"tcp/22\"\nuntil = 2020-01-01T00:00:00Z\n\
        [[allow]]\nid = \"empty\"\nservice = \"modbus\"\nvalue = []\nfunction = [\"write_single_register\"]\n\
        [[allow]]\nid = \"narrow\"\nfrom = \"plc\"\nservice = \"modbus\"\nfunction = [\"read_coils\"]\naddress = 7\n\
        [[allow]]\nid = \"wide\"\nservice = \"modbus\"\nfunction = [\"read_only\"]\n\
        [[allow]]\nid = \"brakes\"\nservice = \"dashboard\"\ncommand = [\"brake release\"]\n\
        [[deny]]\nid = \"no-safety\"\nservice = \"dashboard\"\nclass = [\"safety\"]\n\
        [[deny]]\nid = \"not-coil-9\"\nservice = \"modbus\"\nfunction = [\"read_coils\"]\naddress = 9\n";
    folder.write("p.toml", &format!("version = 1\nrobot = \"arm\"\n{rules}"));
    let (out, err, code) = folder.run(&["policy", "check", "p.toml"]);
    assert_eq!(code, 0, "{out}{err}");
    for line in [
        "rule over has expired",
        "rule empty matches no command",
        "rule narrow adds nothing: rule wide means all that it means",
        "rule brakes lets nothing pass: no-safety denies all of it",
        "rule not-coil-9 denies a part of what rule wide allows, such as read_coils",
    ] {
        assert!(err.lines().any(|own| own.starts_with(&format!("vambrace: {line}"))), "{line}\n{err}");
    }
    assert_eq!(err.lines().filter(|line| line.starts_with("vambrace: rule ")).count(), 5, "{err}");
    let (out, _, _) = folder.run(&["policy", "check", "p.toml", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["warnings"].as_array().map(Vec::len), Some(5), "{out}");
}

#[test]
fn templates_hold_what_they_promise() {
    let folder = Folder::new("template");
    for profile in ["ur-cb3", "ur-e-series", "polyscope-x"] {
        for peers in [&[][..], &["plc"], &["plc", "10.20.0.22"]] {
            let from = peers.iter().flat_map(|peer| ["--from", peer]);
            let arguments: Vec<&str> =
                ["policy", "template", "--profile", profile, "--robot", "arm"].into_iter().chain(from).collect();
            let (text, err, code) = folder.run(&arguments);
            assert_eq!(code, 0, "{err}");
            folder.write("p.toml", &text);
            let (out, err, code) = folder.run(&["policy", "check", "p.toml"]);
            assert_eq!(code, 0, "{out}{err}\n{text}");
            assert!(!err.contains("rule ") && !out.contains(" 0 tests"), "{out}{err}");
            for question in
                [&["--class", "motion"][..], &["--class", "safety"], &["--class", "io"], &["--class", "register"]]
            {
                let out = folder.ask("p.toml", question);
                assert!(out.contains("nobody"), "{out}\n{text}");
            }
            let reads = folder.ask("p.toml", &["--class", "read"]);
            assert_eq!(reads.contains("nobody"), peers.is_empty(), "{reads}");
        }
    }
    let (_, err, code) = folder.run(&["policy", "template", "--profile", "ur-e"]);
    assert!(code == 2 && err.contains("ur-e-series"), "{err}");
}

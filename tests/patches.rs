//! Virtual patches from outside: packs and their signatures, states and exit codes, exemptions, and the choice by the
//! version that the running box sees.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::adversary::ROBOT;
use support::guarded::{Guarded, POLICY};

const CELL: &str = "version = 1\nrobot = \"robot\"\n\
    [[allow]]\nid = \"panel\"\nfrom = \"panel\"\nservice = \"dashboard\"\n";

/// A folder of its own with a configuration and a policy; gone with the value.
struct Bench(PathBuf);

impl Bench {
    fn new(name: &str, policy: &str, more: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("patches-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let bench = Self(directory);
        bench.write("policy.toml", policy);
        bench.configure("enforce", more);
        bench
    }

    fn configure(&self, mode: &str, more: &str) {
        let text = format!(
            "mode = \"{mode}\"\n[ports]\nplant = \"a\"\nrobot = \"b\"\n[policy]\nfile = \"policy.toml\"\n{more}\n\
             [[asset]]\nname = \"robot\"\nip = \"10.20.0.40\"\nside = \"robot\"\n\
             [[asset]]\nname = \"panel\"\nip = \"10.20.0.22\"\nside = \"plant\"\n"
        );
        self.write("vambrace.toml", &text);
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(support::vambrace());
        command.args(arguments.split(' ')).current_dir(&self.0).env("NO_COLOR", "1").output().unwrap()
    }

    /// Exit code, what was printed, what was complained of.
    fn told(&self, arguments: &str) -> (i32, String, String) {
        let output = self.run(arguments);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The state of every entry, and the summary.
    fn states(&self, arguments: &str) -> (i32, Vec<Value>, Value) {
        let (code, text, complaint) = self.told(&format!("--json patches {arguments} --config vambrace.toml"));
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().unwrap_or_else(|| panic!("{complaint}"));
        assert_eq!(summary["event_type"], "summary");
        (code, lines, summary)
    }

    fn state(&self, arguments: &str, id: &str) -> Value {
        self.states(arguments).1.into_iter().find(|patch| patch["id"] == id).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn why(patch: &Value) -> String {
    patch["why"].to_string()
}

#[test]
fn a_working_cell_is_protected_and_everything_is_said_of_each_entry() {
    let bench = Bench::new("cell", CELL, "");
    for command in ["status", "test"] {
        let (code, patches, summary) = bench.states(command);
        assert_eq!((code, &summary["not_protected"], patches.len()), (0, &Value::from(0), 21), "{summary}");
        assert_eq!(summary["attack"], "18.1");
        assert_eq!(summary["harmless_refused"], 0);
        for patch in &patches {
            assert!(patch["why"].as_array().is_some_and(|why| !why.is_empty()), "{patch}");
        }
    }
    let (code, text, _) = bench.told("patches test --config vambrace.toml");
    assert_eq!(code, 0);
    for needed in [
        "CVE-2026-8153 protected",
        "40 of 40 refused, 6 of 6 harmless passed",
        "CVE-2016-8619 protected, partly",
        "RVD-34 cannot be",
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
}

#[test]
fn a_mode_that_does_not_enforce_protects_nobody() {
    let bench = Bench::new("mode", CELL, "");
    for mode in ["observe", "learn", "shadow"] {
        bench.configure(mode, "");
        let (code, _, summary) = bench.states("status");
        assert_eq!((code, &summary["protected"], &summary["not_protected"]), (3, &Value::from(0), &Value::from(16)));
        let patch = bench.state("status", "CVE-2026-8153");
        assert!(why(&patch).contains(&format!("mode {mode} does not enforce")), "{patch}");
        // The self-test is of the policy, not of the mode.
        assert_eq!(bench.states("test").0, 0);
    }
    // As the box begins: without a policy nothing is allowed, and observing needs none.
    fs::remove_file(bench.0.join("policy.toml")).unwrap();
    bench.configure("observe", "");
    assert_eq!(bench.states("test").0, 0);
    bench.configure("enforce", "");
    let (code, _, complaint) = bench.told("patches status --config vambrace.toml");
    assert!(code == 2 && complaint.contains("policy.toml") && complaint.lines().count() == 1, "{complaint}");
}

#[test]
fn a_rule_that_allows_an_attack_is_named_with_its_peer() {
    let policy = format!("{CELL}[[allow]]\nid = \"service\"\nfrom = \"10.20.0.99\"\nservice = \"tcp/22\"\n");
    let bench = Bench::new("ssh", &policy, "");
    let patch = bench.state("status", "CVE-2018-10633");
    assert_eq!(patch["state"], "not_protected");
    assert!(why(&patch).contains("rule service allows it to 10.20.0.99"), "{patch}");
    assert_eq!(bench.state("status", "CVE-2026-8153")["state"], "protected");
    assert_eq!(bench.states("status").0, 3);
    // A rule whose time is over allows nothing.
    bench.write("policy.toml", policy.replace("\"tcp/22\"\n", "\"tcp/22\"\nuntil = 2026-01-01T00:00:00Z\n"));
    assert_eq!(bench.state("status", "CVE-2018-10633")["state"], "protected");
    // What a rule allows at times, it allows.
    bench.write(
        "policy.toml",
        format!("{CELL}[[allow]]\nid = \"idle\"\nfrom = \"panel\"\nservice = \"urscript\"\nwhen = {{ program = [\"stopped\"] }}\n"),
    );
    let patch = bench.state("status", "CVE-2018-10635");
    assert!(patch["state"] == "not_protected" && why(&patch).contains("rule idle allows it to panel"), "{patch}");
}

#[test]
fn the_version_of_the_software_chooses() {
    let bench = Bench::new("version", CELL, "");
    let of = |software: &str, id: &str| bench.state(&format!("status --software {software}"), id)["state"].clone();
    assert_eq!(of("5.25.0", "CVE-2026-8153"), "protected");
    assert_eq!(of("5.25.1", "CVE-2026-8153"), "not_applicable");
    assert_eq!(of("3.15.8", "RVD-6"), "not_applicable");
    assert_eq!(of("3.3", "RVD-6"), "protected");
    assert_eq!(of("10.11.0", "CVE-2020-10265"), "not_applicable");
    let (code, _, complaint) = bench.told("patches status --config vambrace.toml --software five");
    assert!(code == 2 && complaint.contains("no version"), "{complaint}");
}

#[test]
fn an_exemption_is_reported_and_lapses_by_itself() {
    let bench = Bench::new("exempt", CELL, "");
    let exempt = |until: jiff::Timestamp, id: &str| {
        let text = format!("{CELL}[[exempt]]\npatch = \"{id}\"\nreason = \"new safety plan\"\nuntil = {until}\n");
        bench.write("policy.toml", text);
    };
    let hour = jiff::SignedDuration::from_hours(1);
    let now = jiff::Timestamp::now();
    exempt(now + hour, "CVE-2020-10265");
    let patch = bench.state("status", "CVE-2020-10265");
    assert_eq!(patch["state"], "not_protected");
    assert!(why(&patch).contains("exempted until") && why(&patch).contains("new safety plan"), "{patch}");
    assert!(why(&patch).contains("rule panel allows it to panel: shut-down"), "{patch}");
    exempt(now - hour, "CVE-2020-10265");
    assert_eq!(bench.state("status", "CVE-2020-10265")["state"], "protected");
    let (code, _, doubt) = bench.told("policy check policy.toml --config vambrace.toml");
    assert!(code == 0 && doubt.starts_with("policy.toml:8:9: the exemption from CVE-2020-10265 ended at"), "{doubt}");
    exempt(now + hour, "CVE-2020-10255");
    let (code, _, doubt) = bench.told("policy check policy.toml --config vambrace.toml");
    assert!(code == 0 && doubt.contains("is no patch of the pack in force"), "{doubt}");
    bench.write("policy.toml", format!("{CELL}[[exempt]]\npatch = \"CVE-2020-10265\"\nwhy = \"x\"\n"));
    let (code, _, mistakes) = bench.told("policy check policy.toml --config vambrace.toml");
    assert!(code == 2 && mistakes.lines().count() == 3, "{mistakes}");
}

/// The built-in pack as a newer one with a key of its own, signed.
fn issued(name: &str) -> (Bench, String) {
    let bench = Bench::new(name, CELL, "");
    let (code, key, complaint) = bench.told("patches keygen issuer.key");
    assert_eq!(code, 0, "{complaint}");
    let text = bench.told("patches show").1;
    bench.write("pack.toml", text.replace("version = 2026113001", "version = 2027010101"));
    let (code, _, complaint) = bench.told("patches sign pack.toml --key issuer.key");
    assert_eq!(code, 0, "{complaint}");
    let key = key.trim().to_owned();
    bench.configure("enforce", &format!("[patches]\nfile = \"pack.toml\"\nkey = \"{key}\""));
    (bench, key)
}

#[test]
fn a_pack_from_a_file_is_taken_from_its_issuer_alone() {
    let (bench, key) = issued("issue");
    let (code, told, _) = bench.told(&format!("patches verify pack.toml --key {key}"));
    assert!(code == 0 && told.contains("version 2027010101, 21 entries"), "{told}");
    let (code, _, summary) = bench.states("status");
    assert_eq!((code, &summary["pack"], &summary["source"]), (0, &2_027_010_101_u32.into(), &"pack.toml".into()));
    // The secret key is nobody else's, and never written over.
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(bench.0.join("issuer.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(bench.told("patches keygen issuer.key").0, 1);

    let whole = bench.read("pack.toml");
    let refused = |what: &str| {
        for command in ["patches status --config vambrace.toml", "run --config vambrace.toml"] {
            let (code, _, complaint) = bench.told(command);
            assert_eq!(code, 2, "{command}: {complaint}");
            assert!(complaint.contains(what) && complaint.lines().count() == 1, "{what}: {complaint}");
            assert!(!complaint.contains("panicked"), "{complaint}");
        }
        assert_eq!(bench.told(&format!("patches verify pack.toml --key {key}")).0, 2);
    };
    bench.write("pack.toml", whole.replace("shutdown", "shutdowm"));
    refused("pack.toml: the signature is not that of key");
    bench.write("pack.toml", whole.replace("version = 2027010101", "version = 2026010101"));
    let (code, _, complaint) = bench.told("patches sign pack.toml --key issuer.key");
    assert!(code == 2 && complaint.contains("is older than 2026113001"), "nobody signs an older one: {complaint}");
    bench.write("pack.toml", whole.replace("because = \"USB", "becuase = \"USB"));
    let (code, _, complaint) = bench.told("patches sign pack.toml --key issuer.key");
    assert!(code == 2 && complaint.contains("unknown key `becuase`"), "{complaint}");
    assert!(complaint.lines().all(|line| line.starts_with("pack.toml:")), "all at once, with places: {complaint}");
    bench.write("pack.toml", &whole);
    fs::remove_file(bench.0.join("pack.toml.sig")).unwrap();
    let (code, _, complaint) = bench.told("patches status --config vambrace.toml");
    assert!(code == 2 && complaint.contains("pack.toml.sig"), "{complaint}");
}

#[test]
fn another_issuers_key_is_refused() {
    let (bench, _) = issued("other");
    let other = bench.told("patches keygen other.key").1;
    bench.configure("enforce", &format!("[patches]\nfile = \"pack.toml\"\nkey = \"{}\"", other.trim()));
    let (code, _, complaint) = bench.told("patches status --config vambrace.toml");
    assert!(code == 2 && complaint.contains("another key signed it") && complaint.lines().count() == 1, "{complaint}");
    let (code, _, complaint) = bench.told("patches verify pack.toml --key ed25519:00");
    assert!(code == 2 && complaint.contains("no public key"), "{complaint}");
}

/// What becomes of a connection of the PLC's to a port where nobody listens: the robot refuses it, or never hears of it.
fn reaches(cell: &Guarded, port: u16) -> bool {
    let to = SocketAddr::V4(SocketAddrV4::new(ROBOT, port));
    let tried = cell.plant.enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)));
    match tried.map_err(|error| error.kind()) {
        Err(ErrorKind::ConnectionRefused) => true,
        Err(ErrorKind::TimedOut | ErrorKind::WouldBlock) => false,
        other => panic!("{other:?}"),
    }
}

fn within_seconds(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A client asks for the controller's version, and the robot says it.
fn says_version(cell: &Guarded, stream: &mut TcpStream, version: [u32; 3]) {
    stream.write_all(&[0, 3, b'v']).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let numbers: Vec<u8> = version.into_iter().chain([0]).flat_map(u32::to_be_bytes).collect();
    let answer = [&[0, 19, b'v'][..], &numbers].concat();
    cell.robot.say(stream.local_addr().unwrap().port(), &answer);
    let mut came = vec![0; answer.len()];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(came, answer);
}

const SHELL: &str = "[[allow]]\nid = \"shell\"\nfrom = \"plc\"\nservice = \"tcp/6666\"\n";

#[test]
fn the_version_on_the_wire_chooses_anew_without_a_restart() {
    let policy = format!("{POLICY}{SHELL}");
    let Some(cell) = Guarded::with_policy("patches-version", &policy) else { return };
    let entry = |id: &str| -> Value {
        let output = cell.vambrace.ask(&["--json", "patches", "status"]);
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.into_iter().find(|line| line["id"] == id).unwrap_or_else(|| panic!("{:?}", output.stderr))
    };
    assert!(!reaches(&cell, 6666), "an unknown version may be any");
    assert_eq!(entry("RVD-1406")["state"], "protected");
    let own = |event: &Value| event["dest_port"] == 6666;
    let refused = cell
        .vambrace
        .waits_for("the patch that refused it", own, |event| event["alert"]["context"]["rule"] == "RVD-1406");
    assert_eq!(refused["alert"]["context"]["patch"], serde_json::json!(["RVD-1406"]), "{refused}");
    assert_eq!(refused["alert"]["metadata"]["rvd"], serde_json::json!(["RVD-1406", "RVD-1407"]), "{refused}");

    let mut stream = cell.honest(30_004);
    stream.write_all(&[0, 5, b'V', 0, 2]).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    says_version(&cell, &mut stream, [5, 12, 0]);
    within_seconds("an e-Series has no such shell", || reaches(&cell, 6666));
    assert_eq!(entry("RVD-1406")["state"], "not_applicable");
    assert_eq!(entry("CVE-2026-8153")["state"], "protected");
    says_version(&cell, &mut stream, [3, 12, 1]);
    within_seconds("a CB3 has it", || !reaches(&cell, 6666));
    assert_eq!(entry("RVD-1406")["state"], "protected");
    cell.assert_honest_session();

    let notices = |kind: &'static str| move |event: &Value| event["notice"]["kind"] == kind;
    let chosen: Vec<Value> = cell.vambrace.events().into_iter().filter(notices("patches")).collect();
    let software: Vec<Option<&str>> = chosen.iter().map(|event| event["notice"]["software"].as_str()).collect();
    assert_eq!(software, [None, Some("5.12.0"), Some("3.12.1")], "{chosen:#?}");
    let tested = cell.vambrace.waits_for("the self-test", notices("patch_test"), |_| true);
    assert!(tested["notice"]["protected"].as_u64().is_some_and(|count| count > 0), "{tested}");
    let status = String::from_utf8(cell.vambrace.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("patches    pack 2026113001 (the built-in pack): "), "{status}");
}

#[test]
fn an_exemption_on_the_running_box_lapses_by_itself() {
    let policy = format!("{POLICY}{SHELL}");
    let Some(cell) = Guarded::with_policy("patches-exempt", &policy) else { return };
    assert!(!reaches(&cell, 6666));
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(4);
    let file = cell.vambrace.directory().join("exempt.toml");
    let exempt = format!("[[exempt]]\npatch = \"RVD-1406\"\nreason = \"factory test\"\nuntil = {until}\n");
    fs::write(&file, format!("{policy}{exempt}")).unwrap();
    let applied = cell.vambrace.ask(&["policy", "apply", &file.display().to_string()]);
    assert!(applied.status.success(), "{applied:?}");
    assert!(reaches(&cell, 6666), "exempted");
    let status = String::from_utf8(cell.vambrace.ask(&["status"]).stdout).unwrap();
    assert!(status.contains("exempt     RVD-1406 until") && status.contains("factory test"), "{status}");
    within_seconds("the exemption is over", || jiff::Timestamp::now() > until);
    assert!(!reaches(&cell, 6666), "over");
    within_seconds("the report knows", || {
        let output = cell.vambrace.ask(&["--json", "patches", "status"]);
        String::from_utf8(output.stdout).unwrap().lines().any(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["id"] == "RVD-1406" && line["state"] == "protected"
        })
    });
}

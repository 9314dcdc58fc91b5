//! The walls of the house: which room may name which, where `unsafe` may stand, how long a file may be.
//!
//! Files are parsed, not searched, so that comments and strings don't count; paths in macro arguments do. What stands
//! under `#[cfg(test)]` may name what it likes.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

#[path = "architecture/reader.rs"]
mod reader;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use reader::{Facts, read};

/// Every room of `src/` and the rooms that it may name. What is absent here fails: a new room states its arrows first.
///
/// `lib` names all rooms, `main` only the command line.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "appliance",
            "bench",
            "command",
            "config",
            "console",
            "control",
            "document",
            "engine",
            "event",
            "export",
            "index",
            "lab",
            "learn",
            "nic",
            "patches",
            "policy",
            "record",
            "update",
            "verify",
        ],
    ),
    (
        "appliance",
        &[
            "command", "config", "control", "document", "engine", "event", "export", "flow", "gate", "harden",
            "jitter", "learn", "nic", "patches", "policy", "record", "robot", "sys",
        ],
    ),
    // Plays traffic that it makes by itself through the engine, and over ports.
    ("bench", &["command", "engine", "nic", "policy", "record", "sys"]),
    ("engine", &["command", "event", "flow", "gate", "inspect", "jitter", "nic", "policy", "record", "robot"]),
    ("jitter", &["event", "flow"]),
    // Follows the event files and talks to the control socket like anybody; sees no frame and no record in the making.
    ("console", &["config", "control", "document", "event", "export", "record", "sys", "update"]),
    ("learn", &["command", "event", "policy"]),
    ("export", &["command", "event"]),
    ("record", &["command", "event"]),
    ("patches", &["command", "document", "event", "policy", "robot"]),
    ("policy", &["command", "document", "event", "robot"]),
    ("inspect", &["command", "event", "robot"]),
    ("robot", &["command", "event"]),
    ("gate", &["event", "flow"]),
    ("event", &["command"]),
    ("lab", &["nic"]),
    ("nic", &["sys"]),
    ("config", &["document"]),
    ("command", &[]),
    ("control", &["document"]),
    ("document", &[]),
    ("flow", &[]),
    // Gives rights up; knows of nobody who had them.
    ("harden", &[]),
    ("index", &[]),
    ("manual", &[]),
    ("sys", &[]),
    // Leaves bundles and orders for the appliance's updater.
    ("update", &["control"]),
    // Shares nothing with the writer: what it knows stands in the manual.
    ("verify", &[]),
];

/// Rooms that compute and do nothing else: no files, sockets, threads, clocks or log.
const PURE: &[&str] =
    &["command", "document", "event", "flow", "gate", "inspect", "jitter", "learn", "patches", "policy", "robot"];

/// What a pure room must not name.
const EFFECTS: &[&str] = &[
    "libc",
    "rustix",
    "std::env",
    "std::fs",
    "std::io",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tracing",
];

/// Of these, what does nothing: an error that somebody else met may be named.
const HARMLESS: &[&str] = &["std::io::Error", "std::io::ErrorKind"];

fn is_effect(path: &[String]) -> bool {
    let begins = |prefix: &str| path.iter().map(String::as_str).take(prefix.split("::").count()).eq(prefix.split("::"));
    EFFECTS.iter().any(|effect| begins(effect)) && !HARMLESS.iter().any(|harmless| begins(harmless))
}

/// Protocol crates, and the rooms that may name all of them: those that read units or describe commands, `export`, which takes
/// names from the protocols' own tables, and `bench`, which writes units to measure with.
const PROTOCOLS: &[&str] =
    &["modbus", "rtde", "dashboard", "urscript", "external_control", "client_interface", "robot_api"];
const SPEAK_PROTOCOLS: &[&str] = &["bench", "command", "engine", "export", "inspect", "learn", "policy"];

/// Protocol crates that a further room may name, each for a reason.
const SPEAK_SOME: &[(&str, &str)] = &[
    // The state of the robot is what RTDE, Modbus and Dashboard say of it, in RTDE's words.
    ("robot", "rtde"),
    // Set-points are kept in the units of the wire.
    ("robot", "external_control"),
    // A record of a script says of what kind it was, in the lexer's words.
    ("event", "urscript"),
    ("record", "urscript"),
    // The values of an RTDE package are kept as they came until a record is written.
    ("event", "rtde"),
    // A record of external control says over which socket it came.
    ("event", "external_control"),
    ("record", "external_control"),
];

/// Rooms that may see frames and headers.
const SEE_FRAMES: &[&str] =
    &["appliance", "bench", "engine", "event", "export", "flow", "gate", "jitter", "nic", "record"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

fn protocol_crates() -> Vec<PathBuf> {
    let mut crates: Vec<PathBuf> = fs::read_dir(root().join("protocols"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    crates.sort();
    crates
}

/// The facts of every file of `src/` that is not a test.
fn house() -> Vec<Facts> {
    let source = root().join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 50, "the house was not found");
    let facts: Vec<Facts> = files
        .iter()
        .map(|file| read(file.strip_prefix(&source).unwrap(), &fs::read_to_string(file).unwrap()))
        .collect();
    let tests: BTreeSet<Vec<String>> = facts.iter().flat_map(|facts| facts.test_modules.iter().cloned()).collect();
    facts.into_iter().filter(|facts| !tests.iter().any(|test| facts.module.starts_with(test))).collect()
}

fn is_room(name: &str) -> bool {
    ARROWS.iter().any(|(room, _)| *room == name)
}

/// What a file names that it must not, one line each.
fn broken_walls(facts: &Facts) -> Vec<String> {
    let mut broken = Vec::new();
    let room = facts.room();
    if room == "lib" {
        return broken;
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{}: the room {room} has no line in ARROWS", facts.file)];
    };
    let mut complain = |path: &str, why: &str| broken.push(format!("{}: {path}: {why}", facts.file));
    for path in &facts.paths {
        let text = path.join("::");
        let first = path.first().map_or("", String::as_str);
        let speaks = SPEAK_PROTOCOLS.contains(&room) || SPEAK_SOME.contains(&(room, first));
        match (first, path.get(1)) {
            ("crate" | "vambrace", Some(other))
                if is_room(other) && other != room && !allowed.contains(&other.as_str()) =>
            {
                complain(&text, &format!("{room} must not know {other}"));
            }
            ("link", _) if !SEE_FRAMES.contains(&room) => complain(&text, "this room sees no frames"),
            ("tokio" | "axum", _) if !["console", "lab"].contains(&room) => complain(&text, "only for the console"),
            ("anyhow", _) => complain(&text, "errors of the library are types"),
            (first, _) if PROTOCOLS.contains(&first) && !speaks => complain(&text, "this room speaks no protocol"),
            _ => {}
        }
        if PURE.contains(&room) && is_effect(path) {
            complain(&text, "this room only computes");
        }
    }
    broken
}

#[test]
fn rooms_know_only_what_they_may() {
    let broken: Vec<String> = house().iter().flat_map(broken_walls).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn arrows_have_no_circle() {
    fn visit<'a>(room: &'a str, way: &mut Vec<&'a str>) {
        assert!(!way.contains(&room), "circle: {way:?} -> {room}");
        way.push(room);
        for next in ARROWS.iter().filter(|(name, _)| *name == room).flat_map(|(_, allowed)| *allowed) {
            visit(next, way);
        }
        way.pop();
    }
    for (room, _) in ARROWS {
        visit(room, &mut Vec::new());
    }
}

#[test]
fn arrows_name_rooms_that_exist() {
    let absent: Vec<&str> = ARROWS
        .iter()
        .map(|(room, _)| *room)
        .filter(|room| {
            let source = root().join("src");
            !source.join(room).is_dir() && !source.join(format!("{room}.rs")).is_file()
        })
        .collect();
    assert!(absent.is_empty(), "rooms without a tenant: {absent:?}");
}

#[test]
fn unsafe_stands_in_sys_alone_and_stays_short() {
    let mut lines = 0;
    for facts in house() {
        if facts.room() == "sys" {
            lines += facts.unsafe_lines;
        } else {
            assert_eq!(facts.unsafe_lines, 0, "{}: unsafe code outside sys", facts.file);
        }
    }
    assert!((1..300).contains(&lines), "{lines} lines of unsafe code");
}

#[test]
fn protocol_crates_forbid_unsafe_code_and_lean_on_dissect_alone() {
    const OTHERS: &[&str] = &["memchr", "sha2", "smoltcp", "zerocopy"];
    let crates = protocol_crates();
    assert!(crates.len() >= 6, "protocol crates were not found");
    for directory in crates {
        let name = directory.display();
        let lib = fs::read_to_string(directory.join("src/lib.rs")).unwrap();
        assert!(read(Path::new("lib.rs"), &lib).forbids_unsafe, "{name}: no #![forbid(unsafe_code)]");
        let manifest: toml::Table = fs::read_to_string(directory.join("Cargo.toml")).unwrap().parse().unwrap();
        for dependency in
            manifest.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(|it| it.keys())
        {
            assert!(dependency == "dissect" || OTHERS.contains(&dependency.as_str()), "{name} leans on {dependency}");
        }
        let mut files = Vec::new();
        rust_files(&directory.join("src"), &mut files);
        for file in files {
            let facts = read(Path::new("lib.rs"), &fs::read_to_string(&file).unwrap());
            let found: Vec<_> = facts.paths.iter().filter(|path| is_effect(path)).collect();
            assert!(found.is_empty(), "{}: {found:?}", file.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_900_lines() {
    let mut files = Vec::new();
    for directory in ["src", "protocols", "tests", "benches"] {
        rust_files(&root().join(directory), &mut files);
    }
    let mut lengths: Vec<(usize, PathBuf)> =
        files.into_iter().map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file)).collect();
    lengths.sort();
    let long: Vec<String> = lengths
        .iter()
        .filter(|(length, _)| *length > 600)
        .map(|(length, file)| format!("{length} {}", file.strip_prefix(root()).unwrap().display()))
        .collect();
    assert!(lengths.last().is_some_and(|(length, _)| *length <= 900), "think again:\n{}", long.join("\n"));
}

/// The checker itself must see what it is there for.
mod checker {
    use super::*;

    fn walls(file: &str, text: &str) -> Vec<String> {
        broken_walls(&read(Path::new(file), text))
    }

    #[test]
    fn sees_a_forbidden_room_however_it_is_named() {
        for text in [
            "use crate::engine::Pipeline;",
            "use crate::{event::Reason, engine::{self}};",
            "use crate::{event::Reason, engine::Rules};",
            "use crate::engine as e;",
            "fn f() { crate::engine::now(); }",
            "fn f(_: &crate::engine::Rules) {}",
            "fn f() { println!(\"{}\", crate::engine::NAME); }",
            "fn f() { vec![(1, [crate::engine::NAME])]; }",
            "use super::engine::Rules;",
            "mod inner { use super::super::engine::Rules; }",
            "fn f() { use super::engine::Rules; }",
            "pub(crate) use crate::engine::Rules;",
            "#[derive(Debug)] struct S { rules: Vec<Option<crate::engine::Rules>> }",
            "impl crate::engine::Tap for () {}",
        ] {
            let broken = walls("gate/mod.rs", text);
            assert_eq!(broken.len(), 1, "{text}: {broken:?}");
        }
        assert_eq!(walls("gate/stream.rs", "use super::super::engine::Rules;").len(), 1);
        assert_eq!(walls("main.rs", "fn main() { vambrace::engine::now() }").len(), 1);
        assert_eq!(walls("attic/mod.rs", "").len(), 1, "a room without arrows");
    }

    #[test]
    fn sees_protocols_and_effects_where_they_must_not_be() {
        assert_eq!(walls("gate/mod.rs", "use modbus::Adu;").len(), 1);
        assert_eq!(walls("lab/receiver.rs", "fn f() { rtde::wire::read(); }").len(), 1);
        assert_eq!(walls("policy/mod.rs", "use link::Frame;").len(), 1);
        assert_eq!(walls("policy/mod.rs", "fn f() { std::time::Instant::now(); }").len(), 1);
        assert_eq!(walls("gate/mod.rs", "use std::{fs::File, net::{IpAddr, TcpStream}};").len(), 2);
        assert_eq!(walls("cli/mod.rs", "fn f() -> anyhow::Result<()> { Ok(()) }").len(), 1);
    }

    #[test]
    fn lets_pass_what_is_allowed() {
        for (file, text) in [
            ("gate/mod.rs", "use crate::event::Reason; use super::flow::Table;"),
            ("gate/mod.rs", "// use crate::engine::Rules;\n/// [`crate::engine::Rules`]\nstruct S;"),
            ("gate/mod.rs", "#[cfg(test)] mod tests { use crate::engine::Rules; }"),
            ("gate/mod.rs", "const A: &str = \"crate::engine::Rules\";"),
            ("gate/mod.rs", "use crate::gate::Stream;"),
            ("lab/controller/mod.rs", "mod dashboard; mod rtde; use dashboard::Server; fn f() { rtde::run(); }"),
            ("lab/controller/rtde.rs", "use super::{State, dashboard}; fn f() { dashboard::run(); }"),
            ("policy/mod.rs", "use std::net::IpAddr;"),
            ("cli/run.rs", "fn f() { std::fs::read(\"a\"); crate::appliance::run(); }"),
        ] {
            assert_eq!(walls(file, text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn counts_unsafe_lines_and_sees_forbid() {
        let facts = |text| read(Path::new("sys/mod.rs"), text);
        assert_eq!(facts("fn f() {\n    unsafe {\n        g()\n    }\n}").unsafe_lines, 3);
        assert_eq!(facts("unsafe fn f() {\n}").unsafe_lines, 2);
        assert_eq!(facts("unsafe impl Send for A {}\nunsafe extern \"C\" {}").unsafe_lines, 2);
        assert_eq!(facts("unsafe impl A for B {\n  unsafe fn f() {}\n}").unsafe_lines, 3);
        assert_eq!(facts("// unsafe\nfn f() { let unsafe_ = 1; }").unsafe_lines, 0);
        assert_eq!(facts("fn f() { m!(unsafe { g() }) }").unsafe_lines, 1);
        assert_eq!(facts("#[unsafe(no_mangle)] fn f() {}").unsafe_lines, 1);
        assert!(facts("#![forbid(unsafe_code)]").forbids_unsafe);
        assert!(facts("#![forbid(missing_docs, unsafe_code)]").forbids_unsafe);
        assert!(!facts("#![deny(unsafe_code)]").forbids_unsafe);
    }
}

//! The table of protocol facts: every test that it names exists, every word that the dissectors know is in it, and the
//! rows that no other test holds.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use dissect::Toward;
use support::bench::{Bench, Talk};
use vambrace::command::Service;

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Names of the tests in a file, those of properties included.
fn tests_of(path: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut names = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        match line.strip_prefix("fn ") {
            Some(rest) if is_test => {
                names.insert(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
                is_test = false;
            }
            _ => is_test = line == "#[test]" || (is_test && line.starts_with("#[")),
        }
    }
    names
}

/// Rows of the tables of a page, as cells.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fact |"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether `file::test` names a test, whether `file` names a file.
fn exists(named: &str) -> bool {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    match named.rsplit_once("::") {
        Some((file, test)) => tests_of(&root.join(file)).contains(test),
        None => root.join(named).is_file(),
    }
}

#[test]
fn each_row_names_tests_that_exist() {
    let page = page("src/manual/protocol-facts.md");
    let (acted, rest) = page.split_once("## What a box in the cable can't act on").unwrap();
    let acted = rows(acted);
    assert!(acted.len() > 80, "{} rows", acted.len());
    for row in &acted {
        assert_eq!(row.len(), 3, "{row:?}");
        let mut count = 0;
        for test in quoted(row[2]) {
            assert!(test.contains("::") && exists(test), "{test} of the row {}", row[0]);
            count += 1;
        }
        assert!(count > 0, "no test holds the row {}", row[0]);
    }
    for row in rows(rest) {
        assert_eq!(row.len(), 2, "{row:?}");
    }
}

/// What is taken from memory names its tests as well: by file, by file and test, or by the last two parts of its path.
#[test]
fn each_unconfirmed_fact_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let short = |named: &str| {
        let Some((file, test)) = named.split_once("::") else { return false };
        tests_of(&root.join(format!("tests/{file}.rs"))).contains(test)
            || named
                .strip_prefix("inspect::tests::")
                .is_some_and(|test| tests_of(&root.join("src/inspect/tests.rs")).contains(test))
    };
    let page = page("src/manual/unconfirmed-facts.md");
    let rows = rows(&page);
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let mut count = 0;
        for named in quoted(row[3]) {
            assert!(exists(named) || short(named), "{named} of the row {}", row[0]);
            count += 1;
        }
        assert!(count > 0, "nothing holds the row {}", row[0]);
    }
}

/// A crate's own table names its tests by their last part.
#[test]
fn the_crates_tables_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocols");
    let mut checked = 0;
    for crate_name in ["client_interface", "external_control", "rtde"] {
        let folder = root.join(crate_name);
        let files = ["src", "tests"].into_iter().flat_map(|part| std::fs::read_dir(folder.join(part)).unwrap());
        let known: BTreeSet<_> = files.flat_map(|file| tests_of(&file.unwrap().path())).collect();
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for row in rows(&readme).into_iter().filter(|row| row.len() == 4) {
            for named in quoted(row[3]) {
                let test = named.rsplit("::").next().unwrap();
                let is_file = folder.join(named).is_file();
                assert!(is_file || test == "tests" || known.contains(test), "{crate_name}: {named} of {}", row[0]);
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "{checked} names");
}

/// Whatever a dissector knows by name or number is in a row of the table.
#[test]
fn every_code_that_is_known_is_in_a_row() {
    let page = page("src/manual/protocol-facts.md");
    let section = |title: &str| {
        let from = page.find(&format!("\n## {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
        let rest = &page[from + 4..];
        rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
    };
    let modbus = section("Modbus");
    let words: BTreeSet<&str> = modbus.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for code in (1..=127).map(modbus::FunctionCode).filter(|code| modbus::FunctionCode::named(code.name()).is_some()) {
        let user = matches!(code.0, 65..=72 | 100..=110);
        let name = code.name();
        if user || name.starts_with("function_") || name.starts_with("unassigned") || name.starts_with("reserved") {
            continue;
        }
        assert!(words.contains(&*format!("{:02X}", code.0)), "function {:02X}, {name}, is in no row", code.0);
    }
    let arguments = self::page("src/manual/external-control.md");
    for function in external_control::Function::ALL {
        let row = arguments.lines().find(|line| line.starts_with(&format!("| `{}` |", function.name())));
        for argument in function.parameters() {
            let len = if argument.len == 1 { String::new() } else { format!(" ({})", argument.len) };
            let wanted = format!("`{}`{len}", argument.name);
            assert!(row.is_some_and(|row| row.contains(&wanted)), "{}: {wanted} is in no row", function.name());
        }
    }
    let other = section("Other ports");
    for port in [22, 80, 443, 2222, 44_818, 34_962, 5900, 6080, 54_321, 63_352] {
        assert!(other.contains(&port.to_string()), "port {port} is in no row");
    }
    let count = |many: usize, what: &str, section: &str| {
        assert!(section.contains(&format!("{many} {what}")), "the table does not say {many} {what}");
    };
    count(dashboard::Verb::all().len(), "commands", &section("Dashboard"));
    count(external_control::Function::ALL.len(), "functions", &section("External control"));
}

/// Source: Universal Robots, "Dashboard Server" for CB-Series and e-Series, and the maker's client library.
#[test]
fn the_dashboards_table_holds_every_command_that_is_known() {
    let known = [
        "running",
        "robotmode",
        "get loaded program",
        "isProgramSaved",
        "programState",
        "PolyscopeVersion",
        "version",
        "safetymode",
        "safetystatus",
        "is in remote control",
        "get operational mode",
        "get serial number",
        "get robot model",
        "getUserRole",
        "help",
        "echo",
        "get variable x",
        "popup hello",
        "close popup",
        "addToLog hello",
        "saveLog",
        "generate flight report system",
        "generate support file /programs",
        "quit",
        "load x.urp",
        "load installation x.installation",
        "play",
        "pause",
        "stop",
        "power on",
        "power off",
        "brake release",
        "unlock protective stop",
        "close safety popup",
        "restart safety",
        "set operational mode manual",
        "clear operational mode",
        "setUserRole operator",
        "shutdown",
    ];
    for text in known {
        for line in [text.to_owned(), text.to_ascii_uppercase(), text.replace(' ', "   ")] {
            // Names of files keep their letter case, and this is about commands.
            let read = dashboard::Line::read(line.as_bytes());
            assert!(read.verb.is_ok(), "{line}: {:?}", read.verb.err());
        }
    }
    let named: BTreeSet<_> =
        known.iter().map(|text| dashboard::Line::read(text.as_bytes()).verb.unwrap().name).collect();
    let all: BTreeSet<_> = dashboard::Verb::all().iter().map(|verb| verb.name).collect();
    assert_eq!(named, all);
}

/// Source: UR's list of ports of the controller.
#[test]
fn every_port_that_is_known_has_a_name() {
    let read = [502, 29_999, 30_001, 30_002, 30_003, 30_004, 30_011, 30_012, 30_013, 30_020];
    for port in read {
        assert!(Service::of_tcp_port(port).is_dissected(), "{port}");
    }
    let unread = [22, 80, 443, 802, 44_818, 5900, 6080, 50_001, 50_002, 50_003, 50_004, 54_321, 63_352];
    for port in unread {
        assert!(Service::of_tcp_port(port).known_as().is_some(), "{port}");
    }
    for port in [502, 2222, 44_818, 34_962, 34_963, 34_964] {
        assert!(Service::Udp(port).known_as().is_some(), "{port}");
    }
}

/// Answers are not held, whatever they carry; what does not fit is told of, and the connection goes on.
#[test]
fn what_no_request_asked_for_is_told_of_and_goes_on() {
    let policy = "version = 1\nrobot = \"robot\"\n[[allow]]\nfrom = \"plc\"\nservice = \"modbus\"\n";
    let nothing = "an answer that answers nothing outstanding";
    let other = "an answer that does not carry what was asked for";
    let unread = "answers can't be read further on this connection";
    let read = [0, 7, 0, 0, 0, 6, 255, 3, 0, 128, 0, 2];
    let answer = [0, 7, 0, 0, 0, 7, 255, 3, 4, 0, 1, 0, 2];
    let changed = |at: usize, byte: u8| {
        let mut bytes = answer.to_vec();
        bytes[at] = byte;
        bytes
    };
    for (bytes, told) in [
        (answer.to_vec(), vec![]),
        ([answer, answer].concat(), vec![nothing]),
        (changed(1, 8), vec![nothing]),
        (changed(6, 1), vec![nothing]),
        (changed(7, 4), vec![nothing]),
        // One register where two were asked for.
        (vec![0, 7, 0, 0, 0, 5, 255, 3, 2, 0, 1], vec![other]),
        (vec![0, 7, 0, 0, 0, 3, 255, 0x83, 2], vec![]),
        (vec![0, 7, 0, 0, 0, 3, 255, 0x84, 2], vec![nothing]),
        // An exception of three bytes, and one that is too short to be any.
        (vec![0, 7, 0, 0, 0, 4, 255, 0x83, 2, 0], vec![unread]),
        (vec![0, 7, 0, 0, 0, 2, 255, 0x83], vec![unread]),
        (vec![0, 7, 0, 1, 0, 3, 255, 0x83, 2], vec![unread]),
    ] {
        let mut bench = Bench::new(policy);
        let mut talk = Talk::new(40_000, 502);
        assert!(talk.open(&mut bench));
        let left = talk.send(&mut bench, &read);
        assert_eq!(talk.robot_takes(&left), read);
        let left = talk.reply(&mut bench, &bytes);
        assert_eq!(left.payload(Toward::Plant), bytes, "it goes on");
        assert_eq!(left.notices, told, "{bytes:02x?}");
        // The client is served on.
        let left = talk.send(&mut bench, &read);
        assert_eq!(talk.robot_takes(&left), read, "{bytes:02x?}");
    }
}

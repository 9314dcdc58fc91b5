//! `vambrace events` over large record folders, with the index and without.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

struct Store(PathBuf);

impl Store {
    /// A folder of so many lines, as a cell leaves them, `each` lines a file: polls and writes, programs, refusals.
    fn new(name: &str, lines: u32, each: u32) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("forensics-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let files = lines.div_ceil(each);
        for number in 0..files {
            let last = number + 1 == files;
            let name = if last { "eve.json".to_owned() } else { format!("eve-{:08}-x.json", number + 1) };
            let mut file = BufWriter::new(std::fs::File::create(folder.join(name)).unwrap());
            for n in number * each..(number * each + each).min(lines) {
                writeln!(file, "{}", line(n)).unwrap();
            }
        }
        Self(folder)
    }

    fn ask(&self, arguments: &[&str]) -> (Output, Duration) {
        let begun = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
        let output = command.args(["--json", "events", "--records"]).arg(&self.0).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (output, begun.elapsed())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The `n`th line: one a second from 2026-11-01 on.
fn line(n: u32) -> String {
    let (second, minute, hour, day) = (n % 60, n / 60 % 60, n / 3600 % 24, n / 86_400 + 1);
    let time = format!("2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.114209+0000");
    let head = |kind: &str, client: u32| {
        format!(
            "{{\"timestamp\":\"{time}\",\"flow_id\":{},\"event_type\":\"{kind}\",\"host\":\"box\",\"src_ip\":\"10.20.0.{client}\",\
             \"src_port\":40000,\"dest_ip\":\"10.20.0.40\",\"dest_port\":502,\"proto\":\"TCP\",\
             \"community_id\":\"1:8P7rYhFoNCc3nUtadYfoODip5fw=\"",
            n % 977
        )
    };
    let verdict = |client: &str, service: &str, action: &str| {
        format!(
            "\"event_id\":{n},\"action\":\"{action}\",\"reason\":\"allowed\",\"rule\":\"registers\",\"generation\":1,\
             \"service\":\"{service}\",\"class\":\"register\",\"client\":\"{client}\",\"robot\":\"robot\""
        )
    };
    if n % 10_007 == 5 {
        let program = format!("{{\"command\":\"load\",\"text\":\"load pick_{}.urp\"}}", n % 3);
        let (head, verdict) = (head("dashboard", 22), verdict("panel", "dashboard", "allowed"));
        return format!("{head},\"dashboard\":{program},\"verdict\":{{{verdict}}}}}");
    }
    let address = if n % 50_021 == 7 { 130 } else { 200 + n % 40 };
    let command = format!(
        "{{\"transaction\":{},\"unit\":255,\"function\":\"write_multiple_registers\",\"function_code\":16,\
         \"write\":{{\"address\":{address},\"quantity\":6}},\"values\":[{},2,3,4,5,6]}}",
        n % 65_536,
        n % 121
    );
    let ours = format!("\"key\":\"vambrace\",{},\"command\":{command}", verdict("plc", "modbus", "allowed"));
    format!("{},\"metadata\":{{\"flowvars\":[{{{ours}}}]}}}}", head("modbus", 21))
}

const QUESTIONS: [&[&str]; 4] = [
    &["--where", "writes = 135"],
    &["--where", "writes = 135 and client = plc", "--since", "2026-11-01T00:00:00Z", "--until", "2026-11-01T12:00:00Z"],
    &["--where", "loads"],
    &["--changes", "--since", "2026-11-01T00:00:00Z"],
];

/// Asks all questions both ways; prints how long they took.
fn compare(store: &Store) {
    let (_, made) = store.ask(&["--index", "always", "--where", "writes = 1"]);
    let index = store.0.join("index.sqlite").metadata().unwrap().len();
    println!("index made in {made:.2?}, {index} bytes");
    for question in QUESTIONS {
        let (with, fast) = store.ask(&[question, &["--index", "always"]].concat());
        let (without, slow) = store.ask(&[question, &["--index", "never"]].concat());
        assert!(with.stdout == without.stdout, "{question:?}");
        let lines = with.stdout.split(|byte| *byte == b'\n').count() - 1;
        assert!(lines > 0, "{question:?}");
        assert!(with.stderr.is_empty(), "{}", String::from_utf8_lossy(&with.stderr));
        println!("{}: {lines} lines, with the index {fast:.2?}, without {slow:.2?}", question.join(" "));
    }
}

#[test]
fn the_answers_of_a_folder_are_the_same_both_ways() {
    compare(&Store::new("small", 60_000, 25_000));
}

/// `cargo test --test forensics -- --ignored --nocapture`
#[test]
#[ignore = "a minute of figures: a folder of a million lines"]
fn a_million_lines() {
    compare(&Store::new("million", 1_000_000, 100_000));
}

#[test]
fn where_the_folder_can_not_be_written_the_index_goes_to_the_users_cache() {
    let store = Store::new("cache", 1000, 1000);
    // Root may write anywhere: a folder in the way of the file is what it can't write.
    std::fs::create_dir(store.0.join("index.sqlite")).unwrap();
    let cache = store.0.join("cache");
    let ask = |cache: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
        command.args(["events", "--index", "always", "--where", "loads", "--records"]).arg(&store.0);
        let output = command.env("XDG_CACHE_HOME", cache).output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
        String::from_utf8(output.stderr).unwrap()
    };
    let said = ask(&cache);
    assert!(said.lines().count() == 1 && said.contains("the index is") && said.contains("vambrace/index-"), "{said}");
    let said = ask(Path::new("/proc/nowhere"));
    assert!(said.lines().count() == 1 && said.contains("every line is read"), "{said}");
}

#[test]
fn times_that_are_none_are_told_of() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vambrace"));
    let output = command.args(["events", "--records", "/tmp", "--since", "tomorrowish"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("vambrace: --since: \"tomorrowish\" is no time; write yesterday"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#![allow(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use super::*;
use crate::control::{Caller, ConversationStatus, Handler, PolicyText, PortStatus, RobotStatus, Server, StreamStatus};

/// Families and samples of a page: a reader and linter written from the exposition format's description and the naming
/// rules of Prometheus ("Metric and label naming", "Text-based format").
pub(crate) struct Linted {
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) samples: BTreeMap<String, f64>,
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

fn is_name(text: &str, colon: bool) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(fine)
}

/// Names and values of `{a="b",c="d"}`.
fn pairs(text: &str) -> Vec<(String, String)> {
    let mut rest = text.strip_prefix('{').unwrap();
    let mut found = Vec::new();
    while rest != "}" {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name, false) && !name.starts_with("__"), "label {name}");
        let (mut value, mut escaped, mut end) = (String::new(), false, 0);
        for (at, character) in after.char_indices() {
            match character {
                _ if escaped => {
                    assert!(matches!(character, '\\' | '"' | 'n'), "escape \\{character}");
                    value.push(if character == 'n' { '\n' } else { character });
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    end = at;
                    break;
                }
                other => value.push(other),
            }
        }
        found.push((name.to_owned(), value));
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    found
}

pub(crate) fn lint(page: &str) -> Linted {
    let mut linted = Linted { kinds: BTreeMap::new(), samples: BTreeMap::new(), labels: BTreeMap::new() };
    let mut helped = BTreeSet::new();
    let mut family = String::new();
    assert!(page.ends_with('\n'), "the last line ends");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(helped.insert(name.to_owned()) && text.len() > 8, "HELP of {name}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helped.contains(name), "HELP before TYPE of {name}");
            assert!(matches!(kind, "counter" | "gauge"), "{kind}");
            assert!(is_name(name, false) && name.starts_with("vambrace_"), "one-word prefix: {name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            for unit in ["_ms", "_us", "_ns", "_milliseconds", "_minutes", "_kilobytes", "_percent", "_count", "_sum"] {
                assert!(!name.contains(unit), "{name} is in no base unit");
            }
            if name.contains("bytes") {
                assert!(name.trim_end_matches("_total").ends_with("_bytes"), "{name}: the unit stands last");
            }
            assert!(linted.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            family = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').map_or((series, String::new()), |(n, l)| (n, format!("{{{l}")));
            assert_eq!(name, family, "samples of a family stand together");
            let value: f64 = value.parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{line}");
            for (label, _) in if labels.is_empty() { Vec::new() } else { pairs(&labels) } {
                assert!(!matches!(label.as_str(), "le" | "quantile" | "job" | "instance"), "{label} is taken");
                linted.labels.entry(name.to_owned()).or_default().insert(label);
            }
            assert!(linted.samples.insert(series.to_owned(), value).is_none(), "{series} twice");
        }
    }
    linted
}

/// A box in trouble: everything that can be counted was.
pub(crate) fn status() -> Status {
    let port = |role: &str| PortStatus { role: role.into(), up: true, received: 70, sent: 60, ..PortStatus::default() };
    let mut status = Status {
        version: "0.1.0".into(),
        mode: "enforce".into(),
        degraded: vec!["a".into()],
        uptime_seconds: 12,
        restarts: 1,
        policy: Some(PolicyText {
            generation: 3,
            name: String::new(),
            rules: 7,
            digest: String::new(),
            text: String::new(),
            warnings: Vec::new(),
        }),
        ports: vec![port("plant"), port("robot")],
        robots: vec![RobotStatus { name: "arm \"4\"\\".into(), age_ms: Some(1500), ..RobotStatus::default() }],
        ..Status::default()
    };
    status.traffic.frames = 140;
    status.traffic.forwarded = 120;
    status.traffic.dropped = 20;
    status.traffic.dropped_by = [("fragment".to_owned(), 5), ("no_rule".to_owned(), 15)].into();
    status.traffic.p50_us = 4.5;
    let conversation = |service: &str, worst_us| ConversationStatus {
        service: service.into(),
        streams: vec![StreamStatus { toward: "plant".into(), worst_us, ..StreamStatus::default() }],
        ..ConversationStatus::default()
    };
    // Who opens ports makes no labels.
    let other = (1..60).map(|port| conversation(&format!("tcp/{port}"), 7.0));
    status.conversations = other.chain([conversation("rtde", 2100.0), conversation("rtde", 13_200.0)]).collect();
    status.late = [("client".to_owned(), 2), ("box".to_owned(), 1)].into();
    status.late_alarms = 1;
    status
}

struct Box4;

impl Handler for Box4 {
    fn handle(&self, _: Request, _: &Caller) -> Response {
        Response::Status(Box::new(status()))
    }
}

pub(crate) fn page(name: &str, up: bool) -> String {
    let directory = std::env::temp_dir().join(format!("vambrace-metrics-{}-{name}", std::process::id()));
    let socket = directory.join("control.sock");
    let _server = up.then(|| Server::start(&socket, Arc::new(Box4)).unwrap());
    let senders = vec![("soc".to_owned(), Arc::new(Progress::default()))];
    let pushed = Arc::new(Pushed::default());
    pushed.took();
    let witnesses = vec![("station".to_owned(), pushed)];
    let mut parts = Parts::default();
    parts.note("receiver soc", Ok::<_, &str>(()));
    parts.note("mailer", Err::<(), _>("no relay"));
    let page = Metrics { socket, parts, senders, witnesses, outcomes: Some(Arc::default()) }.text();
    let _ = std::fs::remove_dir_all(directory);
    page
}

#[test]
fn the_page_keeps_the_formats_rules_and_adds_up() {
    let linted = lint(&page("rules", true));
    let value = |series: &str| *linted.samples.get(series).unwrap_or_else(|| panic!("{series}"));
    let dropped: f64 = linted
        .samples
        .iter()
        .filter(|(series, _)| series.starts_with("vambrace_frames_dropped_total"))
        .map(|(_, value)| value)
        .sum();
    assert_eq!(value("vambrace_frames_received_total"), value("vambrace_frames_forwarded_total") + dropped);
    assert_eq!(value("vambrace_frames_dropped_total{reason=\"fragment\"}"), 5.0);
    let reasons = linted.samples.keys().filter(|series| series.contains("reason=")).count();
    assert_eq!(reasons, Reason::ALL.len(), "each reason from the start, and no other");
    assert_eq!(value("vambrace_mode{mode=\"enforce\"}"), 1.0);
    assert_eq!(value("vambrace_robot_state_age_seconds{robot=\"arm \\\"4\\\"\\\\\"}"), 1.5);
    assert_eq!(value("vambrace_residence_median_seconds"), 4.5e-6);
    assert_eq!(value("vambrace_up"), 1.0);
    assert_eq!(value("vambrace_late_frames_total{whose=\"client\"}"), 2.0);
    assert_eq!(value("vambrace_late_frames_total{whose=\"robot\"}"), 0.0);
    assert_eq!(value("vambrace_late_alarms_total"), 1.0);
    assert_eq!(value("vambrace_stream_interval_worst_seconds{service=\"rtde\",toward=\"plant\"}"), 0.0132);
    assert_eq!(value("vambrace_stream_interval_worst_seconds{service=\"other\",toward=\"plant\"}"), 7e-6);
    assert!(linted.samples.len() < 150, "bounded");
    assert_eq!(
        linted.kinds.len(),
        linted.kinds.keys().filter(|kind| linted.samples.keys().any(|it| it.starts_with(*kind))).count()
    );
}

#[test]
fn a_dead_packet_process_is_zero_and_no_error() {
    let linted = lint(&page("dead", false));
    assert_eq!(linted.samples["vambrace_up"], 0.0);
    assert!(linted.samples.contains_key("vambrace_syslog_connected{receiver=\"soc\"}"));
}

#[test]
fn requests_are_answered_and_bounded() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Metrics {
        socket: "/nonexistent/control.sock".into(),
        parts: Parts::default(),
        senders: Vec::new(),
        witnesses: Vec::new(),
        outcomes: None,
    };
    let server = std::thread::spawn(move || {
        for _ in 0..4 {
            let (stream, _) = listener.accept().unwrap();
            let _ = metrics.serve(&stream);
        }
    });
    let ask = |request: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    let answer = ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("version=0.0.4"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())) && lint(body).samples.len() == 1);
    assert!(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    ask(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(1 << 20)));
    server.join().unwrap();
}

#[test]
fn who_drips_does_not_hold_a_place() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Metrics {
        socket: "/nonexistent/control.sock".into(),
        parts: Parts::default(),
        senders: Vec::new(),
        witnesses: Vec::new(),
        outcomes: None,
    };
    let dripping = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let begun = Instant::now();
        while stream.write_all(b"x").is_ok() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let (stream, _) = listener.accept().unwrap();
    let begun = Instant::now();
    let error = metrics.serve_within(&stream, Duration::from_millis(400)).unwrap_err();
    assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(stream);
    dripping.join().unwrap();
}

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::model::{Column, Model, Order};
use super::source::News;
use super::{order, view};
use crate::control::{ConversationStatus, PortStatus, Status, StreamStatus, TimesStatus, TrafficStatus};

fn times(p50_us: f64, p99_us: f64, longest_us: f64) -> TimesStatus {
    TimesStatus { p50_us, p99_us, longest_us }
}

/// A box with one RTDE stream and a Modbus client, `seconds` after its start.
fn status(seconds: u64) -> Status {
    let port = |role: &str, name: &str, up, received| PortStatus {
        role: role.into(),
        name: name.into(),
        up,
        received,
        sent: received,
        kernel_drops: 0,
        refused: 0,
    };
    let stream = StreamStatus {
        toward: "plant".into(),
        frames: 500 * seconds,
        period_us: 2000.0,
        entry: times(1990.0, 2300.0, 13_200.0),
        exit: times(1990.0, 2310.0, 13_250.0),
        in_the_box: times(12.0, 31.0, 210.0),
        worst_us: 13_200.0,
        late: [("robot".to_owned(), 2)].into(),
        followed: 0,
        pauses: 0,
        silences: 0,
    };
    let conversation = |client: &str, name: &str, service: &str, bytes, refused| ConversationStatus {
        client: client.into(),
        robot: "10.0.0.1:30004".into(),
        client_name: name.into(),
        robot_name: "arm".into(),
        service: service.into(),
        opened_toward: "robot".into(),
        age_seconds: seconds,
        silent_ms: 3,
        frames: [10, 500 * seconds],
        bytes: [640, bytes],
        commands: [4, refused],
        streams: Vec::new(),
    };
    Status {
        version: "0.1.0".into(),
        host: "cell4".into(),
        mode: "enforce".into(),
        uptime_seconds: seconds,
        ports: vec![port("plant", "enp1s0", true, 100 * seconds), port("robot", "enp2s0", false, 500 * seconds)],
        traffic: TrafficStatus {
            frames: 600 * seconds,
            forwarded: 600 * seconds,
            refused: 3,
            flows: 2,
            flow_room: 4096,
            p50_us: 10.0,
            p99_us: 30.0,
            longest_us: 200.0,
            ..TrafficStatus::default()
        },
        conversations: vec![
            ConversationStatus { streams: vec![stream], ..conversation("10.0.0.2:40000", "plc", "rtde", 5000, 0) },
            conversation("10.0.0.3:50123", "hmi", "modbus", 90_000, 3),
        ],
        late: [("client".to_owned(), 0), ("robot".to_owned(), 2)].into(),
        late_alarms: 1,
        ..Status::default()
    }
}

fn refusal(id: u64) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-23T13:58:02.114209+0000\",\"event_type\":\"alert\",\"src_ip\":\"10.0.0.3\",\
         \"dest_ip\":\"10.0.0.1\",\"app_proto\":\"modbus\",\"alert\":{{\"context\":{{\"event_id\":{id},\
         \"action\":\"refused\",\"reason\":\"no_rule\",\"client\":\"hmi\",\"robot\":\"arm\"}}}}}}"
    )
}

fn model() -> Model {
    let mut model = Model::new(status(100));
    model.take(News::State(Box::new(status(100))), 1.0);
    model.take(News::State(Box::new(status(101))), 2.0);
    model.take(News::Lines(vec![refusal(7), refusal(8)]), 2.1);
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, 5.0)).unwrap();
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for row in 0..height {
        let line: String = (0..width).map(|column| buffer[(column, row)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// With `VAMBRACE_WRITE_GOLDEN` set the pictures are written anew instead.
#[test]
fn a_known_state_is_drawn_as_it_was() {
    let mut model = model();
    let mut all = String::new();
    for tab in 0..4 {
        model.obey(Order::Tab(tab));
        all += &drawn(&model, 132, 26);
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/golden.txt");
    if std::env::var_os("VAMBRACE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &all).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (at, (drawn, golden)) in all.lines().zip(golden.lines()).enumerate() {
        assert_eq!(drawn, golden, "line {}", at + 1);
    }
    assert_eq!(all.lines().count(), golden.lines().count());
}

#[test]
fn every_tab_says_what_it_is_for() {
    let mut model = model();
    let wire = drawn(&model, 132, 26);
    for expected in ["enp1s0", "DOWN", "100", "500", "3 refused"] {
        assert!(wire.contains(expected), "{expected}:\n{wire}");
    }
    model.obey(Order::NextTab);
    let latency = drawn(&model, 150, 26);
    for expected in ["arm", "plc", "2.00 ms", "13.20 ms", "31 us", "robot 2", "1 alarms"] {
        assert!(latency.contains(expected), "{expected}:\n{latency}");
    }
    model.obey(Order::NextTab);
    let conversations = drawn(&model, 132, 26);
    assert!(conversations.contains("arm:30004") && conversations.contains("90640"), "{conversations}");
    model.obey(Order::NextTab);
    let feed = drawn(&model, 132, 26);
    let (newer, older) = (feed.find("#8").unwrap(), feed.find("#7").unwrap());
    assert!(newer < older && feed.contains("REFUSED no_rule hmi -> arm"), "{feed}");
    for tab in 0..4 {
        model.obey(Order::Tab(tab));
        assert!(drawn(&model, 132, 26).contains("q quit"));
    }
}

#[test]
fn rates_are_of_the_time_between_two_looks_and_none_after_a_restart() {
    let mut model = model();
    assert_eq!(model.rates.ports, [[100.0, 100.0], [500.0, 500.0]]);
    let mut replaced = status(1);
    replaced.restarts = 1;
    model.take(News::State(Box::new(replaced)), 3.0);
    assert_eq!(model.frames[1], [500], "no rate over a replacement");
    model.take(News::State(Box::new(Status { restarts: 1, ..status(3) })), 5.0);
    assert_eq!(model.rates.ports[1], [500.0, 500.0]);
}

#[test]
fn conversations_are_sorted_by_every_column_and_back() {
    let mut model = model();
    let first = |model: &Model| model.conversations()[0].client_name.clone();
    model.obey(Order::Sort);
    assert_eq!((model.column, first(&model)), (Column::Bytes, "hmi".to_owned()));
    model.obey(Order::Reverse);
    assert_eq!(first(&model), "plc");
    model.obey(Order::Reverse);
    for _ in 0..Column::ALL.len() {
        model.obey(Order::Sort);
    }
    assert_eq!(model.column, Column::Bytes, "once around");
    while model.column != Column::Client {
        model.obey(Order::Sort);
    }
    assert_eq!(first(&model), "hmi");
}

#[test]
fn what_is_old_says_so_and_what_is_frozen_stays() {
    let mut model = model();
    model.take(News::Unreachable("no answer".into()), 2.5);
    model.take(News::Unreachable("still none".into()), 3.0);
    assert!(drawn(&model, 132, 26).starts_with("NOT REACHABLE for 3 s"), "{}", drawn(&model, 132, 26));
    model.take(News::State(Box::new(status(104))), 4.0);
    assert!(!drawn(&model, 132, 26).contains("NOT REACHABLE"));
    model.obey(Order::Freeze);
    model.take(News::Lines(vec![refusal(9)]), 4.1);
    assert_eq!(model.feed.len(), 2);
    assert!(drawn(&model, 132, 26).contains("FROZEN"));
}

#[test]
fn keys_of_people_mean_what_the_last_line_says() {
    let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
    assert_eq!(order(key(KeyCode::Char('q'))), Some(Order::Quit));
    assert_eq!(order(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Some(Order::Quit));
    assert_eq!(order(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)), None);
    assert_eq!(order(key(KeyCode::Char('1'))), Some(Order::Tab(0)));
    assert_eq!(order(key(KeyCode::Char('5'))), None);
}

proptest! {
    /// No size of the terminal and no order of keys makes it fail.
    #[test]
    fn any_size_can_be_drawn(width in 1_u16..200, height in 1_u16..60, keys in prop::collection::vec(0_usize..9, 0..30)) {
        let mut model = model();
        for key in keys {
            model.obey([
                Order::NextTab, Order::LastTab, Order::Down(1), Order::Down(usize::MAX), Order::Up(3), Order::Sort,
                Order::Reverse, Order::Tab(3), Order::Tab(99),
            ][key]);
            drawn(&model, width, height);
        }
        // Rows that went away under the cursor.
        model.take(News::State(Box::default()), 9.0);
        for tab in 0..4 {
            model.obey(Order::Tab(tab));
            drawn(&model, width, height);
        }
    }
}

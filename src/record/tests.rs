#![allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dissect::Toward;
use link::{Endpoint, FlowKey, Mac};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, OptionCode, PcapBlockOwned, PcapNGReader};

use super::*;
use crate::command::{Class, Service};
use crate::event::{
    Action, Answer, CommandRecord, Detail, Event, EventId, FrameRecord, MessageRecord, ModbusDetail, Notice, Reason,
    Record, Render, RobotContext, RuleId, Said, Settled, Text, Verdict,
};

const SECOND: u64 = 1_000_000_000;

fn key() -> FlowKey {
    let address = |last| IpAddr::from([10, 20, 0, last]);
    FlowKey::new(Endpoint::new(address(21), 49152), Endpoint::new(address(40), 502), 6, 4)
}

fn verdict(reason: Reason) -> Verdict {
    let action = if reason == Reason::Allowed { Action::Forward } else { Action::Reset };
    Verdict { action, reason, rule: RuleId(1), generation: 3 }
}

fn write(transaction: u16, value: u16) -> Detail {
    let mut values = [0; 16];
    values[0] = value;
    Detail::Modbus(ModbusDetail {
        transaction,
        unit: 1,
        function: 6,
        sub_function: None,
        read: None,
        write: Some((128, 1)),
        values,
        values_len: 1,
    })
}

pub(super) fn command(id: u64, at_ns: u64, reason: Reason, detail: Detail) -> Event {
    let service = match detail {
        Detail::Rtde { .. } => Service::Rtde,
        _ => Service::Modbus,
    };
    let record = Record::Command(CommandRecord {
        key: key(),
        opened: Toward::Robot,
        service,
        class: Class::Register,
        verdict: verdict(reason),
        enforced: true,
        len: 12,
        unit: Text::EMPTY,
        robot: RobotContext::default(),
        detail,
    });
    Event { id: EventId(id), monotonic_ns: at_ns, wall_ns: at_ns, frame: id, record }
}

fn answer(to: u64, at_ns: u64, exception: u8) -> Event {
    let record = Record::Answer(Answer {
        to: EventId(to),
        key: key(),
        service: Service::Modbus,
        exception,
        values: [7; 16],
        values_len: 1,
        text: Text::EMPTY,
        recipe: 0,
        in_use: None,
    });
    Event { id: EventId(0), monotonic_ns: at_ns, wall_ns: at_ns, frame: 0, record }
}

pub(super) fn frame(id: u64, at_ns: u64, reason: Reason) -> Event {
    let record = Record::Frame(FrameRecord {
        toward: Toward::Robot,
        key: Some(key()),
        macs: (Mac([2; 6]), Mac([4; 6])),
        ether_type: 0x0800,
        verdict: verdict(reason),
        enforced: true,
        repeats: 0,
    });
    Event { id: EventId(id), monotonic_ns: at_ns, wall_ns: at_ns, frame: id, record }
}

fn settle(settler: &mut Settler, events: &[Event]) -> Vec<Settled> {
    let mut out = Vec::new();
    for event in events {
        settler.take(event, &mut |settled| out.push(settled));
    }
    out
}

fn expire(settler: &mut Settler, now_ns: u64) -> Vec<Settled> {
    let mut out = Vec::new();
    settler.expire(now_ns, &mut |settled| out.push(settled));
    out
}

fn ids(settled: &[Settled]) -> Vec<u64> {
    settled.iter().map(|settled| settled.event.id.0).collect()
}

#[test]
fn answers_find_their_commands_in_any_order() {
    let mut settler = Settler::new(Settling::one_by_one());
    let commands = [1, 2, 3].map(|id| command(id, id, Reason::Allowed, write(id as u16, 5)));
    assert!(settle(&mut settler, &commands).is_empty());
    let settled = settle(&mut settler, &[answer(2, 10, 0), answer(1, 11, 2), answer(9, 12, 0)]);
    assert_eq!(ids(&settled), [2, 1]);
    assert_eq!(settled[1].answer.unwrap().exception, 2);
    assert_eq!(settler.unmatched(), 1);
    assert!(expire(&mut settler, 2 * SECOND).is_empty());
    let late = expire(&mut settler, 2 * SECOND + 3);
    assert_eq!(ids(&late), [3]);
    assert!(late[0].answer.is_none());
    settle(&mut settler, &[answer(3, 3 * SECOND, 0)]);
    assert_eq!(settler.unmatched(), 2);
}

#[test]
fn refusals_wait_for_nothing_and_are_never_counted_together() {
    let mut settler = Settler::new(Settling::default());
    let refusals: Vec<_> = (1..=50).map(|id| command(id, id, Reason::ValueNotAllowed, write(1, 200))).collect();
    assert_eq!(settle(&mut settler, &refusals).len(), 50);
    assert!(expire(&mut settler, u64::MAX).is_empty());
}

#[test]
fn waiting_is_bounded_and_nothing_of_it_is_lost() {
    let mut settler = Settler::new(Settling { waiting: 8, ..Settling::one_by_one() });
    let commands: Vec<_> = (1..=100).map(|id| command(id, id, Reason::Allowed, write(id as u16, 5))).collect();
    let mut all = ids(&settle(&mut settler, &commands));
    assert_eq!(all.len(), 92);
    settler.finish(&mut |settled| all.push(settled.event.id.0));
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
}

#[test]
fn repeats_are_told_of_once_a_window_with_their_ranges() {
    let mut settler = Settler::new(Settling::default());
    let mut out = Vec::new();
    for id in 1..=1000u64 {
        let at = id * SECOND / 100;
        let events = [
            command(id, at, Reason::Allowed, write(id as u16, 20 + (id % 50) as u16)),
            answer(id, at + 1, if id == 500 { 4 } else { 0 }),
        ];
        out.extend(settle(&mut settler, &events));
    }
    // The first of all, and the one with an exception.
    assert_eq!(ids(&out), [1, 500]);
    let told = expire(&mut settler, 11 * SECOND);
    assert_eq!(ids(&told), [1000]);
    let repeats = told[0].repeats.as_ref().unwrap();
    assert_eq!((repeats.count, repeats.first), (998, EventId(2)));
    assert_eq!((repeats.written.as_slice(), repeats.read.as_slice()), (&[[20, 69]][..], &[[7, 7]][..]));
    assert!(expire(&mut settler, 40 * SECOND).is_empty());
    // Silence for a window: the next one is told of at once.
    let again = [command(1001, 60 * SECOND, Reason::Allowed, write(1, 20)), answer(1001, 60 * SECOND + 1, 0)];
    assert_eq!(ids(&settle(&mut settler, &again)), [1001]);
}

#[test]
fn repeats_of_rtde_data_keep_the_range_of_each_number() {
    let mut settler = Settler::new(Settling::default());
    let data = |fraction: &str| Detail::Rtde {
        package: b'U',
        recipe: 1,
        text: Text::new(format!("speed_slider_mask=1,speed_slider_fraction={fraction}").as_bytes()),
        in_use: None,
    };
    let events: Vec<_> = ["0.5", "0.25", "0.75", "NaN"]
        .iter()
        .enumerate()
        .map(|(at, text)| command(at as u64 + 1, at as u64, Reason::Allowed, data(text)))
        .collect();
    assert_eq!(ids(&settle(&mut settler, &events)), [1]);
    let told = expire(&mut settler, 20 * SECOND);
    let numbers = &told[0].repeats.as_ref().unwrap().numbers;
    let expected = [("speed_slider_mask".to_owned(), [1.0, 1.0]), ("speed_slider_fraction".to_owned(), [0.25, 0.75])];
    assert_eq!(numbers, &expected);
}

#[test]
fn alike_frames_are_told_of_once_a_second() {
    let mut settler = Settler::new(Settling::default());
    let frames: Vec<_> = (0..300).map(|id| frame(id, id * SECOND / 100, Reason::NoServiceRule)).collect();
    let mut out = settle(&mut settler, &frames);
    out.extend(expire(&mut settler, 10 * SECOND));
    let told: u32 = out
        .iter()
        .map(|settled| match settled.event.record {
            Record::Frame(frame) => 1 + frame.repeats,
            _ => panic!("a frame"),
        })
        .sum();
    assert_eq!(told, 300);
    assert!(out.len() <= 5, "{}", out.len());
    // Another reason is told of at once.
    assert_eq!(settle(&mut settler, &[frame(999, 10 * SECOND, Reason::Fragment)]).len(), 1);
}

#[test]
fn the_same_message_is_told_of_once_whoever_listened() {
    let message = |id: u64, at_ns: u64, text: &[u8]| {
        let mut key = key();
        key.plant.port = 1000 + id as u16;
        let (service, said, text) = (Service::UrScript, Said::Text, Text::new(text));
        let record = Record::Message(MessageRecord { key, service, said, text, unreported: 0 });
        Event { id: EventId(id), monotonic_ns: at_ns, wall_ns: at_ns, frame: id, record }
    };
    let mut settler = Settler::new(Settling::default());
    let events: Vec<_> = (1..=500).map(|id| message(id, id * SECOND / 100, b"cycle begins")).collect();
    assert_eq!(ids(&settle(&mut settler, &events)), [1]);
    assert_eq!(ids(&settle(&mut settler, &[message(501, 5 * SECOND, b"another")])), [501]);
    let told = expire(&mut settler, 11 * SECOND);
    assert_eq!(ids(&told), [500]);
    let Record::Message(message_told) = told[0].event.record else { panic!("a message") };
    assert_eq!(message_told.unreported, 498, "beside the first and this one");
    // Silent for a window: forgotten, so the next is told of at once.
    assert!(expire(&mut settler, 30 * SECOND).is_empty());
    assert_eq!(ids(&settle(&mut settler, &[message(502, 31 * SECOND, b"cycle begins")])), [502]);
    let mut each = Settler::new(Settling::one_by_one());
    assert_eq!(settle(&mut each, &events).len(), 500);
}

pub(super) struct Ids;

impl Render for Ids {
    fn line(&mut self, settled: &Settled, out: &mut String) {
        let lost = match settled.event.record {
            Record::Notice(Notice::RecordsLost { count }) => count,
            _ => 0,
        };
        out.push_str(&format!("{{\"event_id\":{},\"lost\":{lost}}}", settled.event.id.0));
    }

    fn sentence(&mut self, event: &Event) -> String {
        format!("plc wrote, event {}", event.id.0)
    }
}

pub(super) fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("vambrace-record-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
}

/// A box in which nothing happens.
#[derive(Debug)]
pub(super) struct Quiet;

impl evidence::Surroundings for Quiet {
    fn frames(&self) -> evidence::FrameCounts {
        evidence::FrameCounts::default()
    }

    fn clock(&self) -> evidence::ClockState {
        evidence::ClockState::Unknown
    }
}

pub(super) fn options(directory: &std::path::Path, size_budget: u64) -> RecordOptions {
    RecordOptions {
        directory: directory.to_owned(),
        size_budget,
        max_age: None,
        witnesses: Vec::new(),
        counter: None,
        host: "cell4".into(),
        names: Vec::new(),
        recipients: Vec::new(),
        event_lines: true,
        ring: None,
        ledger: None,
        settling: Settling::one_by_one(),
        beat: Duration::MAX,
    }
}

fn recorder(directory: &std::path::Path, size_budget: u64, queue: &Arc<Queue>) -> Recorder {
    Recorder::start(options(directory, size_budget), Arc::clone(queue), Box::new(Ids), Arc::new(Quiet)).unwrap()
}

/// Beats, and nothing else.
struct Beats(u32);

impl Render for Beats {
    fn line(&mut self, _: &Settled, _: &mut String) {}

    fn sentence(&mut self, _: &Event) -> String {
        String::new()
    }

    fn beat(&mut self, out: &mut String) {
        self.0 += 1;
        out.push_str(&format!("{{\"beat\":{}}}", self.0));
    }
}

#[test]
fn the_heart_beats_while_nothing_happens() {
    let directory = folder("beat");
    let options = RecordOptions { beat: Duration::from_millis(30), ..options(&directory, 1 << 20) };
    let queue = Arc::new(Queue::new(8, 1));
    let recorder = Recorder::start(options, queue, Box::new(Beats(0)), Arc::new(Quiet)).unwrap();
    let counters = recorder.counters();
    wait("three beats", || counters.written() >= 3);
    recorder.stop();
    let text = fs::read_to_string(directory.join(EVENT_FILE)).unwrap();
    assert!(text.starts_with("{\"beat\":1}\n{\"beat\":2}\n{\"beat\":3}\n"), "{text}");
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn without_event_lines_all_goes_to_the_evidence() {
    let directory = folder("no-lines");
    let options =
        RecordOptions { beat: Duration::from_millis(30), event_lines: false, ..options(&directory, 64 << 20) };
    let recorder = Recorder::start(options, Arc::new(Queue::new(8, 1)), Box::new(Beats(0)), Arc::new(Quiet)).unwrap();
    let counters = recorder.counters();
    wait("three beats", || counters.written() >= 3);
    recorder.stop();
    assert_eq!(fs::read_to_string(directory.join(EVENT_FILE)).unwrap(), "");
    let mut lines = Vec::new();
    let open = |path: &std::path::Path| fs::File::open(path);
    assert_eq!(evidence::events_of_all(&directory, open, |line| lines.push(line.to_owned())).unwrap(), 0);
    assert_eq!(lines[..3], ["{\"beat\":1}", "{\"beat\":2}", "{\"beat\":3}"]);
    fs::remove_dir_all(directory).unwrap();
}

pub(super) fn wait(what: &str, until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} within 10 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn ids_go_on_after_a_restart_and_a_torn_line_is_cut() {
    let directory = folder("restart");
    assert_eq!(next_event_id(&directory).unwrap(), EventId(1));
    let queue = Arc::new(Queue::new(16, 1));
    let first = recorder(&directory, 1 << 30, &queue);
    assert_eq!(first.first_event_id(), EventId(1));
    for id in [1, 3, 2] {
        assert!(queue.try_push(&command(id, id, Reason::NoRule, write(1, 1))));
    }
    first.stop();
    let path = directory.join(EVENT_FILE);
    let mut text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    text.push_str("{\"event_id\":77,\"l");
    fs::write(&path, &text).unwrap();
    let second = recorder(&directory, 1 << 30, &queue);
    assert_eq!(second.first_event_id(), EventId(4));
    drop(second);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 3);
    // Text from the wire can't feign an id: its quotes are escaped.
    fs::write(&path, "{\"event_id\":5,\"text\":\"\\\"event_id\\\":900\"}\n").unwrap();
    assert_eq!(next_event_id(&directory).unwrap(), EventId(6));
    // Event files that were moved away, or lost their end in a power cut: the evidence knows.
    fs::remove_file(&path).unwrap();
    assert_eq!(recorder(&directory, 1 << 30, &queue).first_event_id(), EventId(4));
}

#[test]
fn files_turn_over_within_the_budget() {
    let directory = folder("budget");
    let queue = Arc::new(Queue::new(4096, 4));
    // A quarter is for event lines.
    let budget = 1_200_000;
    let recorder = recorder(&directory, budget, &queue);
    for id in 1..=40_000 {
        while queue.len() >= 4096 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(queue.try_push(&command(id, id, Reason::NoRule, write(1, 1))));
    }
    let counters = recorder.counters();
    recorder.stop();
    assert_eq!(counters.written(), 40_000);
    let files = event_files(&directory).unwrap();
    assert!(files.len() >= 3, "{files:?}");
    let bytes: u64 = files.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= budget / 4 && bytes > budget / 8, "{bytes}");
    let all: u64 = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(all <= budget, "{all}");
    assert!(!evidence::segment_files(&directory).unwrap()[0].ends_with("evidence-00000001.pcapng"));
    let text: String = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let ids: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["event_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, (40_001 - ids.len() as u64..=40_000).collect::<Vec<_>>());
    assert_eq!(next_event_id(&directory).unwrap(), EventId(40_001));
}

#[test]
fn a_full_disk_is_reported_survived_and_told_of() {
    let directory = folder("full");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(EVENT_FILE);
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let queue = Arc::new(Queue::new(1 << 16, 4));
    let recorder = recorder(&directory, 1 << 30, &queue);
    let counters = recorder.counters();
    let mut id = 0;
    while counters.lost() == 0 {
        id += 1;
        assert!(id < 1_000_000, "the backlog is bounded");
        // A push that finds no room counts as a loss, so room is waited for before.
        while queue.len() >= 1000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(queue.try_push(&command(id, id, Reason::NoRule, write(1, 1))));
    }
    assert!(counters.error().unwrap().contains("No space left"), "{:?}", counters.error());
    fs::remove_file(&path).unwrap();
    wait("the disk to be tried again", || counters.error().is_none());
    recorder.stop();
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lost: u64 = lines.iter().map(|line| line["lost"].as_u64().unwrap()).sum();
    let notices = lines.iter().filter(|line| line["lost"] != 0).count() as u64;
    assert!(lost > 0);
    assert_eq!(lines.len() as u64 - notices + lost, id);
}

#[test]
fn a_full_queue_is_told_of_under_the_id_of_the_last_lost() {
    let directory = folder("lost");
    let queue = Arc::new(Queue::new(4, 1));
    for id in 1..=10 {
        queue.try_push(&command(id, id, Reason::NoRule, write(1, 1)));
    }
    let recorder = recorder(&directory, 1 << 30, &queue);
    let counters = recorder.counters();
    wait("the queue to be emptied", || counters.written() == 5);
    recorder.stop();
    assert_eq!(counters.lost(), 6);
    let text = fs::read_to_string(directory.join(EVENT_FILE)).unwrap();
    assert_eq!(text.lines().last(), Some("{\"event_id\":10,\"lost\":6}"));
}

#[test]
fn what_is_in_the_way_of_recording_is_said_in_one_line() {
    let directory = folder("one-line");
    let queue = Arc::new(Queue::new(16, 1));
    let start = |directory: &std::path::Path| {
        let options = options(directory, 1 << 30);
        Recorder::start(options, Arc::clone(&queue), Box::new(Ids), Arc::new(Quiet)).map(drop)
    };
    let first = recorder(&directory, 1 << 30, &queue);
    let busy = start(&directory).unwrap_err().to_string();
    assert!(
        busy.ends_with("another process records into it; end that one, or name another folder as record.directory")
    );
    drop(first);
    fs::write(directory.join("evidence.key"), "lost\n").unwrap();
    let garbled = start(&directory).unwrap_err().to_string();
    assert!(garbled.contains("evidence.key holds no key; put the right one back") && !garbled.contains("writable"));
    let file = directory.join("evidence.key").join("records");
    assert!(start(&file).unwrap_err().to_string().contains("; make it writable for the user"));
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_flood_loses_nothing_that_is_not_told_of() {
    let directory = folder("flood");
    let queue = Arc::new(Queue::new(512, 16));
    let recorder = recorder(&directory, 1 << 30, &queue);
    let about = |event| Refused {
        event: EventId(event),
        wall_ns: event,
        toward: Toward::Robot,
        verdict: verdict(Reason::NoRule),
        wire_len: 1500,
    };
    let total = 100_000;
    for id in 1..=total {
        queue.try_push(&command(id, id, Reason::NoRule, write(1, 1)));
        if id % 8 == 0 {
            queue.try_push_frame(&about(id), &[7; 1500]);
        }
    }
    recorder.stop();
    let sound = evidence::tests::check::check(&directory).unwrap();
    let gaps = |which: &str| -> u64 { sound.words("gap").iter().map(|gap| gap[which].as_u64().unwrap()).sum() };
    let notices = sound.records.iter().filter(|record| record["lost"].as_u64().is_some_and(|lost| lost > 0)).count();
    assert!(gaps("records") > 0 && gaps("frames") > 0, "the flood was none");
    assert_eq!(sound.events().len() as u64 - notices as u64 + gaps("records"), total);
    assert_eq!(sound.packets.len() as u64 + gaps("frames"), total / 8);
    fs::remove_dir_all(directory).unwrap();
}

/// A PLC that reads and writes every 10 ms, three minutes long: what each of its commands costs on the disk.
#[test]
fn a_command_of_a_busy_plc_costs_few_bytes() {
    use crate::export::{Names, eve::EveRender};
    let directory = evidence::tests::folder("bytes");
    let of = evidence::tests::Box_::default();
    let mut store = evidence::tests::open(&evidence::tests::options(&directory), &of);
    let names = Names::new("cell4".to_owned(), [("10.20.0.21".parse().unwrap(), "plc".to_owned())]);
    let mut render = EveRender { names: Arc::new(names), capture: false };
    let (cycle, minutes) = (SECOND / 100, 3);
    let measure = |settling: Settling, store: &mut evidence::Evidence, render: &mut EveRender| {
        let mut settler = Settler::new(settling);
        let before = store.bytes();
        let mut commands = 0u64;
        for at in 1..=minutes * 60 * SECOND / cycle {
            let now = at * cycle;
            let read = Detail::Modbus(ModbusDetail {
                transaction: at as u16,
                unit: 1,
                function: 3,
                sub_function: None,
                read: Some((258, 8)),
                write: None,
                values: [0; 16],
                values_len: 0,
            });
            let (one, two) = (2 * at, 2 * at + 1);
            let events = [
                command(one, now, Reason::Allowed, read),
                answer(one, now + 1, 0),
                command(two, now + 2, Reason::Allowed, write(at as u16, (at % 40) as u16)),
                answer(two, now + 3, 0),
            ];
            let mut lines = Vec::new();
            let mut tell = |settled: Settled| {
                let mut line = String::new();
                render.line(&settled, &mut line);
                lines.push(line);
            };
            for event in events {
                settler.take(&event, &mut tell);
            }
            settler.expire(now + 4, &mut tell);
            for line in lines {
                store.record(line.as_bytes(), 1);
            }
            of.pass(Duration::from_millis(10));
            store.tick();
            commands += 2;
        }
        (store.bytes() - before) as f64 / commands as f64
    };
    let repeated = measure(Settling::default(), &mut store, &mut render);
    let single = measure(Settling::one_by_one(), &mut store, &mut render);
    store.close();
    println!("bytes of evidence a command: {repeated:.2}, and {single:.1} where each is told of by itself");
    assert!(repeated < 5.0 && single < 1500.0, "{repeated} {single}");
    evidence::tests::sound(&directory);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn a_successor_takes_up_what_a_killed_process_left() {
    let directory = folder("successor");
    let queue = Arc::new(Queue::new(64, 1));
    drop(recorder(&directory, 1 << 30, &queue));
    // As a killed process leaves it: without close, the last block cut short.
    let path = evidence::segment_files(&directory).unwrap().remove(0);
    let bytes = fs::read(&path).unwrap();
    let close = bytes.windows(19).position(|window| window == b"{\"evidence\":\"close\"").unwrap_or(0);
    assert!(close > 0);
    fs::write(&path, &bytes[..close + 5]).unwrap();
    queue.try_push(&command(8, 1, Reason::NoRule, write(1, 1)));
    let around = Arc::new(Quiet);
    let options = options(&directory, 1 << 30);
    let successor = Recorder::start_behind(options, Arc::clone(&queue), Box::new(Ids), around).unwrap();
    let counters = successor.counters();
    wait("the event to be written", || counters.written() == 1);
    successor.stop();
    let sound = evidence::tests::check::check(&directory).unwrap();
    let told: Vec<_> = sound.records.iter().filter_map(|record| record["evidence"].as_str()).collect();
    assert_eq!(told, ["open", "open", "recovered", "close"]);
    assert_eq!(sound.events(), [8]);
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn refused_frames_stand_in_the_evidence_with_verdict_and_comment() {
    let directory = folder("frames");
    let queue = Arc::new(Queue::new(16, 4));
    let recorder = recorder(&directory, 1 << 30, &queue);
    queue.try_push(&command(5, 1, Reason::ValueNotAllowed, write(1, 1)));
    let about = |event, toward, wire_len| Refused {
        event: EventId(event),
        wall_ns: 1_764_000_000_123_456_789,
        toward,
        verdict: verdict(Reason::ValueNotAllowed),
        wire_len,
    };
    queue.try_push_frame(&about(5, Toward::Robot, 61), &[1; 61]);
    queue.try_push_frame(&about(0, Toward::Plant, 9000), &[2; 9000]);
    recorder.stop();
    let path = &evidence::segment_files(&directory).unwrap()[0];
    let mut reader = PcapNGReader::new(1 << 16, fs::File::open(path).unwrap()).unwrap();
    let (mut names, mut packets, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    while let Ok((used, block)) = reader.next() {
        match block {
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                assert_eq!((interface.snaplen, interface.if_tsresol), (SNAP_LEN as u32, 9));
                names.push(String::from_utf8_lossy(interface.if_name().unwrap().unwrap().as_bytes()).into_owned());
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let option = |code| {
                    let option = packet.options.iter().find(|option| option.code == OptionCode(code));
                    option.map(|option| option.value[..usize::from(option.len)].to_vec()).unwrap_or_default()
                };
                let time = (u64::from(packet.ts_high) << 32) + u64::from(packet.ts_low);
                packets.push((packet.if_id, packet.caplen, packet.origlen, time));
                assert_eq!(option(7), b"\0value_not_allowed");
                let comment = String::from_utf8(option(1)).unwrap();
                if packet.if_id == 2 {
                    assert_eq!((comment.as_str(), option(5)), ("plc wrote, event 5", 5u64.to_le_bytes().to_vec()));
                } else {
                    assert!(comment.starts_with("Refused (value_not_allowed, policy generation 3)"), "{comment}");
                }
            }
            PcapBlockOwned::NG(Block::Custom(custom)) => {
                assert_eq!((custom.pen, &custom.data[..4]), (32473, &b"VBR1"[..]));
                let length = u32::from_le_bytes(custom.data[8..12].try_into().unwrap()) as usize;
                if custom.data[4] == 1 {
                    lines.push(String::from_utf8(custom.data[12..12 + length].to_vec()).unwrap());
                }
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {}
            _ => panic!("a block of another kind"),
        }
        reader.consume(used);
    }
    let time = 1_764_000_000_123_456_789;
    assert_eq!(names, ["plant", "robot", "plant.dropped", "robot.dropped"]);
    assert_eq!(packets, [(2, 61, 61, time), (3, SNAP_LEN as u32, 9000, time)]);
    // The same lines as in the event file, between the store's own words.
    let events = fs::read_to_string(directory.join(EVENT_FILE)).unwrap();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("{\"evidence\":\"open\"") && lines[2].starts_with("{\"evidence\":\"close\""));
    assert_eq!(events, format!("{}\n", lines[1]));
    assert_eq!(evidence::segments_around(&directory, 0).unwrap(), std::slice::from_ref(path));
    assert_eq!(pcapng::packets_with_id(fs::File::open(path).unwrap(), 5).unwrap(), [vec![1; 61]]);
    fs::remove_dir_all(directory).unwrap();
}

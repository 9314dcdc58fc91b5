//! Whose jitter: a cycle through the worker with delays put in at known places, in virtual time and through a running box.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "../benches/support/mod.rs"]
mod bench;
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dissect::Toward;
use link::craft::{Segment, Template};
use link::{Tags, TcpFlags};
use serde_json::Value;
use vambrace::engine::{Arena, Clock, Mode, Snapshot, Worker, WorkerShared};
use vambrace::event::{Notice, Record, Whose};
use vambrace::nic::FramePort;
use vambrace::nic::memory::{MemoryPort, pair};
use vambrace::record::Queue;

use support::adversary::{PATIENCE, ROBOT, ROBOT_MAC, Responder};
use support::guarded::{PLC, PLC_MAC, POLICY, Vambrace, address, write_register};
use support::netns::Netns;
use support::robot::Robot;
use support::wire::{PLANT, PLANT_SIDE, ROBOT as ROBOT_PORT, ROBOT_SIDE};
use support::{can_make_namespaces, has_tool};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const BEGAN: u64 = 1_700_000_000_000_000_000;

/// Held by the one that measures: two at a time would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// A clock that stands until it is set.
#[derive(Clone)]
struct Standing(Arc<AtomicU64>);

impl Clock for Standing {
    fn monotonic_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed) - BEGAN + 1_000_000_000
    }

    fn wall_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a delay is put in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Nowhere,
    Client,
    Network,
    Robot,
    BoxTowardRobot,
    BoxTowardPlant,
}

/// A PLC's cycle of 10 ms over Modbus through a worker between two ports in memory.
struct Cell<'m> {
    worker: Worker<'m, MemoryPort, Standing, ()>,
    ends: [MemoryPort; 2],
    clock: Standing,
    queue: Arc<Queue>,
    shared: Arc<WorkerShared>,
    template: Template,
    /// Next sequence numbers of client and robot.
    seq: [u32; 2],
}

impl<'m> Cell<'m> {
    fn new(mode: Mode, arena: &'m mut Arena) -> Self {
        let ((plant, client), (robot, server)) = (pair(64), pair(64));
        let clock = Standing(Arc::new(AtomicU64::new(BEGAN)));
        let (queue, shared) = (Arc::new(Queue::new(1 << 16, 64)), Arc::new(WorkerShared::new(bench::rules(mode))));
        let worker =
            Worker::new((plant, robot), arena, Arc::clone(&queue), Arc::clone(&shared), clock.clone(), ()).unwrap();
        let (from, to) = ((bench::PLC.into(), 40_000), (bench::ROBOT.into(), 502));
        let template = Template::new((bench::PLC_MAC, bench::ROBOT_MAC), Tags::default(), from, to).unwrap();
        let mut cell = Self { worker, ends: [client, server], clock, queue, shared, template, seq: [1000, 5000] };
        cell.worker.begin();
        let syn = Segment {
            seq: 999,
            flags: TcpFlags::SYN,
            window: 64_000,
            maximum_segment_size: Some(1460),
            ..Segment::default()
        };
        cell.put(Toward::Robot, &Segment { timestamps: Some((0, 0)), ..syn }, BEGAN, 20 * US);
        let flags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        let answer = Segment { seq: 4999, ack: 1000, flags, timestamps: Some((0, 0)), ..syn };
        cell.put(Toward::Plant, &answer, BEGAN + 100 * US, 20 * US);
        cell.data(Toward::Robot, &[], BEGAN + 200 * US, BEGAN + 200 * US, 20 * US);
        cell
    }

    /// A segment that comes to a port at `at` and leaves the box `residence` later; it has to leave.
    fn put(&mut self, toward: Toward, segment: &Segment<'_>, at: u64, residence: u64) {
        let template = if toward == Toward::Robot { self.template } else { self.template.reversed() };
        let frame = bench::emit(&template, segment);
        self.clock.0.store(at + residence, Ordering::Relaxed);
        let end = &mut self.ends[toward as usize];
        end.set_time(at);
        assert_eq!(end.transmit(&[&frame]).unwrap(), 1);
        assert!(self.worker.turn());
        let out = self.ends[toward.reverse() as usize].drain();
        assert_eq!(out.len(), 1, "{toward:?}");
    }

    /// Data that was sent at `sent`, as its timestamp tells in milliseconds.
    fn data(&mut self, toward: Toward, payload: &[u8], sent: u64, at: u64, residence: u64) {
        let (own, other) = (toward as usize, toward.reverse() as usize);
        let stamp = ((sent - BEGAN) / MS) as u32;
        let flags = TcpFlags(if payload.is_empty() { TcpFlags::ACK.0 } else { TcpFlags::ACK.0 | TcpFlags::PSH.0 });
        let segment = Segment {
            seq: self.seq[own],
            ack: self.seq[other],
            flags,
            window: 64_000,
            payload,
            timestamps: Some((stamp, 0)),
            ..Segment::default()
        };
        self.put(toward, &segment, at, residence);
        self.seq[own] = self.seq[own].wrapping_add(payload.len() as u32);
    }

    /// So many rounds of question and answer, about every fiftieth with a delay of 15 to 25 ms; says how many there were.
    fn cycle(&mut self, rounds: u16, place: Place) -> u64 {
        let (mut asked, mut done, mut delays) = (BEGAN + MS, 0, 0);
        for round in 0..rounds {
            let (request, response) = bench::modbus_exchange(round);
            let delay = if round % 53 == 52 { 15 * MS + u64::from(round) % 10 * MS } else { 0 };
            delays += u64::from(delay > 0);
            let at = |of| if place == of { delay } else { 0 };
            asked = (asked + 10 * MS).max(done + 8 * MS) + at(Place::Client);
            let came = asked + 50 * US + at(Place::Network);
            let residence = 20 * US + at(Place::BoxTowardRobot);
            self.data(Toward::Robot, &request, asked, came, residence);
            let answered = came + residence + MS + at(Place::Robot);
            let residence = 20 * US + at(Place::BoxTowardPlant);
            self.data(Toward::Plant, &response, answered, answered, residence);
            done = answered + residence;
        }
        delays
    }

    fn snapshot(&mut self) -> Snapshot {
        self.clock.0.fetch_add(300 * MS, Ordering::Relaxed);
        self.worker.turn();
        self.shared.snapshot.lock().unwrap().clone()
    }

    fn told(&self) -> Vec<(Toward, Whose)> {
        std::iter::from_fn(|| self.queue.pop())
            .filter_map(|event| match event.record {
                Record::Notice(Notice::Late { toward, whose, .. }) => Some((toward, whose)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn a_delay_anywhere_in_a_cycle_is_laid_at_its_door_by_the_whole_worker() {
    let cases = [
        (Place::Nowhere, None),
        (Place::Client, Some((Toward::Robot, Whose::Client))),
        (Place::Network, Some((Toward::Robot, Whose::Network))),
        (Place::Robot, Some((Toward::Plant, Whose::Robot))),
        (Place::BoxTowardRobot, Some((Toward::Robot, Whose::Box))),
        (Place::BoxTowardPlant, Some((Toward::Plant, Whose::Box))),
    ];
    for mode in [Mode::Observe, Mode::Shadow, Mode::Enforce] {
        for (place, expected) in cases {
            let mut arena = Arena::boxed(7);
            let mut cell = Cell::new(mode, &mut arena);
            let delays = cell.cycle(1000, place);
            let snapshot = cell.snapshot();
            let mut counts = [0; Whose::COUNT];
            if let Some((_, whose)) = expected {
                counts[whose as usize] = delays;
            }
            assert_eq!(snapshot.late, counts, "{mode:?} {place:?}");
            let told = cell.told();
            assert_eq!(told.first(), expected.as_ref(), "{mode:?} {place:?}");
            assert!(told.iter().all(|it| Some(*it) == expected) && told.len() <= 3, "{told:?}");
            let [conversation] = &snapshot.conversations[..] else { panic!("{snapshot:?}") };
            assert_eq!(conversation.service.to_string(), "modbus");
            assert_eq!(conversation.opened, Toward::Robot);
            for stream in &conversation.talk.streams {
                assert_eq!((stream.frames, stream.left), (1000, 1000), "{mode:?} {place:?}");
                assert_eq!(stream.entry.total() + stream.unmeasured, 1000);
                assert!(stream.period_ns().unwrap().abs_diff(10 * MS) < 500 * US);
            }
        }
    }
}

/// A client, perhaps behind a bad cable, a running box and a robot.
struct Line {
    client: Netns,
    vambrace: Vambrace,
    _cable: Option<BadCable>,
    _robot: Robot,
    _responder: Responder,
    _spaces: [Netns; 2],
}

/// `lab impair` between two namespaces.
struct BadCable {
    child: Child,
    _space: Netns,
}

impl Drop for BadCable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Line {
    fn up(name: &str, cable: Option<&str>) -> Self {
        let (client, middle, far) = (Netns::new("jic"), Netns::new("jib"), Netns::new("jir"));
        let cable = cable.map(|options| {
            let space = Netns::new("jii");
            client.join(PLANT_SIDE, &space, "left", 1508);
            space.join("right", &middle, PLANT, 1508);
            let words = format!("lab impair --plant left --robot right --seed 5 {options}");
            let mut command = space.command(support::vambrace());
            let mut child = command.args(words.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
            let mut first = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
            assert!(first.contains("are joined"), "{first}");
            BadCable { child, _space: space }
        });
        if cable.is_none() {
            client.join(PLANT_SIDE, &middle, PLANT, 1508);
        }
        middle.join(ROBOT_PORT, &far, ROBOT_SIDE, 1508);
        address(&client, PLANT_SIDE, PLC, PLC_MAC);
        address(&far, ROBOT_SIDE, ROBOT, ROBOT_MAC);
        let robot = Robot::start(&far);
        let vambrace = Vambrace::start(&middle, name, "enforce", POLICY);
        let responder = Responder::start(&client);
        Self { client, vambrace, _cable: cable, _robot: robot, _responder: responder, _spaces: [middle, far] }
    }

    fn connect(&self) -> TcpStream {
        let to = SocketAddr::from((ROBOT, 502));
        let stream = self.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Rounds of question and answer with a beat; before each, `before` says how long the client waits beyond it.
    fn cycle(&self, stream: &mut TcpStream, beat: Duration, rounds: u32, before: impl Fn(u32) -> Duration) {
        let mut due = Instant::now();
        for round in 0..rounds {
            due = (due + beat).max(Instant::now()) + before(round);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let command = write_register(128, 1 + (round % 100) as u16);
            stream.write_all(&command).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer[..], command[..]);
        }
    }

    /// What `status --json` says after the worker has told what it measured.
    fn status(&self) -> Value {
        std::thread::sleep(Duration::from_millis(500));
        let output = self.vambrace.ask(&["--json", "status"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }
}

fn late(status: &Value, whose: &str) -> u64 {
    status["late"][whose].as_u64().unwrap_or_else(|| panic!("{status}"))
}

#[test]
fn on_a_wire_a_client_that_pauses_and_a_box_that_is_held_up_are_told_apart() {
    if !can_make_namespaces("on_a_wire_a_client_that_pauses_and_a_box_that_is_held_up_are_told_apart") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let line = Line::up("jitter", None);
    let mut stream = line.connect();
    let beat = Duration::from_millis(20);
    line.cycle(&mut stream, beat, 200, |round| Duration::from_millis(if round % 40 == 39 { 70 } else { 0 }));
    let status = line.status();
    // A busy machine adds its own; nothing of it is the network's, since there is none.
    assert!(late(&status, "client") >= 4, "{status}");
    assert_eq!(late(&status, "network"), 0, "{status}");
    let conversation = &status["conversations"][0];
    assert_eq!((conversation["service"].as_str(), conversation["client_name"].as_str()), (Some("modbus"), Some("plc")));
    let streams = conversation["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 2, "{status}");
    for one in streams {
        assert_eq!(one["frames"], 200);
        let period = one["period_us"].as_f64().unwrap();
        assert!((19_000.0..24_000.0).contains(&period), "{period}");
        assert!(one["entry"]["longest_us"].as_f64().unwrap() > 80_000.0, "{status}");
        assert!(one["exit"]["longest_us"].as_f64().unwrap() > 80_000.0, "{status}");
    }
    let is_late = |event: &Value| event["notice"]["kind"] == "late";
    let told = line.vambrace.waits_for("the client's pause", is_late, |event| event["notice"]["whose"] == "client");
    let sentence = told["notice"]["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("The modbus stream from plc (10.20.0.21) to robot (10.20.0.40) came "), "{sentence}");
    // Before that the silence was told of, while it lasted: 40 ms are two beats, and the pause is 90 ms.
    let is_silent = |event: &Value| event["notice"]["kind"] == "silent";
    let silent = line.vambrace.waits_for("the silence", is_silent, |event| event["notice"]["toward"] == "robot");
    assert!(silent["notice"]["event_id"].as_u64().unwrap() < told["notice"]["event_id"].as_u64().unwrap());
    let long = silent["notice"]["silent_us"].as_u64().unwrap();
    assert!((20_000..80_000).contains(&long) && silent["notice"]["over"] == false, "{silent}");
    assert!(
        sentence.ends_with("it was late when it reached the plant port, plc (10.20.0.21) sent it late."),
        "{sentence}"
    );
    assert_eq!((told["src_ip"].as_str(), told["notice"]["toward"].as_str()), (Some("10.20.0.21"), Some("robot")));

    // The packet process stands still for 80 ms, which its watch lets pass.
    let before = late(&status, "box");
    let packet_process = line.vambrace.packet_process();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                std::thread::sleep(Duration::from_millis(700));
                rustix::process::kill_process(packet_process, rustix::process::Signal::STOP).unwrap();
                std::thread::sleep(Duration::from_millis(80));
                rustix::process::kill_process(packet_process, rustix::process::Signal::CONT).unwrap();
            }
        });
        line.cycle(&mut stream, beat, 180, |_| Duration::ZERO);
    });
    let status = line.status();
    assert!(late(&status, "box") >= before + 3, "{status}");
    let text = String::from_utf8(line.vambrace.ask(&["status"]).stdout).unwrap();
    let shown = text.lines().find(|line| line.starts_with("stream     plc -> robot modbus: every ")).unwrap();
    assert!(shown.contains("client ") && shown.contains("box "), "{shown}");
}

#[test]
fn a_bad_cable_before_the_box_is_the_networks() {
    if !can_make_namespaces("a_bad_cable_before_the_box_is_the_networks") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let line = Line::up("jitter-net", Some("--jitter 15ms"));
    let mut stream = line.connect();
    line.cycle(&mut stream, Duration::from_millis(40), 400, |_| Duration::ZERO);
    let status = line.status();
    // A busy machine adds late frames of everybody's; without the cable, as above, none is the network's.
    assert!(late(&status, "network") >= 5, "{status}");
}

/// `top` on a pseudo-terminal of `script`, between two looks at the terminal's settings.
struct Pty {
    child: Child,
    shown: Arc<Mutex<String>>,
    keys: ChildStdin,
}

impl Pty {
    fn start(line: &Line) -> Self {
        let program = support::vambrace();
        let socket = line.vambrace.directory().join("control.sock");
        let shell = format!(
            "stty cols 150 rows 40; {} --socket {} top; echo \"ended $?\"; stty -a",
            program.display(),
            socket.display()
        );
        let mut command = Command::new("script");
        command.args(["-qfec", &shell, "/dev/null"]).env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let (keys, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let shown = Arc::new(Mutex::new(String::new()));
        let all = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len) = out.read(&mut buffer)
                && len > 0
            {
                all.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..len]));
            }
        });
        Self { child, shown, keys }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Whether something stands on the screen, or was written.
    fn has(&self, what: &str) -> bool {
        let written = self.shown.lock().unwrap();
        written.contains(what) || screen(&written).iter().any(|line| line.contains(what))
    }

    /// Waits until something stands on the screen, or was written.
    fn shows(&self, what: &str) {
        let started = Instant::now();
        while !self.has(what) {
            let shown = self.shown.lock().unwrap().clone();
            assert!(started.elapsed() < Duration::from_secs(30), "{what} was not drawn: {shown:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The terminal is as it was: the other screen left, lines and echo as before.
    fn is_restored(&self, code: u8) {
        self.shows(&format!("ended {code}"));
        self.shows("rows 40");
        std::thread::sleep(Duration::from_millis(100));
        let shown = self.shown.lock().unwrap().clone();
        let after = shown.split("\u{1b}[?1049l").nth(1).unwrap_or_else(|| panic!("{shown:?}"));
        assert!(after.contains(" icanon") && after.contains(" echo "), "{after:?}");
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a terminal that knows how to move and to clear, and nothing of colours.
fn screen(written: &str) -> Vec<String> {
    let mut cells = vec![vec![' '; 150]; 40];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' if characters.clone().next() == Some('[') => {
                let mut sequence = String::new();
                for next in characters.by_ref().skip(1) {
                    sequence.push(next);
                    if next.is_ascii_alphabetic() {
                        break;
                    }
                }
                let (numbers, end) = sequence.split_at(sequence.len().saturating_sub(1));
                let mut numbers = numbers.split(';').map(|number| number.parse::<usize>().unwrap_or(1));
                match end {
                    "H" => {
                        row = numbers.next().unwrap_or(1).saturating_sub(1);
                        column = numbers.next().unwrap_or(1).saturating_sub(1);
                    }
                    "J" => cells.iter_mut().for_each(|line| line.fill(' ')),
                    _ => {}
                }
            }
            '\r' => column = 0,
            '\n' => row = (row + 1).min(39),
            other => {
                if let Some(cell) = cells.get_mut(row).and_then(|line| line.get_mut(column)) {
                    *cell = other;
                }
                column += 1;
            }
        }
    }
    cells.into_iter().map(|line| line.into_iter().collect()).collect()
}

/// The processes of `top` that ask this box.
fn top_of(line: &Line) -> Vec<rustix::process::Pid> {
    let socket = line.vambrace.directory().join("control.sock");
    let all = std::fs::read_dir("/proc").unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok());
    let own = pids.filter(|pid| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = words.trim_end_matches('\0').split('\0').collect();
        words.last() == Some(&"top") && words.contains(&socket.to_str().unwrap()) && words.len() == 4
    });
    own.filter_map(rustix::process::Pid::from_raw).collect()
}

#[test]
fn top_shows_a_running_box_on_a_terminal_and_gives_the_terminal_back() {
    let test = "top_shows_a_running_box_on_a_terminal_and_gives_the_terminal_back";
    if !can_make_namespaces(test) || !has_tool(test, "script") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let line = Line::up("top", None);
    let mut stream = line.connect();
    let mut top = Pty::start(&line);
    for drawn in ["\u{1b}[?1049h", "Ports", "Frames a second", "quit"] {
        top.shows(drawn);
    }
    top.press("2");
    for drawn in ["Periodic streams", "Late, by whose"] {
        top.shows(drawn);
    }
    // On a busy machine the beat is no beat at once.
    for _ in 0..20 {
        line.cycle(&mut stream, Duration::from_millis(20), 60, |_| Duration::ZERO);
        if top.has("modbus") {
            break;
        }
    }
    top.shows("modbus");
    top.press("3");
    top.shows("conversations that brought something last");
    top.press("4");
    top.shows("Refusals and alarms");
    let refused = write_register(7, 7);
    stream.write_all(&refused).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    top.shows("REFUSED");
    top.press("q");
    top.is_restored(0);
    drop(top);

    // A signal ends it as well, and the terminal is given back.
    let top = Pty::start(&line);
    top.shows("Ports");
    rustix::process::kill_process(top_of(&line)[0], rustix::process::Signal::TERM).unwrap();
    top.is_restored(0);
    drop(top);

    // The terminal goes away under it, as when a connection breaks: nothing of it stays behind and keeps a core busy.
    let top = Pty::start(&line);
    top.shows("Ports");
    assert_eq!(top_of(&line).len(), 1);
    drop(top);
    let started = Instant::now();
    while !top_of(&line).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(10), "top goes on without a terminal");
        std::thread::sleep(Duration::from_millis(50));
    }

    // Without a terminal: one line that says what to use.
    let output = line.vambrace.ask(&["top"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1);
    assert!(said.contains("vambrace status"), "{said}");
}

#[test]
fn a_silence_is_told_of_while_it_lasts_also_by_a_worker_that_sleeps() {
    if !can_make_namespaces("a_silence_is_told_of_while_it_lasts_also_by_a_worker_that_sleeps") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let line = Line::up("silence", None);
    let mut stream = line.connect();
    // A cycle of 20 ms, and then nothing at all: the connection stays open. What a busy machine makes silent before that
    // is as good.
    line.cycle(&mut stream, Duration::from_millis(20), 150, |_| Duration::ZERO);
    let silent = |event: &Value| event["notice"]["kind"] == "silent" && event["notice"]["toward"] == "robot";
    let told = line.vambrace.waits_for("the silence", silent, |event| event["notice"]["over"] == false);
    let (long, usual) = (told["notice"]["silent_us"].as_u64().unwrap(), told["notice"]["period_us"].as_u64().unwrap());
    // Two beats, a look each millisecond, and what a busy machine adds.
    assert!((2 * usual..3 * usual).contains(&long) && (19_000..60_000).contains(&usual), "{told}");
    let sentence = told["notice"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("is silent: nothing reached the plant port for "), "{sentence}");
}

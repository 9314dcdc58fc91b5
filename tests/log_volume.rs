//! How much a hundred thousand Modbus transactions leave in the records: what is asked and answered alike is told of in one
//! line, whatever asks; what is refused has a line of its own; the folder keeps to its budget.
//!
//! Beside it stands what the usual monitors write of the same traffic: one line a transaction, and with the values of
//! each register, one line a register.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

#[path = "../benches/support/mod.rs"]
mod traffic;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dissect::Toward;
use link::craft::{Segment, Template};
use link::{Tags, TcpFlags};
use modbus::{FunctionCode, Mbap, UnitId};
use serde_json::Value;
use traffic::{PLC, PLC_MAC, ROBOT, ROBOT_MAC, emit};
use vambrace::engine::{Actions, Arena, Mode, Pipeline};
use vambrace::export::Names;
use vambrace::export::eve::EveRender;
use vambrace::nic::{Frame, FrameMeta};
use vambrace::record::evidence::{ClockState, FrameCounts, Surroundings};
use vambrace::record::{Queue, RecordOptions, Recorder, Settling, event_files};

const MILLISECOND: u64 = 1_000_000;

/// Time of the first frame: 2026-11-23, so that lines have the length that they will have.
const BEGIN_NS: u64 = 1_795_442_282_114_209_000;

/// Who talks, one transaction a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A master that polls ten registers, which never change.
    Constant,
    /// The same, and every register changes.
    Changing,
    /// Writes of ever other values to one register.
    Writes,
    /// Requests that no rule allows, each for another address.
    Scan,
}

impl Kind {
    /// How many transactions, and the time from one to the next.
    fn load(self) -> (u32, u64) {
        match self {
            Self::Constant => (50_000, 10 * MILLISECOND),
            Self::Changing => (30_000, 10 * MILLISECOND),
            Self::Writes => (15_000, 20 * MILLISECOND),
            Self::Scan => (5_000, 5 * MILLISECOND),
        }
    }

    /// Request, answer of the robot (of the box, where it is refused), and how many registers they carry.
    fn exchange(self, n: u32) -> (Vec<u8>, Vec<u8>, u32) {
        let mbap = Mbap::new((n % 65_536) as u16, UnitId(255));
        let (mut request, mut answer) = ([0; 260], [0; 260]);
        match self {
            Self::Constant | Self::Changing => {
                let read = FunctionCode(3);
                let changes = if self == Self::Changing { n } else { 0 };
                let values: Vec<u16> = (0..10).map(|at| ((at * 911 + changes * 7) % 65_536) as u16).collect();
                let request = mbap.read(&mut request, read, 128, 10).unwrap().to_vec();
                (request, mbap.registers(&mut answer, read, &values).unwrap().to_vec(), 10)
            }
            Self::Writes => {
                let value = (n % 121) as u16;
                let request = mbap.write_single_register(&mut request, 130, value).unwrap().to_vec();
                (request.clone(), request, 1)
            }
            Self::Scan => {
                let request = mbap.read(&mut request, FunctionCode(3), 1000 + (n % 30_000) as u16, 1).unwrap().to_vec();
                (request, mbap.pdu(&mut answer, &[0x83, 2]).unwrap().to_vec(), 1)
            }
        }
    }
}

/// A store that is written by the recorder, and a box in front of it.
struct Rig {
    directory: PathBuf,
    pipeline: Pipeline<'static>,
    actions: Actions,
    queue: Arc<Queue>,
    recorder: Option<Recorder>,
    now_ns: u64,
}

/// A box of which nothing else is asked.
#[derive(Debug)]
struct Quiet;

impl Surroundings for Quiet {
    fn frames(&self) -> FrameCounts {
        FrameCounts::default()
    }

    fn clock(&self) -> ClockState {
        ClockState::Unknown
    }
}

impl Rig {
    fn new(name: &str, size_budget: u64) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("volume-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        let rules = traffic::rules(Mode::Enforce);
        let names =
            Names::new("box", [(IpAddr::from(PLC), "plc".to_owned()), (IpAddr::from(ROBOT), "robot".to_owned())]);
        names.set_rules(1, rules.policy.rule_ids().map(str::to_owned).collect());
        let queue = Arc::new(Queue::new(16_384, 512));
        let options = RecordOptions {
            directory: directory.clone(),
            size_budget,
            recipients: Vec::new(),
            event_lines: true,
            ring: None,
            ledger: None,
            settling: Settling::default(),
            beat: Duration::from_secs(3600),
            max_age: None,
            witnesses: Vec::new(),
            counter: None,
            host: "box".to_owned(),
            names: Vec::new(),
        };
        let render = Box::new(EveRender { names: Arc::new(names), capture: false });
        let recorder = Recorder::start(options, Arc::clone(&queue), render, Arc::new(Quiet)).unwrap();
        let pipeline = Pipeline::new(Box::leak(Arena::boxed(0x5eed)), rules, ());
        Self { directory, pipeline, actions: Actions::new(), queue, recorder: Some(recorder), now_ns: MILLISECOND }
    }

    fn frame(&mut self, toward: Toward, bytes: &[u8]) {
        let received_ns = BEGIN_NS + self.now_ns;
        let meta = FrameMeta { received_ns, wire_len: bytes.len() as u32, checksum_partial: false };
        self.actions.begin(0, toward);
        self.pipeline.handle(toward, &Frame { bytes, meta }, self.now_ns, &mut self.actions);
        self.pipeline.poll(self.now_ns, &mut self.actions);
        for event in self.actions.events() {
            // Time is virtual here; a real wire would have given the recorder the time that it is waited for.
            while self.queue.len() > 8192 {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(self.queue.try_push(event));
        }
        self.actions.clear();
        assert_eq!(self.actions.lost(), 0);
    }

    /// One connection with all transactions of a kind; the events of the refused ones are told one by one.
    fn play(&mut self, kind: Kind, port: u16) {
        let ends = ((IpAddr::from(PLC), port), (IpAddr::from(ROBOT), 502));
        let template = Template::new((PLC_MAC, ROBOT_MAC), Tags::default(), ends.0, ends.1).unwrap();
        let (mut seq, mut ack) = (1000_u32, 5000_u32);
        let mss = Some(1460);
        let syn =
            Segment { seq: 999, flags: TcpFlags::SYN, window: 64_000, maximum_segment_size: mss, ..Segment::default() };
        self.frame(Toward::Robot, &emit(&template, &syn));
        let both = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        let syn = Segment {
            seq: 4999,
            ack: 1000,
            flags: both,
            window: 64_000,
            maximum_segment_size: mss,
            ..Segment::default()
        };
        self.frame(Toward::Plant, &emit(&template.reversed(), &syn));
        self.frame(Toward::Robot, &emit(&template, &of(seq, ack, &[])));
        let (count, cycle_ns) = kind.load();
        for n in 0..count {
            let (request, answer, _) = kind.exchange(n);
            self.frame(Toward::Robot, &emit(&template, &of(seq, ack, &request)));
            seq = seq.wrapping_add(request.len() as u32);
            self.now_ns += cycle_ns / 2;
            if kind != Kind::Scan {
                self.frame(Toward::Plant, &emit(&template.reversed(), &of(ack, seq, &answer)));
            }
            ack = ack.wrapping_add(answer.len() as u32);
            self.now_ns += cycle_ns / 2;
            self.frame(Toward::Robot, &emit(&template, &of(seq, ack, &[])));
        }
        let end = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);
        self.frame(Toward::Robot, &emit(&template, &Segment { seq, ack, flags: end, ..Segment::default() }));
    }

    /// Everything that was written, and the bytes of all files.
    fn end(&mut self) -> (Vec<Value>, u64) {
        let recorder = self.recorder.take().unwrap();
        let counters = recorder.counters();
        recorder.stop();
        assert_eq!((counters.lost(), counters.error()), (0, None));
        let mut lines = Vec::new();
        for path in event_files(&self.directory).unwrap() {
            let text = std::fs::read_to_string(path).unwrap();
            lines.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        }
        let entries = std::fs::read_dir(&self.directory).unwrap().map(Result::unwrap);
        // What is held for a full disk is no record, and grows with none.
        let entries = entries.filter(|entry| entry.file_name() != "evidence.reserve");
        let bytes = entries.map(|entry| entry.metadata().unwrap().len());
        (lines, bytes.sum())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn of(seq: u32, ack: u32, payload: &[u8]) -> Segment<'_> {
    let flags = TcpFlags(TcpFlags::ACK.0 | TcpFlags::PSH.0);
    Segment { seq, ack, flags, window: 64_000, payload, ..Segment::default() }
}

/// What a monitor writes that has a line a transaction: the fields of ICSNPP's modbus_detailed, as JSON.
fn detailed_line(n: u32, kind: Kind, registers: u32) -> String {
    let mut values = String::new();
    for at in 0..registers {
        let _ = write!(values, "{}{}", if at == 0 { "" } else { "," }, (at * 911 + n * 7) % 65_536);
    }
    let function = if kind == Kind::Writes { "WRITE_SINGLE_REGISTER" } else { "READ_HOLDING_REGISTERS" };
    format!(
        "{{\"ts\":1795442282.114209,\"uid\":\"CHhAvVGS1DHFjwGM9\",\"id.orig_h\":\"10.20.0.21\",\"id.orig_p\":40000,\
         \"id.resp_h\":\"10.20.0.40\",\"id.resp_p\":502,\"is_orig\":true,\"source_h\":\"10.20.0.21\",\"source_p\":40000,\
         \"destination_h\":\"10.20.0.40\",\"destination_p\":502,\"tid\":{},\"unit\":255,\"func\":\"{function}\",\
         \"request_response\":\"RESPONSE\",\"address\":128,\"quantity\":{registers},\"values\":\"{values}\"}}\n",
        n % 65_536
    )
}

fn count_of(line: &Value) -> u64 {
    line["metadata"]["flowvars"][0]["repeats"]["count"].as_u64().unwrap_or(1)
}

#[test]
fn a_hundred_thousand_transactions_leave_few_lines() {
    let kinds = [Kind::Constant, Kind::Changing, Kind::Writes, Kind::Scan];
    let mut all = (0_u64, 0_u64, 0_u64, 0_u64);
    for (kind, port) in kinds.into_iter().zip(40_000..) {
        let mut rig = Rig::new(&format!("{kind:?}").to_lowercase(), 1 << 30);
        rig.play(kind, port);
        let (lines, bytes) = rig.end();
        let (transactions, cycle_ns) = kind.load();
        let seconds = u64::from(transactions) * cycle_ns / 1_000_000_000;
        let one_a_transaction: u64 =
            (0..transactions).map(|n| detailed_line(n, kind, kind.exchange(n).2).len() as u64).sum();
        println!(
            "{kind:?}: {transactions} transactions in {seconds} s: {} lines, {bytes} bytes; a transaction {:.4} lines, \
             {:.2} bytes; with a line a transaction {one_a_transaction} bytes, {:.1} times as much",
            lines.len(),
            lines.len() as f64 / f64::from(transactions),
            bytes as f64 / f64::from(transactions),
            one_a_transaction as f64 / bytes as f64
        );
        let commands: Vec<&Value> =
            lines.iter().filter(|line| matches!(line["event_type"].as_str(), Some("modbus" | "alert"))).collect();
        if kind == Kind::Scan {
            // Each refusal stands for itself: it is what somebody asks for later. Nothing is answered by the robot.
            assert_eq!(commands.len(), usize::try_from(transactions).unwrap(), "{:?}", commands.first());
            // Twice: as a line for log shippers, and as evidence with its frame.
            assert!(bytes < u64::from(transactions) * 2 * 2048, "{bytes}");
        } else {
            // One in ten seconds, and what begins and ends.
            assert!(commands.len() as u64 <= seconds / 10 + 2, "{} lines in {seconds} s", commands.len());
            let told: u64 = commands.iter().map(|line| count_of(line)).sum();
            assert_eq!(told, u64::from(transactions), "no transaction is missing: {}", commands[1]);
            // Request and answer are one record.
            for line in &commands {
                assert!(line["modbus"]["request"].is_object() && line["modbus"]["response"].is_object(), "{line}");
            }
            assert!(bytes < u64::from(transactions) * 8, "{bytes} bytes");
            assert!(one_a_transaction / bytes > 50);
        }
        all = (all.0 + u64::from(transactions), all.1 + lines.len() as u64, all.2 + bytes, all.3 + one_a_transaction);
    }
    let (transactions, lines, bytes, others) = all;
    println!(
        "all: {transactions} transactions, {lines} lines, {bytes} bytes: {:.4} lines and {:.1} bytes a transaction; with a \
         line a transaction {others} bytes",
        lines as f64 / transactions as f64,
        bytes as f64 / transactions as f64
    );
    assert_eq!(transactions, 100_000);
    assert!(lines < 6_000 && bytes < others / 2);
}

#[test]
fn the_folder_keeps_to_its_budget_while_somebody_scans() {
    // The event files have a quarter of it, the evidence the rest.
    const BUDGET: u64 = 8 << 20;
    let mut rig = Rig::new("budget", BUDGET);
    rig.play(Kind::Scan, 41_000);
    let (lines, bytes) = rig.end();
    println!("5000 refusals in a budget of {BUDGET} bytes: the last {} are there, {bytes} bytes", lines.len());
    assert!(bytes <= BUDGET, "{bytes}");
    assert!(lines.len() > 500 && lines.len() < 5_000, "{}", lines.len());
    // The newest are kept, without a hole.
    let ids: Vec<u64> = lines.iter().filter_map(|line| line["alert"]["context"]["event_id"].as_u64()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]));
}

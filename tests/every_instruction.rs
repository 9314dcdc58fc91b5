//! The packet path is stopped after every single instruction of an event. Wherever the commit word says that nothing is in
//! flux, the state is that before the event or that after it; where it names something, only that differs.
//!
//! What the compiler makes of the code is what is tested: run it also with `--release`.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise; its system calls are on plain values of its own"
)]

mod support;

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dissect::Toward;
use link::craft::{self, Segment, Template};
use link::{Mac, Tags, TcpFlags};
use support::modbus_load as load;
use support::virtual_net::{PLANT, ROBOT, rules};
use vambrace::engine::{Actions, Arena, Mode, Pipeline, Rules};
use vambrace::nic::{Frame, FrameMeta};
use vambrace::sys::arena::Arena as SharedMemory;

/// Where the commit word lies: behind the mark and the layout's number.
const WORD: usize = 16;
/// Behind it lie the number of the last event and the number of frames: one aligned store each, and no part of any
/// conversation.
const COUNTERS: std::ops::Range<usize> = 24..40;

const SECOND_NS: u64 = 1_000_000_000;

/// One event of the packet path.
enum Event {
    Frame(Toward, Vec<u8>),
    Timer,
}

fn frame(toward: Toward, port: u16, (seq, ack): (u32, u32), flags: u8, payload: &[u8]) -> Event {
    let (plant, robot) = ((IpAddr::from(PLANT), port), (IpAddr::from(ROBOT), load::PORT));
    let macs = (Mac([2, 0, 0, 0, 0, 21]), Mac([2, 0, 0, 0, 0, 40]));
    let template = Template::new(macs, Tags::default(), plant, robot).unwrap();
    let template = if toward == Toward::Robot { template } else { template.reversed() };
    let flags = TcpFlags(flags);
    let mss = flags.syn().then_some(1460);
    let segment = Segment { seq, ack, flags, window: 64_000, payload, maximum_segment_size: mss, ..Segment::default() };
    let mut out = [0; 4096];
    let len = craft::emit_tcp(&template, &segment, &mut out).unwrap();
    Event::Frame(toward, out[..len].to_vec())
}

fn handshake(port: u16) -> [Event; 3] {
    let (syn, ack) = (TcpFlags::SYN.0, TcpFlags::ACK.0);
    [
        frame(Toward::Robot, port, (999, 0), syn, &[]),
        frame(Toward::Plant, port, (4999, 1000), syn | ack, &[]),
        frame(Toward::Robot, port, (1000, 5000), ack, &[]),
    ]
}

struct Bench {
    memory: SharedMemory,
    rules: Arc<Rules>,
    actions: Actions,
    now_ns: u64,
}

fn happen(
    memory: &mut [u8],
    rules: &Arc<Rules>,
    actions: &mut Actions,
    event: &Event,
    now_ns: u64,
    between: impl Fn(),
) {
    let (arena, _) = Arena::over(memory, 7).unwrap();
    let mut pipeline = Pipeline::new(arena, Arc::clone(rules), ());
    pipeline.recover(now_ns, now_ns, actions);
    actions.clear();
    between();
    match event {
        Event::Frame(toward, bytes) => {
            let meta = FrameMeta { received_ns: now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
            pipeline.handle(*toward, &Frame { bytes, meta }, now_ns, actions);
        }
        Event::Timer => {
            pipeline.poll(now_ns, actions);
        }
    }
    between();
}

impl Bench {
    fn new() -> Self {
        let memory = SharedMemory::create(Arena::SIZE).unwrap();
        Self { memory, rules: rules(Mode::Enforce, load::POLICY), actions: Actions::new(), now_ns: SECOND_NS }
    }

    fn do_all(&mut self, events: &[Event]) {
        for event in events {
            self.now_ns += 1_000_000;
            happen(self.memory.as_mut_slice(), &self.rules, &mut self.actions, event, self.now_ns, || {});
        }
    }

    /// The event, instruction by instruction, in a process of its own over the same memory. The state is as after it then.
    fn step_through(&mut self, what: &str, event: &Event) {
        self.now_ns += 1_000_000;
        // The work of a new pipeline is no part of the event.
        happen(self.memory.as_mut_slice(), &self.rules, &mut self.actions, &Event::Timer, 0, || {});
        let before = self.memory.as_slice().to_vec();
        happen(self.memory.as_mut_slice(), &self.rules, &mut self.actions, event, self.now_ns, || {});
        let after = self.memory.as_slice().to_vec();
        self.memory.as_mut_slice().copy_from_slice(&before);
        let differs = |at: &usize| before[*at] != after[*at] && !COUNTERS.contains(at);
        let pages = before.chunks(4096).zip(after.chunks(4096)).enumerate();
        let pages = pages.filter(|(_, (before, after))| before != after).map(|(page, _)| page * 4096);
        let end = |page: usize| (page + 4096).min(before.len());
        let changed: Vec<usize> = pages.flat_map(|page| page..end(page)).filter(differs).collect();
        assert!(!changed.is_empty(), "{what}: nothing happens");

        let passed = SharedMemory::create(4096).unwrap();
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let counter = unsafe { AtomicU32::from_ptr(passed.as_slice().as_ptr().cast_mut().cast()) };
            let between = || {
                if counter.fetch_add(1, Ordering::SeqCst) == 0 {
                    unsafe {
                        libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                        libc::raise(libc::SIGSTOP);
                    }
                }
            };
            happen(self.memory.as_mut_slice(), &self.rules, &mut self.actions, event, self.now_ns, between);
            unsafe { libc::_exit(0) }
        }
        let mut status = 0;
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFSTOPPED(status), "{what}: no tracing here");
        let (mut steps, mut named, mut states) = (0_u64, 0_u64, [0_u64; 2]);
        loop {
            unsafe {
                libc::ptrace(libc::PTRACE_SINGLESTEP, child, 0, 0);
                libc::waitpid(child, &raw mut status, 0);
            }
            assert!(libc::WIFSTOPPED(status), "{what}: it ended by itself");
            if black_box(passed.as_slice())[0] == 2 {
                break;
            }
            steps += 1;
            let memory = black_box(self.memory.as_slice());
            let word = u64::from_le_bytes(memory[WORD..WORD + 8].try_into().unwrap());
            if word != 0 {
                named += 1;
                continue;
            }
            let is = |image: &[u8]| changed.iter().all(|at| memory[*at] == image[*at]);
            let (old, new) = (is(&before), is(&after));
            assert!(old || new, "{what}: after {steps} instructions the state is torn and the word says nothing");
            states[usize::from(new)] += 1;
        }
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, &raw mut status, 0);
        }
        assert!(self.memory.as_slice() == after, "{what}: it came out otherwise");
        assert!(named > 0 && states[0] > 0, "{what}: {named} {states:?}");
        println!(
            "{what}: {steps} instructions, {named} of them with a name in the word, {} bytes changed",
            changed.len()
        );
    }
}

#[test]
fn after_every_instruction_the_word_names_what_is_torn() {
    let mut bench = Bench::new();
    for port in [40_000, 40_001] {
        bench.do_all(&handshake(port));
    }
    let data = TcpFlags::ACK.0 | TcpFlags::PSH.0;
    let request = load::allowed(0);
    let reply = load::answer(&request);
    let (sent, answered) = (1000 + request.len() as u32, 5000 + reply.len() as u32);
    let [syn, syn_ack, ack] = handshake(40_002);
    bench.step_through("a SYN", &syn);
    bench.step_through("a SYN-ACK", &syn_ack);
    bench.step_through("the handshake's end", &ack);
    bench.step_through("a request in Fast", &frame(Toward::Robot, 40_000, (1000, 5000), data, &request));
    bench.step_through("its answer", &frame(Toward::Plant, 40_000, (5000, sent), data, &reply));
    let (refused, _) = load::forbidden(1);
    bench.step_through("a refused request", &frame(Toward::Robot, 40_000, (sent, answered), data, &refused));
    bench.step_through("a part of a unit", &frame(Toward::Robot, 40_001, (1000, 5000), data, &request[..7]));
    bench.now_ns += 5_000_000;
    bench.step_through("a timer that splices", &Event::Timer);
    bench.step_through("the rest", &frame(Toward::Robot, 40_001, (1007, 5000), data, &request[7..]));
    let reset = TcpFlags::RST.0 | TcpFlags::ACK.0;
    bench.step_through("a reset of the robot", &frame(Toward::Plant, 40_002, (5000, 1000), reset, &[]));
    // Its number is used again: the old entry goes, a new one comes.
    bench.step_through(
        "a SYN in the place of an ended connection",
        &frame(Toward::Robot, 40_002, (70_000, 0), TcpFlags::SYN.0, &[]),
    );
}

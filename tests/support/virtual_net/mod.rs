//! Two TCP stacks, two bad cables and the packet path between them, in virtual time.
//!
//! ```text
//!   plant (smoltcp) ══ cable ══ Pipeline ══ cable ══ robot (smoltcp)
//! ```
//! Nothing sleeps and nothing reads a clock: [`Cell::step`] jumps to the next moment at which something is due and does
//! it. The same rules, rates and seed give the same run, frame for frame.
//!
//! Both sides are a [`Host`] with any number of [`Line`]s (one end of a TCP connection); either may listen or connect.

mod crash;
mod host;

pub use crash::{Crashes, Tripwire};
pub use host::{Host, Line, Service};

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;

use dissect::Toward;
use link::Mac;
use smoltcp::socket::tcp;
use vambrace::engine::{Actions, Arena, Mode, Out, Pipeline, Rules};
use vambrace::event::{Reason, Record};
use vambrace::learn::{Observations, ProposalOptions};
use vambrace::nic::impairment::{Impairment, Rates, Share};
use vambrace::nic::{BATCH, Frame, FrameMeta};
use vambrace::policy::{Asset, Moment, Policy};

use host::NOW_MS;

/// The client's address, called `plc` in policies.
pub const PLANT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 21);
/// The robot's address, called `robot` in policies.
pub const ROBOT: Ipv4Addr = Ipv4Addr::new(10, 20, 0, 40);
const PLANT_MAC: Mac = Mac([2, 0, 0, 0, 0, 21]);
const ROBOT_MAC: Mac = Mac([2, 0, 0, 0, 0, 40]);

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A good cable: 20 microseconds.
pub const GOOD: Rates = Rates {
    loss: Share::NONE,
    duplicate: Share::NONE,
    reorder: Share::NONE,
    corrupt: Share::NONE,
    split: Share::NONE,
    merge: Share::NONE,
    fragment: Share::NONE,
    delay_ns: 20_000,
    jitter_ns: 0,
};

/// 5 % loss, reordering and duplication.
pub const ROUGH: Rates = Rates {
    loss: Share::percent(5),
    duplicate: Share::percent(5),
    reorder: Share::percent(5),
    jitter_ns: 20_000,
    ..GOOD
};

/// Nothing is lost, but segments are doubled, reordered, cut and joined.
pub const CUTTING: Rates = Rates { loss: Share::NONE, split: Share::percent(10), merge: Share::percent(10), ..ROUGH };

/// All of it, and 2 % damaged.
pub const WILD: Rates = Rates { loss: Share::percent(5), corrupt: Share::percent(2), ..CUTTING };

/// Rules of `mode` by a policy in which the client is called `plc` and the robot `robot`.
pub fn rules(mode: Mode, policy: &str) -> Arc<Rules> {
    rules_of(mode, policy, 1)
}

/// The same of a generation.
pub fn rules_of(mode: Mode, policy: &str, generation: u32) -> Arc<Rules> {
    let asset =
        |name: &str, address: Ipv4Addr, is_robot| Asset { name: name.into(), address: address.into(), is_robot };
    let assets = vec![asset("robot", ROBOT, true), asset("plc", PLANT, false)];
    let moment = Moment { wall_ns: 0, monotonic_ns: 1 };
    let policy =
        Policy::compile("policy.toml", policy, &assets, generation, moment).unwrap_or_else(|error| panic!("{error}"));
    Arc::new(Rules::of(mode, policy, &assets))
}

/// The packet path between the cables, carried out as the worker does.
struct Vambrace {
    /// Absent only while a successor takes over.
    pipeline: Option<Pipeline<'static, Tripwire>>,
    crashes: Crashes,
    actions: Actions,
    batch: Vec<Vec<u8>>,
    next_poll_ns: u64,
    frames: u64,
    refusals: BTreeMap<Reason, u64>,
    crafted: u64,
    /// The last frames, where they are kept.
    trace: VecDeque<String>,
    trace_len: usize,
    /// Everything recorded, where it is kept.
    records: Option<Vec<Record>>,
}

impl Vambrace {
    fn note(&mut self, what: &str, toward: Toward, bytes: &[u8], now_ns: u64) {
        if self.trace_len == 0 {
            return;
        }
        let text = match link::parse(bytes) {
            Ok(packet) => packet.tcp().map_or_else(
                || format!("{:?}", packet.ether_type),
                |tcp| {
                    let (seq, ack, len) = (tcp.seq, tcp.ack, tcp.payload.len());
                    format!("seq {seq} len {len} ack {ack} window {} flags {:02x}", tcp.window, tcp.flags.0)
                },
            ),
            Err(error) => format!("{error:?}"),
        };
        if self.trace.len() == self.trace_len {
            self.trace.pop_front();
        }
        let (seconds, nanos) = (now_ns / SECOND_NS, now_ns % SECOND_NS);
        self.trace.push_back(format!("{seconds}.{nanos:09} {what:8} toward {toward:?}: {text}"));
    }

    fn rules(&self) -> &Arc<Rules> {
        self.pipeline.as_ref().unwrap().rules()
    }

    /// The process is gone and another one takes its place, over the same arena. What was to leave is lost.
    fn succeed(&mut self, now_ns: u64, cables: &mut [Impairment; 2]) {
        self.actions.clear();
        self.crashes.happened += 1;
        self.trace.push_back(format!("{}.{:09} the process ends", now_ns / SECOND_NS, now_ns % SECOND_NS));
        let mut gone = self.pipeline.take().unwrap();
        let (rules, tripwire) = (Arc::clone(gone.rules()), gone.observer_mut().disarmed());
        let mut pipeline = Pipeline::new(gone.into_arena(), rules, tripwire);
        pipeline.recover(now_ns, now_ns, &mut self.actions);
        self.pipeline = Some(pipeline);
        self.next_poll_ns = 0;
        self.carry_out(Toward::Robot, now_ns, cables);
    }

    /// A batch of frames toward a side; what leaves is offered to the cables `[plant, robot]`.
    fn handle(&mut self, toward: Toward, now_ns: u64, cables: &mut [Impairment; 2]) {
        let enforces = self.rules().mode.enforces();
        for index in 0..self.batch.len() {
            if !self.actions.has_room() {
                self.carry_out(toward, now_ns, cables);
            }
            let bytes = &self.batch[index];
            let meta = FrameMeta { received_ns: now_ns, wire_len: bytes.len() as u32, checksum_partial: false };
            self.actions.begin(index, toward);
            let before = self.actions.outs().len();
            let (pipeline, frame) = (self.pipeline.as_mut().unwrap(), Frame { bytes, meta });
            let fate = crash::survive(|| pipeline.handle(toward, &frame, now_ns, &mut self.actions));
            self.frames += 1;
            let Some(fate) = fate else {
                self.succeed(now_ns, cables);
                break;
            };
            if self.crashes.comes_after_event() {
                // Published, not sent: what the batch has brought so far is lost, and what of it was not looked at.
                self.succeed(now_ns, cables);
                break;
            }
            if self.trace_len != 0 {
                let bytes = self.batch[index].clone();
                self.note(&format!("{fate:?}"), toward, &bytes, now_ns);
            }
            if !enforces {
                let left = &self.actions.outs()[before..];
                assert_eq!(left, [Out::Received { index, toward }], "transparent outside enforcement");
            }
        }
        self.carry_out(toward, now_ns, cables);
        for bytes in self.batch.drain(..) {
            cables[usize::from(toward == Toward::Plant)].recycle(bytes);
        }
    }

    fn poll(&mut self, now_ns: u64, cables: &mut [Impairment; 2]) {
        if now_ns < self.next_poll_ns {
            return;
        }
        let pipeline = self.pipeline.as_mut().unwrap();
        let Some(next_ns) = crash::survive(|| pipeline.poll(now_ns, &mut self.actions)) else {
            return self.succeed(now_ns, cables);
        };
        self.next_poll_ns = next_ns;
        let enforces = self.rules().mode.enforces();
        assert!(enforces || self.actions.outs().is_empty(), "silent outside enforcement");
        let happened = !self.actions.outs().is_empty() || !self.actions.events().is_empty();
        if happened && self.crashes.comes_after_event() {
            return self.succeed(now_ns, cables);
        }
        self.carry_out(Toward::Robot, now_ns, cables);
    }

    /// Toward the batch's own direction first, then back: the worker's order.
    fn carry_out(&mut self, toward: Toward, now_ns: u64, cables: &mut [Impairment; 2]) {
        if self.trace_len != 0 {
            for out in self.actions.outs().to_vec() {
                if let Out::Crafted { range, toward } = out {
                    let bytes = self.actions.crafted(range).to_vec();
                    self.note("  made", toward, &bytes, now_ns);
                }
            }
        }
        for leaving in [toward, toward.reverse()] {
            let cable = &mut cables[usize::from(leaving == Toward::Robot)];
            for out in self.actions.outs() {
                match *out {
                    Out::Received { index, toward } if toward == leaving => {
                        cable.offer(leaving, &self.batch[index], now_ns);
                    }
                    Out::Crafted { range, toward } if toward == leaving => {
                        self.crafted += 1;
                        cable.offer(leaving, self.actions.crafted(range), now_ns);
                    }
                    _ => {}
                }
            }
        }
        for event in self.actions.events() {
            self.records.iter_mut().for_each(|records| records.push(event.record));
            let reason = match &event.record {
                Record::Command(command) if !command.verdict.is_allowed() => command.verdict.reason,
                Record::Frame(frame) => frame.verdict.reason,
                _ => continue,
            };
            *self.refusals.entry(reason).or_default() += 1;
        }
        self.actions.clear();
    }
}

/// Nothing that was waited for came in time.
#[derive(Debug)]
pub struct Stalled {
    /// Virtual nanoseconds since the cell began.
    pub now_ns: u64,
    /// States of the lines, plant's and robot's.
    pub states: [Vec<tcp::State>; 2],
    /// What was refused.
    pub refusals: BTreeMap<Reason, u64>,
}

/// The whole: two hosts, two cables, the box.
pub struct Cell {
    /// The client's side.
    pub plant: Host,
    /// The robot's side.
    pub robot: Host,
    /// From the plant to the box, and from the box to the robot.
    cables: [Impairment; 2],
    rates: Rates,
    vambrace: Vambrace,
    now_ns: u64,
    /// Whether the robot opened the first connection to command a device, which the plant's side is then.
    robot_commands: bool,
}

impl Cell {
    /// A cell with these rules whose both cables have these rates.
    pub fn new(rules: Arc<Rules>, rates: Rates, seed: u64) -> Self {
        // Never given back: the kernel gives pages only to what is touched.
        let arena = Box::leak(Arena::boxed(seed));
        let vambrace = Vambrace {
            pipeline: Some(Pipeline::new(arena, rules, Tripwire::default())),
            crashes: Crashes::default(),
            actions: Actions::new(),
            batch: Vec::new(),
            next_poll_ns: 0,
            frames: 0,
            refusals: BTreeMap::new(),
            crafted: 0,
            trace: VecDeque::new(),
            trace_len: 0,
            records: None,
        };
        let mix = |n: u64| seed.wrapping_mul(4).wrapping_add(n);
        Self {
            plant: Host::new(PLANT, PLANT_MAC, mix(0)),
            robot: Host::new(ROBOT, ROBOT_MAC, mix(1)),
            cables: [Impairment::new(rates, mix(2)), Impairment::new(rates, mix(3))],
            rates,
            vambrace,
            now_ns: SECOND_NS,
            robot_commands: false,
        }
    }

    /// A cell with one connection from the plant to `port` of the robot; see [`Cell::open`].
    pub fn connected(rules: Arc<Rules>, rates: Rates, seed: u64, port: u16, service: Option<Service>) -> Self {
        let mut cell = Self::new(rules, rates, seed);
        cell.open(port, service);
        cell
    }

    /// Opens the first connection, from the plant to `port` of the robot. The cables are good until it stands.
    pub fn open(&mut self, port: u16, service: Option<Service>) {
        self.robot.listen(port, service);
        self.plant.connect(ROBOT, port);
        self.stand();
    }

    /// Opens the first connection, from the robot to `port` of the plant, where the service answers: the robot is the
    /// client, a device of the plant the server.
    pub fn open_from_robot(&mut self, port: u16, service: Option<Service>) {
        self.robot_commands = true;
        self.plant.listen(port, service);
        self.robot.connect(PLANT, port);
        self.stand();
    }

    fn stand(&mut self) {
        let rates = self.rates;
        self.set_rates(GOOD);
        self.run_until(SECOND_NS, |cell| cell.client().is_established() && cell.server().is_established())
            .unwrap_or_else(|stalled| panic!("no connection: {stalled:?}"));
        self.set_rates(rates);
    }

    /// Sets the rates of the robot's cable from now on.
    pub fn set_robot_rates(&mut self, rates: Rates) {
        let [_, robot] = &mut self.cables;
        robot.set_rates(rates);
    }

    /// Sets the rates of both cables from now on.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
        self.cables.iter_mut().for_each(|cable| cable.set_rates(rates));
    }

    /// The first line of who commands: the plant, unless the robot does.
    pub fn client(&self) -> &Line {
        if self.robot_commands { self.robot.line(0) } else { self.plant.line(0) }
    }

    /// The same, to send on.
    pub fn client_mut(&mut self) -> &mut Line {
        if self.robot_commands { self.robot.line_mut(0) } else { self.plant.line_mut(0) }
    }

    /// The first line of who is commanded: the robot, unless it commands.
    pub fn server(&self) -> &Line {
        if self.robot_commands { self.plant.line(0) } else { self.robot.line(0) }
    }

    /// The same, to send on.
    pub fn server_mut(&mut self) -> &mut Line {
        if self.robot_commands { self.plant.line_mut(0) } else { self.robot.line_mut(0) }
    }

    /// Keeps what is recorded from now on, for [`Cell::records`].
    pub fn keep_records(&mut self) {
        self.vambrace.records = Some(Vec::new());
    }

    /// What was recorded since [`Cell::keep_records`].
    pub fn records(&self) -> &[Record] {
        self.vambrace.records.as_deref().unwrap_or_default()
    }

    /// Virtual nanoseconds since the cell began, at 1 s.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Frames that the box took from both sides.
    pub fn frames(&self) -> u64 {
        self.vambrace.frames
    }

    /// Frames that the box made itself.
    pub fn crafted(&self) -> u64 {
        self.vambrace.crafted
    }

    /// What the box refused, by reason.
    pub fn refusals(&self) -> &BTreeMap<Reason, u64> {
        &self.vambrace.refusals
    }

    /// The plant's cable and the robot's.
    pub fn cables(&self) -> &[Impairment; 2] {
        &self.cables
    }

    /// Keeps the last `len` frames as text, for [`Cell::trace`].
    pub fn keep_trace(&mut self, len: usize) {
        self.vambrace.trace_len = len;
    }

    /// The frames that went into the box and that it made or dropped, the last ones, one a line.
    pub fn trace(&self) -> String {
        self.vambrace.trace.iter().map(|line| format!("{line}\n")).collect()
    }

    /// When the packet process ends unasked: between two events, or at a command in the middle of one.
    pub fn crashes(&mut self) -> &mut Crashes {
        &mut self.vambrace.crashes
    }

    /// Ends the packet process in the middle of the event that brings the `nth` command from now on.
    pub fn trip_at(&mut self, nth: u64) {
        self.vambrace.pipeline.as_mut().unwrap().observer_mut().arm(nth);
    }

    /// What the packet path reads is learned from now on.
    pub fn learn(&mut self) {
        self.vambrace.pipeline.as_mut().unwrap().observer_mut().learned = Some(Observations::default());
    }

    /// The policy that allows what was learned.
    pub fn proposal(&mut self) -> String {
        let options = ProposalOptions {
            robot: "robot".into(),
            assets: vec![("robot".into(), ROBOT.into()), ("plc".into(), PLANT.into())],
            ..ProposalOptions::default()
        };
        self.vambrace.pipeline.as_mut().unwrap().observer_mut().learned.as_ref().unwrap().propose(&options)
    }

    /// Somebody at the plant's switch sends a frame of his own; nothing of it is repeated.
    pub fn inject(&mut self, bytes: Vec<u8>) {
        let Self { vambrace, cables, now_ns, .. } = self;
        vambrace.batch.push(bytes);
        vambrace.handle(Toward::Robot, *now_ns, cables);
    }

    /// The box was replaced: its successor knows of no connection.
    pub fn forget_all(&mut self) {
        let gone = self.vambrace.pipeline.take().unwrap();
        let arena = Box::leak(Arena::boxed(1));
        let mut pipeline = Pipeline::new(arena, Arc::clone(gone.rules()), Tripwire::default());
        pipeline.recover(self.now_ns, self.now_ns, &mut self.vambrace.actions);
        self.vambrace.pipeline = Some(pipeline);
    }

    /// The packet process was replaced between two events.
    pub fn restart(&mut self) {
        let Self { vambrace, cables, now_ns, .. } = self;
        vambrace.succeed(*now_ns, cables);
    }

    /// Judges by other rules from now on.
    pub fn set_rules(&mut self, rules: Arc<Rules>) {
        self.vambrace.pipeline.as_mut().unwrap().set_rules(rules);
    }

    /// When something is due next; never before now.
    fn next_ns(&self) -> u64 {
        let inbox = |host: &Host| (!host.card.inbox.is_empty()).then_some(self.now_ns);
        let next = [
            Some(self.vambrace.next_poll_ns),
            self.cables[0].next_deadline(),
            self.cables[1].next_deadline(),
            self.plant.due_ns,
            self.robot.due_ns,
            inbox(&self.plant),
            inbox(&self.robot),
        ];
        next.into_iter().flatten().min().unwrap_or(0).max(self.now_ns)
    }

    /// Goes to the next moment at which something is due, which may be now, and does it.
    pub fn step(&mut self) {
        self.now_ns = self.next_ns();
        NOW_MS.set((self.now_ns / 1_000_000) as u32);
        let Self { plant, robot, cables, vambrace, now_ns, .. } = self;
        let now = *now_ns;
        for (host, at, toward) in [(&mut *plant, 0, Toward::Robot), (&mut *robot, 1, Toward::Plant)] {
            if !host.card.inbox.is_empty() || host.due_ns.is_some_and(|due| due <= now) {
                host.poll(now);
                for bytes in host.card.outbox.drain(..) {
                    cables[at].offer(toward, &bytes, now);
                    host.card.spare.push(bytes);
                }
                for bytes in host.card.done.drain(..) {
                    cables[at].recycle(bytes);
                }
            }
        }
        for (host, at, toward) in [(&mut *plant, 0, Toward::Robot), (&mut *robot, 1, Toward::Plant)] {
            while let Some(arrival) = cables[at].due(now) {
                if arrival.toward == toward {
                    vambrace.batch.push(arrival.bytes);
                    if vambrace.batch.len() == BATCH {
                        vambrace.handle(toward, now, cables);
                    }
                } else {
                    host.card.inbox.push_back(arrival.bytes);
                }
            }
            if !vambrace.batch.is_empty() {
                vambrace.handle(toward, now, cables);
            }
        }
        vambrace.poll(now, cables);
    }

    /// Steps until something holds, for `patience_ns` of virtual time at most.
    ///
    /// # Errors
    /// It did not come to hold.
    pub fn run_until(&mut self, patience_ns: u64, mut holds: impl FnMut(&Self) -> bool) -> Result<(), Stalled> {
        let end_ns = self.now_ns + patience_ns;
        while !holds(self) {
            if self.now_ns > end_ns {
                let states = |host: &Host| host.lines.iter().map(Line::state).collect();
                let states = [states(&self.plant), states(&self.robot)];
                return Err(Stalled { now_ns: self.now_ns, states, refusals: self.vambrace.refusals.clone() });
            }
            self.step();
        }
        Ok(())
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, time_ns: u64) {
        let _ = self.run_until(time_ns, |_| false);
    }

    /// Checks that the box's books balance and that it lost no action.
    pub fn assert_balanced(&self) {
        assert!(self.vambrace.pipeline.as_ref().unwrap().counters().balance(), "every frame is accounted for");
        assert_eq!(self.vambrace.actions.lost(), 0, "actions that found no room");
    }
}

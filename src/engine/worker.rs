use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use dissect::Toward;
use hdrhistogram::Histogram;

use super::actions::{Actions, Kept, Out};
use super::arena::Arena;
use super::conversation::{self, Conversation};
use super::counters::Counters;
use super::judge::{Observer, Who};
use super::load::Load;
use super::loops::Loops;
use super::pipeline::{Fate, Pipeline};
use super::rules::Rules;
use super::sending::{Batch, count_refused, send_all, show, show_made};
use crate::command::Command;
use crate::event::{Event, EventId, InUse, Notice, Shed, Verdict, Whose};
use crate::jitter::{self, Departure, Jitter};
use crate::nic::{BATCH, Frame, FramePort, PortError};
use crate::record::{Became, FrameRing, Queue, QueueWriter, Refused};
use crate::robot::State;

/// Clocks as the worker reads them: once a batch.
pub trait Clock {
    /// Monotonic nanoseconds.
    fn monotonic_ns(&self) -> u64;

    /// Nanoseconds since 1970.
    fn wall_ns(&self) -> u64;
}

/// What is looked at from outside of the path, by [`Tap::received`] and [`Tap::made`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shows {
    /// Nothing.
    Nothing,
    /// Received frames that are refused, or outside enforcement would be.
    Refused,
    /// Every frame.
    All,
}

/// A received frame and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The direction it travelled.
    pub toward: Toward,
    /// The frame.
    pub frame: &'a Frame<'a>,
    /// What became of it, or would have become of it outside enforcement.
    pub fate: Fate,
    /// Whether the mode enforces: then a refused frame went no further.
    pub enforced: bool,
    /// Generation of the policy in force.
    pub generation: u32,
    /// What was refused because of it, where it was told of one by one.
    pub kept: &'a [Kept],
    /// The latest events, among them those of `kept`.
    pub events: &'a [Event],
}

/// Looks at frames from outside of the path: the learner, captures. Never blocks.
pub trait Tap {
    /// Takes a frame that travelled `toward` a side, before it is judged; called while learning.
    fn frame(&self, toward: Toward, frame: &Frame<'_>);

    /// What is to be shown; asked once a batch.
    fn shows(&self) -> Shows {
        Shows::Nothing
    }

    /// Takes a received frame with what became of it.
    fn received(&self, shown: &Shown<'_>) {
        let _ = shown;
    }

    /// Takes a frame of the box's own that leaves `toward` a side at `wall_ns`.
    fn made(&self, toward: Toward, wall_ns: u64, bytes: &[u8]) {
        let _ = (toward, wall_ns, bytes);
    }
}

impl Tap for () {
    fn frame(&self, _: Toward, _: &Frame<'_>) {}
}

/// What the worker shares with the rest of its process. Written by the worker without waiting.
#[derive(Debug)]
pub struct Shared {
    /// The rules in force; swapped as a whole, taken up between two batches.
    pub rules: ArcSwap<Rules>,
    /// Asks the worker to end.
    pub stop: AtomicBool,
    /// What happened outside the path and is to be recorded in order.
    pub notices: crossbeam::queue::ArrayQueue<Notice>,
    /// From how many nanoseconds between two frames on a late one is told of; 0 = never.
    pub alarm_ns: AtomicU64,
    /// What was counted, a few times a second.
    pub snapshot: std::sync::Mutex<Snapshot>,
}

impl Shared {
    /// For a worker that begins with `rules`.
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        Self {
            rules: ArcSwap::new(rules),
            stop: AtomicBool::new(false),
            notices: crossbeam::queue::ArrayQueue::new(64),
            alarm_ns: AtomicU64::new(jitter::ALARM_NS),
            snapshot: std::sync::Mutex::new(Snapshot {
                conversations: Vec::with_capacity(jitter::TALKS),
                inputs: Vec::with_capacity(rtde::Variable::INPUTS),
                quarantine: Vec::with_capacity(super::quarantine::OFFENDERS),
                ..Snapshot::default()
            }),
        }
    }
}

/// Where the rules in force stand.
struct InForce(Arc<Shared>);

impl Deref for InForce {
    type Target = ArcSwap<Rules>;

    fn deref(&self) -> &Self::Target {
        &self.0.rules
    }
}

/// A copy of what the worker counts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Frames and commands.
    pub counters: Counters,
    /// Conversations in the table.
    pub flows: usize,
    /// What is known of the robot.
    pub robot: State,
    /// Its RTDE inputs that some connection has.
    pub inputs: Vec<InUse>,
    /// Who is kept out for a while.
    pub quarantine: Vec<super::Held>,
    /// Monotonic time of the snapshot.
    pub now_ns: u64,
    /// Frames that a port did not take, toward the robot and toward the plant.
    pub refused_by_port: [u64; 2],
    /// Frames that the kernel dropped before they were seen, toward the robot and toward the plant.
    pub kernel_drops: [u64; 2],
    /// Time from the kernel's stamp to the frame's hand-over to the other port, nanoseconds: median, 99th percentile and
    /// longest.
    pub residence_ns: [u64; 3],
    /// Whether the ports work: robot's and plant's.
    pub up: [bool; 2],
    /// The conversations that brought something last, with what was measured of them.
    pub conversations: Vec<Conversation>,
    /// Late frames of periodic streams since the start, by [`Whose`].
    pub late: [u64; Whose::COUNT],
    /// Those of them that were later than is told of.
    pub late_alarms: u64,
    /// Wall clock of the snapshot, by which frames are stamped.
    pub wall_ns: u64,
    /// What was given up under overload, in the order of [`Shed::ALL`].
    pub shed: [u64; 5],
}

/// Hands units that are longer than what their event holds to the recorder.
struct Units(Arc<Queue>);

impl Observer for Units {
    fn command(&mut self, _: &Who, _: &Command<'_>, _: &Verdict) {}

    fn connection(&mut self, _: &Who) {}

    fn long_unit(&mut self, event: EventId, unit: &[u8]) {
        self.0.try_push_unit(event, unit);
    }
}

/// Nanoseconds between two snapshots.
const SNAPSHOT_NS: u64 = 200_000_000;

/// Nanoseconds between two looks for streams that have fallen silent: a silence is told of 11 ms after the last frame, of
/// the 20 ms after which UR's client library gives up.
const WATCH_NS: u64 = 1_000_000;

/// Longest rest of a worker without frames: how late timers and orders are seen at most.
const LONGEST_REST: Duration = Duration::from_millis(10);

/// A wall clock that moves so far against the monotonic one from one snapshot to the next was set, not slewed: a time
/// daemon slews by 0.1 ms at most meanwhile.
const JUMP_NS: u64 = 500_000_000;

/// Time between two looks at how full the queue is, while no event is handed over.
const FULLNESS_NS: u64 = 1_000_000;

/// Turns of the loop in which a port that failed is left alone before it is tried again.
const RETRY_NS: u64 = 100_000_000;

/// Why there is no worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The latency histogram.
    #[error("latency histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// Two can't write into one queue.
    #[error("the queue of records has a writer already")]
    Queue,
}

/// One worker: owns both ports and both directions of every flow on them.
pub struct Worker<'m, P, C, T> {
    plant: P,
    robot: P,
    pipeline: Pipeline<'m, Units>,
    actions: Actions,
    records: QueueWriter,
    shared: Arc<Shared>,
    /// The rules in force as last looked at: a look costs one load while they stay.
    rules: Cache<InForce, Arc<Rules>>,
    clock: C,
    tap: T,
    ring: Option<Arc<FrameRing>>,
    batch: Batch,
    residence: Histogram<u32>,
    jitter: Jitter,
    load: Load,
    loops: Loops,
    refused_by_port: [u64; 2],
    /// How full the queue was, in eighths, and until when that counts unless events are handed over.
    fullness: (u64, u64),
    /// Whether frames are measured, or that was given up.
    measures: bool,
    snapshot_ns: u64,
    /// When silences are looked for next, and whether a stream had a beat at the last look.
    watch_ns: u64,
    beats: bool,
    /// Wall clock less monotonic clock, as it was last; absent before the first look.
    offset_ns: Option<i64>,
    up: [bool; 2],
    retry_ns: [u64; 2],
}

impl<'m, P: FramePort, C: Clock, T: Tap> Worker<'m, P, C, T> {
    /// A worker over two ports.
    ///
    /// # Errors
    /// No memory for the latency histogram, or somebody else hands events over to `queue`.
    pub fn new(
        (plant, robot): (P, P),
        arena: &'m mut Arena,
        queue: Arc<Queue>,
        shared: Arc<Shared>,
        clock: C,
        tap: T,
    ) -> Result<Self, WorkerError> {
        let rules = shared.rules.load_full();
        let records = queue.writer().ok_or(WorkerError::Queue)?;
        Ok(Self {
            plant,
            robot,
            pipeline: Pipeline::new(arena, rules, Units(queue)),
            actions: Actions::new(),
            records,
            rules: Cache::new(InForce(Arc::clone(&shared))),
            shared,
            clock,
            tap,
            ring: None,
            batch: Batch { now_ns: 0, became: [Became::Passed; BATCH], judged: 0, remembered: 0 },
            // Two digits over 1 ns to 1 s: 30 KiB instead of 168.
            residence: Histogram::new_with_bounds(1, 1_000_000_000, 2)?,
            jitter: Jitter::new(),
            load: Load::default(),
            loops: Loops::default(),
            refused_by_port: [0; 2],
            fullness: (0, 0),
            measures: true,
            snapshot_ns: 0,
            watch_ns: 0,
            beats: false,
            offset_ns: None,
            up: [true; 2],
            retry_ns: [0; 2],
        })
    }

    /// Puts every frame into `ring`, so that the recorder can keep those around a refusal.
    #[must_use]
    pub fn with_ring(self, ring: Option<Arc<FrameRing>>) -> Self {
        Self { ring, ..self }
    }

    /// Takes the wire: after a crash of a predecessor, ends what can't be trusted.
    pub fn begin(&mut self) {
        let (now_ns, wall_ns) = (self.clock.monotonic_ns(), self.clock.wall_ns());
        self.pipeline.recover(now_ns, wall_ns, &mut self.actions);
        self.pipeline.notice(Notice::Started, now_ns, wall_ns, &mut self.actions);
        self.carry_out(Toward::Robot);
    }

    /// One turn: what has arrived on both ports, what is due. Says whether a frame was taken.
    pub fn turn(&mut self) -> bool {
        let now_ns = self.clock.monotonic_ns();
        let rules = self.rules.load();
        if !Arc::ptr_eq(rules, self.pipeline.rules()) {
            self.pipeline.set_rules(Arc::clone(rules));
        }
        while let Some(notice) = self.shared.notices.pop() {
            self.pipeline.notice(notice, now_ns, self.clock.wall_ns(), &mut self.actions);
        }
        if now_ns >= self.fullness.1 {
            // Most turns are empty ones, and the recorder writes where this reads.
            self.fullness = (self.records.eighths(), now_ns.saturating_add(FULLNESS_NS));
        }
        if let Some((shed, counts)) = self.load.look(self.fullness.0, now_ns) {
            self.pipeline.notice(Notice::Overload { shed, counts }, now_ns, self.clock.wall_ns(), &mut self.actions);
        }
        if now_ns >= self.snapshot_ns {
            self.compare_clocks(now_ns);
        }
        let worked = self.pump(Toward::Robot, now_ns) | self.pump(Toward::Plant, now_ns);
        // With empty rings only: what waits there is not silent.
        if !worked && now_ns >= self.watch_ns {
            self.watch(now_ns);
        }
        self.pipeline.poll(now_ns, &mut self.actions);
        if !self.actions.outs().is_empty() || !self.actions.events().is_empty() {
            self.carry_out(Toward::Robot);
        }
        if now_ns >= self.snapshot_ns {
            self.snapshot_ns = now_ns.saturating_add(SNAPSHOT_NS);
            self.publish(now_ns);
        }
        worked
    }

    /// The two ports, plant first: for waiting.
    pub fn ports(&self) -> (&P, &P) {
        (&self.plant, &self.robot)
    }

    /// The two ports, plant first, to change.
    pub fn ports_mut(&mut self) -> (&mut P, &mut P) {
        (&mut self.plant, &mut self.robot)
    }

    /// Reports what lasts, at the end.
    pub fn finish(&mut self) {
        let now_ns = self.clock.monotonic_ns();
        let records = &mut self.records;
        self.pipeline.finish(now_ns, &mut self.actions, |actions| {
            for event in actions.events() {
                records.try_push(event);
            }
        });
        self.publish(now_ns);
    }

    /// Takes a batch from the port that frames `toward` a side come from.
    fn pump(&mut self, toward: Toward, now_ns: u64) -> bool {
        let source = side(toward.reverse());
        if self.retry_ns.get(source).is_some_and(|retry| *retry > now_ns) {
            return false;
        }
        let port = if toward == Toward::Robot { &mut self.plant } else { &mut self.robot };
        let taken = match port.receive() {
            Ok(taken) => taken,
            Err(error) => {
                self.failed(toward.reverse(), &error, now_ns);
                return false;
            }
        };
        self.works(toward.reverse(), now_ns);
        self.load.batch(source, taken >= BATCH);
        self.pipeline.shed_unenforced(self.load.sheds_frames());
        if taken == 0 {
            return false;
        }
        let learning = self.pipeline.rules().mode == super::rules::Mode::Learn;
        let shows = self.tap.shows();
        let measures = !self.load.sheds(Shed::Detail);
        if self.measures && !measures {
            self.jitter.pause();
        }
        self.measures = measures;
        (self.batch.now_ns, self.batch.judged, self.batch.remembered) = (now_ns, 0, 0);
        for index in 0..taken.min(BATCH) {
            if !self.actions.has_room() {
                self.carry_out(toward);
            }
            let port = if toward == Toward::Robot { &self.plant } else { &self.robot };
            let frame = port.frame(index);
            if learning && !self.load.sheds(Shed::Samples) {
                self.tap.frame(toward, &frame);
            }
            if let Some(mac) = self.loops.look(toward, frame.bytes, now_ns) {
                self.pipeline.notice(Notice::Loop { mac }, now_ns, frame.meta.received_ns, &mut self.actions);
            }
            self.actions.begin(index, toward);
            let (kept, outs) = (self.actions.kept().len(), self.actions.outs().len());
            let fate = self.pipeline.handle(toward, &frame, now_ns, &mut self.actions);
            if let Some(place) = self.batch.became.get_mut(index) {
                *place = match fate {
                    _ if self.actions.kept().len() > kept => Became::Copied,
                    Fate::Drop(reason) => Became::Refused { reason, enforced: self.pipeline.rules().mode.enforces() },
                    Fate::Forward | Fate::Absorb => Became::Passed,
                };
                self.batch.judged = index.saturating_add(1);
            }
            if measures && let Some(flow) = self.pipeline.touched() {
                let outs = self.actions.outs().get(outs..).unwrap_or_default();
                let departure = match fate {
                    _ if outs.iter().any(|out| out.toward() == toward) => Departure::Left,
                    Fate::Drop(_) => Departure::Refused,
                    _ => Departure::Kept,
                };
                self.jitter.arrived(flow, (toward, frame.meta.received_ns, frame.bytes), departure);
            }
            if shows != Shows::Nothing {
                show(&self.tap, shows, &self.pipeline, (toward, &frame, fate), (&self.actions, kept));
            }
        }
        self.carry_out(toward);
        if measures {
            let port = if toward == Toward::Robot { &self.plant } else { &self.robot };
            let received_ns = port.frame(0).meta.received_ns;
            let wall_ns = self.clock.wall_ns();
            self.residence.saturating_record(wall_ns.saturating_sub(received_ns).clamp(1, 1_000_000_000));
            self.measure(now_ns, wall_ns);
        }
        let port = if toward == Toward::Robot { &mut self.plant } else { &mut self.robot };
        port.release();
        true
    }

    /// The frames of a batch left at `wall_ns`; `now_ns` is when the turn began. Events of late ones are carried out with
    /// what comes next.
    fn measure(&mut self, now_ns: u64, wall_ns: u64) {
        if self.jitter.is_odd(wall_ns.wrapping_sub(now_ns)) {
            // Either the clock was set or the turn took long: read again, without a turn between the two.
            self.jitter.clock(self.clock.wall_ns().wrapping_sub(self.clock.monotonic_ns()));
        }
        self.jitter.departed(wall_ns, self.shared.alarm_ns.load(Ordering::Relaxed));
        self.tell(now_ns, wall_ns);
    }

    /// Looks whether a stream with a beat has fallen silent: nothing else would tell of it before it comes back.
    #[cold]
    fn watch(&mut self, now_ns: u64) {
        self.watch_ns = now_ns.saturating_add(WATCH_NS);
        let wall_ns = self.clock.wall_ns();
        if self.jitter.is_odd(wall_ns.wrapping_sub(now_ns)) {
            self.jitter.clock(self.clock.wall_ns().wrapping_sub(self.clock.monotonic_ns()));
        }
        let arena = self.pipeline.arena().shared();
        let alarm_ns = self.shared.alarm_ns.load(Ordering::Relaxed);
        self.beats = self.jitter.watch(wall_ns, alarm_ns, |talk| conversation::lives(talk, arena));
        self.tell(now_ns, wall_ns);
    }

    fn tell(&mut self, now_ns: u64, wall_ns: u64) {
        while let Some(told) = self.jitter.next_told() {
            let notice = conversation::notice(&told, self.pipeline.arena().shared());
            self.pipeline.notice(notice, now_ns, wall_ns, &mut self.actions);
        }
    }

    /// How long a worker without a frame may rest before its next turn: a millisecond where a stream has a beat, whose
    /// silence is to be told of, else ten, within which orders are taken up.
    #[must_use]
    pub fn rest(&self) -> Duration {
        if self.beats { Duration::from_nanos(WATCH_NS) } else { LONGEST_REST }
    }

    /// Sends and records what the actions say, and empties them. `toward` is the direction of the current batch.
    fn carry_out(&mut self, toward: Toward) {
        let Self { plant, robot, actions, records, tap, clock, ring, load, batch, fullness, .. } = self;
        let mut failed = None;
        if let [Out::Received { index, toward: leaving }] = *actions.outs() {
            // One frame that goes on as it came: nearly every batch while nobody floods.
            let (from, to): (&P, &mut P) = match leaving {
                Toward::Robot => (&*plant, &mut *robot),
                Toward::Plant => (&*robot, &mut *plant),
            };
            match to.transmit(&[from.frame(index).bytes]) {
                Ok(1..) => {}
                Ok(0) => count_refused(&mut self.refused_by_port, leaving, 1),
                Err(error) => failed = Some((leaving, error)),
            }
        } else if !actions.outs().is_empty() {
            failed = send_all(actions, (plant, robot), toward, &mut self.refused_by_port);
        }
        // Behind the sending: no frame waits until it is remembered.
        if let Some(ring) = ring.as_deref() {
            batch.remember(ring, toward, if toward == Toward::Robot { &*plant } else { &*robot });
        }
        let shows_all = tap.shows() == Shows::All;
        if shows_all || ring.is_some() {
            show_made(actions, clock, ring.as_deref(), shows_all.then_some(&*tap));
        }
        for event in actions.events() {
            if !load.leaves_out(&event.record) {
                records.try_push(event);
                fullness.1 = 0;
            }
        }
        for kept in actions.kept() {
            let port = if kept.toward == Toward::Robot { &*plant } else { &*robot };
            let frame = port.frame(kept.index);
            let about = Refused {
                event: EventId(kept.event),
                wall_ns: frame.meta.received_ns,
                toward: kept.toward,
                verdict: kept.verdict,
                wire_len: frame.meta.wire_len,
            };
            records.queue().try_push_frame(&about, load.kept(frame.bytes));
        }
        actions.clear();
        if let Some((side, error)) = failed {
            let now_ns = self.clock.monotonic_ns();
            self.failed(side, &error, now_ns);
        }
    }

    /// A port failed: it is left alone for a while; what was to leave through it is lost, as on a pulled cable.
    fn failed(&mut self, toward: Toward, error: &PortError, now_ns: u64) {
        let at = side(toward);
        if let Some(retry) = self.retry_ns.get_mut(at) {
            *retry = now_ns.saturating_add(RETRY_NS);
        }
        if self.up.get(at) == Some(&true) {
            // Off the common path: the port does nothing anyway.
            tracing::warn!(%error, "port failed");
            self.set_up(toward, false, now_ns);
        }
    }

    fn works(&mut self, toward: Toward, now_ns: u64) {
        if self.up.get(side(toward)) == Some(&false) {
            self.set_up(toward, true, now_ns);
        }
    }

    fn set_up(&mut self, toward: Toward, up: bool, now_ns: u64) {
        if let Some(state) = self.up.get_mut(side(toward)) {
            *state = up;
        }
        let wall_ns = self.clock.wall_ns();
        self.pipeline.notice(Notice::Port { side: toward, up }, now_ns, wall_ns, &mut self.actions);
        for event in self.actions.events() {
            self.records.try_push(event);
        }
        self.actions.clear();
    }

    /// Records that the wall clock was set. Nothing else depends on it: deadlines and verdicts go by the monotonic one.
    fn compare_clocks(&mut self, now_ns: u64) {
        let wall_ns = self.clock.wall_ns();
        let offset_ns = wall_ns.cast_signed().wrapping_sub(now_ns.cast_signed());
        let by_ns = self.offset_ns.map_or(0, |before| offset_ns.wrapping_sub(before));
        self.offset_ns = Some(offset_ns);
        if by_ns.unsigned_abs() >= JUMP_NS {
            self.pipeline.notice(Notice::ClockJump { by_ns }, now_ns, wall_ns, &mut self.actions);
        }
    }

    fn publish(&mut self, now_ns: u64) {
        // Never waits: a reader that holds the lock gets the next snapshot.
        let Ok(mut snapshot) = self.shared.snapshot.try_lock() else { return };
        self.load.shed_frames(self.pipeline.take_shed());
        snapshot.shed = self.load.counts();
        snapshot.counters.clone_from(self.pipeline.counters());
        snapshot.flows = self.pipeline.arena().shared().flows.len();
        snapshot.robot = self.pipeline.arena().shared().robot;
        // Its room is kept from one snapshot to the next.
        snapshot.inputs.clear();
        snapshot.inputs.extend(self.pipeline.arena().shared().inputs.owned());
        snapshot.quarantine.clear();
        snapshot.quarantine.extend(self.pipeline.arena().shared().quarantine.held(now_ns));
        snapshot.now_ns = now_ns;
        snapshot.refused_by_port = self.refused_by_port;
        snapshot.kernel_drops = [self.plant.kernel_drops(), self.robot.kernel_drops()];
        snapshot.residence_ns = [0.5, 0.99, 1.0].map(|quantile| self.residence.value_at_quantile(quantile));
        snapshot.up = self.up;
        let shared = self.pipeline.arena().shared();
        snapshot.conversations.clear();
        let talks = self.jitter.talks().iter();
        snapshot.conversations.extend(talks.filter_map(|talk| Conversation::of(talk, shared)));
        (snapshot.late, snapshot.late_alarms) = (*self.jitter.late(), self.jitter.alarms());
        snapshot.wall_ns = self.clock.wall_ns();
    }
}

const fn side(toward: Toward) -> usize {
    toward as usize
}

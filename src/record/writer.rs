use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dissect::Toward;

use super::around::{Keeper, Kept};
use super::evidence::{Evidence, Port, is_full};
use super::long_units::Told;
use super::pcapng::{Flow, PacketNotes};
use super::recorder::{RETRY, RecordCounters, RecordOptions};
use super::store::Store;
use super::{Became, FrameCopy, Queue, Settler};
use crate::event::{Event, EventId, Notice, Record, Render, Settled, UnitPart};

/// How long the recorder sleeps when nothing waits: long against a wake-up at rest, and short while events come, so that
/// what it then does at once is too little to be felt by whoever it shares a core with.
const NAP: Duration = Duration::from_millis(10);
const SHORT_NAP: Duration = Duration::from_millis(1);

/// Longest time that a line waits to be brought to the disk: what a power cut can take, as in the evidence.
const SYNC: Duration = Duration::from_secs(1);

/// Most bytes of lines that wait for the disk to take them again: seconds of a busy cell.
const BACKLOG: usize = 1 << 20;

/// Bytes of a long unit in one line of the evidence: with every byte escaped still shorter than its longest record.
const UNIT_PART: usize = 64 << 10;

/// Most events taken at once, so that files grow steadily.
const BATCH: usize = 1024;

/// Events whose room in the queue is given back together.
const CHUNK: usize = 64;

/// Sentences of the last refusals, for the comments of their frames.
const SENTENCES: usize = 512;

/// What the recorder's thread does: takes events and frames from the queue, and gives them to both stores.
pub(super) struct Writer {
    queue: Arc<Queue>,
    render: Box<dyn Render>,
    store: Store,
    evidence: Evidence,
    settler: Settler,
    keeper: Option<Keeper>,
    counters: Arc<RecordCounters>,
    /// Whether lines go into the event file, too.
    event_lines: bool,
    /// The line that is being rendered.
    line: String,
    /// Lines that wait for the disk, how many they are, and the id of the last.
    lines: String,
    line_count: u64,
    last_id: EventId,
    /// Lines lost since the disk refused.
    lost: u64,
    /// Copies of frames lost before they came here.
    frames_lost: u64,
    sentences: VecDeque<(EventId, String)>,
    /// Units longer than what their events hold.
    units: Told,
    /// The latest event's clocks, and when it was taken: from them the time is told while none comes.
    latest: Option<(u64, u64, Instant)>,
    failed: Option<(Instant, String)>,
    /// Time between two heart-beats, and when the last one was.
    beat: Duration,
    beaten: Instant,
}

impl Writer {
    pub(super) fn new(
        options: &RecordOptions,
        queue: Arc<Queue>,
        render: Box<dyn Render>,
        (store, mut evidence): (Store, Evidence),
        counters: Arc<RecordCounters>,
    ) -> Self {
        counters.set_witnesses(evidence.witnesses());
        if let Some((ledger, killed_at)) = options.ledger {
            let lost = evidence.note_in(ledger, killed_at);
            counters.lost.fetch_add(lost, Ordering::Relaxed);
        }
        Self {
            queue,
            render,
            store,
            evidence,
            settler: Settler::new(options.settling),
            keeper: options.ring.clone().map(|(ring, which)| Keeper::new(ring, which)),
            counters,
            event_lines: options.event_lines,
            line: String::new(),
            lines: String::new(),
            line_count: 0,
            last_id: EventId(0),
            lost: 0,
            frames_lost: 0,
            sentences: VecDeque::new(),
            units: Told::default(),
            latest: None,
            failed: None,
            beat: options.beat,
            beaten: Instant::now(),
        }
    }

    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut nap = NAP;
        loop {
            // Asked before the queue is emptied: what was pushed before the stop is written.
            let stopping = stop.load(Ordering::Acquire);
            let taken = self.drain();
            if stopping && taken == 0 {
                self.end();
                return;
            }
            self.keep_frames();
            self.heart_beat();
            self.write(false);
            self.store.events.sync_after(SYNC);
            self.evidence.tick();
            self.count();
            nap = if taken > 0 { SHORT_NAP } else { nap.saturating_mul(2).min(NAP) };
            if taken < BATCH {
                thread::park_timeout(nap);
            }
        }
    }

    /// Takes what waits in the queue, up to a batch of events and one of frames; says how many.
    fn drain(&mut self) -> usize {
        let mut settled = Vec::new();
        let (mut latest, mut taken) = (None, 0_usize);
        let queue = Arc::clone(&self.queue);
        for _ in 0..BATCH / CHUNK {
            let read = queue.read(CHUNK, |event| {
                latest = Some((event.monotonic_ns, event.wall_ns));
                self.long_unit(event);
                if let Some(keeper) = &mut self.keeper {
                    keeper.see(event);
                }
                self.settler.take(event, &mut |one| settled.push(one));
            });
            taken = taken.saturating_add(read);
            if read < CHUNK {
                break;
            }
        }
        if let Some((monotonic_ns, wall_ns)) = latest {
            // Read once a batch: most events cost less than a look at the clock.
            self.latest = Some((monotonic_ns, wall_ns, Instant::now()));
        }
        let (now_ns, _) = self.now();
        self.settler.expire(now_ns, &mut |one| settled.push(one));
        let units_lost = self.queue.units.take_lost();
        if units_lost > 0 {
            tracing::warn!(units_lost, "long units found no room: their events hold only the beginning");
        }
        if let Some((count, id)) = self.queue.take_lost() {
            self.counters.lost.fetch_add(count, Ordering::Relaxed);
            self.evidence.lost_before(count, 0);
            settled.push(self.losses(id, count));
        }
        for mut settled in settled {
            settled.unit_hash = self.units.hash(settled.event.id);
            // A batch of refusals is longer than what may wait for a disk: one that takes records gets them meanwhile.
            if self.lines.len() >= BACKLOG / 2 {
                self.write(false);
            }
            self.line(&settled);
        }
        // Answers to nothing are not written, and not missed.
        let unmatched = self.settler.unmatched();
        self.evidence.account(unmatched.saturating_sub(self.counters.unmatched.swap(unmatched, Ordering::Relaxed)));
        let lost = self.queue.take_frames_lost();
        self.frames_lost = self.frames_lost.saturating_add(lost);
        self.evidence.lost_before(0, lost);
        for _ in 0..BATCH {
            let Some(copy) = self.queue.pop_frame() else { break };
            taken = taken.saturating_add(1);
            self.frame(&copy);
            self.queue.recycle(copy);
        }
        taken
    }

    /// Puts an event's unit together where it is longer than what the event holds, and writes it into the evidence unless
    /// it stands there.
    fn long_unit(&mut self, event: &Event) {
        let Record::Command(command) = &event.record else { return };
        if !command.unit.is_cut() {
            return;
        }
        let Some(unit) = self.units.take(&self.queue.units, event.id) else { return };
        let Some(hash) = self.units.note(event.id, &unit, self.evidence.segment(), event.monotonic_ns) else { return };
        for (part, bytes) in unit.chunks(UNIT_PART).enumerate() {
            let offset = part.saturating_mul(UNIT_PART);
            self.line.clear();
            self.render.unit(&UnitPart { event, hash: &hash, total: unit.len(), offset, bytes }, &mut self.line);
            if !self.line.is_empty() {
                self.evidence.record(self.line.as_bytes(), 0);
            }
        }
    }

    /// Says that the box lives, also while nothing happens; not while the disk refuses and lines wait.
    fn heart_beat(&mut self) {
        if self.beaten.elapsed() < self.beat || self.failed.is_some() {
            return;
        }
        self.beaten = Instant::now();
        self.line.clear();
        self.render.beat(&mut self.line);
        self.take_line(None, 0);
    }

    /// The monotonic and the wall clock, from the latest event and what passed since.
    fn now(&self) -> (u64, u64) {
        match self.latest {
            Some((monotonic, wall, at)) => {
                let passed = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
                (monotonic.saturating_add(passed), wall.saturating_add(passed))
            }
            None => (0, 0),
        }
    }

    /// The record of `count` lost events, under the id of the last of them, which is free.
    fn losses(&self, id: EventId, count: u64) -> Settled {
        let (monotonic_ns, wall_ns) = self.now();
        let record = Record::Notice(Notice::RecordsLost { count });
        // The events that it tells of are accounted for by the gap in the evidence.
        Settled { events: 0, ..Event { id, monotonic_ns, wall_ns, frame: 0, record }.into() }
    }

    fn line(&mut self, settled: &Settled) {
        self.line.clear();
        self.render.line(settled, &mut self.line);
        self.take_line(Some(settled.event.id), settled.events);
        let refused = match settled.event.record {
            Record::Command(command) => !command.verdict.is_allowed(),
            Record::Frame(_) => true,
            _ => false,
        };
        if refused {
            if self.sentences.len() >= SENTENCES {
                self.sentences.pop_front();
            }
            self.sentences.push_back((settled.event.id, self.render.sentence(&settled.event)));
        }
    }

    /// Gives the rendered line to both stores.
    fn take_line(&mut self, id: Option<EventId>, events: u64) {
        if self.line.is_empty() {
            self.evidence.account(events);
            return;
        }
        self.evidence.record(self.line.as_bytes(), events);
        if !self.event_lines {
            self.counters.written.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.lines.len() >= BACKLOG {
            self.lost = self.lost.saturating_add(1);
            self.last_id = id.unwrap_or(self.last_id);
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.lines.push_str(&self.line);
        self.lines.push('\n');
        self.line_count = self.line_count.saturating_add(1);
    }

    fn frame(&mut self, copy: &FrameCopy) {
        let known =
            self.sentences.iter().rev().find(|(id, _)| *id == copy.event).map(|(_, sentence)| sentence.as_str());
        let verdict = &copy.verdict;
        let reason = verdict.reason;
        let fallback;
        let comment = match known {
            Some(sentence) => sentence,
            None => {
                fallback =
                    format!("Refused ({reason}, policy generation {}): {}", verdict.generation, reason.sentence());
                &fallback
            }
        };
        let port = match copy.toward {
            Toward::Robot => Port::PlantDropped,
            Toward::Plant => Port::RobotDropped,
        };
        let notes = PacketNotes { comment, packet_id: copy.event.0, verdict: reason.name() };
        self.evidence.packet(port, copy.wall_ns, copy.wire_len, copy.bytes(), &notes);
    }

    /// Keeps the frames around what happened.
    fn keep_frames(&mut self) {
        let (now_ns, _) = self.now();
        let Self { keeper: Some(keeper), evidence, counters, .. } = self else { return };
        // Both closures look at the same store, one after the other.
        let evidence = std::cell::RefCell::new(evidence);
        keeper.follow(
            now_ns,
            || evidence.borrow().has_room(),
            |kept| {
                keep(&mut evidence.borrow_mut(), kept);
                counters.frames_around.fetch_add(1, Ordering::Relaxed);
            },
        );
        let evidence = evidence.into_inner();
        let missed = keeper.take_missed();
        evidence.frames_not_kept(missed.budget);
        evidence.lost_before(0, missed.overwritten);
        let all = missed.budget.saturating_add(missed.overwritten);
        counters.frames_missed.fetch_add(all, Ordering::Relaxed);
    }

    /// Gives the disk what waits for it; `urgent` also right after it refused.
    fn write(&mut self, urgent: bool) {
        if self.lines.is_empty() {
            return;
        }
        if !urgent && self.failed.as_ref().is_some_and(|(failed, _)| failed.elapsed() < RETRY) {
            return;
        }
        match self.write_lines() {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("event lines are written again");
                }
                if self.lost > 0 {
                    let lost = std::mem::take(&mut self.lost);
                    let losses = self.losses(self.last_id, lost);
                    self.line(&losses);
                }
            }
            Err(error) => {
                if is_full(&error) && self.evidence.fills_the_disk() {
                    self.store.give_way();
                }
                if self.failed.is_none() {
                    tracing::error!(%error, "event lines can't be written; frames go on, the disk is tried every second");
                }
                self.failed = Some((Instant::now(), error.to_string()));
            }
        }
    }

    fn write_lines(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        self.store.make_room(self.lines.len())?;
        self.store.events.append(self.lines.as_bytes())?;
        self.lines.clear();
        self.counters.written.fetch_add(std::mem::take(&mut self.line_count), Ordering::Relaxed);
        Ok(())
    }

    /// Tells others how it goes.
    fn count(&self) {
        let counters = &self.counters;
        let bytes = self.store.bytes().saturating_add(self.evidence.bytes());
        counters.bytes.store(bytes, Ordering::Relaxed);
        counters.frames_written.store(self.evidence.frames_written(), Ordering::Relaxed);
        let frames_lost = self.frames_lost.saturating_add(self.evidence.frames_lost());
        counters.frames_lost.store(frames_lost, Ordering::Relaxed);
        counters.evidence_lost.store(self.evidence.lost(), Ordering::Relaxed);
        let failed = self.failed.as_ref().map(|(_, error)| error.as_str());
        counters.set_error(failed.or(self.evidence.error()));
    }

    fn end(mut self) {
        self.keep_frames();
        let mut settled = Vec::new();
        self.settler.finish(&mut |one| settled.push(one));
        for mut settled in settled {
            settled.unit_hash = self.units.hash(settled.event.id);
            self.line(&settled);
        }
        self.write(true);
        self.write(true);
        self.store.events.sync();
        self.count();
        self.evidence.close();
    }
}

/// Puts a frame of the ring into the evidence: on the port that it came in by, or leaves by where the box made it.
fn keep(evidence: &mut Evidence, kept: &Kept<'_>) {
    let (about, event) = (&kept.found.about, kept.event.0);
    let (plant, robot) = match about.became {
        Became::Refused { enforced: true, .. } => (Port::PlantDropped, Port::RobotDropped),
        _ => (Port::Plant, Port::Robot),
    };
    let (port, flow) = match (about.became, about.toward) {
        (Became::Made, Toward::Robot) => (robot, Flow::Outbound),
        (Became::Made, Toward::Plant) => (plant, Flow::Outbound),
        (_, Toward::Robot) => (plant, Flow::Inbound),
        (_, Toward::Plant) => (robot, Flow::Inbound),
    };
    let (comment, verdict) = match about.became {
        Became::Made => (format!("Made by the box. Around event {event}."), ""),
        Became::Refused { reason, enforced } => {
            let what = if enforced { "Refused" } else { "Would be refused" };
            (format!("{what} ({reason}): {} Around event {event}.", reason.sentence()), reason.name())
        }
        Became::Passed | Became::Copied => (format!("Around event {event}."), ""),
    };
    let notes = PacketNotes { comment: &comment, packet_id: 0, verdict };
    evidence.directed_packet(port, flow, (about.wall_ns, about.wire_len), kept.bytes, &notes);
}

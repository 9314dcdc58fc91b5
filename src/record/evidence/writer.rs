use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use super::block::{self, CHECKPOINT, TRAILER, Trailer, Why, Word};
use super::disk::{Disk, is_full};
use super::files::{self, RESERVE, RESERVE_LEN, Start, State};
use super::losses::{Losses, Tally};
use super::note::{Checkpoint, Signer};
use super::retention::{Closed, Elapsed, Pruned};
use super::scan::Chain;
use super::seal::{At, Sealer};
use super::segment::{Place, Segment};
use super::waiting::Waiting;
use super::witness::{Witness, WitnessState};
use super::{EvidenceOptions, Moment, Surroundings};
use crate::record::pcapng::{self, Flow, PacketNotes};
use crate::record::{Ledger, SNAP_LEN};

const SECOND: u64 = 1_000_000_000;

/// Most bytes of an evidence block, unless a single record is longer.
const BLOCK: usize = 64 << 10;

/// Longest time that a record waits for its trailer.
const BLOCK_NS: u64 = SECOND / 4;

/// Time between two checkpoints: with the time that the disk takes to sync one, a second, which is what a power cut can
/// take.
const CHECKPOINT_NS: u64 = SECOND - SECOND / 20;

/// Time between two checkpoints that witnesses get.
const WITNESS_NS: u64 = 10 * SECOND;

/// Longest time that a segment grows.
pub(super) const SEGMENT_NS: u64 = 600 * SECOND;

/// How often a disk that refused is tried again.
const RETRY_NS: u64 = SECOND;

/// How often it is seen whether segments are too old.
const AGE_NS: u64 = 60 * SECOND;

/// Largest segment: opens quickly in Wireshark.
const MAX_SEGMENT: u64 = 64 << 20;

/// Smallest segment: below, turning over would cost more than writing.
const MIN_SEGMENT: u64 = 256 << 10;

/// The interface that a packet stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Received on the plant port.
    Plant = 0,
    /// Received on the robot port.
    Robot = 1,
    /// Received on the plant port and refused.
    PlantDropped = 2,
    /// Received on the robot port and refused.
    RobotDropped = 3,
}

/// Names of the interfaces, in the order of [`Port`].
const PORTS: [&str; 4] = ["plant", "robot", "plant.dropped", "robot.dropped"];

/// What is known to have reached the disk.
#[derive(Clone, Debug)]
struct Mark {
    chain: Chain,
    place: Place,
    written: Tally,
    accounted: u64,
}

/// The store, open for writing.
#[derive(Debug)]
pub struct Evidence {
    pub(super) options: EvidenceOptions,
    pub(super) around: Arc<dyn Surroundings>,
    pub(super) disk: Box<dyn Disk>,
    pub(super) signer: Signer,
    /// Held as long as the store is open.
    #[expect(dead_code, reason = "the lock ends with the value")]
    pub(super) lock: File,
    witnesses: Vec<Witness>,
    /// Leaves and time of the last checkpoint: the same twice would say nothing.
    signed: Option<(u64, u64)>,
    pub(super) counter: u64,
    pub(super) boot_id: [u8; 16],
    pub(super) chain: Chain,
    pub(super) segment: Option<Segment>,
    /// Makes what goes into that segment unreadable, where it shall be.
    sealer: Option<Sealer>,
    pub(super) next_number: u64,
    pub(super) oldest: Start,
    pub(super) newest: Start,
    pub(super) closed: VecDeque<Closed>,
    /// Bytes of those: there can be ten thousands of them.
    pub(super) closed_bytes: u64,
    /// The clock of retention.
    elapsed: Elapsed,
    /// Segments whose removal is recorded, or about to be.
    pub(super) pruned: Vec<Pruned>,
    pub(super) waiting: Waiting,
    /// The first words of the run, until they have reached the disk.
    pub(super) first_words: Vec<Word>,
    schedule: Schedule,
    losses: Losses,
    mark: Option<Mark>,
    written: Tally,
    /// Events that what was written accounts for.
    accounted: u64,
    /// Where that is noted beyond the life of the process, and how many there were before this run.
    ledger: Option<(&'static Ledger, u64)>,
    /// Leaves that were there when it was opened.
    found_leaves: u64,
    /// Gaps told of since the mark, by queue, disk, budget and kill.
    told: [Tally; 4],
    failed: Option<(u64, String)>,
    ended: bool,
}

/// When things are due, by the monotonic clock.
#[derive(Debug, Default)]
struct Schedule {
    checkpoint_ns: u64,
    witness_ns: u64,
    age_ns: u64,
    state: bool,
}

/// What [`Evidence::begin`] takes.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) options: EvidenceOptions,
    pub(super) around: Arc<dyn Surroundings>,
    pub(super) disk: Box<dyn Disk>,
    pub(super) signer: Signer,
    pub(super) lock: File,
    pub(super) elapsed: Elapsed,
    pub(super) counter: u64,
    pub(super) boot_id: [u8; 16],
    pub(super) chain: Chain,
    pub(super) next_number: u64,
    pub(super) oldest: Start,
    pub(super) closed: VecDeque<Closed>,
    pub(super) first_words: Vec<Word>,
}

impl Evidence {
    /// Begins a run; what the disk refuses of its first records is written later.
    pub(super) fn begin(opened: Opened) -> Self {
        let start = |path| Witness::start(path).inspect_err(|error| tracing::warn!(%error, "no witness thread"));
        let witnesses = opened.options.witnesses.iter().cloned().map(start).filter_map(Result::ok).collect();
        let newest_leaves = opened.chain.frontier.leaves();
        let newest = Start { segment: opened.next_number, chain: opened.chain.clone(), known: true };
        let mut evidence = Self {
            options: opened.options,
            around: opened.around,
            disk: opened.disk,
            signer: opened.signer,
            lock: opened.lock,
            witnesses,
            signed: None,
            counter: opened.counter,
            boot_id: opened.boot_id,
            chain: opened.chain,
            segment: None,
            sealer: None,
            next_number: opened.next_number,
            oldest: opened.oldest,
            newest,
            closed_bytes: opened.closed.iter().fold(0, |sum, closed| sum.saturating_add(closed.bytes)),
            closed: opened.closed,
            elapsed: opened.elapsed,
            pruned: Vec::new(),
            waiting: Waiting::default(),
            first_words: opened.first_words,
            schedule: Schedule::default(),
            losses: Losses::default(),
            mark: None,
            written: Tally::default(),
            accounted: 0,
            ledger: None,
            found_leaves: newest_leaves,
            told: Default::default(),
            failed: None,
            ended: false,
        };
        evidence.say_first_words();
        evidence.tick();
        evidence
    }

    /// Adds a record that accounts for so many events: a JSON object without line end.
    pub fn record(&mut self, json: &[u8], events: u64) {
        let now = self.around.now();
        if !self.waiting.record(json, events, now.monotonic_ns) {
            self.lose(Tally { records: 1, frames: 0 }, events, now);
        }
        self.relieve(now);
    }

    /// Adds a packet that came in at `wall_ns`, `wire_len` bytes long on the wire.
    pub fn packet(&mut self, port: Port, wall_ns: u64, wire_len: u32, bytes: &[u8], notes: &PacketNotes<'_>) {
        self.directed_packet(port, Flow::Unknown, (wall_ns, wire_len), bytes, notes);
    }

    /// Adds a packet as [`Evidence::packet`] does, with the way that it went through its port.
    pub fn directed_packet(
        &mut self,
        port: Port,
        flow: Flow,
        (wall_ns, wire_len): (u64, u32),
        bytes: &[u8],
        notes: &PacketNotes<'_>,
    ) {
        let now = self.around.now();
        let emit = |out: &mut Vec<u8>| pcapng::directed_packet(out, port as u32, wall_ns, wire_len, bytes, notes, flow);
        if !self.waiting.packet(now.monotonic_ns, emit) {
            self.lose(Tally { records: 0, frames: 1 }, 0, now);
        }
        self.relieve(now);
    }

    /// Tells of events and frames that were lost before they came here.
    pub fn lost_before(&mut self, records: u64, frames: u64) {
        if records.saturating_add(frames) > 0 {
            let now = self.around.now();
            self.losses.before(Tally { records, frames }, now.wall_ns);
        }
    }

    /// From now on notes in `ledger` what is accounted for. Where a predecessor was killed that had made event
    /// `killed_at`, tells of what it left unwritten; how many events that are.
    pub fn note_in(&mut self, ledger: &'static Ledger, killed_at: Option<u64>) -> u64 {
        let lost = killed_at.map_or(0, |last| ledger.take_over(last, self.found_leaves));
        self.ledger = Some((ledger, ledger.accounted().saturating_sub(self.accounted)));
        if lost > 0 {
            let now = self.around.now();
            self.losses.at_kill(lost, now.wall_ns);
        }
        lost
    }

    /// Accounts for events that no record tells of, and that are not lost for that.
    pub fn account(&mut self, events: u64) {
        self.accounted = self.accounted.saturating_add(events);
        self.note_accounted();
    }

    fn note_accounted(&self) {
        if let Some((ledger, before)) = self.ledger {
            ledger.account(before.saturating_add(self.accounted));
        }
    }

    /// Tells of frames that the budget of frames left no room for.
    pub fn frames_not_kept(&mut self, frames: u64) {
        if frames > 0 {
            let now = self.around.now();
            self.losses.not_kept(frames, now.wall_ns);
        }
    }

    /// Whether the disk takes what comes: frames that nobody needs as much as records are not to fill the memory in
    /// which records wait for it.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.failed.is_none() && self.waiting.len() < 2 * BLOCK
    }

    /// Does what time asks for: evidence blocks, checkpoints, retention. To be called some ten times a second or more.
    pub fn tick(&mut self) {
        let now = self.around.now();
        if self.failed.as_ref().is_some_and(|(at, _)| now.monotonic_ns.saturating_sub(*at) < RETRY_NS) {
            return;
        }
        let mut done = self.work(now);
        if done.as_ref().is_err_and(is_full) && self.free_room(now).is_ok_and(|freed| freed) {
            done = self.work(now);
        }
        self.note(done, now);
    }

    /// What [`Evidence::tick`] does, until the disk refuses.
    fn work(&mut self, now: Moment) -> io::Result<()> {
        self.pump(now).and_then(|()| {
            if now.monotonic_ns >= self.schedule.checkpoint_ns || self.failed.is_some() {
                self.checkpoint(now)?;
                self.schedule.checkpoint_ns = now.monotonic_ns.saturating_add(CHECKPOINT_NS);
            }
            if now.monotonic_ns >= self.schedule.age_ns {
                self.schedule.age_ns = now.monotonic_ns.saturating_add(AGE_NS);
                self.prune_old(now)?;
                self.save_state();
            }
            Ok(())
        })
    }

    /// Ends the run in order. What the disk does not take now is not written any more.
    pub fn close(mut self) {
        self.end();
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.closed_bytes.saturating_add(self.segment.as_ref().map_or(0, |segment| segment.place.len))
    }

    /// Number of the segment that grows, or of the one that begins with the next record.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.segment.as_ref().map_or(self.next_number, |segment| segment.number)
    }

    /// What the disk refuses with, while it does.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, error)| error.as_str())
    }

    /// Frames written in this run.
    #[must_use]
    pub fn frames_written(&self) -> u64 {
        self.written.frames
    }

    /// The witnesses, and how they fare.
    #[must_use]
    pub fn witnesses(&self) -> Vec<Arc<WitnessState>> {
        self.witnesses.iter().map(Witness::state).collect()
    }

    /// Records and frames lost in this run.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses.total
    }

    /// Frames lost here in this run, beside those that [`Evidence::lost_before`] told of.
    #[must_use]
    pub fn frames_lost(&self) -> u64 {
        self.losses.frames_here
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.around.now();
        self.tell_losses(now);
        self.say(&Word::Close { counter: self.counter }, now);
        let done = self.flush(now).and_then(|()| {
            self.sync()?;
            self.sign(now)?;
            self.sync()?;
            self.save_state();
            self.segment.as_mut().map_or(Ok(()), Segment::end)
        });
        if let Err(error) = done {
            tracing::error!(%error, "the evidence store could not be closed; the next start recovers it");
        }
    }

    /// Ends as a power cut does, without a word; how many bytes of the last segment are on the disk for sure.
    #[cfg(test)]
    pub(super) fn kill(mut self) -> u64 {
        self.ended = true;
        self.mark.as_ref().map_or(u64::MAX, |mark| mark.place.len)
    }

    fn say_first_words(&mut self) {
        let now = self.around.now();
        for (at, word) in self.first_words.clone().iter().enumerate() {
            self.waiting.word_at(at, word, now.wall_ns, now.monotonic_ns);
        }
    }

    pub(super) fn say(&mut self, word: &Word, now: Moment) {
        self.waiting.word(word, 0, now.wall_ns, now.monotonic_ns);
    }

    /// Says something before the records that wait.
    pub(super) fn say_ahead(&mut self, word: &Word, now: Moment) {
        let words = self.waiting.leading_words();
        self.waiting.word_at(words, word, now.wall_ns, now.monotonic_ns);
    }

    /// What the clock of retention shows.
    pub(super) fn elapsed_ns(&mut self, now: Moment) -> u64 {
        self.elapsed.at(now, self.around.clock())
    }

    /// Counts what the disk leaves no room for.
    fn lose(&mut self, lost: Tally, events: u64, now: Moment) {
        self.losses.here(lost, events, now.wall_ns);
    }

    /// Writes what makes a whole evidence block, unless the disk refused a moment ago.
    fn relieve(&mut self, now: Moment) {
        if self.waiting.len() >= BLOCK && self.failed.is_none() {
            let done = self.pump(now);
            self.note(done, now);
        }
    }

    /// Remembers how the disk fared.
    fn note(&mut self, done: io::Result<()>, now: Moment) {
        match done {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("evidence is written again");
                }
            }
            Err(error) => {
                let mend = match is_full(&error) {
                    true if self.fills_the_disk() => "",
                    true => "; others than the evidence fill it, so none is removed for it: free space there",
                    false => "",
                };
                if self.failed.is_none() {
                    tracing::error!(%error, "evidence can't be written{mend}; frames go on, the disk is tried every second");
                }
                let begin_anew = self.segment.as_ref().is_some_and(|segment| !segment.is_linked());
                if begin_anew {
                    // Whoever removed it: what comes now must lie where somebody can find it.
                    self.segment = None;
                    self.sealer = None;
                    self.mark = None;
                }
                self.failed = Some((now.monotonic_ns, format!("{error}{mend}")));
            }
        }
    }

    /// Writes evidence blocks that are full or due.
    fn pump(&mut self, now: Moment) -> io::Result<()> {
        while self.waiting.len() >= BLOCK || self.waiting.is_due(now.monotonic_ns, BLOCK_NS) {
            self.turn_if_due(now)?;
            self.write_block(now)?;
        }
        Ok(())
    }

    /// Writes all that waits, into this segment.
    pub(super) fn flush(&mut self, now: Moment) -> io::Result<()> {
        while !self.waiting.is_empty() {
            self.write_block(now)?;
        }
        Ok(())
    }

    /// Writes the words that wait before the first record.
    pub(super) fn flush_words(&mut self, now: Moment) -> io::Result<()> {
        while self.waiting.leading_words() > 0 {
            self.write_block(now)?;
        }
        Ok(())
    }

    fn write_block(&mut self, now: Moment) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.begin_segment(now)?;
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        let mut bytes = Vec::with_capacity(BLOCK);
        let at = At { block: self.chain.frontier.leaves(), record: self.chain.records.saturating_add(1) };
        if segment.place.len == 0 {
            head(&mut bytes, &self.options, self.sealer.as_mut(), at)?;
        }
        let taken = usize::try_from(segment.place.covered_len).unwrap_or(BLOCK).saturating_add(bytes.len());
        let batch = self.waiting.batch(BLOCK.saturating_sub(taken));
        match &mut self.sealer {
            None => bytes.extend(self.waiting.bytes_of(batch)),
            Some(sealer) => {
                let (traffic, word) = self.waiting.parts_of(batch);
                if !traffic.is_empty() {
                    sealer.seal(&mut bytes, at, traffic)?;
                }
                bytes.extend(word);
            }
        }
        let (hash, covered) = segment.place.cover(&bytes);
        let trailer = Trailer {
            segment: segment.number,
            number: self.chain.frontier.leaves(),
            first_record: self.chain.records.saturating_add(1),
            last_record: self.chain.records.saturating_add(batch.items),
            monotonic_ns: now.monotonic_ns,
            wall_ns: now.wall_ns,
            clock: self.around.clock(),
            boot_id: self.boot_id,
            frames: self.around.frames(),
            lost: self.losses.total,
            covered,
            hash,
            before: self.chain.before,
        };
        let body = trailer.emit();
        block::custom(&mut bytes, TRAILER, &body);
        let events = self.waiting.events_of(batch);
        let accounted = self.accounted.saturating_add(events);
        if let Some((ledger, before)) = self.ledger {
            ledger.intend(before.saturating_add(accounted), trailer.number);
        }
        segment.block(&bytes)?;
        segment.last_ns = self.elapsed.at(now, self.around.clock());
        self.chain.push(&body, trailer.last_record);
        self.waiting.done(batch, now.monotonic_ns);
        self.accounted = accounted;
        self.note_accounted();
        let records = batch.items.saturating_sub(batch.frames).saturating_sub(batch.words);
        self.written.add(Tally { records, frames: batch.frames });
        Ok(())
    }

    /// Makes the next segment where none grows.
    fn begin_segment(&mut self, now: Moment) -> io::Result<()> {
        if self.segment.is_some() {
            return Ok(());
        }
        let number = self.next_number;
        let sealer = Sealer::begin(&self.options.recipients, &self.signer.public_line(), number)?;
        let output = self.disk.create(&self.options.directory.join(files::segment_name(number)))?;
        let segment = Segment::begin(number, output, self.limit(), now.monotonic_ns);
        self.mark = Some(Mark {
            chain: self.chain.clone(),
            place: segment.place.clone(),
            written: self.written,
            accounted: self.accounted,
        });
        self.told = Default::default();
        self.segment = Some(segment);
        self.sealer = sealer;
        self.newest = Start { segment: number, chain: self.chain.clone(), known: true };
        self.next_number = number.saturating_add(1);
        self.schedule.state = true;
        Ok(())
    }

    /// Largest segment under the budget.
    pub(super) fn limit(&self) -> u64 {
        (self.options.budget / 32).clamp(MIN_SEGMENT, MAX_SEGMENT)
    }

    /// Ends the segment where it is full or old.
    fn turn_if_due(&mut self, now: Moment) -> io::Result<()> {
        let Some(segment) = &self.segment else { return Ok(()) };
        let limit = self.limit();
        // Room for what has to be said of removed segments, and for the evidence block that waits, which goes before it.
        let full = limit.saturating_sub(limit / 16).saturating_sub(BLOCK as u64);
        let next = u64::try_from(self.waiting.len().min(BLOCK)).unwrap_or(0);
        let place = &segment.place;
        let is_full = place.len.saturating_add(next) > full;
        let is_old = now.monotonic_ns.saturating_sub(segment.begun_ns) >= SEGMENT_NS;
        if place.len == 0 || !(is_full || is_old) {
            return Ok(());
        }
        // What waits goes before: a sync that fails takes back only what was written.
        self.flush(now)?;
        self.make_room(now)?;
        self.sync()?;
        self.sign(now)?;
        self.sync()?;
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        segment.end()?;
        self.closed_bytes = self.closed_bytes.saturating_add(segment.place.len);
        self.closed.push_back(Closed {
            number: segment.number,
            bytes: segment.place.len,
            until_ns: segment.last_ns,
            end: Some(self.chain.clone()),
        });
        self.segment = None;
        self.sealer = None;
        self.mark = None;
        Ok(())
    }

    /// Writes all that waits, brings it to the disk and signs it.
    fn checkpoint(&mut self, now: Moment) -> io::Result<()> {
        self.tell_losses(now);
        while !self.waiting.is_empty() {
            self.turn_if_due(now)?;
            self.write_block(now)?;
        }
        self.sync()?;
        self.sign(now)?;
        // A signature that the next second's sync brings to the disk would say for up to two seconds nothing.
        self.sync()?;
        if self.schedule.state {
            self.save_state();
            self.disk.hold(&self.options.directory.join(RESERVE), RESERVE_LEN);
        }
        Ok(())
    }

    fn tell_losses(&mut self, now: Moment) {
        if self.losses.is_empty() {
            return;
        }
        let Losses { queue, disk, budget, killed, mut events, since_ns, .. } = self.losses;
        for (told, lost) in self.told.iter_mut().zip([queue, disk, budget, killed]) {
            told.add(lost);
        }
        let all = [(queue, Why::Queue), (disk, Why::Disk), (budget, Why::Budget), (killed, Why::Killed)];
        for (lost, why) in all {
            if lost.sum() > 0 {
                let (records, frames) = (lost.records, lost.frames);
                // All by the first of them: they are written one right after the other.
                let gap = Word::Gap { records, frames, why, since_ns };
                self.waiting.word(&gap, std::mem::take(&mut events), now.wall_ns, now.monotonic_ns);
            }
        }
        self.losses.told();
    }

    /// Brings the segment to the disk. Where that fails, nobody knows which of the bytes since the last time are there:
    /// they are taken for lost.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let Some(segment) = self.segment.as_mut() else { return Ok(()) };
        let Err(error) = segment.sync() else {
            self.mark = Some(Mark {
                chain: self.chain.clone(),
                place: segment.place.clone(),
                written: self.written,
                accounted: self.accounted,
            });
            self.told = Default::default();
            self.first_words.clear();
            return Ok(());
        };
        if let Some(mark) = self.mark.clone().filter(|_| segment.is_linked()) {
            segment.back_to(mark.place);
            self.chain = mark.chain;
            let now = self.around.now();
            let lost = self.written.since(mark.written);
            self.written = mark.written;
            let events = self.accounted.saturating_sub(mark.accounted);
            self.accounted = mark.accounted;
            self.note_accounted();
            self.lose(lost, events, now);
            // What these said of other losses has to be said again.
            let [queue, disk, budget, killed] = std::mem::take(&mut self.told);
            self.losses.killed.add(killed);
            self.losses.queue.add(queue);
            self.losses.disk.add(disk);
            self.losses.budget.add(budget);
            self.pruned.clear();
            self.say_first_words();
        }
        Err(error)
    }

    /// Signs the leaves that stand on the disk.
    pub(super) fn sign(&mut self, now: Moment) -> io::Result<()> {
        let Some(segment) = self.segment.as_mut().filter(|segment| segment.place.len > 0) else { return Ok(()) };
        let checkpoint = Checkpoint {
            leaves: self.chain.frontier.leaves(),
            root: self.chain.frontier.root(),
            time_ns: now.wall_ns,
            records: self.chain.records,
            counter: self.counter,
        };
        if self.signed == Some((checkpoint.leaves, checkpoint.time_ns)) {
            return Ok(());
        }
        let note = checkpoint.note(&self.signer);
        let mut bytes = Vec::new();
        block::custom(&mut bytes, CHECKPOINT, note.as_bytes());
        segment.covered(&bytes)?;
        self.signed = Some((checkpoint.leaves, checkpoint.time_ns));
        if now.monotonic_ns >= self.schedule.witness_ns || self.ended {
            self.schedule.witness_ns = now.monotonic_ns.saturating_add(WITNESS_NS);
            for witness in &mut self.witnesses {
                if self.ended { witness.push_last(&note) } else { witness.push(&note) }
            }
        }
        Ok(())
    }

    pub(super) fn state_is_due(&mut self) {
        self.schedule.state = true;
    }

    /// Writes down where the newest and the oldest segment begin, which saves the next start from reading all of them.
    fn save_state(&mut self) {
        self.schedule.state = false;
        let elapsed_ns = Some(self.elapsed_ns(self.around.now()));
        let state = State { newest: self.newest.clone(), oldest: self.oldest.clone(), elapsed_ns };
        if let Err(error) = state.save(&self.options.directory) {
            tracing::warn!(%error, "the next start will read all segments");
        }
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        // A recorder that fails does not end in order: the box goes on, and nobody records it.
        if !std::thread::panicking() {
            self.end();
        }
    }
}

/// What a segment begins with.
fn head(out: &mut Vec<u8>, options: &EvidenceOptions, sealer: Option<&mut Sealer>, at: At) -> io::Result<()> {
    let application = concat!("vambrace ", env!("CARGO_PKG_VERSION"));
    pcapng::start(out, application, &PORTS, u32::try_from(SNAP_LEN).unwrap_or(u32::MAX));
    let mut names = Vec::new();
    if !options.names.is_empty() {
        pcapng::names(&mut names, options.names.iter().map(|(address, name)| (*address, name.as_str())));
    }
    let Some(sealer) = sealer else {
        out.extend(names);
        return Ok(());
    };
    sealer.keys(out);
    if names.is_empty() { Ok(()) } else { sealer.seal(out, at, &names) }
}

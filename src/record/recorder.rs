use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dissect::Toward;

use super::pcapng::{self, PacketNotes};
use super::store::{Store, next_event_id};
use super::{FrameCopy, Queue, SNAP_LEN, Settler, Settling};
use crate::event::{Event, EventId, Notice, Record, Render, Settled};

/// How long the recorder sleeps when nothing waits: short against what a person notices, long against a wake-up.
const NAP: Duration = Duration::from_millis(10);

/// How often a disk that refused is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Most bytes of lines that wait for the disk to take them again: seconds of a busy cell.
const BACKLOG: usize = 1 << 20;

/// Most events taken at once, so that files grow steadily.
const BATCH: usize = 1024;

/// Sentences of the last refusals, for the comments of their frames.
const SENTENCES: usize = 512;

/// What to record, and where.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Folder of the files; made where missing.
    pub directory: PathBuf,
    /// Most bytes of all files together; the oldest are removed.
    pub size_budget: u64,
    /// How answers and repeats are settled.
    pub settling: Settling,
    /// Time between two heart-beats.
    pub beat: Duration,
}

/// Why the recorder can't start.
#[derive(Debug, thiserror::Error)]
#[error("record directory {directory}: {source}; make it writable for the user that runs vambrace, or name another one as record.directory", directory = .directory.display())]
pub struct RecordError {
    /// The folder.
    pub directory: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// How the recorder fares; read by others at any time.
#[derive(Debug, Default)]
pub struct RecordCounters {
    written: AtomicU64,
    lost: AtomicU64,
    frames_written: AtomicU64,
    frames_lost: AtomicU64,
    unmatched: AtomicU64,
    bytes: AtomicU64,
    error: Mutex<Option<String>>,
}

impl RecordCounters {
    /// Lines written.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Events lost: the queue was full, or the disk refused for too long.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Copies of refused frames written.
    #[must_use]
    pub fn frames_written(&self) -> u64 {
        self.frames_written.load(Ordering::Relaxed)
    }

    /// Copies of refused frames lost.
    #[must_use]
    pub fn frames_lost(&self) -> u64 {
        self.frames_lost.load(Ordering::Relaxed)
    }

    /// Answers to commands whose record was written before, or that never were.
    #[must_use]
    pub fn unmatched(&self) -> u64 {
        self.unmatched.load(Ordering::Relaxed)
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What the disk refused with, while it does.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// The thread that writes records: `eve.json`, `refused.pcapng`, and older ones of both within a budget.
///
/// Whatever the disk does, the queue is emptied and frames go on: what can't be written is counted, reported, and
/// recorded as lost as soon as the disk takes records again.
#[derive(Debug)]
pub struct Recorder {
    counters: Arc<RecordCounters>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    first: EventId,
}

impl Recorder {
    /// Opens the files and starts the thread.
    ///
    /// # Errors
    /// The folder can't be made or written.
    pub fn start(options: RecordOptions, queue: Arc<Queue>, render: Box<dyn Render>) -> Result<Self, RecordError> {
        let named = |source| RecordError { directory: options.directory.clone(), source };
        let store = Store::open(&options.directory, options.size_budget).map_err(named)?;
        let first = next_event_id(&options.directory).map_err(named)?;
        let counters = Arc::new(RecordCounters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = Writer::new(&options, queue, render, store, Arc::clone(&counters));
        let thread = {
            let stop = Arc::clone(&stop);
            thread::Builder::new().name("recorder".into()).spawn(move || writer.run(&stop)).map_err(named)?
        };
        Ok(Self { counters, stop, thread: Some(thread), first })
    }

    /// Starts the thread, which opens the files: for a successor, whose frames must not wait for a disk. Where the files
    /// can't be opened it is tried again, while the queue fills and then counts what is lost.
    ///
    /// # Errors
    /// No thread can be made.
    pub fn start_behind(options: RecordOptions, queue: Arc<Queue>, render: Box<dyn Render>) -> io::Result<Self> {
        let counters = Arc::new(RecordCounters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, shared) = (Arc::clone(&stop), Arc::clone(&counters));
        let run = move || {
            let store = loop {
                match Store::open(&options.directory, options.size_budget) {
                    Ok(store) => break store,
                    Err(error) => shared.set_error(Some(error.to_string())),
                }
                if ended.load(Ordering::Acquire) {
                    return;
                }
                thread::park_timeout(RETRY);
            };
            shared.set_error(None);
            Writer::new(&options, queue, render, store, shared).run(&ended);
        };
        let thread = thread::Builder::new().name("recorder".into()).spawn(run)?;
        Ok(Self { counters, stop, thread: Some(thread), first: EventId(0) })
    }

    /// The id that the first event of this run shall bear; 0 where a predecessor's numbers are known otherwise.
    #[must_use]
    pub fn first_event_id(&self) -> EventId {
        self.first
    }

    /// How it fares.
    #[must_use]
    pub fn counters(&self) -> Arc<RecordCounters> {
        Arc::clone(&self.counters)
    }

    /// Writes what waits and ends the thread; the same happens when the value is dropped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

struct Writer {
    queue: Arc<Queue>,
    render: Box<dyn Render>,
    store: Store,
    settler: Settler,
    counters: Arc<RecordCounters>,
    /// Lines that wait for the disk, how many they are, and the id of the last.
    lines: String,
    line_count: u64,
    last_id: EventId,
    /// Lines lost since the disk refused.
    lost: u64,
    /// Blocks of refused frames that wait for the disk, and how many.
    frames: Vec<u8>,
    frame_count: u64,
    /// Frames that came in by the plant and by the robot port: of the running section, and of what waits.
    section: [u64; 2],
    waiting: [u64; 2],
    frames_lost: u64,
    sentences: VecDeque<(EventId, String)>,
    /// The latest event's clocks, and when it was taken: from them the time is told while none comes.
    latest: Option<(u64, u64, Instant)>,
    failed: Option<Instant>,
    /// Time between two heart-beats, and when the last one was.
    beat: Duration,
    beaten: Instant,
}

impl Writer {
    fn new(
        options: &RecordOptions,
        queue: Arc<Queue>,
        render: Box<dyn Render>,
        store: Store,
        counters: Arc<RecordCounters>,
    ) -> Self {
        Self {
            queue,
            render,
            store,
            settler: Settler::new(options.settling),
            counters,
            lines: String::new(),
            line_count: 0,
            last_id: EventId(0),
            lost: 0,
            frames: Vec::new(),
            frame_count: 0,
            section: [0; 2],
            waiting: [0; 2],
            frames_lost: 0,
            sentences: VecDeque::new(),
            latest: None,
            failed: None,
            beat: options.beat,
            beaten: Instant::now(),
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        loop {
            // Asked before the queue is emptied: what was pushed before the stop is written.
            let stopping = stop.load(Ordering::Acquire);
            let busy = self.drain();
            if stopping && !busy {
                self.end();
                return;
            }
            self.heart_beat();
            self.write(false);
            if !busy {
                thread::park_timeout(NAP);
            }
        }
    }

    /// Takes what waits in the queue, up to a batch; says whether there was anything.
    fn drain(&mut self) -> bool {
        let mut settled = Vec::new();
        let mut busy = false;
        for _ in 0..BATCH {
            let Some(event) = self.queue.pop() else { break };
            busy = true;
            self.latest = Some((event.monotonic_ns, event.wall_ns, Instant::now()));
            self.settler.take(event, &mut |one| settled.push(one));
        }
        let (now_ns, _) = self.now();
        self.settler.expire(now_ns, &mut |one| settled.push(one));
        if let Some((count, id)) = self.queue.take_lost() {
            self.counters.lost.fetch_add(count, Ordering::Relaxed);
            settled.push(self.losses(id, count));
        }
        for settled in settled {
            // A batch of refusals is longer than what may wait for a disk: one that takes records gets them meanwhile.
            if self.lines.len() >= BACKLOG / 2 {
                self.write(false);
            }
            self.line(&settled);
        }
        self.counters.unmatched.store(self.settler.unmatched(), Ordering::Relaxed);
        let lost = self.queue.take_frames_lost();
        if lost > 0 {
            self.frames_lost = self.frames_lost.saturating_add(lost);
            self.counters.frames_lost.fetch_add(lost, Ordering::Relaxed);
        }
        for _ in 0..BATCH {
            let Some(copy) = self.queue.pop_frame() else { break };
            busy = true;
            self.frame(&copy);
            self.queue.recycle(copy);
        }
        busy
    }

    /// Says that the box lives, also while nothing happens; not while the disk refuses and lines wait.
    fn heart_beat(&mut self) {
        if self.beaten.elapsed() < self.beat || self.failed.is_some() {
            return;
        }
        self.beaten = Instant::now();
        let before = self.lines.len();
        self.render.beat(&mut self.lines);
        if self.lines.len() > before {
            self.lines.push('\n');
            self.line_count = self.line_count.saturating_add(1);
        }
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
        Event { id, monotonic_ns, wall_ns, frame: 0, record }.into()
    }

    fn line(&mut self, settled: &Settled) {
        if self.lines.len() >= BACKLOG {
            self.lost = self.lost.saturating_add(1);
            self.last_id = settled.event.id;
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.render.line(settled, &mut self.lines);
        self.lines.push('\n');
        self.line_count = self.line_count.saturating_add(1);
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

    fn frame(&mut self, copy: &FrameCopy) {
        if self.frames.len() >= BACKLOG {
            self.frames_lost = self.frames_lost.saturating_add(1);
            self.counters.frames_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
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
        // The interface is the port that the frame came in by.
        let interface = match copy.toward {
            Toward::Robot => 0,
            Toward::Plant => 1,
        };
        let notes = PacketNotes { comment, packet_id: copy.event.0, verdict: reason.name() };
        pcapng::packet(&mut self.frames, interface, copy.wall_ns, copy.wire_len, copy.bytes(), &notes);
        self.frame_count = self.frame_count.saturating_add(1);
        let [plant, robot] = &mut self.waiting;
        let count = if interface == 0 { plant } else { robot };
        *count = count.saturating_add(1);
    }

    /// Gives the disk what waits for it; `urgent` also right after it refused.
    fn write(&mut self, urgent: bool) {
        if self.lines.is_empty() && self.frames.is_empty() {
            return;
        }
        if !urgent && self.failed.is_some_and(|failed| failed.elapsed() < RETRY) {
            return;
        }
        match self.write_lines().and_then(|()| self.write_frames()) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("records are written again");
                    self.counters.set_error(None);
                }
                if self.lost > 0 {
                    let lost = std::mem::take(&mut self.lost);
                    let losses = self.losses(self.last_id, lost);
                    self.line(&losses);
                }
            }
            Err(error) => {
                if self.failed.is_none() {
                    tracing::error!(%error, "records can't be written; frames go on, the disk is tried every second");
                }
                self.failed = Some(Instant::now());
                self.counters.set_error(Some(error.to_string()));
            }
        }
        self.counters.bytes.store(self.store.bytes(), Ordering::Relaxed);
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

    fn write_frames(&mut self) -> io::Result<()> {
        if self.frames.is_empty() {
            return Ok(());
        }
        self.store.make_room(self.frames.len())?;
        if self.store.frames_full(self.frames.len()) {
            self.end_section()?;
            self.store.turn_frames()?;
        }
        if self.store.frames.is_empty() {
            let mut start = Vec::new();
            let application = concat!("vambrace ", env!("CARGO_PKG_VERSION"));
            let snap_len = u32::try_from(SNAP_LEN).unwrap_or(u32::MAX);
            pcapng::start(&mut start, application, &["plant.dropped", "robot.dropped"], snap_len);
            self.store.frames.append(&start)?;
        }
        self.store.frames.append(&self.frames)?;
        self.frames.clear();
        for (written, waited) in self.section.iter_mut().zip(std::mem::take(&mut self.waiting)) {
            *written = written.saturating_add(waited);
        }
        self.counters.frames_written.fetch_add(std::mem::take(&mut self.frame_count), Ordering::Relaxed);
        Ok(())
    }

    /// Ends the running section of the frame file with its counters.
    fn end_section(&mut self) -> io::Result<()> {
        let (_, wall_ns) = self.now();
        let [plant, robot] = std::mem::take(&mut self.section);
        let lost = std::mem::take(&mut self.frames_lost);
        let mut blocks = Vec::new();
        // Which port the lost copies came from is not known; they are told of once, on the first interface.
        pcapng::statistics(&mut blocks, 0, wall_ns, plant.saturating_add(lost), lost);
        pcapng::statistics(&mut blocks, 1, wall_ns, robot, 0);
        self.store.frames.append(&blocks)
    }

    fn end(&mut self) {
        let mut settled = Vec::new();
        self.settler.finish(&mut |one| settled.push(one));
        for settled in settled {
            self.line(&settled);
        }
        self.write(true);
        self.write(true);
        if !self.store.frames.is_empty()
            && let Err(error) = self.end_section()
        {
            tracing::warn!(%error, "frame counters not written");
        }
        self.store.events.sync();
        self.store.frames.sync();
    }
}

/// Whether `directory` looks like a record store: it holds event files.
#[must_use]
pub fn is_store(directory: &Path) -> bool {
    super::event_files(directory).is_ok_and(|files| !files.is_empty())
}

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::around::KeepOptions;
use super::evidence::{Evidence, EvidenceOptions, Recipient, Surroundings, WitnessState, is_full};
use super::store::{Store, behind_evidence, next_event_id};
use super::writer::Writer;
use super::{FrameRing, Ledger, Queue, Settling};
use crate::event::{EventId, Render};

/// How often a disk that refused is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The part of the budget that `eve.json` and its older files get: one in four. All that they hold stands in the evidence
/// as well, and who ships logs takes them within minutes; but `events` and `explain` read them, so they must reach back
/// as far as people ask, which is weeks.
const EVENT_SHARE: u64 = 4;

/// What to record, and where.
#[derive(Clone, Debug)]
pub struct RecordOptions {
    /// Folder of the files; made where missing.
    pub directory: PathBuf,
    /// Most bytes of all files together; the oldest are removed.
    pub size_budget: u64,
    /// Evidence whose last record is older is removed.
    pub max_age: Option<Duration>,
    /// Files on other media that keep checkpoints.
    pub witnesses: Vec<PathBuf>,
    /// The file that counts how often the store was opened; beside the segments where absent.
    pub counter: Option<PathBuf>,
    /// The box's host name, for the name in signatures.
    pub host: String,
    /// Names of addresses, for those who open segments.
    pub names: Vec<(IpAddr, String)>,
    /// Auditors to whom evidence is encrypted; where empty, it is written in the clear.
    pub recipients: Vec<Recipient>,
    /// Whether events are written into [`EVENT_FILE`](super::EVENT_FILE) too, in the clear.
    pub event_lines: bool,
    /// The frames that passed last, and which of them are kept around refusals; absent where none are.
    pub ring: Option<(Arc<FrameRing>, KeepOptions)>,
    /// Where it is noted, beyond the life of this process, how many events are accounted for; and the last event that a
    /// predecessor had made when it was killed.
    pub ledger: Option<(&'static Ledger, Option<u64>)>,
    /// How answers and repeats are settled.
    pub settling: Settling,
    /// Time between two heart-beats.
    pub beat: Duration,
}

impl RecordOptions {
    fn event_budget(&self) -> u64 {
        if self.event_lines { self.size_budget / EVENT_SHARE } else { 0 }
    }

    fn evidence(&self) -> EvidenceOptions {
        EvidenceOptions {
            directory: self.directory.clone(),
            budget: self.size_budget.saturating_sub(self.event_budget()),
            max_age: self.max_age,
            witnesses: self.witnesses.clone(),
            counter: self.counter.clone(),
            host: self.host.clone(),
            names: self.names.clone(),
            recipients: self.recipients.clone(),
        }
    }
}

/// Why the recorder can't start.
#[derive(Debug, thiserror::Error)]
#[error("record directory {directory}: {source}{mend}", directory = .directory.display(), mend = mend(.source))]
pub struct RecordError {
    /// The folder.
    pub directory: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

/// What to do about an error that does not say so itself.
fn mend(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::ResourceBusy => "",
        _ => "; make it writable for the user that runs vambrace, or name another one as record.directory",
    }
}

/// How the recorder fares; read by others at any time.
#[derive(Debug, Default)]
pub struct RecordCounters {
    pub(super) written: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) frames_written: AtomicU64,
    pub(super) frames_lost: AtomicU64,
    pub(super) frames_around: AtomicU64,
    pub(super) frames_missed: AtomicU64,
    pub(super) unmatched: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) evidence_lost: AtomicU64,
    witnesses: Mutex<Vec<Arc<WitnessState>>>,
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

    /// Records and copies of frames that are missing in the evidence, those that a killed predecessor left included.
    #[must_use]
    pub fn evidence_lost(&self) -> u64 {
        self.evidence_lost.load(Ordering::Relaxed)
    }

    /// The witnesses, and how they fare.
    #[must_use]
    pub fn witnesses(&self) -> Vec<Arc<WitnessState>> {
        self.witnesses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_witnesses(&self, witnesses: Vec<Arc<WitnessState>>) {
        *self.witnesses.lock().unwrap_or_else(PoisonError::into_inner) = witnesses;
    }

    /// Frames kept around refusals and on request.
    #[must_use]
    pub fn frames_around(&self) -> u64 {
        self.frames_around.load(Ordering::Relaxed)
    }

    /// Frames that would have been kept so, for which there was no budget or no time.
    #[must_use]
    pub fn frames_missed(&self) -> u64 {
        self.frames_missed.load(Ordering::Relaxed)
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

    pub(super) fn set_error(&self, error: Option<&str>) {
        let mut known = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != error {
            *known = error.map(str::to_owned);
        }
    }
}

/// The thread that writes records: the evidence store, and `eve.json` with older ones, all within a budget.
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
    pub fn start(
        options: RecordOptions,
        queue: Arc<Queue>,
        render: Box<dyn Render>,
        around: Arc<dyn Surroundings>,
    ) -> Result<Self, RecordError> {
        let directory = options.directory.clone();
        let named = |source| RecordError { directory: directory.clone(), source };
        let opened = open(&options, &around);
        let first = next_event_id(&options.directory).and_then(|next| behind_evidence(&options.directory, next));
        let begin = |first: EventId| {
            if let Some((ledger, None)) = options.ledger {
                ledger.begin(first.0.saturating_sub(1));
            }
        };
        let stores = match opened {
            Ok(stores) => stores,
            // Frames pass all the same; what can't be written is counted until it can.
            Err(error) if is_full(&error) || error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                let first = first.unwrap_or(EventId(1));
                begin(first);
                let mut recorder = Self::start_behind(options, queue, render, around).map_err(named)?;
                recorder.first = first;
                return Ok(recorder);
            }
            Err(error) => return Err(named(error)),
        };
        let first = first.map_err(named)?;
        begin(first);
        let counters = Arc::new(RecordCounters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let writer = Writer::new(&options, queue, render, stores, Arc::clone(&counters));
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
    pub fn start_behind(
        options: RecordOptions,
        queue: Arc<Queue>,
        render: Box<dyn Render>,
        around: Arc<dyn Surroundings>,
    ) -> io::Result<Self> {
        let counters = Arc::new(RecordCounters::default());
        let stop = Arc::new(AtomicBool::new(false));
        let (ended, shared) = (Arc::clone(&stop), Arc::clone(&counters));
        let run = move || {
            let stores = loop {
                match open(&options, &around) {
                    Ok(stores) => break stores,
                    Err(error) => {
                        if shared.error().is_none() {
                            tracing::error!(%error, "the records can't be opened; frames go on, it is tried every second");
                        }
                        shared.set_error(Some(&error.to_string()));
                    }
                }
                if ended.load(Ordering::Acquire) {
                    return;
                }
                thread::park_timeout(RETRY);
            };
            if shared.error().is_some() {
                shared.set_error(None);
                tracing::info!("the records are open");
            }
            Writer::new(&options, queue, render, stores, shared).run(&ended);
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

/// Opens both stores.
fn open(options: &RecordOptions, around: &Arc<dyn Surroundings>) -> io::Result<(Store, Evidence)> {
    let store = Store::open(&options.directory, options.event_budget())?;
    Ok((store, Evidence::open(options.evidence(), Arc::clone(around))?))
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

/// Whether `directory` looks like a record store: it holds event files.
#[must_use]
pub fn is_store(directory: &Path) -> bool {
    super::event_files(directory).is_ok_and(|files| !files.is_empty())
}

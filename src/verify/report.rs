//! What a verifier found.

use serde::Serialize;

/// Most findings, gaps, runs and clock steps that are kept one by one; the rest is counted.
pub const KEPT: usize = 1000;

/// A place where the store is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Number of the segment; absent where another file is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<u64>,
    /// Number of the evidence block, over the life of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<u64>,
    /// Offset in the file, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// The file, where it is no segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What is wrong, a sentence.
    pub what: String,
}

impl Finding {
    /// Of a file that is no segment.
    pub(super) fn of_file(file: &str, what: impl Into<String>) -> Self {
        Self { segment: None, block: None, byte: None, file: Some(file.to_owned()), what: what.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        if let Some(segment) = self.segment {
            write!(f, "segment {segment}")?;
            if let Some(block) = self.block {
                write!(f, ", block {block}")?;
            }
            if let Some(byte) = self.byte {
                write!(f, ", byte {byte}")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.what)
    }
}

/// Records that were lost, as the box said itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// First loss.
    pub since_ns: u64,
    /// When records could be written again.
    pub until_ns: u64,
    /// How many records.
    pub records: u64,
    /// How many copies of frames.
    pub frames: u64,
    /// `queue`, `disk` or `budget`.
    pub why: String,
}

/// A run that another followed without a `close`: the power went, or the process was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unclosed {
    /// Of the run, where it is known.
    pub counter: Option<u64>,
    /// Wall time of its last trailer.
    pub until_ns: u64,
    /// What the next start cut off, in bytes, where it said so.
    pub cut_bytes: Option<u64>,
}

/// The wall clock moved against the monotonic one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStep {
    /// Evidence block whose trailer is the first after it, or whose checkpoint is.
    pub block: u64,
    /// Wall time after it.
    pub time_ns: u64,
    /// By how much, nanoseconds; negative where it went back.
    pub step_ns: i64,
}

/// Bytes at the end that no trailer covers: what was being written when the power went, or is being written now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tail {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in the file.
    pub byte: u64,
    /// How many.
    pub bytes: u64,
}

/// What the last good signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// Number of leaves.
    pub leaves: u64,
    /// Number of the last record.
    pub records: u64,
    /// When, nanoseconds since 1970.
    pub time_ns: u64,
}

/// What was not there any more, or is not in the export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Absent {
    /// Number of evidence blocks.
    pub leaves: u64,
    /// Number of records.
    pub records: u64,
    /// `prune`: retention removed them and the box signed that; `export`: they were left out.
    pub by: &'static str,
}

/// What of the store is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Encrypted {
    /// Segments whose records are.
    pub segments: u64,
    /// Of these, how many could be read with the secret keys that were given.
    pub opened_segments: u64,
    /// Records, packets among them.
    pub records: u64,
    /// Ids of the auditors' keys to which they are encrypted.
    pub recipients: Vec<String>,
}

/// What commits to the end of the store, beside its own signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct End {
    /// The last run ended in order, and a signature covers that.
    pub closed: bool,
    /// The newest checkpoint that a witness holds.
    pub witness: Option<Signed>,
    /// Checkpoints of witnesses that were compared.
    pub witnessed: u64,
    /// Checkpoints of witnesses that are older than what is left.
    pub witness_too_old: u64,
    /// The store's last start is the one that the counter names.
    pub counter: Option<u64>,
    /// Last `open` of the store: everything before it is committed to by what it states.
    pub opened_ns: Option<u64>,
}

/// The whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing is altered and nothing missing, as far as anything commits.
    pub sound: bool,
    /// Bad places, the first one first.
    pub findings: Vec<Finding>,
    /// Name of the box.
    pub name: String,
    /// The key's line.
    pub key: String,
    /// Whether the key was given by the asker and not by the store.
    pub pinned: bool,
    /// Number of the first segment.
    pub first_segment: u64,
    /// Number of the last one.
    pub last_segment: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Evidence blocks in the store's life, up to its end.
    pub leaves: u64,
    /// Root of their tree, hex.
    pub root: String,
    /// Number of the first record that is there.
    pub first_record: u64,
    /// Number of the last one.
    pub last_record: u64,
    /// Packets among those.
    pub packets: u64,
    /// Refused ones among those.
    pub refused: u64,
    /// What of it is encrypted, if any.
    pub encrypted: Option<Encrypted>,
    /// What is missing at the begin, rightly.
    pub absent: Option<Absent>,
    /// Wall time of the first trailer.
    pub from_ns: Option<u64>,
    /// Wall time of the last trailer.
    pub to_ns: Option<u64>,
    /// Checkpoints whose signatures were checked and hold.
    pub signatures: u64,
    /// What the last one says.
    pub signed: Option<Signed>,
    /// What the last one before the first finding says: so far the store holds.
    pub holds: Option<Signed>,
    /// Records behind the last one: chained, but signed by nothing.
    pub unsigned_records: u64,
    /// Evidence blocks behind it.
    pub unsigned_leaves: u64,
    /// Bytes at the end that no trailer covers.
    pub tail: Option<Tail>,
    /// Starts.
    pub runs: u64,
    /// Starts of which the counter tells and that left nothing.
    pub starts_without_records: u64,
    /// Runs that did not end in order, the last one apart.
    pub unclosed: Vec<Unclosed>,
    /// How many of those there are.
    pub unclosed_count: u64,
    /// Losses.
    pub gaps: Vec<Gap>,
    /// How many of those there are.
    pub gap_count: u64,
    /// Records lost, after what gaps say.
    pub lost_records: u64,
    /// Copies of frames lost.
    pub lost_frames: u64,
    /// Records lost that no gap tells of, after the trailers.
    pub lost_untold: u64,
    /// Steps of the wall clock.
    pub clock_steps: Vec<ClockStep>,
    /// How many of those there are.
    pub clock_step_count: u64,
    /// Evidence blocks that were ended while the clock was not synchronised, or not known to be.
    pub unsynchronised: u64,
    /// What commits to the end.
    pub end: End,
}

/// Keeps `item` where there is room.
pub(super) fn keep<T>(list: &mut Vec<T>, count: &mut u64, item: T) {
    *count = count.saturating_add(1);
    if list.len() < KEPT {
        list.push(item);
    }
}

/// What a box on the wire does not see; said in every report.
pub const NOT_SEEN: &str = "What a box on the wire does not see is not in here: what SFTP and SSH carried, what TLS \
    hid, what came by USB, what was done at the teach pendant or inside the controller.";

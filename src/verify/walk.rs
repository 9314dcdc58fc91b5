//! One pass over the segments, in order, in pieces of any size.
//!
//! Memory is bounded by the longest block that may be, one mark a segment, and the lists of a [`Report`].

mod clock;
mod end;
mod life;
mod sealed;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::note::{Checkpoint, Key, NoteError, checkpoint};
use super::pcapng::{Block, Head, head, read};
use super::report::{Absent, Finding, Report, Signed, Tail};
use super::tail::{Torn, has_hole};
use super::trailer::Trailer;
use super::tree::{Hash, Tree, sha256};
use super::unseal::Identity;
use super::words::{self, Word};

/// Where the segments that are there begin.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The tree of what is absent.
    pub tree: Tree,
    /// How many records are absent.
    pub records: u64,
    /// SHA-256 of the last absent trailer's body; zeros where none is.
    pub trailer: Hash,
    /// Who says so.
    pub by: &'static str,
    /// Number of the block in which it is said; absent where nothing in the store does.
    pub told_in: Option<u64>,
}

/// State of one pass. May be copied at any place and gone on with from there.
#[derive(Clone, Debug)]
pub struct Verifier {
    key: Key,
    base: Base,
    tree: Tree,
    chain: Hash,
    /// Sorted by number of leaves.
    witnesses: Arc<[Checkpoint]>,
    witness: usize,
    counter: Option<u64>,
    identities: Arc<[Identity]>,
    report: Report,
    run: Run,
    here: Here,
    clock: Option<Clock>,
    marks: Vec<Mark>,
    stopped: bool,
}

/// The run whose records are read.
#[derive(Clone, Debug, Default)]
struct Run {
    /// A record of it was read.
    seen: bool,
    counter: Option<u64>,
    closed: bool,
    /// Leaves at an `open` that was not clean: `recovered` must be next.
    recovers: Option<u64>,
    /// Lost, after the last trailer.
    lost: u64,
    /// Of these, told by gaps.
    told: u64,
    /// Its `open` stands in the evidence block that is read.
    opens: bool,
}

/// The place in the segment that is read.
#[derive(Clone, Debug, Default)]
struct Here {
    number: u64,
    /// As the file system says; absent of a stream.
    length: Option<u64>,
    /// How much of it was read.
    fed: u64,
    last: bool,
    /// Offset of the next block.
    position: u64,
    /// Offset behind the last trailer.
    covered_from: u64,
    /// Offset behind the last trailer or checkpoint.
    sound: u64,
    hasher: Sha256,
    /// A block that is not whole yet.
    pending: Vec<u8>,
    /// What no trailer covers yet.
    fresh: Fresh,
    interfaces: u32,
    /// Where the segment is encrypted.
    seal: Option<sealed::Seal>,
    records: u64,
    trailers: u64,
    /// The last block was a trailer or a checkpoint.
    behind: Behind,
    /// Where a fault is that is noticed later.
    blame: Option<u64>,
    torn: Option<Torn>,
    /// Behind the last checkpoint, a sector stands there that was never written.
    has_hole: bool,
    /// What was known in front of an evidence block whose bytes are others, while no checkpoint says that they were on the
    /// disk.
    doubt: Option<Box<Verifier>>,
}

/// The records of an evidence block that has not ended; they count when its trailer stands there.
#[derive(Clone, Debug, Default)]
struct Fresh {
    records: u64,
    packets: u64,
    refused: u64,
    /// The store's own word, with its offset; it ends the evidence block.
    word: Option<(Word, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Behind {
    #[default]
    Other,
    Trailer,
    /// With the hash of its note.
    Checkpoint(Hash, u64),
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    boot_id: [u8; 16],
    monotonic_ns: u64,
    wall_ns: u64,
}

/// What stood at the end of a segment.
#[derive(Clone, Debug)]
struct Mark {
    tree: Tree,
    records: u64,
    chain: Hash,
}

/// Why the pass does not go on, a sentence.
type Fault = String;

impl Verifier {
    /// A pass over a store of `key`, which begins at `base`.
    ///
    /// `witnesses` are checkpoints that others keep, `counter` how often the store was opened, as something else than
    /// the store says.
    #[must_use]
    pub fn new(key: Key, pinned: bool, base: Base, mut witnesses: Vec<Checkpoint>, counter: Option<u64>) -> Self {
        witnesses.sort_by_key(|checkpoint| (checkpoint.leaves, checkpoint.time_ns));
        let absent =
            (base.tree.leaves() > 0).then(|| Absent { leaves: base.tree.leaves(), records: base.records, by: base.by });
        let report = Report {
            name: key.name().to_owned(),
            key: key.line().to_owned(),
            pinned,
            absent,
            first_record: base.records.saturating_add(1),
            last_record: base.records,
            ..Report::default()
        };
        let mut this = Self {
            tree: base.tree.clone(),
            chain: base.trailer,
            key,
            base,
            witnesses: witnesses.into(),
            witness: 0,
            counter,
            identities: Arc::default(),
            report,
            run: Run::default(),
            here: Here::default(),
            clock: None,
            marks: Vec::new(),
            stopped: false,
        };
        this.skip_old_witnesses();
        if let Err(what) = this.ask_witnesses() {
            this.fault(what);
        }
        this
    }

    /// Reads what is encrypted to one of these, too.
    pub fn read_with(&mut self, identities: &[Identity]) {
        self.identities = identities.into();
    }

    /// Whether something was found that is not sound.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        !self.report.findings.is_empty()
    }

    /// Notes something that is wrong outside of the segments.
    pub fn complain(&mut self, finding: Finding) {
        if self.report.findings.is_empty() {
            self.report.holds = self.report.signed;
        }
        self.report.findings.push(finding);
    }

    /// Begins segment `number`; `last` says that none follows. Where its `length` in bytes is known, a block that can't fit
    /// is told before it is kept.
    pub fn begin(&mut self, number: u64, length: Option<u64>, last: bool) {
        let before = self.here.number;
        self.here = Here { number, length, last, ..Here::default() };
        if self.report.first_segment == 0 {
            self.report.first_segment = number;
            if self.base.tree.leaves() == 0 && number != 1 {
                self.fault(format!("segment {number} is the first that is there, and nothing says what became of 1"));
            }
        } else if number != before.saturating_add(1) {
            self.fault(format!("segment {} is missing", before.saturating_add(1)));
        }
        self.report.last_segment = number;
        self.marks.push(Mark { tree: self.tree.clone(), records: self.report.last_record, chain: self.chain });
    }

    /// Reads on in the segment.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.here.fed = self.here.fed.saturating_add(count);
        while !self.stopped && !bytes.is_empty() {
            if let Some(torn) = &mut self.here.torn {
                torn.feed(bytes, &self.key);
                return;
            }
            bytes = if self.here.pending.is_empty() { self.whole(bytes) } else { self.joined(bytes) };
        }
    }

    /// Reads the blocks that are whole in `bytes` and keeps the rest; what is left is for [`Torn`].
    fn whole<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (mut rest, mut unhashed) = (bytes, bytes);
        loop {
            let passed = unhashed.len().saturating_sub(rest.len());
            match head(rest) {
                Head::Whole(block) => {
                    let is_trailer = matches!(read(block), Ok(Block::Trailer(_)));
                    rest = rest.get(block.len()..).unwrap_or_default();
                    if is_trailer {
                        self.here.hasher.update(unhashed.get(..passed).unwrap_or_default());
                        unhashed = rest;
                    }
                    self.take(block);
                    if self.stopped {
                        return &[];
                    }
                    if self.here.torn.is_some() {
                        return rest;
                    }
                }
                Head::Needs(length) => {
                    self.here.hasher.update(unhashed.get(..passed).unwrap_or_default());
                    if !rest.is_empty() && self.is_beyond_the_end(length) {
                        self.tear("the block is cut short", true);
                        return rest;
                    }
                    self.here.pending.extend_from_slice(rest);
                    return &[];
                }
                Head::Broken(what) => {
                    self.here.hasher.update(unhashed.get(..passed).unwrap_or_default());
                    self.tear(what, false);
                    return rest;
                }
            }
        }
    }

    /// Completes the block that was begun, and returns what it does not need.
    fn joined<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        loop {
            match head(&self.here.pending) {
                Head::Needs(length) if self.is_beyond_the_end(length) => {
                    self.tear("the block is cut short", true);
                    return rest;
                }
                Head::Needs(length) => {
                    let missing = length.saturating_sub(self.here.pending.len()).min(rest.len());
                    let (taken, left) = rest.split_at_checked(missing).unwrap_or_default();
                    self.here.pending.extend_from_slice(taken);
                    rest = left;
                    if taken.is_empty() {
                        return rest;
                    }
                }
                Head::Whole(_) => {
                    let mut block = std::mem::take(&mut self.here.pending);
                    if !matches!(read(&block), Ok(Block::Trailer(_))) {
                        self.here.hasher.update(&block);
                    }
                    self.take(&block);
                    block.clear();
                    self.here.pending = block;
                    return rest;
                }
                Head::Broken(what) => {
                    self.tear(what, false);
                    return rest;
                }
            }
        }
    }

    /// Whether a block of `length` bytes does not fit into the segment any more.
    fn is_beyond_the_end(&self, length: usize) -> bool {
        let end = self.here.position.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        self.here.length.is_some_and(|length| end > length)
    }

    /// Ends the segment.
    pub fn end(&mut self) {
        self.report.bytes = self.report.bytes.saturating_add(self.here.fed);
        if self.stopped {
            return;
        }
        if !self.here.pending.is_empty() {
            self.tear("the block is cut short", true);
        }
        if let Some(torn) = self.here.torn.take() {
            let has_hole = torn.has_hole() || self.here.has_hole;
            if let Some(what) = torn.verdict(has_hole) {
                self.here.blame = Some(torn.at());
                return self.fault(what);
            }
            self.forgive(has_hole);
            self.tail();
        } else if self.here.doubt.is_some() {
            if self.forgive(self.here.has_hole) {
                self.tail();
            }
        } else if self.here.behind == Behind::Other {
            if !self.here.last {
                return self.fault("the segment does not end in a trailer".into());
            }
            self.tail();
        }
    }

    /// Notes what no trailer covers at the end of the store.
    fn tail(&mut self) {
        let Here { number, fed, sound, .. } = self.here;
        if fed > sound {
            self.report.tail = Some(Tail { segment: number, byte: sound, bytes: fed.saturating_sub(sound) });
        }
    }

    /// Goes back to what was known in front of the first block that is in doubt, where a power cut may have left it so.
    fn forgive(&mut self, has_hole: bool) -> bool {
        let Some(before) = self.here.doubt.take().filter(|_| has_hole) else { return false };
        let (bytes, fed) = (self.report.bytes, self.here.fed);
        *self = *before;
        self.report.bytes = bytes;
        self.here.fed = fed;
        true
    }

    /// Whether what stands here may be what a power cut left: nothing that was signed is known to stand behind it.
    fn may_be_a_power_cut(&self) -> bool {
        self.here.last && !self.has_ended()
    }

    /// Whether the run ended in this segment, in order, and that is signed. The segment of a start that wrote nothing
    /// stands behind one that ended, too; and the power may go while an end is being signed.
    fn has_ended(&self) -> bool {
        self.run.closed && self.here.trailers > 0 && self.report.unsigned_leaves == 0
    }

    /// No whole block stands here: the end of what a power cut left, or not sound.
    fn tear(&mut self, what: &str, cut: bool) {
        if !self.here.last {
            return self.fault(format!("{what}, and the store goes on behind it"));
        }
        if self.has_ended() {
            return self.fault(format!("{what}, behind an end in order"));
        }
        let mut torn = Torn::new(what, cut, self.here.position);
        torn.feed(&std::mem::take(&mut self.here.pending), &self.key);
        self.here.torn = Some(torn);
    }

    /// Reads a whole block and goes on behind it.
    fn take(&mut self, block: &[u8]) {
        let length = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let end = self.here.position.saturating_add(length);
        self.here.has_hole |= has_hole(block, self.here.position);
        match self.block(block, end) {
            Ok(()) => self.here.position = end,
            // Sectors are written in any order until they are synced: one that is missing spoils the block around it.
            // Where it is a word that is wrong, in a block whose bytes are right, it was written so.
            Err(what) if self.may_be_a_power_cut() && (self.here.blame.is_none() || self.here.doubt.is_some()) => {
                let at = self.here.blame.take().unwrap_or(self.here.position);
                let mut torn = Torn::spoiled(&what, self.here.position, at);
                torn.feed(block, &self.key);
                self.here.torn = Some(torn);
            }
            Err(what) => self.fault(what),
        }
    }

    fn block(&mut self, block: &[u8], end: u64) -> Result<(), Fault> {
        let block = read(block)?;
        if self.here.position == 0 && block != Block::Section {
            return Err("the segment does not begin with a section header".into());
        }
        if self.run.closed && self.here.behind != Behind::Other && !matches!(block, Block::Checkpoint(_)) {
            return Err("something stands behind the end of a run".into());
        }
        if self.here.fresh.word.is_some() && !matches!(block, Block::Trailer(_)) {
            return Err("a record of the store's own does not end its evidence block".into());
        }
        let mut behind = Behind::Other;
        match block {
            Block::Section if self.here.position != 0 => return Err("a second section begins in the segment".into()),
            Block::Interface => self.here.interfaces = self.here.interfaces.saturating_add(1),
            Block::Packet(interface) => self.packet(interface)?,
            Block::Record(body) => self.record(body)?,
            Block::Keys(body) => self.keys(body)?,
            Block::Sealed(body) => self.sealed(body)?,
            Block::Trailer(body) => {
                self.trailer(body)?;
                self.here.covered_from = end;
                self.here.sound = end;
                behind = Behind::Trailer;
            }
            Block::Checkpoint(note) => {
                behind = self.checkpoint(note)?;
                self.here.sound = end;
                self.here.has_hole = false;
                self.here.doubt = None;
            }
            Block::Section | Block::Other => {}
        }
        self.here.behind = behind;
        Ok(())
    }

    fn packet(&mut self, interface: u32) -> Result<(), Fault> {
        if interface >= self.here.interfaces {
            return Err(format!("the packet names interface {interface}, which is not described"));
        }
        if self.here.seal.is_some() {
            return Err("a packet stands in the clear in an encrypted segment".into());
        }
        self.numbered(false)?;
        self.here.fresh.packets = self.here.fresh.packets.saturating_add(1);
        self.here.fresh.refused = self.here.fresh.refused.saturating_add(u64::from(interface >= 2));
        Ok(())
    }

    fn record(&mut self, body: &[u8]) -> Result<(), Fault> {
        let word = words::read(body)?;
        if word.is_none() && self.here.seal.is_some() {
            return Err("a record stands in the clear in an encrypted segment".into());
        }
        let opens = matches!(word, Some(Word::Open { .. }));
        if opens && self.here.records != 0 {
            return Err("a run begins in the middle of a segment".into());
        }
        if self.run.recovers.is_some() && !matches!(word, Some(Word::Recovered { .. } | Word::Open { .. })) {
            return Err("a run follows one that did not end, and does not say what it found".into());
        }
        self.numbered(opens)?;
        self.here.fresh.word = word.map(|word| (word, self.here.position));
        Ok(())
    }

    /// Counts a record.
    fn numbered(&mut self, opens: bool) -> Result<(), Fault> {
        if !opens && !self.run.seen && self.base.tree.leaves() == 0 {
            return Err("the store does not begin with an open".into());
        }
        if self.run.closed && !opens {
            return Err("a record stands behind a close, without an open".into());
        }
        self.run.seen = true;
        self.here.records = self.here.records.saturating_add(1);
        self.here.fresh.records = self.here.fresh.records.saturating_add(1);
        Ok(())
    }

    fn trailer(&mut self, body: &[u8]) -> Result<(), Fault> {
        let trailer = Trailer::parse(body)?;
        let Here { number, position, covered_from, .. } = self.here;
        if trailer.number != self.tree.leaves() {
            return Err(format!("block {} stands where {} belongs", trailer.number, self.tree.leaves()));
        }
        if trailer.before != self.chain {
            return Err("the block does not follow the one before it".into());
        }
        if trailer.segment != number {
            return Err(format!("the block belongs to segment {}", trailer.segment));
        }
        let expected = (
            self.report.last_record.saturating_add(1),
            self.report.last_record.saturating_add(self.here.fresh.records),
        );
        if (trailer.first_record, trailer.last_record) != expected {
            let (first, last) = expected;
            return Err(format!(
                "the block says that it holds records {} to {}, and holds {first} to {last}",
                trailer.first_record, trailer.last_record
            ));
        }
        if trailer.covered != position.saturating_sub(covered_from) {
            return Err("the block is not as long as its trailer says".into());
        }
        let found: Hash = std::mem::take(&mut self.here.hasher).finalize().into();
        if found != trailer.hash {
            if self.may_be_a_power_cut() && self.here.doubt.is_none() {
                self.here.doubt = Some(Box::new(self.clone()));
            }
            // The trailer itself stands in the chain: what is altered is in this block alone, and others can be read.
            self.find("the block's bytes are not those that were written".into(), covered_from);
        }
        let fresh = std::mem::take(&mut self.here.fresh);
        self.report.last_record = self.report.last_record.saturating_add(fresh.records);
        self.report.packets = self.report.packets.saturating_add(fresh.packets);
        self.report.refused = self.report.refused.saturating_add(fresh.refused);
        if let Some((word, at)) = fresh.word {
            self.here.blame = Some(at);
            self.word(word)?;
            self.here.blame = None;
        }
        self.tick(&trailer);
        self.run.lost = trailer.lost;
        self.tree.push(body);
        self.chain = sha256(body);
        self.here.trailers = self.here.trailers.saturating_add(1);
        self.report.leaves = self.tree.leaves();
        if std::mem::take(&mut self.run.opens) {
            self.report.end.opened_ns = Some(trailer.wall_ns);
        }
        self.report.from_ns = self.report.from_ns.or(Some(trailer.wall_ns));
        self.report.to_ns = Some(trailer.wall_ns);
        self.report.unsigned_leaves = self.report.unsigned_leaves.saturating_add(1);
        self.report.unsigned_records = self.report.last_record.saturating_sub(self.signed_records());
        self.ask_witnesses()
    }

    fn checkpoint(&mut self, note: &[u8]) -> Result<Behind, Fault> {
        let hash = sha256(note);
        let before = match self.here.behind {
            Behind::Other => return Err("a checkpoint stands where no trailer is in front of it".into()),
            Behind::Trailer => None,
            Behind::Checkpoint(before, time_ns) => Some((before, time_ns)),
        };
        if before.is_some_and(|(before, _)| before == hash) {
            return Err("a checkpoint stands there twice".into());
        }
        let read = checkpoint(note, &self.key, true).map_err(|error| match error {
            NoteError::OtherOrigin => "the checkpoint is of another box".to_owned(),
            NoteError::Wrong(what) => what.to_owned(),
        })?;
        if read.leaves != self.tree.leaves() || read.records != self.report.last_record {
            return Err(format!(
                "the checkpoint signs {} blocks and {} records, and {} and {} are there",
                read.leaves,
                read.records,
                self.tree.leaves(),
                self.report.last_record
            ));
        }
        if read.root != self.tree.root() {
            return Err("the checkpoint signs other blocks than those that are there".into());
        }
        if *self.run.counter.get_or_insert(read.counter) != read.counter {
            return Err(format!("the checkpoint is of run {}", read.counter));
        }
        if let Some((_, time_ns)) = before
            && read.time_ns < time_ns
        {
            self.stepped(read.time_ns, i128::from(read.time_ns).saturating_sub(i128::from(time_ns)));
        }
        self.report.signatures = self.report.signatures.saturating_add(1);
        self.report.signed = Some(Signed { leaves: read.leaves, records: read.records, time_ns: read.time_ns });
        self.report.unsigned_leaves = 0;
        self.report.unsigned_records = 0;
        Ok(Behind::Checkpoint(hash, read.time_ns))
    }

    fn signed_records(&self) -> u64 {
        self.report.signed.map_or(self.base.records, |signed| signed.records)
    }

    /// Notes a bad place from which nothing can be read on.
    fn fault(&mut self, what: Fault) {
        let byte = self.here.blame.take().unwrap_or(self.here.position);
        self.find(what, byte);
        self.stopped = true;
        self.here.pending = Vec::new();
    }

    fn find(&mut self, what: String, byte: u64) {
        let finding = Finding {
            segment: Some(self.here.number),
            block: Some(self.tree.leaves()),
            byte: Some(byte),
            file: None,
            what,
        };
        if self.report.findings.is_empty() {
            self.report.holds = self.report.signed;
        }
        if self.report.findings.len() < super::report::KEPT {
            self.report.findings.push(finding);
        }
    }
}

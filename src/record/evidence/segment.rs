//! The segment that grows.

use std::io;

use sha2::{Digest, Sha256};

use super::disk::Output;
use super::tree::Hash;

/// Where a segment stands: everything that a failed write or sync has to be taken back to.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Bytes that stand.
    pub(super) len: u64,
    covered: Sha256,
    /// Bytes behind the last trailer.
    pub(super) covered_len: u64,
}

impl Place {
    fn start() -> Self {
        Self { len: 0, covered: Sha256::new(), covered_len: 0 }
    }

    /// The hash of what stands behind the last trailer, with `bytes` added, and how many bytes that is.
    pub(super) fn cover(&self, bytes: &[u8]) -> (Hash, u64) {
        let hash = self.covered.clone().chain_update(bytes).finalize().into();
        (hash, self.covered_len.saturating_add(length(bytes)))
    }
}

/// A segment of this run.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) place: Place,
    /// Monotonic time of its beginning.
    pub(super) begun_ns: u64,
    /// When its last trailer was written, by the clock of retention.
    pub(super) last_ns: u64,
    output: Box<dyn Output>,
    /// Bytes that are reserved for it.
    reserved: u64,
    /// Whether something that failed may stand behind its bytes.
    torn: bool,
    /// Whether anything was done to it since it was brought to the disk.
    dirty: bool,
}

impl Segment {
    pub(super) fn begin(number: u64, output: Box<dyn Output>, reserved: u64, now_ns: u64) -> Self {
        let mut segment = Self {
            number,
            place: Place::start(),
            begun_ns: now_ns,
            last_ns: 0,
            output,
            reserved,
            torn: false,
            dirty: true,
        };
        segment.output.reserve(reserved);
        segment
    }

    /// Appends an evidence block and its trailer's block: both or nothing.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn block(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)?;
        self.place.covered = Sha256::new();
        self.place.covered_len = 0;
        Ok(())
    }

    /// Appends what the next trailer will cover: all of it or nothing.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn covered(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.append(bytes)?;
        self.place.covered.update(bytes);
        self.place.covered_len = self.place.covered_len.saturating_add(length(bytes));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.mend()?;
        self.dirty = true;
        if let Err(error) = self.output.write_at(bytes, self.place.len) {
            self.torn = true;
            // Half of it may stand there, and the box may lose power before the disk is tried again.
            let _ = self.mend();
            return Err(error);
        }
        self.place.len = self.place.len.saturating_add(length(bytes));
        Ok(())
    }

    /// Goes back to `place`: what stands behind is cut off, at the latest before the next write.
    pub(super) fn back_to(&mut self, place: Place) {
        self.place = place;
        self.torn = true;
        let _ = self.mend();
    }

    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.dirty = true;
            self.output.cut(self.place.len)?;
            self.torn = false;
            self.output.reserve(self.reserved);
        }
        Ok(())
    }

    /// Brings it to the disk.
    ///
    /// # Errors
    /// The disk refuses; what stands there is not known then.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.mend()?;
        if self.dirty {
            self.output.sync()?;
            self.dirty = false;
        }
        if self.output.is_linked() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "the segment that was being written was removed"))
    }

    /// Gives back what was reserved and not used.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.output.cut(self.place.len)?;
        self.output.date(self.last_ns);
        Ok(())
    }

    pub(super) fn is_linked(&self) -> bool {
        self.output.is_linked()
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

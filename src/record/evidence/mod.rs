//! The evidence store: pcapng segments whose every byte is covered by hashes, the hashes by a Merkle tree, and the tree
//! by signatures. The manual's page on the format says what stands where; this is the side that writes.
//!
//! [`Evidence`] takes records and packets and never fails: what the disk refuses waits in bounded memory, then is lost,
//! counted, and told of in a `gap` as soon as the disk takes records again. What a failed write left behind is cut off
//! before anything else is written, so that a verifier never finds half a block.

mod block;
mod disk;
mod files;
mod losses;
mod note;
mod open;
mod retention;
mod scan;
mod seal;
mod segment;
mod tree;
mod waiting;
mod witness;
mod writer;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use block::{ClockState, FrameCounts};
pub use disk::is_full;
pub use files::{is_segment, segment_files, segments_around};
pub use retention::give_up_reserve;
pub(super) use scan::highest_event;
pub use scan::{events, events_of_all};
pub use seal::Recipient;
pub(super) use tree::hex;
pub use witness::WitnessState;
pub use writer::{Evidence, Port};

/// Where the store lies and how long it is kept.
#[derive(Clone, Debug)]
pub struct EvidenceOptions {
    /// Folder of the segments; made where missing.
    pub directory: PathBuf,
    /// Most bytes of all segments together; the oldest are removed.
    pub budget: u64,
    /// Segments whose last record is older are removed.
    pub max_age: Option<Duration>,
    /// Files that keep checkpoints, on media that nobody changes together with the store.
    pub witnesses: Vec<PathBuf>,
    /// The file that counts how often the store was opened; beside the segments where absent.
    pub counter: Option<PathBuf>,
    /// The box's host name, for the name in signatures.
    pub host: String,
    /// Names of addresses, for those who open segments.
    pub names: Vec<(IpAddr, String)>,
    /// Who alone can read records and packets; where empty, they are written in the clear.
    pub recipients: Vec<Recipient>,
}

/// What the store asks of the box around it.
pub trait Surroundings: std::fmt::Debug + Send + Sync {
    /// Frames so far.
    fn frames(&self) -> FrameCounts;

    /// Whether the wall clock is held for synchronised.
    fn clock(&self) -> ClockState;

    /// The clocks.
    fn now(&self) -> Moment {
        let nanoseconds = |time: rustix::time::Timespec| {
            let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
            seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
        };
        let clock = |id| nanoseconds(rustix::time::clock_gettime(id));
        Moment {
            monotonic_ns: clock(rustix::time::ClockId::Monotonic),
            wall_ns: clock(rustix::time::ClockId::Realtime),
        }
    }
}

/// A time by both clocks, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the kernel started; never goes back.
    pub monotonic_ns: u64,
    /// Since 1970.
    pub wall_ns: u64,
}

#[cfg(test)]
pub(super) mod tests;

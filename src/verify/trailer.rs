//! The body of a trailer.

use super::pcapng::{u32_at, u64_at};
use super::tree::Hash;

/// Length of a body.
const LENGTH: usize = 232;
/// What its CRC covers.
const COVERED: usize = 228;

/// What ends an evidence block. Source: `evidence-format.md`, "Trailers", where each member is described.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trailer {
    pub(super) segment: u64,
    pub(super) number: u64,
    pub(super) first_record: u64,
    pub(super) last_record: u64,
    pub(super) monotonic_ns: u64,
    pub(super) wall_ns: u64,
    pub(super) clock: u8,
    pub(super) boot_id: [u8; 16],
    pub(super) lost: u64,
    pub(super) covered: u64,
    pub(super) hash: Hash,
    pub(super) before: Hash,
}

impl Trailer {
    /// Reads a body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(body: &[u8]) -> Result<Self, &'static str> {
        if body.len() != LENGTH {
            return Err("the trailer is not 232 bytes long");
        }
        let crc = body.get(..COVERED).map(crc32fast::hash);
        if crc != u32_at(body, COVERED) {
            return Err("the trailer's CRC does not hold");
        }
        let read = || {
            Some(Self {
                segment: u64_at(body, 0)?,
                number: u64_at(body, 8)?,
                first_record: u64_at(body, 16)?,
                last_record: u64_at(body, 24)?,
                monotonic_ns: u64_at(body, 32)?,
                wall_ns: u64_at(body, 40)?,
                clock: *body.get(48)?,
                boot_id: *body.get(56..)?.first_chunk()?,
                lost: u64_at(body, 96)?,
                covered: u64_at(body, 104)?,
                hash: *body.get(112..)?.first_chunk()?,
                before: *body.get(144..)?.first_chunk()?,
            })
        };
        read().ok_or("the trailer is not 232 bytes long")
    }
}

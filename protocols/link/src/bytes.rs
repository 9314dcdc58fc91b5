//! Reading one fixed header: one bounds check, then fields at known places.

use dissect::DissectError;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Views the start of `bytes`, which begin at `offset` of the frame, as a header; returns the rest too.
#[inline]
pub(crate) fn header<'a, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &'a [u8],
    field: &'static str,
    offset: usize,
) -> Result<(&'a T, &'a [u8]), DissectError> {
    match T::ref_from_prefix(bytes) {
        Ok(parts) => Ok(parts),
        // The only way to fail: without alignment, size is all that counts.
        Err(_) => Err(truncated(field, offset, size_of::<T>(), bytes.len())),
    }
}

/// The first `len` of `bytes` and the rest, `bytes` starting at `offset` of the frame.
#[inline]
pub(crate) fn split<'a>(
    bytes: &'a [u8],
    len: usize,
    field: &'static str,
    offset: usize,
) -> Result<(&'a [u8], &'a [u8]), DissectError> {
    match bytes.split_at_checked(len) {
        Some(parts) => Ok(parts),
        None => Err(truncated(field, offset, len, bytes.len())),
    }
}

#[cold]
fn truncated(field: &'static str, offset: usize, needed: usize, have: usize) -> DissectError {
    DissectError::truncated(field, offset, needed, have)
}

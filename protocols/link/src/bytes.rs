//! Reading one fixed header: one bounds check, then fields out of an array of known size.

use dissect::DissectError;

/// Splits `N` header bytes off `bytes`, which start at `offset` of the frame.
#[inline]
pub(crate) fn header<'a, const N: usize>(
    bytes: &'a [u8],
    field: &'static str,
    offset: usize,
) -> Result<(&'a [u8; N], &'a [u8]), DissectError> {
    match bytes.split_first_chunk::<N>() {
        Some(parts) => Ok(parts),
        None => Err(DissectError::truncated(field, offset, N, bytes.len())),
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
        None => Err(DissectError::truncated(field, offset, len, bytes.len())),
    }
}

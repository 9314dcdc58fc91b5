//! Whether the kernel holds its wall clock for synchronised.

use std::io;

/// Whether the wall clock is synchronised, as `adjtimex(2)` tells; changes nothing.
///
/// # Errors
/// The kernel refuses the question.
pub fn synchronised() -> io::Result<bool> {
    // SAFETY: timex is plain integers, for which all zeroes is a value; modes = 0 makes the call a read.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a whole timex of this frame, which the call fills in.
    let state = super::checked(unsafe { libc::adjtimex(&raw mut timex) })?;
    Ok(state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0)
}

//! Every call to the operating system that the compiler can't check.
//!
//! The only room with unsafe code. What it offers is safe to call; each block says why it holds. Calls that `rustix`
//! makes safely are used from there.
#![allow(clippy::cast_possible_truncation, reason = "constants and structure sizes of the C interface, all small")]

pub mod arena;
pub mod clock;
pub mod ethtool;
pub mod interface;
pub mod packet;
pub mod ring;
pub mod socket;
pub mod words;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Keeps the calling thread on one CPU core, numbered from 0 as in `/proc/cpuinfo`.
///
/// # Errors
/// There is no such core, or the process may not use it.
pub fn pin_to(core: usize) -> io::Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    set.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Keeps the calling thread, and the threads that it starts from now on, off one CPU core, as long as another is left. Who
/// is kept off it already makes no call.
///
/// # Errors
/// The kernel refuses.
pub fn keep_off(core: usize) -> io::Result<()> {
    let mut set = rustix::thread::sched_getaffinity(None)?;
    if core >= rustix::thread::CpuSet::MAX_CPU || !set.is_set(core) || set.count() < 2 {
        return Ok(());
    }
    set.unset(core);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// The descriptor that the process was started with under this number; once for each number.
///
/// # Errors
/// Nothing is open under it, or it is one of the three standard streams.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: asks for flags only; any number is allowed.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: the number is open (the call above) and was handed over on the command line to be owned here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The answer of a C call: its error where it is negative.
fn checked(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

//! Memory that outlives the process which works in it.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Anonymous memory behind a file descriptor, mapped shared: a process that inherits the descriptor finds the contents.
///
/// Invariant: the size is sealed, so no access can reach beyond the end (SIGBUS). Only one process works in it at a
/// time; the keeper of the descriptor starts the next one when the last is gone.
#[derive(Debug)]
pub struct Arena {
    fd: OwnedFd,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to the value alone, as a boxed slice would, and any thread may use or unmap it.
unsafe impl Send for Arena {}

impl Arena {
    /// New zeroed memory of `bytes` bytes.
    ///
    /// # Errors
    /// `bytes` is 0, or the kernel has no memory or descriptor to give.
    pub fn create(bytes: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create("vambrace-arena", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, u64::try_from(bytes).map_err(io::Error::other)?)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(fd, bytes)
    }

    /// The memory that another process created and handed over.
    ///
    /// # Errors
    /// The descriptor is not sealed against shrinking, is empty, or can't be mapped.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if !rustix::fs::fcntl_get_seals(&fd)?.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "shared arena is not sealed against resizing"));
        }
        let bytes = usize::try_from(rustix::fs::fstat(&fd)?.st_size).map_err(io::Error::other)?;
        Self::map(fd, bytes)
    }

    fn map(fd: OwnedFd, bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no other; a length of 0 is an error.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, access, MapFlags::SHARED, &fd, 0) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))?;
        Ok(Self { fd, base, bytes })
    }

    /// Keeps the memory from being paged out, each page from its first use on: what is never used takes none.
    ///
    /// # Errors
    /// The limit on locked memory (RLIMIT_MEMLOCK) is too low.
    pub fn lock(&self) -> io::Result<()> {
        let (base, flags) = (self.base.as_ptr().cast::<c_void>(), rustix::mm::MlockFlags::ONFAULT);
        // SAFETY: the range is this value's own mapping.
        Ok(unsafe { rustix::mm::mlock_with(base, self.bytes, flags) }?)
    }

    /// The memory.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped, sealed to this size, and by the type's invariant changed by no other process.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }

    /// The memory, to be written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only borrow.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Arena {
    /// The memory as numbers that others may change meanwhile; whoever holds the arena lends it in no other way.
    pub(super) fn words(&self) -> &[AtomicU64; super::words::Words::COUNT] {
        // SAFETY: mapped and page-aligned, at least this long (the only callers are made of such), and any bytes are
        // valid numbers; `Words` gives out no other borrow, and all of its access is atomic.
        unsafe { self.base.cast().as_ref() }
    }
}

impl AsFd for Arena {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the range is this value's own mapping, and nothing can borrow it any more.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_wrote_the_next_one_reads() {
        let mut first = Arena::create(3 * 4096).unwrap();
        assert!(first.as_slice().iter().all(|&byte| byte == 0));
        first.as_mut_slice()[8191..8194].copy_from_slice(b"abc");
        let heir = first.as_fd().try_clone_to_owned().unwrap();
        drop(first);
        let second = Arena::from_fd(heir).unwrap();
        assert_eq!((second.as_slice().len(), &second.as_slice()[8191..8194]), (12288, &b"abc"[..]));
    }

    #[test]
    fn resizable_and_empty_memory_is_refused() {
        let open = rustix::fs::memfd_create("open", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&open, 4096).unwrap();
        assert_eq!(Arena::from_fd(open).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(Arena::create(0).is_err());
    }
}

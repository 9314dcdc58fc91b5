//! A few numbers that two processes see at once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use super::arena::Arena;

/// Sixteen numbers in shared memory, all zero when new. Unlike in an [`Arena`], several processes may work in them at a
/// time: every access is atomic.
#[derive(Debug)]
pub struct Words(Arena);

// SAFETY: all that a shared borrow gives access to are atomics.
unsafe impl Sync for Words {}

impl Words {
    /// How many there are.
    pub const COUNT: usize = 16;

    /// New ones.
    ///
    /// # Errors
    /// The kernel has no memory or descriptor to give.
    pub fn create() -> io::Result<Self> {
        Ok(Self(Arena::create(Self::COUNT.saturating_mul(size_of::<AtomicU64>()))?))
    }

    /// Those that another process created and handed over.
    ///
    /// # Errors
    /// The descriptor is not of such memory, or can't be mapped.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let memory = Arena::from_fd(fd)?;
        if memory.as_slice().len() < Self::COUNT.saturating_mul(size_of::<AtomicU64>()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "shared words are too few"));
        }
        Ok(Self(memory))
    }

    /// The numbers.
    #[must_use]
    pub fn all(&self) -> &[AtomicU64; Self::COUNT] {
        self.0.words()
    }
}

impl AsFd for Words {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn both_sides_see_what_either_wrote() {
        let ours = Words::create().unwrap();
        let theirs = Words::from_fd(ours.as_fd().try_clone_to_owned().unwrap()).unwrap();
        ours.all()[3].store(7, Ordering::Release);
        theirs.all()[15].store(9, Ordering::Release);
        assert_eq!(theirs.all()[3].load(Ordering::Acquire), 7);
        assert_eq!(ours.all()[15].load(Ordering::Acquire), 9);
    }

    #[test]
    fn too_little_memory_is_refused() {
        let small = Arena::create(8).unwrap();
        assert!(Words::from_fd(small.as_fd().try_clone_to_owned().unwrap()).is_err());
    }
}

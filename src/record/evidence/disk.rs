//! The files under the store, so that tests can put a disk in their place that refuses.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::FallocateFlags;

/// Where segments are made.
pub(super) trait Disk: fmt::Debug + Send {
    /// Makes an empty file that outlasts a power cut; an empty one that is there is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>>;
    /// Removes a file, so that a power cut does not bring it back; one that is gone is no error.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Bytes that are free where `directory` lies; the most there can be where nobody knows.
    fn free(&self, directory: &Path) -> u64;
    /// Bytes that are in use there, by whomever; none where nobody knows.
    fn used(&self, directory: &Path) -> u64;
    /// Holds `bytes` in a file at `path`, to be given up on a full disk; where the disk has no room for it there is none.
    fn hold(&self, path: &Path, bytes: u64);
}

/// A segment that grows.
pub(super) trait Output: fmt::Debug + Send {
    /// Writes all of `bytes` at byte `at`.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes the file `len` bytes long and gives back what was reserved behind.
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Brings all that was written to the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Reserves room for `len` bytes without making the file longer; what can't be had is not missed.
    fn reserve(&mut self, len: u64);
    /// Says of the file that it was written last `at_ns` nanoseconds after 1970.
    fn date(&mut self, at_ns: u64);
    /// Whether the file still has a name.
    fn is_linked(&self) -> bool;
}

/// The disks of the operating system.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new().create(true).write(true).truncate(false).mode(0o640).open(path)?;
        if file.metadata()?.len() != 0 {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a segment of this number is there already"));
        }
        if let Some(directory) = path.parent() {
            sync_directory(directory)?;
        }
        Ok(Box::new(file))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => path.parent().map_or(Ok(()), sync_directory),
        }
    }

    fn free(&self, directory: &Path) -> u64 {
        rustix::fs::statvfs(directory).map_or(u64::MAX, |of| of.f_bavail.saturating_mul(of.f_frsize))
    }

    fn used(&self, directory: &Path) -> u64 {
        rustix::fs::statvfs(directory)
            .map_or(0, |of| of.f_blocks.saturating_sub(of.f_bfree).saturating_mul(of.f_frsize))
    }

    fn hold(&self, path: &Path, bytes: u64) {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() == bytes) {
            return;
        }
        let held = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).and_then(|file| {
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            file.sync_all()
        });
        if held.is_err() {
            let _ = fs::remove_file(path);
        }
    }
}

/// Whether the disk is full, or what the process may use of it.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Output for File {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn reserve(&mut self, len: u64) {
        let _ = rustix::fs::fallocate(&*self, FallocateFlags::KEEP_SIZE, 0, len);
    }

    fn date(&mut self, at_ns: u64) {
        if let Some(at) = UNIX_EPOCH.checked_add(Duration::from_nanos(at_ns)) {
            let _ = self.set_modified(at);
        }
    }

    fn is_linked(&self) -> bool {
        self.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }
}

/// Brings the names in `directory` to the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    // Where a folder can't be opened for that, the file system keeps names by itself or not at all.
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

/// Replaces the file at `path` as a whole: after a power cut it holds the old or the new bytes.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // One that a crash left behind may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

//! A disk that refuses when told to.

use std::io;
use std::sync::Mutex;

use super::super::disk::{Disk, Output, RealDisk};
use super::*;

/// What the disk does.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Bytes that it still takes; what a write does not get in whole stands there in part.
    pub(super) room: Option<u64>,
    pub(super) syncs_fail: bool,
    pub(super) cuts_fail: bool,
    pub(super) creates_fail: bool,
    /// Bytes of the whole disk, of which all that lies in the folder is used.
    pub(super) size: Option<u64>,
    /// Bytes that all files of the store may have together; what would make them more is refused.
    pub(super) full_at: Option<u64>,
    /// Bytes of it that are in use, by whomever.
    pub(super) used: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk {
    pub(super) faults: Arc<Mutex<Faults>>,
}

impl FaultyDisk {
    pub(super) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Output>> {
        if self.faults.lock().unwrap().creates_fail {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let directory = path.parent().unwrap().to_owned();
        Ok(Box::new(Faulty { directory, inner: RealDisk.create(path)?, faults: Arc::clone(&self.faults) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn free(&self, directory: &Path) -> u64 {
        let Some(size) = self.faults.lock().unwrap().size else { return u64::MAX };
        let used: u64 = segment_files(directory).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        size.saturating_sub(used)
    }

    fn used(&self, directory: &Path) -> u64 {
        let faults = self.faults.lock().unwrap().clone();
        // Where a test says nothing of it, others fill the disk.
        faults.used.unwrap_or(faults.size.map_or(u64::MAX, |size| size.saturating_sub(self.free(directory))))
    }

    fn hold(&self, path: &Path, bytes: u64) {
        RealDisk.hold(path, bytes);
    }
}

#[derive(Debug)]
struct Faulty {
    directory: PathBuf,
    inner: Box<dyn Output>,
    faults: Arc<Mutex<Faults>>,
}

impl Output for Faulty {
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut faults = self.faults.lock().unwrap();
        if let Some(most) = faults.full_at
            && stored(&self.directory) + bytes.len() as u64 > most
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let Some(room) = faults.room.as_mut() else { return self.inner.write_at(bytes, at) };
        let taken = bytes.len().min(*room as usize);
        *room -= taken as u64;
        self.inner.write_at(&bytes[..taken], at)?;
        if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        if self.faults.lock().unwrap().cuts_fail {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.faults.lock().unwrap().syncs_fail {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.inner.sync()
    }

    fn reserve(&mut self, _: u64) {}

    fn date(&mut self, at_ns: u64) {
        self.inner.date(at_ns);
    }

    fn is_linked(&self) -> bool {
        self.inner.is_linked()
    }
}

/// Bytes of the segments in a folder, and of what is held in reserve.
fn stored(directory: &Path) -> u64 {
    let files = segment_files(directory).unwrap().into_iter().chain([directory.join("evidence.reserve")]);
    files.filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum()
}

//! A slot: an EFI system partition with the system that the firmware starts, and beside it the signed header that says
//! what it is. Other files on it are a person's: they stay.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fatfs::{FatType, FormatVolumeOptions, format_volume};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, UnmountFlags, unmount};

use super::bundle::{Header, Signed, checked};
use crate::mounts;
use crate::{At, Failure};

/// Where slots are mounted for the time of a look or a write.
const PLACE: &str = "/run/slot";

/// The system, and its name until it is whole: nothing starts what has not got its last name.
const SYSTEM: &str = "EFI/BOOT/BOOTX64.EFI";
const FRESH: &str = "EFI/BOOT/BOOTX64.NEW";

/// What stands before the system in a bundle.
const HEADER: &str = "vambrace/header";

/// Room that is left over in a slot, for its folders and a person's files.
const SPARE: u64 = 4 << 20;

/// Largest file of a person that is saved when a slot has to be formatted: a policy of ten thousand rules is half of it.
const SAVED: u64 = 4 << 20;

/// Size of pages and of the largest blocks of disks: reads that go past the cache are aligned to it.
const ALIGNED: usize = 4096;

/// A mounted slot; unmounted with its value.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, flags: MountFlags) -> Result<Self, Failure> {
        let place = Path::new(PLACE);
        mounts::slot(device, place, flags)?;
        Ok(Self(place.to_owned()))
    }

    /// Unmounts it now: what it wrote is on the disk then.
    fn end(self) -> Result<(), Failure> {
        let place = self.0.clone();
        std::mem::forget(self);
        unmount(&place, UnmountFlags::empty()).at(PLACE)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// Writes a system into a slot that does not run. The reader stands before the system.
///
/// # Errors
/// The disk does not take it, or what is read is not what the header says. The slot starts nothing then.
pub fn write(device: &Path, signed: &Signed, from: &mut impl Read) -> Result<(), Failure> {
    let mounted = with_room(device, signed.header.image_bytes)?;
    let place = |name: &str| mounted.0.join(name);
    for name in [SYSTEM, HEADER] {
        if let Some(folder) = place(name).parent() {
            fs::create_dir_all(folder).at(name)?;
        }
    }
    let mut file = File::create(place(FRESH)).at(FRESH)?;
    checked(from, &signed.header, |part| file.write_all(part))?;
    file.sync_all().at(FRESH)?;
    drop(file);
    let mut header = File::create(place(HEADER)).at(HEADER)?;
    header.write_all(&signed.bytes).and_then(|()| header.sync_all()).at(HEADER)?;
    drop(header);
    fs::rename(place(FRESH), place(SYSTEM)).at(SYSTEM)?;
    File::open(&mounted.0).and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into)).at("slot")?;
    mounted.end()
}

/// Mounts a slot to write to it, without the system that it held, and with room for another one. A slot whose file
/// system is damaged, or has lost its room to power cuts while it was written, is formatted.
fn with_room(device: &Path, bytes: u64) -> Result<Mounted, Failure> {
    let mut saved = Vec::new();
    if let Ok(mounted) = Mounted::new(device, MountFlags::empty()) {
        for name in [SYSTEM, FRESH, HEADER] {
            let _ = fs::remove_file(mounted.0.join(name));
        }
        let stat = rustix::fs::statvfs(&mounted.0).at(PLACE)?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) >= bytes.saturating_add(SPARE) {
            return Ok(mounted);
        }
        saved = persons_files(&mounted.0);
        mounted.end()?;
    }
    format(device)?;
    let mounted = Mounted::new(device, MountFlags::empty())?;
    for (name, bytes) in saved {
        let mut file = File::create(mounted.0.join(&name)).at(&name)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).at(&name)?;
    }
    Ok(mounted)
}

/// Files in the top folder, such as a configuration.
fn persons_files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            let name = entry.file_name().into_string().ok()?;
            (meta.is_file() && meta.len() <= SAVED).then(|| Some((name, fs::read(entry.path()).ok()?)))?
        })
        .take(16)
        .collect()
}

/// Makes an empty FAT32 file system with clusters of one block, as the build does.
fn format(device: &Path) -> Result<(), Failure> {
    let what = format!("format {}", device.display());
    let options =
        FormatVolumeOptions::new().fat_type(FatType::Fat32).bytes_per_cluster(512).volume_label(*b"VAMBRACE   ");
    let mut file = alone(device).at(&what)?;
    // In memory blocks are gathered; without it each entry of the table would be a write of its own.
    let mut gathered = Gathered::new(&mut file).at(&what)?;
    format_volume(&mut gathered, options).at(&what)?;
    gathered.write_out().at(&what)?;
    file.sync_all().at(&what)
}

/// Opens a partition that nobody has mounted, and that nobody can mount while it is open.
fn alone(device: &Path) -> std::io::Result<File> {
    let begun = Instant::now();
    // Of a device, without "create", this is what mounts exclude each other by. Source: open(2).
    let flags = OFlags::EXCL.bits().cast_signed();
    loop {
        match File::options().read(true).write(true).custom_flags(flags).open(device) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy && begun.elapsed() < mounts::TURN => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

/// The beginning of a disk in memory, as long as what is written to it.
struct Gathered<'f> {
    file: &'f mut File,
    length: u64,
    bytes: std::io::Cursor<Vec<u8>>,
}

impl<'f> Gathered<'f> {
    fn new(file: &'f mut File) -> std::io::Result<Self> {
        let length = std::io::Seek::seek(file, std::io::SeekFrom::End(0))?;
        Ok(Self { file, length, bytes: std::io::Cursor::default() })
    }

    fn write_out(self) -> std::io::Result<()> {
        std::io::Seek::seek(self.file, std::io::SeekFrom::Start(0))?;
        self.file.write_all(self.bytes.get_ref())
    }
}

impl Read for Gathered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Write for Gathered<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Seek for Gathered<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        match to {
            std::io::SeekFrom::End(offset) => {
                let at = self.length.saturating_add_signed(offset);
                self.bytes.seek(std::io::SeekFrom::Start(at))
            }
            other => self.bytes.seek(other),
        }
    }
}

/// What a slot holds, by its signed header; the system itself is not read.
///
/// # Errors
/// It has none, or one that is signed by nobody whom the image knows.
pub fn header(device: &Path, key: &str) -> Result<Signed, Failure> {
    let mounted = Mounted::new(device, MountFlags::RDONLY)?;
    let signed = File::open(mounted.0.join(HEADER)).at(HEADER).and_then(|mut file| Signed::read(&mut file, key));
    mounted.end()?;
    signed
}

/// Reads the system of a slot from the disk, past the cache, and compares it with its header.
///
/// # Errors
/// It is another one.
pub fn verify(device: &Path, header: &Header) -> Result<(), Failure> {
    let mounted = Mounted::new(device, MountFlags::RDONLY)?;
    let flags = OFlags::DIRECT.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(mounted.0.join(SYSTEM)).at(SYSTEM)?;
    let length = file.metadata().at(SYSTEM)?.len();
    if length != header.image_bytes {
        return Err(Failure(format!("{SYSTEM} has {length} bytes, not {}", header.image_bytes)));
    }
    let verified = checked(&mut PastTheCache::new(file), header, |_| Ok(()));
    mounted.end()?;
    verified
}

/// Reads a file that was opened to be read past the cache: into aligned memory, a whole number of pages at a time.
struct PastTheCache {
    file: File,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
}

impl PastTheCache {
    const PART: usize = 1 << 18;

    fn new(file: File) -> Self {
        let buffer = vec![0; Self::PART.saturating_add(ALIGNED)];
        let at = buffer.as_ptr().align_offset(ALIGNED);
        Self { file, buffer, at, end: at }
    }
}

impl Read for PastTheCache {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.at >= self.end {
            let start = self.buffer.as_ptr().align_offset(ALIGNED);
            let place = self.buffer.get_mut(start..start.saturating_add(Self::PART)).unwrap_or_default();
            let got = self.file.read(place)?;
            (self.at, self.end) = (start, start.saturating_add(got));
        }
        let ready = self.buffer.get(self.at..self.end).unwrap_or_default();
        let taken = ready.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..taken), ready.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.at = self.at.saturating_add(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_formatted_slot_is_a_file_system_of_the_right_kind() {
        let path = std::env::temp_dir().join(format!("vbimg-format-{}", std::process::id()));
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        format(&path).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 64 << 20, "its length stays");
        let system = fatfs::FileSystem::new(file, fatfs::FsOptions::new()).unwrap();
        assert_eq!((system.fat_type(), system.cluster_size()), (FatType::Fat32, 512));
        let stats = system.stats().unwrap();
        assert!(u64::from(stats.free_clusters()) * 512 > super::super::bundle::LARGEST + SPARE);
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_read_past_the_cache_is_the_file() {
        // Where the file system knows no way past its cache, as one in memory, there is nothing to test.
        let path = Path::new("/var/tmp").join(format!("vbimg-direct-{}", std::process::id()));
        let bytes: Vec<u8> = (0..PastTheCache::PART * 2 + 777).map(|at| u8::try_from(at % 251).unwrap()).collect();
        fs::write(&path, &bytes).unwrap();
        File::open(&path).unwrap().sync_all().unwrap();
        let opened = File::options().read(true).custom_flags(OFlags::DIRECT.bits().cast_signed()).open(&path);
        let mut read = Vec::new();
        let done = opened.and_then(|file| PastTheCache::new(file).read_to_end(&mut read));
        fs::remove_file(&path).unwrap();
        match done {
            Ok(_) => assert!(read == bytes),
            Err(error) => eprintln!("SKIPPED: {error}"),
        }
    }
}

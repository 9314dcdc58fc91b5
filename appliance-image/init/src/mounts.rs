//! File systems: those of the kernel, the few in memory, and the data partition.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

use crate::{At, Failure};

/// Where the data partition is.
pub const DATA: &str = "/data";

const BARE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Source, place, type, flags, options of what the kernel offers.
const KERNEL: [(&str, &str, &str, MountFlags, &str); 5] = [
    ("proc", "/proc", "proc", BARE, "hidepid=invisible"),
    ("sysfs", "/sys", "sysfs", BARE, ""),
    ("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID.union(MountFlags::NOEXEC), "mode=0755"),
    ("run", "/run", "tmpfs", BARE, "mode=0755,size=16m"),
    ("tmp", "/tmp", "tmpfs", BARE, "mode=1777,size=16m"),
];

/// Mounts what does not need a module. What fails is told by `tell`.
pub fn kernel(tell: &mut dyn FnMut(String)) {
    for (source, place, kind, flags, options) in KERNEL {
        let text = std::ffi::CString::new(options).unwrap_or_default();
        // /dev may be there already: the kernel mounts it by itself where it was told so when it was built.
        match mount(source, place, kind, flags, text.as_c_str()) {
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => tell(format!("{place} is not mounted: {error}")),
        }
    }
}

/// Mounts the firmware's variables.
///
/// # Errors
/// There are none: no UEFI, or a kernel without `efi=runtime`.
pub fn firmware_variables() -> Result<(), Failure> {
    mount("efivarfs", "/sys/firmware/efi/efivars", "efivarfs", BARE, c"").at("firmware variables")
}

/// Mounts the data partition. Its journal holds data too: after a power cut a record is whole or absent. What is encrypted
/// does not go through the journal: its data is on the disk before its length is (Linux 6.12, fs/ext4/ext4_jbd2.c,
/// `ext4_inode_journal_mode`), so a record may be cut short, which who reads it is told.
///
/// # Errors
/// The file system is damaged beyond what its journal mends.
pub fn data(device: &Path) -> Result<(), Failure> {
    let flags = BARE.union(MountFlags::NOATIME);
    mount(device, DATA, "ext4", flags, c"data=journal,errors=remount-ro").at(&format!("data on {}", device.display()))
}

/// Where a data partition is whose key the TPM keeps back.
pub const LOCKED: &str = "/run/locked";

/// Takes a data partition that is mounted out of the way, where a wipe finds it; nothing is written there.
///
/// # Errors
/// The kernel refuses.
pub fn set_aside() -> Result<(), Failure> {
    fs::create_dir_all(LOCKED).at(LOCKED)?;
    rustix::mount::mount_move(DATA, LOCKED).at(LOCKED)?;
    mount_remount(LOCKED, BARE.union(MountFlags::NOATIME).union(MountFlags::RDONLY), c"").at(LOCKED)
}

/// Lets a wipe write there.
///
/// # Errors
/// The kernel refuses.
pub fn locked_to_write() -> Result<(), Failure> {
    mount_remount(LOCKED, BARE.union(MountFlags::NOATIME), c"").at(LOCKED)
}

/// Takes memory in place of a data partition: the box forwards without one, and forgets.
///
/// # Errors
/// The kernel refuses.
pub fn data_in_memory() -> Result<(), Failure> {
    mount("data", DATA, "tmpfs", BARE, c"mode=0755,size=64m").at("memory in place of a data partition")
}

/// Mounts an EFI system partition to read from it.
///
/// # Errors
/// It is no FAT file system.
pub fn esp(device: &Path, place: &Path) -> Result<(), Failure> {
    fat(device, place, MountFlags::RDONLY).at(&device.display().to_string())
}

/// Mounts an EFI system partition to write to it; every write goes through at once.
///
/// # Errors
/// It is no FAT file system.
pub fn esp_to_write(device: &Path, place: &Path) -> Result<(), Failure> {
    fat(device, place, MountFlags::SYNCHRONOUS).at(&device.display().to_string())
}

/// Mounts a slot that does not run, for the updater. PID 1 looks at one of them every few seconds for its latch, and a file
/// system is not mounted to be read and to be written at once: this waits for its turn.
///
/// # Errors
/// It is no FAT file system.
pub fn slot(device: &Path, place: &Path, flags: MountFlags) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match fat(device, place, flags) {
            Err(Errno::BUSY) if begun.elapsed() < TURN => std::thread::sleep(Duration::from_millis(20)),
            mounted => return mounted.at(&device.display().to_string()),
        }
    }
}

/// How long the updater waits for its turn at a slot.
pub const TURN: Duration = Duration::from_secs(20);

fn fat(device: &Path, place: &Path, flags: MountFlags) -> rustix::io::Result<()> {
    fs::create_dir_all(place).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    mount(device, place, "vfat", BARE.union(flags), c"umask=0077")
}

/// Mounts an EFI system partition for as long as `work` takes, at a place of its own.
///
/// # Errors
/// It is no FAT file system, or what `work` says.
pub fn with_esp<T>(
    device: &Path,
    to_write: bool,
    work: impl FnOnce(&Path) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let place = Path::new("/run/esp");
    if to_write {
        esp_to_write(device, place)?
    } else {
        esp(device, place)?
    }
    let done = work(place);
    let unmounted = rustix::mount::unmount(place, rustix::mount::UnmountFlags::empty());
    let done = done?;
    unmounted.at("/run/esp").map(|()| done)
}

/// Nothing writes beside the mounted places from here on.
///
/// # Errors
/// The kernel refuses.
pub fn root_read_only() -> Result<(), Failure> {
    mount_remount("/", MountFlags::RDONLY, c"").at("the root file system stays writable")
}

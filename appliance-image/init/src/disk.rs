//! Which disk the box was started from, and its partitions.
//!
//! The firmware's loader says which EFI system partition it was, by the number of its GPT entry. Names alone would not do:
//! a second disk or a stick may hold the same ones.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Variable of the EFI stub: the unique number of the partition that it was read from.
/// Source: systemd's Boot Loader Interface.
const LOADED_FROM: &str = "/sys/firmware/efi/efivars/LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// A partition, or a whole disk without any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its device file.
    pub device: PathBuf,
    /// The kernel's name of its disk.
    pub disk: String,
    /// The name in its GPT entry; empty where there is none.
    pub name: String,
    /// The unique number of its GPT entry, in small letters.
    pub uuid: Option<String>,
    /// Whether it is on a medium that people put in and take out.
    pub removable: bool,
    /// Where it is on its disk.
    pub extent: Option<Extent>,
}

/// Where a partition is, as boot entries of the firmware say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Number of its GPT entry, from 1.
    pub number: u32,
    /// First logical block.
    pub first: u64,
    /// Logical blocks.
    pub blocks: u64,
    /// Its unique number as the disk holds it.
    pub guid: [u8; 16],
}

/// The number of the partition that the box was started from.
#[must_use]
pub fn loaded_from() -> Option<String> {
    loader_variable(&fs::read(LOADED_FROM).ok()?)
}

/// Four bytes of attributes, then UTF-16 with a zero at its end.
fn loader_variable(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes.get(4..)?.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let text = String::from_utf16(words.split(|word| *word == 0).next()?).ok()?;
    (text.len() == 36).then(|| text.to_ascii_lowercase())
}

/// All partitions that the kernel has found, and disks without partitions.
#[must_use]
pub fn partitions() -> Vec<Partition> {
    let mut found: Vec<_> = fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| partition(&fs::canonicalize(entry.path()).ok()?))
        .collect();
    found.sort_by(|one, other| one.device.cmp(&other.device));
    found
}

fn partition(folder: &Path) -> Option<Partition> {
    let event = fs::read_to_string(folder.join("uevent")).ok()?;
    let key = |key: &str| event.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let device = Path::new("/dev").join(key("DEVNAME")?);
    let removable = |disk: &Path| fs::read_to_string(disk.join("removable")).is_ok_and(|text| text.trim() == "1");
    if key("DEVTYPE") == Some("disk") {
        let disk = key("DEVNAME")?.to_owned();
        return Some(Partition {
            device,
            disk,
            name: String::new(),
            uuid: None,
            removable: removable(folder),
            extent: None,
        });
    }
    let parent = folder.parent()?;
    let disk = parent.file_name()?.to_str()?.to_owned();
    let read = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let number: u32 = key("PARTN")?.parse().ok()?;
    let block = read(parent.join("queue/logical_block_size"))?;
    // The kernel counts in 512 bytes, whatever the disk's blocks are.
    let blocks = |file: &str| read(folder.join(file))?.checked_mul(512)?.checked_div(block);
    let guid = unique_number(&File::open(Path::new("/dev").join(&disk)).ok()?, block, number.into());
    let extent = guid.and_then(|guid| Some(Extent { number, first: blocks("start")?, blocks: blocks("size")?, guid }));
    let uuid = guid.map(|guid| written(&guid));
    let name = key("PARTNAME").unwrap_or_default().to_owned();
    Some(Partition { device, disk, name, uuid, removable: removable(parent), extent })
}

/// The unique number in a GPT entry. Source: UEFI 2.10, 5.3.2 and 5.3.3. The kernel, which named the partition, has
/// checked the sums of header and entries.
fn unique_number(disk: &File, block: u64, number: u64) -> Option<[u8; 16]> {
    let mut header = [0_u8; 92];
    disk.read_exact_at(&mut header, block).ok()?;
    if !header.starts_with(b"EFI PART") {
        return None;
    }
    let entries = u64::from_le_bytes(*header.get(72..)?.first_chunk()?);
    let size = u64::from(u32::from_le_bytes(*header.get(84..)?.first_chunk()?));
    let at = entries.checked_mul(block)?.checked_add(size.checked_mul(number.checked_sub(1)?)?)?;
    let mut entry = [0_u8; 32];
    disk.read_exact_at(&mut entry, at).ok()?;
    entry.last_chunk().copied()
}

/// A GUID as it is written: the first three groups are little-endian numbers.
fn written(guid: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let [i, j, k, l, m, n, o, p] = rest;
    format!(
        "{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{i:02x}{j:02x}-{k:02x}{l:02x}{m:02x}{n:02x}{o:02x}{p:02x}"
    )
}

/// What hangs on the machine's USB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usb {
    /// There is none.
    Nothing,
    /// No disk or stick.
    NoDisk,
    /// A disk or stick, which the kernel may not have looked into yet.
    Disk,
}

/// What hangs on the machine's USB now.
#[must_use]
pub fn usb() -> Usb {
    usb_of(Path::new("/sys/bus/usb/devices"))
}

fn usb_of(devices: &Path) -> Usb {
    // Source: USB's assigned class codes, mass storage.
    const STORAGE: &str = "08";
    let mut found = Usb::Nothing;
    for entry in fs::read_dir(devices).into_iter().flatten().flatten() {
        found = if found == Usb::Nothing { Usb::NoDisk } else { found };
        let class = fs::read_to_string(entry.path().join("bInterfaceClass")).unwrap_or_default();
        if class.trim() == STORAGE {
            return Usb::Disk;
        }
    }
    found
}

/// The partition with a name on the disk that the box was started from.
#[must_use]
pub fn on_own_disk<'p>(partitions: &'p [Partition], loaded_from: &str, name: &str) -> Option<&'p Partition> {
    let own = partitions.iter().find(|it| it.uuid.as_deref() == Some(loaded_from))?;
    partitions.iter().find(|it| it.disk == own.disk && it.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn the_loader_says_where_from_in_utf_16() {
        let text = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
        let mut bytes = vec![6, 0, 0, 0];
        bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        assert_eq!(loader_variable(&bytes).unwrap(), text.to_ascii_lowercase());
        for end in 0..bytes.len() - 4 {
            assert_eq!(loader_variable(bytes.get(..end).unwrap()), None, "{end} bytes");
        }
    }

    #[test]
    fn a_guid_is_written_with_its_first_groups_turned() {
        let esp = [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
        assert_eq!(written(&esp), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn a_gpt_entry_is_found_for_any_block_size() {
        let path = std::env::temp_dir().join(format!("vbimg-gpt-{}", std::process::id()));
        for block in [512_u64, 4096] {
            let file = File::options().write(true).read(true).create(true).truncate(true).open(&path).unwrap();
            assert_eq!(unique_number(&file, block, 1), None, "an empty disk");
            file.write_all_at(b"EFI PART", block).unwrap();
            file.write_all_at(&2_u64.to_le_bytes(), block + 72).unwrap();
            file.write_all_at(&128_u32.to_le_bytes(), block + 84).unwrap();
            file.write_all_at(&[0x11; 16], 2 * block + 2 * 128 + 16).unwrap();
            assert_eq!(unique_number(&file, block, 3), Some([0x11; 16]));
            assert_eq!(unique_number(&file, block, 0), None);
            assert_eq!(unique_number(&file, block, u64::MAX), None);
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_stick_on_the_usb_is_known_before_it_can_be_read() {
        let place = std::env::temp_dir().join(format!("vbimg-usb-{}", std::process::id()));
        assert_eq!(usb_of(&place), Usb::Nothing);
        fs::create_dir_all(place.join("usb1")).unwrap();
        assert_eq!(usb_of(&place), Usb::NoDisk);
        for (name, class, is) in [("1-1:1.0", "03\n", Usb::NoDisk), ("1-2:1.0", "08\n", Usb::Disk)] {
            fs::create_dir_all(place.join(name)).unwrap();
            fs::write(place.join(name).join("bInterfaceClass"), class).unwrap();
            assert_eq!(usb_of(&place), is);
        }
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn partitions_of_another_disk_are_not_taken_for_ones_own() {
        let partition = |disk: &str, name: &str, uuid: &str| Partition {
            device: format!("/dev/{disk}-{name}").into(),
            disk: disk.to_owned(),
            name: name.to_owned(),
            uuid: Some(uuid.to_owned()),
            removable: false,
            extent: None,
        };
        let all = [
            partition("sda", "esp-a", "1"),
            partition("sda", "data", "2"),
            partition("sdb", "esp-a", "3"),
            partition("sdb", "data", "4"),
        ];
        assert_eq!(on_own_disk(&all, "3", "data").unwrap().uuid.as_deref(), Some("4"));
        assert_eq!(on_own_disk(&all, "9", "data"), None);
        assert_eq!(on_own_disk(&all, "3", "esp-b"), None);
    }
}

//! The data partition grows to the end of its disk: the image is smaller than any disk that it is written to.

use std::fs::{self, File};
use std::path::Path;

use gptman::GPT;

use crate::{At, Failure};

/// What is left free at the disk's end beside the backup of the table, in bytes: partitions begin and end at whole MiB.
const ALIGNMENT: u64 = 1024 * 1024;

/// Growing by less is not worth a new table.
const LEAST: u64 = 16 * ALIGNMENT;

/// Lets a partition of a disk reach to the disk's end, and has the kernel read the table again. No partition of the disk
/// may be in use. Says by how many bytes it grew.
///
/// # Errors
/// The table can't be read or written, another partition is in the way, or the disk is in use.
pub fn partition(disk: &Path, name: &str) -> Result<u64, Failure> {
    let what = disk.display().to_string();
    let mut device = File::options().read(true).write(true).open(disk).at(&what)?;
    let block = gptman::linux::get_sector_size(&mut device).at(&what)?;
    let grown = table(&mut device, block, name).at(&what)?;
    if grown > 0 {
        device.sync_all().at(&what)?;
        gptman::linux::reread_partition_table(&mut device).at(&what)?;
    }
    Ok(grown)
}

/// The same in a disk's table; `device` is the disk, or a file that holds one.
fn table(device: &mut File, block: u64, name: &str) -> Result<u64, Failure> {
    let mut gpt = GPT::read_from(device, block).at("partition table")?;
    // The backup goes to the disk's end as it is now.
    gpt.header.update_from(device, block).at("partition table")?;
    let last_usable = gpt.header.last_usable_lba;
    let found = gpt.iter().find(|(_, entry)| entry.is_used() && entry.partition_name.as_str() == name);
    let (number, first, last) = found
        .map(|(number, entry)| (number, entry.starting_lba, entry.ending_lba))
        .ok_or_else(|| Failure(format!("there is no partition {name}")))?;
    if gpt.iter().any(|(_, entry)| entry.is_used() && entry.starting_lba > first) {
        return Err(Failure(format!("{name} is not the last partition of the disk")));
    }
    let aligned = ALIGNMENT.checked_div(block).unwrap_or(1).max(1);
    let behind = last_usable.saturating_add(1);
    let end = behind.saturating_sub(behind.checked_rem(aligned).unwrap_or(0)).saturating_sub(1);
    let grown = end.saturating_sub(last).saturating_mul(block);
    if grown < LEAST {
        return Ok(0);
    }
    if let Some((_, entry)) = gpt.iter_mut().find(|(it, _)| *it == number) {
        entry.ending_lba = end;
    }
    // The backup first: a power cut between the two leaves the old table, or the new one, whole.
    gpt.write_into(device).at("partition table")?;
    Ok(grown)
}

/// Lets the file system that is mounted at `place` fill its partition, while it is mounted.
///
/// # Errors
/// The kernel refuses; the file system is as it was.
pub fn file_system(place: &Path, partition: &Path) -> Result<(), Failure> {
    let what = place.display().to_string();
    let block = rustix::fs::statvfs(place).at(&what)?.f_bsize.max(1);
    let name = partition.file_name().unwrap_or_default();
    // In units of 512 bytes, whatever the disk's own block is. Source: the kernel's Documentation/block/stat.rst.
    let size = fs::read_to_string(Path::new("/sys/class/block").join(name).join("size")).at(&what)?;
    let bytes = size.trim().parse::<u64>().at(&what)?.saturating_mul(512);
    let folder = File::open(place).at(&what)?;
    rustix::fs::ext4_ioc_resize_fs(&folder, bytes.checked_div(block).unwrap_or(0)).at(&format!("{what} can't grow"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    const MIB: u64 = 1024 * 1024;

    /// A disk in a file, with the partitions of the image.
    struct Disk(PathBuf);

    impl Disk {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("vbimg-grow-{name}-{}", std::process::id()));
            File::create(&path).unwrap().set_len(64 * MIB).unwrap();
            let mut file = File::options().read(true).write(true).open(&path).unwrap();
            let mut gpt = GPT::new_from(&mut file, 512, [7; 16]).unwrap();
            for (number, name, first, blocks) in [(1, "esp-a", 2048, 2048), (3, "data", 8192, 16384)] {
                let entry = gpt.iter_mut().find(|(it, _)| *it == number).unwrap().1;
                entry.partition_type_guid = [1; 16];
                entry.unique_partition_guid = [u8::try_from(number).unwrap(); 16];
                entry.starting_lba = first;
                entry.ending_lba = first + blocks - 1;
                entry.partition_name = name.into();
            }
            gpt.write_into(&mut file).unwrap();
            GPT::write_protective_mbr_into(&mut file, 512).unwrap();
            Self(path)
        }

        fn grow(&self, bytes: u64, name: &str) -> Result<u64, String> {
            let mut file = File::options().read(true).write(true).open(&self.0).unwrap();
            file.set_len(bytes).unwrap();
            table(&mut file, 512, name).map_err(|failure| failure.0)
        }
    }

    impl Drop for Disk {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_last_partition_grows_to_the_end_and_only_once() {
        let disk = Disk::new("once");
        let grown = disk.grow(200 * MIB, "data").unwrap();
        // From 12 MiB on, to the last whole MiB before the backup.
        assert_eq!(grown, (199 - 12) * MIB);
        assert_eq!(disk.grow(200 * MIB, "data"), Ok(0));
        let mut file = File::open(&disk.0).unwrap();
        let gpt = GPT::read_from(&mut file, 512).unwrap();
        let data = gpt.iter().find(|(number, _)| *number == 3).unwrap().1;
        assert_eq!((data.starting_lba, data.unique_partition_guid), (8192, [3; 16]), "it is the same partition");
        assert!(gpt.is_primary());
    }

    #[test]
    fn what_is_not_the_last_one_stays() {
        let disk = Disk::new("last");
        assert_eq!(disk.grow(200 * MIB, "esp-a").unwrap_err(), "esp-a is not the last partition of the disk");
        assert_eq!(disk.grow(200 * MIB, "nothing").unwrap_err(), "there is no partition nothing");
        assert_eq!(disk.grow(65 * MIB, "data"), Ok(52 * MIB), "to the end of what there is");
    }

    /// A second reader's word, where it is installed.
    #[test]
    fn another_program_takes_the_table_for_sound() {
        let disk = Disk::new("sgdisk");
        disk.grow(200 * MIB, "data").unwrap();
        let Ok(output) = Command::new("/usr/sbin/sgdisk").arg("--verify").arg(&disk.0).output() else {
            eprintln!("skipped: sgdisk is not installed");
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("No problems found"), "{said}");
    }
}

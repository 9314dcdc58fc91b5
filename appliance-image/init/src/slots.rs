//! The firmware's boot entries of both slots.
//!
//! Some firmware forgets entries that it did not make, so they are made anew at each boot where they are not as they should
//! be. Both stay in the order: if one slot does not start, the firmware goes on to the other.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::disk::{Extent, Partition, on_own_disk};
use crate::{At, Failure};

/// Where the firmware's variables are.
pub const VARIABLES: &str = "/sys/firmware/efi/efivars";

/// Vendor of the firmware's own variables. Source: UEFI 2.10, 3.3.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";

/// Vendor of the box's own variables.
pub const OWN: &str = "76616d62-7261-6365-2000-000000000000";

/// Kept over power cycles, readable while booting and running.
const ATTRIBUTES: u32 = 7;

/// Names of the partitions, and the numbers of their boot entries: far from those that firmware gives.
const SLOTS: [(&str, u16); 2] = [("esp-a", 0x7661), ("esp-b", 0x7662)];

/// What the firmware starts in a slot.
const PROGRAM: &str = "\\EFI\\BOOT\\BOOTX64.EFI";

/// Makes the boot entries of both slots where they are not there, and puts them into the order. What fails is told: the
/// box runs, and the firmware still finds a slot by itself.
pub fn keep_both(all: &[Partition], loaded_from: Option<&str>, tell: &mut dyn FnMut(String)) {
    let variables = Path::new(VARIABLES);
    let Some(from) = loaded_from else { return tell("the firmware does not say which slot was started".to_owned()) };
    let mut numbers = Vec::new();
    for (name, number) in SLOTS {
        let Some(slot) = on_own_disk(all, from, name) else {
            tell(format!("the disk has no partition {name}"));
            continue;
        };
        let Some(extent) = slot.extent else { continue };
        let option = load_option(&format!("Vambrace {name}"), &extent);
        match write_variable(variables, &format!("Boot{number:04X}"), GLOBAL, &option) {
            Ok(()) if slot.uuid.as_deref() == Some(from) => numbers.insert(0, number),
            Ok(()) => numbers.push(number),
            Err(failure) => tell(failure.to_string()),
        }
    }
    if let Err(failure) = order(variables, |before| new_order(before, &numbers)) {
        tell(failure.to_string());
    }
}

/// The slot that the firmware starts first; `None` where the order begins with something else.
#[must_use]
pub fn first(variables: &Path) -> Option<&'static str> {
    let order = read_variable(variables, ORDER, GLOBAL)?;
    let number = u16::from_le_bytes(*order.first_chunk()?);
    SLOTS.iter().find(|(_, it)| *it == number).map(|(name, _)| *name)
}

/// Has the firmware start a slot first from now on, before the other one.
///
/// # Errors
/// The firmware does not take it.
pub fn put_first(variables: &Path, slot: &str) -> Result<(), Failure> {
    let mut numbers: Vec<u16> = SLOTS.iter().map(|(_, number)| *number).collect();
    let wanted = number_of(slot)?;
    numbers.sort_by_key(|number| *number != wanted);
    let rest = |before: &[u8]| {
        let before: Vec<u16> = before.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let rest = before.into_iter().filter(|number| !numbers.contains(number));
        numbers.iter().copied().chain(rest).flat_map(u16::to_le_bytes).collect()
    };
    order(variables, rest)
}

/// Has the firmware start a slot once, at the next start.
///
/// # Errors
/// The firmware does not take it, or reads it back differently.
pub fn try_once(variables: &Path, slot: &str) -> Result<(), Failure> {
    let number = number_of(slot)?.to_le_bytes();
    write_variable(variables, NEXT, GLOBAL, &number)?;
    match read_variable(variables, NEXT, GLOBAL) {
        Some(value) if value == number => Ok(()),
        _ => Err(Failure("the firmware does not keep what is to be started next".to_owned())),
    }
}

/// Takes back what [`try_once`] ordered. Says whether the order still stood: a firmware that honours it removes it before
/// it starts the slot.
///
/// # Errors
/// The firmware does not let it be removed.
pub fn try_no_more(variables: &Path) -> Result<bool, Failure> {
    remove_variable(variables, NEXT, GLOBAL)
}

/// Variable with the order of boot entries, and with the one to start next. Source: UEFI 2.10, 3.3.
const ORDER: &str = "BootOrder";
const NEXT: &str = "BootNext";

fn number_of(slot: &str) -> Result<u16, Failure> {
    let found = SLOTS.iter().find(|(name, _)| *name == slot);
    found.map(|(_, number)| *number).ok_or_else(|| Failure(format!("there is no slot {slot}")))
}

fn order(variables: &Path, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<(), Failure> {
    let before = read_variable(variables, ORDER, GLOBAL).unwrap_or_default();
    write_variable(variables, ORDER, GLOBAL, &change(&before))
}

/// The order of the firmware's entries: as it is where it begins with both slots; else the slots first, the one that runs
/// before the other.
fn new_order(before: &[u8], slots: &[u16]) -> Vec<u8> {
    let before: Vec<u16> = before.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    let ours = before.get(..slots.len()).filter(|first| slots.iter().all(|slot| first.contains(slot)));
    let head = ours.unwrap_or(slots);
    let rest = before.iter().filter(|number| !slots.contains(number));
    head.iter().chain(rest).flat_map(|number| number.to_le_bytes()).collect()
}

fn variable(folder: &Path, name: &str, vendor: &str) -> PathBuf {
    folder.join(format!("{name}-{vendor}"))
}

/// The value of a variable.
#[must_use]
pub fn read_variable(folder: &Path, name: &str, vendor: &str) -> Option<Vec<u8>> {
    fs::read(variable(folder, name, vendor)).ok()?.get(4..).map(<[u8]>::to_vec)
}

/// Writes a variable unless it has that value: flash wears out.
///
/// # Errors
/// The firmware does not take it.
pub fn write_variable(folder: &Path, name: &str, vendor: &str, value: &[u8]) -> Result<(), Failure> {
    let path = variable(folder, name, vendor);
    let bytes = [ATTRIBUTES.to_le_bytes().as_slice(), value].concat();
    if fs::read(&path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    let what = format!("{name} of the firmware");
    unlock(&path).at(&what)?;
    // Attributes and value in one write: that is one call of the firmware.
    let mut file = File::options().write(true).create(true).truncate(false).open(path).at(&what)?;
    file.write_all(&bytes).at(&what)
}

/// Removes a variable. Says whether there was one.
///
/// # Errors
/// The firmware does not let it go.
pub fn remove_variable(folder: &Path, name: &str, vendor: &str) -> Result<bool, Failure> {
    let path = variable(folder, name, vendor);
    if !path.exists() {
        return Ok(false);
    }
    let what = format!("{name} of the firmware");
    unlock(&path).at(&what)?;
    fs::remove_file(path).at(&what)?;
    Ok(true)
}

/// The kernel guards variables against a careless rm.
fn unlock(path: &Path) -> rustix::io::Result<()> {
    if let Ok(file) = File::open(path)
        && let Ok(flags) = ioctl_getflags(&file)
        && flags.contains(IFlags::IMMUTABLE)
    {
        ioctl_setflags(&file, flags.difference(IFlags::IMMUTABLE))?;
    }
    Ok(())
}

/// EFI_LOAD_OPTION: attributes, length of the path, description, path. Source: UEFI 2.10, 3.1.3 and 10.3.5.
fn load_option(description: &str, slot: &Extent) -> Vec<u8> {
    const ACTIVE: u32 = 1;
    let mut path = node(
        4,
        1,
        &[
            &slot.number.to_le_bytes(),
            &slot.first.to_le_bytes(),
            &slot.blocks.to_le_bytes(),
            &slot.guid,
            // A GPT, known by the partition's unique number.
            &[2, 2],
        ],
    );
    path.extend(node(4, 4, &[&utf_16(PROGRAM)]));
    path.extend(node(0x7f, 0xff, &[]));
    let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
    [ACTIVE.to_le_bytes().as_slice(), &length.to_le_bytes(), &utf_16(description), &path].concat()
}

/// One node of a device path.
fn node(kind: u8, sub_kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u16::try_from(body.len().saturating_add(4)).unwrap_or(u16::MAX);
    [[kind, sub_kind].as_slice(), &length.to_le_bytes(), &body].concat()
}

fn utf_16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn order_of(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn slots_come_first_and_a_committed_order_stays() {
        let running_a = [0x7661, 0x7662];
        assert_eq!(new_order(&[], &running_a), order_of(&running_a));
        assert_eq!(new_order(&order_of(&[0, 1]), &running_a), order_of(&[0x7661, 0x7662, 0, 1]));
        assert_eq!(
            new_order(&order_of(&[0, 0x7662, 1]), &running_a),
            order_of(&[0x7661, 0x7662, 0, 1]),
            "one was forgotten"
        );
        // An update committed b; a boot of a, tried once, does not change that.
        let b_first = order_of(&[0x7662, 0x7661, 0]);
        assert_eq!(new_order(&b_first, &running_a), b_first);
        assert_eq!(new_order(&order_of(&[3]), &[]), order_of(&[3]));
        assert_eq!(new_order(&[1, 2, 3], &[]), [1, 2], "half a number");
    }

    #[test]
    fn an_entry_has_the_bytes_of_the_specification() {
        let slot = Extent { number: 2, first: 0x800, blocks: 0x20000, guid: [0xab; 16] };
        let option = load_option("V", &slot);
        let path = 42 + 4 + 2 * (PROGRAM.len() + 1) + 4;
        assert_eq!(option.len(), 4 + 2 + 4 + path);
        assert_eq!(option[..6], [1, 0, 0, 0, u8::try_from(path).unwrap(), 0]);
        assert_eq!(option[6..10], [b'V', 0, 0, 0]);
        assert_eq!(option[10..18], [4, 1, 42, 0, 2, 0, 0, 0]);
        assert_eq!(option[34..52], [[0xab; 16].as_slice(), &[2, 2]].concat());
        assert_eq!(option[option.len() - 4..], [0x7f, 0xff, 4, 0]);
    }

    #[test]
    fn a_variable_is_written_with_its_attributes_and_only_when_it_changes() {
        let folder = Variables::new("write");
        write_variable(&folder.0, "One", OWN, b"one").unwrap();
        let path = variable(&folder.0, "One", OWN);
        assert_eq!(fs::read(&path).unwrap(), b"\x07\0\0\0one");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        write_variable(&folder.0, "One", OWN, b"one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(read_variable(&folder.0, "One", OWN).unwrap(), b"one");
        assert!(remove_variable(&folder.0, "One", OWN).unwrap());
        assert!(!remove_variable(&folder.0, "One", OWN).unwrap());
        assert_eq!(read_variable(&folder.0, "One", OWN), None);
    }

    #[test]
    fn a_slot_is_tried_once_and_put_first_without_losing_an_entry() {
        let folder = Variables::new("order");
        let variables = &folder.0;
        assert_eq!(first(variables), None);
        write_variable(variables, ORDER, GLOBAL, &order_of(&[0x7661, 0x7662, 3])).unwrap();
        assert_eq!(first(variables), Some("esp-a"));
        try_once(variables, "esp-b").unwrap();
        assert_eq!(read_variable(variables, NEXT, GLOBAL).unwrap(), order_of(&[0x7662]));
        assert_eq!(first(variables), Some("esp-a"), "a try changes no order");
        assert!(try_no_more(variables).unwrap() && !try_no_more(variables).unwrap());
        put_first(variables, "esp-b").unwrap();
        assert_eq!(read_variable(variables, ORDER, GLOBAL).unwrap(), order_of(&[0x7662, 0x7661, 3]));
        assert_eq!(first(variables), Some("esp-b"));
        assert!(put_first(variables, "esp-c").is_err());
    }

    /// A folder in the place of the firmware's, gone at the end.
    struct Variables(PathBuf);

    impl Variables {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("vbimg-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Variables {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

//! Offloads and driver of an interface. Source: `linux/ethtool.h`.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "fixed structures of the kernel's interface, sizes checked against the room; never on the packet path"
)]

use std::io;
use std::os::fd::AsFd;

use super::interface::ethtool;

const GET_DRIVER_INFO: u32 = 0x03;
const GET_STRINGS: u32 = 0x1b;
const GET_SET_INFO: u32 = 0x37;
const GET_FEATURES: u32 = 0x3a;
const SET_FEATURES: u32 = 0x3b;
/// The set of strings that names the features.
const FEATURE_NAMES: u32 = 4;
/// Bytes of one name.
const NAME_BYTES: usize = 32;
/// Words of one name.
const NAME_WORDS: usize = NAME_BYTES / 4;
/// Words of `struct ethtool_drvinfo`: cmd; driver, version, firmware, bus and expansion ROM version of 32 bytes each;
/// 12 bytes reserved; five numbers. The kernel writes all 196 bytes, whatever room there is.
const DRIVER_INFO_WORDS: usize = 1 + 5 * NAME_WORDS + 3 + 5;
/// Most features there is room for; kernel 6.18 has 64.
const MOST_FEATURES: usize = 512;

/// One thing that a driver does to frames on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// The kernel's name, such as `rx-gro`.
    pub name: String,
    /// Its bit number on this kernel.
    pub bit: usize,
    /// Whether it is at work.
    pub active: bool,
    /// Whether it can be switched.
    pub changeable: bool,
}

/// Who drives an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Driver name, such as `igb`.
    pub name: String,
    /// Where it sits, such as `0000:01:00.0`; empty for virtual interfaces.
    pub bus: String,
}

/// All features of an interface.
///
/// # Errors
/// ENODEV: there is no such interface. EOPNOTSUPP: its driver has none.
pub fn features(fd: impl AsFd, name: &str) -> io::Result<Vec<Feature>> {
    // struct ethtool_sset_info: cmd, reserved, mask (64 bits), one length per bit set.
    let mut info = [GET_SET_INFO, 0, 0, 0, 0];
    let (low, high) = halves(1_u64 << FEATURE_NAMES);
    info[2] = low;
    info[3] = high;
    ethtool(&fd, name, &mut info)?;
    let count = usize::try_from(info[4]).unwrap_or(usize::MAX);
    if count > MOST_FEATURES {
        return Err(io::Error::other("kernel names more offloads than there is room for"));
    }

    // struct ethtool_gstrings: cmd, set, len, names. The kernel writes as many names as it has, whatever `len` says.
    let mut strings = vec![0_u32; 3 + MOST_FEATURES * NAME_WORDS];
    strings[..2].copy_from_slice(&[GET_STRINGS, FEATURE_NAMES]);
    ethtool(&fd, name, &mut strings)?;

    // struct ethtool_gfeatures: cmd, size, then per 32 features: available, requested, active, never_changed.
    let blocks = count.div_ceil(32);
    let mut states = vec![0_u32; 2 + blocks * 4];
    states[..2].copy_from_slice(&[GET_FEATURES, blocks as u32]);
    ethtool(&fd, name, &mut states)?;

    let names = strings[3..].chunks_exact(NAME_WORDS).take(count);
    Ok(names
        .enumerate()
        .map(|(bit, words)| {
            let block = &states[2 + bit / 32 * 4..][..4];
            let is_set = |word: u32| word >> (bit % 32) & 1 == 1;
            Feature {
                name: text(words),
                bit,
                active: is_set(block[2]),
                changeable: is_set(block[0]) && !is_set(block[3]),
            }
        })
        .filter(|feature| !feature.name.is_empty())
        .collect())
}

/// Switches features on or off; the caller reads [`features`] again to see which ones followed.
///
/// # Errors
/// ENODEV, EOPNOTSUPP as in [`features`]; EPERM: CAP_NET_ADMIN is missing.
pub fn switch(fd: impl AsFd, name: &str, bits: &[usize], on: bool) -> io::Result<()> {
    let blocks = bits.iter().map(|bit| bit / 32 + 1).max().unwrap_or(0);
    // struct ethtool_sfeatures: cmd, size, then per 32 features: valid, requested.
    let mut order = vec![0_u32; 2 + blocks * 2];
    order[..2].copy_from_slice(&[SET_FEATURES, blocks as u32]);
    for bit in bits {
        let mask = 1_u32 << (bit % 32);
        order[2 + bit / 32 * 2] |= mask;
        order[3 + bit / 32 * 2] |= if on { mask } else { 0 };
    }
    ethtool(fd, name, &mut order)
}

/// The driver of an interface and its place on the bus.
///
/// # Errors
/// ENODEV: there is no such interface. EOPNOTSUPP: it has no driver information.
pub fn driver(fd: impl AsFd, name: &str) -> io::Result<Driver> {
    let mut info = [0_u32; DRIVER_INFO_WORDS];
    info[0] = GET_DRIVER_INFO;
    ethtool(fd, name, &mut info)?;
    Ok(Driver { name: text(&info[1..][..NAME_WORDS]), bus: text(&info[1 + 3 * NAME_WORDS..][..NAME_WORDS]) })
}

fn halves(word: u64) -> (u32, u32) {
    // The kernel reads the two words as one u64 of its own byte order.
    let bytes = word.to_ne_bytes();
    let (first, second) = bytes.split_at(4);
    let half = |half: &[u8]| u32::from_ne_bytes(half.try_into().unwrap_or_default());
    (half(first), half(second))
}

/// A zero-ended name that lies in words.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::interface::any_socket;

    const MARK: u32 = 0xa5c3_96e1;

    /// How many words the kernel writes of a command's answer, on each interface that answers it.
    fn written(command: &[u32]) -> Vec<usize> {
        let socket = any_socket().unwrap();
        let names = std::fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name());
        let mut found = Vec::new();
        for name in names {
            let mut room = vec![MARK; 8192];
            room[..command.len()].copy_from_slice(command);
            if ethtool(&socket, name.to_str().unwrap(), &mut room).is_ok() {
                found.push(room.iter().rposition(|&word| word != MARK).map_or(0, |last| last + 1));
            }
        }
        found
    }

    #[test]
    fn answers_fit_the_room_that_they_get() {
        for words in written(&[GET_DRIVER_INFO]) {
            assert_eq!(words, DRIVER_INFO_WORDS);
        }
        let (low, high) = halves(1_u64 << FEATURE_NAMES);
        for words in written(&[GET_SET_INFO, 0, low, high, 0]) {
            assert_eq!(words, 5);
        }
        for words in written(&[GET_STRINGS, FEATURE_NAMES, 0]) {
            assert!(words <= 3 + MOST_FEATURES * NAME_WORDS, "{words}");
        }
        for words in written(&[GET_FEATURES, 2]) {
            assert!(words <= 2 + 2 * 4, "{words}");
        }
    }
}

//! Folders of an ext4 file system that the kernel encrypts: contents, names, links; not sizes, times, rights.
//!
//! A file system is given a key, which opens every folder that was encrypted with it, for every process that may enter it.
//! A folder has to be empty when it is told to be encrypted; whatever is made in it afterwards is encrypted too.
//!
//! Source: Linux 6.12, Documentation/filesystems/fscrypt.rst and include/uapi/linux/fscrypt.h, policies of version 2.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::ioctl::{Setter, Updater, ioctl, opcode};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a key. Source: FSCRYPT_MAX_KEY_SIZE.
pub const KEY: usize = 64;

/// The name that the kernel computes from a key. Source: FSCRYPT_KEY_IDENTIFIER_SIZE.
pub type Identifier = [u8; 16];

/// Source: struct fscrypt_add_key_arg, with the key in place of its flexible array.
#[repr(C)]
#[derive(Zeroize, ZeroizeOnDrop)]
struct AddKey {
    spec_type: u32,
    spec_reserved: u32,
    identifier: Identifier,
    spec_rest: [u8; 16],
    raw_size: u32,
    key_id: u32,
    reserved: [u32; 8],
    raw: [u8; KEY],
}

/// Source: struct fscrypt_policy_v2.
#[repr(C)]
struct Policy {
    version: u8,
    contents: u8,
    names: u8,
    flags: u8,
    unit: u8,
    reserved: [u8; 3],
    identifier: Identifier,
}

/// Source: FS_IOC_ADD_ENCRYPTION_KEY; the size in it is without the key.
const ADD_KEY: rustix::ioctl::Opcode = opcode::read_write::<[u8; 80]>(b'f', 23);

/// Source: FS_IOC_SET_ENCRYPTION_POLICY; the size in it is that of version 1, and the direction is as the kernel has it.
const SET_POLICY: rustix::ioctl::Opcode = opcode::read::<[u8; 12]>(b'f', 19);

/// Gives a file system the key, by any folder of it. It stays until the file system is unmounted.
///
/// # Errors
/// The file system or the kernel has no encryption, or the caller is not root.
pub fn add_key(folder: impl AsFd, key: &[u8; KEY]) -> io::Result<Identifier> {
    const BY_IDENTIFIER: u32 = 2;
    let mut argument = AddKey {
        spec_type: BY_IDENTIFIER,
        spec_reserved: 0,
        identifier: [0; 16],
        spec_rest: [0; 16],
        raw_size: u32::try_from(KEY).map_err(io::Error::other)?,
        key_id: 0,
        reserved: [0; 8],
        raw: *key,
    };
    // SAFETY: the kernel reads 80 bytes at the pointer and `raw_size` bytes behind them, and writes the first 80: all of it
    // lies in `AddKey`, whose layout is that of the kernel's header, and any bytes are a value of it.
    unsafe { ioctl(folder, Updater::<ADD_KEY, AddKey>::new(&mut argument)) }?;
    Ok(argument.identifier)
}

/// Has an empty folder encrypted with a key that the file system was given.
///
/// # Errors
/// The folder is not empty, or the file system has no encryption, or not that key.
pub fn encrypt(folder: impl AsFd, key: Identifier) -> io::Result<()> {
    // AES-256-XTS for contents, AES-256-CBC-CTS for names, which are padded to 32 bytes.
    let policy = Policy { version: 2, contents: 1, names: 4, flags: 3, unit: 0, reserved: [0; 3], identifier: key };
    // SAFETY: the kernel reads the version, and then the 24 bytes of a policy of that version; it writes nothing.
    unsafe { ioctl(folder, Setter::<SET_POLICY, Policy>::new(policy)) }?;
    Ok(())
}

/// Whether a folder or file is encrypted.
///
/// # Errors
/// It can't be looked at.
pub fn is_encrypted(path: &Path) -> io::Result<bool> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
    Ok(found.stx_attributes.contains(StatxAttributes::ENCRYPTED))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::fs::File;
    use std::mem::{offset_of, size_of};

    #[test]
    fn layouts_and_numbers_are_those_of_the_kernels_header() {
        assert_eq!(offset_of!(AddKey, raw), 80);
        assert_eq!(offset_of!(AddKey, identifier), 8);
        assert_eq!(offset_of!(AddKey, raw_size), 40);
        assert_eq!(size_of::<AddKey>(), 80 + KEY);
        assert_eq!(size_of::<Policy>(), 24);
        assert_eq!(offset_of!(Policy, identifier), 8);
        assert_eq!((ADD_KEY, SET_POLICY), (0xc050_6617, 0x800c_6613));
    }

    #[test]
    fn a_file_system_without_encryption_says_so() {
        let place = Path::new("/proc");
        assert!(!is_encrypted(place).unwrap());
        assert!(add_key(File::open(place).unwrap(), &[1; KEY]).is_err());
        assert!(encrypt(File::open(place).unwrap(), [1; 16]).is_err());
    }
}

//! Encryption of what a box keeps, with a key that only its TPM gives out, and only to a system that its owner signed.
//!
//! A data partition that is empty gets a key at its first start, if Secure Boot is on and there is a TPM: without Secure Boot
//! any system could ask the TPM for it. The key lies sealed in a file beside the folders that it opens. One that is in use
//! already stays as it is. Where the TPM keeps the key back, the partition is locked: nothing of it is read, nothing is
//! written, and it opens again as soon as the TPM gives the key.
//!
//! The folder of updates is not encrypted: what lies there is signed and public, and the lowest epoch outlives a lost key.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use vambrace_fscrypt::{KEY, add_key, encrypt, is_encrypted};
use zeroize::Zeroizing;

use crate::tpm::{Sealed, Tpm, Withheld};
use crate::{At, Failure};

/// The sealed key, in the top folder of the data partition.
pub const FILE: &str = "key.toml";

/// The file that is being written.
const FRESH: &str = "key.new";

/// What is encrypted.
pub const FOLDERS: [&str; 5] = ["config", "console", "evidence", "identity", "log"];

/// How the data partition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Encrypted and open.
    Encrypted,
    /// Readable for whoever has the disk; why.
    Plain(String),
    /// Encrypted, and the key is kept back; why, and what to do.
    Locked(String),
}

/// Opens a mounted data partition, or begins to encrypt an empty one. Makes the folders that are encrypted.
pub fn open(data: &Path, secure_boot: bool, tpm: impl FnOnce() -> Result<Tpm, Failure>) -> State {
    let kept = match fs::read_to_string(data.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return match begin(data, secure_boot, tpm) {
                Ok(()) => State::Encrypted,
                Err(why) => State::Plain(why.0),
            };
        }
        Err(error) => return State::Locked(format!("{FILE} is not readable: {error}")),
    };
    match unlock(data, &kept, tpm) {
        Ok(()) => State::Encrypted,
        Err(why) => State::Locked(why.0),
    }
}

fn unlock(data: &Path, kept: &str, tpm: impl FnOnce() -> Result<Tpm, Failure>) -> Result<(), Failure> {
    let sealed: Sealed = toml::from_str(kept).map_err(|_| Failure(format!("{FILE} is damaged")))?;
    let secret = tpm()?.unseal(&sealed).map_err(|withheld| {
        match withheld {
        Withheld::Registers => Failure(
            "Secure Boot was switched, or its keys were changed, since it was encrypted: set the firmware up as it was"
                .to_owned(),
        ),
        Withheld::Stranger => Failure(
            "this TPM does not know its key: it was cleared, or this is another machine: put the disk back where it was"
                .to_owned(),
        ),
        Withheld::Failed(failure) => failure,
    }
    })?;
    let key: &[u8; KEY] = secret.as_slice().try_into().map_err(|_| Failure(format!("{FILE} holds no key")))?;
    give(data, key)
}

/// Makes a key for a data partition that holds nothing yet. Whatever is in the way, nothing is encrypted then.
fn begin(data: &Path, secure_boot: bool, tpm: impl FnOnce() -> Result<Tpm, Failure>) -> Result<(), Failure> {
    if !is_empty(data)? {
        return Err(Failure("it was in use before it could be; a wipe makes it new".to_owned()));
    }
    if !secure_boot {
        return Err(Failure("Secure Boot is off, so the TPM would give its key to any system".to_owned()));
    }
    let mut tpm = tpm()?;
    // A file system without encryption says so here, before anything is written.
    let folder = File::open(data).at("data partition")?;
    let mut key = Zeroizing::new([0_u8; KEY]);
    getrandom(key.as_mut_slice(), GetRandomFlags::empty()).at("random numbers")?;
    let identifier = match add_key(&folder, &key) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Err(Failure("its file system is that of an earlier image, which can't be".to_owned()));
        }
        added => added.at("the file system takes no key")?,
    };
    let sealed = tpm.seal(key.as_slice())?;
    let back = tpm.unseal(&sealed).map_err(|_| Failure("the TPM does not give back what it sealed".to_owned()))?;
    if back.as_slice() != key.as_slice() {
        return Err(Failure("the TPM gives back another key than it sealed".to_owned()));
    }
    // The kernel looks for its ciphers when the first file is made.
    let trial = data.join("key.try");
    let _ = fs::remove_dir_all(&trial);
    fs::create_dir(&trial).at("key.try")?;
    let can =
        File::open(&trial).and_then(|it| encrypt(&it, identifier)).and_then(|()| fs::write(trial.join("try"), "try"));
    let _ = fs::remove_dir_all(&trial);
    can.at("the file system encrypts nothing")?;
    // The key is on the disk before anything is encrypted with it.
    let text =
        "# The key of the encrypted folders here, sealed by the machine's TPM. Without this file they are lost.\n"
            .to_owned()
            + &toml::to_string(&sealed).at(FILE)?;
    let fresh = data.join(FRESH);
    let mut file = File::create(&fresh).at(FRESH)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at(FRESH)?;
    fs::rename(&fresh, data.join(FILE)).at(FILE)?;
    folder.sync_all().at("data partition")?;
    give(data, &key)
}

/// Gives the file system the key, and makes what a power cut left unmade.
fn give(data: &Path, key: &[u8; KEY]) -> Result<(), Failure> {
    let folder = File::open(data).at("data partition")?;
    let identifier = add_key(&folder, key).at("the file system takes no key")?;
    for name in FOLDERS {
        let place = data.join(name);
        fs::create_dir_all(&place).at(name)?;
        if !is_encrypted(&place).at(name)? {
            File::open(&place).and_then(|it| encrypt(&it, identifier)).at(&format!("{name} is not encrypted"))?;
        }
    }
    Ok(())
}

/// Whether nothing lies in the folders that would be encrypted.
fn is_empty(data: &Path) -> Result<bool, Failure> {
    for name in FOLDERS {
        match fs::read_dir(data.join(name)) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(name),
        }
    }
    Ok(true)
}

/// Makes what is encrypted unreadable for good: the sealed key goes, overwritten first, then the folders with what is in
/// them, which needs no key. Of a partition that is not encrypted the folders go.
///
/// # Errors
/// Something can't be removed.
pub fn destroy(data: &Path) -> Result<(), Failure> {
    for name in [FRESH, FILE] {
        let path = data.join(name);
        let length = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            found => found.at(name)?.len(),
        };
        let mut file = File::options().write(true).open(&path).at(name)?;
        let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
        file.write_all(&zeros).and_then(|()| file.sync_all()).at(name)?;
        fs::remove_file(&path).at(name)?;
    }
    for name in FOLDERS {
        match fs::remove_dir_all(data.join(name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).at(name),
            _ => {}
        }
    }
    File::open(data).and_then(|folder| folder.sync_all()).at("data partition")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::path::PathBuf;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("vbimg-vault-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        place
    }

    fn none() -> Result<Tpm, Failure> {
        Err(Failure("there is no TPM".to_owned()))
    }

    #[test]
    fn what_can_not_be_encrypted_says_why_and_is_left_alone() {
        let data = place("plain");
        assert_eq!(open(&data, true, none), State::Plain("there is no TPM".to_owned()));
        let State::Plain(why) = open(&data, false, none) else { panic!("{data:?}") };
        assert!(why.starts_with("Secure Boot is off"), "{why}");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        fs::create_dir_all(data.join("evidence")).unwrap();
        fs::write(data.join("evidence/000001.pcapng"), "x").unwrap();
        let State::Plain(why) = open(&data, true, none) else { panic!("{data:?}") };
        assert!(why.contains("in use before"), "{why}");
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_key_that_does_not_come_back_locks_and_changes_nothing() {
        let data = place("locked");
        let sealed = "pcr7 = \"00\"\nprivate = \"0011\"\nunique = \"22\"\n";
        for (text, why) in
            [(sealed, "there is no TPM"), ("pcr7 = 1", "key.toml is damaged"), ("", "key.toml is damaged")]
        {
            fs::write(data.join(FILE), text).unwrap();
            assert_eq!(open(&data, true, none), State::Locked(why.to_owned()));
            assert_eq!(fs::read_to_string(data.join(FILE)).unwrap(), text);
            assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
        }
        destroy(&data).unwrap();
        destroy(&data).unwrap();
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
        fs::remove_dir_all(data).unwrap();
    }
}

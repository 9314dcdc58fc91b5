//! Another configuration in the place of the box's own, and the versions before it.
//!
//! Beside the configuration lies `history`: each version under its number, and `versions.toml`, which says when each came and
//! who brought it; the last of them is the one in force. The five before it are kept. The management process reads them, and
//! writes none.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bundle::digits;
use crate::first_boot::CONFIG;
use crate::{At, Failure};

/// Folder of the versions, beside the configuration.
const HISTORY: &str = "history";

/// What is known of them.
const INDEX: &str = "versions.toml";

/// How many versions before the one in force are kept.
pub const KEPT: usize = 5;

/// Of a configuration that no order brought.
const AT_A_START: &str = "taken at a start";

/// A version.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its number, from 1; none is given twice.
    pub number: u32,
    /// When it came: seconds since 1970.
    pub at: u64,
    /// Who brought it.
    pub who: String,
    /// SHA-256 of its text, in hexadecimal digits.
    pub sha256: String,
}

#[derive(Default, Deserialize, Serialize)]
struct Index {
    #[serde(default)]
    version: Vec<Version>,
}

/// The versions in the folder of the configuration, the oldest first; the last one is in force.
#[must_use]
pub fn versions(folder: &Path) -> Vec<Version> {
    let text = fs::read_to_string(folder.join(HISTORY).join(INDEX)).unwrap_or_default();
    // What a power cut or a person spoilt begins anew.
    toml::from_str::<Index>(&text).unwrap_or_default().version
}

/// The text of a version.
///
/// # Errors
/// It is not kept any more, or was never there.
pub fn text_of(folder: &Path, number: u32) -> Result<Vec<u8>, Failure> {
    let known = versions(folder).into_iter().find(|it| it.number == number);
    let known = known.ok_or_else(|| Failure(format!("no version {number} of the configuration is kept")))?;
    let text = fs::read(file(folder, number)).at(&format!("version {number} of the configuration"))?;
    if sum(&text) == known.sha256 {
        return Ok(text);
    }
    Err(Failure(format!("version {number} of the configuration is damaged")))
}

/// Puts a text in the place of the configuration, once `check` has nothing against it. Gives back the version before, where
/// there was one, and the new one.
///
/// # Errors
/// It is in force already, does not pass the check, or can't be written; then the one before is in force.
pub fn replace(
    folder: &Path,
    text: &[u8],
    who: &str,
    check: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<(Option<Version>, Version), Failure> {
    let own = folder.join(CONFIG);
    let before = fs::read(&own).ok();
    let mut versions = versions(folder);
    fs::create_dir_all(folder.join(HISTORY)).at(HISTORY)?;
    if let Some(before) = &before {
        if before.as_slice() == text {
            return Err(Failure("this configuration is in force already".to_owned()));
        }
        if versions.last().is_none_or(|last| last.sha256 != sum(before)) {
            let at = fs::metadata(&own).and_then(|it| it.modified()).map_or(0, seconds);
            keep(folder, &mut versions, before, at, AT_A_START)?;
        }
    }
    let last = versions.last().cloned();
    let fresh = folder.join("fresh.toml");
    let checked = put(&fresh, text).and_then(|()| check(&fresh).map_err(Failure));
    if let Err(failure) = checked {
        let _ = fs::remove_file(&fresh);
        return Err(failure);
    }
    let new = keep(folder, &mut versions, text, seconds(SystemTime::now()), who)?;
    fs::rename(&fresh, &own).at(CONFIG)?;
    let dropped = versions.len().saturating_sub(KEPT.saturating_add(1));
    let dropped: Vec<_> = versions.drain(..dropped).collect();
    let index = toml::to_string(&Index { version: versions }).at(INDEX)?;
    let part = folder.join(HISTORY).join("versions.new");
    put(&part, index.as_bytes())?;
    fs::rename(&part, folder.join(HISTORY).join(INDEX)).at(INDEX)?;
    for version in dropped {
        let _ = fs::remove_file(file(folder, version.number));
    }
    for place in [folder.to_owned(), folder.join(HISTORY)] {
        File::open(&place).and_then(|it| it.sync_all()).at(&place.display().to_string())?;
    }
    Ok((last, new))
}

fn keep(folder: &Path, versions: &mut Vec<Version>, text: &[u8], at: u64, who: &str) -> Result<Version, Failure> {
    let number = versions.last().map_or(0, |it| it.number).saturating_add(1);
    put(&file(folder, number), text)?;
    let version = Version { number, at, who: who.to_owned(), sha256: sum(text) };
    versions.push(version.clone());
    Ok(version)
}

fn file(folder: &Path, number: u32) -> PathBuf {
    folder.join(HISTORY).join(format!("{number}.toml"))
}

fn sum(text: &[u8]) -> String {
    digits(&Sha256::digest(text))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let what = path.file_name().unwrap_or_default().display().to_string();
    let mut file = File::create(path).at(&what)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at(&what)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]
    use super::*;

    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("vbimg-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        place
    }

    #[test]
    fn the_last_five_are_kept_and_come_back() {
        let folder = place("five");
        fs::write(folder.join(CONFIG), "first").unwrap();
        for number in 2..=8_u32 {
            let (before, new) = replace(&folder, format!("text {number}").as_bytes(), "eva", |_| Ok(())).unwrap();
            assert_eq!((before.unwrap().number, new.number), (number - 1, number));
        }
        let kept: Vec<u32> = versions(&folder).iter().map(|it| it.number).collect();
        assert_eq!(kept, [3, 4, 5, 6, 7, 8]);
        assert_eq!(fs::read_dir(folder.join(HISTORY)).unwrap().count(), kept.len() + 1);
        assert_eq!(fs::read(folder.join(CONFIG)).unwrap(), b"text 8");
        let old = text_of(&folder, 4).unwrap();
        assert_eq!(old, b"text 4");
        assert!(text_of(&folder, 1).unwrap_err().0.contains("no version 1"));
        replace(&folder, &old, "eva", |_| Ok(())).unwrap();
        assert_eq!((fs::read(folder.join(CONFIG)).unwrap(), versions(&folder).last().unwrap().number), (old, 9));
        // The version that no order brought says so.
        assert_eq!(versions(&folder)[0].who, "eva");
        fs::write(file(&folder, 5), "altered").unwrap();
        assert!(text_of(&folder, 5).unwrap_err().0.contains("is damaged"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_does_not_pass_changes_nothing() {
        let folder = place("refused");
        fs::write(folder.join(CONFIG), "first").unwrap();
        let failure = replace(&folder, b"bad", "eva", |_| Err("fresh.toml:1:1: no".to_owned())).unwrap_err();
        assert_eq!(failure.0, "fresh.toml:1:1: no");
        assert_eq!(fs::read(folder.join(CONFIG)).unwrap(), b"first");
        assert!(!folder.join("fresh.toml").exists() && versions(&folder).is_empty());
        let failure = replace(&folder, b"first", "eva", |_| unreachable!()).unwrap_err();
        assert_eq!(failure.0, "this configuration is in force already");
        let (before, new) = replace(&folder, b"second", "eva", |_| Ok(())).unwrap();
        assert_eq!((before.unwrap().who.as_str(), new.number, new.who.as_str()), (AT_A_START, 2, "eva"));
        fs::remove_dir_all(folder).unwrap();
    }
}

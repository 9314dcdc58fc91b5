//! The folder in which orders and bundles are left, by those who may not do what they ask for.
//!
//! It belongs to the account of the management process, so nothing in it is trusted: no link is followed, nothing but
//! plain files is read, and at most so many bytes of them.
//!
//! | file | what |
//! |---|---|
//! | `bundle` | the bundle, written whole before the order |
//! | `config` | a configuration, the same |
//! | `order.toml` | the order, renamed into place; taken away when it is read |

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::first_boot::LARGEST;
use crate::{At, Failure};

/// Name of the folder below [`super::KEPT`].
pub const FOLDER: &str = "incoming";

const ORDER: &str = "order.toml";
const BUNDLE: &str = "bundle";
const CONFIG: &str = "config";

/// Longest order in bytes.
const LONGEST: u64 = 4096;

/// Most characters of who ordered, and of the order's mark.
const NAME: usize = 48;

/// What can be ordered.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Take the bundle.
    Apply,
    /// Keep the version that is on trial, whatever was not shown yet.
    Confirm,
    /// Go back to the version in the other slot.
    Rollback,
    /// Take the configuration.
    Configure,
    /// Take an earlier version of the configuration.
    Restore,
}

/// An order.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// A mark by which the one who ordered finds the answer.
    pub id: String,
    /// What.
    pub what: What,
    /// Although a program runs on the robot, or may.
    #[serde(default)]
    pub now: bool,
    /// Which version of the configuration comes back.
    #[serde(default)]
    pub version: u32,
    /// Who ordered it, as the process says that left it.
    pub who: String,
}

/// Takes the order that was left, if one was.
///
/// # Errors
/// What was left is no order; it is gone all the same.
pub fn take(folder: &Path) -> Option<Result<Order, Failure>> {
    let path = folder.join(ORDER);
    fs::symlink_metadata(&path).ok()?;
    let order = read(&path);
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    Some(order)
}

fn read(path: &Path) -> Result<Order, Failure> {
    let mut text = String::new();
    plain(path)?.take(LONGEST).read_to_string(&mut text).at(ORDER)?;
    let mut order: Order = toml::from_str(&text).at(ORDER)?;
    for text in [&mut order.id, &mut order.who] {
        *text = text.chars().filter(|it| !it.is_control()).take(NAME).collect();
    }
    Ok(order)
}

/// Opens the bundle that was left.
///
/// # Errors
/// None was, or it is no plain file.
pub fn bundle(folder: &Path) -> Result<File, Failure> {
    plain(&folder.join(BUNDLE))
}

/// Removes the bundle: it is as long as a slot's system.
pub fn remove_bundle(folder: &Path) {
    let _ = fs::remove_file(folder.join(BUNDLE));
}

/// Reads the configuration that was left, and takes it away.
///
/// # Errors
/// None was, it is no plain file, or too long.
pub fn config(folder: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let path = folder.join(CONFIG);
    let read = plain(&path)?.take(LARGEST.saturating_add(1)).read_to_end(&mut text).at(CONFIG);
    let _ = fs::remove_file(&path);
    if u64::try_from(read?).unwrap_or(u64::MAX) > LARGEST {
        return Err(Failure(format!("the configuration is longer than {LARGEST} bytes")));
    }
    Ok(text)
}

/// Opens a plain file that has one name.
fn plain(path: &Path) -> Result<File, Failure> {
    let what = path.file_name().unwrap_or_default().display().to_string();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path).at(&what)?;
    let meta = file.metadata().at(&what)?;
    if meta.is_file() && meta.nlink() == 1 { Ok(file) } else { Err(Failure(format!("{what} is no plain file"))) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("vbimg-order-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_configuration_is_read_once_and_no_more_of_it_than_is_taken() {
        let folder = std::env::temp_dir().join(format!("vbimg-order-config-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        assert!(config(&folder).is_err());
        fs::write(folder.join(CONFIG), "mode").unwrap();
        assert_eq!(config(&folder).unwrap(), b"mode");
        assert!(config(&folder).is_err(), "it is gone");
        File::create(folder.join(CONFIG)).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(config(&folder).unwrap_err().0.contains("is longer than"));
        symlink("/etc/passwd", folder.join(CONFIG)).unwrap();
        assert!(config(&folder).is_err(), "no link is followed");
        fs::write(folder.join(ORDER), "id = \"1\"\nwhat = \"restore\"\nversion = 3\nwho = \"eva\"\n").unwrap();
        let order = take(&folder).unwrap().unwrap();
        assert_eq!((order.what, order.version), (What::Restore, 3));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_order_is_taken_once() {
        let folder = folder("once");
        assert!(take(&folder).is_none());
        fs::write(folder.join(ORDER), "id = \"7\"\nwhat = \"apply\"\nwho = \"eva\\u001b[2J (engineer)\"\n").unwrap();
        let order = take(&folder).unwrap().unwrap();
        let wanted =
            Order { id: "7".into(), what: What::Apply, now: false, version: 0, who: "eva[2J (engineer)".into() };
        assert_eq!(order, wanted);
        assert!(take(&folder).is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_order_is_told_of_and_goes() {
        let folder = folder("wrong");
        let path = folder.join(ORDER);
        let secret = folder.join("secret");
        fs::write(&secret, "id = \"1\"\nwhat = \"confirm\"\nwho = \"x\"\n").unwrap();
        let refused = |make: &dyn Fn()| {
            make();
            let refused = take(&folder).unwrap().unwrap_err();
            assert!(fs::symlink_metadata(&path).is_err(), "{refused}");
        };
        refused(&|| symlink(&secret, &path).unwrap());
        refused(&|| fs::hard_link(&secret, &path).unwrap());
        refused(&|| fs::create_dir(&path).unwrap());
        refused(&|| fs::write(&path, "id = \"1\"\nwhat = \"format\"\nwho = \"x\"\n").unwrap());
        refused(&|| fs::write(&path, vec![b'#'; 1 << 20]).unwrap());
        // Nobody waits for the other end of a pipe.
        refused(&|| rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap());
        assert!(secret.exists());
        assert!(bundle(&folder).is_err());
        symlink(&secret, folder.join(BUNDLE)).unwrap();
        assert!(bundle(&folder).is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}

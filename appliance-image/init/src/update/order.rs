//! The folder in which orders and bundles are left, by those who may not do what they ask for.
//!
//! It belongs to the account of the management process, so nothing in it is trusted: no link is followed, nothing but
//! plain files is read, and at most so many bytes of them.
//!
//! | file | what |
//! |---|---|
//! | `bundle` | the bundle, written whole before the order |
//! | `order.toml` | the order, renamed into place; taken away when it is read |

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use serde::Deserialize;

use crate::{At, Failure};

/// Name of the folder below [`super::KEPT`].
pub const FOLDER: &str = "incoming";

const ORDER: &str = "order.toml";
const BUNDLE: &str = "bundle";

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
    fn an_order_is_taken_once() {
        let folder = folder("once");
        assert!(take(&folder).is_none());
        fs::write(folder.join(ORDER), "id = \"7\"\nwhat = \"apply\"\nwho = \"eva\\u001b[2J (engineer)\"\n").unwrap();
        let order = take(&folder).unwrap().unwrap();
        let wanted = Order { id: "7".into(), what: What::Apply, now: false, who: "eva[2J (engineer)".into() };
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

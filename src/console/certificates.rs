//! Certificates for the tests of this room, made anew for each run.

use std::fs;
use std::path::{Path, PathBuf};

use super::keys::{self, Authority};

/// An authority with a box's and a user's certificate in a folder.
pub(super) struct Certificates {
    pub(super) directory: PathBuf,
    pub(super) box_print: String,
    pub(super) user_print: String,
}

impl Certificates {
    pub(super) fn make(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        keys::write(directory, "ca", &Authority::make().unwrap().issued(), false).unwrap();
        let authority = Authority::load(directory).unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let of_box = authority.box_certificate(&names).unwrap();
        let user = authority.user_certificate("eva").unwrap();
        keys::write(directory, "box", &of_box, false).unwrap();
        keys::write(directory, "user", &user, false).unwrap();
        Self { directory: directory.to_owned(), box_print: of_box.fingerprint, user_print: user.fingerprint }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

//! Updates of the appliance, as far as they are done without rights: a bundle and an order are left in a folder, and what
//! became of it is read from a file.
//!
//! The updater at the other end is a child of the appliance's PID 1 and no part of this program; it trusts nothing in the
//! folder but signatures. `appliance-image/init/src/update` has its side.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::control::{UpdateOrder, UpdateStatus};

/// Where the appliance's updater looks for orders, and where it tells of itself.
const INCOMING: &str = "/data/update/incoming";
const STATUS: &str = "/run/update/status.toml";

/// Largest bundle in bytes: a slot's system is smaller.
pub const LARGEST: u64 = 60 << 20;

/// Largest state in bytes: some dozens of steps.
const LARGEST_STATUS: u64 = 1 << 20;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Another way of installing it.
    #[error("this machine does not run the appliance image: update it as it was installed")]
    NoAppliance,
    /// A file of the folder.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it can't be used.
        source: io::Error,
    },
    /// The updater says something else than this version understands.
    #[error("{}: {what}", .path.display())]
    Status {
        /// Its file.
        path: PathBuf,
        /// What was not understood.
        what: String,
    },
    /// Bytes that don't continue the bundle.
    #[error("the bundle has {have} bytes, and {from} is not where it goes on; hand it over again")]
    Gap {
        /// How many were handed over.
        have: u64,
        /// Where the part begins.
        from: u64,
    },
    /// A bundle that no slot takes.
    #[error("the bundle is longer than {LARGEST} bytes, the most that a slot takes")]
    TooLong,
}

/// The folder, and the file of the answer.
#[derive(Clone, Debug)]
pub struct Spool {
    incoming: PathBuf,
    status: PathBuf,
}

impl Default for Spool {
    fn default() -> Self {
        Self::at(INCOMING.into(), STATUS.into())
    }
}

#[derive(Serialize)]
struct Order<'o> {
    id: &'o str,
    what: UpdateOrder,
    now: bool,
    who: &'o str,
}

impl Spool {
    /// A spool elsewhere.
    #[must_use]
    pub const fn at(incoming: PathBuf, status: PathBuf) -> Self {
        Self { incoming, status }
    }

    /// What the updater says.
    ///
    /// # Errors
    /// [`UpdateError::NoAppliance`] where there is none; its file is not understood.
    pub fn status(&self) -> Result<UpdateStatus, UpdateError> {
        let file = File::open(&self.status).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => UpdateError::NoAppliance,
            _ => self.failed(&self.status, error),
        })?;
        let mut text = String::new();
        file.take(LARGEST_STATUS).read_to_string(&mut text).map_err(|error| self.failed(&self.status, error))?;
        let told = |error: toml::de::Error| UpdateError::Status {
            path: self.status.clone(),
            what: error.message().to_owned(),
        };
        toml::from_str(&text).map_err(told)
    }

    /// Begins to hand a bundle over.
    ///
    /// # Errors
    /// There is no updater, or the folder can't be written.
    pub fn begin(&self) -> Result<Upload, UpdateError> {
        self.status()?;
        let path = self.incoming.join("bundle.part");
        let file = fresh(&path).map_err(|source| UpdateError::File { path: path.clone(), source })?;
        Ok(Upload { path, file, bytes: 0 })
    }

    /// Leaves an order. Gives back the mark by which the answer to it is known.
    ///
    /// # Errors
    /// There is no updater, or the folder can't be written.
    pub fn order(&self, what: UpdateOrder, now: bool, who: &str) -> Result<String, UpdateError> {
        self.status()?;
        let path = self.incoming.join("order.toml");
        let failed = |error: io::Error| self.failed(&path, error);
        let mut mark = [0_u8; 8];
        rustix::rand::getrandom(&mut mark, rustix::rand::GetRandomFlags::empty()).map_err(|it| failed(it.into()))?;
        let id: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = toml::to_string(&Order { id: &id, what, now, who }).map_err(|it| failed(io::Error::other(it)))?;
        let part = self.incoming.join("order.part");
        let written = fresh(&part).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&part, &path)).map_err(failed)?;
        Ok(id)
    }

    fn failed(&self, path: &Path, source: io::Error) -> UpdateError {
        UpdateError::File { path: path.to_owned(), source }
    }
}

/// A bundle that is being handed over.
#[derive(Debug)]
pub struct Upload {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Upload {
    /// Appends a part that begins at byte `from` of the bundle.
    ///
    /// # Errors
    /// It does not go on where the part before ended, is too long, or can't be written.
    pub fn write(&mut self, from: u64, part: &[u8]) -> Result<(), UpdateError> {
        if from != self.bytes {
            return Err(UpdateError::Gap { have: self.bytes, from });
        }
        let bytes = self.bytes.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
        if bytes > LARGEST {
            return Err(UpdateError::TooLong);
        }
        self.file.write_all(part).map_err(|source| UpdateError::File { path: self.path.clone(), source })?;
        self.bytes = bytes;
        Ok(())
    }

    /// All of it was handed over: an order may follow.
    ///
    /// # Errors
    /// The disk does not take it.
    pub fn finish(self) -> Result<(), UpdateError> {
        let whole = self.path.with_file_name("bundle");
        let done = self.file.sync_all().and_then(|()| fs::rename(&self.path, &whole));
        done.map_err(|source| UpdateError::File { path: self.path, source })
    }
}

/// A new file in the place of what is there. The folder may be another account's: nothing in it is followed.
fn fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> (Self, Spool) {
            let folder = std::env::temp_dir().join(format!("vambrace-update-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            let spool = Spool::at(folder.clone(), folder.join("status.toml"));
            (Self(folder), spool)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// As the appliance's updater writes it.
    const TOLD: &str = "version = \"0.1.0\"\nslot = \"esp-a\"\nfirst = \"esp-a\"\nother = \"0.2.0\"\nepoch = 1\n\
        state = \"idle\"\nheld_seconds = 0\nhold_seconds = 120\nleft_seconds = 0\nunmet = []\norder = \"\"\n\
        result = \"pending\"\noutcome = \"\"\n[[steps]]\nat = 1\nstep = \"committed\"\nfrom = \"0.0.9\"\nto = \"0.1.0\"\n\
        who = \"eva\"\nwhy = \"\"\ntold = true\n";

    #[test]
    fn without_an_updater_nothing_is_left() {
        let (place, spool) = Place::new("none");
        for error in [
            spool.status().unwrap_err(),
            spool.begin().unwrap_err(),
            spool.order(UpdateOrder::Confirm, false, "eva").unwrap_err(),
        ] {
            assert!(matches!(error, UpdateError::NoAppliance), "{error}");
        }
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 0);
    }

    #[test]
    fn a_bundle_is_whole_before_an_order_follows() {
        let (place, spool) = Place::new("whole");
        fs::write(place.0.join("status.toml"), TOLD).unwrap();
        let status = spool.status().unwrap();
        assert_eq!((status.version.as_str(), status.steps[0].step.as_str()), ("0.1.0", "committed"));
        let mut upload = spool.begin().unwrap();
        upload.write(0, b"one").unwrap();
        assert!(matches!(upload.write(0, b"two").unwrap_err(), UpdateError::Gap { have: 3, from: 0 }));
        upload.write(3, b"two").unwrap();
        assert!(!place.0.join("bundle").exists());
        upload.finish().unwrap();
        assert_eq!(fs::read(place.0.join("bundle")).unwrap(), b"onetwo");
        let id = spool.order(UpdateOrder::Apply, true, "eva \"\n").unwrap();
        let order: toml::Table = fs::read_to_string(place.0.join("order.toml")).unwrap().parse().unwrap();
        assert_eq!(order["id"].as_str(), Some(id.as_str()));
        assert_eq!((order["what"].as_str(), order["now"].as_bool()), (Some("apply"), Some(true)));
        assert_eq!(order["who"].as_str(), Some("eva \"\n"));
    }

    #[test]
    fn no_link_in_the_folder_is_followed_and_no_length_believed() {
        let (place, spool) = Place::new("links");
        fs::write(place.0.join("status.toml"), TOLD).unwrap();
        let secret = place.0.join("secret");
        fs::write(&secret, "x").unwrap();
        for name in ["bundle.part", "order.part", "order.toml"] {
            std::os::unix::fs::symlink(&secret, place.0.join(name)).unwrap();
        }
        let mut upload = spool.begin().unwrap();
        upload.write(0, b"bundle").unwrap();
        spool.order(UpdateOrder::Rollback, false, "eva").unwrap();
        assert_eq!(fs::read(&secret).unwrap(), b"x");
        upload.bytes = LARGEST;
        assert!(matches!(upload.write(LARGEST, b"y").unwrap_err(), UpdateError::TooLong));
        fs::write(place.0.join("status.toml"), "version = 1").unwrap();
        assert!(matches!(spool.status().unwrap_err(), UpdateError::Status { .. }));
    }
}

//! Secret keys of auditors, for commands that read encrypted evidence.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Exit, fail};
use crate::verify::{Identity, Unsealed};

/// Longest file of a key, in bytes.
const ROOM: u64 = 64 << 10;

/// What commands that read evidence take.
#[derive(Debug, clap::Args)]
pub(super) struct Identities {
    /// Secret key of an auditor, for evidence that is encrypted to that (`record.encrypt_to`); may be given several times.
    #[arg(long = "identity", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl Identities {
    /// Whether none was named.
    pub(super) const fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads the keys.
    pub(super) fn load(&self) -> Result<Keyring, Exit> {
        self.files.iter().map(|path| read(path)).collect::<Result<_, _>>().map(Keyring)
    }
}

/// Secret keys of auditors.
#[derive(Debug, Default)]
pub(super) struct Keyring(pub(super) Vec<Identity>);

impl Keyring {
    /// Begins to read a segment, with what is encrypted to one of the keys in the clear.
    pub(super) fn open(&self, path: &Path) -> io::Result<Unsealed<File>> {
        Ok(Unsealed::new(File::open(path)?, &self.0))
    }

    /// Says why `sealed` records were not read, and what to do.
    pub(super) fn why_sealed(&self, path: &Path, sealed: u64) -> String {
        let path = path.display();
        if self.0.is_empty() {
            return format!(
                "{path}: {sealed} records are encrypted; name the auditor's secret key with --identity FILE"
            );
        }
        format!(
            "{path}: {sealed} records are encrypted to others than the key given; `vambrace evidence list` says to whom, \
             and --identity may be given several times"
        )
    }
}

fn read(path: &Path) -> Result<Identity, Exit> {
    let failed = |what: &dyn std::fmt::Display| fail(Exit::Failed, &format!("{}: {what}", path.display()));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(ROOM).read_to_string(&mut text));
    read.map_err(|error| failed(&error))?;
    Identity::parse(&text)
        .map_err(|what| failed(&format!("{what}; name the file NAME.key that `vambrace evidence keygen NAME` made")))
}

//! `evidence decrypt`: encrypted segments as one capture that Wireshark opens.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Place, at, bar, open};
use crate::cli::identity::{Identities, Keyring};
use crate::cli::{Context, Exit, fail, print};
use crate::record::evidence;
use crate::verify::{Store, Unsealed};

/// Arguments of `evidence decrypt`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "What comes out is no evidence any more: its hashes are of what was encrypted. Verify the \
    store or export, and keep that.\n\nExamples:\n  \
    vambrace evidence decrypt cell4.tar --identity anna.key -o cell4.pcapng"
)]
pub(crate) struct DecryptArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    identities: Identities,
    /// The capture to write; it must not exist.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub(super) fn run(context: &Context, args: &DecryptArgs) -> Result<Exit, Exit> {
    let keyring = args.identities.load()?;
    if keyring.0.is_empty() {
        return Err(fail(Exit::Usage, &"name the auditor's secret key with --identity FILE"));
    }
    let (path, store) = open(context, &args.place)?;
    let bar = bar(store.as_ref());
    let written = write(&args.output, store.as_ref(), &keyring, |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    let sealed = written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            fail(Exit::Usage, &at(&args.output, &"is there already; name a file that is not"))
        }
        io::ErrorKind::InvalidData => {
            fail(Exit::Unsound, &at(&path, &format!("{error}; `vambrace evidence verify --identity` says more")))
        }
        _ => fail(Exit::Failed, &at(&args.output, &error)),
    })?;
    if sealed > 0 {
        return Err(fail(Exit::Failed, &keyring.why_sealed(&path, sealed)));
    }
    let line = serde_json::json!({"file": args.output});
    let text = format!(
        "{}: records and frames in the clear; it is no evidence, keep {} for that",
        args.output.display(),
        path.display()
    );
    Ok(print(&if context.json { line.to_string() } else { text }))
}

/// Writes all segments into a file that only its owner reads; how many records were not readable, and then no file.
fn write(output: &Path, store: &dyn Store, keyring: &Keyring, progress: impl Fn(u64)) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(output)?;
    let copy = || -> io::Result<u64> {
        let mut to = BufWriter::new(file);
        for entry in store.entries().iter().filter(|entry| entry.segment().is_some()) {
            io::copy(&mut Unsealed::new(store.open(entry)?, &keyring.0), &mut to)?;
            progress(entry.bytes);
        }
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        evidence::events(File::open(output)?, |_| {})
    };
    let sealed = copy();
    if !matches!(sealed, Ok(0)) {
        // Half of it would be taken for all of it.
        let _ = fs::remove_file(output);
    }
    sealed
}

//! `evidence keygen`: a pair of keys for an auditor.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::at;
use crate::cli::{Context, Exit, fail, print};
use crate::verify::Identity;

/// Arguments of `evidence keygen`.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Run it where the auditor works, not on the box: who holds NAME.key reads all evidence that \
    is encrypted to it, and without it nobody does.\n\nExamples:\n  vambrace evidence keygen anna\n  \
    vambrace evidence keygen works-council --directory /media/usb"
)]
pub(crate) struct KeygenArgs {
    /// Whose key it is: letters, digits and . - _ @.
    name: String,
    /// Folder for NAME.key and NAME.pub.
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

pub(super) fn run(context: &Context, args: &KeygenArgs) -> Result<Exit, Exit> {
    let usage = |what: &str| fail(Exit::Usage, &format!("{:?}: {what}", args.name));
    if args.name.contains('/') || args.name.starts_with(['.', '-']) {
        return Err(usage("the name is that of two files, too: leave out / and a . or - in front"));
    }
    let identity = Identity::generate(&args.name).map_err(usage)?;
    let secret = args.directory.join(format!("{}.key", args.name));
    let public = args.directory.join(format!("{}.pub", args.name));
    if let Some(there) = [&secret, &public].into_iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(fail(
            Exit::Failed,
            &at(there, &"is there already, and a key is never written over; take another name"),
        ));
    }
    write(&secret, 0o600, &identity.secret_line()).map_err(|error| fail(Exit::Failed, &at(&secret, &error)))?;
    if let Err(error) = write(&public, 0o644, &identity.public_line()) {
        // Made a moment ago, by this very run.
        let _ = fs::remove_file(&secret);
        return Err(fail(Exit::Failed, &at(&public, &error)));
    }
    if context.json {
        let line = serde_json::json!({
            "secret": secret, "public": public, "key": identity.public_line(), "id": identity.id(),
        });
        return Ok(print(&line.to_string()));
    }
    Ok(print(&format!(
        "{}: the secret key; keep it off the box, with a copy in another place: without it nobody reads the evidence\n\
         {}: the public key, for the box's configuration:\n[record]\nencrypt_to = [\"{}\"]",
        secret.display(),
        public.display(),
        identity.public_line()
    )))
}

/// Makes a file that was not there.
fn write(path: &Path, mode: u32, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = writeln!(file, "{line}").and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

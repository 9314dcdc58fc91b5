use std::path::PathBuf;

use super::Exit;
use crate::appliance::{self, Failure};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Go on with the mode and the policy that were in force last; the configuration's where there are none.
    ///
    /// For a box that is to come back from a power cut as it was. A mode that was to last for a while is over then.
    #[arg(long)]
    resume: bool,
}

/// Bridges, judges and records until Ctrl-C.
pub(super) fn run(args: &RunArgs) -> Exit {
    match appliance::run_supervisor(&args.config, args.resume) {
        Ok(()) => Exit::Fine,
        Err(failure) => report(&failure),
    }
}

/// Prints why it can't run.
pub(super) fn report(failure: &Failure) -> Exit {
    failure.lines.iter().for_each(|line| super::complain(line));
    if failure.code == Exit::Usage as u8 { Exit::Usage } else { Exit::Failed }
}

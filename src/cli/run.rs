use std::path::PathBuf;

use super::Exit;
use crate::appliance::{self, Failure};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Bridges, judges and records until Ctrl-C.
pub(super) fn run(args: &RunArgs) -> Exit {
    match appliance::run_supervisor(&args.config) {
        Ok(()) => Exit::Fine,
        Err(failure) => report(&failure),
    }
}

/// Prints why it can't run.
pub(super) fn report(failure: &Failure) -> Exit {
    failure.lines.iter().for_each(|line| super::complain(line));
    if failure.code == Exit::Usage as u8 { Exit::Usage } else { Exit::Failed }
}

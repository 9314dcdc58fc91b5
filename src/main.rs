//! The `vambrace` program: parses arguments, calls one command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Lets through to a robot exactly the commands that its work needs.
#[derive(Debug, Parser)]
#[command(name = "vambrace", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The virtual robot cell in network namespaces (root).
    #[cfg(feature = "lab")]
    #[command(subcommand)]
    Lab(vambrace::lab::LabCommand),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        #[cfg(feature = "lab")]
        Command::Lab(command) => match vambrace::lab::run(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("vambrace: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

//! The virtual robot cell: an emulated controller, devices, clients, attacks and an independent receiver, in network
//! namespaces around the appliance.
//!
//! Nothing here is in the packet path, and the receiver and the controller share no code with the dissectors.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test equipment: a wrong number ends one lab process, never the packet path"
)]

mod actor;
mod controller;
mod journal;
mod modbus_client;
mod modbus_device;
mod modbus_server;

pub use actor::Actor;

use clap::Subcommand;

/// What `vambrace lab` does.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Plays one part of the cell in the current network namespace; used by the other commands.
    #[command(hide = true, subcommand)]
    Actor(Actor),
}

/// Why the cell could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call, a file or a program failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}

impl LabError {
    /// Wraps an error with what was being done.
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}

/// Runs one `vambrace lab` command.
///
/// # Errors
/// What stopped it.
pub fn run(command: LabCommand) -> Result<(), LabError> {
    match command {
        LabCommand::Actor(actor) => actor::run(actor),
    }
}

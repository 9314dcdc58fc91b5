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
mod appliance;
mod attacks;
mod cell;
mod controller;
mod demo;
mod external_records;
mod impair;
mod journal;
mod modbus_client;
mod modbus_device;
mod modbus_server;
mod panel;
mod plc;
mod receiver;
mod ros;
mod rtde_client;
mod standing;

pub use actor::Actor;
pub use cell::{BOX_PORTS, Cell, Host, Options, Process, Wiring};
pub use impair::ImpairArgs;

use std::time::Duration;

use clap::Subcommand;

/// What `vambrace lab` does.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Builds a cell, learns its cycle, enforces it, attacks it, and checks what arrived; exit 0 only if all held.
    Demo {
        /// How long the cycle is learned, s; one round of the cell takes 2.4 s.
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(3..=600))]
        learn_seconds: u64,
    },
    /// Builds a cell with a running cycle and leaves it standing.
    Up {
        /// Name of the cell.
        #[arg(default_value = "cell")]
        cell: String,
        /// A cable instead of the appliance.
        #[arg(long)]
        direct: bool,
    },
    /// Runs one attack in a standing cell and prints what the attacker saw.
    Attack {
        /// Which attack; all when absent.
        name: Option<String>,
        /// From which host.
        #[arg(long, value_enum, default_value = "attacker")]
        from: Host,
        /// Name of the cell.
        #[arg(long, default_value = "cell")]
        cell: String,
        /// Names the attacks instead.
        #[arg(long)]
        list: bool,
    },
    /// Takes a standing cell down.
    Down {
        /// Name of the cell.
        #[arg(default_value = "cell")]
        cell: String,
    },
    /// Joins two interfaces by a bad cable until Ctrl-C: loses, doubles, reorders, delays, damages, cuts and joins frames.
    Impair(ImpairArgs),
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
    /// Something else, in words.
    #[error("{0}")]
    Said(String),
    /// No attack has that name.
    #[error("no attack is called {0}; `vambrace lab attack --list` names them all")]
    UnknownAttack(String),
    /// The demonstration ran to its end, and something that it promises did not hold.
    #[error("the demonstration failed: {0}")]
    Failed(String),
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
        LabCommand::Demo { learn_seconds } => demo::run(Duration::from_secs(learn_seconds)),
        LabCommand::Up { cell, direct } => standing::up(&cell, direct),
        LabCommand::Attack { list: true, .. } => {
            standing::list_attacks();
            Ok(())
        }
        LabCommand::Attack { name, from, cell, .. } => standing::attack(&cell, from, name.as_deref()),
        LabCommand::Down { cell } => standing::down(&cell),
        LabCommand::Impair(args) => impair::run(&args),
        LabCommand::Actor(actor) => actor::run(actor),
    }
}

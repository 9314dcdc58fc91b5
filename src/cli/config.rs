use std::path::PathBuf;

use super::{Exit, fail, mistakes};
use crate::config::{Config, SAMPLE};

/// What `config` does.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ConfigCommand {
    /// Reads a configuration and tells everything that is wrong with it at once.
    Check {
        /// Configuration file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Prints the JSON Schema (draft-07) of the configuration, for editors.
    Schema,
    /// Prints a commented configuration with every default and its reason.
    Defaults,
}

/// Runs one of them.
pub(super) fn run(command: &ConfigCommand) -> Exit {
    match command {
        ConfigCommand::Check { file } => match Config::load(file) {
            Ok(_) => {
                println!("{}: fine", file.display());
                Exit::Fine
            }
            Err(problems) => mistakes(&problems),
        },
        ConfigCommand::Schema => match serde_json::to_string_pretty(&Config::schema()) {
            Ok(schema) => super::print(&schema),
            Err(error) => fail(Exit::Failed, &error),
        },
        ConfigCommand::Defaults => super::print(SAMPLE),
    }
}

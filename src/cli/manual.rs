//! Completions and manual pages, made from the same description of the command line as its help.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;

use super::{Cli, Exit, fail};

/// Prints completions for a shell.
pub(super) fn completions(shell: clap_complete::Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vambrace", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}

/// Prints the page of the program, or writes the pages of all commands into a folder.
pub(super) fn man(directory: Option<&Path>) -> Exit {
    let written = match directory {
        Some(directory) => std::fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
            .map_err(|error| format!("{}: {error}", directory.display())),
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.and_then(|()| std::io::stdout().write_all(&page)).map_err(|error| error.to_string())
        }
    };
    match written {
        Ok(()) => Exit::Fine,
        Err(error) => fail(Exit::Failed, &error),
    }
}

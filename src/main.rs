//! The `vambrace` program: parses arguments, calls one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vambrace::cli::main()
}

//! The `vambrace` program: parses arguments, calls one command.
fn main() {}

//! The box beside its peers: a wire, the kernel bridge, nftables, AF_PACKET without judgement, Suricata.
//!
//! `cargo bench --bench peers`, as root; `-- --help` tells what can be chosen. `benches/README.md` says what each load is.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a measurement ends at the first surprise")]

mod harness;

use clap::Parser;

fn main() -> std::process::ExitCode {
    // `cargo test --all-targets` runs this too, and means that it starts, not that it measures.
    if !std::env::args().any(|arg| arg == "--bench") {
        return std::process::ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: peers makes network namespaces and needs root");
        return std::process::ExitCode::from(77);
    }
    match harness::run(&harness::Options::parse()) {
        Ok(_) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

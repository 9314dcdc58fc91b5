//! What several test files need: the transparency corpus, namespaces, raw sockets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test file uses a part, and a test may stop at the first surprise"
)]

pub mod adversary;
#[cfg(feature = "lab")]
pub mod clients;
pub mod corpus;
pub mod guarded;
pub mod netns;
pub mod raw;
pub mod robot;
pub mod wire;

use std::path::Path;

/// Says visibly that a test was skipped, in a form that a test command can count.
pub fn skipped(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// Whether namespaces can be made here; says visibly that `test` is skipped where not.
///
/// With `VAMBRACE_NO_SKIP` set (as in CI) a missing right or tool is a failure.
pub fn can_make_namespaces(test: &str) -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("needs root (network namespaces)")
    } else if !["ip", "ethtool"].iter().all(|tool| is_installed(tool)) {
        Some("needs the commands ip and ethtool")
    } else {
        None
    };
    if let Some(why) = missing {
        assert!(std::env::var_os("VAMBRACE_NO_SKIP").is_none(), "{test}: {why}, and nothing may be skipped here");
        skipped(test, why);
    }
    missing.is_none()
}

/// Whether a command is on the search path.
pub fn is_installed(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
        || Path::new("/usr/sbin").join(tool).is_file()
}

//! What several test files need: the transparency corpus, namespaces, raw sockets, a cell in virtual time.
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
pub mod bench;
#[cfg(feature = "lab")]
pub mod clients;
pub mod console;
pub mod corpus;
pub mod guarded;
pub mod modbus_load;
pub mod netns;
pub mod probes;
pub mod raw;
pub mod reader;
pub mod replayed;
pub mod restarted;
pub mod robot;
pub mod talks;
pub mod thread;
pub mod time_travel;
pub mod tshark;
pub mod virtual_net;
pub mod wire;

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says visibly that a test was skipped; also in the file that `VAMBRACE_SKIPPED` names, for a test command to count.
pub fn skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    // Not `eprintln`: of a test that passes, the test runner shows nothing that went through the macros.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("VAMBRACE_SKIPPED") {
        let mut list = std::fs::File::options().append(true).create(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}

/// The program under test: what `VAMBRACE_BINARY` names, such as a release build; else the one built with the tests.
pub fn vambrace() -> PathBuf {
    std::env::var_os("VAMBRACE_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_vambrace").into(), PathBuf::from)
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

/// Whether a test has the tool that it needs; says visibly that `test` is skipped where not, and fails where nothing may
/// be skipped.
pub fn has_tool(test: &str, tool: &str) -> bool {
    let installed = is_installed(tool);
    if !installed {
        assert!(
            std::env::var_os("VAMBRACE_NO_SKIP").is_none(),
            "{test}: needs {tool}, and nothing may be skipped here"
        );
        skipped(test, &format!("needs the command {tool}"));
    }
    installed
}

/// Whether a command is on the search path.
pub fn is_installed(tool: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()))
        || Path::new("/usr/sbin").join(tool).is_file()
}

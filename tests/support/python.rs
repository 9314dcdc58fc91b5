//! Python with the pinned packages of `tests/clients/requirements.txt`.
#![allow(dead_code, unreachable_pub, clippy::panic, reason = "each test file uses a part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The interpreter; made once, kept under `target/`.
fn python() -> Result<PathBuf, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/make_venv.sh");
        match Command::new(script).arg(&venv).output() {
            Err(error) => Err(format!("make_venv.sh: {error}")),
            Ok(output) if !output.status.success() => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Ok(_) => Ok(venv.join("bin/python")),
        }
    };
    PYTHON.get_or_init(make).clone()
}

/// The interpreter, where it has `module`; else says visibly that `test` is skipped. Fails instead where nothing may be,
/// but not for aics-tlog: that needs Python 3.12, and Debian 12 has 3.11.
pub fn with(test: &str, module: &str) -> Option<PathBuf> {
    let why = match python() {
        Err(why) => why,
        Ok(python) => {
            let import = Command::new(&python).args(["-c", &format!("import {module}")]).output();
            if import.is_ok_and(|output| output.status.success()) {
                return Some(python);
            }
            format!("needs the Python module {module}")
        }
    };
    let may_be_absent = module == "aics_tlog" || std::env::var_os("VAMBRACE_NO_SKIP").is_none();
    assert!(may_be_absent, "{test}: {why}, and nothing may be skipped here");
    let line = format!("SKIPPED {test}: {why}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(list) = std::env::var_os("VAMBRACE_SKIPPED")
        && let Ok(mut list) = std::fs::File::options().append(true).create(true).open(list)
    {
        let _ = list.write_all(line.as_bytes());
    }
    None
}

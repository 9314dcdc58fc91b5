//! Real client programs: their virtual environment, their scripts, their transcripts.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use vambrace::lab::{Cell, Host};

/// Every client script under `tests/clients`.
pub const CLIENTS: &[&str] = &[
    "pymodbus_client",
    "pymodbustcp_client",
    "umodbus_client",
    "mbpoll_client",
    "universal_robots_dashboard",
    "ur_rtde_dashboard",
    "ur_rtde_receive",
    "ur_rtde_io",
    "ur_rtde_script",
    "ur_rtde_control",
];

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// Python with the pinned clients; made once, kept under `target/`.
///
/// # Errors
/// What `make_venv.sh` said.
pub fn python() -> Result<PathBuf, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let make = || {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-venv");
        let output = Command::new(directory().join("make_venv.sh"))
            .arg(&venv)
            .output()
            .map_err(|error| format!("make_venv.sh: {error}"))?;
        if output.status.success() {
            Ok(venv.join("bin/python"))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    };
    PYTHON.get_or_init(make).clone()
}

/// Whether real clients can be run; says visibly that `test` is skipped where not, and fails where nothing may be skipped.
pub fn can_run(test: &str) -> bool {
    if !super::can_make_namespaces(test) {
        return false;
    }
    let missing = match python() {
        Err(error) => Some(error),
        Ok(_) if !super::is_installed("mbpoll") => Some("needs the command mbpoll".into()),
        Ok(_) => None,
    };
    if let Some(why) = &missing {
        assert!(std::env::var_os("VAMBRACE_NO_SKIP").is_none(), "{test}: {why}, and nothing may be skipped here");
        super::skipped(test, why);
    }
    missing.is_none()
}

/// Runs a script of `tests/clients` on a host, against the robot, and returns what it printed until it ended or `patience`
/// was over.
pub fn script(cell: &Cell, host: Host, name: &str, arguments: &[&str], patience: Duration) -> String {
    let script = directory().join(format!("{name}.py")).display().to_string();
    let robot = Host::Robot.address().to_string();
    let all = [&["-u", &script, &robot], arguments].concat();
    let mut process = cell.spawn_program(host, name, &python().unwrap(), &all).unwrap();
    if process.finish(patience).is_err() {
        process.end();
    }
    std::fs::read_to_string(&process.output).unwrap()
}

/// What a client must print; written down once from a run over a cable and read by a person.
pub fn expected(client: &str) -> String {
    let path = directory().join("expected").join(format!("{client}.txt"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a client on the PLC and returns what it printed.
pub fn transcript(cell: &Cell, client: &str) -> String {
    let python = python().unwrap();
    let script = directory().join(format!("{client}.py")).display().to_string();
    let robot = Host::Robot.address().to_string();
    let mut process = cell.spawn_program(Host::Plc, client, &python, &["-u", &script, &robot]).unwrap();
    let ended = process.finish(Duration::from_secs(60));
    let mut text = std::fs::read_to_string(&process.output).unwrap();
    if let Err(error) = ended {
        process.end();
        text += &format!("did not end: {error}\n");
    } else if text != expected(client) {
        text += &std::fs::read_to_string(&process.errors).unwrap();
    }
    text
}

//! Whether a version is sound: what the box itself can see, and what its guard says of the wire.
//!
//! The guard's part is asked of the guard's own program, with the guard's rights: nothing that it answers is read here but
//! its exit code, and its sentences for people.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::watch::WATCHDOG;
use crate::rights::Role;
use crate::{Failure, mounts};

/// This program, and the guard.
const INIT: &str = "/init";
const GUARD: &str = "/usr/bin/vambrace";

/// How long the guard's program may take; it tries known attacks, which an emulated machine takes seconds for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The guard's exit code where its packet process does not answer, and how long that may last at a start.
const UNREACHABLE: i32 = 5;
const GUARD_STARTS: Duration = Duration::from_secs(60);

/// Most bytes of what it says.
const SAID: u64 = 8192;

/// The guard's program, with the guard's rights.
#[must_use]
pub fn guards() -> Command {
    let mut command = Command::new(INIT);
    command.args(["launch", Role::Guard.name(), GUARD]);
    command
}

/// What does not hold; nothing where all does. With `self_test` the dissectors read known attacks as well, which takes
/// some time of a core.
#[must_use]
pub fn unmet(run: &Path, config: &Path, latency_us: u64, self_test: bool) -> Vec<String> {
    let mut unmet = Vec::new();
    if !run.join(WATCHDOG).exists() {
        unmet.push("no watchdog is fed".to_owned());
    }
    if let Err(failure) = data_is_written() {
        unmet.push(failure.0);
    }
    let mut command = guards();
    command.args(["update", "health", "--latency-us", &latency_us.to_string(), "--config"]).arg(config);
    command.args(self_test.then_some("--self-test"));
    if let Err(failure) = self::run(command, PATIENCE) {
        unmet.extend(failure.0.lines().map(str::to_owned));
    }
    unmet
}

/// Whether the guard knows that the robot runs no program.
///
/// # Errors
/// It does, or the guard does not know.
pub fn robot_is_idle() -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        let mut command = guards();
        command.args(["update", "idle"]);
        match ended(command, PATIENCE)? {
            (Some(0), _) => return Ok(()),
            // An order may have waited for this start, and the guard still starts.
            (Some(UNREACHABLE), _) if begun.elapsed() < GUARD_STARTS => std::thread::sleep(Duration::from_secs(1)),
            (_, said) => return Err(Failure(said)),
        }
    }
}

/// A data partition is there, and takes what is written.
fn data_is_written() -> Result<(), Failure> {
    let mounts_now = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts_now.lines().any(|line| {
        let words: Vec<_> = line.split(' ').collect();
        matches!(words.as_slice(), [_, place, "ext4", flags, ..]
            if *place == mounts::DATA && flags.split(',').any(|flag| flag == "rw"))
    });
    if !mounted {
        return Err(Failure("the data partition is not mounted, or read-only".to_owned()));
    }
    let probe = Path::new(super::KEPT).join("probe");
    let written = File::create(&probe).and_then(|mut file| {
        file.write_all(b"probe\n")?;
        file.sync_all()
    });
    let _ = fs::remove_file(&probe);
    written.map_err(|error| Failure(format!("the data partition takes nothing: {error}")))
}

/// Runs a program to its end.
///
/// # Errors
/// What it said where it failed, or that it took too long.
pub fn run(command: Command, patience: Duration) -> Result<(), Failure> {
    match ended(command, patience)? {
        (Some(0), _) => Ok(()),
        (_, said) => Err(Failure(said)),
    }
}

/// Runs a program to its end: its exit code, where it ended by itself, and what it said.
fn ended(mut command: Command, patience: Duration) -> Result<(Option<i32>, String), Failure> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| Failure(format!("the guard's program does not start: {error}")))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Failure(format!("the guard's program took more than {} s", patience.as_secs())));
            }
        }
    };
    // What it says fits into the pipe, or it would not have ended.
    let mut said = Vec::new();
    if let Some(from) = child.stderr.take() {
        let _ = from.take(SAID).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok((status.code(), if said.is_empty() { format!("the guard's program ended with {status}") } else { said }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    #[test]
    fn a_program_is_believed_by_its_exit_code() {
        let shell = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            command
        };
        run(shell("echo fine"), PATIENCE).unwrap();
        assert_eq!(run(shell("echo one >&2; echo two >&2; exit 10"), PATIENCE).unwrap_err().0, "one\ntwo");
        assert!(run(shell("exit 3"), PATIENCE).unwrap_err().0.contains("exit status: 3"));
        let begun = Instant::now();
        assert!(run(shell("exec sleep 60"), Duration::from_millis(100)).unwrap_err().0.contains("took more than"));
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}

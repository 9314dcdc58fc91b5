//! A child that is kept running.

use std::ffi::{OsStr, OsString};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use crate::log::Log;
use crate::rights::Role;

/// A child that lived this long was sound: the next one starts at once.
const SOUND: Duration = Duration::from_secs(10);

/// First pause before a child that ended early is started again; each further one is twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause: a port may be plugged in at any time.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Exit code of a program whose configuration is wrong: a person mends that, not another start.
const WRONG: i32 = 2;

/// A program and its life.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    launcher: OsString,
    launch: bool,
    command: Vec<OsString>,
    /// Whether it starts again after it said that its configuration is wrong.
    insists: bool,
    /// Whether its standard output is for the screen alone, and not for the log.
    shows: bool,
    given_up: bool,
    running: Option<(Pid, Instant)>,
    pause: Pause,
    not_before: Instant,
}

/// How long to wait before the next start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pause(Duration);

impl Pause {
    fn after(self, lived: Duration) -> Self {
        if lived >= SOUND {
            return Self::default();
        }
        Self(self.0.saturating_mul(2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
    }
}

impl Service {
    /// A service that is not started yet. `launcher` is this program's file. The guard insists on running whatever it
    /// says: the robot's network hangs on it. The management process writes to standard output what the log must not hold: the
    /// secret of a box that nobody has claimed.
    #[must_use]
    pub fn new(name: &'static str, launcher: &OsStr, role: Role, command: &[&str]) -> Self {
        Self {
            name,
            launcher: launcher.to_owned(),
            launch: true,
            command: std::iter::once(&role.name()).chain(command).map(OsString::from).collect(),
            insists: role == Role::Guard,
            shows: role == Role::Console,
            given_up: false,
            running: None,
            pause: Pause::default(),
            not_before: Instant::now(),
        }
    }

    /// A service that keeps root's rights: a part of this program that PID 1 shall outlive.
    #[must_use]
    pub fn as_root(name: &'static str, program: &OsStr, arguments: &[&str]) -> Self {
        let command = arguments.iter().map(OsString::from).collect();
        Self { launch: false, command, ..Self::new(name, program, Role::Guard, &[]) }
    }

    /// Starts it if it does not run and its pause is over.
    pub fn keep(&mut self, now: Instant, log: &Log) {
        if self.running.is_some() || self.given_up || now < self.not_before {
            return;
        }
        let spawned = Command::new(&self.launcher)
            .args(self.launch.then_some("launch"))
            .args(&self.command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        match spawned {
            Ok(mut child) => {
                let followed = [
                    child
                        .stdout
                        .take()
                        .map(|it| if self.shows { log.show_all(self.name, it) } else { log.follow(self.name, it) }),
                    child.stderr.take().map(|it| log.follow(self.name, it)),
                ];
                for failed in followed.into_iter().flatten().filter_map(Result::err) {
                    log.say("init", &format!("what {} says is lost: {failed}", self.name));
                }
                self.running = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).map(|pid| (pid, now));
            }
            Err(error) => {
                log.say("init", &format!("{} can't be started: {error}", self.name));
                self.wait(now, Duration::ZERO);
            }
        }
    }

    /// Takes note that a process ended. Says whether it was this one.
    pub fn ended(&mut self, pid: Pid, status: WaitStatus, now: Instant, log: &Log) -> bool {
        let Some((_, started)) = self.running.take_if(|(own, _)| *own == pid) else { return false };
        let lived = now.saturating_duration_since(started);
        self.wait(now, lived);
        let how = match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("with code {code}"),
            (_, Some(signal)) => format!("by signal {signal}"),
            _ => "for no reason that is known".to_owned(),
        };
        log.say("init", &format!("{} ended {how} after {} s", self.name, lived.as_secs()));
        if status.exit_status() == Some(WRONG) && !self.insists {
            self.given_up = true;
            log.say("init", &format!("{} is not started again until the next boot", self.name));
        }
        true
    }

    fn wait(&mut self, now: Instant, lived: Duration) {
        self.pause = self.pause.after(lived);
        self.not_before = now.checked_add(self.pause.0).unwrap_or(now);
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some((pid, _)) = self.running {
            let _ = kill_process(pid, signal);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_the_management_process_shows_is_in_no_log() {
        let folder = std::env::temp_dir().join(format!("vbimg-service-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("program");
        std::fs::write(&program, "#!/bin/sh\necho a secret\necho an end >&2\nsleep 1\necho the end >&2\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let kept = |role: Role| {
            let log = Log::default();
            Service::new("program", program.as_os_str(), role, &[]).keep(Instant::now(), &log);
            let begun = Instant::now();
            loop {
                log.save(&folder.join("log")).unwrap();
                let text = std::fs::read_to_string(folder.join("log")).unwrap();
                if text.contains("the end") {
                    return text;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "{text}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        assert!(!kept(Role::Console).contains("a secret"));
        assert!(kept(Role::Guard).contains("a secret"), "what others write is their log");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn pauses_grow_for_what_keeps_ending_and_only_for_that() {
        let mut pause = Pause::default();
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                pause = pause.after(Duration::from_millis(10));
                pause.0.as_millis()
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(pause.after(SOUND), Pause::default());
    }
}

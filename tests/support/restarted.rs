//! `vambrace run` in a namespace, whose packet process a test ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::netns::Netns;
use super::talks::{PLC_ADDRESS, ROBOT_ADDRESS};
use super::wire::{PLANT, ROBOT};

/// The running program; ends with the value.
#[derive(Debug)]
pub struct Restarted {
    directory: PathBuf,
    process: Child,
}

impl Restarted {
    /// Starts it, enforcing a policy, and waits until it answers; `more` is added to its configuration.
    pub fn start(space: &Netns, name: &str, policy: &str, more: &str) -> Self {
        Self::start_in(Path::new(env!("CARGO_TARGET_TMPDIR")), space, name, policy, more, &[])
    }

    /// The same with its files in memory: every order is written to the disk before it is answered, and a busy disk takes
    /// seconds for that.
    pub fn start_in_memory(space: &Netns, name: &str, policy: &str, more: &str) -> Self {
        Self::start_in(Path::new("/dev/shm"), space, name, policy, more, &[])
    }

    /// The same with words in its environment.
    pub fn start_under(space: &Netns, name: &str, policy: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(Path::new("/dev/shm"), space, name, policy, "", environment)
    }

    /// The same by a program that puts limits on and becomes it.
    pub fn start_by(space: &Netns, name: &str, policy: &str, words: &[&str]) -> Self {
        let directory = Self::prepare(Path::new("/dev/shm"), name, policy, "");
        let (program, arguments) = words.split_first().unwrap();
        let mut command = space.command(program);
        command.args(arguments).arg(super::vambrace());
        let process = Self::run(command, &directory);
        let restarted = Self { directory, process };
        restarted.wait();
        restarted
    }

    fn start_in(
        root: &Path,
        space: &Netns,
        name: &str,
        policy: &str,
        more: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let directory = Self::prepare(root, name, policy, more);
        let process = Self::spawn(space, &directory, environment);
        let restarted = Self { directory, process };
        restarted.wait();
        restarted
    }

    fn prepare(root: &Path, name: &str, policy: &str, more: &str) -> PathBuf {
        let directory = root.join(format!("vambrace-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let own = directory.display();
        let fast_path = if more.contains("[fast_path]") { "" } else { "[fast_path]\npolling = \"blocking\"\n" };
        let text = format!(
            "mode = \"enforce\"\n[ports]\nplant = \"{PLANT}\"\nrobot = \"{ROBOT}\"\n\
             {fast_path}[control]\nsocket = \"{own}/control.sock\"\n\
             [record]\ndirectory = \"{own}/records\"\n[policy]\nfile = \"{own}/policy.toml\"\n{more}\n\
             [[asset]]\nname = \"robot\"\nip = \"{ROBOT_ADDRESS}\"\nside = \"robot\"\n\
             [[asset]]\nname = \"plc\"\nip = \"{PLC_ADDRESS}\"\nside = \"plant\"\n"
        );
        std::fs::write(directory.join("vambrace.toml"), text).unwrap();
        std::fs::write(directory.join("policy.toml"), policy).unwrap();
        directory
    }

    fn spawn(space: &Netns, directory: &Path, environment: &[(&str, &str)]) -> Child {
        let mut command = space.command(super::vambrace());
        command.envs(environment.iter().copied());
        Self::run(command, directory)
    }

    fn run(mut command: Command, directory: &Path) -> Child {
        command.args(["run", "--config"]).arg(directory.join("vambrace.toml")).stdout(Stdio::null());
        let log = std::fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
        command.stderr(log).spawn().unwrap()
    }

    fn wait(&self) {
        let started = Instant::now();
        while !self.answers() {
            assert!(started.elapsed() < Duration::from_secs(20), "{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn answers(&self) -> bool {
        // Degraded and bypassed are answers too.
        matches!(self.ask(&["status"]).status.code(), Some(0 | 10 | 11))
    }

    /// All that helps to find out why it does not do what a test expects: status, last records, log.
    pub fn state(&self) -> String {
        let mut command = Command::new(super::vambrace());
        let output = command.arg("--socket").arg(self.directory.join("control.sock")).arg("status").output().unwrap();
        let status = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let records = self.records();
        let last: Vec<_> = records.lines().rev().take(40).collect();
        format!("{status}\n{}\n{}", last.join("\n"), self.log())
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Its records, one a line.
    pub fn records(&self) -> String {
        std::fs::read_to_string(self.directory.join("records/eve.json")).unwrap_or_default()
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// Asks it as a user would.
    pub fn ask(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(super::vambrace()).arg("--socket").arg(self.socket()).args(arguments).output().unwrap()
    }

    /// Its state.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.ask(&["--json", "status"]).stdout).unwrap()
    }

    /// All its records, once it ended as asked.
    pub fn records_at_end(mut self) -> String {
        self.end();
        self.records()
    }

    /// Pid of the supervisor.
    pub fn supervisor(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap()
    }

    /// Pid of the packet process, the only child of the supervisor; none between two.
    pub fn packet_process(&self) -> Option<Pid> {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        Pid::from_raw(children.split_whitespace().next()?.parse().unwrap())
    }

    /// Kills the packet process and says when; it is gone then.
    pub fn kill(&self) -> Instant {
        let pid = loop {
            match self.packet_process() {
                Some(pid) if !is_gone(pid) => break pid,
                _ => std::thread::yield_now(),
            }
        };
        let at = Instant::now();
        kill_process(pid, Signal::KILL).unwrap();
        while !is_gone(pid) {
            std::hint::spin_loop();
        }
        at
    }

    /// Ends the supervisor with its arena, and starts another one; `meanwhile` happens between the two.
    pub fn start_anew(&mut self, space: &Netns, meanwhile: impl FnOnce()) {
        self.end();
        meanwhile();
        self.process = Self::spawn(space, &self.directory, &[]);
        self.wait();
    }

    fn end(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        let _ = kill_process(pid, Signal::TERM);
        let started = Instant::now();
        while self.process.try_wait().unwrap().is_none() {
            if started.elapsed() > Duration::from_secs(5) {
                let _ = self.process.kill();
                let _ = self.process.wait();
                panic!("it did not end when asked: {}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Restarted {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Whether a process runs no more, reaped or not.
fn is_gone(pid: Pid) -> bool {
    let Ok(text) = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else { return true };
    text.rsplit(')').next().is_none_or(|rest| matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

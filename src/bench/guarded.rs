//! The box in the middle of a lane: this program's own `run`, enforcing and recording.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{BenchError, Lane, POLICY};

/// A running box; ended when dropped.
#[derive(Debug)]
pub struct Guarded {
    process: Child,
    program: PathBuf,
    socket: PathBuf,
}

impl Guarded {
    /// Starts `program` as the box of a lane and waits until it answers. Its files stand in `directory`, which the caller
    /// removes; its worker has `core` and waits for frames as `fast_path.polling` has it.
    ///
    /// # Errors
    /// What the box said, such as a way of polling that it does not know.
    pub fn start(
        program: &Path,
        lane: &Lane,
        directory: &Path,
        polling: &str,
        core: usize,
    ) -> Result<Self, BenchError> {
        let file = |name: &str| directory.join(name).display().to_string();
        let (socket, records, policy) = (file("control.sock"), file("records"), file("policy.toml"));
        let (plant, robot) = (lane.plant_address(), lane.robot_address());
        // Churn opens thousands of connections a second, which `guard` keeps a client from.
        let config = format!(
            "mode = \"enforce\"\n[ports]\nplant = \"plant0\"\nrobot = \"robot0\"\n\
             [fast_path]\ncores = [{core}]\npolling = \"{polling}\"\n[guard]\nconnections_per_second = 0\n\
             [[asset]]\nname = \"robot\"\nip = \"{robot}\"\nside = \"robot\"\nprofile = \"ur-e-series\"\n\
             [[asset]]\nname = \"plc\"\nip = \"{plant}\"\nside = \"plant\"\n\
             [control]\nsocket = \"{socket}\"\n[record]\ndirectory = \"{records}\"\nsize_budget = \"1 GiB\"\n\
             [policy]\nfile = \"{policy}\"\n"
        );
        let made = |what: &str| BenchError::of::<std::io::Error>(format!("{}/{what}", directory.display()));
        // A store of an earlier round would be read at the start, and be longer each time.
        let _ = fs::remove_dir_all(&records);
        fs::create_dir_all(&records).map_err(made("records"))?;
        fs::write(directory.join("vambrace.toml"), config).map_err(made("vambrace.toml"))?;
        fs::write(directory.join("policy.toml"), POLICY).map_err(made("policy.toml"))?;
        let errors = File::create(directory.join("errors.txt")).map_err(made("errors.txt"))?;
        let process = lane
            .command(program)?
            .args(["run", "--config", &file("vambrace.toml")])
            .env("VAMBRACE_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(BenchError::of("the command ip (package iproute2)"))?;
        let mut guarded = Self { process, program: program.to_owned(), socket: socket.into() };
        let start = Instant::now();
        while guarded.status().is_none() {
            let ended = guarded.process.try_wait().is_ok_and(|status| status.is_some());
            if ended || start.elapsed() > Duration::from_secs(20) {
                let said = fs::read_to_string(directory.join("errors.txt")).unwrap_or_default();
                let line = said.lines().next_back().unwrap_or("no word").to_owned();
                return Err(BenchError::Said(format!("the box did not come up: {line}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(guarded)
    }

    /// What `vambrace status` says, once it says anything.
    #[must_use]
    pub fn status(&self) -> Option<serde_json::Value> {
        let mut command = Command::new(&self.program);
        command.args(["--json", "--socket"]).arg(&self.socket).arg("status").stderr(Stdio::null());
        serde_json::from_slice(&command.output().ok()?.stdout).ok()
    }

    /// Events that were written and that were lost so far.
    #[must_use]
    pub fn records(&self) -> Option<[u64; 2]> {
        let status = self.status()?;
        let records = status.get("records")?;
        Some([records.get("written")?.as_u64()?, records.get("lost")?.as_u64()?])
    }

    /// Most memory that both processes held so far, in bytes; what they share is counted twice.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let most = |id: &str| -> Option<u64> {
            let text = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let all: Option<Vec<u64>> = children.split_whitespace().chain([id.to_string().as_str()]).map(most).collect();
        Some(all?.into_iter().fold(0_u64, u64::saturating_add).saturating_mul(1024))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Asks a process to end, and makes it where it does not within five seconds.
fn end(process: &mut Child) {
    let id = i32::try_from(process.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
    }
    let start = Instant::now();
    while matches!(process.try_wait(), Ok(None)) {
        if start.elapsed() > Duration::from_secs(5) {
            let _ = process.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

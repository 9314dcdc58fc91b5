//! The appliance inside the cell: its configuration, its start, and the commands an operator would type.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::cell::{self, Cell, Host, Process};
use super::{BOX_PORTS, LabError};

/// Files of the running appliance.
#[derive(Clone, Debug)]
pub(crate) struct Appliance {
    program: PathBuf,
    socket: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) records: PathBuf,
}

impl Appliance {
    /// Where the appliance of the cell in `directory` keeps its files.
    pub(crate) fn of(cell: &Cell) -> Self {
        let directory = cell.directory();
        Self {
            program: cell.program().into(),
            socket: directory.join("control.sock"),
            policy: directory.join("policy.toml"),
            records: directory.join("records"),
        }
    }

    /// A configuration for the cell's ports and hosts.
    fn configuration(&self, mode: &str) -> String {
        let mut text = format!(
            "mode = \"{mode}\"\n\n[ports]\nplant = \"{}\"\nrobot = \"{}\"\n\n[fast_path]\npolling = \"blocking\"\n\n",
            BOX_PORTS[0], BOX_PORTS[1]
        );
        for host in Host::ADDRESSED.into_iter().filter(|host| *host != Host::Attacker) {
            let (name, side) = match host {
                Host::Robot => ("cell4-robot", "robot"),
                other => (other.name(), "plant"),
            };
            let address: IpAddr = host.address();
            text += &format!("[[asset]]\nname = \"{name}\"\nip = \"{address}\"\nside = \"{side}\"\n");
            if host == Host::Robot {
                text += "profile = \"ur-e-series\"\n";
            }
            text += "\n";
        }
        text + &format!(
            "[control]\nsocket = \"{}\"\n\n[record]\ndirectory = \"{}\"\n\n[policy]\nfile = \"{}\"\n",
            self.socket.display(),
            self.records.display(),
            self.policy.display()
        )
    }

    /// Starts `vambrace run` in `mode` between the ports and waits until it answers.
    pub(crate) fn start(&self, cell: &Cell, mode: &str) -> Result<Process, LabError> {
        let file = cell.directory().join("vambrace.toml");
        cell::write(&file, &self.configuration(mode))?;
        let file = file.display().to_string();
        let mut process = cell.spawn(Host::Box, "appliance", &["run", "--config", &file])?;
        let end = Instant::now() + Duration::from_secs(10);
        while self.ask(&["status"]).is_err() {
            if !process.is_running() || Instant::now() > end {
                let complaint = process.complaint();
                process.end();
                return Err(LabError::Said(format!("the appliance did not come up: {complaint}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(process)
    }

    /// Runs one operator command and returns what it printed.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String, LabError> {
        let output = Command::new(&self.program)
            .arg("--socket")
            .arg(&self.socket)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(LabError::io("cannot start vambrace"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(LabError::Said(format!("`vambrace {}`: {}", args.join(" "), said.trim())))
    }
}

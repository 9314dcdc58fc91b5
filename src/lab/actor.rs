//! The parts of the cell, each a process of its own: `vambrace lab actor NAME`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::Subcommand;

use super::attacks::{self, Target};
use super::cell::Host;
use super::journal::Journal;
use super::{LabError, controller, modbus_device, panel, plc, receiver, ros};

/// One part of the cell.
#[derive(Debug, Subcommand)]
pub enum Actor {
    /// The emulated robot controller.
    Controller {
        /// Address of all its listeners.
        #[arg(long)]
        listen: IpAddr,
        /// Rate of the realtime stream and highest RTDE rate, Hz.
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rate_hz: u32,
        /// Remote I/O device that the robot's program polls.
        #[arg(long)]
        remote_io: Option<SocketAddr>,
        /// Computer of an External Control node in every program that is loaded; may be given more than once.
        #[arg(long)]
        external_control: Vec<IpAddr>,
        /// Directory for the raw bytes of every connection.
        #[arg(long)]
        raw: Option<PathBuf>,
    },
    /// A remote I/O device with a Modbus server.
    RemoteIo {
        /// Address and port to listen on.
        #[arg(long)]
        listen: SocketAddr,
    },
    /// The PLC's production cycle.
    Plc {
        /// The robot's address.
        #[arg(long)]
        robot: IpAddr,
        /// Time of one cycle, ms.
        #[arg(long, default_value_t = 100)]
        beat_ms: u64,
    },
    /// The operator panel's cycle.
    Panel {
        /// The robot's address.
        #[arg(long)]
        robot: IpAddr,
        /// Time of one command, ms.
        #[arg(long, default_value_t = 200)]
        beat_ms: u64,
    },
    /// The computer that moves the arm over external control.
    Ros {
        /// The robot's address.
        #[arg(long)]
        robot: IpAddr,
        /// Address to be asked at.
        #[arg(long)]
        listen: IpAddr,
    },
    /// The attacks of one host, one JSON report a line.
    Attacks {
        /// Which host this is.
        #[arg(long, value_enum)]
        host: Host,
        /// One attack only.
        #[arg(long)]
        name: Option<String>,
    },
    /// The independent receiver on the robot's port, until standard input ends.
    Receiver {
        /// Interface to capture on.
        #[arg(long)]
        interface: String,
        /// Capture file to write.
        #[arg(long)]
        pcap: PathBuf,
        /// Reports of the attacks, JSON lines; read at the end.
        #[arg(long)]
        reports: PathBuf,
    },
}

/// Plays `actor` until the process is ended.
pub(super) fn run(actor: Actor) -> Result<(), LabError> {
    match actor {
        Actor::Controller { listen, rate_hz, remote_io, external_control, raw } => {
            let journal = Journal::new(raw.as_deref()).map_err(LabError::io("directory for raw bytes"))?;
            let options = controller::Options { listen, rate_hz, remote_io, computers: external_control };
            controller::start(&options, &journal).map_err(LabError::io("emulated controller"))?;
            journal.did("controller", None, "ready", serde_json::json!({ "listen": listen.to_string() }));
            wait()
        }
        Actor::RemoteIo { listen } => {
            let journal = Journal::new(None).map_err(LabError::io("journal"))?;
            modbus_device::start(listen, &journal).map_err(LabError::io("remote I/O"))?;
            journal.did("remote-io", None, "ready", serde_json::json!({ "listen": listen.to_string() }));
            wait()
        }
        Actor::Plc { robot, beat_ms } => plc::run(robot, Duration::from_millis(beat_ms)),
        Actor::Panel { robot, beat_ms } => panel::run(robot, Duration::from_millis(beat_ms)),
        Actor::Ros { robot, listen } => ros::run(robot, listen).map_err(LabError::io("external control")),
        Actor::Attacks { host, name } => {
            let target = Target { robot: Host::Robot.address(), impersonated: Host::Plc.address() };
            attacks::run(host, name.as_deref(), &target)
        }
        Actor::Receiver { interface, pcap, reports } => receiver::run(&interface, &pcap, &reports),
    }
}

/// The listeners work; this thread has nothing left to do.
fn wait() -> ! {
    loop {
        thread::park();
    }
}

//! What an attacker on the plant network tries, one file a family; every attack names what an independent receiver on
//! the robot's port must not find.

mod dashboard;
mod external_control;
mod modbus;
mod network;
mod rtde;
mod urscript;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::LabError;
use super::cell::Host;

/// How long a connection attempt or an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(700);

/// What must not arrive at the robot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Marker {
    /// These bytes in a TCP stream toward the robot, upper and lower case alike.
    Bytes(Vec<u8>),
    /// A SYN from the attack's source to this port.
    Syn(u16),
    /// An ARP message from the attack's MAC that claims this address.
    Arp(IpAddr),
    /// That the attack's source accepts a connection of the robot to this port of its own.
    Accepted(u16),
    /// A record of external control from the attack's source, whatever its exact bytes: a box may change them.
    Record(Forbidden),
}

/// What no record of external control may be that arrives at the robot of this cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Forbidden {
    /// A set-point with a joint beyond the swing of the cell's computer.
    Position,
    /// A set-point farther from the one before than that computer ever steps.
    Step,
    /// A record after which the robot would wait without end.
    Endless,
    /// This mode.
    Mode(i32),
    /// A point of a trajectory beyond the swing.
    Point,
    /// This function.
    Order(i32),
}

/// One attack.
pub(crate) struct Attack {
    /// Name on the command line.
    pub(crate) name: &'static str,
    /// What it would do, for people.
    pub(crate) description: &'static str,
    /// Where it is known from: CVE, RVD number, ATT&CK for ICS technique.
    pub(crate) source: &'static str,
    /// Port of the robot, or of the computer that the robot connects to; 0 where there is none.
    pub(crate) port: u16,
    /// From where it is run.
    pub(crate) from: &'static [Host],
    /// What an independent receiver searches for.
    pub(crate) markers: Vec<Marker>,
    /// Does it.
    pub(crate) act: Box<dyn Fn(&Target) -> Outcome + Send>,
}

/// Whom an attack is aimed at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The robot.
    pub(crate) robot: IpAddr,
    /// Whose address is claimed by spoofed messages.
    pub(crate) impersonated: IpAddr,
}

/// What the attacker saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Whether a connection was established, where one was tried.
    pub(crate) connected: bool,
    /// Local ports of the connections.
    pub(crate) source_ports: Vec<u16>,
    /// The robot's ports of connections that the robot opened.
    pub(crate) robot_ports: Vec<u16>,
    /// Whether the attack itself closed a connection of the cell's cycle.
    pub(crate) hung_up: bool,
    /// MAC that raw frames carried.
    pub(crate) source_mac: Option<String>,
    /// Bytes handed to the socket.
    pub(crate) sent: usize,
    /// What came back, as text, cut.
    pub(crate) answer: String,
    /// Why it ended, where it was not the attacker's wish.
    pub(crate) error: Option<String>,
}

/// One attack as it was run: a line of an attacking host's output.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) source: IpAddr,
    pub(crate) port: u16,
    pub(crate) started: jiff::Timestamp,
    pub(crate) ended: jiff::Timestamp,
    pub(crate) markers: Vec<Marker>,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// From a machine that has no business with the robot, and from the PLC's own address.
const OUTSIDER_AND_PLC: &[Host] = &[Host::Attacker, Host::Plc];

/// All attacks.
pub(crate) fn all() -> Vec<Attack> {
    // First: they need a robot that works, and over a cable others switch it off.
    let mut attacks = external_control::attacks();
    attacks.extend(dashboard::attacks());
    attacks.extend(rtde::attacks());
    attacks.extend(urscript::attacks());
    attacks.extend(modbus::attacks());
    attacks.extend(network::attacks());
    attacks
}

/// Runs the attacks called `name` (or all) that belong to `host`, one report a line on stdout.
pub(crate) fn run(host: Host, name: Option<&str>, target: &Target) -> Result<(), LabError> {
    let chosen: Vec<Attack> = all().into_iter().filter(|attack| name.is_none_or(|name| name == attack.name)).collect();
    if chosen.is_empty() {
        return Err(LabError::UnknownAttack(name.unwrap_or_default().into()));
    }
    // An attack that was asked for by name is run from wherever it was asked for.
    for attack in chosen.iter().filter(|attack| name.is_some() || attack.from.contains(&host)) {
        let started = jiff::Timestamp::now();
        let outcome = (attack.act)(target);
        let report = Report {
            name: attack.name.into(),
            host: host.name().into(),
            source: host.address(),
            port: attack.port,
            started,
            ended: jiff::Timestamp::now(),
            markers: attack.markers.clone(),
            outcome,
        };
        println!("{}", serde_json::to_string(&report).map_err(|error| LabError::Said(error.to_string()))?);
    }
    Ok(())
}

/// A connection of an attack that notes what happens to it.
struct Session {
    stream: Option<TcpStream>,
    outcome: Outcome,
}

impl Session {
    fn open(target: &Target, port: u16) -> Self {
        let mut session = Self { stream: None, outcome: Outcome::default() };
        match TcpStream::connect_timeout(&SocketAddr::new(target.robot, port), PATIENCE) {
            Ok(stream) => {
                let _unsupported = stream.set_nodelay(true).and(stream.set_read_timeout(Some(PATIENCE)));
                session.outcome.connected = true;
                session.outcome.source_ports.extend(stream.local_addr().map(|address| address.port()));
                session.stream = Some(stream);
            }
            Err(error) => session.outcome.error = Some(error.to_string()),
        }
        session
    }

    fn send(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else { return };
        match stream.write_all(bytes) {
            Ok(()) => self.outcome.sent += bytes.len(),
            Err(error) => self.fail(&error),
        }
    }

    /// One byte a segment.
    fn send_slowly(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.send(&[*byte]);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn fail(&mut self, error: &std::io::Error) {
        self.outcome.error = Some(error.to_string());
        self.stream = None;
    }

    /// Waits for one answer of any length.
    fn listen(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        let mut buffer = [0; 2048];
        match stream.read(&mut buffer) {
            Ok(0) => self.stream = None,
            Ok(count) => {
                let printable = String::from_utf8_lossy(&buffer[..count.min(80)]).escape_debug().to_string();
                self.outcome.answer.push_str(&printable);
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Reads what a stream sends for a while, so that it is not the attacker's full window that ends the connection.
    fn linger(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while self.stream.is_some() && Instant::now() < end {
            self.listen();
            self.outcome.answer.truncate(self.outcome.answer.char_indices().nth(200).map_or(usize::MAX, |(at, _)| at));
        }
    }

    fn done(self) -> Outcome {
        self.outcome
    }
}

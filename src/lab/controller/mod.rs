//! An emulated Universal Robots controller: one live robot state behind every interface of the real one.
//!
//! Where it is unknown what a real controller does with odd input, this one does the worst: it executes.

mod dashboard;
mod drive;
mod modbus;
mod node;
mod rtde;
mod script;
mod state;
mod streams;
mod variables;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use self::state::Robot;
use self::streams::Kind;
use super::journal::{Journal, serve};
use super::modbus_client::Client;
use super::modbus_server;

/// How the controller runs.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Address of all listeners.
    pub(crate) listen: IpAddr,
    /// Rate of the realtime stream and highest RTDE rate: 500 (e-Series) or 125 (CB3).
    pub(crate) rate_hz: u32,
    /// Remote I/O that the robot's program polls, where there is one.
    pub(crate) remote_io: Option<SocketAddr>,
    /// Computers of the External Control nodes that every loaded program has.
    pub(crate) computers: Vec<IpAddr>,
}

/// What all connections share.
pub(crate) struct Shared {
    robot: Mutex<Robot>,
    /// Which RTDE client claims which input.
    owners: Mutex<HashMap<String, SocketAddr>>,
    options: Options,
}

impl Shared {
    /// The live state, brought up to now.
    fn robot(&self) -> MutexGuard<'_, Robot> {
        let mut robot = self.robot.lock().unwrap_or_else(PoisonError::into_inner);
        robot.tick(Instant::now());
        robot
    }

    fn input_owners(&self) -> MutexGuard<'_, HashMap<String, SocketAddr>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens every interface; they are served until the process ends.
pub(crate) fn start(options: &Options, journal: &Journal) -> io::Result<Arc<Shared>> {
    let mut robot = Robot::new();
    robot.has_nodes = !options.computers.is_empty();
    let shared = Arc::new(Shared { robot: Mutex::new(robot), owners: Mutex::default(), options: options.clone() });
    let at = |port| SocketAddr::new(options.listen, port);
    let with = |handler: fn(super::journal::Connection, &Arc<Shared>)| {
        let shared = Arc::clone(&shared);
        move |connection| handler(connection, &shared)
    };
    serve(
        at(502),
        "modbus",
        journal,
        with(|connection, shared| {
            modbus_server::serve::<Robot>(connection, |act| act(&mut shared.robot()));
        }),
    )?;
    serve(at(29999), "dashboard", journal, with(|connection, shared| dashboard::serve(connection, shared)))?;
    serve(at(30004), "rtde", journal, with(rtde::serve))?;
    serve(at(30020), "interpreter", journal, with(|connection, shared| script::serve_interpreter(connection, shared)))?;
    serve(at(30001), "primary", journal, with(|c, shared| streams::serve(c, shared, Kind::Primary, true)))?;
    serve(at(30002), "secondary", journal, with(|c, shared| streams::serve(c, shared, Kind::Secondary, true)))?;
    serve(at(30003), "realtime", journal, with(|c, shared| streams::serve(c, shared, Kind::Realtime, true)))?;
    serve(at(30011), "primary read-only", journal, with(|c, shared| streams::serve(c, shared, Kind::Primary, false)))?;
    serve(
        at(30012),
        "secondary read-only",
        journal,
        with(|c, shared| {
            streams::serve(c, shared, Kind::Secondary, false);
        }),
    )?;
    serve(
        at(30013),
        "realtime read-only",
        journal,
        with(|c, shared| streams::serve(c, shared, Kind::Realtime, false)),
    )?;
    for (port, name) in [(22, "ssh"), (6666, "felix shell")] {
        serve(at(port), name, journal, swallow)?;
    }
    for computer in &options.computers {
        node::start(&shared, *computer, journal)?;
    }
    if let Some(address) = options.remote_io {
        let (shared, journal) = (Arc::clone(&shared), journal.clone());
        thread::Builder::new().name("remote-io".into()).spawn(move || poll_remote_io(&shared, address, &journal))?;
    }
    Ok(shared)
}

/// The robot as Modbus client: reads eight inputs and drives one lamp, ten times a second while a program plays.
fn poll_remote_io(shared: &Shared, address: SocketAddr, journal: &Journal) {
    let mut client: Option<Client> = None;
    let mut known = None;
    loop {
        thread::sleep(Duration::from_millis(100));
        if client.is_none() {
            client = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok().and_then(Client::over);
        }
        let playing = shared.robot().playing();
        let Some(connected) = &mut client else { continue };
        match connected.cycle_remote_io(playing) {
            Ok(inputs) => {
                if known != Some(inputs) {
                    journal.did("remote-io", Some(address), "inputs", json!({ "inputs": inputs }));
                    known = Some(inputs);
                }
                let mut robot = shared.robot();
                robot.digital_in = (robot.digital_in & !0xff) | u64::from(inputs);
            }
            Err(_) => client = None,
        }
    }
}

/// A service that is open on a badly kept robot: it takes what it gets.
fn swallow(mut connection: super::journal::Connection) {
    let mut buffer = [0; 1024];
    loop {
        let count = connection.read(&mut buffer);
        if count == 0 {
            return;
        }
        connection.did("read", json!({ "text": String::from_utf8_lossy(&buffer[..count]) }));
    }
}

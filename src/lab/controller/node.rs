//! The External Control nodes of the emulated robot's programs: while such a program plays, each node fetches a text from
//! its computer, opens the sockets that the text names, and does what comes over them.
//!
//! Source: the maker's client library, `resources/external_control.urscript` and the chapters on its sockets: lengths and
//! fields of the records, the order in which sockets are opened, that the first record is waited for without end and that
//! a time-out that passes halts the program, results of trajectories.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::drive::Goal;
use super::state::Six;
use super::{Shared, script};
use crate::lab::journal::{Arrived, Connection, Journal};

/// Port of a node's computer that hands texts over, where nobody set another one.
const TEXT_PORT: u16 = 50_002;

/// Integers a unit of a joint or a coordinate. Source: the library, `MULT_JOINTSTATE`.
const UNITS: f64 = 1e6;

/// How often it is looked whether the program was stopped.
const LOOK: Duration = Duration::from_millis(10);

/// A connection that is not accepted within this time is given up.
const PATIENCE: Duration = Duration::from_millis(500);

/// Nothing says where a text ends: it is over when nothing comes for this time. Real nodes may wait longer.
const QUIET: Duration = Duration::from_millis(30);

/// A text that does not begin within this time is given up, and asked for again after another while.
const NO_TEXT: Duration = Duration::from_millis(120);
const AGAIN: Duration = Duration::from_millis(50);

/// Longest text that is kept, bytes.
const LONGEST: usize = 4 * 1024 * 1024;

/// Why no further record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The program was stopped, or it ended the loop itself.
    Stopped,
    /// The computer closed the connection.
    Closed,
    /// The next record did not come in time.
    TimedOut,
}

/// One node, and one connection's worth of what it needs.
#[derive(Clone)]
struct Node {
    shared: Arc<Shared>,
    journal: Journal,
    computer: IpAddr,
    /// The socket to move the arm has ended, so the others have nothing left to do.
    over: Arc<AtomicBool>,
}

/// Starts the node that asks `computer`.
pub(super) fn start(shared: &Arc<Shared>, computer: IpAddr, journal: &Journal) -> std::io::Result<()> {
    let node = Node { shared: Arc::clone(shared), journal: journal.clone(), computer, over: Arc::default() };
    thread::Builder::new().name("external control".into()).spawn(move || node.run())?;
    Ok(())
}

impl Node {
    fn run(&self) -> ! {
        loop {
            let Some(run) = self.shared.robot().node_run() else {
                thread::sleep(LOOK);
                continue;
            };
            let Some(text) = self.fetch(run) else {
                thread::sleep(AGAIN);
                continue;
            };
            script::run_inside(&mut self.shared.robot(), &text);
            self.control(run, &text);
            while self.is_on(run) {
                thread::sleep(LOOK);
            }
        }
    }

    /// Whether the program that the node is in still runs.
    fn is_on(&self, run: u64) -> bool {
        self.shared.robot().node_run() == Some(run)
    }

    fn connect(&self, address: SocketAddr, interface: &'static str) -> Option<Connection> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        Some(Connection::over(stream, address, interface, &self.journal))
    }

    /// Asks the computer for a text and reads it.
    fn fetch(&self, run: u64) -> Option<String> {
        let mut connection = self.connect(SocketAddr::new(self.computer, TEXT_PORT), "external text")?;
        if !connection.write(b"request_program\n") {
            return None;
        }
        let (mut text, mut buffer) = (Vec::new(), [0; 16 * 1024]);
        let end = Instant::now() + NO_TEXT;
        while self.is_on(run) && text.len() < LONGEST {
            match connection.read_within(&mut buffer, QUIET) {
                Arrived::Bytes(count) => text.extend(&buffer[..count]),
                Arrived::Nothing if text.is_empty() && Instant::now() < end => {}
                Arrived::Nothing | Arrived::End => break,
            }
        }
        if text.is_empty() {
            connection.did("no text", json!({}));
            return None;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let beginning: String = text.chars().take(200).collect();
        connection.did("text", json!({ "bytes": text.len(), "text": beginning }));
        Some(text)
    }

    /// Opens the sockets that `text` names, in the order of the maker's program, and does what comes over them.
    fn control(&self, run: u64, text: &str) {
        let open = |name, interface| script::socket(text, name).and_then(|address| self.connect(address, interface));
        let trajectory = open("trajectory_socket", "external trajectory");
        let command = open("script_command_socket", "external command");
        let Some(mut reverse) = open("reverse_socket", "external reverse") else { return };
        self.over.store(false, Ordering::Release);
        let others: Vec<_> = [(trajectory, Self::trajectory as fn(&Self, u64, Connection)), (command, Self::commands)]
            .into_iter()
            .filter_map(|(connection, serve)| Some((connection?, serve)))
            .map(|(connection, serve)| {
                let node = self.clone();
                thread::spawn(move || serve(&node, run, connection))
            })
            .collect();
        let (ended, records) = self.motions(run, &mut reverse);
        if ended != Ended::Stopped {
            self.shared.robot().stop();
        }
        let why = match ended {
            Ended::Stopped => "stopped",
            Ended::Closed => "closed",
            Ended::TimedOut => "timed out",
        };
        reverse.did("end", json!({ "why": why, "records": records }));
        drop(reverse);
        self.over.store(true, Ordering::Release);
        for other in others {
            let _it_panicked = other.join();
        }
    }

    /// The next record of `N` integers; without `time` it is waited for without end.
    fn record<const N: usize>(
        &self,
        run: u64,
        connection: &mut Connection,
        time: Option<Duration>,
    ) -> Result<[i32; N], Ended> {
        let end = time.map(|time| Instant::now() + time);
        let mut bytes = [[0; 4]; N];
        let mut filled = 0;
        while filled < N * 4 {
            if !self.is_on(run) || self.over.load(Ordering::Acquire) {
                return Err(Ended::Stopped);
            }
            match connection.read_within(&mut bytes.as_flattened_mut()[filled..], LOOK) {
                Arrived::Bytes(count) => filled += count,
                // A program that was stopped closes its sockets one by one, and its computer the rest.
                Arrived::End if self.is_on(run) => return Err(Ended::Closed),
                Arrived::End => return Err(Ended::Stopped),
                Arrived::Nothing if end.is_some_and(|end| Instant::now() >= end) => return Err(Ended::TimedOut),
                Arrived::Nothing => {}
            }
        }
        Ok(bytes.map(i32::from_be_bytes))
    }

    /// Does what the reverse socket says until it ends; gives why it did, and after how many records.
    fn motions(&self, run: u64, reverse: &mut Connection) -> (Ended, u64) {
        let mut time = None;
        let mut last = None;
        for records in 0.. {
            let [timeout_ms, values @ .., mode] = match self.record::<8>(run, reverse, time) {
                Ok(record) => record,
                Err(ended) => return (ended, records),
            };
            time = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
            let six = values.map(|value| f64::from(value) / UNITS);
            if last != Some(mode) {
                reverse.did("mode", json!({ "mode": mode, "timeout_ms": timeout_ms, "values": six }));
                last = Some(mode);
            }
            let mut robot = self.shared.robot();
            let Some(drive) = &mut robot.drive else { return (Ended::Stopped, records) };
            match (mode, values[0]) {
                (-2, _) => {
                    drive.set(Goal::Rest);
                    return (Ended::Stopped, records);
                }
                (1 | 5, _) => drive.set(Goal::Positions(six)),
                (2 | 4, _) => drive.set(Goal::Speeds(six)),
                (3, -1) => drive.cancel(),
                (3, 1) => drive.start(u32::try_from(values[1]).unwrap_or(0)),
                (3, 2) => drive.start(u32::MAX),
                (3, 3) => drive.end_stream(u32::try_from(values[1]).unwrap_or(0)),
                (3, _) => {}
                (6, 1) => drive.set(Goal::Free),
                (6, 0) => {}
                (8, _) => drive.set(Goal::Torques(six)),
                _ => drive.set(Goal::Rest),
            }
        }
        (Ended::Stopped, u64::MAX)
    }

    /// Takes points of trajectories and tells how those ended.
    fn trajectory(&self, run: u64, mut connection: Connection) {
        let told = connection.stream.try_clone().map(|stream| {
            let node = self.clone();
            thread::spawn(move || node.tell_results(run, stream))
        });
        while let Ok(record) = self.record::<21>(run, &mut connection, None) {
            let six = |from: usize| -> Six { std::array::from_fn(|at| f64::from(record[from + at]) / UNITS) };
            let (to, rates, seconds) = (six(0), six(12), f64::from(record[18]) / UNITS);
            connection.did("point", json!({ "type": record[20], "to": to, "seconds": seconds }));
            let mut robot = self.shared.robot();
            let at = robot.q();
            if let Some(drive) = &mut robot.drive {
                drive.point(at, to, seconds, rates[0]);
            }
        }
        if let Ok(told) = told {
            let _it_panicked = told.join();
        }
    }

    fn tell_results(&self, run: u64, mut stream: TcpStream) {
        use std::io::Write;

        while self.is_on(run) && !self.over.load(Ordering::Acquire) {
            let result = self.shared.robot().drive.as_mut().and_then(super::drive::Drive::take_result);
            match result {
                Some(result) if stream.write_all(&result.to_be_bytes()).is_err() => return,
                Some(_) => {}
                None => thread::sleep(Duration::from_millis(4)),
            }
        }
    }

    /// Does what the script command socket says.
    fn commands(&self, run: u64, mut connection: Connection) {
        while let Ok([function, arguments @ ..]) = self.record::<28>(run, &mut connection, None) {
            let number = |at: usize| f64::from(arguments[at]) / UNITS;
            let mut robot = self.shared.robot();
            let (name, count) = match function {
                0 => ("zero_ftsensor", 0),
                1 => {
                    (robot.payload, robot.cog) = (number(0), [number(1), number(2), number(3)]);
                    ("set_payload", 4)
                }
                2 => {
                    robot.tool_voltage = number(0) as i32;
                    ("set_tool_voltage", 1)
                }
                3 => ("force_mode", 27),
                4 => ("end_force_mode", 0),
                5 => ("start_tool_contact", 0),
                6 => ("end_tool_contact", 0),
                7 => ("set_friction_compensation", 1),
                8 => ("ft_rtde_input_enable", 8),
                9 => {
                    robot.gravity = [number(0), number(1), number(2)];
                    ("set_gravity", 3)
                }
                10 => {
                    robot.tcp_offset = std::array::from_fn(number);
                    ("set_tcp", 6)
                }
                11 => ("set_friction_scales", 12),
                12 => {
                    (robot.payload, robot.cog) = (number(0), [number(1), number(2), number(3)]);
                    ("set_target_payload", 11)
                }
                _ => ("unknown", 27),
            };
            drop(robot);
            let arguments: Vec<f64> = (0..count).map(number).collect();
            connection.did(name, json!({ "function": function, "arguments": arguments }));
            // Contact that was never made was canceled. Source: the library, `UNTIL_TOOL_CONTACT_RESULT_CANCELED`.
            if function == 6 && !connection.write(&1_i32.to_be_bytes()) {
                return;
            }
        }
    }
}

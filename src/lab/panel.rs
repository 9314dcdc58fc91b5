//! The cell's operator panel: one Dashboard connection, a command a beat, two programs in turn.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::journal::print_line;

/// One round of the panel: all of it comes by within 2.4 s of a 200 ms beat.
const ROUND: &[&str] = &[
    "robotmode",
    "load /programs/pick_v4.urp",
    "play",
    "programState",
    "safetystatus",
    "stop",
    "robotmode",
    "load /programs/place_v2.urp",
    "play",
    "programState",
    "safetystatus",
    "stop",
];

/// Works the panel for ever: one JSON line a command.
pub(crate) fn run(robot: IpAddr, beat: Duration) -> ! {
    let mut connection = None;
    let mut next = Instant::now();
    for cycle in 0_u64.. {
        let command = ROUND[cycle as usize % ROUND.len()];
        let started = Instant::now();
        let deadline = next + beat;
        let mut attempts = 0;
        let mut outcome = Err(io::Error::other("no time left"));
        while outcome.is_err() && Instant::now() < deadline {
            attempts += 1;
            outcome = ask(&mut connection, robot, command);
            if outcome.is_err() {
                connection = None;
                thread::sleep(Duration::from_millis(2));
            }
        }
        let late = outcome.is_err() || Instant::now() > deadline;
        print_line(json!({
            "actor": "panel",
            "cycle": cycle,
            "command": command,
            "answer": outcome.as_ref().ok(),
            "error": outcome.as_ref().err().map(ToString::to_string),
            "took_us": started.elapsed().as_micros() as u64,
            "beat_us": beat.as_micros() as u64,
            "attempts": attempts,
            "missed": late,
        }));
        next = deadline.max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    unreachable!("the panel has no end")
}

fn ask(connection: &mut Option<BufReader<TcpStream>>, robot: IpAddr, command: &str) -> io::Result<String> {
    let mut line = String::new();
    if connection.is_none() {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(robot, 29999), Duration::from_millis(500))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        let reader = connection.insert(BufReader::new(stream));
        if reader.read_line(&mut line)? == 0 {
            return Err(io::Error::other("no greeting"));
        }
        line.clear();
    }
    let reader = connection.as_mut().ok_or_else(|| io::Error::other("no connection"))?;
    reader.get_mut().write_all(format!("{command}\n").as_bytes())?;
    if reader.read_line(&mut line)? == 0 {
        return Err(io::Error::other("connection closed"));
    }
    Ok(line.trim_end().into())
}

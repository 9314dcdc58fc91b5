//! The robot's side: plain Linux sockets that read what they get and answer as a controller would.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout};

use super::netns::Netns;

/// Modbus, Dashboard, URScript (primary and secondary), RTDE.
const PORTS: [u16; 5] = [502, 29_999, 30_001, 30_002, 30_004];

/// How often a thread looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(50);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By FIN.
    Closed,
    /// By RST.
    Reset,
}

/// One accepted connection.
#[derive(Debug)]
struct Talk {
    client: SocketAddr,
    stream: TcpStream,
    received: Vec<u8>,
    arrivals: Vec<(Instant, usize)>,
    end: Option<End>,
}

/// The servers; they end with the value.
#[derive(Debug)]
pub struct Robot {
    talks: Arc<Mutex<Vec<Talk>>>,
    paused: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Robot {
    /// Listens on every port in this namespace.
    pub fn start(space: &Netns) -> Self {
        let mut robot = Self {
            talks: Arc::default(),
            paused: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
            threads: Vec::new(),
        };
        for port in PORTS {
            let listener = space.enter(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
            set_socket_timeout(&listener, Timeout::Recv, Some(GLANCE)).unwrap();
            if matches!(port, 29_999 | 30_001) {
                // Small, so that a reader who pauses closes its window soon.
                set_socket_recv_buffer_size(&listener, 16 << 10).unwrap();
            }
            let shared = (Arc::clone(&robot.talks), Arc::clone(&robot.paused), Arc::clone(&robot.stop));
            robot.threads.push(std::thread::spawn(move || accept(&listener, port, &shared)));
        }
        robot
    }

    fn with<T>(&self, client: u16, take: impl FnOnce(&mut Talk) -> T) -> Option<T> {
        let mut talks = self.talks.lock().unwrap();
        talks.iter_mut().rev().find(|talk| talk.client.port() == client).map(take)
    }

    /// What came from this port of a client, in its last connection.
    pub fn received(&self, client: u16) -> Vec<u8> {
        self.with(client, |talk| talk.received.clone()).unwrap_or_default()
    }

    /// When it came, and how much had come by then.
    pub fn arrivals(&self, client: u16) -> Vec<(Instant, usize)> {
        self.with(client, |talk| talk.arrivals.clone()).unwrap_or_default()
    }

    /// Whether such a connection was accepted; waits for it.
    pub fn accepted(&self, client: u16) -> bool {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            if self.with(client, |_| ()).is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// How the connection ended, where it does within 3 s.
    pub fn waits_for_end(&self, client: u16) -> Option<End> {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            if let Some(end) = self.end(client) {
                return Some(end);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// How the connection ended, if it did.
    pub fn end(&self, client: u16) -> Option<End> {
        self.with(client, |talk| talk.end).flatten()
    }

    /// Sends bytes to the client on this port.
    pub fn say(&self, client: u16, bytes: &[u8]) {
        assert!(self.accepted(client));
        self.with(client, |talk| talk.stream.write_all(bytes)).unwrap().unwrap();
    }

    /// Stops reading, or goes on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for talk in self.talks.lock().unwrap().iter() {
            let _ = talk.stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

type Shared = (Arc<Mutex<Vec<Talk>>>, Arc<AtomicBool>, Arc<AtomicBool>);

fn accept(listener: &TcpListener, port: u16, shared: &Shared) {
    let mut threads = Vec::new();
    while !shared.2.load(Ordering::Relaxed) {
        let Ok((stream, client)) = listener.accept() else { continue };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(GLANCE)).unwrap();
        let reader = stream.try_clone().unwrap();
        let talk = Talk { client, stream, received: Vec::new(), arrivals: Vec::new(), end: None };
        let place = {
            let mut talks = shared.0.lock().unwrap();
            talks.push(talk);
            talks.len() - 1
        };
        let shared = (Arc::clone(&shared.0), Arc::clone(&shared.1), Arc::clone(&shared.2));
        threads.push(std::thread::spawn(move || serve(reader, port, place, &shared)));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(mut stream: TcpStream, port: u16, place: usize, (talks, paused, stop): &Shared) {
    let (mut buffer, mut pending) = ([0; 65_536], Vec::new());
    if port == 29_999 {
        let _ = stream.write_all(b"Connected: Universal Robots Dashboard Server\n");
    }
    let end = loop {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if paused.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(len) => {
                {
                    let mut talks = talks.lock().unwrap();
                    talks[place].received.extend_from_slice(&buffer[..len]);
                    let all = talks[place].received.len();
                    talks[place].arrivals.push((Instant::now(), all));
                }
                pending.extend_from_slice(&buffer[..len]);
                let answer = answer(port, &mut pending);
                // A write takes the error of a reset away, and the next read would say that the client has closed.
                if !answer.is_empty() && stream.write_all(&answer).is_err() {
                    break End::Reset;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break End::Reset,
        }
    };
    let _ = stream.shutdown(Shutdown::Both);
    talks.lock().unwrap()[place].end = Some(end);
}

/// Answers every whole unit at the start of `pending` and takes it out.
fn answer(port: u16, pending: &mut Vec<u8>) -> Vec<u8> {
    let mut answers = Vec::new();
    while let Some(len) = unit(port, pending) {
        let unit: Vec<u8> = pending.drain(..len).collect();
        match port {
            502 => answers.extend(modbus(&unit)),
            29_999 => answers.extend_from_slice(dashboard(&unit)),
            // Protocol version accepted; other packages of these tests ask for no answer.
            30_004 if unit.get(2) == Some(&b'V') => answers.extend_from_slice(&[0, 4, b'V', 1]),
            _ => {}
        }
    }
    answers
}

fn unit(port: u16, bytes: &[u8]) -> Option<usize> {
    let len = match port {
        502 => 6 + usize::from(u16::from_be_bytes([*bytes.get(4)?, *bytes.get(5)?])),
        30_004 => usize::from(u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?])).max(2),
        _ => bytes.iter().position(|byte| *byte == b'\n')? + 1,
    };
    (len <= bytes.len()).then_some(len)
}

fn modbus(adu: &[u8]) -> Vec<u8> {
    match adu.get(7) {
        Some(3) if adu.len() >= 12 => {
            let bytes = adu[11] * 2;
            let length = u16::from(bytes) + 3;
            let head = [&adu[..4], &length.to_be_bytes(), &[adu[6], 3, bytes]].concat();
            [&head[..], &vec![0; usize::from(bytes)]].concat()
        }
        Some(6) => adu.to_vec(),
        Some(function) => [&adu[..4], &[0, 3, adu[6], function | 0x80, 1]].concat(),
        None => Vec::new(),
    }
}

fn dashboard(line: &[u8]) -> &'static [u8] {
    match line {
        b"robotmode\n" => b"Robotmode: RUNNING\n",
        b"safetystatus\n" => b"Safetystatus: NORMAL\n",
        b"running\n" => b"Program running: false\n",
        _ => b"could not understand: command\n",
    }
}

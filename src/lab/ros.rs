//! The computer that moves the arm over external control, as the maker's ROS driver does: it hands a text to the robot's
//! program, sends the arm to the middle of a swing by a trajectory, then swings it with set-points at 125 Hz, and watches
//! over RTDE whether the arm follows.
//!
//! Whoever has taken such a computer over has its connections in hand: attacks come in over [`ABUSE`].

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::external_records::{FORWARD, SERVOJ, motion, order, point, program};
use super::journal::print_line;
use super::rtde_client::{Client, output_setup, package};

/// The middle of the swing, millionths of a radian: where the emulated arm rests.
const MIDDLE: [i32; 6] = [0, -1_570_000, 1_570_000, -1_570_000, -1_570_000, 0];
/// How far the joints go from one set-point to the next, millionths of a radian; 0.3 rad/s at most.
pub(crate) const STEP: [i32; 6] = [2_000, 1_500, 1_800, 1_000, 1_200, 2_500];
/// Steps to each side of the middle: a swing takes 48 set-points, less than the panel lets a program play.
pub(crate) const TURN: i32 = 12;
/// Time between set-points.
const PERIOD: Duration = Duration::from_millis(8);
/// How long the robot waits for the next set-point, ms. The maker's default is 20; a machine that runs a whole cell comes
/// later than that at times.
pub(crate) const TIMEOUT_MS: i32 = 200;
/// What counts as one cycle.
const BEAT: Duration = Duration::from_millis(100);
/// A program that plays has the arm swinging by then. A refused text costs the robot 0.2 s.
const START: Duration = Duration::from_millis(550);
/// Set-points of a session before the arm is looked for among them, and before the first attack in it.
const SETTLED: u64 = 10;
/// How long the way to the middle takes, microseconds.
const APPROACH_US: i32 = 60_000;

/// Where attacks hand over what is to be sent on the computer's own connections.
pub(crate) const ABUSE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_100);

/// How long an attack waits for its moment: two rounds of the panel.
const MOMENT: Duration = Duration::from_secs(6);

/// How long after an attack it is looked whether the connection stands.
const AFTER: Duration = Duration::from_millis(60);

/// A socket over which records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Socket {
    Reverse,
    Trajectory,
    Command,
}

impl Socket {
    const ALL: [Self; 3] = [Self::Reverse, Self::Trajectory, Self::Command];

    /// Port on the computer.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Reverse => 50_001,
            Self::Trajectory => 50_003,
            Self::Command => 50_004,
        }
    }
}

/// What is done with the computer's connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Abuse {
    /// Bytes between two set-points, each part a segment; then the connection may be closed.
    Send { socket: Socket, parts: Vec<Vec<u8>>, hang_up: bool },
    /// Another text when the robot asks next.
    Text(String),
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Abused {
    /// Port of the robot's end.
    pub(crate) robot_port: u16,
    pub(crate) sent: usize,
    /// Why the connection stands no more, where it does not.
    pub(crate) error: Option<String>,
}

struct Pending {
    abuse: Abuse,
    done: mpsc::Sender<Abused>,
}

/// Where RTDE says that the arm is.
#[derive(Debug, Default)]
struct Arm {
    /// Millionths of a radian.
    joints: [i32; 6],
    /// Packages in a row that said so.
    said: u32,
    playing_since: Option<Instant>,
    last: Option<Instant>,
    longest_gap: Duration,
}

struct Computer {
    text: String,
    /// The robot's connections, as [`Socket::ALL`] has them.
    lines: Mutex<[Option<TcpStream>; 3]>,
    arm: Mutex<Arm>,
    /// Trajectories that succeeded.
    arrivals: AtomicU64,
    pending: Mutex<Option<Pending>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn robot_port(stream: &TcpStream) -> Option<u16> {
    stream.peer_addr().ok().map(|address| address.port())
}

/// Where the joints are `phase` steps from the middle.
pub(crate) fn position(phase: i32) -> [i32; 6] {
    std::array::from_fn(|joint| MIDDLE[joint] + phase * STEP[joint])
}

/// Serves the robot that asks at `listen` for ever: one JSON line a beat.
pub(crate) fn run(robot: IpAddr, listen: IpAddr) -> io::Result<()> {
    let computer = Arc::new(Computer {
        text: program(listen),
        lines: Mutex::default(),
        arm: Mutex::default(),
        arrivals: AtomicU64::new(0),
        pending: Mutex::default(),
    });
    for socket in Socket::ALL {
        let accepting = Arc::clone(&computer);
        accept(SocketAddr::new(listen, socket.port()), move |stream| accepting.serve_line(socket, stream))?;
    }
    let handing = Arc::clone(&computer);
    accept(SocketAddr::new(listen, 50_002), move |stream| {
        let _gone = handing.hand_text(stream);
    })?;
    let abused = Arc::clone(&computer);
    accept(ABUSE, move |stream| {
        let _gone = abused.take_abuse(&stream);
    })?;
    let watching = Arc::clone(&computer);
    thread::spawn(move || {
        loop {
            let _gone = watching.watch(SocketAddr::new(robot, 30_004));
            thread::sleep(Duration::from_millis(5));
        }
    });
    computer.work()
}

/// Gives every connection to `address` a thread of its own.
fn accept(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _unsupported = stream.set_nodelay(true);
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    Ok(())
}

impl Computer {
    /// Keeps one connection of the robot, and reads what it says until it ends.
    fn serve_line(&self, socket: Socket, mut stream: TcpStream) {
        let (Some(port), Ok(kept)) = (robot_port(&stream), stream.try_clone()) else { return };
        lock(&self.lines)[socket as usize] = Some(kept);
        let mut result = [0; 4];
        while stream.read_exact(&mut result).is_ok() {
            if socket == Socket::Trajectory && i32::from_be_bytes(result) == 0 {
                self.arrivals.fetch_add(1, Ordering::Relaxed);
            }
        }
        lock(&self.lines)[socket as usize].take_if(|kept| robot_port(kept).is_none_or(|kept| kept == port));
    }

    /// Answers each request for the program's text.
    fn hand_text(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line)? != 0 {
            if line == "request_program\n" {
                let other = lock(&self.pending).take_if(|pending| matches!(pending.abuse, Abuse::Text(_)));
                let robot_port = robot_port(reader.get_ref()).unwrap_or_default();
                match other {
                    Some(Pending { abuse: Abuse::Text(text), done }) => {
                        let error = reader.get_mut().write_all(text.as_bytes()).err().map(|error| error.to_string());
                        let _attacker_left = done.send(Abused { robot_port, sent: text.len(), error });
                    }
                    _ => reader.get_mut().write_all(self.text.as_bytes())?,
                }
            }
            line.clear();
        }
        Ok(())
    }

    /// Takes one order of an attack and says what came of it.
    fn take_abuse(&self, stream: &TcpStream) -> io::Result<()> {
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        let abuse: Abuse = serde_json::from_str(&line)?;
        let socket = match &abuse {
            Abuse::Send { socket, .. } => Some(*socket),
            Abuse::Text(_) => None,
        };
        let (done, answer) = mpsc::channel();
        *lock(&self.pending) = Some(Pending { abuse, done });
        let answer = answer.recv_timeout(MOMENT);
        *lock(&self.pending) = None;
        let mut abused = answer.map_err(|_| io::Error::other("the robot asked for nothing"))?;
        thread::sleep(AFTER);
        match socket {
            Some(socket) => {
                let line = lock(&self.lines)[socket as usize].as_ref().and_then(robot_port);
                if line != Some(abused.robot_port) {
                    abused.error.get_or_insert("connection closed".into());
                }
            }
            // The robot asks again while its program plays; another attack would leave it no time to get the right text.
            None => {
                while lock(&self.arm).playing_since.is_some() {
                    thread::sleep(PERIOD);
                }
            }
        }
        let mut stream = stream;
        stream.write_all(format!("{}\n", serde_json::to_string(&abused)?).as_bytes())
    }

    /// One RTDE connection until it breaks.
    fn watch(&self, address: SocketAddr) -> io::Result<()> {
        let mut client = Client::connect(address, Duration::from_millis(500))?;
        client.set_up(&output_setup(125.0, "actual_q,runtime_state"), b'O')?;
        client.exchange(&package(b'S', &[]), b'S')?;
        loop {
            let (kind, payload) = client.receive()?;
            let (b'U', Some(data)) = (kind, payload.get(1..).and_then(|data| data.first_chunk::<52>())) else {
                continue;
            };
            let joints = std::array::from_fn(|joint| {
                let bytes = data[joint * 8..].first_chunk().copied().unwrap_or_default();
                (f64::from_be_bytes(bytes) * 1e6).round() as i32
            });
            let playing = data[48..] == 2_u32.to_be_bytes();
            let now = Instant::now();
            let mut arm = lock(&self.arm);
            let gap = arm.last.map_or(Duration::ZERO, |last| now - last);
            arm.longest_gap = arm.longest_gap.max(gap);
            arm.said = if arm.joints == joints { arm.said + 1 } else { 1 };
            (arm.joints, arm.last) = (joints, Some(now));
            arm.playing_since = playing.then(|| arm.playing_since.unwrap_or(now));
        }
    }

    /// The robot's port of the reverse socket, while all three sockets stand.
    fn standing(&self) -> Option<u16> {
        match &*lock(&self.lines) {
            [Some(reverse), Some(_), Some(_)] => robot_port(reverse),
            _ => None,
        }
    }

    fn work(&self) -> ! {
        let mut next = Instant::now();
        let mut session: Option<Session> = None;
        let mut cycles = 0_u64;
        // The play of a program in which the arm swung, or for whose standstill a beat was counted.
        let mut seen = None;
        loop {
            next = (next + PERIOD).max(Instant::now());
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let standing = self.standing();
            if session.as_ref().is_some_and(|session| Some(session.robot_port) != standing) {
                session = None;
                lock(&self.lines).iter_mut().filter_map(Option::take).for_each(|line| {
                    let _closed_already = line.shutdown(Shutdown::Both);
                });
                continue;
            }
            if session.is_none() && standing.is_some() {
                session = Session::begin(&lock(&self.lines), self.arrivals.load(Ordering::Relaxed)).ok();
            }
            let (playing_since, is_silent) = {
                let mut arm = lock(&self.arm);
                let is_silent = arm.last.is_some_and(|last| last.elapsed() > BEAT);
                if is_silent {
                    // Each further beat of silence counts for itself.
                    arm.last = Some(Instant::now());
                }
                (arm.playing_since, is_silent)
            };
            if let Some(own) = &mut session {
                match own.tick(self) {
                    Ok(Some(mut beat)) => {
                        beat["cycle"] = cycles.into();
                        cycles += 1;
                        print_line(beat);
                    }
                    Ok(None) => {}
                    // The robot has closed it: so says the reading thread soon.
                    Err(_) => continue,
                }
                if own.is_swinging {
                    seen = playing_since.or(seen);
                }
            }
            let stands = playing_since.is_some_and(|since| since.elapsed() > START && seen != Some(since));
            if stands {
                seen = playing_since;
            }
            let errors = [(stands, "the arm stands"), (is_silent, "RTDE is silent")];
            for (_, error) in errors.into_iter().filter(|(is_so, _)| *is_so) {
                print_line(json!({ "actor": "ros", "cycle": cycles, "error": error, "missed": true }));
                cycles += 1;
            }
        }
    }
}

/// From the robot's connections to their end.
struct Session {
    /// As [`Socket::ALL`] has them.
    lines: [TcpStream; 3],
    robot_port: u16,
    /// Trajectories that had succeeded before it.
    arrivals: u64,
    is_swinging: bool,
    phase: i32,
    falling: bool,
    sent: VecDeque<(Instant, [i32; 6])>,
    count: u64,
    was_abused: bool,
    beat: Beat,
}

struct Beat {
    began: Instant,
    set_points: u32,
    longest_lag: Duration,
    /// Once the arm was where no set-point of the last beat had sent it.
    lost: bool,
}

impl Beat {
    fn new() -> Self {
        Self { began: Instant::now(), set_points: 0, longest_lag: Duration::ZERO, lost: false }
    }
}

impl Session {
    /// Orders, and the way to the middle.
    fn begin(lines: &[Option<TcpStream>; 3], arrivals: u64) -> io::Result<Self> {
        let clone = |socket: Socket| match &lines[socket as usize] {
            Some(line) => line.try_clone(),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let lines = [clone(Socket::Reverse)?, clone(Socket::Trajectory)?, clone(Socket::Command)?];
        let mut session = Self {
            robot_port: robot_port(&lines[0]).unwrap_or_default(),
            lines,
            arrivals,
            is_swinging: false,
            phase: 0,
            falling: false,
            sent: VecDeque::new(),
            count: 0,
            was_abused: false,
            beat: Beat::new(),
        };
        session.send(Socket::Command, &order(0, &[]))?;
        session.send(Socket::Command, &order(1, &[1_200_000, 0, 0, 50_000]))?;
        session.send(Socket::Reverse, &motion(TIMEOUT_MS, [1, 1, 0, 0, 0, 0], FORWARD))?;
        session.send(Socket::Trajectory, &point(position(0), APPROACH_US))?;
        Ok(session)
    }

    fn send(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<()> {
        self.lines[socket as usize].write_all(bytes)
    }

    /// One period's work; a beat's line where one is over.
    fn tick(&mut self, computer: &Computer) -> io::Result<Option<serde_json::Value>> {
        if !self.is_swinging {
            let arrived = computer.arrivals.load(Ordering::Relaxed) > self.arrivals;
            let arm = lock(&computer.arm);
            // Others may hear of the arm a package later than this.
            let is_there = arrived && arm.joints == position(0) && arm.said > 2;
            drop(arm);
            if !is_there {
                self.send(Socket::Reverse, &motion(TIMEOUT_MS, [0; 6], FORWARD))?;
                return Ok(None);
            }
            self.is_swinging = true;
            self.beat = Beat::new();
            lock(&computer.arm).longest_gap = Duration::ZERO;
        }
        if self.count >= SETTLED {
            self.look(lock(&computer.arm).joints);
            if !self.was_abused {
                self.abuse(computer)?;
            }
        }
        self.phase += if self.falling { -1 } else { 1 };
        self.falling = if self.phase.abs() == TURN { self.phase > 0 } else { self.falling };
        let target = position(self.phase);
        self.send(Socket::Reverse, &motion(TIMEOUT_MS, target, SERVOJ))?;
        let now = Instant::now();
        self.sent.push_back((now, target));
        self.sent.retain(|(at, _)| now - *at <= BEAT);
        self.count += 1;
        self.beat.set_points += 1;
        if self.beat.began.elapsed() < BEAT {
            return Ok(None);
        }
        let beat = std::mem::replace(&mut self.beat, Beat::new());
        let gap = std::mem::take(&mut lock(&computer.arm).longest_gap);
        Ok(Some(json!({
            "actor": "ros",
            "session": self.robot_port,
            "set_points": beat.set_points,
            "took_us": beat.longest_lag.as_micros() as u64,
            "beat_us": BEAT.as_micros() as u64,
            "rtde_gap_us": gap.as_micros() as u64,
            "missed": beat.lost || gap > BEAT,
        })))
    }

    /// How long ago the arm was sent to where it is; it may be on its way to the next set-point.
    fn look(&mut self, joints: [i32; 6]) {
        let near = |target: &[i32; 6]| (0..6).all(|joint| (target[joint] - joints[joint]).abs() <= STEP[joint]);
        match self.sent.iter().rev().find(|(_, target)| near(target)) {
            Some((at, _)) => self.beat.longest_lag = self.beat.longest_lag.max(at.elapsed()),
            None => self.beat.lost = true,
        }
    }

    /// Sends what an attack wants sent.
    fn abuse(&mut self, computer: &Computer) -> io::Result<()> {
        let pending = lock(&computer.pending).take_if(|pending| matches!(pending.abuse, Abuse::Send { .. }));
        let Some(Pending { abuse: Abuse::Send { socket, parts, hang_up }, done }) = pending else { return Ok(()) };
        self.was_abused = true;
        let mut sent = 0;
        let mut error = None;
        for part in &parts {
            match self.send(socket, part) {
                Ok(()) => sent += part.len(),
                Err(cause) => error = Some(cause.to_string()),
            }
            thread::sleep(Duration::from_millis(5));
        }
        let robot_port = robot_port(&self.lines[socket as usize]).unwrap_or_default();
        let _attacker_left = done.send(Abused { robot_port, sent, error });
        if hang_up {
            self.lines[socket as usize].shutdown(Shutdown::Both)?;
        }
        Ok(())
    }
}

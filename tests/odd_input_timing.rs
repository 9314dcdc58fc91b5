//! What a loss and what a command in two writes cost through the running box, against the same cable with a kernel
//! bridge in the box's place, in the same run.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use support::adversary::{PATIENCE, ROBOT, ROBOT_MAC, Responder};
use support::can_make_namespaces;
use support::guarded::{PLC, PLC_MAC, POLICY, Vambrace, address, write_register};
use support::netns::Netns;
use support::raw::RawSocket;
use support::robot::Robot;
use support::wire::{PLANT, PLANT_SIDE, ROBOT as ROBOT_PORT, ROBOT_SIDE};

/// Held by the one that measures: two at a time would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Time between two commands of a 500 Hz stream.
const BEAT: Duration = Duration::from_millis(2);
/// Commands of a stream.
const COMMANDS: usize = 1000;
/// Of these commands the segment that carries them first is lost.
const LOST: [usize; 5] = [150, 320, 490, 660, 830];

/// Copies frames between two ports and loses the chosen segments with data toward the robot.
struct Relay {
    stop: Arc<AtomicBool>,
    /// Where in the stream the lost segments began.
    lost: Arc<Mutex<Vec<usize>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    fn start(space: &Netns, toward_plant: &str, toward_robot: &str) -> Self {
        let ports =
            |from: &str, to: &str| space.enter(|| (RawSocket::open(from).unwrap(), RawSocket::open(to).unwrap()));
        let (stop, lost) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let mut threads = Vec::new();
        for (from, to) in [(toward_plant, toward_robot), (toward_robot, toward_plant)] {
            let (from, to) = ports(from, to);
            let (stopped, lost) = (Arc::clone(&stop), Arc::clone(&lost));
            threads.push(std::thread::spawn(move || {
                let mut first = None;
                while !stopped.load(Ordering::Relaxed) {
                    let Some(frame) = from.receive(Duration::from_millis(50)).unwrap() else { continue };
                    let packet = link::parse(&frame).unwrap();
                    if let Some(tcp) = packet.tcp().filter(|tcp| tcp.destination_port == 502 && !tcp.payload.is_empty())
                    {
                        let at = tcp.seq.wrapping_sub(*first.get_or_insert(tcp.seq)) as usize;
                        let mut lost = lost.lock().unwrap();
                        if LOST.get(lost.len()).is_some_and(|command| at + tcp.payload.len() > command * 12) {
                            lost.push(at);
                            continue;
                        }
                    }
                    let _ = to.send(&frame);
                }
            }));
        }
        Self { stop, lost, threads }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A client and a robot with a relay and, between two ports, the box or a bridge.
struct Line {
    client: Netns,
    robot: Robot,
    relay: Option<Relay>,
    _vambrace: Option<Vambrace>,
    _responder: Responder,
    _spaces: [Netns; 3],
}

impl Line {
    fn up(name: &str, guarded: bool, loses: bool) -> Self {
        let (client, between) = (Netns::new("tip"), Netns::new("til"));
        let (middle, far) = (Netns::new("tib"), Netns::new("tir"));
        if loses {
            client.join(PLANT_SIDE, &between, "left", 1508);
            between.join("right", &middle, PLANT, 1508);
        } else {
            client.join(PLANT_SIDE, &middle, PLANT, 1508);
        }
        middle.join(ROBOT_PORT, &far, ROBOT_SIDE, 1508);
        address(&client, PLANT_SIDE, PLC, PLC_MAC);
        address(&far, ROBOT_SIDE, ROBOT, ROBOT_MAC);
        let robot = Robot::start(&far);
        let relay = loses.then(|| Relay::start(&between, "left", "right"));
        let vambrace = guarded.then(|| Vambrace::start(&middle, name, "enforce", POLICY));
        if !guarded {
            middle.run(&["ip", "link", "add", "bridge", "type", "bridge", "forward_delay", "0"]);
            for port in [PLANT, ROBOT_PORT] {
                middle.run(&["ip", "link", "set", port, "master", "bridge"]);
            }
            middle.run(&["ip", "link", "set", "bridge", "up"]);
        }
        let responder = Responder::start(&client);
        Self { client, robot, relay, _vambrace: vambrace, _responder: responder, _spaces: [between, middle, far] }
    }

    fn connect(&self) -> TcpStream {
        let to = SocketAddr::from((ROBOT, 502));
        let stream = self.client.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Around each lost segment of a stream, the longest time in which the robot's socket got nothing; the median of them.
fn gap(guarded: bool) -> Duration {
    let line = Line::up(if guarded { "gap" } else { "gap-wire" }, guarded, true);
    let mut stream = line.connect();
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; COMMANDS * 12];
        answers.read_exact(&mut all)
    });
    let start = Instant::now();
    for beat in 0..COMMANDS {
        std::thread::sleep((start + BEAT * beat as u32).saturating_duration_since(Instant::now()));
        stream.write_all(&write_register(128, beat as u16 % 120)).unwrap();
    }
    reader.join().unwrap().expect("every command of the stream is answered");
    let arrivals = line.robot.arrivals(stream.local_addr().unwrap().port());
    let lost = line.relay.unwrap().lost.lock().unwrap().clone();
    assert_eq!(lost.len(), LOST.len());
    let around = |at: &usize| {
        let own = arrivals.windows(2).filter(|pair| pair[1].1 > *at && pair[0].1 < at + 40 * 12);
        own.map(|pair| pair[1].0 - pair[0].0).max().unwrap()
    };
    median(lost.iter().map(around).collect())
}

#[test]
fn a_lost_segment_of_a_500_hz_stream_costs_at_most_half_more_than_on_a_wire() {
    if !can_make_namespaces("a_lost_segment_of_a_500_hz_stream_costs_at_most_half_more_than_on_a_wire") {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (wire, guarded) = (gap(false), gap(true));
    eprintln!("longest gap at the robot around a loss: {wire:?} on a wire, {guarded:?} through the box");
    assert!(guarded <= wire * 3 / 2, "{guarded:?} through the box, {wire:?} on a wire");
}

/// The median time from the first write of a command in two parts to its answer.
fn split_write(guarded: bool, delays: bool, rounds: usize) -> Duration {
    let line = Line::up(&format!("split-{guarded}-{delays}"), guarded, false);
    let mut stream = line.connect();
    stream.set_nodelay(!delays).unwrap();
    let command = write_register(128, 1);
    let round = |_| {
        let started = Instant::now();
        stream.write_all(&command[..7]).unwrap();
        stream.write_all(&command[7..]).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..], command[..]);
        let took = started.elapsed();
        std::thread::sleep(Duration::from_millis(2));
        took
    };
    median((0..rounds).map(round).collect())
}

/// Through the box a command in two writes takes at most 3 ms more than over a wire.
fn split_write_costs(test: &str, delays: bool, rounds: usize) {
    if !can_make_namespaces(test) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (wire, guarded) = (split_write(false, delays, rounds), split_write(true, delays, rounds));
    eprintln!("a command in two writes: {wire:?} over a wire, {guarded:?} through the box");
    assert!(guarded <= wire + Duration::from_millis(3), "{guarded:?} through the box, {wire:?} over a wire");
}

#[test]
fn a_command_in_two_writes_costs_at_most_3_ms_more_than_on_a_wire() {
    split_write_costs("a_command_in_two_writes_costs_at_most_3_ms_more_than_on_a_wire", false, 201);
}

#[test]
fn a_command_in_two_writes_of_a_client_that_waits_for_acknowledgements_costs_at_most_3_ms_more() {
    let test = "a_command_in_two_writes_of_a_client_that_waits_for_acknowledgements_costs_at_most_3_ms_more";
    split_write_costs(test, true, 41);
}

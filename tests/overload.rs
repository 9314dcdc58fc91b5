//! A flood of at least twice what the box can do: nothing forbidden or unread reaches the robot, and work goes on when it
//! ends. Source: the product's specification, S15.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at the first surprise"
)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::can_make_namespaces;
use support::guarded::Cable;
use support::modbus_load as load;
use support::probes::Probes;
use support::raw::RawSocket;
use support::restarted::Restarted;
use support::talks::{self, Line, PLC_ADDRESS, ROBOT_ADDRESS, Shared};
use support::wire::{PLANT_SIDE, ROBOT_SIDE};

/// A segment of a connection that nobody opened, with a whole Modbus command: a write to `address`.
fn forged(number: u64, address: u16, flags: u8, payload: bool) -> Vec<u8> {
    let port = 20_000 + u16::try_from(number % 30_000).unwrap();
    let command = [0, 9, 0, 0, 0, 6, 255, 6, address.to_be_bytes()[0], address.to_be_bytes()[1], 0, 5];
    let payload: &[u8] = if payload { &command } else { &[] };
    let length = u16::try_from(40 + payload.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend(length.to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(PLC_ADDRESS.octets());
    ip.extend(ROBOT_ADDRESS.octets());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = port.to_be_bytes().to_vec();
    tcp.extend(502_u16.to_be_bytes());
    tcp.extend(u32::try_from(number % 0xffff_ffff).unwrap().to_be_bytes());
    tcp.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    tcp.extend_from_slice(payload);
    let pseudo: u32 = [PLC_ADDRESS.octets(), ROBOT_ADDRESS.octets()]
        .concat()
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>()
        + 6
        + u32::try_from(tcp.len()).unwrap();
    let sum = checksum(&tcp, pseudo);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    [&[2, 0, 10, 20, 0, 40, 2, 0, 10, 20, 0, 21, 8, 0][..], &ip, &tcp].concat()
}

fn checksum(bytes: &[u8], seed: u32) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])));
    let sum = words.sum::<u32>() + seed;
    let sum = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}

/// Sends frames as fast as it goes until told to stop, from as many threads as there are kinds.
struct Flood {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(line: &Line, kinds: &[fn(u64) -> Vec<u8>]) -> Self {
        let (sent, stop): (Arc<AtomicU64>, Arc<AtomicBool>) = (Arc::default(), Arc::default());
        let threads = kinds.iter().map(|kind| {
            let socket = line.plant.enter(|| RawSocket::open(PLANT_SIDE).unwrap());
            let (counted, ended) = (Arc::clone(&sent), Arc::clone(&stop));
            // Made before: what is measured is the box.
            let frames: Vec<_> = (0..4096).map(kind).collect();
            std::thread::spawn(move || {
                for frame in frames.iter().cycle() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    if socket.send(frame).is_ok() {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        });
        Self { threads: threads.collect(), sent, stop }
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
        self.sent.load(Ordering::Relaxed)
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Frames that the box took from the plant, and that the kernel dropped there because it came behind.
fn taken(vambrace: &Restarted) -> (u64, u64) {
    // The numbers are renewed five times a second.
    std::thread::sleep(Duration::from_millis(300));
    let status = vambrace.status();
    (number(&status["ports"][0]["received"]), number(&status["ports"][0]["kernel_drops"]))
}

#[test]
fn a_flood_of_twice_what_can_be_done_brings_nothing_forbidden_to_the_robot() {
    if !can_make_namespaces("a_flood_of_twice_what_can_be_done_brings_nothing_forbidden_to_the_robot") {
        return;
    }
    let line = Line::new("vbflo");
    let vambrace = Restarted::start_in_memory(&line.inside, "flood", talks::POLICY, "");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    let cable = Cable::start(&line.robot, ROBOT_SIDE);
    // An honest client whose every eighth command is forbidden, on a connection that stands before the flood.
    let client = talks::talk(&line.plant, &shared, "refused", talks::Kind::Refused);
    let started = Instant::now();
    while client.answered.load(Ordering::Relaxed) < 50 {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", vambrace.state());
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = taken(&vambrace);
    let begun = Instant::now();
    let kinds: [fn(u64) -> Vec<u8>; 3] = [
        // Forbidden and allowed commands of connections that nobody opened, and new connections.
        |n| forged(n, 3, 0x18, true),
        |n| forged(n, 128, if n % 2 == 0 { 0x18 } else { 0x02 }, n % 2 == 0),
        |_| [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 0x88, 0xcc], &[0x5a; 46]].concat(),
    ];
    let flood = Flood::start(&line, &kinds);
    std::thread::sleep(Duration::from_secs(4));
    let sent = flood.end();
    let (seconds, ended) = (begun.elapsed().as_secs_f64(), Instant::now());
    let probes = Probes::start((&line.plant, PLANT_SIDE), (&line.robot, ROBOT_SIDE));
    let back = probes.back_after(ended).unwrap_or_else(|| panic!("{}", vambrace.state()));
    let answered = client.answered.load(Ordering::Relaxed);
    while client.answered.load(Ordering::Relaxed) < answered + 20 {
        assert!(ended.elapsed() < Duration::from_secs(20), "the honest client: {}", vambrace.state());
        std::thread::sleep(Duration::from_millis(1));
    }
    let worked = ended.elapsed();
    let after = taken(&vambrace);
    let (done, dropped) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{:.0} frames a second offered, {:.0} done: {:.1} times; {dropped} dropped by the kernel; back after {back:.0?}, \
         twenty exchanges after {worked:.0?}",
        sent as f64 / seconds,
        done as f64 / seconds,
        sent as f64 / done as f64,
    );
    shared.end();
    // What the robot's kernel took to be commands, and what was on the cable at all.
    assert!(shared.faults().is_empty(), "{:?}", shared.faults());
    let (mut seen, mut forged_seen) = (0_u64, 0_u64);
    for frame in cable.since(0) {
        let bytes = &frame.bytes;
        if bytes.len() < 54 || bytes[12..14] != [8, 0] || bytes[23] != 6 || bytes[36..38] != 502_u16.to_be_bytes() {
            continue;
        }
        let payload = &bytes[14 + 20 + usize::from(bytes[46] >> 4) * 4..];
        let payload = &payload[..payload.len().min(usize::from(u16::from_be_bytes([bytes[16], bytes[17]])) - 40)];
        if let Some(len) = load::unit_len(payload) {
            seen += 1;
            let unit = &payload[..len];
            forged_seen += u64::from(unit[..2] == [0, 9] && unit[7..] == [6, 0, 128, 0, 5]);
            let address = u16::from_be_bytes([unit[8], unit[9]]);
            assert!((128..=137).contains(&address), "on the cable: {unit:02x?}");
        }
    }
    assert!(seen > 50, "{seen} commands on the cable");
    // The allowed write of the flood belongs to no connection that was seen from its beginning.
    assert_eq!(forged_seen, 0, "commands of connections that nobody opened");
    let told = vambrace.records_at_end();
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let overloads: Vec<_> = told.iter().filter(|line| line["notice"]["kind"] == "overload").collect();
    println!(
        "{} records of overload, the last: {}",
        overloads.len(),
        overloads.last().map_or(&Value::Null, |it| &it["notice"])
    );
    assert!(sent >= 2 * done && dropped > 0, "the flood was too small: {sent} sent, {done} done, {dropped} dropped");
    assert!(overloads.iter().any(|line| line["notice"]["shed"] == "unenforced"), "{overloads:?}");
    assert!(back < Duration::from_millis(500), "{back:?}");
}

/// A connection of an honest client still opens and works while new ones are asked for a hundred thousand times a second.
#[test]
fn a_flood_of_new_connections_is_bounded_and_ends() {
    if !can_make_namespaces("a_flood_of_new_connections_is_bounded_and_ends") {
        return;
    }
    let line = Line::new("vbsyn");
    let vambrace = Restarted::start_in_memory(&line.inside, "syn", talks::POLICY, "");
    let shared = Arc::new(Shared::default());
    talks::serve(&line.robot, &shared);
    let client = talks::talk(&line.plant, &shared, "calm", talks::Kind::Calm);
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let kinds: [fn(u64) -> Vec<u8>; 2] = [|n| forged(n, 0, 2, false), |n| forged(n + 15_000, 0, 2, false)];
    let flood = Flood::start(&line, &kinds);
    std::thread::sleep(Duration::from_secs(3));
    let (sent, seconds) = (flood.end(), begun.elapsed().as_secs_f64());
    println!("{:.0} SYN a second", sent as f64 / seconds);
    assert!(sent as f64 / seconds > 1e5 || cfg!(debug_assertions), "{sent} in {seconds} s");
    let answered = client.answered.load(Ordering::Relaxed);
    let ended = Instant::now();
    while client.answered.load(Ordering::Relaxed) < answered + 20 {
        assert!(ended.elapsed() < Duration::from_secs(20), "{}", vambrace.state());
        std::thread::sleep(Duration::from_millis(1));
    }
    // Another client: it has the same address as the flood, so that it waits for its turn among the new ones.
    let stream = line.plant.enter(|| {
        let to = SocketAddr::from((ROBOT_ADDRESS, 502));
        let asked = Instant::now();
        loop {
            match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
                Ok(stream) => break stream,
                Err(error) => assert!(asked.elapsed() < Duration::from_secs(20), "{error}: {}", vambrace.state()),
            }
        }
    });
    let (mut stream, command) = (stream, load::allowed(9));
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&command).unwrap();
    let mut answer = vec![0; load::answer(&command).len()];
    stream.read_exact(&mut answer).unwrap();
    let status = vambrace.status();
    assert!(number(&status["traffic"]["flows"]) <= number(&status["traffic"]["flow_room"]), "{status}");
    assert!(number(&status["traffic"]["dropped"]) > 0, "{status}");
    shared.end();
    assert!(shared.faults().is_empty() && shared.deaths().is_empty(), "{:?} {:?}", shared.faults(), shared.deaths());
}

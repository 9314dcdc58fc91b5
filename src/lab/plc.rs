//! The cell's PLC: Modbus reads and writes in a fixed beat, RTDE outputs at 125 Hz and one RTDE input register.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::journal::print_line;
use super::modbus_client;
use super::rtde_client::{Client, output_setup, package};

/// What the PLC reads over RTDE.
const OUTPUTS: &str = "timestamp,actual_q,robot_mode,safety_mode,runtime_state,actual_digital_output_bits";

/// How long a connection may take before it is tried again.
const PATIENCE: Duration = Duration::from_millis(500);

/// The RTDE half: a thread that reads, and the register that it writes.
#[derive(Debug, Default)]
struct Rtde {
    packages: AtomicU64,
    longest_gap_us: AtomicU64,
    connections: AtomicU64,
    register: AtomicI32,
}

/// Runs the production cycle for ever: one JSON line a cycle.
pub(crate) fn run(robot: IpAddr, beat: Duration) -> ! {
    let rtde = Arc::new(Rtde::default());
    {
        let rtde = Arc::clone(&rtde);
        thread::spawn(move || {
            loop {
                let _gone = rtde_session(SocketAddr::new(robot, 30004), &rtde);
                thread::sleep(Duration::from_millis(5));
            }
        });
    }
    // The first beat waits for both connections, so that a cell that is still starting is not counted as late.
    while rtde.packages.load(Ordering::Relaxed) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    rtde.longest_gap_us.store(0, Ordering::Relaxed);
    let mut modbus: Option<modbus_client::Client> = None;
    let mut next = Instant::now();
    for cycle in 0_u64.. {
        let deadline = next + beat;
        let mut attempts = 0;
        let mut error = None;
        let started = Instant::now();
        let mut done = false;
        // A connection that broke is made anew within the beat, as a PLC's driver does.
        while !done && Instant::now() < deadline {
            attempts += 1;
            match modbus_cycle(&mut modbus, robot, cycle) {
                Ok(()) => done = true,
                Err(cause) => {
                    modbus = None;
                    error = Some(cause.to_string());
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
        rtde.register.store((cycle % 4) as i32, Ordering::Relaxed);
        let took = started.elapsed();
        let gap_us = rtde.longest_gap_us.swap(0, Ordering::Relaxed);
        let late = !done || Instant::now() > deadline || Duration::from_micros(gap_us) > beat;
        print_line(json!({
            "actor": "plc",
            "cycle": cycle,
            "took_us": took.as_micros() as u64,
            "beat_us": beat.as_micros() as u64,
            "rtde_packages": rtde.packages.swap(0, Ordering::Relaxed),
            "rtde_gap_us": gap_us,
            "rtde_connections": rtde.connections.load(Ordering::Relaxed),
            "attempts": attempts,
            "error": error,
            "missed": late,
        }));
        next = deadline.max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    unreachable!("the cycle has no end")
}

/// Status reads and order writes of one cycle. All values come round within two seconds of a 100 ms beat.
fn modbus_cycle(client: &mut Option<modbus_client::Client>, robot: IpAddr, cycle: u64) -> io::Result<()> {
    if client.is_none() {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(robot, 502), PATIENCE)?;
        *client = modbus_client::Client::over(stream);
    }
    let client = client.as_mut().ok_or_else(|| io::Error::other("no socket options"))?;
    client.read_registers(258, 8)?;
    client.read_registers(270, 6)?;
    let (product, count) = ((cycle % 10) as u16, (cycle % 20) as u16);
    client.write_register(129, product)?;
    client.write_registers(128, &[1, product, count, 0])
}

/// One RTDE connection until it breaks.
fn rtde_session(address: SocketAddr, rtde: &Rtde) -> io::Result<()> {
    let mut client = Client::connect(address, PATIENCE)?;
    client.exchange(&package(b'v', &[]), b'v')?;
    client.set_up(&output_setup(125.0, OUTPUTS), b'O')?;
    let input = client.set_up(&package(b'I', b"input_int_register_24"), b'I')?;
    client.exchange(&package(b'S', &[]), b'S')?;
    rtde.connections.fetch_add(1, Ordering::Relaxed);
    let mut writer = client.writer()?;
    let mut last = Instant::now();
    let mut written = None;
    loop {
        client.receive()?;
        let now = Instant::now();
        rtde.longest_gap_us.fetch_max(now.duration_since(last).as_micros() as u64, Ordering::Relaxed);
        last = now;
        rtde.packages.fetch_add(1, Ordering::Relaxed);
        let wanted = rtde.register.load(Ordering::Relaxed);
        if written != Some(wanted) {
            let mut payload = vec![input];
            payload.extend(wanted.to_be_bytes());
            writer.write_all(&package(b'U', &payload))?;
            written = Some(wanted);
        }
    }
}

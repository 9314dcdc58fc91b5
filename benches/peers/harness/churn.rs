//! Connections that are opened, used for one exchange and closed in order.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::exchanges::MORE;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use vambrace::bench::{self, BenchError, Figures, Lane, Stop, inside};

/// Connections under way at a time.
const SLOTS: usize = 8;
/// One that is not through after this has failed.
const PATIENCE: Duration = Duration::from_millis(900);

/// One connection on its way.
struct Slot {
    client: TcpStream,
    begun: Instant,
    asked: bool,
    have: usize,
}

/// The robot's end of one.
struct Served {
    server: TcpStream,
    answered: bool,
    since: Instant,
}

/// Connections a second, the time of each from SYN to the last byte, and how many failed.
pub fn measure(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let address = SocketAddrV4::new(lane.robot_address(), 502);
    let listener = inside(&lane.robot(), || TcpListener::bind(SocketAddr::V4(address)))?;
    let listener = listener.map_err(BenchError::of("listener"))?;
    listener.set_nonblocking(true).map_err(BenchError::of("listener"))?;
    // New sockets are of the plant's namespace on this thread.
    inside(&lane.plant(), || churn(&listener, address, Duration::from_secs_f64(seconds * 0.7), stop))?
}

fn churn(
    listener: &TcpListener,
    address: SocketAddrV4,
    length: Duration,
    stop: &Stop,
) -> Result<Vec<(String, f64)>, BenchError> {
    let (request, answer) = bench::modbus_exchange(0);
    let mut slots: Vec<Option<Slot>> = (0..SLOTS).map(|_| None).collect();
    let mut served: Vec<Served> = Vec::new();
    let (mut times, mut failed) = (Vec::new(), 0_u32);
    let start = Instant::now();
    let mut buffer = [0; 64];
    while start.elapsed() < length || (times.len() < SLOTS && start.elapsed() < length + MORE) {
        stop.check()?;
        for place in &mut slots {
            let Some(slot) = place else {
                *place = Some(Slot { client: begin(address)?, begun: Instant::now(), asked: false, have: 0 });
                continue;
            };
            if !slot.asked {
                slot.asked = slot.client.write_all(&request).is_ok();
            } else if let Ok(got @ 1..) = slot.client.read(&mut buffer) {
                slot.have += got;
            }
            if slot.have == answer.len() {
                times.push(slot.begun.elapsed().as_nanos() as u64);
                *place = None;
            } else if slot.begun.elapsed() > PATIENCE {
                failed += 1;
                *place = None;
            }
        }
        while let Ok((server, _)) = listener.accept() {
            let _ = server.set_nonblocking(true);
            served.push(Served { server, answered: false, since: Instant::now() });
        }
        served.retain_mut(|it| match it.server.read(&mut buffer) {
            Ok(0) => false,
            Ok(_) if !it.answered => {
                it.answered = true;
                it.server.write_all(&answer).is_ok()
            }
            Err(error) if error.kind() != ErrorKind::WouldBlock => false,
            _ => it.since.elapsed() < PATIENCE * 2,
        });
    }
    let rate = times.len() as f64 / start.elapsed().as_secs_f64();
    let figures = Figures::of(&mut times).unwrap_or_default();
    let us = |ns: f64| ns / 1000.0;
    let columns = [("1/s", rate), ("p50", us(figures.p50)), ("p99", us(figures.p99)), ("failed", f64::from(failed))];
    Ok(columns.map(|(name, figure)| (name.to_owned(), figure)).to_vec())
}

/// Sends a SYN and comes back.
fn begin(address: SocketAddrV4) -> Result<TcpStream, BenchError> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
        .map_err(BenchError::of("socket"))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(BenchError::of("connect")(error)),
    }
}

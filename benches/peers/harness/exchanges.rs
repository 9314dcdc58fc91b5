//! Modbus exchanges: one connection, one at given times, sixteen at once.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use link::craft::Template;
use link::{Mac, Tags};
use vambrace::bench::{self, BenchError, Ends, Figures, Lane, Load, Stop};
use vambrace::nic::{AfPacket, BATCH, FramePort, Geometry};

/// Columns in microseconds.
pub fn columns(times: &mut [u64]) -> Vec<(String, f64)> {
    let figures = Figures::of(times).unwrap_or_default();
    let names = ["p50", "p99", "p99.9", "max"];
    names.iter().zip(figures.each()).map(|(name, ns)| ((*name).to_owned(), ns / 1000.0)).collect()
}

/// One exchange after the other.
pub fn round_trip(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let load = Load { count: (10_000.0 * seconds).max(100.0) as usize, warm_up: 500, every_ns: 0 };
    Ok(columns(&mut Ends::open(lane)?.round(load, stop)?))
}

/// Exchanges a second of [`paced`].
const RATE: f64 = 2000.0;

/// Exchanges at fixed times, each measured from its own.
pub fn paced(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let load = Load { count: (RATE * seconds).max(100.0) as usize, warm_up: 200, every_ns: (1e9 / RATE) as u64 };
    Ok(columns(&mut Ends::open(lane)?.round(load, stop)?))
}

/// Exchanges that each come behind a burst toward the robot; the burst's own sending is not measured.
pub fn behind(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let mut ends = Ends::open(lane)?;
    let open = || AfPacket::open("p0", Geometry::for_mtu(1500)).map_err(BenchError::of("p0"));
    let mut port = bench::inside(&lane.plant(), open)??;
    let datagram = datagram(lane)?;
    let burst = [datagram.as_slice(); BATCH];
    let mut times = Vec::new();
    for n in 0..(4000.0 * seconds).max(100.0) as u16 {
        stop.check()?;
        let (request, answer) = bench::modbus_exchange(n % 1000);
        port.transmit(&burst).map_err(BenchError::of("p0"))?;
        let begun = Instant::now();
        if ends.exchange(&request, &answer)?.is_none() {
            return Err(BenchError::Said(format!("exchange {n} was not answered")));
        }
        times.push(begun.elapsed().as_nanos() as u64);
    }
    Ok(columns(&mut times))
}

/// 512 bytes to the robot's address and to a station that is nobody's, as those of floods.
fn datagram(lane: &Lane) -> Result<Vec<u8>, BenchError> {
    let wrong = || BenchError::Said("no datagram of 512 bytes can be made".to_owned());
    let [plant, _] = lane.macs();
    let macs = (plant.parse().map_err(|_| wrong())?, Mac([2, 0, 0, 0, lane.number(), 0x99]));
    let ends = ((lane.plant_address().into(), 20_000), (lane.robot_address().into(), 9999));
    let template = Template::new(macs, Tags::default(), ends.0, ends.1).ok_or_else(wrong)?;
    let mut out = [0; 512];
    let len = link::craft::emit_udp(&template, &[0x5a; 512 - 42], &mut out).map_err(|_| wrong())?;
    Ok(out[..len].to_vec())
}

/// Connections of [`k16`].
const CONNECTIONS: usize = 16;
/// A measurement goes on for so long at most while it has next to nothing to tell.
pub const MORE: Duration = Duration::from_secs(3);

/// One exchange on each of several connections, taken up in turn without waiting for any.
pub struct Talk {
    ends: Ends,
    at: Step,
    n: u16,
    begun: Instant,
    /// When the next one is to begin; absent: at once.
    due: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    Asked,
    Answered,
}

impl Talk {
    pub fn new(ends: Ends, due: Option<Instant>) -> Self {
        Self { ends, at: Step::Idle, n: 0, begun: Instant::now(), due }
    }

    /// Does the next thing if it can be done now; the time of an exchange where one ended.
    ///
    /// With `every`, exchanges begin that far apart, and are measured from when they were to.
    pub fn step(&mut self, every: Option<Duration>) -> Result<Option<u64>, BenchError> {
        let mut buffer = [0; 64];
        match self.at {
            Step::Idle => {
                let now = Instant::now();
                match (self.due, every) {
                    (Some(due), Some(every)) if now >= due => {
                        self.begun = due;
                        self.due = Some(due + every);
                    }
                    (Some(_), _) => return Ok(None),
                    (None, _) => self.begun = now,
                }
                let (request, _) = bench::modbus_exchange(self.n);
                self.ends.client.write_all(&request).map_err(BenchError::of("request"))?;
                self.at = Step::Asked;
            }
            Step::Asked => {
                let (request, answer) = bench::modbus_exchange(self.n);
                if take(&mut self.ends.server, &mut buffer, request.len(), self.begun)? {
                    if buffer[..request.len()] != request {
                        return Err(BenchError::Said("another request arrived than was sent".to_owned()));
                    }
                    self.ends.server.write_all(&answer).map_err(BenchError::of("answer"))?;
                    self.at = Step::Answered;
                }
            }
            Step::Answered => {
                let (_, answer) = bench::modbus_exchange(self.n);
                if take(&mut self.ends.client, &mut buffer, answer.len(), self.begun)? {
                    if buffer[..answer.len()] != answer {
                        return Err(BenchError::Said("another answer arrived than was sent".to_owned()));
                    }
                    self.n = (self.n + 1) % 1000;
                    self.at = Step::Idle;
                    return Ok(Some(self.begun.elapsed().as_nanos() as u64));
                }
            }
        }
        Ok(None)
    }
}

/// Whether a whole unit was there; small ones come whole.
fn take(stream: &mut std::net::TcpStream, buffer: &mut [u8], len: usize, since: Instant) -> Result<bool, BenchError> {
    match stream.read(&mut buffer[..len]) {
        Ok(got) if got == len => Ok(true),
        Ok(got) => Err(BenchError::Said(format!("{got} bytes of {len}"))),
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            if since.elapsed() > Duration::from_secs(3) {
                return Err(BenchError::Said("no answer for three seconds".to_owned()));
            }
            Ok(false)
        }
        Err(error) => Err(BenchError::of("reading")(error)),
    }
}

/// As many exchanges as sixteen connections get, each waiting for its own answer alone.
pub fn k16(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let mut talks: Vec<_> =
        bench::connect(lane, 502, CONNECTIONS)?.into_iter().map(|ends| Talk::new(ends, None)).collect();
    let mut times = Vec::with_capacity(1 << 20);
    let warm = Instant::now() + Duration::from_secs_f64(seconds * 0.1);
    let end = warm + Duration::from_secs_f64(seconds);
    let (mut from, mut counted) = (None, 0_u64);
    loop {
        stop.check()?;
        let now = Instant::now();
        // A round on a machine that is too busy to get on has a figure all the same.
        if now >= end && (counted >= 100 || now >= end + MORE) {
            break;
        }
        for talk in &mut talks {
            if let Some(ns) = talk.step(None)?
                && now >= warm
            {
                from.get_or_insert(now);
                counted += 1;
                times.push(ns);
            }
        }
    }
    let measured = from.map_or(1.0, |from| from.elapsed().as_secs_f64());
    let mut all = vec![("1/s".to_owned(), counted as f64 / measured)];
    all.extend(columns(&mut times).into_iter().take(3));
    Ok(all)
}

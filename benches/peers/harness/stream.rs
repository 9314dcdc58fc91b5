//! A control loop: RTDE at 500 Hz both ways, beside Modbus on other connections.
//!
//! Every package has its time beforehand. What is told is how far the time between two arrivals is from 2 ms, and how
//! late a package was at most; the one thread that sends and receives also serves the other connections, which adds the
//! same few microseconds on every way. What this thread is kept from its core, by whoever else runs there, is no doing of
//! what stands in the middle: it is taken off each delay, on every way alike, and told of.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use dissect::Toward;
use vambrace::bench::{self, BenchError, Ends, Figures, Lane, Stop};

use super::exchanges::Talk;

/// Time between two packages.
const BEAT: Duration = Duration::from_millis(2);
/// A gap that makes a controller stop.
const GAP_NS: u64 = 20_000_000;
/// Modbus connections beside it, and the time between two exchanges of each: 4,000 a second in all.
const OTHERS: usize = 8;
const OTHERS_EVERY: Duration = Duration::from_millis(2);

/// A thread that looks at the clock again only after so long was kept from its core, or stood in a call into the kernel
/// that was: an assumption, the same for every way.
const STALL: Duration = Duration::from_micros(50);

/// When the measuring thread stood still, in order.
struct Stalls {
    looked: Instant,
    each: Vec<(Instant, Instant)>,
}

impl Stalls {
    fn look(&mut self) -> Instant {
        let now = Instant::now();
        if now - self.looked > STALL {
            self.each.push((self.looked, now));
        }
        self.looked = now;
        now
    }

    /// For how long it stood still in that time.
    fn within(&self, begin: Instant, end: Instant) -> Duration {
        let first = self.each.partition_point(|(_, behind)| *behind <= begin);
        let inside = self.each[first..].iter().take_while(|(from, _)| *from < end);
        inside.map(|(from, behind)| end.min(*behind) - begin.max(*from)).sum()
    }
}

/// One direction of the stream.
struct Flow {
    sent: usize,
    arrived: Vec<Instant>,
    due: Instant,
    begin: Instant,
    unit_len: usize,
    have: usize,
}

impl Flow {
    fn new(begin: Instant, unit_len: usize) -> Self {
        Self { sent: 0, arrived: Vec::new(), due: begin, begin, unit_len, have: 0 }
    }

    fn send(&mut self, from: &mut TcpStream, unit: &[u8], now: Instant, count: usize) -> Result<(), BenchError> {
        if self.sent < count && now >= self.due {
            from.write_all(unit).map_err(BenchError::of("package"))?;
            self.sent += 1;
            self.due += BEAT;
        }
        Ok(())
    }

    fn receive(&mut self, at: &mut TcpStream, stalls: &mut Stalls) -> Result<(), BenchError> {
        let mut buffer = [0; 4096];
        match at.read(&mut buffer) {
            Ok(0) => return Err(BenchError::Said("the stream ended".to_owned())),
            Ok(got) => self.have += got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(BenchError::of("stream")(error)),
        }
        let now = stalls.look();
        while self.have >= self.unit_len {
            self.have -= self.unit_len;
            self.arrived.push(now);
        }
        Ok(())
    }

    /// Deviations of the intervals from the beat, the longest delay, and the number of gaps, of all but the first
    /// packages.
    fn told(&self, name: &str, warm_up: usize, stalls: &Stalls) -> Vec<(String, f64)> {
        let dues = (0..).map(|n| self.begin + BEAT * n);
        let delays: Vec<u64> = self
            .arrived
            .iter()
            .zip(dues)
            .skip(warm_up)
            .map(|(at, due)| (at.saturating_duration_since(due) - stalls.within(due, *at)).as_nanos() as u64)
            .collect();
        let mut jitter: Vec<u64> = delays.windows(2).map(|two| two[1].abs_diff(two[0])).collect();
        let figures = Figures::of(&mut jitter).unwrap_or_default();
        let intervals = self.arrived[warm_up..].windows(2).map(|two| (two[1] - two[0]).as_nanos() as u64);
        let gaps = intervals.filter(|interval| *interval > GAP_NS).count();
        [
            ("p99", figures.p99 / 1000.0),
            ("p99.9", figures.p999 / 1000.0),
            ("latest", delays.iter().max().copied().unwrap_or_default() as f64 / 1000.0),
            ("gaps", gaps as f64),
        ]
        .map(|(what, figure)| (format!("{name} {what}"), figure))
        .to_vec()
    }
}

/// Microseconds of jitter in both directions.
pub fn measure(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let count = ((seconds * 2.0) / BEAT.as_secs_f64()).max(50.0) as usize;
    let warm_up = count / 20;
    let mut ends = bench::connect(lane, 30_004, 1)?.pop().unwrap();
    for (toward, unit) in bench::rtde_opening().unwrap() {
        say(&mut ends, toward, &unit)?;
    }
    let [(_, inputs), (_, outputs)] = bench::rtde_cycle(0).unwrap();
    let others = bench::connect(lane, 502, OTHERS)?;
    let begin = Instant::now() + Duration::from_millis(5);
    // Half a beat apart, so that they don't wait for each other here; the others are spread over the beat.
    let mut to_plant = Flow::new(begin, outputs.len());
    let mut to_robot = Flow::new(begin + BEAT / 2, inputs.len());
    let mut talks: Vec<_> = others
        .into_iter()
        .enumerate()
        .map(|(at, other)| Talk::new(other, Some(begin + OTHERS_EVERY * at as u32 / OTHERS as u32)))
        .collect();
    let mut stalls = Stalls { looked: Instant::now(), each: Vec::new() };
    let longest = begin + BEAT * count as u32 + Duration::from_secs(3);
    while to_plant.arrived.len() < count || to_robot.arrived.len() < count {
        stop.check()?;
        for talk in &mut talks {
            let now = stalls.look();
            if to_plant.sent < count || to_robot.sent < count {
                let n = (to_robot.sent % 60_000) as u16;
                let [(_, inputs), (_, outputs)] = bench::rtde_cycle(n).unwrap();
                to_plant.send(&mut ends.server, &outputs, now, count)?;
                to_robot.send(&mut ends.client, &inputs, now, count)?;
            }
            to_plant.receive(&mut ends.client, &mut stalls)?;
            to_robot.receive(&mut ends.server, &mut stalls)?;
            talk.step(Some(OTHERS_EVERY))?;
        }
        if Instant::now() > longest {
            return Err(BenchError::Said("packages are missing".to_owned()));
        }
    }
    let mut told = to_robot.told("in", warm_up, &stalls);
    told.extend(to_plant.told("out", warm_up, &stalls));
    let still = stalls.within(begin, begin + BEAT * count as u32);
    told.push(("own stalls, ms/s".to_owned(), still.as_secs_f64() * 1000.0 / (BEAT * count as u32).as_secs_f64()));
    Ok(told)
}

/// One unit of the opening, taken whole at the other end.
fn say(ends: &mut Ends, toward: Toward, unit: &[u8]) -> Result<(), BenchError> {
    let (from, to) = match toward {
        Toward::Robot => (&mut ends.client, &mut ends.server),
        Toward::Plant => (&mut ends.server, &mut ends.client),
    };
    from.write_all(unit).map_err(BenchError::of("opening"))?;
    let (mut have, start, mut buffer) = (0, Instant::now(), [0; 1024]);
    while have < unit.len() {
        match to.read(&mut buffer) {
            Ok(0) => return Err(BenchError::Said("the stream ended".to_owned())),
            Ok(got) => have += got,
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < Duration::from_secs(2) => {}
            Err(error) => return Err(BenchError::of("the opening of RTDE does not arrive")(error)),
        }
    }
    Ok(())
}

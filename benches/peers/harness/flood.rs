//! Floods of UDP frames toward the robot: how many arrive, and at which rate none are lost.

use std::time::{Duration, Instant};

use link::craft::Template;
use link::{Mac, Tags};
use vambrace::bench::{BenchError, Lane, Stop, inside};
use vambrace::nic::{AfPacket, BATCH, FramePort, Geometry};

/// Lengths on the wire, the frame check sequence of 4 bytes among them.
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 1514];
const CHECK_SEQUENCE: usize = 4;

/// Frames received a second, in thousands, at each size.
pub fn measure(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    SIZES
        .iter()
        .map(|&size| {
            stop.check()?;
            let sent = send(lane, size, Duration::from_secs_f64(0.3 * seconds), None)?;
            Ok((size.to_string(), sent.received as f64 / sent.taken.as_secs_f64() / 1000.0))
        })
        .collect()
}

/// Sizes of [`lossless`].
const ENDS: [usize; 2] = [64, 1514];
/// Steps of halving between nothing and what is received of a flood.
const STEPS: usize = 7;
/// Of so many frames one may be lost.
const ONE_OF: u64 = 1000;

/// The highest rate, in thousands a second, of which at most one frame in a thousand is lost: found by halving.
pub fn lossless(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    ENDS.iter()
        .map(|&size| {
            let length = Duration::from_secs_f64(0.1 * seconds);
            let flood = send(lane, size, length, None)?;
            // What is sent in a flood; no rate above it can be tried.
            let (mut low, mut high) = (0.0, flood.sent as f64 / flood.taken.as_secs_f64());
            if flood.is_whole() {
                low = high;
            }
            for _ in 0..STEPS {
                stop.check()?;
                let rate = f64::midpoint(low, high);
                let sent = send(lane, size, length, Some(rate))?;
                if sent.is_whole() { low = rate } else { high = rate }
            }
            Ok((size.to_string(), low / 1000.0))
        })
        .collect()
}

/// What became of a flood.
struct Sent {
    sent: u64,
    received: u64,
    taken: Duration,
}

impl Sent {
    fn is_whole(&self) -> bool {
        self.sent.saturating_sub(self.received) * ONE_OF <= self.sent
    }
}

/// Sends for a while, at a rate or as fast as it goes, and counts what arrives at the robot's end.
fn send(lane: &Lane, size: usize, length: Duration, rate: Option<f64>) -> Result<Sent, BenchError> {
    let frame = frame(lane, size - if size == 1514 { 0 } else { CHECK_SEQUENCE });
    let before = arrived(lane)?;
    let (sent, taken) = inside(&lane.plant(), || -> Result<_, String> {
        // Pinned as the thread that it comes from: affinity is inherited.
        let geometry = Geometry { block_bytes: 256 << 10, blocks: 16, frame_bytes: 2048 };
        let mut port = AfPacket::open("p0", geometry).map_err(|error| error.to_string())?;
        let batch = [frame.as_slice(); BATCH];
        let (start, mut sent) = (Instant::now(), 0_u64);
        loop {
            let elapsed = start.elapsed();
            if elapsed >= length {
                return Ok((sent, elapsed));
            }
            let due = match rate {
                None => BATCH,
                Some(rate) => ((rate * elapsed.as_secs_f64()) as u64).saturating_sub(sent).min(BATCH as u64) as usize,
            };
            if due > 0 {
                sent += port.transmit(&batch[..due]).map_err(|error| error.to_string())? as u64;
            }
        }
    })?
    .map_err(BenchError::Said)?;
    // What is under way arrives.
    let mut last = arrived(lane)?;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = arrived(lane)?;
        if now == last {
            return Ok(Sent { sent, received: last.saturating_sub(before), taken });
        }
        last = now;
    }
}

/// A datagram to the robot's address, and to a station that is nobody's: the far end's stack throws it away at once.
fn frame(lane: &Lane, len: usize) -> Vec<u8> {
    let [plant, _] = lane.macs();
    let macs = (plant.parse().unwrap(), Mac([2, 0, 0, 0, lane.number(), 0x99]));
    let ends = ((lane.plant_address().into(), 20_000), (lane.robot_address().into(), 9999));
    let template = Template::new(macs, Tags::default(), ends.0, ends.1).unwrap();
    let payload = vec![0x5a; len - 14 - 20 - 8];
    let mut out = [0; 2048];
    let len = link::craft::emit_udp(&template, &payload, &mut out).unwrap();
    out[..len].to_vec()
}

/// Frames that the robot's end has received.
fn arrived(lane: &Lane) -> Result<u64, BenchError> {
    let text = inside(&lane.robot(), || std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let text = text.map_err(BenchError::of("/proc/net/dev"))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("r0:")).unwrap_or_default().to_owned();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).ok_or(BenchError::Said(line))
}

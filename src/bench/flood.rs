//! Floods of datagrams toward the robot.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use link::craft::Template;
use link::{Mac, Tags};

use super::{BenchError, Lane, inside};
use crate::nic::{AfPacket, BATCH, FramePort, Geometry};

/// The frame check sequence, which counts on the wire and is not handed to a port.
const CHECK_SEQUENCE: usize = 4;
/// Ethernet, IPv4 and UDP.
const HEADERS: usize = 14 + 20 + 8;
/// Nothing more has arrived for so long: nothing more is under way.
const SILENCE: Duration = Duration::from_millis(60);

/// What became of a flood.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flooded {
    /// Frames sent.
    pub sent: u64,
    /// Of those, how many arrived.
    pub received: u64,
    /// Frames sent a second.
    pub sent_rate: f64,
    /// Frames that arrived a second, without the first fifth of the time: what lies in a ring does not count as passed.
    pub received_rate: f64,
}

impl Flooded {
    /// Sends frames of so many bytes (as counted on the wire, 64 to 1514) to the robot for a while, at a rate or as fast
    /// as it goes. The calling thread's core sends.
    ///
    /// # Errors
    /// A port or namespace is gone.
    pub fn through(lane: &Lane, bytes: usize, length: Duration, rate: Option<f64>) -> Result<Self, BenchError> {
        let counter = inside(&lane.robot(), || File::open("/proc/thread-self/net/dev"))?;
        let counter = counter.map_err(BenchError::of("/proc/net/dev"))?;
        let frame = datagram(lane, bytes)?;
        let before = arrived(&counter)?;
        let mut flooded = inside(&lane.plant(), || send(&frame, length, rate, &counter))??;
        // What is under way arrives.
        let (mut last, mut since) = (arrived(&counter)?, Instant::now());
        while last.saturating_sub(before) < flooded.sent && since.elapsed() < SILENCE {
            std::thread::sleep(Duration::from_millis(5));
            let now = arrived(&counter)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        flooded.received = last.saturating_sub(before);
        Ok(flooded)
    }

    /// Whether at most one frame in a thousand was lost.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.sent.saturating_sub(self.received).saturating_mul(1000) <= self.sent
    }
}

/// Affinity is inherited: this runs on the core of the thread that asked.
fn send(frame: &[u8], length: Duration, rate: Option<f64>, counter: &File) -> Result<Flooded, BenchError> {
    // Nothing is received here; the smallest ring does.
    let mut port = AfPacket::open("p0", Geometry::for_mtu(1500)).map_err(BenchError::of("p0"))?;
    let batch = [frame; BATCH];
    let filled = length.checked_div(5).unwrap_or_default();
    let before = arrived(counter)?;
    let (start, mut sent, mut steady) = (Instant::now(), 0_u64, None);
    loop {
        let elapsed = start.elapsed();
        if steady.is_none() && elapsed >= filled {
            steady = Some((elapsed, arrived(counter)?));
        }
        if elapsed >= length {
            // A thread that was off its core for most of the time has all of it counted.
            let (since, at) = steady.filter(|(since, _)| *since < elapsed).unwrap_or((Duration::ZERO, before));
            let received_rate =
                arrived(counter)?.saturating_sub(at) as f64 / elapsed.saturating_sub(since).as_secs_f64();
            let sent_rate = sent as f64 / elapsed.as_secs_f64();
            return Ok(Flooded { sent, received: 0, sent_rate, received_rate });
        }
        let due = rate.map_or(BATCH, |rate| {
            // A rate times a second fits; the cast cuts the part of a frame.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, and small")]
            let due = (rate * elapsed.as_secs_f64()) as u64;
            usize::try_from(due.saturating_sub(sent)).unwrap_or(BATCH).min(BATCH)
        });
        if let Some(frames) = batch.get(..due).filter(|frames| !frames.is_empty()) {
            let taken = port.transmit(frames).map_err(BenchError::of("p0"))?;
            sent = sent.saturating_add(u64::try_from(taken).unwrap_or(0));
        }
    }
}

/// To the robot's address, and to a station that is nobody's: the far end's stack throws it away at once.
fn datagram(lane: &Lane, bytes: usize) -> Result<Vec<u8>, BenchError> {
    let wrong = || BenchError::Said(format!("no frame of {bytes} bytes can be sent"));
    // 1514 is the largest without the check sequence, and is called so everywhere.
    let len = if bytes == 1514 { bytes } else { bytes.saturating_sub(CHECK_SEQUENCE) };
    let [plant, _] = lane.macs();
    let macs = (plant.parse().map_err(|_| wrong())?, Mac([2, 0, 0, 0, lane.number(), 0x99]));
    let ends = ((lane.plant_address().into(), 20_000), (lane.robot_address().into(), 9999));
    let template = Template::new(macs, Tags::default(), ends.0, ends.1).ok_or_else(wrong)?;
    let payload = vec![0x5a; len.checked_sub(HEADERS).ok_or_else(wrong)?];
    let mut out = [0; 2048];
    let len = link::craft::emit_udp(&template, &payload, &mut out).map_err(|_| wrong())?;
    out.get(..len).map(<[u8]>::to_vec).ok_or_else(wrong)
}

/// Frames that the robot's end has received. The file stays that of the namespace it was opened in.
fn arrived(counter: &File) -> Result<u64, BenchError> {
    let mut text = [0; 4096];
    let len = counter.read_at(&mut text, 0).map_err(BenchError::of("/proc/net/dev"))?;
    let text = String::from_utf8_lossy(text.get(..len).unwrap_or_default()).into_owned();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("r0:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok())
        .ok_or_else(|| BenchError::Said("the robot's port counts nothing".to_owned()))
}

//! Floods of UDP frames toward the robot: how many arrive, and at which rate none are lost.

use std::time::Duration;

use vambrace::bench::{BenchError, Flooded, Lane, Stop};

/// Lengths on the wire.
const SIZES: [usize; 6] = [64, 128, 256, 512, 1024, 1514];

/// Frames received a second, in thousands, at each size.
pub fn measure(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    SIZES
        .iter()
        .map(|&size| {
            stop.check()?;
            let flooded = Flooded::through(lane, size, Duration::from_secs_f64(0.25 * seconds), None)?;
            Ok((size.to_string(), flooded.received_rate / 1000.0))
        })
        .collect()
}

/// Sizes of [`lossless`].
const ENDS: [usize; 2] = [64, 1514];
/// Steps of halving between nothing and what can be sent: the last is of one in 128.
const STEPS: usize = 7;

/// The highest rate, in thousands a second, of which at most one frame in a thousand is lost: found by halving.
pub fn lossless(lane: &Lane, seconds: f64, stop: &Stop) -> Result<Vec<(String, f64)>, BenchError> {
    let length = Duration::from_secs_f64(0.1 * seconds);
    ENDS.iter()
        .map(|&size| {
            let flood = Flooded::through(lane, size, length, None)?;
            // No rate above that of a flood can be sent.
            let (mut low, mut high) = (0.0, flood.sent_rate);
            if flood.is_whole() {
                return Ok((size.to_string(), high / 1000.0));
            }
            for _ in 0..STEPS {
                stop.check()?;
                let rate = f64::midpoint(low, high);
                if Flooded::through(lane, size, length, Some(rate))?.is_whole() { low = rate } else { high = rate }
            }
            Ok((size.to_string(), low / 1000.0))
        })
        .collect()
}
